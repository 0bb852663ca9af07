"""Label Studio's ML backend over HTTP, with requests of the shape that Label Studio 1.23 sends."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import likewise
from helpers import refusal
from likewise import LikewiseParams, Reference, Segmenter, load
from likewise.errors import LikewiseError
from likewise.integrations import find_pieces
from likewise.io.coco_masks import fill_polygon
from likewise.result import Result
from likewise.web.label_studio.brush import decode_brush, encode_brush
from studio import BRUSH, LABELS, POLYGON, config

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")

from likewise.web.guard import Access  # noqa: E402
from likewise.web.label_studio.app import LIMITS, make_app  # noqa: E402
from likewise.web.label_studio.backend import Backend, file_name  # noqa: E402
from likewise.web.label_studio.images import Images  # noqa: E402
from likewise.web.model_thread import ModelThread  # noqa: E402
from likewise.web.serving import make_server  # noqa: E402

MODEL = ModelThread(32, 60.0)

WHITE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
HEADERS = {"Authorization": "Bearer hush"}


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture
def backend(studio: Any) -> Backend:
    segmenter = load("r.safetensors", backbone="tiny")
    images = Images(LIMITS, studio.url, "legacy")
    return Backend(segmenter, images, file_name(Path("r.safetensors")), learn=2, simplify=0)


@pytest.fixture
def client(backend: Backend) -> Iterator[Any]:
    """Requests to a real server in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(make_app(backend, Access("hush")), patience=5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, headers=HEADERS, timeout=60) as made:
            yield made
        server.should_exit = True
        thread.join()


def task(number: int, name: str) -> dict[str, Any]:
    """A task as Label Studio sends it."""
    data = {"image": f"/data/upload/1/{name}"}
    facts = {"id": number, "data": data, "meta": {}, "is_labeled": False, "project": 1}
    return facts | {"overlap": 1, "annotations": [], "predictions": [], "file_upload": 3}


def request(*names: str, kind: str = BRUSH) -> dict[str, Any]:
    """What is posted to /predict."""
    params = {"login": None, "password": None, "context": None}
    tasks = [task(number, name) for number, name in enumerate(names, 1)]
    return {
        "tasks": tasks,
        "project": "1.1700000000",
        "label_config": config(kind),
        "params": params,
    }


def expected(name: str) -> Result:
    return load("r.safetensors", backbone="tiny").segment(name)


def drawn(regions: list[dict[str, Any]], label: str, size: tuple[int, int]) -> np.ndarray:
    """What the regions mark as the label, (H, W) bool."""
    mask = np.zeros(size, bool)
    for region in regions:
        value = region["value"]
        assert (region["original_height"], region["original_width"]) == size
        if value[region["type"]] != [label]:
            continue
        if region["type"] == "brushlabels":
            mask |= decode_brush(value["rle"], size)
        else:
            points = np.array(value["points"])
            assert points.min() >= 0
            assert points.max() <= 100
            fill_polygon(mask, (points * (size[1], size[0]) / 100).ravel())
    return mask


def test_health_and_setup(client: Any, backend: Backend) -> None:
    for path in ("/", "/health"):
        answer = client.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()["status"]) == (200, "UP")
    body = {
        **{"project": "1.1700000000", "schema": config(), "hostname": "http://localhost:8080"},
        **{"access_token": "t", "extra_params": None},
    }
    answer = client.post("/setup", json=body)
    assert (answer.status_code, answer.json()) == (200, {"model_version": backend.name})
    assert client.get("/versions").json() == {"versions": [backend.name]}
    answer = client.post("/setup", json=body | {"schema": config(labels=("other",))})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("the project has the classes other, but")
    assert backend.name.startswith("r-")


ODD = [None, True, 0, -1, 10**400, float("nan"), float("inf"), "", "\ud800", "\0", 7, "thing"]
ODD += ["a.jpg", "/data/local-files/?d=%00", "data:,", "http://[", [], {}, [[]], [{}], {"": []}]
ODD += [[None], [10**400], [["x"]], {"image": []}, {"image": "\ud800"}, {"image": "/data/x"}]


@pytest.mark.parametrize("seed", range(200))
def test_no_event_or_task_is_a_mistake_of_ours(seed: int) -> None:
    """Every field may hold anything that JSON can hold."""
    rng = random.Random(seed)

    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.7 else rng.choice(ODD)

    backend = mock.Mock(
        images=Images(LIMITS, root=Path("/")), classes=LABELS, learn_from=2, version="v"
    )
    backend._shots = lambda *given: Backend._shots(backend, *given)
    backend._predict = lambda *given: Backend._predict(backend, *given)
    backend._segment = lambda *given: Backend._segment(backend, *given)
    backend.thread = MODEL
    value = {"rle": maybe([1]), "points": maybe([[1, 2]]), "brushlabels": maybe(["thing"])}
    region = {"value": maybe(value), "from_name": maybe("tag"), "type": maybe("brushlabels")}
    annotation = {"id": maybe(1), "task": maybe(1), "result": maybe([maybe(region)])}
    one = {"id": maybe(1), "data": maybe({"image": maybe(WHITE)})}
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": maybe(annotation),
        "task": maybe(one),
        "project": maybe({"label_config": maybe(config())}),
    }
    with suppress(LikewiseError):
        Backend.webhook(backend, event)
    with suppress(LikewiseError):
        Backend.webhook(backend, {"action": "ANNOTATIONS_DELETED", "annotations": event["task"]})
    backend.segmenter.segment.side_effect = LikewiseError("this far")
    with suppress(LikewiseError):
        Backend.predict(backend, [one], config())


def test_bodies_that_are_odd(client: Any) -> None:
    odd = {b"[" * 10**5: 400, b'{"tasks": [], "label_config": "\\ud800"}': 422}
    for body, status in (odd | {b'{"tasks": NaN}': 422}).items():
        answer = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status, body[:20]
        assert len(answer.json()) == 1


@pytest.mark.parametrize("kind", [BRUSH, POLYGON])
def test_predictions_are_the_masks_to_the_pixel(client: Any, backend: Backend, kind: str) -> None:
    names = ("a.jpg", "b.jpg")
    answer = client.post("/predict", json=request(*names, kind=kind))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert len(results) == 2
    for name, prediction in zip(names, results, strict=True):
        result, regions = expected(name), prediction["result"]
        assert prediction["model_version"] == backend.name
        assert prediction["score"] == pytest.approx(result.confidence)
        assert {r["type"] for r in regions} == {kind.lower()}
        assert {(r["from_name"], r["to_name"]) for r in regions} == {("tag", "img")}
        assert len({r["id"] for r in regions}) == len(regions)
        if kind == POLYGON:
            assert len(regions) == len(find_pieces(result)) > 1
        else:
            assert len(regions) == 2
        for label, found in result.classes.items():
            assert found.mask.any()
            np.testing.assert_array_equal(drawn(regions, label, found.mask.shape), found.mask)


@pytest.mark.parametrize("kind", [BRUSH, POLYGON])
def test_the_sdk_takes_the_predictions(client: Any, kind: str) -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is not installed"
    ).LabelInterface(config(kind))
    from label_studio_sdk.converter.brush import decode_from_annotation

    results = client.post("/predict", json=request("a.jpg", kind=kind)).json()["results"]
    assert interface.validate_prediction(results[0], return_errors=True) == []
    spoilt = json.loads(json.dumps(results[0]).replace(kind.lower(), "keypointlabels"))
    assert interface.validate_prediction(spoilt, return_errors=True)
    if kind == BRUSH:
        # The SDK looks for the mask where its exporter has put it.
        flat = [{**region, **region["value"]} for region in results[0]["result"]]
        layers = decode_from_annotation("tag", flat)
        found = expected("a.jpg").classes
        assert {name.removeprefix("tag-")[:-2] for name in layers} == set(found)
        for name, layer in layers.items():
            mask = found[name.removeprefix("tag-")[:-2]].mask
            np.testing.assert_array_equal(layer, mask.astype(np.uint8) * 255)


def test_one_bad_image_spoils_no_others(client: Any, capfd: Any) -> None:
    answer = client.post("/predict", json=request("a.jpg", "none.txt", "c.jpg"))
    first, second, third = answer.json()["results"]
    assert (bool(first["result"]), second, bool(third["result"])) == (True, [], True)
    assert "likewise: " in capfd.readouterr().err
    answer = client.post("/predict", json=request("mask.png") | {"tasks": [{"id": 1, "data": {}}]})
    assert answer.status_code == 422
    assert "a task names no image" in answer.json()["error"]


BAD_REQUESTS = [
    ({"headers": {"Authorization": "Bearer wrong"}}, 401),
    ({"headers": {"Authorization": ""}}, 401),
    ({"headers": {"Authorization": "Basic %%%"}}, 401),
    ({"json": [1]}, 422),
    ({"json": {}}, 422),
    ({"json": {"tasks": "all", "label_config": config()}}, 422),
    ({"json": {"tasks": [1], "label_config": config()}}, 422),
    ({"json": {"tasks": [{}] * 1001, "label_config": config()}}, 422),
    ({"json": {"tasks": [{}], "label_config": None}}, 422),
    ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 422),
    ({"headers": {"Host": "evil.example", "Authorization": "Basic aDpodXNo"}}, 200),
    ({"headers": {"Origin": "https://evil.example", "Authorization": "Basic aDpodXNo"}}, 403),
]


def test_bad_requests(client: Any) -> None:
    for options, status in BAD_REQUESTS:
        sent = {"json": request("a.jpg")} if "content" not in options else {}
        answer = client.post("/predict", **(sent | options))
        assert answer.status_code == status, options
        assert status == 200 or list(answer.json()) == ["error"]
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        head = (
            "POST /predict HTTP/1.1",
            "Host: localhost",
            f"Content-Length: {LIMITS.max_bytes + 1}",
        )
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert connection.recv(12) == b"HTTP/1.1 413"
    basic = {"Authorization": "Basic " + base64.b64encode(b"anyone:hush").decode()}
    assert client.post("/predict", json=request("a.jpg"), headers=basic).status_code == 200
    assert client.post("/train", json={}).status_code == 404


# --- learning -------------------------------------------------------------------------------------


def event(action: str, number: int, name: str, kind: str = BRUSH, **changes: Any) -> dict[str, Any]:
    """What a webhook sends: here a person has marked the right half as the first class."""
    mask = np.arange(48)[None].repeat(40, axis=0) >= 24
    value: dict[str, Any] = {"format": "rle", "rle": encode_brush(mask)}
    if kind == POLYGON:
        value = {"points": [[50, 0], [100, 0], [100, 100], [50, 100]], "closed": True}
    region = {
        **{
            "id": "x",
            "type": kind.lower(),
            "from_name": "tag",
            "to_name": "img",
            "origin": "manual",
        },
        **{"original_width": 48, "original_height": 40, "image_rotation": 0},
        "value": value | {kind.lower(): [LABELS[0]]},
    }
    annotation = {"id": number, "result": [region], "was_cancelled": False, "task": 5, "project": 1}
    return {
        "action": action,
        "annotation": annotation | changes,
        "task": task(5, name),
        "project": {"id": 1, "label_config": config(kind)},
    }


@pytest.mark.parametrize("kind", [BRUSH, POLYGON])
def test_learning_is_fitting_with_one_more_reference(backend: Backend, kind: str) -> None:
    before = backend.segmenter.segment("b.jpg")
    backend.webhook(event("ANNOTATION_CREATED", 1, "a.jpg", kind))
    assert backend.version == f"{backend.name}+1"
    mask = np.arange(48)[None].repeat(40, axis=0) >= 24
    edge = np.zeros((40, 48), bool)
    edge[:, 36:] = True
    fitted = Segmenter("tiny", image_size=64, method=LikewiseParams(presence=0.0)).fit(
        [
            Reference("reference.png", "mask.png", label=LABELS[0]),
            Reference("reference.png", edge, label=LABELS[1]),
            Reference("a.jpg", mask, label=LABELS[0]),
        ]
    )
    after = backend.segmenter.segment("b.jpg")
    np.testing.assert_array_equal(after.label_map, fitted.segment("b.jpg").label_map)
    assert (after.label_map != before.label_map).any()
    backend.webhook({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}]})
    assert backend.version == f"{backend.name}+2"
    again = backend.segmenter.segment("b.jpg")
    np.testing.assert_array_equal(again.label_map, before.label_map)


def learnt(backend: Backend) -> int:
    assert backend.segmenter.references is not None
    return len(backend.segmenter.references) - 2


def test_what_is_learnt_and_what_is_not(backend: Backend) -> None:
    for number in (1, 2, 3):
        backend.webhook(event("ANNOTATION_CREATED", number, "a.jpg"))
    assert (learnt(backend), list(backend._learnt)) == (2, [2, 3])  # the newest two
    backend.webhook(event("ANNOTATION_UPDATED", 2, "c.jpg"))
    assert list(backend._learnt) == [3, 2]
    backend.webhook(event("ANNOTATION_UPDATED", 2, "c.jpg", was_cancelled=True))
    assert learnt(backend) == 1
    version = backend.version
    other = event("ANNOTATION_CREATED", 9, "a.jpg")
    other["annotation"]["result"][0]["value"]["brushlabels"] = ["unknown"]
    for ignored in (
        {"action": "PROJECT_UPDATED", "project": {"id": 1}},
        {"action": "START_TRAINING"},
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 77}]},
        event("ANNOTATION_CREATED", 9, "a.jpg", result=[]),
        other,
        {},
    ):
        backend.webhook(ignored)
    assert (learnt(backend), backend.version) == (1, version)
    backend.learn_from = 0
    backend.webhook(event("ANNOTATION_CREATED", 10, "a.jpg"))
    assert backend.version == version


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": {"rle": [1, 2], "brushlabels": ["thing"]}}, "cut short"),
        ({"value": {"brushlabels": ["thing"]}}, "'rle'"),
        ({"value": None}, "an annotation cannot be learnt from"),
        ({"image_rotation": 90}, "its image was turned there"),
        ({"value": {"rle": encode_brush(np.ones((4, 4), bool))}}, "of an image of another size"),
    ],
)
def test_what_cannot_be_learnt_from(backend: Backend, changes: dict[str, Any], words: str) -> None:
    bad = event("ANNOTATION_CREATED", 1, "a.jpg")
    bad["annotation"]["result"][0] |= changes
    assert words in refusal(backend.webhook, bad)
    assert (learnt(backend), backend.version) == (0, backend.name)


def test_webhooks_answer_at_once_and_learn_in_order(client: Any, backend: Backend) -> None:
    assert client.post("/webhook", json=event("ANNOTATION_CREATED", 1, "a.jpg")).status_code == 201
    assert (
        client.post("/webhook", json=event("ANNOTATION_CREATED", 2, "none.txt")).status_code == 201
    )
    gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}]}
    assert client.post("/webhook", json=gone).status_code == 201
    for _ in range(600):
        if backend.version.endswith("+2"):
            break
        time.sleep(0.05)
    assert (backend.version, learnt(backend)) == (f"{backend.name}+2", 0)


def test_numbers_out_of_range(backend: Backend) -> None:
    assert "learn -1 is no number" in refusal(
        Backend, backend.segmenter, backend.images, "n", learn=-1
    )
    assert "min_area 0" in refusal(Backend, backend.segmenter, backend.images, "n", min_area=0)
    for host in ("localhost:8080", "ftp://x", "http://me:secret@x"):
        assert "is no address of Label Studio" in refusal(Images, LIMITS, host)
    assert "is no folder" in refusal(Images, LIMITS, None, None, Path("a.jpg"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are other there")
def test_the_command_serves_until_ctrl_c(studio: Any) -> None:
    start = "import sys; from likewise.cli import main; sys.argv[0] = 'likewise'; main()"
    words = ["label-studio", "r.safetensors", "--backbone", "tiny", "--port", "0"]
    words += ["--label-studio", studio.url, "--device", "cpu"]
    source = str(Path(likewise.__file__).parents[1])
    variables = {"PYTHONPATH": source, "LABEL_STUDIO_API_KEY": "legacy", "LIKEWISE_TOKEN": "hush"}
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        start, _, rest = line.rpartition(" on ")
        assert start == "likewise serves thing, <edge> & more", process.communicate()
        address = rest.removesuffix(" (Ctrl-C stops it)\n")
        answer = httpx.post(
            f"{address}/predict", json=request("a.jpg"), headers=HEADERS, timeout=60
        )
        (prediction,) = answer.json()["results"]
        found = expected("a.jpg").classes["thing"].mask
        np.testing.assert_array_equal(drawn(prediction["result"], "thing", found.shape), found)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()

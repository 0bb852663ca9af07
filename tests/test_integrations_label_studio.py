"""Label Studio's ML backend: over HTTP, with requests of the shape that Label Studio 1.23 sends.

Answers are read with label-studio-sdk where that is installed.
"""

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
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import likewise
from bad_inputs import make_scene, sandbox
from helpers import refusal
from likewise import LikewiseParams, Reference, Segmenter, load
from likewise.errors import LikewiseError
from likewise.integrations import find_pieces
from likewise.io.coco_masks import fill_polygon
from likewise.io.images import read_image
from likewise.result import Result
from likewise.web.label_studio.brush import decode_brush, encode_brush
from likewise.web.label_studio.config import check_classes, read_config

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
BRUSH, POLYGON = "BrushLabels", "PolygonLabels"
LABELS = ("thing", "<edge> & more")
WHITE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
HEADERS = {"Authorization": "Bearer hush"}


def config(
    kind: str = BRUSH, labels: tuple[str, ...] = ("thing", "&lt;edge&gt; &amp; more")
) -> str:
    tags = "".join(f'<Label value="{label}" background="#f00"/>' for label in labels)
    return (
        '<View><!-- one image --><Image name="img" value="$image" zoom="true"/>'
        f'<{kind} name="tag" toName="img">{tags}</{kind}></View>'
    )


def random_mask(shape: tuple[int, int], seed: int = 0, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


# --- brush masks ---------------------------------------------------------------------------------

MASKS = {
    "noise": random_mask((37, 53)),
    "blobs": np.kron(random_mask((6, 5), 1), np.ones((31, 40), bool)),
    "none": np.zeros((300, 301), bool),  # one run, longer than a length can be
    "all": np.ones((256, 64), bool),  # exactly as long as a length can be
    "one": np.eye(1, dtype=bool),
    "line": np.arange(9000)[None] % 700 < 5,
}


@pytest.mark.parametrize("name", MASKS)
def test_brush_masks_come_back(name: str) -> None:
    mask = MASKS[name]
    rle = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in rle)
    np.testing.assert_array_equal(decode_brush(rle, mask.shape), mask)


@pytest.mark.parametrize("name", MASKS)
def test_brush_masks_are_those_of_the_sdk(name: str) -> None:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed"
    )
    mask = MASKS[name]
    values = np.repeat(mask.ravel(), 4).astype(np.uint8) * 255
    np.testing.assert_array_equal(brush.decode_rle(encode_brush(mask)), values)
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode_brush(theirs, mask.shape), mask)
    assert bytes(encode_brush(mask)) == bytes(theirs)[: len(encode_brush(mask))]


def test_brush_masks_of_the_browser_are_half_opaque_and_list_values() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10  # alpha 30, 70, 110, 150, 190, 230
    bits = f"{24:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"010{24 - 1:08b}" + "".join(f"{value:08b}" for value in pixels.ravel())
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]
    assert decode_brush(rle, (2, 3)).tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ([], "cut short"),
        (encode_brush(MASKS["noise"])[:-9], "cut short"),
        (encode_brush(np.ones((37, 54), bool)), "another size"),
        ([256], "bytes must be in range"),
        (encode_brush(MASKS["noise"])[:7] + [255] * 9, "too many values"),
    ],
)
def test_brush_masks_that_are_damaged(rle: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_brush(rle, (37, 53))


# --- the labelling configuration -----------------------------------------------------------------


def test_configurations() -> None:
    (one,) = read_config(config())
    assert (one.kind, one.from_name, one.to_name, one.key) == ("brushlabels", "tag", "img", "image")
    assert one.labels == LABELS
    assert [c.kind for c in read_config(config(POLYGON))] == ["polygonlabels"]
    two = (
        '<View><Image name="a" value="$left"/><Image name="b" value="$right"/>'
        '<PolygonLabels name="p" toName="a"><Label value="cat" alias="c"/></PolygonLabels>'
        '<BrushLabels name="q" toName="b"><View><Label value="dog"/></View></BrushLabels>'
        '<RectangleLabels name="r" toName="a"><Label value="bird"/></RectangleLabels></View>'
    )
    found = [(c.kind, c.key, c.labels) for c in read_config(two)]
    assert found == [("polygonlabels", "left", ("c",)), ("brushlabels", "right", ("dog",))]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<View>", "is no XML"),
        ("", "is no XML"),
        ('<!DOCTYPE x [<!ENTITY a "a">]><View/>', "declares entities"),
        (" " * 1_000_001, "too long"),
        ('<View><Text name="t" value="$t"/></View>', "no <BrushLabels> or <PolygonLabels>"),
        (config("RectangleLabels"), "no <BrushLabels> or <PolygonLabels>"),
        (config(labels=()), "with a <Label>"),
        (config().replace('value="$image"', 'valueList="$images"'), 'for an <Image value="$...">'),
    ],
)
def test_configurations_that_cannot_be_served(xml: str, words: str) -> None:
    assert words in refusal(read_config, xml)


def test_classes_that_the_references_lack() -> None:
    text = refusal(check_classes, read_config(config(labels=("thing", "b", "a"))), ["thing"])
    assert text.startswith("the project has the classes a, b, but the references only thing: ")


# --- images --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A scene with r.safetensors: two classes."""
    folder = make_scene(tmp_path_factory.mktemp("label_studio") / "scene", tiny)
    with sandbox(folder):
        edge = np.zeros((40, 48), bool)
        edge[:, 36:] = True
        references = [
            Reference("reference.png", "mask.png", label=LABELS[0]),
            Reference("reference.png", edge, label=LABELS[1]),
        ]
        segmenter = Segmenter("tiny", image_size=64, method=LikewiseParams(presence=0.0)).fit(
            references
        )
        segmenter.save("r.safetensors")
    return folder


@pytest.fixture
def scene(folder: Path) -> Iterator[Path]:
    with sandbox(folder):
        yield folder


@pytest.fixture
def studio(scene: Path) -> Iterator[Any]:
    """Label Studio, as far as images go; what it was asked for is in ``asked``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/data/upload/1/away.jpg":
                self.answer(302, b"", {"Location": f"{here.other}/data/upload/1/a.jpg"})
            elif self.headers.get("Authorization") not in ("Token legacy", "Bearer short"):
                self.answer(401, b"{}")
            else:
                self.answer(200, (scene / Path(self.path).name.split("=")[-1]).read_bytes())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            here.asked.append((self.path, body))
            known = body == {"refresh": "a.b.c"}
            self.answer(200 if known else 401, b'{"access": "short"}' if known else b"{}")

        def answer(self, status: int, content: bytes, headers: Any = ()) -> None:
            self.send_response(status)
            for name, value in {**dict(headers), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    here: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.asked = []
    here.url = f"http://127.0.0.1:{here.server_port}"
    here.other = f"http://localhost:{here.server_port}"
    thread = threading.Thread(target=here.serve_forever)
    thread.start()
    yield here
    here.shutdown()
    thread.join()
    here.server_close()


def inside(name: str, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(Path(name).read_bytes()).decode()}"


@pytest.mark.parametrize("key", ["legacy", "a.b.c"])
def test_uploads_are_fetched_with_either_kind_of_token(studio: Any, key: str) -> None:
    images = Images(LIMITS, studio.url + "/", key)
    for url in ("/data/upload/1/a.jpg", f"{studio.url}/data/upload/1/a.jpg"):
        np.testing.assert_array_equal(images.read(url), read_image("a.jpg"))
    sent = {who for path, who in studio.asked if path == "/data/upload/1/a.jpg"}
    assert sent == {"Token legacy" if key == "legacy" else "Bearer short"}
    np.testing.assert_array_equal(images.read("/data/local-files/?d=b.jpg"), read_image("b.jpg"))


def test_images_in_tasks_and_in_a_folder(scene: Path) -> None:
    images = Images(LIMITS, root=scene)
    np.testing.assert_array_equal(images.read(inside("a.jpg")), read_image("a.jpg"))
    np.testing.assert_array_equal(images.read("/data/local-files/?d=b.jpg"), read_image("b.jpg"))
    (scene / "sub dir").mkdir(exist_ok=True)
    (scene / "sub dir" / "ä 50%.jpg").write_bytes((scene / "c.jpg").read_bytes())
    found = images.read("/data/local-files/?d=sub%20dir/%C3%A4%2050%25.jpg")
    np.testing.assert_array_equal(found, read_image("c.jpg"))


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "{other}/data/upload/1/a.jpg",
        "//localhost/data/upload/1/a.jpg",
        "http://user@127.0.0.1:{port}/data/upload/1/a.jpg",
        "https://127.0.0.1:{port}/data/upload/1/a.jpg",
        "http://127.0.0.1:{port}@evil.example/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.jpg",
        "s3://bucket/a.jpg",
        "gopher:a.jpg",
    ],
)
def test_no_other_host_is_asked(studio: Any, url: str) -> None:
    images = Images(LIMITS, studio.url, "legacy")
    text = refusal(images.read, url.format(other=studio.other, port=studio.server_port))
    assert "is not on Label Studio's own host, and likewise asks no other" in text
    assert studio.asked == []


def test_redirects_are_not_followed(studio: Any) -> None:
    text = refusal(Images(LIMITS, studio.url, "legacy").read, "/data/upload/1/away.jpg")
    assert "(status 302)" in text
    assert [path for path, _ in studio.asked] == ["/data/upload/1/away.jpg"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "a task names no image"),
        (["/data/upload/1/a.jpg"], "a task names no image"),
        ("http://[", "has no address"),
        ("data:image/png;base64,%%%", "the image in the task cannot be read"),
        ("data:image/svg+xml,<svg/>", "it is not base64"),
        ("data:image/png;base64,", "the image in the task is empty"),
        ("data:image/png;base64,aGVsbG8=", "the image in the task is not an image"),
        ("/data/local-files/?d=../../etc/passwd", "is not below"),
        ("/data/local-files/?d=/etc/passwd", "is not below"),
        ("/data/local-files/?d=%2Fetc%2Fpasswd", "is not below"),
        ("/data/local-files/?d=out.jpg", "is not below"),
        ("/data/local-files/?d=", "is not below"),
        ("/data/local-files/?d=none.jpg", "is not below"),
        ("/data/upload/1/a.jpg", "is in Label Studio: give its address as --label-studio."),
    ],
)
def test_images_that_cannot_be_read(scene: Path, url: Any, words: str) -> None:
    link = scene / "root" / "out.jpg"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(scene / "a.jpg")
    assert words in refusal(Images(LIMITS, root=scene / "root").read, url)


def test_images_that_label_studio_does_not_give(studio: Any) -> None:
    assert "(status 401): check LABEL_STUDIO_API_KEY" in refusal(
        Images(LIMITS, studio.url).read, "/data/upload/1/a.jpg?secret=1"
    )
    assert "secret" not in refusal(Images(LIMITS, studio.url).read, "/data/upload/1/a.jpg?secret=1")
    wrong = Images(LIMITS, studio.url, "x.y.z")
    assert "does not take the token (status 401)" in refusal(wrong.read, "/data/upload/1/a.jpg")
    small = Images(replace(LIMITS, max_bytes=100), studio.url, "legacy")
    text = refusal(small.read, "/data/upload/1/a.jpg")
    assert "is larger than" in text
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "check that it runs at" in refusal(
        Images(LIMITS, nobody, "legacy").read, "/data/upload/1/a.jpg"
    )


# --- over HTTP -----------------------------------------------------------------------------------


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


# --- learning ------------------------------------------------------------------------------------


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

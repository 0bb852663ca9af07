"""Smart tools of Label Studio: keypoints, rectangles and brushes of ``context`` are prompts.

Payloads are as Label Studio 1.23 makes them: what ``interactive-annotating`` posts to /predict,
with regions as its editor serializes them.
"""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import refusal
from likewise import Session, load
from likewise.errors import LikewiseError
from likewise.web.label_studio.brush import decode_brush, encode_brush
from studio import LABELS

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")

from fastapi.testclient import TestClient

from likewise.web.guard import Access
from likewise.web.label_studio.app import LIMITS, make_app
from likewise.web.label_studio.backend import Backend
from likewise.web.label_studio.context import read_context, spread_points
from likewise.web.label_studio.images import Images

SIZE = 40, 48
SMART = (
    '<View><Image name="img" value="$image" zoom="true"/>'
    '<{shown} name="tag" toName="img"><Label value="thing"/>'
    '<Label value="&lt;edge&gt; &amp; more"/></{shown}>'
    '<KeyPointLabels name="kp" toName="img" smart="true"><Label value="thing" smart="true"/>'
    '<Label value="&lt;edge&gt; &amp; more" smart="true"/></KeyPointLabels>'
    '<RectangleLabels name="rect" toName="img" smart="true"><Label value="thing"/>'
    "</RectangleLabels></View>"
)


def region(kind: str, value: dict[str, Any], label: str = LABELS[0], **more: Any) -> dict[str, Any]:
    return {
        "original_width": 48,
        "original_height": 40,
        "image_rotation": 0,
        "value": value | {kind: [label]},
        "id": f"{random.getrandbits(40):x}",
        "from_name": {"keypointlabels": "kp", "rectanglelabels": "rect"}.get(kind, "tag"),
        "to_name": "img",
        "type": kind,
        "origin": "manual",
    } | more


def keypoint(x: float, y: float, positive: bool = True, **more: Any) -> dict[str, Any]:
    """A click at a pixel's middle; the editor adds ``labels`` and ``is_positive`` to smart ones."""
    place = {"x": 100 * (x + 0.5) / 48, "y": 100 * (y + 0.5) / 40, "width": 0.6}
    value = place | {"labels": [LABELS[0]]}
    return region("keypointlabels", value, **({"is_positive": positive} | more))


RECTANGLE = region(
    "rectanglelabels", {"x": 12.5, "y": 25, "width": 50, "height": 62.5, "rotation": 0}
)


def request(*regions: dict[str, Any], shown: str = "BrushLabels") -> dict[str, Any]:
    """What is posted to /predict."""
    task = {"id": 7, "data": {"image": "/data/upload/1/a.jpg"}, "meta": {}, "project": 1}
    params = {"login": None, "password": None, "context": {"result": list(regions)}}
    return {
        "tasks": [task | {"annotations": [], "drafts": [], "predictions": []}],
        "model_version": None,
        "project": "1.1700000000",
        "label_config": SMART.format(shown=shown),
        "params": params,
    }


@pytest.fixture
def backend(studio: Any) -> Backend:
    segmenter = load("r.safetensors", backbone="tiny")
    return Backend(segmenter, Images(LIMITS, studio.url, "legacy"), "r-1", learn=2, simplify=0)


@pytest.fixture
def client(backend: Backend) -> Any:
    return TestClient(make_app(backend, Access(None)), base_url="http://127.0.0.1")


def session() -> Session:
    return Session(load("r.safetensors", backbone="tiny"), "a.jpg")


BRUSH = np.zeros(SIZE, bool)
BRUSH[10:13, 8:20] = True


@pytest.mark.parametrize(
    ("regions", "prompts"),
    [
        ([keypoint(10, 12)], {"points": [(10, 12, 1)]}),
        (
            [keypoint(10, 12), keypoint(40, 30, False), RECTANGLE],
            {"points": [(10, 12, 1), (40, 30, 0)], "box": (6, 10, 30, 35)},
        ),
        (
            [region("brushlabels", {"format": "rle", "rle": encode_brush(BRUSH)})],
            {"points": [(x, y, 1) for x, y in spread_points(BRUSH)]},
        ),
        ([keypoint(10, 12), keypoint(10, 12, False)], {"points": [(10, 12, 0)]}),
    ],
)
def test_what_is_pointed_at_is_what_a_session_makes_of_it(
    client: Any, regions: Any, prompts: Any
) -> None:
    answer = client.post("/predict", json=request(*regions))
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    expected = session().prompt(**prompts, label=LABELS[0]).result.classes[LABELS[0]]
    assert expected.mask.any()
    (found,) = prediction["result"]
    assert (found["type"], found["from_name"], found["to_name"]) == ("brushlabels", "tag", "img")
    assert found["value"]["brushlabels"] == [LABELS[0]]
    np.testing.assert_array_equal(decode_brush(found["value"]["rle"], SIZE), expected.mask)
    assert prediction["model_version"] == "r-1"


def test_polygons_where_the_project_has_them(client: Any) -> None:
    answer = client.post("/predict", json=request(keypoint(10, 12), shown="PolygonLabels"))
    found = answer.json()["results"][0]["result"]
    assert {r["type"] for r in found} == {"polygonlabels"}
    assert all(r["value"]["polygonlabels"] == [LABELS[0]] for r in found)


def test_an_empty_context_is_an_ordinary_prediction(client: Any) -> None:
    answer = client.post("/predict", json=request())
    assert len(answer.json()["results"][0]["result"]) == 2  # both classes


def test_a_second_click_encodes_nothing_but_learns(client: Any, backend: Backend) -> None:
    client.post("/predict", json=request(keypoint(10, 12)))
    encoder = backend.segmenter.encoder
    real, encoded = encoder.encode, []
    encoder.encode = lambda image: encoded.append(1) or real(image)  # type: ignore[method-assign]
    first = client.post("/predict", json=request(keypoint(10, 12))).json()["results"]
    assert encoded == []
    mask = np.zeros(SIZE, bool)
    mask[:, 24:] = True
    value = {"format": "rle", "rle": encode_brush(mask)}
    annotation = {"id": 1, "result": [region("brushlabels", value)], "task": 7}
    task = {"id": 7, "data": {"image": "/data/upload/1/b.jpg"}}
    project = {"label_config": SMART.format(shown="BrushLabels")}
    event = {"action": "ANNOTATION_CREATED", "annotation": annotation, "task": task}
    backend.webhook(event | {"project": project})
    again = client.post("/predict", json=request(keypoint(10, 12))).json()["results"]
    assert again[0]["model_version"] == "r-1+1"
    assert again[0]["result"][0]["value"]["rle"] != first[0]["result"][0]["value"]["rle"]


def test_refusals(client: Any) -> None:
    for regions, message in (
        ([keypoint(1, 1, image_rotation=90)], "its image was turned there"),
        ([region("ellipselabels", {"x": 1, "y": 1})], "is no keypoint, rectangle or brush"),
        ([keypoint(1, 1), region("keypointlabels", {"x": 1, "y": 1}, LABELS[1])], "not one class"),
        ([region("keypointlabels", {"x": 1, "y": 1}, "cat")], "no reference of"),
        ([keypoint(1, 1, to_name="other")], "an image without brushes"),
        ([keypoint(5, 5, False)], ""),
        ([keypoint(45, 38), RECTANGLE], "outside the box"),
        (["x"], ""),
    ):
        answer = client.post("/predict", json=request(*regions))  # type: ignore[arg-type]
        if message:
            assert (answer.status_code, message in answer.json()["error"]) == (422, True), regions
        else:
            assert answer.status_code == 200


ODD = [None, True, -1, 10**400, float("nan"), "", "\ud800", [], {}, [[]], [None], ["thing"]]


@pytest.mark.parametrize("seed", range(100))
def test_no_context_is_a_mistake_of_ours(seed: int, folder: Path) -> None:
    rng = random.Random(seed)

    def odd(value: Any) -> Any:
        if rng.random() < 0.15:
            return rng.choice(ODD)
        if isinstance(value, dict):
            return {k: odd(v) for k, v in value.items()}
        return [odd(v) for v in value] if isinstance(value, list) and len(value) < 9 else value

    brush = region("brushlabels", {"format": "rle", "rle": encode_brush(BRUSH)})
    regions = [odd(keypoint(3, 4)), odd(RECTANGLE), odd(brush)]
    with suppress(LikewiseError):
        pointed = read_context([r for r in regions if isinstance(r, dict)], SIZE)
        pointed.prompts.checked(SIZE, "image")


def test_a_brush_marks_points_inside_itself() -> None:
    points = spread_points(BRUSH)
    assert all(BRUSH[int(y), int(x)] for x, y in points)
    assert 6 <= len(points) <= 20
    assert spread_points(np.zeros(SIZE, bool)) == []
    assert len(spread_points(np.ones((300, 200), bool))) <= 24 * 24
    assert "cut short" in refusal(
        read_context, [region("brushlabels", {"rle": encode_brush(BRUSH)[:9]})], SIZE
    )

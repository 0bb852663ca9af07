"""The CVAT function: run by cvat-sdk's own driver, against a server of four answers."""

from __future__ import annotations

import io
import json
import logging
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise import LikewiseParams, Reference, Segmenter
from likewise.integrations import find_pieces
from likewise.integrations.cvat import create
from likewise.io.coco_masks import fill_polygon
from likewise.io.images import read_image
from likewise.result import Result
from scenes import make_scene, sandbox

sdk = pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed")
auto = pytest.importorskip("cvat_sdk.auto_annotation")
masks = pytest.importorskip("cvat_sdk.masks")
driver = pytest.importorskip("cvat_sdk.auto_annotation.driver")

FRAMES = ("a.jpg", "b.jpg")


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder, with r.safetensors: two classes, named by a backbone without a name."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        edge = np.zeros((40, 48), bool)
        edge[:, 36:] = True
        references = [
            Reference("reference.png", "mask.png", label="thing"),
            Reference("reference.png", edge, label="edge"),
        ]
        segmenter = Segmenter("tiny", image_size=64, method=LikewiseParams(presence=0.0)).fit(
            references
        )
        segmenter.save("r.safetensors")
        yield folder


def expected(name: str) -> Result:
    from likewise import load

    return load("r.safetensors", backbone="tiny").segment(name)


def drawn(shape: Any, size: tuple[int, int]) -> np.ndarray:
    """What CVAT makes of an annotation, (H, W) bool."""
    if shape["type"] == "mask":
        points = [int(p) for p in shape["points"]]
        return masks.decode_mask(points, image_width=size[1], image_height=size[0])
    mask = np.zeros(size, bool)
    fill_polygon(mask, shape["points"])
    return mask


# --- a server that knows one task ----------------------------------------------------------------


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for k, name in enumerate(FRAMES):
            pixels = io.BytesIO()
            Image.fromarray(read_image(name)).save(pixels, "PNG")
            archive.writestr(f"{k:06}.png", pixels.getvalue())
    return file.getvalue()


TASK = {
    "url": "http://x/api/tasks/7",
    **{"id": 7, "name": "t", "mode": "annotation", "size": 2, "dimension": "2d", "subset": ""},
    **{"bug_tracker": "", "overlap": 0, "segment_size": 2, "status": "annotation"},
    **{"data_chunk_size": 72, "data_compressed_chunk_type": "imageset", "data": 1},
    **{"data_original_chunk_type": "imageset", "project_id": None, "assignee": None},
    **{"guide_id": None, "organization": None, "source_storage": None, "target_storage": None},
    **{"created_date": "2026-01-01T00:00:00Z", "updated_date": "2026-01-01T00:00:00Z"},
    "owner": {"url": "http://x/api/users/1", "id": 1, "username": "u"},
    "jobs": {"url": "http://x/api/jobs", "count": 1, "completed": 0, "validation": 0},
    "labels": {"url": "http://x/api/labels?task_id=7"},
}
META = {
    **{"chunk_size": 72, "size": 2, "image_quality": 70, "start_frame": 0, "stop_frame": 1},
    "chunks_updated_date": "2026-01-01T00:00:00Z",
    **{"frame_filter": "", "deleted_frames": [], "included_frames": None},
    "frames": [
        {"width": 48, "height": 40, "name": name, "related_files": 0, "has_related_context": False}
        for name in FRAMES
    ],
}


def label(number: int, name: str, kind: str) -> dict[str, Any]:
    facts = {"id": number, "name": name, "color": "#ff0000", "type": kind, "parent_id": None}
    return facts | {"attributes": [], "sublabels": [], "has_parent": False, "task_id": 7}


@pytest.fixture
def server(scene: Path) -> Iterator[Any]:
    """What it was sent is in ``sent``; ``kind`` is the type of its labels."""
    chunk = zipped()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0].rstrip("/")
            names = [label(71, "edge", here.kind), label(72, "thing", here.kind)]
            pages = {"count": 2, "next": None, "previous": None, "results": names}
            found = {"/api/tasks/7": TASK, "/api/tasks/7/data/meta": META, "/api/labels": pages}
            content = chunk if path == "/api/tasks/7/data" else json.dumps(found[path]).encode()
            kind = "application/zip" if content is chunk else "application/json"
            self.answer(content, kind)

        def do_PATCH(self) -> None:
            here.sent.append(
                (self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            empty = {"version": 1, "tags": [], "shapes": [], "tracks": []}
            self.answer(json.dumps(empty).encode(), "application/json")

        def answer(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    here: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.sent, here.kind = [], "any"
    thread = threading.Thread(target=here.serve_forever)
    thread.start()
    yield here
    here.shutdown()
    thread.join()
    here.server_close()


def annotate(server: Any, function: Any, **options: Any) -> list[dict[str, Any]]:
    """The shapes that ``annotate_task`` uploads."""
    config = sdk.core.client.Config(cache_dir=Path("cvat"))
    address = f"http://127.0.0.1:{server.server_port}"
    with sdk.Client(address, config=config, check_server_version=False) as client:
        client.logger.setLevel(logging.ERROR)
        auto.annotate_task(client, 7, function, **options)
    path, body = server.sent.pop()
    assert path.startswith("/api/tasks/7/annotations")
    return body["shapes"]


@pytest.mark.parametrize(
    ("shape", "to_polygons"), [("mask", False), ("mask", True), ("polygon", False)]
)
def test_annotate_task_uploads_the_masks_to_the_pixel(
    server: Any, shape: str, to_polygons: bool
) -> None:
    function = create("r.safetensors", backbone="tiny", shape=shape, simplify=0)
    kind = "polygon" if to_polygons or shape == "polygon" else "mask"
    server.kind = kind
    shapes = annotate(server, function, conv_mask_to_poly=to_polygons)
    numbers = {"edge": 71, "thing": 72}  # of the server, not of the function
    assert {s["type"] for s in shapes} == {kind}
    assert {s["source"] for s in shapes} == {"auto"}
    for frame, name in enumerate(FRAMES):
        result = expected(name)
        assert len(find_pieces(result)) == sum(s["frame"] == frame for s in shapes) > 1
        for label, found in result.classes.items():
            assert found.mask.any()
            mine = [s for s in shapes if (s["frame"], s["label_id"]) == (frame, numbers[label])]
            every = np.stack([drawn(s, found.mask.shape) for s in mine])
            np.testing.assert_array_equal(every.any(axis=0), found.mask)
            assert (every.sum(axis=0) <= 1).all()


def test_what_the_server_and_the_driver_refuse(server: Any) -> None:
    function = create("r.safetensors", backbone="tiny")
    server.kind = "rectangle"
    with pytest.raises(auto.BadFunctionError, match="has type 'mask' in the function"):
        annotate(server, function)
    server.kind = "mask"
    wrong = [auto.mask(9, [0, 1, 0, 0, 0, 0])]
    with (
        mock.patch.object(type(function), "detect", return_value=wrong),
        pytest.raises(auto.BadFunctionError, match="unknown label ID"),
    ):
        annotate(server, function)


def context(threshold: float | None = None, polygons: bool = False) -> Any:
    return driver._DetectionFunctionContextImpl(
        frame_name="a.jpg", conf_threshold=threshold, conv_mask_to_poly=polygons
    )


def test_confidences(scene: Path) -> None:
    result = expected("a.jpg")
    image = Image.open("a.jpg")
    low, high = sorted(found.confidence for found in result.classes.values())
    assert low < high
    between = (low + high) / 2
    function = create("r.safetensors", backbone="tiny", conf_threshold=between)

    def classes(threshold: float | None) -> set[str]:
        return {result.labels[s.label_id - 1] for s in function.detect(context(threshold), image)}

    surer = max(result.classes, key=lambda label: result.classes[label].confidence)
    assert classes(0.0) == {"thing", "edge"}
    assert classes(low) == {"thing", "edge"}  # equal is enough
    assert classes(None) == classes(between) == {surer}
    assert classes(1.0) == set()


def test_frames_of_any_mode_and_small_pieces(scene: Path) -> None:
    function = create("r.safetensors", backbone="tiny")
    grey = Image.open("a.jpg").convert("LA")
    assert function.detect(context(), grey)
    areas = sorted(piece.area for piece in find_pieces(expected("a.jpg")))
    function.min_area = areas[-1]
    assert len(function.detect(context(), Image.open("a.jpg"))) == areas.count(areas[-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "box"}, "the shape 'box' is unknown: give one of mask, polygon."),
        ({"conf_threshold": 50.0}, "conf_threshold 50 is no confidence: give 0 to 1."),
        ({"min_area": 0}, "min_area 0 is no area"),
        ({"simplify": float("nan")}, "simplify nan is no distance"),
        ({"references": "none.safetensors"}, "none.safetensors does not exist"),
        ({"backbone": None}, "was made with tiny, which likewise does not know by name"),
        ({"refine": "sharp"}, "sharp"),
    ],
)
def test_what_cannot_be_used(scene: Path, options: dict[str, Any], words: str) -> None:
    given = {"references": "r.safetensors", "backbone": "tiny", **options}
    assert words in refusal(create, **given)


def test_without_the_sdk(scene: Path) -> None:
    with mock.patch.dict("sys.modules", {"cvat_sdk": None, "cvat_sdk.auto_annotation": None}):
        text = refusal(create, "r.safetensors", backbone="tiny")
    assert "pip install 'likewise[cvat]'" in text

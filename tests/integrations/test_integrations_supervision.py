"""Results as supervision's Detections, and exported datasets read with their scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.export.annotations import Annotation
from likewise.export.dataset import ExportSettings, write_dataset
from likewise.integrations.supervision import load
from likewise.result import ClassResult, Result

LABELS = ("cat", "dog")


def found(label_map: np.ndarray, confidences: tuple[float, float] = (0.75, 0.9)) -> Result:
    classes = {
        label: ClassResult(label_map == k, np.ones((2, 2), np.float32), sure)
        for k, (label, sure) in enumerate(zip(LABELS, confidences, strict=True), 1)
    }
    mask = label_map > 0
    return Result(mask, np.zeros((2, 2), np.float32), 0.9, None, label_map, classes)


def two_cats_and_a_dog() -> np.ndarray:
    label_map = np.zeros((20, 30), np.uint8)
    label_map[2:6, 3:9] = 1
    label_map[3, 4] = 0  # a hole
    label_map[10:12, 20:30] = 1
    label_map[15:20, 0:5] = 2
    return label_map


def test_detections() -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    label_map = two_cats_and_a_dog()
    detections = found(label_map).to_supervision()
    assert isinstance(detections, supervision.Detections)
    assert detections.xyxy.tolist() == [[3, 2, 9, 6], [20, 10, 30, 12], [0, 15, 5, 20]]
    assert detections.class_id.tolist() == [0, 0, 1]
    np.testing.assert_allclose(detections.confidence, [0.75, 0.75, 0.9])
    assert detections["class_name"].tolist() == ["cat", "cat", "dog"]
    assert detections.mask.shape == (3, 20, 30)
    np.testing.assert_array_equal(detections.mask.any(axis=0), label_map > 0)
    assert detections.area.tolist() == [23, 20, 25]
    assert len(found(label_map).to_supervision(min_area=24)) == 1
    assert detections[detections.confidence > 0.8]["class_name"].tolist() == ["dog"]
    canvas = np.zeros((20, 30, 3), np.uint8)
    painted = supervision.MaskAnnotator().annotate(canvas, detections)
    np.testing.assert_array_equal(painted.any(axis=2), label_map > 0)


def test_nothing_found() -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    nothing = found(np.zeros((20, 30), np.uint8)).to_supervision()
    assert nothing.is_empty()
    assert nothing.mask.shape == (0, 20, 30)
    some = found(two_cats_and_a_dog()).to_supervision()
    assert len(type(some).merge([some, nothing])) == 3


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """out/annotations.json of images in two folders; one image shows nothing."""
    annotations = []
    maps = (two_cats_and_a_dog(), np.zeros((20, 30), np.uint8), np.flipud(two_cats_and_a_dog()))
    for number, (name, label_map) in enumerate(zip(("a/x", "b/y", "b/z"), maps, strict=True)):
        image = tmp_path / "images" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(image)
        scores = {"cat": 0.25 + number / 8, "dog": 0.5 + number / 8}
        annotations.append(Annotation(image, label_map, LABELS, scores))
    write_dataset(annotations, tmp_path / "out", "coco", ExportSettings(LABELS))
    return tmp_path


def test_exported_datasets_keep_their_scores(dataset: Path) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    loaded = load(dataset / "out" / "annotations.json", dataset / "images")
    assert loaded.classes == list(LABELS)
    assert len(loaded) == 3
    seen: dict[str, Any] = {Path(path).stem: detections for path, _, detections in loaded}
    assert seen["x"].confidence.tolist() == [0.25, 0.25, 0.5]
    assert seen["y"].confidence.tolist() == []
    assert seen["z"].confidence.tolist() == [0.5, 0.5, 0.75]
    assert seen["z"].class_id.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(seen["x"].mask.any(axis=0), two_cats_and_a_dog() > 0)
    file = dataset / "out" / "annotations.json"
    content = json.loads(file.read_text())
    del content["annotations"][0]["score"]
    file.write_text(json.dumps(content))
    without = load(file, dataset / "images")
    assert sorted(d.confidence.tolist() for _, _, d in without)[-1] == [1.0, 0.25, 0.5]


def test_what_cannot_be_loaded(dataset: Path) -> None:
    pytest.importorskip("supervision", reason="supervision is not installed")
    file = dataset / "out" / "annotations.json"
    assert "none.json cannot be loaded" in refusal(load, dataset / "none.json", dataset)
    good = json.loads(file.read_text())
    for spoilt in (good | {"images": []}, {"images": []}, []):
        file.write_text(json.dumps(spoilt))
        assert "annotations.json cannot be loaded" in refusal(load, file, dataset / "images")
    file.write_text("{")
    assert "cannot be loaded" in refusal(load, file, dataset / "images")


def test_without_supervision() -> None:
    with mock.patch.dict("sys.modules", {"supervision": None}):
        text = refusal(found(two_cats_and_a_dog()).to_supervision)
    assert "supervision needs the package supervision, which is not installed" in text
    assert "pip install 'likewise[supervision]'" in text

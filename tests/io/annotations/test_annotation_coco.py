"""COCO, results of detectors: which pixels, which class, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycocotools

from annotated import BAD, BOX, OTHER, RESULT, SIZE, coco, drawn, flat, labelme, read, write
from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.annotations.reader import read_annotated
from likewise.reference import Reference
from likewise.reference import read_reference as read_both


@pytest.mark.parametrize(
    "entry",
    [
        {"segmentation": [flat(BOX)]},
        {"segmentation": flat(BOX)},  # not in a list of its own
        {"segmentation": BOX},  # by points
        {"segmentation": [BOX]},
        {"segmentation": [flat(BOX), []]},
        {"segmentation": [flat(BOX)], "image_id": "7", "category_id": "3"},
        {"segmentation": [flat(BOX)], "image_id": 7.0, "category_id": 3.0},
        {"segmentation": pycocotools.encode(np.asfortranarray(drawn(BOX), np.uint8)), "iscrowd": 1},
    ],
)
def test_coco_outlines(tmp_path: Path, entry: dict[str, Any]) -> None:
    marks = entry["segmentation"]
    if isinstance(marks, dict) and isinstance(marks["counts"], bytes):
        entry = {**entry, "segmentation": {**marks, "counts": marks["counts"].decode()}}
    mask, notes = read(write(tmp_path, coco(entry)))
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert not notes


@pytest.mark.parametrize("marks", [[], None, [[]], {}, "missing"])
def test_a_box_without_an_outline_is_taken_and_said_so(tmp_path: Path, marks: Any) -> None:
    entry = {"bbox": [10, 5, 20, 20], "segmentation": marks}
    if marks == "missing":
        del entry["segmentation"]
    mask, notes = read(write(tmp_path, coco(entry, {"segmentation": [flat(OTHER)]})))
    np.testing.assert_array_equal(mask, drawn(BOX, OTHER))
    assert notes == ["there is no outline of annotation 100: the box is taken."]


def test_rings_are_united_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    entry = {"segmentation": [flat(BOX), [5, 5, 5, 9], flat(OTHER)]}
    mask, notes = read(write(tmp_path, coco(entry)))
    np.testing.assert_array_equal(mask, drawn(BOX, OTHER))
    (note,) = notes
    assert note.startswith("left out is annotation 100 (part 2) (a polygon has three points or")


@pytest.mark.parametrize("kind", list(BAD))
def test_a_damaged_annotation_is_named_and_the_others_are_used(tmp_path: Path, kind: str) -> None:
    content = coco(BAD[kind], {"segmentation": [flat(BOX)]})
    mask, notes = read(write(tmp_path, content), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    (note,) = notes
    assert note.startswith("left out is annotation 100 (")
    alone = write(tmp_path, coco(BAD[kind]))
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    text = refusal(read_both, Reference(tmp_path / "a.png", alone, label="coin"))
    assert "annotation 100 (" in text or "10 × 10 pixels, but its image is 60 × 40" in text


def test_annotations_that_are_none(tmp_path: Path) -> None:
    mask, notes = read(write(tmp_path, coco(None, 5, "x", [], {"segmentation": [flat(BOX)]})))
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert all(f"annotation {k} (" in notes[0] for k in (1, 2, 3, 4))


def test_classes_without_names(tmp_path: Path) -> None:
    content = coco({"segmentation": [flat(BOX)]})
    del content["categories"]
    mask, notes = read(write(tmp_path, content), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ["does not name its classes: its only one, 3, is taken to be coin."]
    content["annotations"].append({**content["annotations"][0], "category_id": 4})
    content["annotations"][1]["segmentation"] = [flat(OTHER)]
    file = write(tmp_path, content)
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE, "coin")
    assert "marks 3, 4 in " in text
    assert "as --label or --mask-value" in text
    for label, value in (("4", None), ("coin", 4), ("object", 4)):
        np.testing.assert_array_equal(read(file, label, value)[0], drawn(OTHER))
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE, "coin", 9)
    assert "nothing of the class 9 in " in text
    assert "only of 3 (3), 4 (4)" in text


def test_numbers_and_names_of_classes_that_differ(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        coco({"segmentation": [flat(BOX)]}, {"segmentation": [flat(OTHER)], "category_id": 4}),
    )
    np.testing.assert_array_equal(read(file, "eye", 4)[0], drawn(OTHER))  # 4, to be called eye
    np.testing.assert_array_equal(read(file, "coin", 3)[0], drawn(BOX))
    np.testing.assert_array_equal(read(file, "face/dog")[0], drawn(OTHER))
    np.testing.assert_array_equal(read(file, value="any")[0], drawn(BOX, OTHER))
    mask, notes = read(file, "coin", 4)  # 4 may be meant for another mask of the same command
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ["the value 4 is not used: a label tells the class there."]
    assert "colours" in refusal(read_annotated, file, tmp_path / "a.png", SIZE, "coin", (1, 2, 3))
    plain = write(tmp_path, labelme({"points": BOX}))
    assert read(plain, "coin", 4)[1] == notes
    same = coco(
        {"segmentation": [flat(BOX)]},
        {"segmentation": [flat(OTHER)], "category_id": 4},
        categories=[{"id": 3, "name": "object"}, {"id": 4, "name": "dog"}],
    )
    np.testing.assert_array_equal(read(write(tmp_path, same), value=4)[0], drawn(OTHER))


def test_results_of_a_detector(tmp_path: Path) -> None:
    mask, notes = read(
        write(tmp_path, [RESULT, {**RESULT, "segmentation": [flat(OTHER)], "score": 0.3}])
    )
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == [
        f"names no files: its only image, 42, is taken to be {tmp_path / 'a.png'}.",
        "1 results with a score below 0.5 are left out.",
    ]
    two = write(tmp_path, [RESULT, {**RESULT, "segmentation": [flat(OTHER)], "image_id": 43}])
    text = refusal(read_annotated, two, tmp_path / "a.png", SIZE)
    assert "a list of results for 2 images without their file names" in text
    # COCO's pictures are called by their number.
    mask, notes = read(two, image="000000000043.jpg")
    np.testing.assert_array_equal(mask, drawn(OTHER))
    assert not notes
    boxes = [{"image_id": 42, "category_id": 3, "bbox": [10, 5, 20, 20], "score": 0.9}]
    assert "no outline of result 1: the box" in read(write(tmp_path, boxes))[1][1]
    unsure = write(tmp_path, [{**RESULT, "score": 0.1}])
    with pytest.warns(InputWarning, match="score below"):
        assert "marks nothing" in refusal(read_annotated, unsure, tmp_path / "a.png", SIZE)


def test_panoptic_coco_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, coco({"segments_info": [], "file_name": "a.png"}))
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    assert "COCO panoptic JSON" in text

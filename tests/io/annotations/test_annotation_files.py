"""COCO and Labelme JSON as the mask of a reference; other kinds in test_annotation_*.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.cli.references import read_references
from likewise.export.annotations import Annotation
from likewise.export.dataset import ExportSettings, write_dataset
from likewise.io.annotations.reader import read_annotated

SIZE = (12, 16)


def labelme(*shapes: tuple[str, list[list[float]]], kind: str = "polygon") -> dict[str, Any]:
    listed = [{"label": name, "points": p, "shape_type": kind} for name, p in shapes]
    return {"shapes": listed, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}


def coco(*annotations: dict[str, Any], names: tuple[str, ...] = ("a.png",)) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7 + k, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
        "annotations": [{"image_id": 7, "category_id": 3, **a} for a in annotations],
    }


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(points: list[list[float]]) -> list[float]:
    return [coordinate for point in points for coordinate in point]


def marked(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


CAT, KITTEN, DOG = (1, 2, 5, 7), (6, 2, 8, 4), (10, 5, 15, 12)


def read(folder: Path, content: Any, label: str = "object") -> np.ndarray:
    (folder / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_annotated(folder / "a.json", folder / "a.png", SIZE, label)


def test_labelme(tmp_path: Path) -> None:
    cats = labelme(("cat", box(*CAT)), ("cat", box(*KITTEN)))
    np.testing.assert_array_equal(read(tmp_path, cats), marked(CAT, KITTEN))
    both = labelme(("cat", box(*CAT)), ("dog", box(*DOG)))
    np.testing.assert_array_equal(read(tmp_path, both, "dog"), marked(DOG))
    corners = [[5, 7], [1, 2]]  # dragged from below
    rectangle = labelme(("cat", corners), kind="rectangle")
    np.testing.assert_array_equal(read(tmp_path, rectangle), marked(CAT))
    without_size = {"shapes": cats["shapes"]}
    np.testing.assert_array_equal(read(tmp_path, without_size), marked(CAT, KITTEN))


def test_coco(tmp_path: Path) -> None:
    runs = {"size": list(SIZE), "counts": [0, 12, 180]}  # the first column
    content = coco(
        {"segmentation": [flat(box(*CAT)), flat(box(*KITTEN))]},
        {"segmentation": runs},
        {"segmentation": [flat(box(*DOG))], "category_id": 4},
        {"segmentation": [flat(box(0, 0, 16, 9))], "image_id": 8},
        names=("photos/a.png", "b.png"),
    )
    expected = marked(CAT, KITTEN, (0, 0, 1, 12))
    np.testing.assert_array_equal(read(tmp_path, content, "cat"), expected)
    np.testing.assert_array_equal(read(tmp_path, content, "dog"), marked(DOG))


def test_coco_with_one_name_in_two_folders(tmp_path: Path) -> None:
    image = {"segmentation": [flat(box(*CAT))]}
    here = f"{tmp_path.name}/a.png"
    np.testing.assert_array_equal(
        read(tmp_path, coco(image, names=(here, "other/a.png"))), marked(CAT)
    )
    text = refusal(read, tmp_path, coco(image, names=("one/a.png", "other/a.png")))
    assert "it lists 2 images called a.png" in text


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_what_was_exported_is_read_again(tmp_path: Path, kind: str) -> None:
    label_map = (marked(CAT, KITTEN) ^ marked((2, 3, 3, 5)) | marked((6, 8, 7, 9))).astype(np.uint8)
    label_map[marked(DOG)] = 2
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    annotation = Annotation(tmp_path / "a.png", label_map, ("cat", "dog"), {})
    settings = ExportSettings(("cat", "dog"), simplify=0)
    write_dataset([annotation], tmp_path / "out", kind, settings)
    (file,) = (tmp_path / "out").iterdir()
    references = read_references(
        [tmp_path / "a.png"] * 2, [file] * 2, [255], ["dog", "cat"], [], []
    )
    assert [r.label for r in references] == ["dog", "cat"]
    np.testing.assert_array_equal(references[0].mask, label_map == 2)
    np.testing.assert_array_equal(references[1].mask, label_map == 1)


CATS = {"segmentation": [flat(box(*CAT))]}


@pytest.mark.parametrize(
    ("content", "label", "words"),
    [
        ("{", "object", "a.json cannot be used (Expecting"),
        ("[]", "object", "a.json is JSON of a kind that is not known: export COCO JSON"),
        ("3", "object", "a.json is JSON of a kind that is not known: export COCO JSON"),
        ({"images": []}, "object", "a.json is JSON of a kind that is not known: export COCO JSON"),
        (
            {"images": [], "annotations": []},
            "object",
            "a.json cannot be used (it lists no image called a.png)",
        ),
        ({"shapes": [{"label": "cat"}]}, "object", "only shape 1 (it has no points): draw its"),
        ({"shapes": []}, "object", "a.json marks nothing in "),
        (coco(), "object", "a.json marks nothing in "),
        (coco(CATS, {**CATS, "category_id": 4}), "object", "marks cat, dog in"),
        (coco(CATS), "dog", "marks no dog in"),
        (coco(CATS, names=("a.png", "a.png")), "object", "it lists 2 images called a.png"),
        (
            labelme(("cat", [[1, 2], [3, 4]]), kind="line"),
            "object",
            "only shape 1 (a line has no inside): draw its outline",
        ),
        (labelme(("cat", [[1, 2], [3, 4]])), "object", "three points or more, and it has 2): draw"),
    ],
)
def test_refusals(tmp_path: Path, content: Any, label: str, words: str) -> None:
    assert words in refusal(read, tmp_path, content, label)


def test_a_missing_file(tmp_path: Path) -> None:
    text = refusal(read_annotated, tmp_path / "n.json", tmp_path / "a.png", SIZE)
    assert "n.json cannot be used (No such file" in text


def test_annotations_of_another_picture(tmp_path: Path) -> None:
    Image.new("RGB", (30, 12)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(labelme(("cat", box(*CAT)))))
    files = [tmp_path / "a.png"], [tmp_path / "a.json"]
    text = refusal(read_references, *files, [], [], [], [])
    assert text.startswith(f"{tmp_path / 'a.json'} is 16 × 12 pixels, but its image is 30 × 12")

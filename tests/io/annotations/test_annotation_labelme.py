"""Labelme and its kin: which pixels, which class, and what is said of the rest."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotated import BOX, OTHER, SIZE, disc, drawn, few, labelme, png, read, write
from helpers import refusal
from likewise.cli.references import read_references
from likewise.io.annotations.reader import read_annotated

CUT = [[0, 5], [30, 5], [30, 40], [0, 40]]
DIAMOND = [[20, 5], [35, 20], [20, 35], [5, 20]]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"shape_type": "rectangle", "points": [[30, 25], [10, 5]]}, drawn(BOX)),
        ({"shape_type": "rectangle", "points": BOX}, drawn(BOX)),
        ({"shape_type": "rectangle", "points": BOX, "description": "x"}, drawn(BOX)),
        ({"shape_type": "rotation", "points": DIAMOND, "direction": 0.785}, drawn(DIAMOND)),
        ({"shape_type": "quadrilateral", "points": DIAMOND}, drawn(DIAMOND)),
        ({"shape_type": None, "points": BOX}, drawn(BOX)),
        ({"points": [[-20, 5], [30, 5], [30, 90], [-20, 90]]}, drawn(CUT)),
    ],
)
def test_labelme_shapes(tmp_path: Path, shape: dict[str, Any], expected: np.ndarray) -> None:
    mask, notes = read(write(tmp_path, labelme(shape)), "coin")
    np.testing.assert_array_equal(mask, expected)
    assert not notes


def test_a_labelme_circle_is_a_centre_and_a_point_on_it(tmp_path: Path) -> None:
    shape = {"shape_type": "circle", "points": [[30, 20], [30 + 9, 20 - 12]]}
    mask, _ = read(write(tmp_path, labelme(shape)))
    assert few(mask, disc(30, 20, 15, 15), 4)


def test_a_labelme_mask_lies_in_its_box(tmp_path: Path) -> None:
    piece = np.zeros((6, 9), bool)
    piece[1:5, 2:8] = True
    text = base64.b64encode(png(piece)).decode()
    for left, top in ((20, 10), (-4, -2), (55, 37)):
        points = [[left, top], [left + 8, top + 5]]
        shape = {"shape_type": "mask", "points": points, "mask": text}
        mask, notes = read(write(tmp_path, labelme(shape)))
        whole = np.pad(np.zeros(SIZE, bool), 20)
        whole[20 + top : 26 + top, 20 + left : 29 + left] = piece
        np.testing.assert_array_equal(mask, whole[20:-20, 20:-20])
        assert not notes
    # All of a small box may be marked.
    full = base64.b64encode(png(np.ones((6, 9), bool))).decode()
    shape = {"shape_type": "mask", "points": [[20.2, 10], [27.9, 15]], "mask": full}
    assert read(write(tmp_path, labelme(shape)))[0].sum() == 54
    shape["points"] = [[20, 10], [40, 15]]
    text = refusal(read_annotated, write(tmp_path, labelme(shape)), tmp_path / "a.png", SIZE)
    assert "shape 1 (its mask has 9 × 6 pixels, and its box 21 × 6)" in text
    for bad in ("", "no base64!", base64.b64encode(b"no picture").decode(), None, 3):
        content = labelme({"points": BOX}, {**shape, "mask": bad})
        mask, notes = read(write(tmp_path, content))
        np.testing.assert_array_equal(mask, drawn(BOX))
        assert "shape 2" in notes[0]


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip", "polygon"])
def test_what_has_no_inside(tmp_path: Path, kind: str) -> None:
    points = {"point": [[5, 5]], "polygon": [[3, 3], [4, 4]]}.get(kind, [[5, 5], [9, 9]])
    empty = {"shape_type": kind, "points": points}
    # Of another label it does not matter, with the label given or not.
    content = labelme({"points": BOX}, {**empty, "label": "nose"})
    assert read(write(tmp_path, content), "coin")[1] == []
    if kind != "polygon":
        np.testing.assert_array_equal(read(write(tmp_path, content))[0], drawn(BOX))
    # Of the wanted label it is named, and the others are used.
    mask, notes = read(write(tmp_path, labelme({"points": BOX}, empty)), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    (note,) = notes
    assert note.startswith("left out is shape 2 (a ")
    # Nothing usable is left.
    only = labelme(empty, {"points": BOX, "label": "nose"})
    text = refusal(read_annotated, write(tmp_path, only), tmp_path / "a.png", SIZE, "coin")
    assert "marks no area of coin in " in text
    assert "shape 1 (a " in text


def test_unknown_kinds_are_named(tmp_path: Path) -> None:
    mask, notes = read(
        write(tmp_path, labelme({"points": BOX}, {"shape_type": "cuboid", "points": BOX}))
    )
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ["left out is shape 2 (a cuboid is not known)."]


def test_shapes_of_one_group_are_one_thing(tmp_path: Path) -> None:
    pieces = ({"points": BOX, "group_id": 1}, {"points": OTHER, "group_id": 1})
    np.testing.assert_array_equal(read(write(tmp_path, labelme(*pieces)))[0], drawn(BOX, OTHER))


def test_annotations_of_another_picture_are_said_so(tmp_path: Path) -> None:
    file = write(tmp_path, labelme({"points": BOX}, imagePath="..\\pictures\\b.png"))
    assert read(file)[1] == [f"was drawn in b.png, and is used for {tmp_path / 'a.png'}."]
    file = write(tmp_path, labelme({"points": BOX}, imagePath="..\\pictures\\a.jpg"))
    assert read(file)[1] == []


def test_the_picture_may_have_been_scaled(tmp_path: Path) -> None:
    half = np.asarray(BOX) / 2
    content = labelme({"points": half.tolist()}, imageHeight=20, imageWidth=30)
    (tmp_path / "m").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    files = [tmp_path / "a.png"], [write(tmp_path, content)]
    (reference,) = read_references(*files, [], [], [], [])
    assert few(reference.mask, drawn(BOX), 40)
    wrong = write(tmp_path, labelme({"points": BOX}, imageHeight=44, imageWidth=60))
    text = refusal(read_references, [tmp_path / "a.png"], [wrong], [], [], [], [])
    assert "a.json is 60 × 44 pixels, but its image is 60 × 40" in text
    for nonsense in (None, 0, -5, "high", [], True):
        content = labelme({"points": BOX}, imageHeight=nonsense)
        if nonsense is not True:
            np.testing.assert_array_equal(read(write(tmp_path, content))[0], drawn(BOX))

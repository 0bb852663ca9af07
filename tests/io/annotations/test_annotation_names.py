"""Names of pictures and classes, and encodings, in annotation files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from annotated import (
    BOX,
    CVAT_BOX,
    NFC,
    NFD,
    OTHER,
    SIZE,
    YOLO_BOX,
    YOLO_OTHER,
    coco,
    cvat,
    drawn,
    flat,
    labelme,
    png,
    read,
    write,
)
from helpers import refusal
from likewise.io.annotations.reader import read_annotated
from likewise.reference import Reference

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "picture", "said"),
    [
        (f"{NFD}.png", f"{NFC}.png", False),
        (f"{NFC}.png", f"{NFD}.png", False),
        ("./cam1/a.png", "cam1/a.png", False),
        ("cam1\\a.png", "cam1/a.png", False),
        (f"{NFD}\\a.png", f"{NFC}/a.png", False),
        ("C:\\data\\cam1\\a.png", "cam1/a.png", True),
        ("/home/somebody/cam1/a.png", "cam1/a.png", True),
        ("images/a.png", "cam1/a.png", True),
    ],
)
def test_a_picture_is_known_by_its_name(
    tmp_path: Path, listed: str, picture: str, said: bool
) -> None:
    images = [
        {"id": 8, "file_name": "other/b.png", "height": 40, "width": 60},
        {"id": 7, "file_name": listed, "height": 40, "width": 60},
    ]
    file = write(tmp_path, coco({"segmentation": [flat(BOX)]}, images=images))
    mask, notes = read(file, image=picture)
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ([f"its {listed} is taken to be {tmp_path / picture}."] if said else [])


def test_the_folders_around_a_picture_tell_which_is_meant(tmp_path: Path) -> None:
    names = ["C:\\x\\cam1\\a.png", "C:\\x\\cam2\\a.png"]
    images = [{"id": k, "file_name": n, "height": 40, "width": 60} for k, n in enumerate(names)]
    entries = [{"segmentation": [flat(p)], "image_id": k} for k, p in enumerate((BOX, OTHER))]
    file = write(tmp_path, coco(*entries, images=images))
    np.testing.assert_array_equal(read(file, image="cam1/a.png")[0], drawn(BOX))
    np.testing.assert_array_equal(read(file, image="cam2/a.png")[0], drawn(OTHER))
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    assert "it lists 2 images called a.png" in text
    text = refusal(read_annotated, file, tmp_path / "c.png", SIZE)
    assert "it lists no image called c.png, only C:\\x\\cam1\\a.png, C:\\x\\cam2\\a.png" in text


def test_class_names_are_compared_in_one_spelling(tmp_path: Path) -> None:
    for one, other in ((NFC, NFD), (NFD, NFC)):
        shapes = {"points": BOX, "label": one}, {"points": OTHER, "label": "dog"}
        np.testing.assert_array_equal(read(write(tmp_path, labelme(*shapes)), other)[0], drawn(BOX))
        content = coco({"segmentation": [flat(BOX)]}, categories=[{"id": 3, "name": one}])
        np.testing.assert_array_equal(read(write(tmp_path, content), other)[0], drawn(BOX))
    assert Reference("a.png", None, label=NFD).label == NFC
    many = labelme(*({"points": BOX, "label": f"a\nlong {k} {'x' * 500}"} for k in range(50)))
    text = refusal(read_annotated, write(tmp_path, many), tmp_path / "a.png", SIZE)
    assert "and 42 more" in text
    assert len(text) < 900


# --- encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encodings(tmp_path: Path, encoding: str, ends: str) -> None:
    shapes = {"points": BOX, "label": "münze"}, {"points": OTHER, "label": "dog"}
    text = json.dumps(labelme(*shapes), ensure_ascii=False, indent=1).replace("\n", ends)
    np.testing.assert_array_equal(
        read(write(tmp_path, text, encoding=encoding), "münze")[0], drawn(BOX)
    )
    yolo = write(tmp_path, f"0 {YOLO_BOX}{ends}1 {YOLO_OTHER}{ends}", "a.txt", encoding)
    write(tmp_path, f"münze{ends}dog{ends}", "classes.txt", encoding)
    np.testing.assert_array_equal(read(yolo, "münze")[0], drawn(BOX))
    xml = write(
        tmp_path,
        cvat(f'<polygon label="münze" points="{CVAT_BOX}"/>').replace("\n", ends),
        "a.xml",
        encoding,
    )
    np.testing.assert_array_equal(read(xml, "münze")[0], drawn(BOX))


def test_latin_1(tmp_path: Path) -> None:
    content = labelme({"points": BOX, "label": "münze"})
    for name, text in (("a.json", json.dumps(content, ensure_ascii=False)), ("a.txt", "münze 1")):
        file = write(tmp_path, text, name, "latin-1")
        said = refusal(read_annotated, file, tmp_path / "a.png", SIZE)
        assert f"{name} cannot be used (it is neither UTF-8 nor UTF-16 text)" in said
    shape = f'<polygon label="münze" points="{CVAT_BOX}"/>'
    file = write(
        tmp_path, '<?xml version="1.0" encoding="ISO-8859-1"?>' + cvat(shape), "a.xml", "latin-1"
    )
    np.testing.assert_array_equal(read(file, "münze")[0], drawn(BOX))  # XML says its encoding


# --- names that tools change ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "image"),
    [
        ("images\\1a2b3c4d-coin 1.png", "coin 1.png"),
        ("/data/upload/3/1a2b3c4d-coin.png", "coin.png"),
        ("coin_png.rf.0123456789abcdef0123456789abcdef.jpg", "coin.png"),
        ("https://a.org/x/coin%201.png?token=ab/c.png", "coin 1.png"),
        ("COIN.PNG", "coin.png"),
        ("coin.jpg", "coin.png"),
    ],
)
def test_names_that_tools_change(tmp_path: Path, said: str, image: str) -> None:
    content = coco({"segmentation": [flat(BOX)]})
    content["images"] = [{"id": 7, "file_name": said}, {"id": 8, "file_name": "dog.png"}]
    mask, notes = read(write(tmp_path, content), image=image)
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == [f"its {said} is taken to be {tmp_path / image}."]


def test_names_that_are_others(tmp_path: Path) -> None:
    content = coco({"segmentation": [flat(BOX)]})
    for said in (["20240101-a.png"], ["coin.jpg", "COIN.png"], ["1a2b3c4d-.png"]):
        content["images"] = [{"id": 7 + k, "file_name": name} for k, name in enumerate(said)]
        for image in ("20240102-a.png", "coin.png"):
            if image != "coin.png" or "coin.jpg" in said:
                text = refusal(read, write(tmp_path, content), image=image)
                assert f"it lists no image called {image}" in text


def test_shares_where_pixels_belong(tmp_path: Path) -> None:
    shares = (np.array(BOX) / (SIZE[1], SIZE[0])).tolist()
    for content in (coco({"segmentation": [flat(shares)]}), labelme({"points": shares})):
        assert "coordinates are all in 0..1" in refusal(read, write(tmp_path, content))


def test_labelmes_mask_at_the_edge(tmp_path: Path) -> None:
    whole = drawn([[40, 30], [SIZE[1], 30], [SIZE[1], SIZE[0]], [40, SIZE[0]]])
    text = base64.b64encode(png(whole[30:, 40:])).decode()
    shape = {"shape_type": "mask", "mask": text, "points": [[40, 30], [SIZE[1], SIZE[0]]]}
    np.testing.assert_array_equal(read(write(tmp_path, labelme(shape)))[0], whole)


def test_what_is_no_list(tmp_path: Path) -> None:
    marks = {"segmentation": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}
    for content, words in (
        (coco(marks), "neither polygons nor run lengths"),
        ({**coco(), "images": {"7": {}}}, "its images are no list"),
        ("  \n", "it is empty"),
        ([{"segmentation": {}, "predicted_iou": 1}], "list of masks of Segment Anything"),
    ):
        assert words in refusal(read, write(tmp_path, content))

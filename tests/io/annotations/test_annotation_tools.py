"""CVAT, VOC, VIA, Supervisely and others; turned pictures; the command line."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    disc,
    drawn,
    few,
    flat,
    labelme,
    png,
    read,
    via_region,
    write,
)
from helpers import refusal
from likewise.cli.references import read_references
from likewise.errors import InputWarning
from likewise.io.annotations.reader import is_annotation, read_annotated
from likewise.reference import Reference
from likewise.reference import read_reference as read_both

# --- XML ------------------------------------------------------------------------------------------


def test_cvat(tmp_path: Path) -> None:
    corners = 'xtl="10" ytl="5" xbr="30" ybr="25"'
    for shape, expected, most in (
        (f'<polygon label="coin" points="{CVAT_BOX}" z_order="0"/>', drawn(BOX), 0),
        (f'<box label="coin" {corners}/>', drawn(BOX), 0),
        (f'<box label="coin" {corners} rotation="90"/>', drawn(BOX), 0),
        (
            f'<box label="coin" {corners} rotation="45.00"/>',
            drawn(
                [[20, 15 - 200**0.5], [20 + 200**0.5, 15], [20, 15 + 200**0.5], [20 - 200**0.5, 15]]
            ),
            0,
        ),
        ('<ellipse label="coin" cx="30" cy="20" rx="15" ry="8"/>', disc(30, 20, 15, 8), 4),
        (
            '<ellipse label="coin" cx="30" cy="20" rx="15" ry="8" rotation="30"/>',
            disc(30, 20, 15, 8, 30),
            4,
        ),
    ):
        mask, notes = read(write(tmp_path, cvat(shape), "a.xml"), "coin")
        assert few(mask, expected, most), shape
        assert not notes


def test_a_cvat_mask(tmp_path: Path) -> None:
    piece = np.random.default_rng(0).random((7, 9)) > 0.5
    for left, top in ((20, 10), (55, 36)):
        cells = piece.ravel()
        edges = np.flatnonzero(np.diff(np.r_[False, cells, not cells[-1]]))
        runs = ", ".join(map(str, np.diff(np.r_[0, edges]).tolist()))
        place = f'left="{left}" top="{top}" width="9" height="7"'
        mask, _ = read(write(tmp_path, cvat(f'<mask label="coin" rle="{runs}" {place}/>'), "a.xml"))
        expected = np.zeros((SIZE[0] + 9, SIZE[1] + 9), bool)
        expected[top : top + 7, left : left + 9] = piece
        np.testing.assert_array_equal(mask, expected[: SIZE[0], : SIZE[1]])
    bad = '<mask label="coin" rle="3, 9" left="0" top="0" width="9" height="7"/>'
    huge = '<mask label="coin" rle="1" left="0" top="0" width="1000000" height="1000000"/>'
    good = f'<polygon label="coin" points="{CVAT_BOX}"/>'
    mask, notes = read(write(tmp_path, cvat(bad, good, huge), "a.xml"))
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert "shape 1 (its runs do not add up to 9 × 7 pixels)" in notes[0]
    assert "shape 3 (" in notes[0]


def test_cvat_lines_and_damage(tmp_path: Path) -> None:
    good = f'<polygon label="coin" points="{CVAT_BOX}"/>'
    line = '<polyline label="edge" points="1,1;2,2"/><points label="eye" points="1,1"/>'
    mask, notes = read(write(tmp_path, cvat(good, line), "a.xml"))
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert not notes
    bad = [
        '<polyline label="coin" points="1,1;2,2"/>',
        '<polygon label="coin" points="1,1;2,2"/>',
        '<polygon label="coin" points="1,1;2;3,3"/>',
        '<polygon label="coin"/>',
        '<polygon points="1,1;2,1;3,3"/>',
        '<box label="coin" xtl="nan" ytl="5" xbr="30" ybr="25"/>',
        '<ellipse label="coin" cx="30" cy="20" rx="-15" ry="8"/>',
    ]
    mask, notes = read(write(tmp_path, cvat(*bad, good), "a.xml"), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert all(f"shape {k} (" in notes[0] for k in range(1, 8))


def test_xml_that_is_not_read(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "' + "c" * 99 + '">]>' + cvat().replace("<meta/>", "&b;" * 99)
    for text, words in (
        ("<annotations><track id='0' label='coin'/></annotations>", "is CVAT for video: export"),
        ("<svg/>", "is XML of a kind that is not known: export"),
        ("<annotations>", "cannot be used (it is no XML: no element found"),
        ("", "cannot be used (it is no XML: no element found"),
        ("no XML", "cannot be used (it is no XML: syntax error"),
        (bomb, "cannot be used (it declares entities)"),
        (cvat(name="c.png"), "it lists no image called a.png, only b.png, c.png"),
        (cvat(), "marks nothing in "),
    ):
        for encoding in ("utf-8", "utf-16"):
            file = write(tmp_path, text, "a.xml", encoding if text else "utf-8")
            assert words in refusal(read_annotated, file, tmp_path / "a.png", SIZE)


def test_pascal_voc(tmp_path: Path) -> None:
    box = "<bndbox><xmin>10</xmin><ymin>5</ymin><xmax>30</xmax><ymax>25</ymax></bndbox>"
    numbered = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate(OTHER, 1))
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in OTHER)
    head = "<annotation><filename>a.jpg</filename><size><width>60</width><height>40</height></size>"
    for polygon in (numbered, points):
        text = (
            f"{head}<object><name>coin</name>{box}</object>"
            f"<object><name>dog</name><polygon>{polygon}</polygon>{box}</object></annotation>"
        )
        file = write(tmp_path, text, "a.xml")
        mask, notes = read(file, "coin")
        np.testing.assert_array_equal(mask, drawn(BOX))
        assert notes == ["there is no outline of object 1: the box is taken."]
        np.testing.assert_array_equal(read(file, "dog")[0], drawn(OTHER))


# --- other tools ----------------------------------------------------------------------------------


def test_via_without_attributes_and_with_several(tmp_path: Path) -> None:
    shape = {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 20}
    for said in ({}, {"class": ""}, {"Label": "coin", "note": "blurred"}):
        region = {"shape_attributes": shape, "region_attributes": said}
        mask, _ = read(write(tmp_path, {"a": {"filename": "a.png", "regions": [region]}}))
        np.testing.assert_array_equal(mask, drawn(BOX))
    region["region_attributes"] = {"colour": "red", "note": "blurred"}
    file = write(tmp_path, {"a": {"filename": "a.png", "regions": [region]}})
    assert "it has 2 attributes" in refusal(read, file)


def test_via(tmp_path: Path) -> None:
    oval = {"name": "ellipse", "cx": 30, "cy": 20, "rx": 15, "ry": 8, "theta": 0.5}
    polygon = {
        "name": "polygon",
        "all_points_x": [p[0] for p in BOX],
        "all_points_y": [p[1] for p in BOX],
    }
    for shape, expected in (
        (polygon, drawn(BOX)),
        ({"name": "rect", "x": 10, "y": 5, "width": 20, "height": 20}, drawn(BOX)),
        ({"name": "circle", "cx": 30, "cy": 20, "r": 15}, disc(30, 20, 15, 15)),
        (oval, disc(30, 20, 15, 8, np.rad2deg(0.5))),
    ):
        regions = [via_region("coin", **shape), via_region("dog", name="point", cx=3, cy=3)]
        entry = {"filename": "a.png", "size": 9, "file_attributes": {}}
        for content in (
            {"a.png9": {**entry, "regions": regions}},
            {
                "a.png": {**entry, "regions": {str(k): r for k, r in enumerate(regions)}}
            },  # makesense
            {"_via_settings": {}, "_via_img_metadata": {"a.png9": {**entry, "regions": regions}}},
        ):
            mask, notes = read(write(tmp_path, content))
            assert few(mask, expected, 4)
            assert not notes
    checked = [via_region({"coin": True, "dog": False}, **polygon), via_region("", **polygon)]
    mask, notes = read(write(tmp_path, {"a": {"filename": "a.png", "regions": checked}}), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == [
        "left out is region 2 (it has 0 attributes, and one called class or label would be its "
        "class)."
    ]


def test_isat_holes(tmp_path: Path) -> None:
    hole = [[15, 10], [20, 10], [20, 15], [15, 15]]
    objects = [
        {"category": "coin", "group": 1, "segmentation": BOX, "layer": 1.0},
        {"category": "__background__", "group": 0, "segmentation": hole, "layer": 2.0},
    ]
    info = {"description": "ISAT", "name": "a.png", "height": SIZE[0], "width": SIZE[1]}
    for label in ("coin", "object"):
        mask, notes = read(write(tmp_path, {"info": info, "objects": objects}), label)
        np.testing.assert_array_equal(mask, drawn(BOX) & ~drawn(hole))
        assert not notes


def test_supervisely(tmp_path: Path) -> None:
    hole = [[15, 10], [20, 10], [20, 15], [15, 15]]
    piece = np.zeros((6, 9), np.uint8)
    piece[1:5, 2:8] = 255
    data = base64.b64encode(zlib.compress(png(piece))).decode()
    pieced = np.zeros(SIZE, bool)
    pieced[20:26, 45:54] = piece > 0
    for kind, shape, expected in (
        ("polygon", {"points": {"exterior": BOX, "interior": [hole]}}, drawn(BOX) & ~drawn(hole)),
        ("rectangle", {"points": {"exterior": [BOX[0], BOX[2]], "interior": []}}, drawn(BOX)),
        ("bitmap", {"bitmap": {"data": data, "origin": [45, 20]}}, pieced),
    ):
        point = {"classTitle": "dog", "geometryType": "point", "points": {"exterior": [[1, 1]]}}
        objects = [{"id": 9, "classTitle": "coin", "geometryType": kind, **shape}, point]
        content = {"size": {"height": SIZE[0], "width": SIZE[1]}, "tags": [], "objects": objects}
        mask, notes = read(write(tmp_path, content))
        np.testing.assert_array_equal(mask, expected)
        assert not notes


def test_cityscapes(tmp_path: Path) -> None:
    objects = [{"label": "car", "polygon": BOX}, {"label": "road", "polygon": OTHER}]
    content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
    np.testing.assert_array_equal(read(write(tmp_path, content), "car")[0], drawn(BOX))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"id": 1, "annotations": [], "data": {"image": "a.png"}}], "is Label Studio's own JSON"),
        ([{"image": "a", "annotation_id": 1, "annotator": 1}], "is Label Studio's JSON-MIN"),
        ({"item": {}, "annotations": [], "version": "2.0"}, "is V7 Darwin JSON"),
        ({"items": [], "categories": {}}, "is Datumaro JSON"),
        ({"instances": [], "metadata": {}}, "is SuperAnnotate JSON"),
        ({"data_row": {}}, "is Labelbox JSON"),
        ({"type": "FeatureCollection", "features": []}, "is GeoJSON without annotations of QuPath"),
        ({"1": "coin"}, "is JSON of a kind that is not known"),
        ([], "is JSON of a kind that is not known"),
    ],
)
def test_other_json_is_refused_by_name(tmp_path: Path, content: Any, words: str) -> None:
    text = refusal(read_annotated, write(tmp_path, content), tmp_path / "a.png", SIZE)
    assert words in text
    assert "export COCO JSON" in text


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "a.NDJSON", "a.zip", "data.yaml"):
        assert is_annotation(Path(name))
        text = refusal(read_annotated, tmp_path / name, tmp_path / "a.png", SIZE)
        assert "is of a kind (." in text
    assert not any(is_annotation(Path(name)) for name in ("a.png", "a.npy", "a.TIFF", "a"))


# --- pictures that EXIF turns ---------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_pictures(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = Image.new("RGB", (60, 40))
    stored.paste((255, 255, 255), (10, 5, 30, 25))
    stored.save(tmp_path / "a.png", exif=exif)
    # In stored coordinates and with the stored size.
    both = Reference(tmp_path / "a.png", write(tmp_path, coco({"segmentation": [flat(BOX)]})))
    with pytest.warns(InputWarning, match="EXIF"):
        pixels, mask = read_both(both)
    if orientation >= 5:
        np.testing.assert_array_equal(mask, pixels[..., 0] > 0)
        # In the coordinates of what is seen.
        upright = coco({"segmentation": [flat(BOX)]})
        upright["images"][0].update(height=60, width=40)
        file = write(tmp_path, upright)
        mask, notes = read(file, size=(60, 40))
        np.testing.assert_array_equal(mask, drawn(BOX, size=(60, 40)))
        assert "as it is seen" in notes[0]
    else:  # nothing can tell
        np.testing.assert_array_equal(mask, drawn(BOX))


# --- the command line and Python ------------------------------------------------------------------


def test_references_with_annotations(tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    picture, file = tmp_path / "a.png", write(tmp_path, f"0 {YOLO_BOX}\n1 {YOLO_OTHER}", "a.txt")
    twice = read_references([picture] * 2, [file] * 2, [0, 1], ["coin", NFD], [], [])
    assert [r.label for r in twice] == ["coin", NFC]
    for reference, expected in zip(twice, (BOX, OTHER), strict=True):
        np.testing.assert_array_equal(reference.mask, drawn(expected))
        np.testing.assert_array_equal(read_both(reference)[1], drawn(expected))
    np.testing.assert_array_equal(
        read_both(Reference(picture, file, mask_value=1))[1], drawn(OTHER)
    )
    # All that a file marks is what it is not.
    (_, negative) = read_references([picture], [file], [0], [], [picture], [file])
    np.testing.assert_array_equal(negative.mask, drawn(BOX, OTHER))
    (only,) = read_references(
        [picture], [write(tmp_path, labelme({"points": BOX}))], [], [], [], []
    )
    assert only.label == "object"

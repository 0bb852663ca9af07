"""Annotation files as tools write them: which pixels, which class, and what is said of the rest."""

from __future__ import annotations

import base64
import io
import json
import unicodedata
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as pycocotools

from helpers import refusal
from likewise.cli.references import read_references
from likewise.errors import ImageError, InputWarning
from likewise.io.annotations.reader import is_annotation, read_annotated
from likewise.io.coco_masks import fill_polygon
from likewise.reference import Reference
from likewise.reference import read_reference as read_both

SIZE = (40, 60)
BOX = [[10, 5], [30, 5], [30, 25], [10, 25]]
OTHER = [[40, 10], [55, 10], [55, 30], [40, 30]]

# Property-based tests write into one folder again and again, each time the whole file.
PROPERTY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def drawn(*polygons: Any, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    for polygon in polygons:
        fill_polygon(mask, np.asarray(polygon, float).ravel())
    return mask


def write(folder: Path, content: Any, name: str = "a.json", encoding: str = "utf-8") -> Path:
    file = folder / name
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    file.write_bytes(text.encode(encoding))
    return file


def read(file: Path, label: str = "object", value: object = None, size=SIZE, image="a.png"):
    """The mask and the notes, without the name of the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mask = read_annotated(file, file.parent / image, size, label, value)
    assert all(issubclass(w.category, InputWarning) for w in caught)
    assert all(w.message.source == str(file) for w in caught)
    assert all("\n" not in str(w.message) and str(w.message).endswith(".") for w in caught)
    return mask, [w.message.what for w in caught]


def labelme(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"label": "coin", "shape_type": "polygon", "group_id": None, "flags": {}}
    content = {"version": "5.5.0", "flags": {}, "shapes": [{**base, **s} for s in shapes]}
    return {
        **content,
        "imagePath": "a.png",
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
        **more,
    }


def coco(*annotations: Any, **more: Any) -> dict[str, Any]:
    full = [
        {"id": 100 + k, "image_id": 7, "category_id": 3, **a} if isinstance(a, dict) else a
        for k, a in enumerate(annotations)
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 3, "name": "coin"}, {"id": 4, "name": "dog"}],
        "annotations": full,
        **more,
    }


def flat(points: Any) -> list[float]:
    return [c for point in points for c in point]


def png(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


def disc(x: float, y: float, across: float, down: float, angle: float = 0) -> np.ndarray:
    """Pixels whose centre lies in an ellipse, turned clockwise by degrees."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    u, v, t = columns - x, rows - y, np.deg2rad(angle)
    along, beside = u * np.cos(t) + v * np.sin(t), v * np.cos(t) - u * np.sin(t)
    return (along / across) ** 2 + (beside / down) ** 2 <= 1


def few(a: np.ndarray, b: np.ndarray, most: int) -> bool:
    assert a.shape == b.shape
    return int((a != b).sum()) <= most and bool(a.any())


# --- Labelme, AnyLabeling, X-AnyLabeling ---------------------------------------------------------

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


# --- COCO ---------------------------------------------------------------------------------------


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


BAD = {
    "two points": {"segmentation": [[5, 5, 5, 9]]},
    "odd numbers": {"segmentation": [[5, 5, 5, 9, 8, 8, 1]]},
    "no area": {"segmentation": [[5, 5, 9, 9, 5, 5]]},
    "text": {"segmentation": "polygon"},
    "words": {"segmentation": [["a", "b", "c", "d", "e", "f"]]},
    "a number": {"segmentation": 5},
    "null inside": {"segmentation": [[5, None, 5, 9, 8, 8]]},
    "NaN": {"segmentation": [[float("nan"), 5, 5, 9, 8, 8]]},
    "infinity": {"segmentation": [[float("inf"), 5, 5, 9, 8, 8]]},
    "huge": {"segmentation": [[1e300, 5, -1e300, 9, 8, 1e308]]},
    "huge whole number": {"segmentation": [[10**400, 5, 5, 9, 8, 8]]},
    "outside": {"segmentation": [[500, 500, 510, 500, 510, 510]]},
    "no outline, no box": {"segmentation": None},
    "no outline, empty box": {"segmentation": [], "bbox": [5, 5, 0, 9]},
    "no outline, damaged box": {"segmentation": [], "bbox": [5, "wide"]},
    "no outline, NaN box": {"segmentation": [], "bbox": [5, 5, float("nan"), 9]},
    "category not in the file": {"segmentation": [flat(OTHER)], "category_id": 99},
    "category null": {"segmentation": [flat(OTHER)], "category_id": None},
    "category of the wrong kind": {"segmentation": [flat(OTHER)], "category_id": {"id": 3}},
    "image of the wrong kind": {"segmentation": [flat(OTHER)], "image_id": [7]},
    "runs that do not fill": {"segmentation": {"size": [40, 60], "counts": [5, 5]}},
    "runs cut short": {"segmentation": {"size": [40, 60], "counts": "Tj0:l1"}},
    "runs without an end": {"segmentation": {"size": [40, 60], "counts": "o" * 5000}},
    "runs of words": {"segmentation": {"size": [40, 60], "counts": "äöü"}},
    "runs without counts": {"segmentation": {"size": [40, 60]}},
    "runs of no size": {"segmentation": {"size": None, "counts": [2400]}},
    "runs of a huge size": {"segmentation": {"size": [10**9, 10**9], "counts": [10**18]}},
    "runs of another picture": {"segmentation": {"size": [10, 10], "counts": [0, 100]}},
}


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


RESULT = {"image_id": 42, "category_id": 3, "score": 0.9, "segmentation": [flat(BOX)]}


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


# --- names ---------------------------------------------------------------------------------------

NFC, NFD = (unicodedata.normalize(form, "münze") for form in ("NFC", "NFD"))


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


# --- encodings -----------------------------------------------------------------------------------


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


# --- YOLO ----------------------------------------------------------------------------------------

YOLO_BOX = " ".join(
    str(c / side) for point in BOX for c, side in zip(point, SIZE[::-1], strict=True)
)
YOLO_OTHER = " ".join(
    str(c / side) for point in OTHER for c, side in zip(point, SIZE[::-1], strict=True)
)


def test_yolo(tmp_path: Path) -> None:
    file = write(tmp_path, f"0 {YOLO_BOX}\n\n2 {YOLO_OTHER}\n", "a.txt")
    for label, value, expected in (
        ("0", None, BOX),
        ("2", None, OTHER),
        ("coin", 0, BOX),
        ("object", 2, OTHER),
    ):
        mask, notes = read(file, label, value)
        np.testing.assert_array_equal(mask, drawn(expected))
        assert not notes
    assert "marks 0, 2 in " in refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    scored = write(tmp_path, f"0 {YOLO_BOX} 0.93\n", "a.txt")
    np.testing.assert_array_equal(read(scored)[0], drawn(BOX))


def test_yolo_boxes(tmp_path: Path) -> None:
    for score in ("", " 0.9"):
        file = write(tmp_path, f"0 {20 / 60} {15 / 40} {20 / 60} {20 / 40}{score}", "a.TXT")
        mask, notes = read(file)
        np.testing.assert_array_equal(mask, drawn(BOX))
        assert notes == ["there is no outline of line 1: the box is taken."]


def test_yolo_poses_are_boxes(tmp_path: Path) -> None:
    write(tmp_path, "names: [coin]\nkpt_shape: [3, 2]\n", "data.yaml")
    pose = f"0 {20 / 60} {15 / 40} {20 / 60} {20 / 40} 0.3 0.3 0.4 0.4 0.5 0.5"
    mask, notes = read(write(tmp_path, pose, "a.txt"), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ["there is no outline of line 1: the box is taken."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels/classes.txt", "coin\ndog\n"),
        ("labels/data.yaml", "nc: 2\nnames: [coin, dog]\n"),
        ("data.yaml", "names:\n  0: coin\n  1: dog\n"),
        ("dataset.yaml", "names: {1: dog, 0: coin}\n"),
        ("obj.names", "coin\r\ndog\r\n"),
        ("../data.yaml", "names: ['coin', 'dog']\n"),
    ],
)
def test_yolo_classes_are_named_beside_or_above(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "set" / "labels").mkdir(parents=True)
    write(tmp_path / "set", text, name)
    file = write(tmp_path / "set" / "labels", f"0 {YOLO_BOX}\n1 {YOLO_OTHER}\n", "a.txt")
    for label, value, expected in (("coin", None, BOX), ("dog", None, OTHER), ("1", None, OTHER)):
        np.testing.assert_array_equal(read(file, label, value)[0], drawn(expected))
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE, "cat")
    assert "marks no cat in " in text
    assert "only coin, dog" in text


def test_yolo_with_classes_that_cannot_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, f"0 {YOLO_BOX}", "a.txt")
    for text in ("names: [", "nothing: 1", "names: 5", "names: {a: b}"):
        write(tmp_path, text, "data.yaml")
        said = refusal(read_annotated, file, tmp_path / "a.png", SIZE)
        assert "data.yaml does not name its classes: mend or remove that" in said


def test_damaged_lines_of_yolo(tmp_path: Path) -> None:
    bad = [
        "0 0.1 0.2",
        "0 0.1 0.2 0.3 0.4 0.5 nan",
        "0 100 50 300 50 300 250",
        "coin 0.1 0.2 0.3 0.4",
        "-1 0.1 0.2 0.3 0.4",
        "1e999 0.1 0.2 0.3 0.4",
    ]
    file = write(tmp_path, "\n".join([*bad, f"0 {YOLO_BOX}"]), "a.txt")
    mask, notes = read(file, "0")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert all(f"line {k} (" in notes[0] for k in range(1, len(bad) + 1))
    assert "not shares from 0 to 1" in notes[0]
    for text in ("one two\nthree", "1 2 3 4 5 6 7 8 ship 0"):  # a caption, and DOTA
        file = write(tmp_path, text if "ship" not in text else f"x {text}", "a.txt")
        assert "is no YOLO text" in refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    file = write(tmp_path, "\n", "a.txt")
    assert "marks nothing in" in refusal(read_annotated, file, tmp_path / "a.png", SIZE)


# --- XML -----------------------------------------------------------------------------------------

CVAT_BOX = ";".join(f"{x},{y}" for x, y in BOX)


def cvat(*shapes: str, name: str = "a.png", size: tuple[int, int] = SIZE) -> str:
    inside = "\n".join(shapes)
    return (
        "<annotations>\n<version>1.1</version><meta/>"
        f'<image id="0" name="b.png" width="9" height="9"/>'
        f'<image id="1" name="{name}" width="{size[1]}" height="{size[0]}">{inside}</image>\n'
        "</annotations>"
    )


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


# --- other tools ---------------------------------------------------------------------------------


def via_region(label: Any, **shape: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": {"class": label}}


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
        ({"type": "FeatureCollection", "features": []}, "is GeoJSON"),
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


# --- pictures that EXIF turns --------------------------------------------------------------------


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


# --- the command line and Python -----------------------------------------------------------------


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


# --- whatever is in the files --------------------------------------------------------------------

# Corners off the middles of pixels, so that no rounding of a format moves a pixel.
PLACES = st.integers(0, 59 * 8).map(lambda k: k / 8 + 1 / 16)
POLYGONS = st.lists(
    st.lists(st.tuples(PLACES, PLACES.map(lambda y: y * 2 / 3)), min_size=3, max_size=7),
    min_size=1,
    max_size=4,
).filter(lambda shapes: all(drawn(points).any() for points in shapes))


@settings(max_examples=60, **PROPERTY)
@given(polygons=POLYGONS)
def test_every_format_reads_as_the_same_mask(tmp_path: Path, polygons: list[Any]) -> None:
    expected = drawn(*polygons)
    runs = [
        {"segmentation": {**runs, "counts": runs["counts"].decode()}}
        for p in polygons
        for runs in [pycocotools.encode(np.asfortranarray(drawn(p), np.uint8))]
    ]
    shapes = [
        f'<polygon label="coin" points="{";".join(f"{x},{y}" for x, y in p)}"/>' for p in polygons
    ]
    lines = [" ".join(["0", *(f"{x / 60} {y / 40}" for x, y in p)]) for p in polygons]
    for name, content, most in (
        ("a.json", labelme(*({"points": p} for p in polygons)), 0),
        ("a.json", coco(*({"segmentation": [flat(p)]} for p in polygons)), 0),
        ("a.json", coco({"segmentation": [flat(p) for p in polygons]}), 0),
        ("a.json", coco(*runs), 0),
        ("a.xml", cvat(*shapes), 0),
        ("a.txt", "\n".join(lines), 3),
    ):
        mask, notes = read(write(tmp_path, content, name))
        assert few(mask, expected, most)
        assert not notes


@settings(max_examples=60, **PROPERTY)
@given(st.data())
def test_run_lengths_are_those_of_pycocotools(tmp_path: Path, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    cells = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    marks = np.array(cells).reshape(height, width)
    marks.flat[data.draw(st.integers(0, marks.size - 1))] = True
    packed = pycocotools.encode(np.asfortranarray(marks, np.uint8))
    column = marks.T.ravel()
    edges = np.flatnonzero(np.diff(np.r_[False, column])).tolist()
    counts = np.diff([0, *edges, column.size]).tolist()
    for runs in (packed["counts"].decode(), counts):
        image = {"id": 7, "file_name": "a.png"}
        content = coco({"segmentation": {"size": [height, width], "counts": runs}}, images=[image])
        mask, _ = read(write(tmp_path, content), size=(height, width))
        np.testing.assert_array_equal(mask, pycocotools.decode([packed])[..., 0] > 0)
        np.testing.assert_array_equal(mask, marks)


@settings(max_examples=40, **PROPERTY)
@given(polygons=POLYGONS, bad=st.lists(st.sampled_from(list(BAD)), max_size=6), data=st.data())
def test_the_good_ones_of_any_mixture_are_read(
    tmp_path: Path, polygons: list[Any], bad: list[str], data: st.DataObject
) -> None:
    entries = [(True, {"segmentation": [flat(p)]}) for p in polygons]
    entries = data.draw(st.permutations(entries + [(False, BAD[kind]) for kind in bad]))
    mask, notes = read(write(tmp_path, coco(*(entry for _, entry in entries))), "coin")
    np.testing.assert_array_equal(mask, drawn(*polygons))
    said = " ".join(notes)
    for place, (good, _) in enumerate(entries):
        assert (f"annotation {100 + place}" in said) is not good


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["polygon", "mask", "coin", "a.png", 10**400, -1, 0, 1e308]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "label", "points", "size", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
PIECE = base64.b64encode(png(np.ones((3, 4), bool))).decode()
DOCUMENTS = [
    labelme(
        {"points": BOX},
        {"shape_type": "circle", "points": BOX[:2]},
        {"shape_type": "mask", "points": [[1, 1], [4, 3]], "mask": PIECE},
    ),
    coco(
        {"segmentation": [flat(BOX)], "bbox": [1, 2, 3, 4]},
        {"segmentation": {"size": [40, 60], "counts": [0, 40, 2360]}},
        {"segmentation": None, "bbox": [1, 2, 3, 4]},
    ),
    [RESULT, {**RESULT, "segmentation": None, "bbox": [1, 2, 3, 4]}],
    {"a": {"filename": "a.png", "regions": [via_region("coin", name="circle", cx=9, cy=9, r=5)]}},
    {
        "info": {"name": "a.png", "height": 40, "width": 60},
        "objects": [{"category": "coin", "segmentation": BOX}],
    },
    {
        "size": {"height": 40, "width": 60},
        "objects": [
            {"classTitle": "coin", "geometryType": "polygon", "points": {"exterior": BOX}},
            {
                "classTitle": "coin",
                "geometryType": "bitmap",
                "bitmap": {"data": PIECE, "origin": [1, 2]},
            },
        ],
    },
    {"imgHeight": 40, "imgWidth": 60, "objects": [{"label": "coin", "polygon": BOX}]},
]


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a document."""
    keys = list(content) if isinstance(content, dict) else range(len(content))
    found = [(content, key) for key in keys]
    inner = [content[key] for key in keys if isinstance(content[key], dict | list)]
    return found + [place for one in inner for place in places(one)]


def tell(file: Path, label: str, value: object) -> None:
    """Reads a file, which gives a mask or one sentence."""
    try:
        mask, _ = read(file, label, value)
    except ImageError as error:
        said = str(error)
    else:
        assert mask.dtype == bool
        assert mask.any()
        return
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 2500


LABELS = st.sampled_from(["coin", "object", "7"])
VALUES = st.sampled_from([None, 3, "any"])


@settings(max_examples=400, **PROPERTY)
@given(data=st.data(), label=LABELS, value=VALUES)
def test_any_json_ends_in_a_mask_or_a_sentence(
    tmp_path: Path, data: st.DataObject, label: str, value: object
) -> None:
    content = json.loads(json.dumps(data.draw(st.sampled_from(DOCUMENTS))))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(content)))
        if data.draw(st.booleans()):
            container[key] = data.draw(ANY)
        elif key in container or isinstance(container, list):
            del container[key]
        if not places(content):
            break
    tell(write(tmp_path, json.dumps(content)), label, value)


@settings(max_examples=100, **PROPERTY)
@given(content=ANY, label=LABELS)
def test_json_of_nobody(tmp_path: Path, content: Any, label: str) -> None:
    tell(write(tmp_path, json.dumps(content)), label, None)


def test_deep_json(tmp_path: Path) -> None:
    for text in ("[" * 100000, '{"a":' * 100000):
        text = refusal(read_annotated, write(tmp_path, text), tmp_path / "a.png", SIZE)
        assert "cannot be used (it is nested too deeply)" in text


@settings(max_examples=100, **PROPERTY)
@given(
    lines=st.lists(
        st.lists(
            st.one_of(st.integers(0, 2), st.floats(), st.floats(0, 1), st.text(max_size=3)),
            max_size=9,
        ),
        max_size=5,
    ),
    value=VALUES,
)
def test_any_yolo_text_ends_in_a_mask_or_a_sentence(
    tmp_path: Path, lines: list[Any], value: object
) -> None:
    text = "\n".join(" ".join(map(str, line)) for line in lines)
    tell(write(tmp_path, text.encode("utf-8", "replace").decode(), "a.txt"), "object", value)


ATTRIBUTES = st.sampled_from(
    [
        "label",
        "points",
        "xtl",
        "ytl",
        "xbr",
        "ybr",
        "cx",
        "cy",
        "rx",
        "ry",
        "rotation",
        "rle",
        "left",
        "top",
        "width",
        "height",
    ]
)
ATTRIBUTE = st.sampled_from(
    [
        "coin",
        CVAT_BOX,
        "1,1;2,2",
        "1;2",
        "",
        "nan",
        "inf",
        "-3",
        "5",
        "17.5",
        "1e400",
        "1, 2, 3",
        "x",
    ]
)


@settings(max_examples=150, **PROPERTY)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["polygon", "box", "ellipse", "mask", "polyline", "points", "tag"]),
            st.dictionaries(ATTRIBUTES, ATTRIBUTE, max_size=8),
        ),
        max_size=4,
    )
)
def test_any_cvat_xml_ends_in_a_mask_or_a_sentence(tmp_path: Path, shapes: list[Any]) -> None:
    texts = [
        f"<{kind} {' '.join(f'{key}={value!r}' for key, value in said.items())}/>"
        for kind, said in shapes
    ]
    tell(write(tmp_path, cvat(*texts), "a.xml"), "coin", None)


# --- names that tools change ---------------------------------------------------------------------


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

"""Whatever is in an annotation file: a mask or a sentence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycocotools

from annotated import (
    BAD,
    BOX,
    CVAT_BOX,
    RESULT,
    SIZE,
    coco,
    cvat,
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
from likewise.errors import ImageError
from likewise.io.annotations.reader import read_annotated

# Property-based tests write into one folder again and again, each time the whole file.
PROPERTY = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

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

"""Instances, outlines and run lengths of label maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers import iou
from label_maps import HAND_MADE, alone, annotation, picture, rasterised
from likewise.export.annotations import Annotation, find_instances
from likewise.export.outlines import MIN_IOU, outline, polygons
from likewise.instances import draw
from likewise.io.coco_masks import encode_runs
from likewise.io.masks import read_mask

# --- masks worth exporting ------------------------------------------------------------------------

hand_made = pytest.mark.parametrize("label_map", HAND_MADE.values(), ids=HAND_MADE.keys())


# --- instances ------------------------------------------------------------------------------------


@hand_made
def test_instances_are_the_whole_mask(label_map: np.ndarray) -> None:
    instances = list(find_instances(annotation(label_map)))
    np.testing.assert_array_equal(draw(instances, label_map.shape), label_map)
    assert sum(i.area for i in instances) == (label_map > 0).sum()
    for i in instances:  # cut out as small as it goes
        assert i.mask.any(axis=0)[[0, -1]].all()
        assert i.mask.any(axis=1)[[0, -1]].all()


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    assert len(list(find_instances(annotation(HAND_MADE["a diagonal"])))) == 1
    assert len(list(find_instances(annotation(picture("1.1", "...", "1.1"))))) == 4


def test_an_instance_knows_its_class_score_and_place() -> None:
    label_map = picture("1..", "..2", "..2")
    one, two = find_instances(annotation(label_map, {"class 2": 0.25}))
    assert (one.number, one.label, one.score, one.left, one.top, one.area) == (
        *(1, "class 1", 1.0, 0, 0, 1),
    )
    assert (two.number, two.label, two.score, two.left, two.top, two.area) == (
        *(2, "class 2", 0.25, 2, 1, 2),
    )


def test_a_whole_has_the_pixels_of_its_parts() -> None:
    label_map = picture("1122", ".133")
    named = Annotation(Path("image.png"), label_map, ("cat/ear", "cat", "cats"), {})
    found = {i.label: int(i.area) for i in find_instances(named)}
    assert found == {"cat/ear": 3, "cat": 5, "cats": 2}
    drawn = draw(list(find_instances(named)), label_map.shape)
    np.testing.assert_array_equal(drawn, label_map)


def test_specks_are_left_out() -> None:
    found = annotation(picture("11.1", "11..", "...1"))
    assert [i.area for i in find_instances(found, 1)] == [4, 1, 1]
    assert [i.area for i in find_instances(found, 2)] == [4]
    assert [i.area for i in find_instances(found, 4)] == [4]
    assert not list(find_instances(found, 5))


# --- outlines -------------------------------------------------------------------------------------


@hand_made
def test_exact_outlines(label_map: np.ndarray) -> None:
    for i in find_instances(annotation(label_map)):
        expected, points = alone(i, label_map), outline(i)
        np.testing.assert_array_equal(rasterised(points, label_map.shape), expected)
        entry = {"segmentation": [points.ravel().tolist()]}
        if 0 < expected.sum() < expected.size:
            np.testing.assert_array_equal(read_mask(entry, size=label_map.shape), expected)


@hand_made
def test_simplified_outlines(label_map: np.ndarray) -> None:
    for i in find_instances(annotation(label_map)):
        for tolerance in (0.5, 1.0, 3.0, 1000.0):
            points = outline(i, tolerance)
            assert iou(rasterised(points, label_map.shape), alone(i, label_map)) >= MIN_IOU
            assert len(points) <= len(outline(i))


def test_simple_shapes_have_few_points() -> None:
    square = next(find_instances(annotation(np.pad(np.ones((50, 70), np.uint8), 9))))
    corners = {(9, 9), (79, 9), (79, 59), (9, 59)}
    assert {tuple(p) for p in outline(square).tolist()} == corners
    assert {tuple(p) for p in outline(square, 1).tolist()} == corners
    round_one = next(find_instances(annotation(HAND_MADE["a disc"])))
    assert len(outline(round_one, 1)) < len(outline(round_one)) / 3


def test_one_pixel_by_hand() -> None:
    one = next(find_instances(annotation(HAND_MADE["one pixel"])))
    assert sorted(outline(one).tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_random_outlines_are_exact() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        label_map = (rng.random(rng.integers(1, 25, 2)) < rng.random()).astype(np.uint8)
        for i in find_instances(annotation(label_map)):
            drawn = rasterised(outline(i), label_map.shape)
            np.testing.assert_array_equal(drawn, alone(i, label_map))


def test_polygons_are_exact_and_simple() -> None:
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    rng = np.random.default_rng(2)
    for _ in range(60):
        label_map = (rng.random(rng.integers(1, 25, 2)) < rng.random()).astype(np.uint8)
        for i in find_instances(annotation(label_map)):
            drawn = np.zeros(label_map.shape, bool)
            for outer, *holes in polygons(i):
                assert shapely.Polygon(outer, holes).is_valid
                for ring in (outer, *holes):
                    drawn ^= rasterised(ring, label_map.shape)
            np.testing.assert_array_equal(drawn, alone(i, label_map))


# --- run lengths ----------------------------------------------------------------------------------


@hand_made
def test_run_lengths_are_those_of_pycocotools(label_map: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    for i in find_instances(annotation(label_map)):
        whole = np.asfortranarray(alone(i, label_map).astype(np.uint8))
        entry = encode_runs(i.mask, label_map.shape, i.top, i.left)
        theirs = coco.encode(whole)
        assert entry == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    empty = encode_runs(np.zeros((2, 3), bool), (4, 5))
    np.testing.assert_array_equal(coco.decode(empty), np.zeros((4, 5)))

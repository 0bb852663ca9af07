"""build_insid3 on a tiny random model: code written for the released interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from boxes import LEFT, LOW, RANK, RIGHT, inside, picture
from helpers import iou, refusal
from likewise import Segmenter, build_insid3, match
from likewise.io.encoding import write_image
from likewise.io.masks import read_mask


def test_public_usage_example(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    model.set_target("target.jpg")
    mask = model.segment()
    assert (mask.shape, mask.dtype) == ((96, 128), bool)
    assert iou(mask, inside(RIGHT)) > 0.6

    model.set_references([("ref1.jpg", "mask1.png"), ("ref2.jpg", "mask2.png")])
    both = model.segment("target.jpg")
    assert (both.shape, both.dtype) == ((96, 128), bool)
    assert iou(both, inside(RIGHT)) > 0.6
    expected = Segmenter(model._encoder, method="insid3", refiner="none")
    expected.fit([("ref1.jpg", "mask1.png"), ("ref2.jpg", "mask2.png")])
    np.testing.assert_array_equal(both, expected.segment("target.jpg").mask)


def test_public_batch_annotation_example(model: Any, files: Path, encoded: list[int]) -> None:
    targets = files / "targets"
    targets.mkdir()
    boxes = {"a": RIGHT, "b": LOW, "c": LEFT}
    for name, box in boxes.items():
        write_image(targets / f"{name}.jpg", picture(box, seed=2))

    model.set_reference("reference.jpg", "reference_mask.png")
    encoded.clear()
    for path in sorted(targets.glob("*.jpg")):
        model.set_target(str(path))
        mask = model.segment()
        Image.fromarray((mask * 255).astype("uint8")).save(f"{path.stem}_mask.png")
    assert encoded == [1, 1, 1]  # the reference is not encoded again
    for name, box in boxes.items():
        assert iou(read_mask(f"{name}_mask.png"), inside(box)) > 0.6


def test_public_part_segmentation_example(model: Any, files: Path) -> None:
    parts = {
        "thing": ("ref_full.jpg", "ref_thing_mask.png"),
        "rest": ("ref_full.jpg", "ref_rest_mask.png"),
    }
    found = {}
    for name, (image, mask) in parts.items():
        model.set_reference(image, mask)
        found[name] = model.segment("target.jpg")
    assert iou(found["thing"], inside(RIGHT)) > 0.6
    assert iou(found["rest"], ~inside(RIGHT)) > 0.6


def test_the_target_stays_and_is_encoded_once(model: Any, files: Path, encoded: list[int]) -> None:
    model.set_target("target.jpg")
    encoded.clear()
    model.set_reference("reference.jpg", "reference_mask.png")
    first = model.segment()
    np.testing.assert_array_equal(model.segment(), first)
    model.set_reference("reference.jpg", "ref_rest_mask.png")
    assert iou(model.segment(), first) < 0.5
    assert encoded == [1, 1]  # the two references
    model.segment(picture(LEFT))  # becomes the target
    assert iou(model.segment(), ~inside(LEFT)) > 0.6


def test_references_are_kept_unless_told_otherwise(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    kept = model.segment("target.jpg")
    last = model.segment("target.jpg", keep_references=False)
    np.testing.assert_array_equal(last, kept)
    assert "no target yet" in refusal(model.segment)
    assert "no reference yet" in refusal(model.segment, "target.jpg")
    model.set_target("target.jpg")
    assert "set_reference(image)" in refusal(model.match, [(1, 1)])


def test_a_reference_without_a_mask_is_for_match(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    model.set_reference("ref2.jpg")
    model.set_target("target.jpg")
    points = model.match([(64, 72), (5, 5)])
    assert (points.shape, points.dtype) == ((2, 2), np.float32)
    expected, _ = match(Segmenter(model._encoder), "ref2.jpg", [(64, 72), (5, 5)], "target.jpg")
    np.testing.assert_allclose(points, expected, atol=1e-3)
    original = model.match([(64, 72), (5, 5)], use_debiased=False)
    assert np.abs(original - points).max() > 0.01
    assert "no reference yet" in refusal(model.segment)  # the masked reference is gone


def test_match_is_from_the_first_reference(model: Any, files: Path) -> None:
    assert "match needs set_reference" in refusal(model.match, [(1, 1)])
    model.set_references([("ref2.jpg", "mask2.png"), ("ref1.jpg", "mask1.png")])
    assert "set_target(image) first" in refusal(model.match, [(1, 1)])
    model.set_target("target.jpg")
    expected, _ = match(Segmenter(model._encoder), "ref2.jpg", [(64, 72)], "target.jpg")
    np.testing.assert_allclose(model.match([(64, 72)]), expected, atol=1e-3)


def test_no_target_and_no_reference(model: Any, files: Path) -> None:
    assert refusal(model.segment) == "no target yet: call set_target(image) or segment(image)."
    assert "no reference yet" in refusal(model.segment, "target.jpg")
    assert "no reference given" in refusal(model.set_references, [])
    assert refusal(model.set_target, "none.jpg").startswith("none.jpg does not exist")


def test_the_released_names_of_the_settings(tiny: Path) -> None:
    def segmenter(**settings: Any) -> Segmenter:
        return build_insid3(str(tiny), image_size=64, device="cpu", **settings)._segmenter

    made = segmenter()
    assert made.method == "insid3"
    assert (made.params.tau, made.params.alpha, made.refiner) == (0.6, 0.2, "none")
    assert (made.encoder.input_size, made.encoder.rank) == ((64, 64), RANK)
    made = segmenter(svd_components=11, tau=0.7, merge_threshold=0.3, mask_refiner="crf")
    assert (made.params.tau, made.params.alpha, made.refiner) == (0.7, 0.3, "crf")
    assert made.encoder.rank == 11
    for name, refiner in ((None, "none"), ("bilinear", "none"), ("guided", "guided")):
        assert segmenter(mask_refiner=name).refiner == refiner
    refusal(segmenter, svd_components=500)  # the released default, which leaves nothing of 48

"""Segmenter on a tiny random model, and once on the embedded one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from boxes import EXAMPLE, LEFT, LOW, RIGHT, SIDE, inside, pair, picture
from helpers import iou, refusal
from likewise import Segmenter, match
from likewise.backbones.encoder import Encoder
from likewise.errors import InputWarning
from likewise.features.patch_features import mask_to_grid
from likewise.io.images import Picture, read_image
from likewise.io.masks import read_mask
from likewise.methods.keypoints import match_keypoints
from likewise.refine import resize


def upsampled(scores: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where patch scores are above ½ in the square that the encoder saw, at the target's size."""
    square = resize(torch.from_numpy(scores), (SIDE, SIDE)) > 0.5
    return (resize(square.float(), shape) > 0.5).numpy()


# --- Segmenter ------------------------------------------------------------------------------------


def test_the_thing_is_found_in_other_images(segmenter: Segmenter) -> None:
    assert segmenter.fit(pair()) is segmenter
    seen: set[float] = set()
    across = (20, 20, 68, 76)  # with some patches half on it
    for box, shape in (
        (RIGHT, (96, 128)),
        (LEFT, (96, 128)),
        (across, (96, 128)),
        ((60, 80, 180, 240), (240, 320)),
    ):
        result = segmenter.segment(picture(box, shape, seed=3))
        assert result.mask.shape == shape
        assert result.mask.dtype == bool
        assert result.scores.shape == (8, 8)
        assert result.scores.dtype == np.float32
        assert result.scores.min() >= 0
        assert result.scores.max() <= 1
        seen |= set(result.scores.ravel().tolist())
        plain = upsampled(result.scores, shape)
        assert iou(result.mask, plain) > 0.75  # the same, but for edges that follow the image
        assert iou(result.mask, inside(box, shape)) > 0.6
        assert result.area == pytest.approx(result.mask.mean())
        assert 0.5 <= result.confidence <= 1
        assert result.present
    assert len(seen) > 2  # not only 0 and 1, where clear evidence ends up
    nothing = segmenter.segment(picture((0, 0, 0, 0), seed=4))
    assert (nothing.area, nothing.present) == (0, False)
    assert nothing.scores.max() <= 0.5
    assert 0 <= nothing.confidence < 0.5


def test_the_thing_is_found_by_insid3(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder, method="insid3").fit(pair())
    for box, shape in ((RIGHT, (96, 128)), (LEFT, (96, 128)), ((60, 80, 180, 240), (240, 320))):
        result = segmenter.segment(picture(box, shape, seed=3))
        assert set(np.unique(result.scores)) == {0, 1}
        assert iou(result.mask, inside(box, shape)) > 0.6
        assert result.trace.seed is not None
        assert 0 < result.confidence <= 1
    nothing = segmenter.segment(picture((0, 0, 0, 0), seed=4))
    assert (nothing.area, nothing.confidence) == (0, 0)
    assert nothing.trace.seed is None


@pytest.mark.parametrize(
    ("method", "views"),
    [("likewise", 2), ("insid3", 1)],  # of each reference
)
def test_references_are_encoded_once(
    encoder: Encoder, encoded: list[int], method: str, views: int
) -> None:
    segmenter = Segmenter(encoder, method=method)
    segmenter.fit([pair(LEFT), pair(LOW), pair(RIGHT)])
    assert sum(encoded) == 3 * views + 1  # and the black image
    encoded.clear()
    results = list(segmenter.segment_many([picture(RIGHT), picture(LOW), picture(LEFT)]))
    assert encoded == [1, 1, 1]
    assert segmenter.references is not None
    assert len(segmenter.references) == 3
    for mask, box in zip(
        [s.mask for s in segmenter.references.shots], (LEFT, LOW, RIGHT), strict=True
    ):
        assert torch.equal(mask, mask_to_grid(inside(box), (8, 8)))
    for result, box in zip(results, (RIGHT, LOW, LEFT), strict=True):
        assert iou(result.mask, inside(box)) > 0.6
        np.testing.assert_array_equal(result.mask, segmenter.segment(picture(box)).mask)


def test_segment_many_reads_one_image_at_a_time(segmenter: Segmenter, encoded: list[int]) -> None:
    segmenter.fit(pair())
    encoded.clear()
    results = segmenter.segment_many(iter([picture(RIGHT), "none.png"]))
    assert encoded == []
    assert iou(next(results).mask, inside(RIGHT)) > 0.6
    assert "none.png does not exist" in refusal(next, results)


# --- pixels that are not there, and more than 8 bits ----------------------------------------------


def test_what_is_transparent_is_in_no_mask(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.fit(pair())
    pixels = picture(RIGHT)
    valid = np.ones(pixels.shape[:2], bool)
    valid[40:] = False
    assert (inside(RIGHT) & ~valid).any()
    alpha = (valid * 255).astype(np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png")
    for result in (
        segmenter.segment(tmp_path / "a.png"),
        next(segmenter.segment_many([tmp_path / "a.png"])),
        *segmenter.segment_batch([segmenter.read(tmp_path / "a.png")]),
    ):
        assert iou(result.mask, inside(RIGHT) & valid) > 0.99
        assert not (result.mask & ~valid).any()
        assert not result.label_map[~valid].any()
        assert not any((c.mask & ~valid).any() for c in result.classes.values())


def test_what_is_transparent_in_a_reference_says_nothing(segmenter: Segmenter) -> None:
    image, mask = pair()
    alpha = np.full(mask.shape, 255, np.uint8)
    alpha[-30:] = 0
    prints = set()
    for hidden in (0, 255):
        seen = np.where(alpha[..., None] > 0, image, np.uint8(hidden))
        marked = mask if hidden else mask | (alpha == 0)
        prints.add(segmenter.fit((np.dstack([seen, alpha]), marked)).fingerprint)
    assert len(prints) == 1


@pytest.mark.filterwarnings("ignore::likewise.errors.InputWarning")
def test_wide_references_and_targets_are_shown_alike(segmenter: Segmenter, tmp_path: Path) -> None:
    image, mask = pair()
    wide = image.astype(np.uint16) * 100 + 3000
    assert segmenter.fit((image, mask)).references.ranges == {}
    segmenter.fit([(wide, mask), (wide // 2, mask)])
    ranges = segmenter.references.ranges
    low, high = ranges["u"]
    assert 1500 <= low < 3000 < 20000 < high
    assert segmenter.only(["object"]).references.ranges == ranges
    target = (picture(RIGHT).astype(np.uint16) * 70 + 4000)[..., :3]
    shown = np.rint((target.astype(float) - low) * 255 / (high - low)).clip(0, 255)
    np.testing.assert_array_equal(segmenter.read(target).pixels, shown)
    segmenter.save(tmp_path / "r.safetensors")
    other = Segmenter(segmenter.encoder).load(tmp_path / "r.safetensors")
    assert other.references.ranges == ranges
    np.testing.assert_array_equal(other.read(target).pixels, shown)


# --- match ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("debiased", [True, False])
def test_match_is_the_method_on_encoded_images(segmenter: Segmenter, debiased: bool) -> None:
    reference, target = picture(LEFT), picture((20, 90, 80, 190), (100, 200), seed=1)
    keypoints = [(40, 48), (16.5, 24), (0, 0), (128, 96)]  # the far corner is still inside
    points, similarity = match(segmenter, reference, keypoints, target, debiased=debiased)
    assert points.shape == (4, 2)
    assert similarity.shape == (4,)
    assert points.dtype == similarity.dtype == np.float32
    encoder = segmenter.encoder
    expected = match_keypoints(
        encoder.encode(reference),
        encoder.encode(target),
        torch.tensor(keypoints),
        debiased=debiased,
    )
    np.testing.assert_allclose(points, expected[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(similarity, expected[1].numpy(), atol=1e-5)
    if debiased:  # the middle of the box lands in the box
        assert inside((20, 90, 80, 190), (100, 200))[int(points[0, 1]), int(points[0, 0])]
        same, best = match(segmenter, reference, np.array(keypoints[:1]), reference)
        assert best[0] == pytest.approx(1, abs=1e-4)
        assert np.abs(same - keypoints[:1]).max() < 16


BAD_KEYPOINTS = [
    ([(129, 5)], "keypoint (129, 5) lies outside its image of 128x96 pixels."),
    ([(5, 5), (5, 97)], "keypoint (5, 97) lies outside"),
    ([(-0.5, 5)], "keypoint (-0.5, 5) lies outside"),
    ([(float("nan"), 5)], "keypoint (nan, 5) lies outside"),
    ([(5, float("inf"))], "keypoint (5, inf) lies outside"),
    ([], "keypoints must be (n, 2): one (x, y) pair for each point, not (0,)."),
    (np.zeros((0, 2)), "not (0, 2)."),
    ([5, 6], "not (2,)."),
    ([(1, 2, 3)], "not (1, 3)."),
    ([[(1, 2)]], "not (1, 1, 2)."),
    ([(1, 2), (3,)], "keypoints must be numbers: one (x, y) pair for each point."),
    (["left", "right"], "keypoints must be numbers"),
    ([(None, 2)], "lies outside"),
    ({"x": 1}, "keypoints must be numbers"),
]


@pytest.mark.parametrize(("keypoints", "words"), BAD_KEYPOINTS)
def test_keypoints_that_cannot_be_used(
    segmenter: Segmenter, model: Any, keypoints: Any, words: str, files: Path
) -> None:
    assert words in refusal(match, segmenter, picture(LEFT), keypoints, picture(RIGHT))
    model.set_reference("reference.jpg")
    model.set_target("target.jpg")
    if words != "not (2,).":  # one point, for the released interface
        assert words in refusal(model.match, keypoints)


# --- the embedded backbone ------------------------------------------------------------------------


def test_the_embedded_backbone_finds_the_coins() -> None:
    image, mask = EXAMPLE / "coin_reference.png", EXAMPLE / "coin_reference_mask.png"
    segmenter = Segmenter(device="cpu").fit((image, mask))
    assert (segmenter.encoder.rank, segmenter.encoder.grid) == (20, (48, 48))
    truth = read_mask(mask, size=read_image(image).shape[:2])
    itself = segmenter.segment(image)
    assert itself.mask.shape == truth.shape
    assert iou(itself.mask, truth) > 0.9
    result = segmenter.segment(EXAMPLE / "coin_1.png")
    assert result.mask.shape == read_image(EXAMPLE / "coin_1.png").shape[:2]
    assert 0.2 < result.area < 0.4
    assert 0.5 < result.confidence <= 1


def test_what_is_too_small_to_be_seen_is_said(
    segmenter: Segmenter, recwarn: pytest.WarningsRecorder
) -> None:
    """Of 8 × 8 patches; the object of the reference measures 48 pixels."""
    fitted = segmenter.fit(pair()).with_threshold(100.0)  # finds nothing
    assert fitted.fitted().object_side == pytest.approx(48)
    small, large = Picture(picture(LEFT), name="same.png"), picture(LEFT, (384, 512))
    assert not fitted.segment(small).present
    assert not [w for w in recwarn if w.category is InputWarning]
    with pytest.warns(InputWarning, match=r"^large\.png: .*512 × 384.* at most 192 pixels a side"):
        assert not fitted.segment(Picture(large, name="large.png")).present

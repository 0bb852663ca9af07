"""Segmenter.segment_batch: images lend each other references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from boxes import LEFT, LOW, MIXED, RIGHT, Box, inside, paint, pair, picture, two_classes
from helpers import iou, refusal
from likewise import Segmenter
from likewise.backbones.encoder import Encoder
from likewise.methods.consensus import consensus
from likewise.result import Result
from likewise.segmenter import CONSENSUS_BATCH


def boxes(count: int) -> list[Box]:
    """Places of the thing, no two the same."""
    places = [(12 * row, 16 * column + 3) for row in range(5) for column in range(5)]
    return [(top, left, top + 48, left + 48) for top, left in places[:count]]


def faded(box: Box, share: float, seed: int) -> np.ndarray:
    """A picture with a box that is less and less red."""
    other = (1 - share) * picture(box, seed=seed) + share * np.array([20, 200, 60])
    pixels = np.where(inside(box)[..., None], other, picture(box, seed=seed))
    return pixels.astype(np.uint8)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each ``segment_batch`` was given so far."""
    sizes: list[int] = []
    really = Segmenter.segment_batch

    def segment_batch(self: Segmenter, images: Any, *, consensus: bool = False) -> list[Result]:
        sizes.append(len(images))
        return really(self, images, consensus=consensus)

    monkeypatch.setattr(Segmenter, "segment_batch", segment_batch)
    return sizes


def test_consensus_goes_in_batches_and_in_order(segmenter: Segmenter, batches: list[int]) -> None:
    segmenter.fit(pair())
    places = boxes(17)
    images = [faded(box, 0.7 * (n % 16) / 16, seed=n) for n, box in enumerate(places)]
    results = list(segmenter.segment_many(iter(images), consensus=True))
    assert CONSENSUS_BATCH == 16
    assert batches == [16, 1]
    assert len(results) == 17
    for number, result in enumerate(results[:10]):  # each is most like its own place
        overlaps = [iou(result.mask, inside(box)) for box in places]
        assert int(np.argmax(overlaps)) == number
        assert overlaps[number] > 0.6
    batched = segmenter.segment_batch(images[:16], consensus=True)
    single = [segmenter.segment(image) for image in images]
    for result, expected in zip(results, [*batched, single[16]], strict=True):
        torch.testing.assert_close(result.scores, expected.scores, atol=1e-4, rtol=0)
        np.testing.assert_array_equal(result.mask, expected.mask)
    assert [r.present for r in results] == [r.present for r in single]
    for alone, result in zip(single[:16], results[:16], strict=True):
        # What the reference alone calls absent stays so; to all others the rest of the batch lends.
        assert torch.equal(alone.trace.log_odds, result.trace.log_odds) != alone.present
    assert torch.equal(single[16].trace.log_odds, results[16].trace.log_odds)  # has nobody


def test_segment_batch_is_the_method_on_encoded_images(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder).fit(two_classes())
    shapes = [(96, 128)] * 3 + [(50, 60)]
    known = {name: MIXED[name] for name in ("red", "green")}
    images = [paint(known, seed=n) for n in range(3)] + [picture((9, 9, 30, 30), (50, 60))]
    results = segmenter.segment_batch(images, consensus=True)
    assert [r.mask.shape for r in results] == shapes
    assert segmenter.references is not None
    for label in ("red", "green"):
        model = segmenter.models[label]
        encoded = list(encoder.encode_many(images))
        expected = consensus(segmenter.references.of(label), model, encoded, classes=2)
        for result, scores in zip(results, expected, strict=True):
            one = result.classes[label]
            np.testing.assert_allclose(one.scores.ravel(), scores.patches.numpy(), atol=1e-5)
            assert one.confidence == pytest.approx(scores.confidence, abs=1e-5)
    for image, result in zip(images[:3], results, strict=False):
        assert result.labels == ("red", "green")
        for k, name in enumerate(result.labels, start=1):
            assert iou(result.label_map == k, inside(MIXED[name])) > 0.9
        assert result.label_map.shape == image.shape[:2]


def test_consensus_reads_one_batch_and_one_image(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.segmenter.CONSENSUS_BATCH", 2)
    segmenter.fit(pair())
    taken: list[Box] = []

    def images() -> Any:
        for box in (RIGHT, LEFT, LOW, LOW):
            taken.append(box)
            yield picture(box)
        yield "none.png"

    results = segmenter.segment_many(images(), consensus=True)
    assert taken == []
    for box in (RIGHT, LEFT):
        assert iou(next(results).mask, inside(box)) > 0.6
        assert taken == [RIGHT, LEFT, LOW]
    assert len([next(results), next(results)]) == 2
    assert "none.png does not exist" in refusal(next, results)


def test_consensus_of_nothing_and_before_fit(segmenter: Segmenter) -> None:
    words = "no reference yet: give at least one (image, mask) pair first."
    assert refusal(segmenter.segment_batch, [picture(LEFT)]) == words
    assert refusal(segmenter.segment_batch, [picture(LEFT)], consensus=True) == words
    assert refusal(list, segmenter.segment_many([picture(LEFT)], consensus=True)) == words
    segmenter.fit(pair())
    assert list(segmenter.segment_many([], consensus=True)) == []
    assert segmenter.segment_batch([]) == segmenter.segment_batch([], consensus=True) == []


@pytest.mark.parametrize("method", ["insid3", "foris", "frost", "nearest"])
def test_a_method_without_consensus(encoder: Encoder, method: str) -> None:
    segmenter = Segmenter(encoder, method=method).fit(pair())
    words = f"method {method} has no consensus; use likewise."
    assert refusal(segmenter.segment_batch, [picture(LEFT)], consensus=True) == words
    assert refusal(segmenter.segment_many, [picture(LEFT)], consensus=True) == words

"""Segmenter with several classes, their parts, and negatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from boxes import DIM, MIXED, PAIR, RANK, SIDE, inside, paint, two_classes
from helpers import iou, refusal
from likewise import Reference, Segmenter
from likewise.backbones.encoder import Encoder
from likewise.class_names import wholes_of
from likewise.features import target_cache
from likewise.features.affinity import Affinities
from likewise.features.patch_features import mask_to_grid
from likewise.methods import get_method
from likewise.refine import compete, compete_inside, refine


@pytest.mark.parametrize(("method", "count"), [("nearest", 1), ("likewise", 2)])
def test_equal_pictures_are_encoded_once_for_two_labels(
    encoder: Encoder, encoded: list[int], method: str, count: int
) -> None:
    assert encoder.basis.shape == (DIM, RANK)  # the black image is encoded here
    encoded.clear()
    red, green = two_classes()
    green = Reference(np.array(green.image), green.mask, label="green")  # equal, not the same
    references = Segmenter(encoder, method=method).fit([red, green]).references
    # The picture and its mirror image.
    assert sum(encoded) == count
    assert references is not None
    one, other = references.shots
    assert one.encoded is other.encoded
    assert [s.label for s in references.shots] == ["red", "green"]
    for shot, name in zip(references.shots, ("red", "green"), strict=True):
        assert torch.equal(shot.mask, mask_to_grid(inside(PAIR[name]), (8, 8)))
    if method == "likewise":
        assert tuple(one.views) == tuple(other.views) == ("flip",)
        assert one.views["flip"][0] is other.views["flip"][0]
        for shot, name in zip(references.shots, ("red", "green"), strict=True):
            mirrored = mask_to_grid(inside(PAIR[name])[:, ::-1], (8, 8))
            assert torch.equal(shot.views["flip"][1], mirrored)
    encoded.clear()
    changed = np.array(green.image)
    changed[0, 0, 0] ^= 1  # one bit in one pixel
    Segmenter(encoder, method="nearest").fit([red, Reference(changed, green.mask, label="green")])
    assert sum(encoded) == 2


def not_yellow() -> Reference:
    box = (24, 32, 72, 80)
    return Reference(paint({"yellow": box}, seed=7), inside(box), negative=True)


@pytest.mark.parametrize("method", ["likewise", "nearest"])
def test_two_classes_an_unknown_region_and_a_negative(encoder: Encoder, method: str) -> None:
    segmenter = Segmenter(encoder, method=method)
    target, yellow = paint(MIXED, seed=5), inside(MIXED["yellow"])
    before = segmenter.fit(two_classes()).segment(target)
    assert before.classes["red"].mask[yellow].mean() > 0.8  # the false positive
    result = segmenter.fit([*two_classes(), not_yellow()]).segment(target)
    assert result.labels == tuple(result.classes) == ("red", "green")
    assert result.label_map.dtype == np.uint8
    assert not result.label_map[yellow].any()
    for k, name in enumerate(result.labels, start=1):
        one = result.classes[name]
        np.testing.assert_array_equal(one.mask, result.label_map == k)
        assert iou(one.mask, inside(MIXED[name])) > 0.9
        assert one.scores.shape == (8, 8)
        assert 0 < one.confidence <= result.confidence
    np.testing.assert_array_equal(result.mask, result.label_map > 0)
    every = np.stack([c.scores for c in result.classes.values()])
    np.testing.assert_array_equal(result.scores, every.max(axis=0))
    assert result.present
    nothing = segmenter.segment(paint({"yellow": MIXED["yellow"]}, seed=9))
    assert (nothing.present, nothing.area, nothing.label_map.max()) == (False, 0, 0)


def test_a_negative_without_a_mask_is_all_of_its_image(encoder: Encoder) -> None:
    image, target = not_yellow().image, paint(MIXED, seed=5)
    segmenter = Segmenter(encoder, method="nearest")
    found = segmenter.fit([*two_classes(), Reference(image, None, negative=True)]).segment(target)
    assert not found.mask[inside(MIXED["yellow"])].any()
    assert "has no mask" in refusal(segmenter.fit, Reference(image, None))


@pytest.mark.parametrize("method", ["likewise", "insid3", "nearest"])
@pytest.mark.parametrize("refiner", ["none", "guided", "crf"])
def test_one_class_is_what_refining_its_scores_gives(
    encoder: Encoder, method: str, refiner: str
) -> None:
    target = paint(MIXED, seed=5)
    segmenter = Segmenter(encoder, method=method, refiner=refiner).fit(two_classes()[0])
    result = segmenter.segment(target)
    mask = refine(torch.from_numpy(result.scores), target, (SIDE, SIDE), refiner)
    alike = inside(MIXED["red"]) | inside(MIXED["yellow"])  # without another class
    assert iou(mask, alike) > 0.9
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.label_map, mask.astype(np.uint8))
    (one,) = result.classes.values()
    np.testing.assert_array_equal(one.scores, result.scores)
    assert (one.confidence, one.trace) == (result.confidence, result.trace)
    assert result.labels == ("red",)


@pytest.mark.parametrize("method", ["insid3", "foris"])
def test_classes_share_one_clustering(
    encoder: Encoder, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [Segmenter(encoder, method=method).fit(r).segment(paint(MIXED)) for r in two_classes()]
    made: list[int] = []
    really = target_cache.average_linkage

    def average_linkage(features: torch.Tensor) -> Any:
        made.append(len(features))
        return really(features)

    monkeypatch.setattr(target_cache, "average_linkage", average_linkage)
    segmenter = Segmenter(encoder, method=method).fit(two_classes())
    made.clear()
    result = segmenter.segment(paint(MIXED))
    assert len(made) == 1
    if method == "insid3":  # to which other classes are nothing
        for one, other in zip(result.classes.values(), alone, strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)


def test_classes_share_one_match_and_one_set_of_matrices(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter(encoder).fit(two_classes())
    pools = {id(model.pool) for model in segmenter.models.values()}
    assert len(pools) == 1
    target, blocks, made = encoder.encode(paint(MIXED)), Affinities._blocks, list[torch.Tensor]()

    def counted(self: Affinities, affinity: float) -> Iterator[torch.Tensor]:
        for block in blocks(self, affinity):
            made.append(block)
            yield block

    alone = [get_method("likewise").score(m, target) for m in segmenter.models.values()]
    with (
        mock.patch.object(target_cache, "match", wraps=target_cache.match) as matches,
        mock.patch.object(Affinities, "_blocks", counted),
    ):
        result = segmenter.segment_encoded(paint(MIXED), target)
    assert matches.call_count == 1
    assert sum(map(len, made)) == len(target.features)
    for one, other in zip(result.classes.values(), alone, strict=True):
        np.testing.assert_array_equal(one.scores.ravel(), other.patches.numpy())


def test_parts_are_found_inside_their_whole(encoder: Encoder) -> None:
    image = paint(PAIR)
    both = Reference(image, inside(PAIR["red"]) | inside(PAIR["green"]), label="pair")
    parts = [Reference(r.image, r.mask, label=f"pair/{r.label}") for r in two_classes()]
    result = Segmenter(encoder).fit([both, *parts]).segment(paint(MIXED, seed=5))
    whole = result.classes["pair"].mask
    assert iou(whole, inside(MIXED["red"]) | inside(MIXED["green"])) > 0.5  # yellow is like red
    covered = np.zeros_like(whole)
    for k, name in enumerate(("red", "green"), 2):
        part = result.classes[f"pair/{name}"].mask
        assert iou(part, inside(MIXED[name])) > 0.9 or name == "red"
        assert part[inside(MIXED[name])].mean() > 0.9
        assert not (part & ~whole).any()
        assert not (part & covered).any()
        np.testing.assert_array_equal(result.label_map == k, part)
        covered |= part
    np.testing.assert_array_equal(result.label_map == 1, whole & ~covered)
    np.testing.assert_array_equal(result.mask, whole)


def test_what_is_marked_as_a_part_is_not_against_its_whole(encoder: Encoder) -> None:
    red, green = two_classes()
    named = [
        Reference(r.image, r.mask, label=name)
        for r, name in ((red, "a"), (green, "a/b"), (green, "a/b/c"), (red, "ab"))
    ]
    references = Segmenter(encoder).fit([*named, not_yellow()]).references
    assert references is not None
    known = {
        label: [(s.label, s.negative) for s in references.of(label).shots]
        for label in references.labels
    }
    wrong = ("object", True)
    assert known == {
        "a": [("a", False), ("ab", True), wrong],
        "a/b": [("a/b", False), ("ab", True), wrong],
        "a/b/c": [("a/b/c", False), ("ab", True), wrong],
        "ab": [("a", True), ("a/b", True), ("a/b/c", True), ("ab", False), wrong],
    }
    assert wholes_of(references.labels) == [None, 0, 1, None]
    assert wholes_of(["x/y", "z", "x/y/q/r"]) == [None, None, 0]


def test_parts_of_parts_compete_inside_them() -> None:
    def half(start: int, stop: int) -> np.ndarray:
        mask = np.zeros((1, 8), bool)
        mask[:, start:stop] = True
        return mask

    # A part may come before its whole; two parts overlap; what is outside the whole goes.
    masks = [half(2, 8), half(0, 6), half(4, 5), half(5, 8)]
    scores = [torch.full((1, 8), s) for s in (0.9, 0.6, 0.9, 0.7)]
    label_map, found = compete_inside(masks, scores, [1.0] * 4, [1, None, 0, None], (1, 8))
    assert label_map.tolist() == [[2, 2, 1, 1, 3, 4, 4, 4]]  # 4 takes from 2 by its score
    assert [m.nonzero()[1].tolist() for m in found] == [[2, 3, 4], [0, 1, 2, 3, 4], [4], [5, 6, 7]]


def test_overlaps_go_to_the_higher_score() -> None:
    scores = [torch.full((2, 2), 0.8), torch.tensor([[0.9, 0.2], [0.9, 0.2]])]
    masks = [np.ones((4, 8), bool), np.ones((4, 8), bool)]
    found = compete(masks, scores, [0.9, 0.1], (2, 2))
    assert (found[:, :2] == 2).all()
    assert (found[:, 6:] == 1).all()
    masks[1][0] = False  # what a refiner took from a class it does not win
    np.testing.assert_array_equal(compete(masks, scores, [0.9, 0.1], (2, 2))[0], np.ones(8))
    even = [torch.ones(2, 2)] * 2
    assert (compete(masks, even, [0.1, 0.9], (2, 2))[1:] == 2).all()  # equal: the surer class
    assert (compete(masks, even, [0.5, 0.5], (2, 2)) == 1).all()  # then the first
    assert (compete([m & False for m in masks], even, [1, 1], (2, 2)) == 0).all()
    many = [np.zeros((1, 1), bool)] * 299 + [np.ones((1, 1), bool)]
    found = compete(many, [torch.ones(1, 1)] * 300, [1.0] * 300, (1, 1))
    assert (found.dtype, found.item()) == (np.uint16, 300)


@pytest.mark.parametrize("refiner", ["guided", "crf"])
def test_refined_classes_do_not_overlap(encoder: Encoder, refiner: str) -> None:
    segmenter = Segmenter(encoder, method="nearest", refiner=refiner)
    result = segmenter.fit([*two_classes(), not_yellow()]).segment(paint(MIXED, seed=5))
    red, green = (c.mask for c in result.classes.values())
    assert not (red & green).any()
    assert iou(red, inside(MIXED["red"])) > 0.8
    assert iou(green, inside(MIXED["green"])) > 0.8


def test_negatives_and_methods_that_know_none(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder, method="insid3").fit(two_classes())  # dropped without a word
    before = segmenter.references
    words = "method insid3 knows no negative references; use likewise."
    assert refusal(segmenter.fit, [*two_classes(), not_yellow()]) == words
    assert segmenter.references is before
    assert "only negative references" in refusal(
        Segmenter(encoder, method="nearest").fit, not_yellow()
    )

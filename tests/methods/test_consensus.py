"""Batch consensus on made pools: what is linked is found, what is absent does not leak."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from concepts import HERE, OTHER, PLACE, SCENE, THING, K, box, found, scene, unit
from likewise.features.patch_features import PatchFeatures
from likewise.methods import consensus as module
from likewise.methods import likewise as method
from likewise.methods.consensus import RELIABLE, PseudoReference, consensus
from likewise.methods.likewise import Params, fit
from likewise.reference import EncodedReference, ReferenceSet

PLACES = [box(6, 10, 5, 10), box(1, 5, 1, 6), box(5, 11, 2, 7), box(2, 8, 4, 9)]
MEADOW = unit(SCENE + 0.6 * OTHER)  # has something of the look that the thing takes on


def turned(degrees: float) -> torch.Tensor:
    """The thing's look; at 88 degrees a reference at 0 calls it scene, one at 45 does not."""
    angle = math.radians(degrees)
    return math.cos(angle) * THING + math.sin(angle) * OTHER


REFERENCES = ReferenceSet((EncodedReference(scene(HERE, turned(0), MEADOW, seed=1), HERE),))
MODEL = fit(REFERENCES, Params())
OPEN = fit(REFERENCES, Params(presence=0))
"""Takes whatever it finds."""
NEAR = [scene(m, turned(45), MEADOW, seed=10 + i) for i, m in enumerate(PLACES)]
FAR = [scene(m, turned(88), MEADOW, seed=20 + i) for i, m in enumerate(PLACES)]
# Found by the reference, for lack of better; itself it finds the meadow rather than the thing.
DECOY = unit(0.35 * THING + 0.1 * MEADOW + K[4])
DESERT = unit(0.4 * THING + 0.6 * SCENE + 0.5 * PLACE)
ABSENT = [scene(m, DECOY, DESERT, seed=30 + i) for i, m in enumerate(PLACES)]


def masks(scores: Sequence[method.Scores]) -> list[torch.Tensor]:
    return [found(s) for s in scores]


def alone(
    targets: Sequence[PatchFeatures], model: method.LikewiseModel = MODEL
) -> list[method.Scores]:
    return [method.score(model, t) for t in targets]


Lent = tuple[torch.Tensor, torch.Tensor]


def is_of(lent: Lent, target: PatchFeatures) -> bool:
    """Whether these patches are some of the target's."""
    return bool(((lent[0] @ target.debiased.T).amax(dim=1) > 0.99999).all())


def same(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[PatchFeatures, list[Lent]]]:
    """(target, what others lent it) of every score of an extended model, in order."""
    calls: list[tuple[PatchFeatures, list[Lent]]] = []
    extend, score = method.extend, method.score
    lent_to: list[tuple[method.LikewiseModel, list[Lent]]] = []

    def spy_extend(model, more):
        extended = extend(model, more)
        lent_to.append((extended, list(more)))
        return extended

    def spy_score(model, target, cache=None):
        calls.extend((target, more) for extended, more in lent_to if extended is model)
        return score(model, target, cache)

    monkeypatch.setattr(method, "extend", spy_extend)
    monkeypatch.setattr(method, "score", spy_score)
    return calls


def test_a_look_is_found_by_way_of_others() -> None:
    targets = [*NEAR, *FAR]
    single = masks(alone(targets, OPEN))
    assert same(single[:4], PLACES)
    assert not any(m.any() for m in single[4:])  # too unlike the reference
    assert same(masks(consensus(REFERENCES, OPEN, targets)), PLACES * 2)


def test_what_the_references_call_absent_stays_absent() -> None:
    """Others of its kind would make an image familiar, with or without the concept in it."""
    scores = consensus(REFERENCES, MODEL, [*NEAR, *FAR])
    assert same(masks(scores[:4]), PLACES)
    for joint, single in zip(scores[4:], alone(FAR), strict=True):
        assert single.confidence < MODEL.params.presence
        assert torch.equal(joint.patches, single.patches)
        assert joint.confidence == single.confidence


def test_a_second_link_takes_a_second_round() -> None:
    meadow = unit(SCENE + 0.6 * OTHER + 0.6 * K[5])
    references = ReferenceSet((EncodedReference(scene(HERE, turned(0), meadow, seed=1), HERE),))
    looks = [turned(45), turned(88), unit(OTHER + K[5])]  # each like the one before
    targets = [scene(m, look, meadow, 40 + i) for look in looks for i, m in enumerate(PLACES[:2])]
    model = fit(references, Params(presence=0))
    for rounds, reached in ((0, 1), (1, 2), (2, 3), (3, 3)):
        got = masks(consensus(references, model, targets, rounds))
        assert same(got[: 2 * reached], PLACES[:2] * reached)
        assert not any(m.any() for m in got[2 * reached :])


def test_no_rounds_and_no_targets() -> None:
    targets = [NEAR[0], FAR[1]]
    none = consensus(REFERENCES, MODEL, targets, rounds=0)
    assert same([s.patches for s in none], [s.patches for s in alone(targets)])
    assert consensus(REFERENCES, MODEL, []) == []


@pytest.mark.parametrize("target", [NEAR[0], FAR[0], ABSENT[0]])
def test_one_target_has_nobody_to_learn_from(target: PatchFeatures) -> None:
    (scores,) = consensus(REFERENCES, MODEL, [target])
    (single,) = alone([target])
    torch.testing.assert_close(scores.patches, single.patches)
    assert scores.confidence == pytest.approx(single.confidence)


def test_where_nothing_is_found_nothing_changes(lent: list) -> None:
    scores = consensus(REFERENCES, MODEL, FAR)
    assert same([s.patches for s in scores], [s.patches for s in alone(FAR)])
    assert lent == []


def test_images_without_the_concept_do_not_leak(lent: list) -> None:
    mixed = [t for pair in zip(ABSENT, NEAR, strict=True) for t in pair]
    assert all(found(s).any() for s in alone(ABSENT, OPEN))  # wrongly
    scores = consensus(REFERENCES, OPEN, mixed)
    assert len(lent) == len(mixed)
    assert not any(is_of(tokens, a) for _, more in lent for tokens in more for a in ABSENT)
    assert same(masks(scores[1::2]), PLACES)
    assert same(masks(scores[1::2]), masks(consensus(REFERENCES, OPEN, NEAR)))
    assert all(s.confidence > 0.9 for s in scores[1::2])
    assert all(s.confidence < 0.5 for s in scores[::2])


def test_a_pool_mostly_without_the_concept_does_not_leak(lent: list) -> None:
    targets = [NEAR[0], *ABSENT, FAR[1]]
    scores = consensus(REFERENCES, OPEN, targets)
    assert {len(more) for target, more in lent if target is not NEAR[0]} == {1}
    assert all(is_of(tokens, NEAR[0]) for _, more in lent for tokens in more)
    assert [s.confidence > 0.5 for s in scores[:5]] == [True, False, False, False, False]
    assert not any(found(s).any() for s in consensus(REFERENCES, MODEL, targets)[1:5])


def test_each_target_is_judged_without_its_own_mask(lent: list) -> None:
    targets = [*NEAR, *FAR[:2]]
    consensus(REFERENCES, OPEN, targets, rounds=2)
    assert [target for target, _ in lent] == targets * 2
    # Three of those near are found surely enough to lend: to each other two, to the rest three.
    assert [len(more) for _, more in lent] == [2, 2, 2, 3, 3, 3] * 2
    for target, more in lent:
        assert not any(is_of(tokens, target) for tokens in more)
    # What the first round lent to the far looks is what was found near.
    assert all(any(is_of(tokens, t) for t in NEAR) for tokens in lent[4][1])


def test_a_joint_mask_that_is_something_else_is_not_taken() -> None:
    def scores(patches: int, start: int = 0, confidence: float = 0.9) -> method.Scores:
        values = torch.zeros(12)
        values[start : start + patches] = 1
        return method.Scores(values, confidence)

    def taken(own: method.Scores, joint: method.Scores) -> bool:
        settled = module._settled(own, joint)
        assert settled.confidence == own.confidence
        assert torch.equal(settled.patches, own.patches) != torch.equal(
            settled.patches, joint.patches
        )
        followed = torch.equal(settled.patches, joint.patches)
        assert settled.disputed != followed
        return followed

    assert taken(scores(4), scores(6, confidence=0.1))  # IoU 2/3
    assert taken(scores(6), scores(4))
    assert not taken(scores(4), scores(8))  # exactly half
    assert not taken(scores(4), scores(4, start=4))
    assert not taken(scores(4), scores(0))
    assert taken(scores(0), scores(4))  # there is nothing that it could contradict


def test_half_of_the_pool_lends_and_the_most_reliable_first() -> None:
    def pick(*reliabilities: float | None) -> list[int]:
        tokens = torch.zeros(0), torch.zeros(0)
        return [
            *module._reliable(
                [None if r is None else PseudoReference(tokens, r) for r in reliabilities]
            )
        ]

    assert pick(0.6, 0.9, 0.7, 0.8) == [1, 3]
    assert pick(0.6, 0.9, 0.7) == [1, 2]  # half of three, rounded up
    assert pick(None, 0.7, None, 0.8) == [3, 1]
    assert pick(0.2, RELIABLE, 0.51, 0.4) == [2]
    assert pick(None, 0.1) == pick() == []


def test_what_is_lent_are_the_patches_found_without_the_doubtful_ones() -> None:
    scores = method.score(MODEL, NEAR[0])
    patches = scores.patches.clone()
    patches[:6] = torch.tensor([0.45, 0.55, 0.59, 0.41, 0.61, 0.39])
    lender = module._as_reference(REFERENCES, Params(), NEAR[0], method.Scores(patches, 1.0))
    assert lender is not None
    assert torch.equal(lender.patches[0], NEAR[0].debiased[4:])
    assert torch.equal(lender.patches[1], (patches > 0.5)[4:])


def test_a_found_mask_may_find_references_that_look_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it is the same concept is asked of the mask, not of the confidence."""
    monkeypatch.setattr(method, "SIMILARITY_AT_HALF", 5.0)  # everything is absent
    scores = method.score(OPEN, NEAR[0])
    lender = module._as_reference(REFERENCES, Params(), NEAR[0], scores)
    assert lender is not None
    assert lender.reliability == 1


def test_the_order_of_the_targets_does_not_matter() -> None:
    targets = [NEAR[0], ABSENT[1], FAR[2], ABSENT[3]]
    scores = consensus(REFERENCES, MODEL, targets)
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        again = consensus(REFERENCES, MODEL, [targets[i] for i in order])
        for i, other in zip(order, again, strict=True):
            torch.testing.assert_close(other.patches, scores[i].patches, atol=1e-4, rtol=0)
            assert other.confidence == pytest.approx(scores[i].confidence, abs=1e-4)


def test_found_masks_are_tested_on_every_true_reference_with_the_negatives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing like the first:
    second = EncodedReference(scene(PLACES[3], K[6], K[7], seed=8), PLACES[3])
    marked = box(0, 3, 0, 3)
    negative = EncodedReference(scene(marked, PLACE, PLACE, seed=9), marked, negative=True)
    references = ReferenceSet((*REFERENCES.shots, second, negative))
    sets = []

    def spy(given, params):
        sets.append(given)
        return fit(given, params)

    monkeypatch.setattr(method, "fit", spy)
    scores = method.score(OPEN, NEAR[0])
    lender = module._as_reference(references, Params(), NEAR[0], scores)
    assert lender is not None
    (given,) = sets
    assert [s.encoded for s in given.shots] == [NEAR[0], negative.encoded]
    assert given.negatives == (negative,)
    # It finds the first in full and the second hardly: the mean of the two overlaps.
    model = fit(given, Params(presence=0))
    overlaps = []
    for shot in (REFERENCES.shots[0], second):
        mask = found(method.score(model, shot.encoded))
        overlaps.append(float((mask & shot.mask).sum() / (mask | shot.mask).sum()))
    assert overlaps[0] == 1
    assert overlaps[1] < 0.5
    assert lender.reliability == pytest.approx(sum(overlaps) / 2)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_nothing_is_no_reference(value: float) -> None:
    scores = method.Scores(torch.full((144,), value), 1.0)
    assert module._as_reference(REFERENCES, Params(), NEAR[0], scores) is None

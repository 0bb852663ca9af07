"""The methods to compare with, on hand-made features where the right answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from likewise.errors import LikewiseError
from likewise.features import correspondence
from likewise.features.clustering import MergeTree, average_linkage
from likewise.features.patch_features import PatchFeatures
from likewise.features.target_cache import TargetCache
from likewise.methods import (
    Abilities,
    Method,
    foris,
    frost,
    get_method,
    make_params,
    nearest,
    params_of,
)
from likewise.methods.foris import FoRISParams
from likewise.methods.frost import FROSTParams
from likewise.methods.nearest import NearestParams
from likewise.reference import EncodedReference, ReferenceSet

X, Y, Z, W = torch.eye(4)
Rows = Sequence[torch.Tensor] | torch.Tensor


def unit(rows: Rows) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.stack(list(rows)), dim=1)


def encode(
    rows: Rows,
    grid: tuple[int, int] | None = None,
    colour: torch.Tensor | None = None,
    debiased: Rows | None = None,
) -> PatchFeatures:
    features = unit(rows)
    debiased = features if debiased is None else unit(debiased)
    return PatchFeatures(features, debiased, grid or (1, len(features)), (10, 10), colour)


def direction(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane of X and Y."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return angles.cos()[:, None] * X + angles.sin()[:, None] * Y


def on(*flags: int) -> torch.Tensor:
    return torch.tensor(flags, dtype=torch.bool)


def shot(rows: Rows, *flags: int, negative: bool = False) -> EncodedReference:
    return EncodedReference(encode(rows), on(*flags), negative=negative)


def noise(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def patches(
    method: Method, params: Any, shots: Sequence[EncodedReference], target: PatchFeatures
) -> torch.Tensor:
    return method.score(method.fit(ReferenceSet(tuple(shots)), params), target).patches


# --- all of them --------------------------------------------------------------------------------

NAMES = ("nearest", "foris", "frost")
# References of a few patches cannot spare several of them for one vote.
FEW: dict[str, dict[str, int]] = {
    "nearest": {"neighbours": 1},
    "foris": {},
    "frost": {"neighbours": 1},
}
all_methods = pytest.mark.parametrize("name", NAMES)


@all_methods
def test_the_thing_is_found(name: str) -> None:
    """In the corner of the reference, in the middle of a target of another shape."""
    method = get_method(name)
    generator = noise(64, 4) * 0.1
    there = torch.zeros(4, 4, dtype=torch.bool)
    there[:2, :2] = True
    reference = EncodedReference(
        encode(torch.where(there.flatten()[:, None], X, Y) + generator[:16]), there.flatten()
    )
    truth = torch.zeros(5, 8, dtype=torch.bool)
    truth[1:4, 2:5] = True
    rows = torch.where(truth.flatten()[:, None], X, Y) + generator[20:60]
    target = encode(rows, (5, 8), colour=torch.rand(40, 3, generator=torch.Generator()))
    model = method.fit(ReferenceSet((reference,)), make_params(name, {}))
    for seen in (target, dataclasses.replace(target, colour=None)):
        found = method.score(model, seen)
        assert found.patches.dtype == torch.float32
        assert ((found.patches > 0.5) == truth.flatten()).all()
        assert 0.8 < found.confidence <= 1


@all_methods
def test_scores_and_confidence_stay_in_range(name: str) -> None:
    method = get_method(name)
    for seed in range(5):
        shots = [
            EncodedReference(encode(noise(12, 4, seed)), torch.arange(12) < 5),
            EncodedReference(encode(noise(20, 4, seed + 10), (4, 5)), torch.arange(20) > 12),
            EncodedReference(encode(noise(6, 4, seed + 20)), torch.arange(6) < 2, negative=True),
        ]
        target = encode(noise(30, 4, seed + 30), (5, 6))
        found = method.score(method.fit(ReferenceSet(tuple(shots)), make_params(name, {})), target)
        assert found.patches.shape == (30,)
        assert found.patches.min() >= 0
        assert found.patches.max() <= 1
        assert 0 <= found.confidence <= 1
        assert isinstance(found.confidence, float)


@all_methods
def test_confidence_is_low_where_the_thing_is_absent(name: str) -> None:
    """The absent target has patches that are rather foreground; they are just not alike."""
    method = get_method(name)
    model = method.fit(
        ReferenceSet((shot([X, X, Y, Y], 1, 1, 0, 0),)), make_params(name, FEW[name])
    )
    present = method.score(model, encode([X + 0.2 * Z, X, Y, Y + Z]))
    absent = method.score(model, encode([0.4 * X + Z, 0.4 * X + W, Y + Z, Y]))
    assert (
        (present.patches > 0.5).tolist()
        == (absent.patches > 0.5).tolist()
        == [True, True, False, False]
    )
    assert present.confidence > 0.9
    assert absent.confidence < 0.5


@all_methods
def test_masks_of_everything_and_of_one_patch(name: str) -> None:
    method = get_method(name)
    params = make_params(name, {})
    everything = patches(method, params, [shot([X, X + 0.1 * Y], 1, 1)], encode([X, X, -X, -X]))
    assert (everything[:2] > 0.5).all()
    if name != "nearest":  # which can only find the like of an unmasked patch to be background
        assert (everything[2:] < 0.5).all()
    one = [shot([X, Y, Y, Z, Z, W], 1, 0, 0, 0, 0, 0)]
    found = patches(method, make_params(name, FEW[name]), one, encode([X, Y, Z, W, X]))
    assert (found > 0.5).tolist() == [True, False, False, False, True]


@all_methods
def test_what_a_negative_marks_is_background(name: str) -> None:
    method = get_method(name)
    params = params_of(make_params(name, FEW[name]), 0.9)
    reference = shot([X, X, Z, Z], 1, 1, 0, 0)
    target = encode([X, X + 0.6 * Y, X, Z])
    assert patches(method, params, [reference], target)[1] > 0.5
    against = [reference, shot([X + 0.6 * Y, X + 0.6 * Y, X], 1, 1, 0, negative=True)]
    found = patches(method, params, against, target)
    assert (found > 0.5).tolist() == [True, False, True, False]
    # What it does not mark is unknown: whatever stands there, nothing changes.
    other = [reference, shot([X + 0.6 * Y, X + 0.6 * Y, W - X], 1, 1, 0, negative=True)]
    torch.testing.assert_close(patches(method, params, other, target), found)


@all_methods
def test_references_complete_each_other(name: str) -> None:
    """The thing looks like X in one reference and like Y in the other."""
    method = get_method(name)
    params = make_params(name, FEW[name])
    first, second = shot([X, X, Z, W], 1, 1, 0, 0), shot([Y, Z, W, Y, Y, W], 1, 0, 0, 1, 1, 0)
    target = encode([X, Y, Z, W])
    for shots in ([first, second], [second, first]):
        assert (patches(method, params, shots, target) > 0.5).tolist() == [True, True, False, False]
    assert (patches(method, params, [first], target) > 0.5).tolist() == [True, False, False, False]


@all_methods
def test_what_is_shared_changes_nothing(name: str) -> None:
    method = get_method(name)
    target = encode(noise(25, 4), (5, 5))
    model = method.fit(
        ReferenceSet((EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8),)),
        make_params(name, {}),
    )
    without = method.score(model, target)
    cache = TargetCache(target)
    for _ in range(2):
        assert torch.equal(method.score(model, target, cache).patches, without.patches)


@all_methods
def test_inputs_are_left_as_they_are(name: str) -> None:
    method = get_method(name)
    reference, target = shot(noise(9, 4), *[1] * 4, *[0] * 5), encode(noise(16, 4, 1), (4, 4))
    tensors = (reference.encoded.features, reference.encoded.debiased, reference.mask)
    tensors += (target.features, target.debiased)
    before = [t.clone() for t in tensors]
    patches(method, make_params(name, {}), [reference], target)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        *((NearestParams, {"neighbours": n}) for n in (0, -1, 1.5, math.nan, math.inf)),
        *((FoRISParams, {"tau": t}) for t in (1.1, -2, math.nan)),
        *((FoRISParams, {key: math.nan}) for key in ("vote_weight", "foreground_tau")),
        *(
            (FoRISParams, {"temperature": 0}),
            (FoRISParams, {"hardest": 0}),
            (FoRISParams, {"hardest": 2}),
        ),
        *((FROSTParams, {"shrinkage": s}) for s in (-0.1, 1.1, math.nan)),
        *((FROSTParams, {"bandwidth": s}) for s in (-0.1, math.inf, math.nan)),
        *((FROSTParams, {"neighbours": 0}), (FROSTParams, {"iterations": 1.5})),
        (FROSTParams, {"weight": 2}),
    ],
)
def test_unusable_settings_are_explained(kind: Any, setting: dict[str, float]) -> None:
    with pytest.raises(LikewiseError, match=rf"{next(iter(setting))}.*\.$"):
        kind(**setting)


def test_the_defaults_are_the_papers() -> None:
    assert NearestParams().neighbours == 5
    assert dataclasses.astuple(FROSTParams()) == (0, 0.95, 3, 10, 0.7)
    assert frost.BANDWIDTHS == (0.05, 0.1, 0.2, 0.5, 1)
    expected = (None, 0.6, 0.8, 0.07, 0.2, 0.55, 0.2, 0.25, 0.35, 0.2)
    expected += (0.08, 0.05, 1.5, 0.22, 12, 0.1, 0.2, 0.18, -0.12)
    assert dataclasses.astuple(FoRISParams()) == expected
    assert params_of("foris", 0.9).tau == 0.9
    assert params_of(FoRISParams(tau=0.7), 0.9).tau == 0.7
    assert (nearest.VIEWS, foris.VIEWS, frost.VIEWS) == ((), (), ("flip",))
    assert nearest.CAN == foris.CAN == frost.CAN == Abilities(negatives=True)


# --- nearest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neighbours", "share"), [(1, 0), (2, 1 / 2), (3, 2 / 3), (4, 3 / 4), (5, 3 / 5), (9, 3 / 6)]
)
def test_votes_are_the_share_of_masked_neighbours(neighbours: int, share: float) -> None:
    # From the target's direction outwards: background, three of the thing, background, background.
    reference = shot(direction(50, 10, -20, 1, -30, 60), 0, 1, 1, 0, 1, 0)
    found = patches(nearest, NearestParams(neighbours), [reference], encode(direction(0)))
    assert found.tolist() == pytest.approx([share])


def test_neighbours_come_from_all_references() -> None:
    first = shot(direction(5, 30, 40), 1, 0, 0)
    second = shot(direction(6, 7, 50, 8), 1, 0, 0, 1)
    found = patches(nearest, NearestParams(4), [first, second], encode(direction(0)))
    assert found.tolist() == [0.75]


def test_votes_use_debiased_features() -> None:
    reference = EncodedReference(encode([X, Y], debiased=[Y, X]), on(1, 0))
    target = encode([Y, X], debiased=[X, Y])
    assert patches(nearest, NearestParams(1), [reference], target).tolist() == [0, 1]


def test_nothing_found_is_no_confidence() -> None:
    model = nearest.fit(ReferenceSet((shot([X, Y], 1, 0),)), NearestParams(1))
    found = nearest.score(model, encode([Y, Y]))
    assert found.confidence == 0
    assert nearest.closeness(-X[None], X[None]) == 0
    assert nearest.closeness(direction(60, 0), direction(0, 90)) == pytest.approx(
        (3**0.5 / 2 + 1) / 2
    )


@pytest.mark.parametrize("entries", [1, 50, 1 << 24])
def test_nearest_k_in_blocks(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "BLOCK_ENTRIES", entries)
    queries, keys = unit(noise(23, 6)), unit(noise(17, 6, 1))
    similarity, index = correspondence.nearest_k(queries, keys, 4)
    order = (queries @ keys.T).argsort(dim=1, descending=True)[:, :4]
    assert torch.equal(index, order)
    torch.testing.assert_close(similarity, (queries @ keys.T).gather(1, order))
    assert torch.equal(index[:, 0], correspondence.nearest(queries, keys)[1])
    assert correspondence.nearest_k(queries, keys, 99)[1].shape == (23, 17)


# --- FoRIS: adaptive debias ---------------------------------------------------------------------


def trace_of(
    shots: Sequence[EncodedReference],
    target: PatchFeatures,
    cache: TargetCache | None = None,
    **settings: float,
) -> foris.FoRISTrace:
    model = foris.fit(ReferenceSet(tuple(shots)), FoRISParams(**settings))
    trace = foris.score(model, target, cache).trace
    assert isinstance(trace, foris.FoRISTrace)
    return trace


def test_debias_test_uses_all_references() -> None:
    like, unlike = shot([X, Z], 1, 0), shot([Y, Z], 1, 0)
    target = encode([X, X, X])
    assert not trace_of([like], target).debiased
    assert trace_of([unlike], target).debiased
    # The mean of both has cosine 0.5 to the target, whichever comes last; of three, 2/3.
    for shots in ([like, unlike], [unlike, like]):
        assert trace_of(shots, target).debiased
        assert not trace_of(shots, target, debias_below=0.49).debiased
    for shots in ([like, like, unlike], [unlike, like, like]):
        assert not trace_of(shots, target, debias_below=0.66).debiased
        assert trace_of(shots, target, debias_below=0.67).debiased


def test_debias_test_is_scaled_by_the_targets_mean_alone() -> None:
    mixed = shot([X, Y, Z], 1, 1, 0)  # its foreground mean is 0.7 long
    assert trace_of([mixed], encode([X, Y])).debiased
    assert not trace_of([mixed], encode([X, Y]), debias_below=0.7).debiased


def test_the_features_of_the_debias_test_are_used() -> None:
    reference = EncodedReference(encode([X, Y], debiased=[Y, X]), on(1, 0))
    target = encode([X, X, Y], debiased=[Y, X, X])
    raw = patches(foris, FoRISParams(debias_below=-1), [reference], target)
    debiased = patches(foris, FoRISParams(debias_below=2), [reference], target)
    assert (raw > 0.5).tolist() == [True, True, False]
    assert (debiased > 0.5).tolist() == [True, False, False]


# --- FoRIS: purification ------------------------------------------------------------------------


def appearance(shots: Sequence[EncodedReference], **settings: float) -> foris.Appearance:
    return foris.fit(ReferenceSet(tuple(shots)), FoRISParams(**settings)).debiased


def test_a_thing_of_two_looks_has_two_prototypes() -> None:
    reference = shot([X, X, X, Y, Z, Z], 1, 1, 1, 1, 0, 0)
    seen = appearance([reference])
    torch.testing.assert_close(seen.prototypes, torch.stack([X, Y]))
    torch.testing.assert_close(seen.mean, unit([3 * X + Y])[0])
    # The rare look is as good as the frequent one, and better than something between them.
    score = trace_of([reference], encode([X, Y, X + Y, Z])).purified
    assert score[0] == pytest.approx(score[1].item())
    assert score[2] < score[0] - 0.2
    one = trace_of([reference], encode([X, Y, X + Y, Z]), foreground_tau=-1).purified
    assert one[1] < one[2] < one[0]


def test_prototypes_of_all_references() -> None:
    seen = appearance([shot([X, X, Z], 1, 1, 0), shot([Z, Y, X], 0, 1, 1)])
    torch.testing.assert_close(seen.prototypes, torch.stack([X, Y, X]))


def test_similarities_combine_by_log_sum_exp() -> None:
    target = encode([X + 2 * Y, Z])
    trace = trace_of([shot([X, Y], 1, 1)], target, temperature=0.5)  # no background
    x, y = target.features[0, :2].tolist()
    expected = 0.5 * math.log(math.exp(x / 0.5) + math.exp(y / 0.5))
    assert trace.purified.tolist() == pytest.approx([expected, 0.5 * math.log(2)], abs=1e-6)


def test_background_is_the_hardest_fifth_without_the_foreground() -> None:
    rows = [X, *[X + Y] * 2, *[Z] * 8]
    seen = appearance([shot(rows, 1, *[0] * 10)])
    torch.testing.assert_close(seen.background, Y)
    # All of it would be mostly Z.
    assert appearance([shot(rows, 1, *[0] * 10)], hardest=1.0).background[2] > 0.9
    # The hardest of all references and of what negatives mark.
    more = [shot([X, *[Z] * 5], 1, *[0] * 5), shot([X, *[Z] * 3], 1, *[0] * 3)]
    more.append(shot([X + W, X + W, X], 1, 1, 0, negative=True))
    torch.testing.assert_close(appearance(more).background, W)


def test_background_is_subtracted() -> None:
    reference = shot([X, X + Y], 1, 0)
    score = trace_of([reference], encode([X, X + Y, Y])).purified
    half = 0.5**0.5
    assert score.tolist() == pytest.approx([1, half - 0.55 * half, -0.55], abs=1e-6)


# --- FoRIS: localisation ------------------------------------------------------------------------


def test_votes_are_the_share_of_references() -> None:
    yes, no = shot([X, Y], 1, 0), shot([X, Y], 0, 1)
    assert trace_of([yes, yes, no], encode([X, Y])).votes.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_nearer_negative_takes_votes_away() -> None:
    references = [shot([X, Z], 1, 0), shot([X + 0.2 * Y, Z], 1, 0)]
    references.append(shot([X + 0.2 * Y, X], 1, 0, negative=True))
    target = encode([X, X + 0.2 * Y])
    assert trace_of(references, target).votes.tolist() == [0.5, 0]
    assert trace_of(references[:2], target).votes.tolist() == [1, 1]


def test_candidates_need_more_than_half_of_the_votes() -> None:
    yes, no = shot([X, X + Y], 1, 0), shot([X, X + Y], 0, 1)
    target = encode([X, -X])
    assert trace_of([yes, no], target).prior.tolist() == [0, 0]
    assert trace_of([yes, yes, no], target).prior.tolist() == [1, 0]


def test_votes_and_prior_are_added_with_their_weights() -> None:
    reference = shot([X, X + Y, Z], 1, 0, 0)
    trace = trace_of([reference], encode([X, X + Y, Z]), vote_weight=0.3, prior_weight=0.7)
    expected = trace.purified + 0.3 * (trace.votes - 0.5) + 0.7 * (trace.prior - 0.5)
    torch.testing.assert_close(trace.localised, expected)
    assert trace.votes.tolist() == [1, 0, 0]
    assert trace.prior[0] == 1


def test_the_prior_spreads_to_clusters_like_the_seed() -> None:
    """Patches 2 and 3 are no better matches than 4 and 5, but belong with the seed."""
    original = [X, X, X + 0.2 * Y, X + 0.2 * Y, Z, Z, W]
    unlike = X + 2 * Y
    target = encode(original, debiased=[X, X, *[unlike] * 4, W])
    reference = shot([X, unlike, W], 1, 0, 0)
    prior = trace_of([reference], target, tau=0.9, debias_below=2).prior
    assert prior[0] == prior[1] == 1
    assert prior[2] == prior[3] > prior[4] + 0.1
    assert prior[4] == prior[5]


def test_the_prior_is_cross_times_intra_times_area() -> None:
    """Clusters A, B and C; C matches best but holds no candidate, so that A is the seed."""
    target = encode([*[X] * 4, *direction(30, 30, 30), Z])
    matched = direction(*[20] * 4, *[40] * 3, 0)
    votes = torch.tensor([1.0, 0, 0, 0, 0, 1, 0, 0])  # densified to 0, 4, 5 and 6
    params = FoRISParams(tau=0.95, position_weight=0.0)
    prior = foris.seed_prior(target, matched, X, votes, params)
    cos = [math.cos(math.radians(angle)) for angle in (20, 30, 40)]
    expected = [1] * 4 + [cos[2] * cos[1] / cos[0]] * 3 + [0]  # A's area of 1/4 does not count
    assert prior.tolist() == pytest.approx(expected, abs=1e-5)


def test_candidates_are_densified_where_grid_tokens_touch() -> None:
    candidates = torch.zeros(5, 6, dtype=torch.bool)
    candidates[1, 1] = candidates[4, 5] = True
    found = foris.densify(candidates.flatten(), (5, 6)).reshape(5, 6)
    expected = candidates.clone()
    for row, column in ((0, 0), (0, 2), (2, 0), (2, 2), (4, 4)):
        expected[row, column] = True
    assert torch.equal(found, expected)


def test_clusters_of_the_prior_know_colour_and_place() -> None:
    rows = torch.stack([X] * 8)
    red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
    colour = torch.stack([red, blue] * 4)
    params = FoRISParams()
    seen = foris.layout_tree(encode(rows, (2, 4), colour), params)
    labels = seen.cut(0.95)
    assert labels.tolist() == [0, 1] * 4
    assert set(foris.layout_tree(encode(rows, (2, 4)), params).cut(0.95)) == {0}
    # Without colour what is left is the place: the last cut is between left and right.
    wide = foris.layout_tree(encode(rows, (1, 8)), params)
    assert wide.cut(1 - wide.merges[-1, 2]).tolist() == [0] * 4 + [1] * 4
    nowhere = foris.layout_tree(encode(rows, (1, 8)), FoRISParams(position_weight=0.0))
    assert nowhere.merges[:, 2].max() < 1e-6


def test_the_prior_uses_colour() -> None:
    """The features are the same everywhere in the target; only colour tells which is the seed's."""
    reference = shot([X, X + Y], 1, 0)
    mixed = X + 0.8 * Y
    colour = torch.tensor([[1.0, 0, 0]] * 3 + [[0, 0, 1.0]] * 3)
    target = encode([Z] * 6, (1, 6), colour, debiased=[X, mixed, mixed, mixed, mixed, mixed])
    prior = trace_of([reference], target, tau=0.95, position_weight=0.0).prior
    assert prior.tolist() == [1, 1, 1, 0, 0, 0]
    grey = dataclasses.replace(target, colour=None)
    assert trace_of([reference], grey, tau=0.95, position_weight=0.0).prior.tolist() == [0] * 6


# --- FoRIS: consolidation -----------------------------------------------------------------------


def test_disagreement_is_punished_where_the_score_is_uncertain() -> None:
    generator = noise(30, 4)
    reference = EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8)
    target = encode(generator, (5, 6))
    still = {"reward": 0.0, "reduction": 0.0, "ambiguity_weight": 0.0}
    trace = trace_of([reference], target, **still)
    penalty = trace.localised - trace.consolidated
    cues = torch.stack([foris.normalise(trace.purified), trace.votes, trace.prior])
    disagreement = cues.amax(dim=0) - cues.amin(dim=0)
    uncertainty = 1 - (2 * foris.normalise(trace.localised) - 1).abs()
    torch.testing.assert_close(penalty, 0.08 * disagreement * uncertainty**1.5, atol=1e-6, rtol=0)
    assert penalty.max() > 0.01
    assert penalty[trace.localised.argmax()] == penalty[trace.localised.argmin()] == 0
    # The cap.
    capped = trace_of([reference], target, highest_penalty=0.01, **still)
    assert (capped.localised - capped.consolidated).max().item() == pytest.approx(0.01, abs=1e-6)


def test_ambiguity_is_punished_too() -> None:
    reference = EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8)
    target = encode(noise(30, 4), (5, 6))
    still = {"reward": 0.0, "reduction": 0.0, "disagreement_weight": 0.0}
    trace = trace_of([reference], target, **still)
    seen = appearance([reference])
    logits = target.debiased @ seen.prototypes.T / 0.07
    fg = foris.normalise(0.07 * logits.logsumexp(dim=1))
    bg = foris.normalise(target.debiased @ seen.background)
    uncertainty = 1 - (2 * foris.normalise(trace.localised) - 1).abs()
    expected = 0.05 * torch.minimum(fg, bg) * uncertainty**1.5
    torch.testing.assert_close(trace.localised - trace.consolidated, expected, atol=1e-6, rtol=0)


def change(
    contrast: Sequence[float],
    fg: Sequence[float],
    bg: Sequence[float],
    *labels: int,
    **settings: float,
) -> list[float]:
    tensors = (torch.tensor(values) for values in (contrast, fg, bg))
    found = foris.cluster_change(*tensors, torch.tensor(labels), FoRISParams(**settings))
    return found.tolist()


def test_clusters_are_rewarded_or_reduced_as_a_whole() -> None:
    fg, bg = [1.0, 0.6, 0.2, 0.8, 0.9], [0.0, 0.2, 0.6, 0.8, 0.9]
    found = change([0.0] * 5, fg, bg, 0, 0, 1, 2, 3)
    together = 0.2 * (0.8 - 0.1) - 0.18 * 0.1
    assert found == pytest.approx([together, together, -0.18 * 0.2, -0.12, -0.12])  # the floor


def test_the_gate_weighs_a_clusters_tokens() -> None:
    # Tokens 0 and 1 are one cluster; the gate of token 1, rather background, is at its floor.
    found = change([2.0, -2, 0], [1.0, 0, 0], [0.0, 1, 0], 0, 0, 1)
    fg, bg = 1 / 1.1, 0.1 / 1.1
    assert found[0] == found[1] == pytest.approx(0.2 * (fg - bg) - 0.18 * bg, abs=1e-5)
    ungated = change([2.0, -2, 0], [1.0, 0, 0], [0.0, 1, 0], 0, 0, 1, gate_slope=0.0)
    assert ungated[0] == pytest.approx(-0.18 * 0.5)
    # The gate is centred: a contrast that is high everywhere opens nothing more.
    raised = change([12.0, 8, 10], [1.0, 0, 0], [0.0, 1, 0], 0, 0, 1)
    assert raised == pytest.approx(found)


def test_consolidation_uses_the_given_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8)
    target = encode(noise(30, 4), (5, 6))
    apart = MergeTree(average_linkage(torch.eye(30)).merges)  # every token a cluster of its own
    model = foris.fit(ReferenceSet((reference,)), FoRISParams())
    cache = TargetCache(target)
    cache.tree = apart
    given, own = foris.score(model, target, cache), foris.score(model, target)
    assert not torch.equal(given.patches, own.patches)
    made: list[tuple[int, ...]] = []

    def counted(features: torch.Tensor) -> MergeTree:
        made.append(tuple(features.shape))
        return average_linkage(features)

    monkeypatch.setattr(foris, "average_linkage", counted)
    monkeypatch.setattr("likewise.features.target_cache.average_linkage", counted)
    foris.score(model, target, cache)
    assert made == [(30, 6)]  # the prior's, with x and y
    assert given.trace.tree is apart
    assert (own.trace.tree.merges == average_linkage(target.features).merges).all()


def test_scores_are_the_min_max_of_the_last_step() -> None:
    reference = EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8)
    model = foris.fit(ReferenceSet((reference,)), FoRISParams())
    found = foris.score(model, encode(noise(30, 4), (5, 6)))
    assert (found.patches.min(), found.patches.max()) == (0, 1)
    low, high = found.trace.consolidated.min(), found.trace.consolidated.max()
    torch.testing.assert_close(found.patches, (found.trace.consolidated - low) / (high - low))


def test_rounding_is_no_difference() -> None:
    assert foris.normalise(0.3 + 1e-7 * torch.arange(4.0)).tolist() == [0] * 4
    assert foris.normalise(torch.tensor([1.0, 3, 2])).tolist() == [0, 1, 0.5]


def test_a_target_of_one_kind_of_patch_is_no_noise() -> None:
    model = foris.fit(ReferenceSet((shot([X + 0.3 * W, Y + Z], 1, 0),)), FoRISParams())
    found = foris.score(model, encode([X + 0.7 * Y - 0.3 * Z] * 36, (6, 6)))
    assert found.patches.tolist() == [0] * 36
    assert found.confidence == 0


# --- FROST: densities ---------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"shrinkage": 1.0, "iterations": 0, "neighbours": 1}


def ratio_of(
    shots: Sequence[EncodedReference], target: PatchFeatures, **settings: float
) -> torch.Tensor:
    model = frost.fit(ReferenceSet(tuple(shots)), FROSTParams(**{**PLAIN, **settings}))
    trace = frost.score(model, target).trace
    assert isinstance(trace, frost.FROSTTrace)
    return trace.ratio


def test_the_ratio_of_two_densities() -> None:
    reference = shot(direction(0, 20, 90, 120, 70), 1, 1, 0, 0, 0)
    for h in (0.2, 0.5, 1.0):
        ratio = ratio_of([reference], encode(direction(30, 100)), bandwidth=h)
        for value, angle in zip(ratio.tolist(), (30, 100), strict=True):
            fg, bg = (
                sum(math.exp(math.cos(math.radians(angle - a)) / h**2) for a in cloud) / len(cloud)
                for cloud in ((0, 20), (90, 120, 70))
            )
            assert value == pytest.approx(h**2 * math.log(fg / bg), abs=1e-4)


def test_priors_are_equal() -> None:
    few, many = shot([X, Y], 1, 0), shot([X, *[Y] * 50], 1, *[0] * 50)
    target = encode(direction(0, 40, 50, 90))
    torch.testing.assert_close(
        ratio_of([few], target, bandwidth=0.5), ratio_of([many], target, bandwidth=0.5)
    )


def test_half_is_the_ratio_of_zero() -> None:
    found = patches(
        frost, FROSTParams(bandwidth=0.5, **PLAIN), [shot([X, Y], 1, 0)], encode([X, X + Y, Y])
    )
    ratio = ratio_of([shot([X, Y], 1, 0)], encode([X, X + Y, Y]), bandwidth=0.5)
    assert found.tolist() == pytest.approx([0.75, 0.5, 0.25])
    assert ratio.tolist() == pytest.approx([1, 0, -1])


@pytest.mark.parametrize("entries", [1, 40])
def test_densities_in_blocks(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = EncodedReference(encode(noise(20, 4, 1)), torch.arange(20) < 8)
    target = encode(noise(30, 4), (5, 6))
    whole = patches(frost, FROSTParams(), [reference], target)
    monkeypatch.setattr(frost, "_BLOCK_ENTRIES", entries)
    torch.testing.assert_close(patches(frost, FROSTParams(), [reference], target), whole)


def test_the_mirrored_reference_counts_too() -> None:
    plain = shot([X, Z], 1, 0)
    mirrored = dataclasses.replace(plain, views={"flip": (encode([Z, Y]), on(0, 1))})
    target = encode([X, Y + 0.3 * Z, Z])
    params = FROSTParams(bandwidth=0.2, **PLAIN)
    assert (patches(frost, params, [plain], target) > 0.5).tolist() == [True, False, False]
    assert (patches(frost, params, [mirrored], target) > 0.5).tolist() == [True, True, False]


# --- FROST: bandwidth ---------------------------------------------------------------------------


def chosen(tokens: torch.Tensor, masked: torch.Tensor, source: torch.Tensor | None = None) -> float:
    source = torch.arange(len(tokens)) if source is None else source
    return frost.choose_bandwidth(tokens, masked, source)


def test_leave_one_out_picks_the_bandwidth_of_the_structure() -> None:
    degrees = torch.arange(0, 360, 1.0)
    circle = direction(*degrees.tolist())
    fine = degrees % 24 < 12  # alternating arcs of 12°, 0.2 wide
    assert chosen(circle, fine) == 0.05
    # Two halves, with every fourth label wrong: only a broad average sees them.
    halves = (degrees < 180) ^ (torch.rand(360, generator=torch.Generator().manual_seed(0)) < 0.25)
    assert chosen(circle, halves) >= 0.5
    reference = EncodedReference(encode(circle), fine)
    model = frost.fit(ReferenceSet((reference,)), FROSTParams(shrinkage=1.0))
    assert model.bandwidth == 0.05
    assert frost.fit(ReferenceSet((reference,)), FROSTParams(bandwidth=0.3)).bandwidth == 0.3


def test_a_token_is_left_out_with_its_mirror_image() -> None:
    """Labels at random teach nothing, but each token's twin in the mirrored view has its label."""
    tokens = unit(noise(60, 4))
    masked = torch.rand(60, generator=torch.Generator().manual_seed(1)) < 0.5
    both = torch.cat([tokens, unit(tokens + 0.02 * noise(60, 4, 2))])
    twins = torch.arange(60).repeat(2)
    assert chosen(both, masked.repeat(2)) == 0.05
    assert chosen(both, masked.repeat(2), twins) >= 0.5
    # And fit knows which is whose: row 1 of the mirrored grid is row 1, its columns reversed.
    columns = torch.arange(60).reshape(6, 10).flip(1).flatten()
    view = (encode(both[60:][columns], (6, 10)), masked[columns])
    reference = EncodedReference(encode(tokens, (6, 10)), masked, {"flip": view})
    model = frost.fit(ReferenceSet((reference, reference)), FROSTParams(shrinkage=1.0))
    assert model.bandwidth == 0.05  # the same reference twice does give it away
    alone = frost.fit(ReferenceSet((reference,)), FROSTParams(shrinkage=1.0))
    assert alone.bandwidth >= 0.5
    wrong = dataclasses.replace(reference, encoded=encode(tokens, (10, 6)))
    assert frost.fit(ReferenceSet((wrong,)), FROSTParams(shrinkage=1.0)).bandwidth < 0.5


def test_classes_weigh_the_same_however_many_tokens_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Four lone tokens of the thing need a broad kernel; the background would gain by a narrow one.
    tokens = direction(*torch.linspace(0, 359, 2000).tolist(), 0, 110, 230, 340)
    masked = torch.arange(2004) >= 2000
    assert chosen(tokens, masked) == 1
    monkeypatch.setattr(frost, "_LEFT_OUT", 100)
    assert chosen(tokens, masked) == 1


@pytest.mark.parametrize("flags", [(1, 0), (1, 0, 0, 0), (1, 1, 1, 1), (1,)])
def test_leave_one_out_needs_no_minimum(flags: tuple[int, ...]) -> None:
    assert chosen(unit(noise(len(flags), 4)), on(*flags)) in frost.BANDWIDTHS


def test_a_class_of_one_token_leaves_the_choice_to_the_other() -> None:
    # Either background token is nearer to the thing than to the other one.
    assert chosen(direction(0, 20, -20), on(1, 0, 0)) == 1
    assert chosen(direction(0, 120, 121), on(1, 0, 0)) == 0.05


# --- FROST: whitening, vote, propagation --------------------------------------------------------


def test_whitening_discounts_what_varies_inside_the_classes() -> None:
    # Classes differ along X; both vary strongly along Z, as no class does along Y or W.
    spread = torch.linspace(-2, 2, 20)[:, None] * Z
    tokens = torch.cat([X + 0.5 * Y + spread, -X + 0.5 * Y + spread])
    masked = torch.arange(40) < 20
    root = frost.whitening(tokens, masked, 0.5)
    torch.testing.assert_close(root, root.T)
    assert root[2, 2] < 0.8 * root[0, 0]
    torch.testing.assert_close(root[0, 0], root[1, 1])  # no variance inside classes, though between
    variance = 4 * torch.tensor([0, 0, 1.0, 0])
    torch.testing.assert_close(root, torch.diag((0.5 * variance + 0.5).rsqrt()), atol=1e-4, rtol=0)
    torch.testing.assert_close(frost.whitening(tokens, masked, 1.0), torch.eye(4))


def test_whitening_decides_by_what_tells_the_classes_apart() -> None:
    spread = torch.tensor([3.0, 2.5, 2, 1.5, -1.5, -2, -2.5, -3])[:, None] * Z
    reference = EncodedReference(
        encode(torch.cat([X + spread, Y + spread[:4]])), torch.arange(12) < 8
    )
    target = encode([X - 0.2 * Z, Y - 0.6 * Z])
    for shrinkage, right in ((1.0, False), (0.05, True)):
        params = FROSTParams(bandwidth=0.5, shrinkage=shrinkage, iterations=0)
        found = patches(frost, params, [reference], target)
        assert ((found > 0.5).tolist() == [True, False]) is right


def test_references_and_target_are_whitened_alike() -> None:
    reference = EncodedReference(encode(noise(20, 4, 1) + 3 * X), torch.arange(20) < 8)
    target = encode(noise(30, 4) + 3 * X)
    params = FROSTParams(bandwidth=0.5, shrinkage=0.1)
    model = frost.fit(ReferenceSet((reference,)), params)
    root = frost.whitening(reference.encoded.debiased, reference.mask, 0.1)
    keys, queries = unit(reference.encoded.debiased @ root), unit(target.debiased @ root)
    expected = 0.25 * frost.log_ratio(queries @ keys.T, reference.mask, 0.5)
    torch.testing.assert_close(frost.score(model, target).trace.ratio, expected)


def test_the_vote_weighs_what_speaks_for_the_foreground() -> None:
    # Near 0° lies one lone background token among the thing; at 90° one of the thing.
    reference = shot(direction(0, 4, 8, 1, 90, 94, 98, 91), 1, 1, 1, 0, 0, 0, 0, 1)
    model = frost.fit(ReferenceSet((reference,)), FROSTParams(1.0, shrinkage=1.0, iterations=0))
    found = frost.score(model, encode(direction(0, 90)))
    votes, ratio = found.trace.votes, found.trace.ratio
    assert votes.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert ratio[0] > 0 > ratio[1]
    expected = [ratio[0].item() * 2 / 3, ratio[1].item()]
    assert found.trace.propagated.tolist() == pytest.approx(expected)
    assert found.patches.tolist() == pytest.approx([0.5 + value / 4 for value in expected])


def plane(rows: Rows, colour: torch.Tensor | None = None) -> PatchFeatures:
    return encode(rows, (5, 5), colour)


def test_propagation_fills_a_hole() -> None:
    values = torch.ones(25)
    values[12] = -1
    spread = frost.propagate(plane([X] * 25), values, 10, 0.7)
    assert spread[12] > 0
    assert spread.max() <= 1
    assert torch.equal(frost.propagate(plane([X] * 25), values, 0, 0.7), values)
    torch.testing.assert_close(frost.propagate(plane([X] * 25), values, 10, 0.0), values)
    # Not where feature or colour says that it is something else.
    other = [X] * 12 + [X + Y] + [X] * 12
    assert frost.propagate(plane(other), values, 10, 0.7)[12] < -0.5
    colour = torch.zeros(25, 3)
    colour[12] = 1
    assert frost.propagate(plane([X] * 25, colour), values, 10, 0.7)[12] < -0.5
    # And it is part of the method.
    reference = shot([X, X + 0.35 * Y, Z], 1, 0, 0)
    rows = [X] * 12 + [X + 0.2 * Y] + [X] * 12
    for iterations, filled in ((0, False), (10, True)):
        params = FROSTParams(0.2, shrinkage=1.0, iterations=iterations, neighbours=1)
        assert (patches(frost, params, [reference], plane(rows))[12] > 0.5).item() is filled


def test_propagation_reaches_the_near_before_the_far() -> None:
    values = torch.zeros(100)
    values[0] = 1
    row = encode([X] * 100, (1, 100))
    spread = frost.propagate(row, values, 1, 0.7)[1:]
    assert (spread[:30].diff() < 0).all()
    # Distances are parts of the grid's longer side.
    half = frost.propagate(encode([X] * 50, (1, 50)), values[:50], 1, 0.7)[1:]
    assert (half[5] / half[0]).item() == pytest.approx((spread[11] / spread[1]).item(), rel=0.2)
    # Down is as far as right.
    square = frost.propagate(encode([X] * 36, (6, 6)), values[:36], 1, 0.7)
    assert square[2].item() == pytest.approx(square[12].item())
    assert square[2] > square[14] > square[28]


def test_one_step_of_the_propagation() -> None:
    generator = torch.Generator().manual_seed(0)
    colour = 0.2 * torch.rand(6, 3, generator=generator)
    target = encode(X + 0.1 * noise(6, 4), (2, 3), colour)
    values = torch.rand(6, generator=generator)
    expected = []
    assert target.colour is not None
    for i in range(6):
        kernel = []
        for j in range(6):
            place = ((i // 3 - j // 3) ** 2 + (i % 3 - j % 3) ** 2) / 9
            apart = ((target.colour[i] - target.colour[j]) ** 2).sum().item()
            cosine = (target.features[i] @ target.features[j]).item()
            logit = (cosine - 1) / 0.05 - apart / (2 * 0.1**2) - place / (2 * 0.16**2)
            kernel.append(math.exp(logit))
        mean = sum(k * v for k, v in zip(kernel, values.tolist(), strict=True)) / sum(kernel)
        expected.append(0.7 * mean + 0.3 * values[i].item())
    assert frost.propagate(target, values, 1, 0.7).tolist() == pytest.approx(expected, abs=1e-5)

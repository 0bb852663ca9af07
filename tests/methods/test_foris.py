"""FoRIS on hand-made features where the right answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch

from directions import W, X, Y, Z, direction, encode, noise, on, patches, shot, unit
from likewise.features.clustering import MergeTree, average_linkage
from likewise.features.patch_features import PatchFeatures
from likewise.features.target_cache import TargetCache
from likewise.methods import foris
from likewise.methods.foris import FoRISParams
from likewise.reference import EncodedReference, ReferenceSet

# --- FoRIS: adaptive debias -----------------------------------------------------------------------


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


# --- FoRIS: purification --------------------------------------------------------------------------


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


# --- FoRIS: localisation --------------------------------------------------------------------------


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


# --- FoRIS: consolidation -------------------------------------------------------------------------


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

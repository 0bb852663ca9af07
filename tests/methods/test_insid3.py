"""INSID3 and keypoints on hand-made features where the right answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from likewise.features.correspondence import nearest
from likewise.features.patch_features import PatchFeatures
from likewise.features.target_cache import TargetCache
from likewise.methods.insid3 import (
    INSID3Params,
    INSID3Trace,
    candidate_patches,
    insid3,
    nearest_is_masked,
)
from likewise.methods.keypoints import MatchParams, match_keypoints

X, Y, Z, W = torch.eye(4)


def direction(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane of X and Y."""
    angles = torch.deg2rad(torch.tensor(degrees))
    return angles.cos()[:, None] * X + angles.sin()[:, None] * Y


def encode(
    features: Sequence[torch.Tensor] | torch.Tensor,
    debiased: Sequence[torch.Tensor] | torch.Tensor | None = None,
    grid: tuple[int, int] | None = None,
    size: tuple[int, int] = (10, 10),
) -> PatchFeatures:
    rows = [
        torch.nn.functional.normalize(torch.stack(list(f)), dim=1)
        for f in (features, features if debiased is None else debiased)
    ]
    return PatchFeatures(rows[0], rows[1], grid or (1, len(rows[0])), size)


def on(*flags: int) -> torch.Tensor:
    return torch.tensor(flags, dtype=torch.bool)


# --- one reference ------------------------------------------------------------------------------


def test_two_clusters_of_which_one_is_the_thing() -> None:
    reference = encode([X, X, Y, Y])
    target = encode([Y, X, Y, X, X + 0.1 * Z, Y])
    trace = insid3([reference], [on(1, 1, 0, 0)], target)
    torch.testing.assert_close(trace.prototype, X)
    torch.testing.assert_close(trace.similarity, target.debiased @ X)
    assert trace.candidates.tolist() == [False, True, False, True, True, False]
    assert trace.labels is not None
    assert trace.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert trace.seed == 1
    assert trace.scores.tolist() == [0, 1, 0, 1, 1, 0]
    assert trace.scores.dtype == torch.float32
    assert trace.cluster_scores is not None
    similarity = (1 + 1 + 1.01**-0.5) / 3
    torch.testing.assert_close(trace.cluster_scores, torch.tensor([0, similarity]))


def test_matching_needs_both_ways() -> None:
    # Patch 0 is similar to the prototype, but even more so to what is not masked.
    reference = encode([X, X + Y, Z])
    target = encode([X + 0.9 * Y, X + 0.1 * Y, -X, Z])
    trace = insid3([reference], [on(1, 0, 0)], target)
    assert (trace.similarity > 0).tolist() == [True, True, False, False]
    assert trace.candidates.tolist() == [False, True, False, False]
    # Patch 2 has the masked one as its nearest, and is yet opposed to the prototype.
    far = encode([X, -Y])
    trace = insid3([far], [on(1, 0)], encode([X, -X + 1.5 * Y, X]))
    assert trace.candidates.tolist() == [True, False, True]


def test_no_candidate_gives_nothing() -> None:
    reference = encode([X, Y])
    trace = insid3([reference], [on(1, 0)], encode([X + 2 * Y, Y, 2 * Y + Z]))
    assert not trace.candidates.any()
    assert trace.scores.tolist() == [0, 0, 0]
    assert (trace.labels, trace.seed, trace.tree, trace.cluster_scores) == (None,) * 4
    torch.testing.assert_close(trace.prototype, X)


@pytest.mark.parametrize(("patches", "top"), [(5, 1), (19, 1), (20, 2), (45, 4)])
def test_forward_falls_back_to_the_top_tenth(patches: int, top: int) -> None:
    # All patches point away from the prototype, but from the rest of the reference even more.
    degrees = torch.linspace(179, 91, patches)
    shuffle = torch.randperm(patches, generator=torch.Generator().manual_seed(0))
    target = encode(direction(*degrees[shuffle].tolist()))
    reference = encode([X, -Y])
    similarity = target.debiased @ X
    assert (similarity <= 0).all()
    found = candidate_patches([reference], [on(1, 0)], target, similarity)
    assert sorted(shuffle[found].tolist()) == [*range(patches - top, patches)]
    # Where one patch is above 0, the top tenth counts no more.
    lone = shuffle.tolist().index(patches - 2)
    similarity[lone] = 1e-3
    found = candidate_patches([reference], [on(1, 0)], target, similarity)
    assert found.nonzero().tolist() == [[lone]]


def test_similarity_of_zero_is_no_match() -> None:
    found = candidate_patches([encode([X])], [on(1)], encode([X, Y, X]), torch.tensor([1.0, 0, 2]))
    assert found.tolist() == [True, False, True]


# --- seed and aggregation -----------------------------------------------------------------------


def aggregated(alpha: float, extra: int = 0) -> INSID3Trace:
    """Clusters at 0°, 60° and 80° from the seed, the one at 60° half made of candidates.

    Patches 0-1: the seed. 2-5: debiased half like the thing, half like its surroundings.
    6: all candidate. `extra`: patches of the second cluster that are no candidates.
    """
    original = [*direction(0, 0), *direction(60, 60, 60, 60), *direction(80)]
    like, unlike = X + 0.1 * Y, X + 3 * Y
    debiased = [X, X, like, like, unlike, unlike, like]
    target = encode(original + [direction(60)[0]] * extra, debiased + [unlike] * extra)
    return insid3([encode([X, X + 2 * Y])], [on(1, 0)], target, INSID3Params(0.95, alpha))


def test_scores_of_the_clusters() -> None:
    trace = aggregated(0.2)
    assert trace.candidates.tolist() == [True, True, True, True, False, False, True]
    assert trace.labels is not None
    assert trace.labels.tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert trace.seed == 0
    like, unlike = 1.01**-0.5, 10**-0.5
    cross = [1, (like + unlike) / 2, like]
    intra = [1, math.cos(math.radians(60)), math.cos(math.radians(80))]
    area = [1, 0.5, 1]
    expected = torch.tensor([c * i * a for c, i, a in zip(cross, intra, area, strict=True)])
    assert trace.cluster_scores is not None
    torch.testing.assert_close(trace.cluster_scores, expected)


@pytest.mark.parametrize(
    ("alpha", "clusters"), [(0.16, [0, 1, 2]), (0.17, [0, 2]), (0.18, [0]), (0.99, [0]), (2, [0])]
)
def test_alpha_decides_which_clusters_join(alpha: float, clusters: list[int]) -> None:
    trace = aggregated(alpha)  # scores 1, 0.164 and 0.173; the seed always stays
    assert trace.labels is not None
    kept = [k in clusters for k in trace.labels.tolist()]
    assert trace.scores.bool().tolist() == kept


def test_the_area_factor_keeps_out_what_is_hardly_covered() -> None:
    full, diluted = aggregated(0.1), aggregated(0.1, extra=6)
    assert full.scores[2] == 1
    assert diluted.scores[2] == 0
    assert diluted.cluster_scores is not None
    like, unlike = 1.01**-0.5, 10**-0.5
    expected = (2 * like + 8 * unlike) / 10 * 0.5 * 0.2
    assert diluted.cluster_scores[1].item() == pytest.approx(expected, abs=1e-5)


def test_the_seed_is_never_measured_by_its_area() -> None:
    # One cluster, of which a third is candidate: it scores its mean similarity all the same.
    target = encode([Z, Z, Z], [X, X + 3 * Y, X + 3 * Y])
    trace = insid3([encode([X, X + 2 * Y])], [on(1, 0)], target)
    assert trace.candidates.tolist() == [True, False, False]
    assert trace.cluster_scores is not None
    assert trace.cluster_scores.item() == pytest.approx((1 + 2 * 10**-0.5) / 3)
    assert trace.scores.tolist() == [1, 1, 1]


def test_the_seed_is_a_cluster_with_a_candidate() -> None:
    # The second cluster's prototype is X itself, though none of its patches is a candidate.
    up, down = X + 0.8 * Y, X - 0.8 * Y
    around = [up, down]
    target = encode([Z, W, W], [X + 0.3 * Z, up, down])
    trace = insid3([encode([X, *around])], [on(1, 0, 0)], target)
    assert trace.candidates.tolist() == [True, False, False]
    assert trace.labels is not None
    assert trace.labels.tolist() == [0, 1, 1]
    assert trace.seed == 0


def test_the_seed_is_the_cluster_closest_to_the_prototype() -> None:
    target = encode([Y, Z, Z, W], [X + 0.5 * Y, X + 0.2 * Y, X - 0.2 * Y, X + 0.3 * Y])
    trace = insid3([encode([X])], [on(1)], target)
    assert trace.candidates.all()
    assert trace.seed == 1  # whose two patches lie on either side of X
    assert trace.scores.tolist() == [0, 1, 1, 0]


def test_clusters_are_those_of_the_original_features_at_tau() -> None:
    target = encode(direction(0, 30, 60, 90), [X, X, X, X])
    for tau, count in ((0.9, 4), (0.6, 2), (0.2, 1)):
        trace = insid3([encode([X])], [on(1)], target, INSID3Params(tau=tau))
        assert trace.labels is not None
        assert len(set(trace.labels.tolist())) == count


# --- several references -------------------------------------------------------------------------


def test_the_prototype_is_the_mean_of_the_references_means() -> None:
    one, many = encode([X, Z]), encode([Y, Y, Y, Z], grid=(2, 2))
    target = encode([X + Y, Z])
    trace = insid3([one, many], [on(1, 0), on(1, 1, 1, 0)], target)
    torch.testing.assert_close(trace.prototype, (X + Y) / 2**0.5)
    assert trace.scores.tolist() == [1, 0]


@pytest.mark.parametrize("shots", [1, 2, 3, 4, 5])
def test_half_of_the_references_must_vote(shots: int) -> None:
    """Of the references, `yes` have the target's patch as their thing; it takes ceil(K/2)."""
    for yes in range(shots + 1):
        references = [encode([X, X + Y]) for _ in range(shots)]
        masks = [on(1, 0) if k < yes else on(0, 1) for k in range(shots)]
        target = encode([X, Z])
        trace = insid3(references, masks, target)
        assert trace.candidates.tolist() == [yes >= math.ceil(shots / 2), False]


def test_references_may_have_grids_of_their_own() -> None:
    references = [encode([X, Y, Y]), encode([Y, X], grid=(2, 1)), encode([X, X, Y, Y], grid=(2, 2))]
    masks = [on(1, 0, 0), on(0, 1), on(1, 1, 0, 0)]
    trace = insid3(references, masks, encode([Y, X, Y, X], grid=(2, 2)))
    assert trace.scores.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.97, 1.0])
def test_nearest_is_masked_as_by_looking_at_all(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        keys = torch.nn.functional.normalize(torch.randn(90, 5, generator=generator), dim=1)
        keys[45:60] = keys[:15]  # ties
        queries = torch.cat([keys[::3], torch.randn(40, 5, generator=generator)])
        queries = torch.nn.functional.normalize(queries, dim=1)
        mask = torch.rand(90, generator=generator) < share
        found = nearest_is_masked(queries, keys, mask)
        assert torch.equal(found, mask[nearest(queries, keys)[1]]), seed
    assert nearest_is_masked(queries[:0], keys, mask).shape == (0,)


# --- the tree and the parameters ----------------------------------------------------------------


def test_a_known_tree_is_used_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    target = encode(torch.randn(40, 6, generator=generator))
    references = [encode(torch.randn(30, 6, generator=generator)) for _ in range(2)]
    masks = [torch.arange(30) < 12, torch.arange(30) > 20]
    cache = TargetCache(target)
    tree = cache.tree
    fresh = [insid3(references, masks, target, INSID3Params(tau=t)) for t in (0.3, 0.6, 0.8)]

    def never(_: torch.Tensor) -> None:
        raise AssertionError("clustered again")

    monkeypatch.setattr("likewise.features.target_cache.average_linkage", never)
    for trace, tau in zip(fresh, (0.3, 0.6, 0.8), strict=True):
        again = insid3(references, masks, target, INSID3Params(tau=tau), cache)
        assert again.tree is tree
        assert trace.labels is not None
        assert torch.equal(again.labels, trace.labels)
        assert torch.equal(again.scores, trace.scores)
        assert again.seed == trace.seed
    with pytest.raises(AssertionError, match="clustered again"):
        insid3(references, masks, target)


def test_inputs_are_left_as_they_are() -> None:
    reference, target, mask = encode([X, Y]), encode([X, Y, Z]), on(1, 0)
    before = [t.clone() for t in (reference.debiased, target.features, target.debiased, mask)]
    insid3([reference], [mask], target)
    after = (reference.debiased, target.features, target.debiased, mask)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_parameters_are_the_papers_and_frozen() -> None:
    assert dataclasses.astuple(INSID3Params()) == (None, 0.2)
    assert dataclasses.astuple(MatchParams()) == (7.0, 0.04)
    for params, name in ((INSID3Params(), "tau"), (MatchParams(), "sigma")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(params, name, 0.5)


# --- keypoints ----------------------------------------------------------------------------------


def distinct(grid: tuple[int, int], size: tuple[int, int], dim: int = 200) -> PatchFeatures:
    """Every patch like no other one: as good as orthogonal."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.linalg.qr(torch.randn(dim, grid[0] * grid[1], generator=generator))[0].T
    return PatchFeatures(rows, rows.roll(1, 0), grid, size)


SHARP = MatchParams(temperature=0.001)


@pytest.mark.parametrize(
    ("grid", "size"), [((8, 8), (64, 64)), ((6, 11), (60, 220)), ((11, 6), (375, 500))]
)
def test_an_image_matches_itself(grid: tuple[int, int], size: tuple[int, int]) -> None:
    image = distinct(grid, size)
    rows, columns = (i.flatten() for i in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    scale = torch.tensor([size[1] / grid[1], size[0] / grid[0]])
    points = torch.stack([columns, rows], dim=1) * scale
    for debiased in (True, False):
        found, similarity = match_keypoints(image, image, points, SHARP, debiased)
        assert found.dtype == similarity.dtype == torch.float32
        torch.testing.assert_close(found, points, atol=1e-3, rtol=0)
        torch.testing.assert_close(similarity, torch.ones(len(points)))


def test_points_scale_with_the_sizes_of_both_images() -> None:
    reference = distinct((6, 11), (60, 220))
    # The target is the same grid, its columns reversed, in an image of another size.
    flipped = reference.features.reshape(6, 11, -1).flip(1).reshape(66, -1)
    target = PatchFeatures(flipped, flipped, (6, 11), (300, 110))
    points = torch.tensor([[0, 0], [20 * 7, 10 * 4], [20 * 10, 10 * 5]])
    found, _ = match_keypoints(reference, target, points, SHARP, debiased=False)
    expected = torch.tensor([[10 * 10.0, 0], [10 * 3, 50 * 4], [0, 50 * 5]])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_point_belongs_to_the_nearest_patch_corner() -> None:
    image = distinct((4, 5), (40, 100))
    points = torch.tensor([[9.0, 4], [11, 6], [80, 30], [99, 39], [100, 40], [29.9, 14.9]])
    found, _ = match_keypoints(image, image, points, SHARP)
    expected = torch.tensor([[0.0, 0], [20, 10], [80, 30], [80, 30], [80, 30], [20, 10]])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_grids_of_different_shapes() -> None:
    reference, target = distinct((3, 5), (30, 50)), distinct((4, 9), (40, 90))
    # The columns of a QR come one after the other: patch n is the same vector in both.
    points = torch.tensor([[10.0 * (n % 5), 10.0 * (n // 5)] for n in range(15)])
    target = PatchFeatures(
        torch.cat([reference.features, target.features[15:]]), target.debiased, (4, 9), (40, 90)
    )
    found, _ = match_keypoints(reference, target, points, SHARP, debiased=False)
    expected = torch.tensor([[10.0 * (n % 9), 10.0 * (n // 9)] for n in range(15)])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_original_features_are_another_answer() -> None:
    image = distinct((5, 5), (50, 50))
    target = PatchFeatures(image.features, image.debiased.roll(-1, 0), (5, 5), (50, 50))
    points = torch.tensor([[20.0, 20.0]])
    torch.testing.assert_close(
        match_keypoints(image, target, points, SHARP, debiased=False)[0], points, atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        match_keypoints(image, target, points, SHARP)[0],
        torch.tensor([[10.0, 20.0]]),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("params", "lowest", "highest"),
    [
        (MatchParams(), 54, 56),
        (MatchParams(sigma=3.0), 50.5, 52),
        (MatchParams(sigma=1000.0), 95, 120),  # no window: near the middle of all the good ones
        (MatchParams(temperature=0.001), 49.99, 50.01),
        (MatchParams(temperature=0.08), 60, 90),
    ],
)
def test_the_window_and_the_temperature(params: MatchParams, lowest: float, highest: float) -> None:
    # One row of 21 patches: the best is column 5, nearly as good are those to its right.
    columns = np.arange(21)
    similarity = np.where(columns < 5, 0.5, 0.85)
    similarity[5] = 0.9
    rows = torch.zeros(21, 2)
    rows[:, 0] = torch.from_numpy(similarity)
    rows[:, 1] = (1 - rows[:, 0] ** 2).sqrt()
    target = PatchFeatures(rows, rows, (1, 21), (10, 210))
    reference = PatchFeatures(torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 0]]), (1, 1), (10, 10))
    found, best = match_keypoints(reference, target, torch.zeros(1, 2), params)

    window = np.exp(-((columns - 5.0) ** 2) / (2 * params.sigma**2))
    weights = np.exp((similarity * window - 0.9) / params.temperature)
    expected = (weights * columns).sum() / weights.sum() * 10
    assert lowest < expected < highest
    assert found[0, 0].item() == pytest.approx(expected, abs=1e-3)
    assert found[0, 1].item() == 0
    assert best.item() == pytest.approx(0.9)


def test_the_window_is_round_on_the_grid() -> None:
    # Runners-up two rows below and two columns right of the best patch weigh the same.
    rows = torch.zeros(49, 2)
    rows[:, 1] = 1
    for patch, similarity in ((3 * 7 + 3, 0.9), (5 * 7 + 3, 0.89), (3 * 7 + 5, 0.89)):
        rows[patch] = torch.tensor([similarity, (1 - similarity**2) ** 0.5])
    target = PatchFeatures(rows, rows, (7, 7), (70, 140))
    reference = PatchFeatures(torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 0]]), (1, 1), (10, 10))
    found, _ = match_keypoints(reference, target, torch.zeros(1, 2), MatchParams(sigma=2.0))
    x, y = found[0].tolist()
    assert x / 20 == pytest.approx(y / 10, abs=1e-4)
    assert 3 < y / 10 < 3.1


def test_integer_and_double_points() -> None:
    image = distinct((4, 4), (40, 40))
    for dtype in (torch.int64, torch.float64):
        found, _ = match_keypoints(image, image, torch.tensor([[20, 30]], dtype=dtype), SHARP)
        torch.testing.assert_close(found, torch.tensor([[20.0, 30.0]]), atol=1e-3, rtol=0)

"""The default method on hand-made features where the right answer is known."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from concepts import GRID, HERE, OTHER, PLACE, SCENE, THERE, THING, WIDE, K, box, found, scene, unit
from helpers import iou
from likewise.features import affinity, correspondence
from likewise.features.affinity import Affinities
from likewise.features.density import PatchPool, discriminant, log_density, match, merged
from likewise.features.patch_features import PatchFeatures
from likewise.features.target_cache import TargetCache
from likewise.io.masks import read_mask
from likewise.methods import likewise as method
from likewise.methods.likewise import LikewiseModel, Params, fit, score, seed_similarity
from likewise.reference import EncodedReference, ReferenceSet

pytestmark = pytest.mark.usefixtures("float32_products")

SHOT = EncodedReference(scene(HERE, seed=1), HERE)


@pytest.fixture
def every_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is merged in pools, so that formulas over all patches hold exactly."""
    monkeypatch.setattr(method, "POOL_SHARE", 1)


@dataclasses.dataclass(frozen=True)
class Known:
    """Patches of some views, as a pool of two groups a view: the concept, then the rest."""

    rows: torch.Tensor
    foreground: torch.Tensor
    view: torch.Tensor
    limit: int = 1000

    @property
    def pool(self) -> PatchPool:
        views = range(int(self.view.max()) + 1)
        groups = [(self.view == v) & (self.foreground == f) for v in views for f in (True, False)]
        return PatchPool.of([self.rows[g] for g in groups], self.limit)

    @property
    def concept(self) -> torch.Tensor:
        return torch.arange(2 * (int(self.view.max()) + 1)) % 2 == 0

    def densities(self, queries: torch.Tensor, temperature: float) -> torch.Tensor:
        found = match(self.pool, queries, temperature)
        kinds = (~self.concept, self.concept)
        return torch.stack([log_density(self.pool, found, kind) for kind in kinds], dim=1)

    def discriminant(self, ridge: float) -> torch.Tensor:
        return discriminant(self.pool, self.concept, ~self.concept, ridge)


def smooth(
    values: torch.Tensor, features: torch.Tensor, grid: tuple[int, int], width: float
) -> torch.Tensor:
    affinities = Affinities(features, grid)
    first = affinities.smooth(values, width)
    assert torch.equal(affinities.smooth(values, width), first)  # also where matrices are kept
    return first


def tokens_of(n: int = 40, views: int = 3, dim: int = 6) -> Known:
    generator = torch.Generator().manual_seed(3)
    rows = unit(torch.randn(n, dim, generator=generator))
    foreground = torch.rand(n, generator=generator) < 0.3
    view = torch.arange(n) % views
    foreground[view == 1] = False  # a view without the concept
    return Known(rows, foreground, view)


QUERIES = unit(torch.randn(11, 6, generator=torch.Generator().manual_seed(4)))


# --- log-odds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1 << 24, 100, 1])
def test_densities_are_kernel_sums_by_kind(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "BLOCK_ENTRIES", block)
    tokens = tokens_of()
    before, queries = tokens.rows.clone(), QUERIES.clone()
    densities = tokens.densities(queries, 0.1)
    sums, counts = torch.zeros(11, 2), torch.zeros(2)
    for row, concept in zip(tokens.rows, tokens.foreground.long(), strict=True):
        counts[concept] += 1
        for q in range(11):
            sums[q, concept] += math.exp((float(QUERIES[q] @ row) - 1) / 0.1)
    torch.testing.assert_close(densities, sums.log() - counts.sqrt().log())
    assert densities.dtype == torch.float32
    assert torch.equal(tokens.rows, before)
    assert torch.equal(queries, QUERIES)


def test_densities_by_hand() -> None:
    # A thing of 4 patches in a scene of 16: by number the scene counts twice, not four times.
    rows = torch.cat([THING.expand(4, -1), SCENE.expand(16, -1)])
    foreground = torch.arange(20) < 4
    tokens = Known(rows, foreground, torch.zeros(20).long())
    rest, concept = tokens.densities(unit(THING + SCENE)[None], 1.0)[0].tolist()
    nearness = 0.5**0.5 - 1
    assert concept == pytest.approx(nearness + math.log(4) / 2, abs=1e-5)
    assert rest == pytest.approx(nearness + math.log(16) / 2, abs=1e-5)


def test_densities_of_what_is_far_or_missing_are_finite() -> None:
    tokens = tokens_of()
    assert tokens.densities(-tokens.rows, 0.001).isfinite().all()
    lone = Known(tokens.rows, torch.ones(40, dtype=torch.bool), tokens.view)
    rest, concept = lone.densities(QUERIES, 0.1).unbind(dim=1)
    assert (rest < -80).all()
    assert concept.isfinite().all()


@pytest.mark.parametrize("block", [1 << 24, 100, 1])
def test_a_match_by_hand(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correspondence, "BLOCK_ENTRIES", block)
    pool = tokens_of().pool
    assert sum(pool.sizes) == 40
    assert pool.sizes[2] == 0  # the view without the concept
    found = match(pool, QUERIES, 0.1)
    cosines = QUERIES @ pool.debiased.T
    torch.testing.assert_close(found.coverage, cosines.max(dim=0).values)
    for number, part in enumerate(cosines.split(pool.sizes, dim=1)):
        kernel = ((part - 1) / 0.1).exp().sum(dim=1)
        torch.testing.assert_close(found.kernel[:, number], kernel)


def test_a_large_pool_merges_what_is_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = unit(torch.randn(20, 32, generator=generator))
    rows = unit(
        centres.repeat_interleave(50, 0) + 0.01 * torch.randn(1000, 32, generator=generator)
    )
    few, weight = merged(rows, 20, torch.ones(1000))
    assert sorted(weight.tolist()) == [50] * 20
    torch.testing.assert_close(few, rows.reshape(20, 50, 32).mean(1))
    assert merged(rows, 1000, torch.ones(1000))[0] is rows
    tokens = Known(rows, torch.arange(1000) < 400, torch.zeros(1000).long(), limit=100)
    assert tokens.pool.sizes == (40, 60)  # each its share
    assert dataclasses.replace(tokens, limit=20).pool.sizes == (16, 16)  # at least
    assert tokens.pool.weight.sum() == 1000
    whole = dataclasses.replace(tokens, limit=1000)
    assert sum(whole.pool.sizes) == 1000
    queries = unit(centres + 0.05)
    torch.testing.assert_close(
        dataclasses.replace(tokens, limit=200).densities(queries, 0.1),
        whole.densities(queries, 0.1),
        atol=0.01,
        rtol=0,
    )
    torch.testing.assert_close(tokens.discriminant(0.2), whole.discriminant(0.2), atol=0.05, rtol=0)


@pytest.mark.parametrize("ridge", [0.01, 0.2, 3.0])
def test_discriminant_is_a_weighted_ridge_regression(ridge: float) -> None:
    tokens = tokens_of()
    X = np.c_[tokens.rows.double().numpy(), np.ones(40)]
    G = tokens.foreground.numpy()
    share = np.sqrt(np.where(G, 0.5 / G.sum(), 0.5 / (~G).sum()))
    penalty = np.sqrt(ridge / 6) * np.eye(7)[:6]  # the offset is free
    rows = np.r_[X * share[:, None], penalty]
    values = np.r_[np.where(G, 1, -1) * share, np.zeros(6)]
    expected = np.linalg.lstsq(rows, values, rcond=None)[0]
    weights = tokens.discriminant(ridge)
    assert weights.shape == (7,)
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), expected, atol=2e-5)


def test_the_discriminant_balances_a_thousand_to_one() -> None:
    rows = unit(torch.stack([THING, SCENE, SCENE + 0.3 * OTHER]))
    few = Known(rows, torch.tensor([True, False, False]), torch.zeros(3, dtype=torch.int64))
    repeat = torch.tensor([1, 500, 500])
    many = Known(*(t.repeat_interleave(repeat, 0) for t in (rows, few.foreground, few.view)), 2000)
    weights = few.discriminant(0.2)
    torch.testing.assert_close(many.discriminant(0.2), weights, atol=2e-3, rtol=0)
    heavy = PatchPool(few.pool.debiased, torch.tensor([1.0, 500, 500]), few.pool.sizes)
    torch.testing.assert_close(discriminant(heavy, few.concept, ~few.concept, 0.2), weights)
    says = rows @ weights[:-1] + weights[-1]
    assert says[0] > 0.9
    assert says[1:].max() < -0.9
    torch.testing.assert_close(says[0] + says[1:].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("concept", [True, False])
def test_the_discriminant_says_nothing_of_one_kind(concept: bool) -> None:
    tokens = tokens_of()
    lone = Known(tokens.rows, torch.full((40,), concept), tokens.view)
    assert lone.discriminant(0.2).tolist() == [0] * 7


# --- affinity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1 << 24, 100, 1])
@pytest.mark.parametrize("width", [0.05, 0.5])
@pytest.mark.parametrize("few", [1024, 34])
def test_smooth_is_a_mean_over_look_and_place(
    block: int, width: float, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (affinity, correspondence):
        monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    monkeypatch.setattr(affinity, "FEW", few)
    h, w = 5, 7
    generator = torch.Generator().manual_seed(0)
    features = unit(torch.randn(35, 4, generator=generator))
    values = torch.randn(35, generator=generator)
    expected = []
    for i in range(h * w):
        odd = [(j // w) % 2 == 1 and j % w % 2 == 1 for j in range(h * w)]
        times = [1.0 if few > 35 or j == i else 35 / sum(odd) * odd[j] for j in range(h * w)]
        weights = [
            times[j]
            * math.exp(
                float(features[i] @ features[j]) / width
                - ((i // w - j // w) ** 2 + (i % w - j % w) ** 2) / (2 * 35 / 36)
            )
            for j in range(h * w)
        ]
        mean = sum(a * float(v) for a, v in zip(weights, values, strict=True)) / sum(weights)
        expected.append(mean)
    torch.testing.assert_close(smooth(values, features, (h, w), width), torch.tensor(expected))


def test_sharing_fills_a_hole_but_not_another_thing() -> None:
    target = scene(box(5, 6, 5, 6), rest=THING)  # all alike
    values = torch.ones(144)
    values[5 * 12 + 5] = -3
    assert (smooth(values, target.features, GRID, 0.05) > 0.5).all()
    other = scene(box(5, 6, 5, 6), thing=OTHER, rest=THING)
    smoothed = smooth(values, other.features, GRID, 0.05)
    assert smoothed[5 * 12 + 5] < -2.9
    assert (smoothed[torch.arange(144) != 65] > 0.9).all()


def test_what_lies_far_shares_nothing() -> None:
    values = torch.where(torch.arange(144) % 12 < 6, 1.0, -1.0)
    smoothed = smooth(values, THING.expand(144, -1), GRID, 0.05).reshape(GRID)
    assert (smoothed[:, :2] > 0.9).all()
    assert (smoothed[:, -2:] < -0.9).all()


# --- finding --------------------------------------------------------------------------------------


def test_finds_the_object() -> None:
    scores = score(fit(ReferenceSet((SHOT,)), Params()), scene(THERE, seed=2))
    assert torch.equal(found(scores), THERE)
    assert 0.9 < scores.confidence <= 1
    assert scores.patches.dtype == torch.float32
    assert scores.patches.shape == (144,)
    assert scores.patches.min() >= 0
    assert scores.patches.max() <= 1


def test_other_grids_and_a_reference_of_another_grid() -> None:
    grid = (6, 11)
    mask, place = box(1, 5, 2, 6, grid), box(2, 6, 6, 11, grid)
    target = scene(place, seed=2, grid=grid)
    for shot in (EncodedReference(scene(mask, seed=1, grid=grid), mask), SHOT):
        scores = score(fit(ReferenceSet((shot,)), Params()), target)
        assert torch.equal(found(scores), place)
    both = ReferenceSet((SHOT, EncodedReference(scene(mask, seed=1, grid=grid), mask)))
    assert torch.equal(found(score(fit(both, Params()), target)), place)


@pytest.mark.usefixtures("every_patch")
def test_log_odds_are_the_density_ratio_plus_the_discriminant() -> None:
    params = Params(temperature=0.07, linear=3.0, ridge=0.4)
    target = scene(THERE, seed=2)
    trace = score(fit(ReferenceSet((SHOT,)), params), target).trace
    X, T = SHOT.encoded.debiased.double(), target.debiased.double()
    kernel = ((T @ X.T - 1) / 0.07).exp()
    ratio = kernel[:, HERE].sum(1).log() - kernel[:, ~HERE].sum(1).log()
    ratio += 0.5 * math.log(int((~HERE).sum()) / int(HERE.sum()))
    tokens = Known(SHOT.encoded.debiased, HERE, torch.zeros(144, dtype=torch.int64))
    weights = tokens.discriminant(0.4).double()
    expected = ratio + 3.0 * (T @ weights[:-1] + weights[-1])
    torch.testing.assert_close(trace.log_odds.double(), expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(
        trace.smoothed, smooth(trace.log_odds, target.features, GRID, params.affinity)
    )


def test_pictures_are_compared_without_position_and_patches_of_one_with_it() -> None:
    """Evidence uses the debiased features, sharing the original ones."""
    reference = PatchFeatures(K[4].expand(144, -1), SHOT.encoded.debiased, GRID, (96, 96))
    plain = scene(THERE, seed=2)
    model = fit(ReferenceSet((EncodedReference(reference, HERE),)), Params())
    target = PatchFeatures(scene(WIDE, K[5], K[6]).features, plain.debiased, GRID, (96, 96))
    trace = score(model, target).trace
    assert torch.equal(trace.log_odds, score(model, plain).trace.log_odds)
    torch.testing.assert_close(trace.smoothed, smooth(trace.log_odds, target.features, GRID, 0.05))


def test_what_is_like_the_surest_patches_gains() -> None:
    """The seed is their mean; likeness to it moves the log-odds by half of ``seed`` either way."""
    target = scene(THERE, seed=2)
    trace = score(fit(ReferenceSet((SHOT,)), Params(seed=3.0)), target).trace
    weights = (trace.smoothed / 2).softmax(dim=0)
    cosines = target.features @ (weights[:, None] * target.features).sum(dim=0)
    change = trace.decided - trace.smoothed
    low, high = cosines.min(), cosines.max()
    torch.testing.assert_close(change, 3 * (cosines - low) / (high - low) - 1.5)
    assert THERE[change.argmax()]


def test_a_target_of_equal_patches_has_no_seed() -> None:
    rows = THING.expand(144, -1)
    assert torch.equal(seed_similarity(rows, torch.arange(144.0)), torch.zeros(144))


def test_scores_are_nats_around_the_threshold() -> None:
    scores = score(fit(ReferenceSet((SHOT,)), Params(threshold=1.5)), scene(THERE, seed=2))
    expected = ((scores.trace.decided - 1.5) / 20 + 0.5).clamp(0, 1)
    torch.testing.assert_close(scores.patches, expected)
    assert torch.equal(found(scores), scores.trace.decided > 1.5)


def test_a_higher_threshold_gives_a_smaller_mask() -> None:
    steps = torch.linspace(0, math.pi / 2, 144)[:, None]  # from the scene to the thing, by degrees
    rows = steps.sin() * THING + steps.cos() * SCENE
    target = PatchFeatures(rows, rows, GRID, (96, 96))
    masks = [
        found(score(fit(ReferenceSet((SHOT,)), Params(threshold=t)), target))
        for t in (-20.0, -5.0, 0.0, 5.0, 20.0)
    ]
    for larger, smaller in pairwise(masks):
        assert (smaller <= larger).all()
        assert smaller.sum() < larger.sum()


@pytest.mark.usefixtures("every_patch")
def test_negatives_take_away_what_is_found_wrongly() -> None:
    lookalike = unit(0.7 * THING + 0.7 * OTHER)
    rows = scene(THERE, seed=2).debiased.clone()
    wrong = box(0, 4, 0, 4)
    rows[wrong] = scene(wrong, thing=lookalike, seed=3).debiased[wrong]
    target = PatchFeatures(rows, rows, GRID, (96, 96))
    assert torch.equal(found(score(fit(ReferenceSet((SHOT,)), Params()), target)), THERE | wrong)
    marked = box(8, 12, 8, 12)
    # What is not marked in a negative picture may be anything: here it is the thing itself.
    negative = EncodedReference(scene(marked, lookalike, THING, seed=4), marked, negative=True)
    for shots in ((SHOT, negative), (negative, SHOT)):
        model = fit(ReferenceSet(shots), Params())
        known = [int(model.pool.patches(g).sum()) for g in (model.concept, model.rest)]
        assert known == [int(HERE.sum()), int((~HERE).sum()) + 16]
        assert torch.equal(found(score(model, target)), THERE)


@pytest.mark.usefixtures("every_patch")
def test_a_patch_counts_as_much_as_it_is_masked() -> None:
    share = HERE.float()
    edge = box(3, 7, 8, 9)
    share[edge] = 0.25
    model = fit(ReferenceSet((dataclasses.replace(SHOT, shares={"": share}),)), Params())
    assert model.pool.sizes == (int((HERE | edge).sum()), 144 - int(HERE.sum()))
    assert torch.equal(model.pool.weight, torch.cat([share[share > 0], 1 - share[share < 1]]))
    X, T = SHOT.encoded.debiased.double(), scene(THERE, seed=2).debiased.double()
    kernel = ((T @ X.T - 1) / 0.02).exp()
    sums = [kernel @ s.double() for s in (share, 1 - share)]
    counts = [float(s.sum()) for s in (share, 1 - share)]
    expected = (sums[0] / sums[1]).log() - 0.5 * math.log(counts[0] / counts[1])
    expected += 5 * (T @ model.weights[:-1].double() + model.weights[-1])
    log_odds = score(model, scene(THERE, seed=2)).trace.log_odds
    torch.testing.assert_close(log_odds.double(), expected, atol=1e-3, rtol=1e-3)
    assert SHOT.share().tolist() == HERE.tolist()  # where nothing finer is known


def test_several_shots_know_several_looks() -> None:
    second = EncodedReference(scene(WIDE, OTHER, PLACE, seed=5), WIDE)
    rows = scene(THERE, seed=2).debiased.clone()
    more = box(0, 4, 0, 4)
    rows[more] = scene(more, thing=OTHER, seed=3).debiased[more]
    target = PatchFeatures(rows, rows, GRID, (96, 96))
    params = Params()
    assert not found(score(fit(ReferenceSet((SHOT,)), params), target))[more].any()
    assert torch.equal(
        found(score(fit(ReferenceSet((SHOT, second)), params), target)), THERE | more
    )


def test_views_add_looks_too() -> None:
    view = (scene(WIDE, OTHER, PLACE, seed=5), WIDE)
    shot = dataclasses.replace(SHOT, views={"flip": view})
    model = fit(ReferenceSet((shot,)), Params(presence=0))
    target = scene(THERE, thing=OTHER, seed=2)
    assert torch.equal(found(score(model, target)), THERE)


@pytest.mark.parametrize(
    "presence",
    [
        0.0,
        0.5,
    ],
)
def test_a_reference_without_background_still_finds(presence: float) -> None:
    everything = torch.ones(144, dtype=torch.bool)
    shot = EncodedReference(scene(everything, seed=1), everything)
    scores = score(fit(ReferenceSet((shot,)), Params(presence=presence)), scene(THERE, seed=2))
    assert torch.equal(found(scores), THERE)
    assert scores.patches.isfinite().all()


def test_without_background_the_target_is_the_measure() -> None:
    everything = torch.ones(144, dtype=torch.bool)
    shot = EncodedReference(scene(everything, seed=1), everything)
    target = scene(THERE, thing=unit(THING + OTHER), seed=2)  # not much like it, but the most
    scores = score(fit(ReferenceSet((shot,)), Params(presence=0)), target)
    assert torch.equal(found(scores), THERE)
    assert scores.trace.log_odds.mean().item() == pytest.approx(0, abs=1e-4)


def test_everything_is_repeatable_and_inputs_stay() -> None:
    references = ReferenceSet((SHOT, EncodedReference(scene(WIDE, seed=6), WIDE)))
    target = scene(THERE, seed=2)
    before = [t.clone() for t in (SHOT.encoded.debiased, SHOT.mask, target.debiased)]
    one, two = (score(fit(references, Params()), target) for _ in range(2))
    assert torch.equal(one.patches, two.patches)
    assert one.confidence == two.confidence
    after = (SHOT.encoded.debiased, SHOT.mask, target.debiased)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_third_of_the_patches_stands_for_all() -> None:
    views = {"far": (scene(WIDE, seed=5), WIDE)}
    model = fit(ReferenceSet((dataclasses.replace(SHOT, views=views),)), Params())
    counts = [int(HERE.sum()), int((~HERE).sum()), int(WIDE.sum()), int((~WIDE).sum())]
    weights = model.pool.weight.split(model.pool.sizes)
    assert [int(w.sum()) for w in weights] == counts
    for size, count in zip(model.pool.sizes, counts, strict=True):
        assert size <= max(16, count // 3 + 1)
    assert torch.equal(found(score(model, scene(THERE, seed=2))), THERE)


@pytest.mark.usefixtures("every_patch")
def test_extending_adds_patches() -> None:
    references = ReferenceSet((SHOT,))
    model = fit(references, Params())
    other = EncodedReference(scene(WIDE, OTHER, seed=5), WIDE)
    more = method.extend(model, [(other.encoded.debiased, WIDE)])
    both = fit(ReferenceSet((SHOT, other)), Params())
    assert torch.equal(more.pool.debiased, both.pool.debiased)
    assert more.pool.sizes == both.pool.sizes
    for name in ("concept", "rest", "plain", "weights"):
        assert torch.equal(getattr(more, name), getattr(both, name))
    target = scene(THERE, thing=OTHER, seed=2)
    assert not found(score(model, target)).any()
    assert torch.equal(found(score(more, target)), THERE)
    # The same as if it had been a reference from the start.
    torch.testing.assert_close(
        score(more, target).trace.log_odds, score(both, target).trace.log_odds
    )
    none = score(method.extend(model, []), target)
    torch.testing.assert_close(none.patches, score(model, target).patches)


# --- presence -------------------------------------------------------------------------------------


def test_familiarity_by_hand() -> None:
    X, Y = torch.eye(2)
    half = unit(X + Y)
    pool = PatchPool.of([torch.stack([X, half]), Y[None]], 10)
    yes, no = torch.tensor([True, False]), torch.tensor([False, True])
    model = LikewiseModel(Params(), pool, yes, no, yes, torch.zeros(3))
    rows = torch.stack([X, Y, -X])
    target = PatchFeatures(rows, rows, (1, 3), (8, 24))
    mask = torch.tensor([True, False, False])
    alike = math.cos(math.radians(22.5))  # of X to the concept's mean, which is as long
    covered = (1 + 0.5**0.5) / 2
    value = method.reference_similarity(model, TargetCache(target), mask)
    assert value == pytest.approx((alike + covered) / (1 + alike))
    nothing = method.reference_similarity(
        model, TargetCache(target), torch.zeros(3, dtype=torch.bool)
    )
    across = math.cos(math.radians(90 - 22.5))  # the mean of all three points along Y
    assert nothing == pytest.approx((across + covered) / (1 + alike))
    # Patches count by what they weigh, and a mirror image is not asked for.
    heavy = PatchPool(pool.debiased, torch.tensor([3.0, 1, 1]), pool.sizes)
    value = method.reference_similarity(
        dataclasses.replace(model, pool=heavy), TargetCache(target), mask
    )
    mean = (3 * X + half) / 4
    met = float(unit(mean) @ X) + (3 + 0.5**0.5) / 4
    assert value == pytest.approx(met / (1 + float(mean.norm())))
    mirrored = dataclasses.replace(model, concept=yes | no)
    assert method.reference_similarity(mirrored, TargetCache(target), mask) == pytest.approx(
        method.reference_similarity(model, TargetCache(target), mask)
    )


def test_confidence_is_half_at_familiar_and_decides_what_is_present() -> None:
    model = fit(ReferenceSet((SHOT,)), Params())
    strange = scene(THERE, thing=unit(THING + 3 * OTHER), rest=PLACE, seed=2)
    for target in (scene(THERE, seed=2), strange):
        scores = score(model, target)
        steps = (
            scores.trace.reference_similarity - method.SIMILARITY_AT_HALF
        ) / method.SIMILARITY_SLOPE
        assert scores.confidence == pytest.approx(1 / (1 + math.exp(-steps)))
        assert (scores.confidence >= 0.5) == bool(found(scores).any())
    assert not found(score(model, strange)).any()
    eager = score(fit(ReferenceSet((SHOT,)), Params(presence=0)), strange)
    assert torch.equal(found(eager), THERE)


def test_another_class_does_not_make_a_concept_familiar() -> None:
    from likewise.reference import Reference
    from likewise.segmenter import Segmenter

    folder = Path(method.__file__).parents[1] / "example"
    coin, board = (
        Reference(folder / f"{n}_reference{s}", folder / f"{n}_reference_mask.png", label=n)
        for n, s in (("coin", ".png"), ("board", ".jpg"))
    )
    result = Segmenter(image_size=272, device="cpu").fit([coin, board])
    for name in ("board_1.jpg", "board_2.jpg"):
        found = result.segment(folder / name)
        truth = read_mask(folder / f"{Path(name).stem}_mask.png")
        assert iou(found.classes["board"].mask, truth) > 0.9
        assert not found.classes["coin"].mask.any()

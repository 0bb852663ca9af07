"""FROST on hand-made features where the right answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from directions import Rows, X, Y, Z, direction, encode, noise, on, patches, shot, unit
from likewise.features.patch_features import PatchFeatures
from likewise.methods import frost
from likewise.methods.frost import FROSTParams
from likewise.reference import EncodedReference, ReferenceSet

# --- FROST: densities -----------------------------------------------------------------------------

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


# --- FROST: bandwidth -----------------------------------------------------------------------------


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


# --- FROST: whitening, vote, propagation ----------------------------------------------------------


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
    assert spread[12].item() == pytest.approx(0.211, abs=0.001)
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

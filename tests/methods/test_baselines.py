"""What all methods to compare with have in common, on hand-made features."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from directions import W, X, Y, Z, encode, noise, patches, shot
from likewise.errors import LikewiseError
from likewise.features.target_cache import TargetCache
from likewise.methods import Abilities, foris, frost, get_method, make_params, nearest, params_of
from likewise.methods.foris import FoRISParams
from likewise.methods.frost import FROSTParams
from likewise.methods.nearest import NearestParams
from likewise.reference import EncodedReference, ReferenceSet

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

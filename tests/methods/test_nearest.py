"""Nearest neighbours on hand-made features where the right answer is known."""

from __future__ import annotations

import pytest
import torch

from directions import X, Y, direction, encode, noise, on, patches, shot, unit
from likewise.features import correspondence
from likewise.methods import nearest
from likewise.methods.nearest import NearestParams
from likewise.reference import EncodedReference, ReferenceSet


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

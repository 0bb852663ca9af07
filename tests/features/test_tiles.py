"""Plans of tiles, and sums of what tiles say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.features import tiles
from likewise.features.tiles import Mosaic, Plan, is_flat, plan_tiles


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    patch=st.integers(1, 9),
    side=st.integers(2, 16),
    largest=st.floats(0, 200),
)
def test_tiles_cover_the_grid_with_weights_that_add_up_to_one(
    size: tuple[int, int], patch: int, side: int, largest: float
) -> None:
    plan = plan_tiles(size, patch, side, largest)
    h, w = plan.grid
    assert (h - 1) * patch < size[0] <= h * patch
    total = np.zeros((max(h, side), max(w, side)))
    for row, column in plan.tiles:
        weights = plan.weights((row, column))
        assert weights.min() >= 0
        total[row : row + side, column : column + side] += weights
    assert total == pytest.approx(np.ones(total.shape))
    for axis in (0, 1):
        starts = plan.starts(axis)
        gaps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == max(0, plan.grid[axis] - side)
        assert (gaps > 0).all()
        assert (gaps <= side - plan.overlap + 1).all()


def test_the_overlap_holds_the_largest_object() -> None:
    assert plan_tiles((900, 900), 10, 48, 150).overlap == 16
    assert plan_tiles((900, 900), 10, 48, 10).overlap == 12
    assert plan_tiles((900, 900), 10, 48, 5000).overlap == 12  # none that fits could hold it


def test_a_tile_with_nothing_in_it_is_flat() -> None:
    sky = np.full((8, 8, 3), (90, 140, 200), np.uint8)
    assert is_flat(sky, None)
    sky[3, 3] = 255
    assert not is_flat(sky, None)
    assert is_flat(sky, np.zeros((8, 8), bool))
    assert is_flat(sky, np.arange(64).reshape(8, 8) < 9)


def parts(plan: Plan, dim: int = 5) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Features and evidence of every tile."""
    seeded = torch.Generator().manual_seed(0)
    n = plan.side**2
    return [
        (
            torch.nn.functional.normalize(torch.randn(n, dim, generator=seeded), dim=1),
            [9 * torch.randn(n, generator=seeded)],
        )
        for _ in plan.tiles
    ]


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_order_of_tiles_does_not_change_a_bit(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(tiles, "IN_MEMORY", 0)
    plan = plan_tiles((130, 170), 4, 8)
    pairs = list(zip(plan.tiles, parts(plan), strict=True))
    found = []
    for order in (pairs, pairs[::-1]):
        mosaic = Mosaic(plan, 5, 1)
        for tile, (features, evidence) in order:
            mosaic.add(tile, features, evidence)
        rows = torch.cat([rows for _, rows in mosaic.rows()])
        assert rows.shape == (33 * 43, 5)
        assert torch.linalg.norm(rows, dim=1) == pytest.approx(np.ones(33 * 43), abs=1e-4)
        found.append((mosaic.evidence(0), rows))
    assert (found[0][0] == found[1][0]).all()
    assert torch.equal(found[0][1], found[1][1])


def test_what_all_tiles_say_is_kept_and_what_has_no_data_is_not_seen() -> None:
    plan = plan_tiles((64, 96), 4, 8)
    mosaic = Mosaic(plan, 3, 2)
    same = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, 3.0]]).expand(64, 3), dim=1)
    shown = np.ones((8, 8), bool)
    for row, column in plan.tiles:
        hidden = np.arange(row, row + 8)[:, None] + np.zeros(8) < 2  # the first two rows
        nats = [torch.full((64,), -3.25), torch.full((64,), 40.0)]
        mosaic.add((row, column), same, nats, shown & ~hidden)
    assert not mosaic.seen[:2].any()
    assert mosaic.seen[2:].all()
    assert mosaic.evidence(0)[2:] == pytest.approx(-3.25, abs=1e-3)
    assert mosaic.evidence(1)[2:] == pytest.approx(40, abs=1e-3)
    assert mosaic.evidence(1)[:2] == pytest.approx(0)

"""The solver of prompts on pictures of two regions: values, and what must not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from likewise.features.patch_features import PatchFeatures
from likewise.features.prompts import (
    MARGIN,
    NOTHING,
    TRUST,
    PromptSolver,
    mean_of,
    pulls,
)

GRID, SIZE = (6, 8), (60, 80)
LEFT = np.arange(48) % 8 < 4


def solver(rows: np.ndarray) -> PromptSolver:
    features = torch.from_numpy(np.float32(rows))
    return PromptSolver(PatchFeatures(features, features, GRID, SIZE))


@pytest.fixture
def halves() -> PromptSolver:
    """Left and right are as different as can be."""
    return solver(np.eye(2)[1 - LEFT.astype(int)])


@pytest.fixture
def nothing() -> np.ndarray:
    return np.full(48, NOTHING)


def at(nats: np.ndarray, found: PromptSolver, x: float, y: float) -> float:
    return sum(float(nats[i]) * weight for i, weight in found.corners(x, y))


def test_no_point_changes_nothing(halves: PromptSolver, nothing: np.ndarray) -> None:
    assert halves.solve(nothing, np.zeros((0, 3))) is nothing


def test_one_point_finds_the_region_it_is_in(halves: PromptSolver, nothing: np.ndarray) -> None:
    found = halves.solve(nothing, np.array([[15.0, 30.0, 1]]))
    assert ((found > 0) == LEFT).all()


def test_points_of_both_signs_part_the_regions(halves: PromptSolver, nothing: np.ndarray) -> None:
    points = np.array([[65.0, 15.0, 1], [15.0, 45.0, -1]])
    assert ((halves.solve(nothing, points) > 0) == ~LEFT).all()


def test_a_point_has_its_margin_where_it_is(halves: PromptSolver) -> None:
    # An all-alike picture, so that contrast and similarity cannot help either side.
    alike = solver(np.tile([1.0, 0.0], (48, 1)))
    points = np.array([[13.0, 22.0, 1], [66.0, 41.0, -1]])
    found = alike.solve(np.zeros(48), points)
    for x, y, sign in points:
        assert sign * at(found, alike, x, y) > 0.9 * MARGIN


def test_a_point_that_is_right_moves_nothing(halves: PromptSolver) -> None:
    mean = np.where(LEFT, 5.0, -5.0)
    points = np.array([[15.0, 30.0, 1], [65.0, 30.0, -1]])
    assert (halves.solve(mean, points) == mean).all()


def test_a_correction_reaches_what_is_like_it_and_leaves_the_rest(halves: PromptSolver) -> None:
    mean = np.where(LEFT, 5.0, 3.0)  # the right half is a false alarm
    found = halves.solve(mean, np.array([[65.0, 30.0, -1]]))
    assert ((found > 0) == LEFT).all()


def test_where_a_point_lies_between_patches() -> None:
    found = solver(np.eye(2)[1 - LEFT.astype(int)])
    assert found.corners(5, 5) == [(0, 1.0)]  # the middle of the first patch
    assert found.corners(0, 0) == [(0, 1.0)]  # its corner: there is no patch beyond
    assert found.corners(10, 5) == [(0, 0.5), (1, 0.5)]
    assert dict(found.corners(77, 57)) == {47: 1.0}
    assert dict(found.corners(12.5, 10)) == {0: 0.125, 1: 0.375, 8: 0.125, 9: 0.375}


def test_a_box_finds_what_differs_from_around_it(halves: PromptSolver) -> None:
    thing = np.zeros(GRID, dtype=bool)
    thing[1:4, 2:5] = True
    found = solver(np.eye(2)[thing.astype(int).ravel()]).box((10, 0, 60, 50), None)
    assert ((found > 0) == thing.ravel()).all()


def test_a_box_around_what_is_like_all_else_is_taken_whole() -> None:
    found = solver(np.tile([1.0, 0.0], (48, 1))).box((20, 20, 40, 40), None)
    inside = np.zeros(GRID, dtype=bool)
    inside[2:4, 2:4] = True
    assert ((found > 0) == inside.ravel()).all()


def test_a_box_keeps_what_is_known_inside(halves: PromptSolver) -> None:
    known = np.where(LEFT, 2.0, -1.0)
    found = halves.box((0, 0, 20, 60), known)
    inside = np.arange(48) % 8 < 2
    assert (found[inside] == 2).all()
    assert (found[~inside] == -MARGIN).all()


def test_pulls() -> None:
    one = np.ones(1)
    assert pulls(-4 * one, np.ones((1, 1)), one, 8.0) == pytest.approx([12 / 1.01])
    assert pulls(4 * one, np.ones((1, 1)), one, 8.0) == [0]  # clear already
    # The second is carried along by the first, and need not pull.
    both = pulls(np.array([-4.0, -4.0]), np.full((2, 2), 0.99), np.ones(2), 8.0)
    assert both.sum() == pytest.approx(12 / 1.0, rel=0.02)


def test_means_of_scores() -> None:
    scores = torch.tensor([0.0, 0.5, 1.0])
    assert mean_of(scores, (1, 3), 10.0) == pytest.approx([-10 * TRUST, 0, 10 * TRUST])
    absent = torch.tensor([0.0, 0.5, 0.5])
    assert mean_of(absent, (1, 3), 10.0) == pytest.approx([-10 * TRUST + NOTHING, NOTHING, NOTHING])
    fine = torch.tensor([[0.0, 0.0, 1.0, 0.6], [0.0, 0.0, 0.6, 1.0]])
    assert mean_of(fine, (1, 2), 10.0) == pytest.approx([-10 * TRUST, 6 * TRUST])
    assert mean_of(None, (1, 2), 10.0) is None

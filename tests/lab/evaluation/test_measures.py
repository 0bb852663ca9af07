"""J, F and PCK against second formulations."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.lab.evaluation.figures import figures
from likewise.lab.evaluation.metrics import contour, contour_f
from likewise.lab.evaluation.tasks import correct_keypoints


def blob(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A few overlapping rectangles."""
    rng, mask = np.random.default_rng(seed), np.zeros(shape, bool)
    for _ in range(3):
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[top : top + rng.integers(1, shape[0] + 1), left : left + rng.integers(1, shape[1])] = (
            True
        )
    return mask


def slow_contour(mask: np.ndarray) -> set[tuple[int, int]]:
    """The official rule pixel by pixel: right, below and right below; less at the far edges."""
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            inside = [
                mask[y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (1, 1))
                if y + dy < height and x + dx < width
            ]
            if any(value != mask[y, x] for value in inside):
                found.add((y, x))
    return found


def slow_f(mask: np.ndarray, truth: np.ndarray) -> float:
    """Every pair of contour pixels."""
    reach = np.ceil(0.008 * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))
    found, there = slow_contour(mask), slow_contour(truth)
    if not found or not there:
        return 100.0 * (not found and not there)

    def share(these: set[tuple[int, int]], those: set[tuple[int, int]]) -> float:
        near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in those) for y, x in these]
        return sum(near) / len(near)

    precision, recall = share(found, there), share(there, found)
    return 200 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("shape", [(7, 9), (30, 40), (61, 23), (1, 12), (120, 150)])
def test_f_at_several_sizes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for seed in range(2 if shape[0] > 100 else 6):
        truth = blob(shape, seed)
        shift = int(rng.integers(0, 4))
        mask = np.roll(truth, shift, axis=1) if seed % 2 else blob(shape, seed + 50)
        assert {tuple(p) for p in np.argwhere(contour(mask))} == slow_contour(mask)
        assert contour_f(mask, truth) == pytest.approx(slow_f(mask, truth))


def test_f_of_nothing() -> None:
    nothing, thing = np.zeros((20, 20), bool), blob((20, 20), 0)
    assert contour_f(nothing, nothing) == 100
    assert contour_f(nothing, thing) == contour_f(thing, nothing) == 0
    assert contour_f(thing, thing) == 100


def test_j_and_f_are_means_over_objects_of_means_over_frames() -> None:
    """The object of one frame weighs as much as that of three."""
    frames = [
        {"a 1": [50.0, 10.0]},
        {"b 1": [80.0, 20.0], "b 2": [0.0, 40.0]},
        {"b 1": [60.0, 0.0]},
    ]
    records = [
        {"at": at, "set": "val", "unit": next(iter(f))[0], "objects": f}
        for at, f in enumerate(frames)
    ]
    found = figures(records)
    assert found["mean"]["J"] == pytest.approx((50 + 70 + 0) / 3)
    assert found["mean"]["F"] == pytest.approx((10 + 10 + 40) / 3)
    assert found["mean"]["J&F"] == pytest.approx((40 + 20) / 2)
    # Drawing whole videos: only a, only b, or both can come out.
    low, high = found["interval"]["J"]
    assert (low, high) == (pytest.approx(35), pytest.approx(50))


def test_pck_by_hand() -> None:
    """A box of 100 px a side: right within 5, 10, 15 and 20 px, the border included."""
    truth = np.array([[10.0, 10], [50, 50], [90, 20]])
    found = truth + np.array([[3, 4], [0, 10], [12, 16.1]])  # 5, 10 and 20.08 px off
    assert correct_keypoints(found, truth, 100) == [1, 2, 2, 2]
    assert correct_keypoints(found, truth, 200) == [2, 2, 3, 3]
    head = {"set": "test", "cls": "cat"}
    records = [
        {**head, "at": 0, "unit": "0", "points": 3, "right": [1, 2, 2, 2]},
        {**head, "at": 1, "unit": "1", "points": 1, "right": [0, 0, 1, 1]},
    ]
    mean = figures(records)["mean"]
    assert mean["PCK@0.05 per image"] == pytest.approx(100 * (1 / 3 + 0) / 2)
    assert mean["PCK@0.10 per image"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    assert mean["PCK@0.10 per point"] == pytest.approx(100 * 2 / 4)
    assert mean["PCK@0.20 per point"] == pytest.approx(100 * 3 / 4)

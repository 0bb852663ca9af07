"""Pixels that were pointed at are on their side, with what has their colour close by."""

from __future__ import annotations

import numpy as np
import torch

from likewise.refine import refine
from likewise.refine.points import MARGIN, honour

SIDE = 64


def two_colours() -> np.ndarray:
    """Dark on the left, light on the right."""
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    image[:, SIDE // 2 :] = 200
    return image


def test_points_that_are_right_change_nothing() -> None:
    fine = torch.full((SIDE, SIDE), 0.2)
    fine[:, 32:] = 0.9
    assert honour(fine, two_colours(), np.array([[40.5, 9.5, 1], [9.5, 9.5, -1]])) is fine


def test_a_point_takes_what_has_its_colour_close_by() -> None:
    fine = torch.full((SIDE, SIDE), 0.45)
    found = honour(fine, two_colours(), np.array([[30.5, 20.5, 1]]))
    assert abs(float(found[20, 30]) - 0.5 - MARGIN) < 0.01
    assert found[20, 26] > 0.5
    assert found[20, 33] < 0.5  # as close, of another colour
    assert found[63, 0] == 0.45  # of the same colour, far away


def test_points_of_both_sides_next_to_each_other() -> None:
    fine = torch.full((SIDE, SIDE), 0.2)
    points = np.array([[10.5, 20.5, 1], [16.5, 20.5, -1]])
    found = honour(fine, two_colours(), points)
    assert found[20, 10] > 0.55
    assert found[20, 16] < 0.45


def test_refine_keeps_every_point_at_the_size_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    points = np.array([[2.5, 3.5, -1], [3.5, 3.5, 1], [60.5, 5.5, 1], [61.5, 5.5, -1]])
    for refiner in ("none", "guided"):
        mask = refine(scores, image, (28, 28), refiner, points)
        assert mask[[3, 3, 5, 5], [2, 3, 60, 61]].tolist() == [False, True, True, False]
    nothing = refine(torch.zeros(2, 2), image, (28, 28), "guided", np.array([[2.5, 3.5, 1]]))
    assert nothing[3, 2]

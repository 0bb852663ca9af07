"""F of DAVIS: how much of one contour runs close to the other (Perazzi et al., CVPR 2016)."""

from __future__ import annotations

import math

import numpy as np

from .reading import Bools


def contour(mask: Bools) -> Bools:
    """(H, W) bool: pixels that differ from the one to the right, below, or right below.

    As in the official evaluation; in the last row and column only the neighbour inside counts.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1] |= mask[:-1] != mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def contour_f(mask: Bools, truth: Bools, tolerance: float = 0.008) -> float:
    """F in points 0..100: harmonic mean of the shares of both contours that match.

    Args:
        mask: (H, W) bool, predicted.
        truth: (H, W) bool.
        tolerance: how far a matching pixel may be, as a share of the diagonal (rounded up to
            pixels).
    """
    from scipy.ndimage import distance_transform_edt

    found, there = contour(mask), contour(truth)
    if not found.any() or not there.any():
        # The official code's rule: no contour at all is all right, one where none is is not.
        return 100.0 if found.any() == there.any() else 0.0
    reach = math.ceil(tolerance * math.hypot(*mask.shape))
    precision = float((distance_transform_edt(~there)[found] <= reach).mean())
    recall = float((distance_transform_edt(~found)[there] <= reach).mean())
    return 200 * precision * recall / (precision + recall) if precision + recall else 0.0

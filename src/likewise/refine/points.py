"""Pixels that a person pointed at are decided, and what lies close and has their colour follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..features.prompts import pulls

if TYPE_CHECKING:
    import torch

RADIUS = 12.0
"""Pixels of the input: width of the distance."""
COLOUR = 0.15
"""Of 0..1: width of the difference in colour."""
MARGIN = 0.1
"""By which a score is on the side of its point."""
MOST = 512
"""Points that pull: of more, as of long lines, every second, say."""


def honour(fine: torch.Tensor, image: np.ndarray, points: np.ndarray) -> torch.Tensor:
    """Scores in which every point has its side.

    A point whose pixel is right already changes nothing.

    Args:
        fine: (H', W') float32 in 0..1, above 0.5 is foreground.
        image: (H, W, 3) uint8 RGB, of any size.
        points: (n, 3) x, y in pixels of ``fine``, and a sign.

    Returns:
        (H', W') float32 on the same device.
    """
    height, width = fine.shape
    points = points[:: -(-len(points) // MOST)]
    scores = fine.double().cpu().numpy()
    x = points[:, 0].astype(int).clip(0, width - 1)
    y = points[:, 1].astype(int).clip(0, height - 1)
    sign = np.where(points[:, 2] > 0, 1.0, -1.0)
    before = scores[y, x] - 0.5
    if (sign * before >= MARGIN).all():
        return fine
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    colours = np.asarray(small, dtype=np.float32) / 255
    at = colours[y, x]
    d2 = (x[:, None] - x) ** 2.0 + (y[:, None] - y) ** 2.0
    c2 = ((at[:, None] - at) ** 2).sum(axis=2)
    among = np.exp(-d2 / (2 * RADIUS**2) - c2 / (2 * COLOUR**2))
    reach = int(3 * RADIUS)
    for i, pull in enumerate(pulls(before, among, sign, MARGIN)):
        if pull == 0:
            continue
        rows = np.arange(max(0, y[i] - reach), min(height, y[i] + reach + 1))
        columns = np.arange(max(0, x[i] - reach), min(width, x[i] + reach + 1))
        window = np.ix_(rows, columns)
        d2 = (rows[:, None] - y[i]) ** 2.0 + (columns - x[i]) ** 2.0
        c2 = ((colours[window] - at[i]) ** 2).sum(axis=2)
        scores[window] += pull * np.exp(-d2 / (2 * RADIUS**2) - c2 / (2 * COLOUR**2))
    return fine.new_tensor(scores.clip(0, 1))

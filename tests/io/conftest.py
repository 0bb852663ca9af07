"""Fixtures that several files of this folder use."""

from __future__ import annotations

import numpy as np
import pytest

from stored import SIZE


@pytest.fixture
def scene() -> np.ndarray:
    """(48, 64) float in 0..1: smooth, with its ends well filled."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 48
    waves = np.sin(5 * x) * np.cos(4 * y) + 0.3 * np.sin(17 * x + 9 * y)
    return ((waves - waves.min()) / np.ptp(waves) * 1.2 - 0.1).clip(0, 1)

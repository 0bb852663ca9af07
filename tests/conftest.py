"""Fixtures that several test files use."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((12, 16), dtype=bool)
    mask[3:8, 4:11] = True
    return mask

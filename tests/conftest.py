"""Fixtures that several test files use."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((12, 16), dtype=bool)
    mask[3:8, 4:11] = True
    return mask


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads gain nothing on tiny models, and wait for one another on a busy machine."""
    torch.set_num_threads(1)

"""Fixtures that several test files use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from likewise.features import correspondence
from scenes import one_thread as with_one_thread
from tiny import make_backbone


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


@pytest.fixture
def float32_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors that do not multiply bytes: what is worked out by hand is exact."""
    monkeypatch.setattr(correspondence, "multiplies_bytes", lambda: False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A random DINOv3 of two blocks, as a Hugging Face folder."""
    with with_one_thread():
        yield make_backbone(tmp_path_factory.mktemp("backbone") / "tiny")

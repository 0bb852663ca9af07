"""Fixtures that several files of this folder use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.lab.segic.data.compose import Photos
from pairs import seeded


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    (tmp_path / "photos").mkdir()
    grey = seeded().integers(100, 140, (200, 300, 1), dtype=np.uint8)
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(tmp_path / "photos" / "a.png")
    return Photos([tmp_path / "photos"])

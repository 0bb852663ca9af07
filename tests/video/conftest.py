"""Fixtures that several files of this folder use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import COUNT, camera, write_folder, write_video


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.mp4, the same in frames/, and the masks m0.png and m13.png."""
    folder = tmp_path_factory.mktemp("clip")
    frames, masks = camera()
    write_video(folder / "clip.mp4", frames)
    write_folder(folder / "frames", frames)
    for k in (0, COUNT - 1):
        Image.fromarray(masks[k].astype(np.uint8) * 255).save(folder / f"m{k}.png")
    return folder

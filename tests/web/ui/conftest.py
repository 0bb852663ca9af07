"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from likewise.project.settings import ProjectSettings
from likewise.project.settings_file import replace_settings
from scenes import make_scene, sandbox

if TYPE_CHECKING:
    from page_site import Site


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        replace_settings(
            folder / "work", ProjectSettings((), (), backbone="../tiny", image_size=64)
        )
        yield folder


@pytest.fixture
def site(scene: Path) -> Iterator[Site]:
    """With a reference picture that is not painted yet and the targets a, b and c."""
    from page_site import served

    with served(scene / "work") as found:
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            found.do(
                "PUT", f"/api/uploads?name={name}&reference=false", (scene / name).read_bytes()
            )
        content = (scene / "reference.png").read_bytes()
        found.do("PUT", "/api/uploads?name=reference.png&reference=true", content)
        yield found


@pytest.fixture
def thing(scene: Path) -> np.ndarray:
    """The mask of the scene's example, as the page paints class 1."""
    return (np.asarray(Image.open(scene / "mask.png")) > 0).astype(np.uint8)

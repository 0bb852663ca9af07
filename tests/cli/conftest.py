"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from likewise.segmenter import Segmenter
from scenes import make_scene, sandbox


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder: reference.png, mask.png, a.jpg, b.jpg, c.jpg, tiny/."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        yield folder


@pytest.fixture(scope="module")
def segmenter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """What the command line is compared with."""
    with sandbox(tmp_path_factory.mktemp("segmenter")):
        built = Segmenter(tiny, image_size=64)
        assert built.encoder.basis.shape[0] == 48  # made here, in the sandbox's cache
    return built

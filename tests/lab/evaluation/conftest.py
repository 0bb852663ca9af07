"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluated import write_episodes
from scenes import make_scene, sandbox


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder, with e.json: five episodes of two sets, the last of them absent."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        write_episodes()
        yield folder

"""Fixtures that several files of this folder use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import Columns
from likewise.project.project import Project
from painted_project import CLASSES, paint
from scenes import sandbox


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A and B of two pictures each, and projects that find a class in each column (``Columns``)."""

    def encoder(project: Project, kind: Any, **where: Any) -> tuple[Any, str]:
        return SimpleNamespace(spec=SimpleNamespace(name="columns")), "columns"

    def segmenter(project: Project, encoder: Any) -> Any:
        found = Columns(CLASSES, project.settings.labels)
        return SimpleNamespace(fit=lambda references: found)

    monkeypatch.setattr(Project, "encoder", encoder)
    monkeypatch.setattr(Project, "segmenter", segmenter)
    with sandbox(tmp_path):
        for number, name in enumerate(("A/a0.png", "A/a1.png", "B/b0.png", "B/b1.png")):
            paint(name, number)
        paint("ref.png", 9)
        Image.fromarray(np.tile(np.repeat(np.arange(4, dtype=np.uint8), 2), (6, 1))).save("m.png")
        yield tmp_path

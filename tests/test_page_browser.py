"""The page in a real browser; see page_drive.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from page_drive import drive, lacking


def test_from_the_example_to_a_dataset(tmp_path: Path) -> None:
    if reason := lacking():
        pytest.skip(reason)
    figures = drive(tmp_path / "project", image_size=266)
    assert figures["pixels that browser and Python draw otherwise"] == 0
    assert figures["visible images"] == 4
    assert figures["instances in the COCO file"] > 8  # coins, and a board

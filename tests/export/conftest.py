"""Fixtures that several files of this folder use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_maps import STEMS
from likewise.io.draw import class_colour
from likewise.io.encoding import write_label_map
from likewise.io.images import read_image


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """images/ and masks/ of two classes, with labels.json; one image is stored turned."""
    rng = np.random.default_rng(0)
    for folder in ("images", "found"):
        (tmp_path / folder).mkdir()
    colours = [(0, 0, 0), class_colour(1), class_colour(2)]
    for stem, label_map in STEMS.items():
        rgb = rng.integers(0, 256, (*label_map.shape, 3), dtype=np.uint8)
        image = Image.fromarray(rgb)
        if stem == "13 a disc":
            exif = Image.Exif()
            exif[0x0112] = 6  # turn by 90 degrees to the right to show it
            image.transpose(Image.Transpose.ROTATE_90).save(
                tmp_path / "images" / f"{stem}.png", exif=exif
            )
            np.testing.assert_array_equal(read_image(tmp_path / "images" / f"{stem}.png"), rgb)
        else:
            image.save(tmp_path / "images" / f"{stem}.png")
        write_label_map(tmp_path / "found" / f"{stem}.png", label_map, colours)
    (tmp_path / "found" / "labels.json").write_text('{"1": "cat", "2": "dog: \\"big\\""}')
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "without.png")
    return tmp_path

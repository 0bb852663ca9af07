"""Large pictures are read without copies of the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import likewise
import likewise.io.stretch as module
from likewise.io.images import read_image

RNG = np.random.default_rng(0)
PEAK = """
import re, sys
from pathlib import Path
from likewise.io.images import read_image

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

read_image(sys.argv[1])
before = peak()
pixels = read_image(sys.argv[2])
print((peak() - before) / (pixels.size // 3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is in /proc")
@pytest.mark.parametrize("turned", [False, True])
def test_reading_takes_the_memory_of_what_is_decoded_and_of_what_is_returned(
    tmp_path: Path, turned: bool
) -> None:
    """4 bytes a pixel of Pillow, 3 of the array; a picture that is turned is twice in Pillow."""
    exif = Image.Exif()
    exif[274] = 6 if turned else 1
    Image.new("RGB", (64, 48)).save(tmp_path / "small.jpg", exif=exif)
    Image.new("RGB", (6000, 4000), (90, 20, 160)).save(tmp_path / "large.jpg", exif=exif)
    names = [str(tmp_path / name) for name in ("small.jpg", "large.jpg")]
    source = str(Path(likewise.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *names],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert float(done.stdout) < 10.5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB"])
def test_bands_are_the_whole(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    colours = Image.fromarray(RNG.integers(0, 256, (23, 17, 3), dtype=np.uint8))
    image = colours if mode == "LAB" else colours.convert(mode)
    image = Image.frombytes("LAB", image.size, image.tobytes()) if mode == "LAB" else image
    monkeypatch.setattr(module, "BAND", 40)
    np.testing.assert_array_equal(read_image(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA", "La", "RGBa", "P"])
def test_bands_with_alpha_are_the_whole(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    pixels = RNG.integers(0, 256, (23, 17, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(RNG.random((23, 17)) < 0.5, 255, 0)
    image = Image.fromarray(pixels)
    if mode == "P":
        image = image.convert("RGB").quantize(16)
        image.info["transparency"] = 3
    else:
        image = image.convert({"La": "LA", "PA": "LA"}.get(mode, "RGBA")).convert(mode)
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert("RGBA")
    expected = np.asarray(plain)
    monkeypatch.setattr(module, "BAND", 40)
    found, shown = module.as_rgb(image)
    assert shown is not None
    np.testing.assert_array_equal(found, expected[..., :3])
    np.testing.assert_array_equal(shown, expected[..., 3] > 0)

"""One picture of a file that holds several: pages, frames, planes, channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers import refusal
from likewise import Plane
from likewise.errors import noting
from likewise.io.images import read_image

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (2, 3, 4, 20, 30), dtype=np.uint8)
"""T, Z, C, Y, X."""


def read(path: Path, page: int | None = None, channels: tuple[int, ...] = ()) -> np.ndarray:
    with noting() as notes:
        found = read_image(Plane(path, page, channels))
    assert page is None or not any("was taken" in str(note) for note in notes)
    return found


@pytest.fixture(params=["ome", "imagej"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Five axes; ImageJ writes one page for all of them where it is large, tifffile does always."""
    path = tmp_path / ("a.ome.tif" if request.param == "ome" else "a.tif")
    how = {request.param: True}
    tifffile.imwrite(path, STACK, metadata={"axes": "TZCYX"}, photometric="minisblack", **how)
    return path


def test_pages_of_all_axes(stack: Path) -> None:
    for page in (0, 5, 23):
        np.testing.assert_array_equal(read(stack, page)[..., 0], STACK.reshape(24, 20, 30)[page])
    has = refusal(read_image, Plane(stack, 24))
    assert has == f"{stack} has pages 0 to 23: --page 24 is none of them."


def test_channels_that_are_pages(stack: Path) -> None:
    grey = read(stack, 4, (2,))
    np.testing.assert_array_equal(grey, np.repeat(STACK[1, 1, 2][..., None], 3, axis=2))
    with noting() as notes:
        colour = read_image(Plane(stack, None, (3, 0, 1)))
    assert f"{stack}: page 0 was taken, of 0 to 5." in notes  # as --page counts
    np.testing.assert_array_equal(colour, np.moveaxis(STACK[0, 0, [3, 0, 1]], 0, -1))
    assert "has pages 0 to 5: --page 6" in refusal(read_image, Plane(stack, 6, (0,)))
    assert "has channels 0 to 3: --channel 4 is" in refusal(read_image, Plane(stack, 0, (4,)))
    assert "give one or three" in refusal(read_image, Plane(stack, 0, (0, 1)))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_inside_of_pages(tmp_path: Path, planar: str) -> None:
    values = RNG.integers(0, 256, (20, 30, 5), dtype=np.uint8)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar)
    np.testing.assert_array_equal(read(path, None, (4, 2, 0)), values[..., [4, 2, 0]])
    np.testing.assert_array_equal(read(path, 0, (3,))[..., 1], values[..., 3])
    assert "channels 0 to 4" in refusal(read_image, Plane(path, 0, (5,)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_pages_and_frames_of_plain_files(tmp_path: Path, dtype: str) -> None:
    pages = [(RNG.random((20, 30)) * 255).astype(dtype) for _ in range(3)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for page in pages:
            tiff.write(page, photometric="minisblack", contiguous=False)
    found = read(tmp_path / "a.tif", 2)[..., 0].astype(float)
    assert np.corrcoef(found.ravel(), pages[2].ravel())[0, 1] > 0.99
    if dtype == "uint8":
        frames = [Image.fromarray(page) for page in pages]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read(tmp_path / "a.gif", 1)[..., 0], pages[1])
        assert "pages 0 to 2" in refusal(read_image, Plane(tmp_path / "a.gif", 3))


def test_a_page_of_another_size_is_not_the_first(tmp_path: Path) -> None:
    small, large = (Image.new("L", size, 9) for size in ((40, 30), (80, 60)))
    small.save(tmp_path / "a.tif", save_all=True, append_images=[large])
    assert "has pages of several sizes" in refusal(read_image, Plane(tmp_path / "a.tif", 1))
    assert read(tmp_path / "a.tif", 0).shape == (30, 40, 3)


def test_channels_of_other_pictures(tmp_path: Path) -> None:
    rgb = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png", None, (2, 1, 0)), rgb[..., ::-1])
    assert "channels 0 to 2" in refusal(read_image, Plane(tmp_path / "a.png", 0, (3,)))
    Image.fromarray(rgb[..., 0]).save(tmp_path / "b.png")
    with noting() as notes:
        found = read_image(Plane(tmp_path / "b.png", 7, (1,)))
    said = " ".join(map(str, notes))
    assert "it has one channel, which was taken" in said
    assert "it has one page, which was taken" in said
    np.testing.assert_array_equal(found[..., 0], rgb[..., 0])

"""Pixels by meaning: whatever their type and range, they read alike."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.decoding import decode
from likewise.io.images import find_range, read_image, read_image_bytes, read_picture
from likewise.io.opening import image_size
from likewise.io.stretch import pooled
from likewise.reference import Reference, read_reference
from stored import SIZE, file_of, told


def quiet(call, *args, **kwargs):
    result, text = told(call, *args, **kwargs)
    assert text == ""
    return result


# --- pixels: any type and range of one picture ----------------------------------------------------

DTYPES = ["uint16", "int16", "int32", "uint32", "float32", "float64"]


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    low=st.floats(-0.9, 0.8),
    share=st.floats(0.01, 0.15),
    hot=st.integers(0, 4),
    nodata=st.sampled_from([None, "customary", "nan", "tag"]),
    seed=st.integers(0, 99),
)
def test_affine_maps_of_a_picture_give_the_same_8_bits(dtype, low, share, hot, nodata, seed):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 48
    plain = np.sin(5 * x) * np.cos(4 * y) + 0.3 * np.sin(17 * x + 9 * y)
    plain = (plain - plain.min()) / np.ptp(plain)
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        span, start, top, void = share * 1000, low * 900, 1e6, -9999.0
    else:
        info = np.iinfo(dtype)
        span = share * info.max
        start = abs(low) * info.max * 0.9 if info.min == 0 else low * info.max * 0.5
        top = info.max - 1  # the very last would be "no data"
        void = {"int16": -32768, "int32": -(2**31)}.get(dtype, info.max)
    values = (start + span * plain).astype(dtype)
    expected = quiet(read_picture, np.rint(plain * 255).astype(np.uint8)).pixels.astype(int)
    valid = np.ones(SIZE, bool)
    if nodata in ("customary", "tag") or (nodata == "nan" and dtype.startswith("float")):
        valid[:9, 30:] = False
        values[~valid] = np.nan if nodata == "nan" else void
    spots = rng.permutation(np.argwhere(valid))[:hot]
    values[tuple(spots.T)] = top
    file = io.BytesIO()
    tags = [(42113, "s", 0, f"{void}", True)] if nodata == "tag" else []
    tifffile.imwrite(file, values, extratags=tags)
    picture, text = told(read_picture, io.BytesIO(file.getvalue()), name="x.tif")
    assert "stretched" in text
    if valid.all():
        assert picture.valid is None
    else:
        np.testing.assert_array_equal(picture.valid, valid)
    calm = valid.copy()
    calm[tuple(spots.T)] = False
    # The ends of a range are told by the neighbourhood, so they may lie a little inside.
    assert np.abs(picture.pixels.astype(int) - expected)[calm].max() <= 8
    assert np.abs(picture.pixels.astype(int) - expected)[calm].mean() <= 3


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(-1e6, 1e6))
def test_scale_and_shift_change_nothing(scale, shift):
    values = np.random.default_rng(3).random((20, 30)).astype(np.float64) * 9 - 4
    first, _ = told(read_picture, values)
    other, _ = told(read_picture, values * scale + shift + 2 * scale)
    if abs(shift) <= 1e4 * scale:
        assert np.abs(first.pixels.astype(int) - other.pixels.astype(int)).max() <= 1


def written(tmp_path: Path, values: np.ndarray, **options) -> Path:
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    return tmp_path / "a.tif"


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_16_bit_colour_tiff(tmp_path, scene, planar, compression):
    rgb = np.stack([scene, scene[::-1], scene[:, ::-1]], axis=2)
    values = (rgb * 3000 + 100).astype(np.uint16)  # Pillow's upper 8 bits: 0..12
    stored = np.moveaxis(values, 2, 0) if planar == "separate" else values
    path = written(
        tmp_path, stored, photometric="rgb", planarconfig=planar, compression=compression
    )
    picture, text = told(read_picture, path)
    assert "100 to 3100 were stretched to 8 bits" in text
    assert np.abs(picture.pixels.astype(int) - np.rint(rgb * 255)).max() <= 1


def test_16_bit_alpha_and_bands(tmp_path, scene):
    rgb = (np.stack([scene] * 3, axis=2) * 900).astype(np.uint16)
    alpha = np.full(SIZE, 65535, np.uint16)
    alpha[:, :10] = 0
    path = written(
        tmp_path, np.dstack([rgb, alpha]), photometric="rgb", extrasamples=["unassalpha"]
    )
    picture, _ = told(read_picture, path)
    np.testing.assert_array_equal(picture.valid, alpha > 0)
    five = np.dstack([rgb, rgb[..., :2]])
    path = written(tmp_path, five, photometric="minisblack", planarconfig="contig")
    picture, text = told(read_picture, path)
    assert "channels 0, 1 and 2 of 5 were taken" in text


def test_few_bright_objects_on_a_dark_background_stay(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(100, 120, (200, 200)).astype(np.uint16)
    values[50:56, 60:66] = 20000  # 0.1 % of it
    values[120:123, 20:23] = 9000
    pixels = told(read_image, written(tmp_path, values))[0][..., 0].astype(int)
    assert pixels[52, 62] == 255
    assert pixels[121, 21] > 200
    background = np.delete(pixels, np.r_[50:56, 120:123], axis=0)
    assert background.max() < 80


def test_zero_is_background_without_a_tag(tmp_path, scene):
    values = (scene * 500 + 3000).astype(np.uint16)
    values[:20] = 0
    picture, text = told(read_picture, written(tmp_path, values))
    assert picture.valid is None
    assert "no data" not in text
    picture, _ = told(
        read_picture, written(tmp_path, values, extratags=[(42113, "s", 0, "0", True)])
    )
    np.testing.assert_array_equal(picture.valid, values > 0)


def test_nodata_of_8_bit_colours_is_where_all_bands_have_it(tmp_path, rgb):
    values = rgb.copy()
    values[0, 0], values[1, 1, 0] = 0, 0
    path = written(tmp_path, values, photometric="rgb", extratags=[(42113, "s", 0, "0", True)])
    picture = quiet(read_picture, path)
    assert not picture.valid[0, 0]
    assert picture.valid.sum() == picture.valid.size - 1
    np.testing.assert_array_equal(picture.pixels[picture.valid], values[picture.valid])


def test_hidden_pixels_do_not_speak(tmp_path, rgb):
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, 4:] = 0
    pictures = []
    for hidden in (0, 255):
        values = np.dstack([np.where(alpha[..., None] > 0, rgb, np.uint8(hidden)), alpha])
        Image.fromarray(values).save(tmp_path / "a.png")
        pictures.append(quiet(read_picture, tmp_path / "a.png"))
    np.testing.assert_array_equal(pictures[0].pixels, pictures[1].pixels)
    np.testing.assert_array_equal(pictures[0].valid, alpha > 0)
    np.testing.assert_array_equal(pictures[0].pixels[:, :4], rgb[:, :4])


@pytest.mark.parametrize("kind", ["palette", "grey key", "colour key"])
def test_transparency_without_an_alpha_channel(kind):
    image = Image.new("P" if kind == "palette" else "L" if kind == "grey key" else "RGB", (3, 2), 7)
    if kind == "palette":
        image.putpalette(list(range(60)))
    if kind == "colour key":
        image.paste((7, 7, 7), (0, 0, 3, 2))
    image.paste((9, 9, 9) if kind == "colour key" else 9, (0, 0, 1, 2))
    read = file_of(image, "PNG", transparency=(9, 9, 9) if kind == "colour key" else 9)
    np.testing.assert_array_equal(read_picture(read).valid, [[False, True, True]] * 2)


def test_all_transparent_is_said(tmp_path):
    Image.new("RGBA", (5, 4)).save(tmp_path / "a.png")
    picture, text = told(read_picture, tmp_path / "a.png")
    assert not picture.valid.any()
    assert "nothing can be found in it" in text


# --- pages and frames -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_a_blank_first_frame_is_not_meant(tmp_path, rgb, suffix):
    frames = [Image.new("RGB", (7, 5)), Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    picture, text = told(read_picture, path)
    assert "1 was taken, of 0 to 2 (those before it are blank)" in text
    assert np.abs(picture.pixels.astype(int) - rgb).mean() < 20  # a GIF has a palette


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pages_of_a_stack(tmp_path, scene, dtype):
    stack = np.stack([scene * (200 - 20 * k) for k in range(5)]).astype(dtype)
    picture, text = told(read_picture, written(tmp_path, stack, photometric="minisblack"))
    assert "page 0 was taken, of 0 to 4" in text
    assert picture.pixels.shape == (*SIZE, 3)
    _, text = told(read_picture, written(tmp_path, stack, imagej=True))
    assert "page 0 was taken, of 0 to 4" in text


def test_thumbnails_and_pages_of_other_sizes(tmp_path, rgb):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb[::4, ::4], photometric="rgb", subfiletype=1)
        tiff.write(rgb, photometric="rgb")
    np.testing.assert_array_equal(quiet(read_image, path), rgb)
    assert image_size(path) == rgb.shape[:2]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, photometric="rgb")
        tiff.write(rgb[:9, :9], photometric="rgb")
    pixels, text = told(read_image, path)
    np.testing.assert_array_equal(pixels, rgb)
    assert "page 0 was taken, of 0 to 1" in text


def test_tiff_that_is_no_picture(tmp_path, scene):
    tifffile.imwrite(tmp_path / "a.tif", scene.astype(np.complex64))
    assert "holds complex numbers" in refusal(read_image, tmp_path / "a.tif")
    version = [(50706, "B", 4, (1, 4, 0, 0), True)]
    tifffile.imwrite(tmp_path / "b.tif", (scene * 255).astype(np.uint8), extratags=version)
    assert "camera raw: develop it" in refusal(read_image, tmp_path / "b.tif")


def test_overviews_and_masks_of_a_geotiff_are_no_pages(tmp_path, rgb):
    hidden = np.zeros(rgb.shape[:2], bool)
    hidden[2:, 3:] = True
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(rgb, photometric="rgb")
        file.write(~hidden, subfiletype=4)
        file.write(rgb[::2, ::2], photometric="rgb", subfiletype=1)
    picture = quiet(read_picture, tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.valid, ~hidden)
    np.testing.assert_array_equal(picture.pixels[~hidden], rgb[~hidden])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_a_wide_tiff_that_is_cut_short_is_never_half_read(tmp_path, share, compression):
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    path = written(tmp_path, noise, photometric="rgb", compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    text = refusal(read_image, path)
    assert text.startswith(str(path))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_wide_tiff(tmp_path, scene, orientation):
    values = (scene * 5000).astype(np.uint16)
    rgb = np.stack([values] * 3, axis=2)
    path = written(tmp_path, rgb, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    turned = {1: rgb, 3: rgb[::-1, ::-1], 6: np.rot90(rgb, -1), 8: np.rot90(rgb, 1)}[orientation]
    np.testing.assert_array_equal(decode(path, "a").pixels, turned)


def test_white_is_zero(tmp_path, scene):
    values = (scene * 5000).astype(np.uint16)
    plain, _ = told(read_image, written(tmp_path, values))
    white, _ = told(read_image, written(tmp_path, 65535 - values, photometric="miniswhite"))
    np.testing.assert_array_equal(plain, white)


def test_bytes_are_read_like_a_file(tmp_path, scene):
    path = written(tmp_path, (np.stack([scene] * 3, 2) * 900).astype(np.uint16), photometric="rgb")
    with pytest.warns(InputWarning):
        from_bytes = read_image_bytes(path.read_bytes(), "the upload")
    with pytest.warns(InputWarning):
        np.testing.assert_array_equal(from_bytes, read_image(path))


# --- references and targets of one call -----------------------------------------------------------


def test_references_and_targets_share_a_range(tmp_path, scene):
    bright = written(tmp_path, (scene * 4000 + 100).astype(np.uint16))
    kind, own = find_range(bright)
    assert (kind, own) == ("u", (100.0, 4100.0))
    dim = (scene * 1000 + 600).astype(np.uint16)
    ranges = pooled([(kind, own)])
    picture, text = told(read_picture, dim, stretch=ranges)
    expected = np.rint((dim.astype(float) - 100) / 4000 * 255)
    np.testing.assert_array_equal(picture.pixels[..., 0], expected)
    for other in ((scene * 60000 + 5000).astype(np.uint16), (scene * 90 + 200).astype(np.uint16)):
        alone, _ = told(read_picture, other)
        with_it, text = told(read_picture, other, stretch=ranges)
        assert "of the references would flatten it" in text
        np.testing.assert_array_equal(alone.pixels, with_it.pixels)
    assert find_range(np.zeros((3, 4), np.uint8)) is None
    floats = (scene * 30).astype(np.float32) + 2
    np.testing.assert_array_equal(
        told(read_picture, floats, stretch=ranges)[0].pixels, told(read_picture, floats)[0].pixels
    )


def test_a_reference_marks_no_pixel_that_is_not_there(tmp_path, rgb):
    alpha = np.full(rgb.shape[:2], 255, np.uint8)
    alpha[:, 4:] = 0
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "a.png")
    mask = np.zeros(rgb.shape[:2], bool)
    mask[1:4, 2:6] = True
    _, marked = read_reference(Reference(tmp_path / "a.png", mask))
    np.testing.assert_array_equal(marked, mask & (alpha > 0))
    _, marked = read_reference(Reference(tmp_path / "a.png", None, negative=True))
    np.testing.assert_array_equal(marked, alpha > 0)
    text = refusal(read_reference, Reference(tmp_path / "a.png", mask & (alpha == 0)))
    assert "transparent or without data" in text

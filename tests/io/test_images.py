"""images.py against real files: every value, every rule, every refusal."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from helpers import grey, refusal
from likewise.io import images
from likewise.io.encoding import write_image, write_mask
from likewise.io.images import read_image, read_picture
from likewise.io.masks import read_mask

ORIENTATION = 0x112
# What each EXIF orientation asks of the stored picture, in numpy's words.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}


def png_bytes(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG made by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


# --- read_image: files -----------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_lossless_formats_keep_every_value(tmp_path, rgb, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rgb).save(path, lossless=True)
    for source in (path, str(path)):
        read = read_image(source)
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous
        assert read.flags.writeable
        np.testing.assert_array_equal(read, rgb)


def test_jpeg_is_close(tmp_path):
    Image.new("RGB", (16, 16), (200, 100, 50)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (200, 100, 50)).max() <= 3


def test_first_frame_of_several(tmp_path):
    frames = [Image.new("L", (4, 3), shade) for shade in (10, 200)]
    for name in ("a.gif", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read_image(tmp_path / name), np.full((3, 4, 3), 10))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation(tmp_path, rgb, suffix, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(rgb).save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_image(path), UPRIGHT[orientation](rgb))


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_of_16_bit_grey_and_of_masks(tmp_path, suffix, orientation):
    values = (np.arange(6, dtype=np.uint16).reshape(2, 3) * 13107).astype(np.uint16)
    mask = np.array([[1, 1, 0], [0, 0, 0]], dtype=np.uint8) * np.uint8(255)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(values).save(tmp_path / f"a.{suffix}", exif=exif)
    Image.fromarray(mask).save(tmp_path / f"m.{suffix}", exif=exif)
    expected = UPRIGHT[orientation]((values // 257).astype(np.uint8))
    np.testing.assert_allclose(
        read_image(tmp_path / f"a.{suffix}").astype(int), grey(expected).astype(int), atol=1
    )
    np.testing.assert_array_equal(
        read_mask(tmp_path / f"m.{suffix}"), UPRIGHT[orientation](mask > 0)
    )


def test_garbled_exif_only_loses_the_orientation(tmp_path, rgb):
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=b"Exif\0\0garbage!")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "YCbCr", "HSV", "RGBX", "RGBa"])
def test_colour_modes(mode):
    image = Image.new("RGB", (3, 2), (255, 0, 0))
    image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    read = read_image(image)
    assert read.shape == (2, 3, 3)
    assert np.abs(read.astype(int) - (255, 0, 0)).max() <= 2


def test_lab_mode(tmp_path):
    lab = Image.new("RGB", (3, 2), (200, 100, 50)).convert("LAB")
    lab.save(tmp_path / "a.tif")
    for source in (lab, tmp_path / "a.tif"):
        assert np.abs(read_image(source).astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "La", "1"])
def test_grey_modes(mode):
    values = np.array([[0, 255, 255], [255, 0, 0]], dtype=np.uint8)
    image = Image.fromarray(values)
    image = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
    np.testing.assert_array_equal(read_image(image), grey(values))


def test_cmyk_jpeg(tmp_path):
    Image.new("RGB", (16, 16), (0, 255, 255)).convert("CMYK").save(tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - (0, 255, 255)).max() <= 4


def test_what_is_half_transparent_keeps_its_colour(tmp_path):
    values = np.full((2, 2, 4), 1, dtype=np.uint8)
    values[..., 0] = 200
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values[..., :3])


def test_palette_with_transparency_is_read_without_a_warning(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=b"\x80\x40")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read, [[[255, 0, 0], [0, 255, 0]]])
    opaque = Image.merge("LA", [Image.new("L", (1, 1)), Image.new("L", (1, 1), 255)]).convert("PA")
    np.testing.assert_array_equal(read_image(opaque), [[[0, 0, 0]]])


@pytest.mark.parametrize("top", [200, 255, 256, 4095, 9000, 65534])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_stretched_whatever_its_bit_depth(tmp_path, suffix, top):
    values = np.array([[0, top // 2, top]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    expected = np.rint(values * (255 / top)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), grey(expected))
    np.testing.assert_array_equal(read_image(values), grey(expected))


def test_16_bit_full_range_and_other_byte_orders():
    values = np.array([[0, 257, 65535]], dtype=np.uint16)
    expected = grey(np.array([[0, 1, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(read_image(values), expected)
    np.testing.assert_array_equal(read_image(values.astype(">u2")), expected)
    big = Image.frombytes("I;16B", (3, 1), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(big), expected)


def test_16_bit_colour_png_keeps_its_16_bits(tmp_path):
    values = np.random.default_rng(1).integers(7, 120, (4, 5, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    (tmp_path / "a.png").write_bytes(png_bytes(5, 4, 16, 2, rows))
    read = read_image(tmp_path / "a.png")  # Pillow's upper 8 bits of these are all 0
    np.testing.assert_array_equal(read, read_image(values.astype(np.uint16)))
    assert len(np.unique(read)) > 20


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]]),  # as they are
        ([[0.0, 1000.0, 4000.0]], [[0, 64, 255]]),  # stretched
        ([[-1.0, 0.0, 1.0]], [[0, 128, 255]]),  # stretched
        ([[0.0, 50000.0, 100000.0]], [[0, 128, 255]]),  # stretched
        ([[-3.0, -3.0, -3.0]], [[0, 0, 0]]),  # stretched, without dividing by nothing
    ],
)
def test_float_files(tmp_path, values, expected):
    Image.fromarray(np.array(values, dtype=np.float32)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.tif"), grey(np.array(expected, dtype=np.uint8))
    )


def test_integer_files(tmp_path):
    Image.fromarray(np.array([[0, 1, 4095]], dtype=np.int32)).save(tmp_path / "a.tif")
    Image.fromarray(np.array([[-1000, 0, 1000]], dtype=np.int32)).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0, :, 0], [0, 0, 255])
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_a_file(tmp_path, bad):
    Image.fromarray(np.array([[0, 1, bad]], dtype=np.float32)).save(tmp_path / "a.tif")
    text = refusal(read_mask, tmp_path / "a.tif")
    assert str(tmp_path / "a.tif") in text
    assert "NaN or infinity" in text
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.valid, [[True, True, False]])
    np.testing.assert_array_equal(picture.pixels[0, :, 0], [0, 255, 128])  # the mean


# --- read_image: bad files --------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_files_that_are_no_images(tmp_path, read):
    empty, text_file = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.write_bytes(b"")
    text_file.write_text("this is a letter, not a picture")
    cases = {
        tmp_path / "missing.jpg": "does not exist",
        tmp_path: "is a folder",
        empty: "is empty (0 bytes)",
        text_file: "is not an image",
        empty / "a.jpg": "cannot be opened",
        tmp_path / "nul\0.jpg": "cannot be opened",
    }
    for path, words in cases.items():
        text = refusal(read, path)
        assert text.startswith(str(path))
        assert words in text
        assert "identify" not in text  # Pillow's own words
    assert "''" in refusal(read, "")


def test_no_permission(tmp_path, rgb, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = tmp_path / "a.png"
    write_image(path, rgb)
    monkeypatch.setattr(Path, "open", denied)
    text = refusal(read_image, path)
    assert str(path) in text
    assert "permission" in text


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_truncated_files_are_never_half_read(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    text = refusal(read_image, path)
    assert text.startswith(str(path))
    assert "cut short or damaged" in text or "damaged header" in text
    assert "download it again" in text


def test_truncated_progressive_jpeg(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", progressive=True)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 3 // 4])
    assert "cut short" in refusal(read_image, tmp_path / "a.jpg")


def test_corrupt_files(tmp_path, rgb):
    header_only, garbled = tmp_path / "header.jpg", tmp_path / "garbled.png"
    Image.fromarray(rgb).save(header_only)
    header_only.write_bytes(header_only.read_bytes()[:12])
    assert "damaged" in refusal(read_image, header_only)

    write_image(garbled, rgb)
    data = bytearray(garbled.read_bytes())
    data[60:80] = bytes(20)
    garbled.write_bytes(data)
    assert "cut short or damaged" in refusal(read_image, garbled)


def test_pixels_that_do_not_fit_in_memory(tmp_path, rgb, monkeypatch):
    def no_memory(self):
        raise MemoryError

    write_image(tmp_path / "a.png", rgb)
    monkeypatch.setattr(ImageFile.ImageFile, "load", no_memory)
    text = refusal(read_image, tmp_path / "a.png")
    assert "7 × 5 pixels" in text
    assert "memory" in text


# --- the pixel limit --------------------------------------------------------------------------


def test_decompression_bomb_is_refused_from_its_header(tmp_path):
    pillow_limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(60000, 50000, 8, 2, b"\0" * 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = refusal(read_image, path)
    assert text.startswith(f"{path} is 60000 × 50000 = 3000000000 pixels")
    assert "shrink it" in text
    assert "LIKEWISE_MAX_PIXELS" in text
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


def test_pixel_limit_from_the_environment(tmp_path, rgb, monkeypatch):
    write_image(tmp_path / "a.png", rgb)
    monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "34")
    assert "over the limit of 34" in refusal(read_image, tmp_path / "a.png")
    monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "35")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


@pytest.mark.parametrize("setting", ["many", "0", "-5", "1e6"])
def test_pixel_limit_that_is_no_number(rgb, monkeypatch, setting):
    monkeypatch.setenv("LIKEWISE_MAX_PIXELS", setting)
    text = refusal(read_image, rgb)
    assert "LIKEWISE_MAX_PIXELS" in text
    assert setting in text


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_our_limit_allows_more_than_pillows(tmp_path, monkeypatch, compression):
    """Pillow refuses twice its own limit on opening, and TIFF once more on decoding."""
    Image.new("L", (50, 40), 7).save(tmp_path / "a.tif", compression=compression)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_image(tmp_path / "a.tif") == 7).all()
    assert Image.MAX_IMAGE_PIXELS == 100


def test_pillows_limit_survives_threads_and_failures(tmp_path, rgb, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    write_image(tmp_path / "a.png", rgb)
    (tmp_path / "b.png").write_text("no picture")
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(read_image(tmp_path / "a.png"), rgb):
                wrong.append("pixels")
            refusal(read_image, tmp_path / "b.png")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert Image.MAX_IMAGE_PIXELS == 10


# --- read_image: PIL images, arrays, tensors --------------------------------------------------


def test_pil_image_is_upright_and_left_alone(tmp_path, rgb):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(rgb).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_image(image), np.rot90(rgb, -1))
        assert image.size == (7, 5)


def test_truncated_pil_image_and_one_without_pixels(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "a.png") as image:
        assert "the image picture is cut short" in refusal(read_image, image)
    assert "no pixels" in refusal(read_image, Image.new("RGB", (0, 3)))


def test_arrays(rgb):
    alpha = np.dstack([rgb, np.ones((5, 7), np.uint8)])
    single = rgb[..., 0]
    np.testing.assert_array_equal(read_image(rgb), rgb)
    np.testing.assert_array_equal(read_image(alpha), rgb)
    np.testing.assert_array_equal(read_image(single), grey(single))
    np.testing.assert_array_equal(read_image(single[..., None]), grey(single))
    np.testing.assert_array_equal(read_image(single > 99), grey((single > 99) * np.uint8(255)))
    np.testing.assert_array_equal(read_image(rgb / 255), rgb)
    np.testing.assert_array_equal(read_image((rgb / 255).astype(np.float32)), rgb)
    turned = read_image(rgb[::-1, ::-1])
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, rgb[::-1, ::-1])


def test_array_result_does_not_share_memory(rgb):
    before = rgb.copy()
    read_image(rgb)[:] = 0
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 4), np.uint8), "no pixels"),
        (np.zeros((3, 0, 3), np.uint8), "no pixels"),
        (np.zeros(4, np.uint8), "the shape (4,)"),
        (np.zeros((3, 4, 2), np.uint8), "the shape (3, 4, 2)"),
        (np.zeros((3, 40, 50), np.uint8), "the shape (3, 40, 50)"),
        (np.zeros((1, 3, 4, 3), np.uint8), "the shape (1, 3, 4, 3)"),
        (np.zeros((3, 4), np.complex64), "the dtype complex64"),
        (np.array([["a", "b"]]), "the dtype <U1"),
    ],
)
def test_bad_arrays(array, words):
    text = refusal(read_image, array)
    assert text.startswith("the image array")
    assert words in text


@pytest.mark.parametrize("source", [None, 3, [[0, 1]], b"a.png", object()])
def test_unsupported_types(source):
    for read in (read_image, read_mask):
        text = refusal(read, source)
        assert type(source).__name__ in text
        assert "give a path" in text


def test_tensors(rgb):
    torch = pytest.importorskip("torch")
    chw = torch.from_numpy(rgb).permute(2, 0, 1)
    np.testing.assert_array_equal(read_image(chw), rgb)
    np.testing.assert_array_equal(read_image(torch.from_numpy(rgb)), rgb)
    np.testing.assert_array_equal(read_image(chw[0]), grey(rgb[..., 0]))
    np.testing.assert_array_equal(read_image(chw[:1]), grey(rgb[..., 0]))
    np.testing.assert_array_equal(read_image(torch.cat([chw, chw[:1]])), rgb)
    np.testing.assert_array_equal(read_image((chw / 255).requires_grad_()), rgb)
    np.testing.assert_array_equal(read_image(torch.nn.Parameter(chw / 255)), rgb)
    halves = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.bfloat16)
    np.testing.assert_array_equal(read_image(halves)[0, :, 0], [0, 128, 255])
    assert "(2, 3, 5, 7)" in refusal(read_image, torch.zeros(2, 3, 5, 7))


def test_torch_is_not_imported(tmp_path, rgb):
    write_image(tmp_path / "a.png", rgb)
    code = (
        "import sys; from likewise.io.images import read_image; read_image(sys.argv[1]); "
        "sys.exit('torch' in sys.modules)"
    )
    source = str(Path(images.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    assert subprocess.run(command, env=environment, check=False).returncode == 0


# --- writing ----------------------------------------------------------------------------------


def test_write_mask(tmp_path, square):
    path = tmp_path / "m.PNG"
    write_mask(path, square)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(image), np.where(square, 255, 0))
    np.testing.assert_array_equal(read_mask(path), square)
    write_mask(str(path), ~square)
    np.testing.assert_array_equal(read_mask(path), ~square)
    assert [p.name for p in tmp_path.iterdir()] == ["m.PNG"]


def test_written_empty_mask_is_allowed(tmp_path, square):
    write_mask(tmp_path / "m.png", square & False)
    with Image.open(tmp_path / "m.png") as image:
        assert not np.asarray(image).any()


@pytest.mark.parametrize(
    ("name", "image_format"),
    [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")],
)
def test_write_image(tmp_path, name, image_format):
    smooth = np.full((16, 24, 3), (200, 100, 50), dtype=np.uint8)
    write_image(tmp_path / name, smooth[:, ::-1])
    with Image.open(tmp_path / name) as image:
        assert image.format == image_format
    assert np.abs(read_image(tmp_path / name).astype(int) - smooth).max() <= 4


def test_written_png_keeps_every_value(tmp_path, rgb):
    write_image(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), rgb)


@pytest.mark.parametrize("culprit", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path, rgb, square, monkeypatch, culprit
):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    mask_path, image_path = tmp_path / "m.png", tmp_path / "a.png"
    write_mask(mask_path, square)
    write_image(image_path, rgb)
    target = (os, "fsync") if culprit == "fsync" else (Path, "replace")
    with monkeypatch.context() as patch:
        patch.setattr(*target, full)
        for call, path, pixels in (
            (write_mask, mask_path, ~square),
            (write_image, image_path, 255 - rgb),
        ):
            text = refusal(call, path, pixels)
            assert text.startswith(f"{path} cannot be written (the disk is full: free some space)")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "m.png"]
    np.testing.assert_array_equal(read_mask(mask_path), square)
    np.testing.assert_array_equal(read_image(image_path), rgb)


def test_interrupted_write_leaves_nothing(tmp_path, square, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_mask(tmp_path / "m.png", square)
    assert not list(tmp_path.iterdir())


def test_unwritable_places(tmp_path, rgb, square):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for path in (
        tmp_path / "missing" / "m.png",
        tmp_path / "folder.png",
        tmp_path / "file" / "m.png",
    ):
        assert refusal(write_mask, path, square).startswith(f"{path} cannot be written")
    wide = np.zeros((1, 20000, 3), dtype=np.uint8)
    text = refusal(write_image, tmp_path / "wide.webp", wide)  # WebP ends at 16383 pixels
    assert text.startswith(f"{tmp_path / 'wide.webp'} cannot be written")
    assert "20000 × 1" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


def test_write_refuses_other_shapes_dtypes_and_suffixes(tmp_path, rgb, square):
    for bad in (square.astype(np.uint8), square[None], square[:0]):
        text = refusal(write_mask, tmp_path / "m.png", bad)
        assert str(tmp_path / "m.png") in text
        assert "bool" in text
    for bad in (rgb / 255, rgb[..., 0], rgb[..., :2], rgb[:0]):
        assert "uint8" in refusal(write_image, tmp_path / "a.png", bad)
    assert ".png" in refusal(write_mask, tmp_path / "m.jpg", square)
    assert ".webp" in refusal(write_image, tmp_path / "a.tif", rgb)
    assert not list(tmp_path.iterdir())

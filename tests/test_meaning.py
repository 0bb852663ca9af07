"""Masks by meaning and pixels by meaning: however they are stored, they read alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.decoding import decode
from likewise.io.images import find_range, read_image, read_image_bytes, read_picture
from likewise.io.mask_values import cvat_classes
from likewise.io.masks import parse_value, read_label_map, read_mask
from likewise.io.opening import image_size
from likewise.io.stretch import pooled
from likewise.reference import Reference, read_reference
from likewise.vocabulary import reference_from_files

SIZE = (48, 64)  # height, width


def told(call, *args, **kwargs):
    """What the call gives, and all that it warns of, as one text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(*args, **kwargs)
    return result, " ".join(str(w.message) for w in caught if w.category is InputWarning)


def quiet(call, *args, **kwargs):
    result, text = told(call, *args, **kwargs)
    assert text == ""
    return result


@pytest.fixture
def blob() -> np.ndarray:
    """(48, 64) bool: a disc, a bar and a dot."""
    image = Image.new("1", SIZE[::-1])
    draw = ImageDraw.Draw(image)
    draw.ellipse([8, 6, 30, 30], fill=1)
    draw.rectangle([40, 10, 55, 40], fill=1)
    return np.asarray(image)


@pytest.fixture
def scene() -> np.ndarray:
    """(48, 64) float in 0..1: smooth, with its ends well filled."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] / 48
    waves = np.sin(5 * x) * np.cos(4 * y) + 0.3 * np.sin(17 * x + 9 * y)
    return ((waves - waves.min()) / np.ptp(waves) * 1.2 - 0.1).clip(0, 1)


# --- masks: any storage of one black and white mask reads alike -------------------------------


def indexed(mask: np.ndarray, white: int, black: int, rest: tuple[int, int, int]) -> Image.Image:
    """A palette picture with these indices of white and black, all others of one colour."""
    image = Image.fromarray(np.where(mask, white, black).astype(np.uint8), "P")
    palette = [rest] * 256
    palette[white], palette[black] = (255, 255, 255), (0, 0, 0)
    image.putpalette([channel for colour in palette for channel in colour])
    return image


def file_of(image: Image.Image, kind: str, **options) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([0, 1, 7, 200, 255]).map(lambda p: p[:2]),
    st.sampled_from([(0, 0, 0), (128, 128, 128), (255, 255, 255), (200, 30, 90)]),
    st.sampled_from(["PNG", "GIF", "BMP", "TIFF"]),
)
def test_any_order_of_a_palette(places, rest, kind):
    mask = np.zeros((12, 16), bool)
    mask[3:8, 4:12] = True
    image = file_of(indexed(mask, *places, rest), kind)
    np.testing.assert_array_equal(read_mask(image), mask)
    np.testing.assert_array_equal(read_label_map(image), np.where(mask, 255, 0))
    np.testing.assert_array_equal(read_mask(image, value="any"), mask)


STORED = {
    "1 bit": lambda m: Image.fromarray(m),
    "bool array": lambda m: m,
    "0 and 1": lambda m: m.astype(np.uint8),
    "0 and 255": lambda m: Image.fromarray(m.astype(np.uint8) * 255),
    "24 bits": lambda m: Image.fromarray(np.repeat(m[..., None] * np.uint8(255), 3, 2)),
    "16 bits": lambda m: Image.fromarray(m.astype(np.uint16) * 65535),
    "16-bit colours": lambda m: np.repeat(m[..., None] * np.uint16(65535), 3, 2),
    "floats 0..1": lambda m: m.astype(np.float32),
    "floats 0..255": lambda m: Image.fromarray(m.astype(np.float32) * 255),
    "int32": lambda m: Image.fromarray(m.astype(np.int32)),
    "opaque RGBA": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255)] * 3 + [np.full(m.shape, 255, np.uint8)])
    ),
    "alpha": lambda m: Image.fromarray(
        np.dstack([np.full(m.shape, 90, np.uint8)] * 3 + [m * np.uint8(255)])
    ),
    "faint alpha": lambda m: Image.fromarray(
        np.dstack([np.full(m.shape, 200, np.uint8)] * 3 + [m * np.uint8(90)])
    ),
    "black and white, and a border that is transparent": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255)] * 3 + [np.pad(np.full((44, 60), 255, np.uint8), 2)])
    ),
    "premultiplied": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255)] * 3 + [m * np.uint8(255)]), "RGBA"
    ).convert("RGBa"),
    "grey and alpha": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255), np.full(m.shape, 255, np.uint8)]), "LA"
    ),
    "red on black": lambda m: Image.fromarray(
        np.dstack([m * np.uint8(255), m * 0, m * 0]).astype("u1")
    ),
    "JPEG": lambda m: file_of(Image.fromarray(m.astype(np.uint8) * 255), "JPEG", quality=40),
    "JPEG of 24 bits": lambda m: file_of(
        Image.fromarray(m.astype(np.uint8) * 255).convert("RGB"), "JPEG", quality=40
    ),
    "GIF": lambda m: file_of(Image.fromarray(m.astype(np.uint8) * 255), "GIF"),
    "transparent GIF": lambda m: file_of(indexed(m, 1, 0, (9, 9, 9)), "GIF", transparency=0),
    "CMYK": lambda m: Image.fromarray(np.repeat(m[..., None] * np.uint8(255), 3, 2)).convert(
        "CMYK"
    ),
    "off black and white": lambda m: Image.fromarray(np.where(m, 250, 4).astype(np.uint8)),
}


@pytest.mark.parametrize("stored", STORED)
def test_any_storage_of_a_mask(blob, stored):
    read = read_mask(STORED[stored](blob))
    assert (read != blob).mean() < (0.02 if "JPEG" in stored else 1e-9)
    labels = np.unique(read_label_map(STORED[stored](blob)))
    assert len(labels) == 2
    np.testing.assert_array_equal(read_mask(STORED[stored](blob), value="any"), read)


@pytest.mark.parametrize("suffix", ["npy", "tif", "png", "bmp", "gif", "webp"])
def test_any_file_of_a_mask(tmp_path, blob, suffix):
    path = tmp_path / f"m.{suffix}"
    if suffix == "npy":
        np.save(path, blob)
    else:
        Image.fromarray(blob.astype(np.uint8) * 255).save(path, lossless=True)
    np.testing.assert_array_equal(read_mask(path, size=blob.shape), blob)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_soft_edges_in_any_mode(blob, mode):
    soft = Image.fromarray(blob.astype(np.uint8) * 255).resize((130, 98), Image.Resampling.BICUBIC)
    expected = np.asarray(soft) > 127
    np.testing.assert_array_equal(read_mask(soft.convert(mode)), expected)
    np.testing.assert_array_equal(read_mask(np.asarray(soft).astype(np.uint16) * 257), expected)
    np.testing.assert_array_equal(read_mask(np.asarray(soft) / 255), expected)


def test_label_maps_are_not_taken_for_soft_masks():
    cells = np.zeros((60, 60), np.uint8)
    for k in range(80):  # more than 85 % of it is near black or near white
        top, left = divmod(k, 12)
        cells[top * 7 : top * 7 + 3, left * 5 : left * 5 + 3] = k * 3 + 10
    assert "--mask-value any" in refusal(read_mask, cells)
    np.testing.assert_array_equal(read_label_map(cells), cells)


def drawn(blob: np.ndarray, mark: tuple[int, ...], rest: tuple[int, ...]) -> Image.Image:
    """The blob in one colour on another, with soft edges."""
    soft = np.asarray(Image.fromarray(blob.astype(np.uint8) * 255).resize((130, 98)))
    share = soft[..., None] / 255
    pixels = np.rint(share * mark + (1 - share) * np.array(rest)).astype(np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mark", [(255, 0, 0), (255, 255, 0), (90, 160, 30), (0, 0, 200)])
@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("jpeg", [False, True])
def test_one_colour_with_soft_edges_is_a_mask(blob, mark, white, jpeg):
    image = drawn(blob, mark, (255, 255, 255) if white else (0, 0, 0))
    image = file_of(image, "JPEG", quality=60) if jpeg else image
    expected = np.asarray(drawn(blob, (255,) * 3, (0, 0, 0)))[..., 0] > 127
    mask, notes = told(read_mask, image)
    assert (mask & expected).sum() >= 0.93 * (mask | expected).sum()
    assert ("was taken for the example, and white for nothing" in notes) == white


def test_two_colours_are_not_one(blob):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[blob] = 255, 0, 0
    pixels[40:44, 4:20] = 255, 60, 0
    text = refusal(read_mask, pixels)
    assert "is a colour picture of #000000, #ff0000, #ff3c00" in text
    assert "--mask-value '#ff0000'" in text  # the larger, not an edge


def test_a_palette_of_a_colour_and_white(blob):
    for at, colour in ((0, (255, 255, 255)), (1, (200, 30, 30))):
        image = Image.fromarray((blob == at).astype(np.uint8), "P")
        image.putpalette([*((200, 30, 30) if at == 0 else (255, 255, 255)), *colour])
        np.testing.assert_array_equal(read_mask(image), blob)


@pytest.mark.parametrize("top", [70, 128, 204, 220])
def test_soft_strokes_that_are_not_white(blob, top):
    soft = np.asarray(Image.fromarray(blob.astype(np.uint8) * 255).resize((130, 98)))
    dim = np.rint(soft * (top / 255)).astype(np.uint8)
    mask = read_mask(dim)
    assert (mask != (soft > 127)).mean() < 0.002
    assert set(np.unique(read_label_map(dim))) == {0, 255}


def test_a_photo_is_no_mask(scene):
    photo = (scene * 255).astype(np.uint8)
    photo[::2] ^= 3
    colour = np.dstack([photo, photo[::-1], photo.T[:48].repeat(2, axis=1)[:, :64]])
    for pixels in (photo, colour):
        for value in (None, "any"):
            assert "is no mask but a photo or the like" in refusal(read_mask, pixels, value=value)


def test_a_colour_that_is_nearly_there(blob):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[blob] = 254, 0, 2
    mask, notes = told(read_mask, pixels, value="#ff0000")
    np.testing.assert_array_equal(mask, blob)
    assert "does not hold the colour #ff0000 itself" in notes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32, bool])
def test_a_first_axis_of_one(tmp_path, blob, dtype):
    np.save(tmp_path / "m.npy", blob[None].astype(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.npy"), blob)


# --- masks: which value -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["uint16.png", "int32.tif", "int64.tif", "uint32.npy", "float64.npy"]
)
def test_any_value_of_instance_maps(tmp_path, kind):
    dtype, suffix = kind.split(".")
    cells = np.zeros((20, 30), dtype)
    cells[2:6, 2:6], cells[8:14, 3:9], cells[5:12, 20:28] = 1, 2, 300
    path = tmp_path / f"m.{suffix}"
    if suffix == "npy":
        np.save(path, cells)
    elif suffix == "tif":
        tifffile.imwrite(path, cells)
    else:
        Image.fromarray(cells).save(path)
    assert "--mask-value any" in refusal(read_mask, path)
    np.testing.assert_array_equal(read_mask(path, value="any"), cells > 0)
    np.testing.assert_array_equal(read_mask(path, value=300), cells == 300)
    np.testing.assert_array_equal(read_label_map(path), cells)


def test_any_leaves_out_void_of_palettes_and_negative_labels():
    values = np.array([[0, 1, 2, 255]], np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    np.testing.assert_array_equal(read_mask(image, value="any"), [[False, True, True, False]])
    signed = np.array([[-1, 0, 4, 5]])
    np.testing.assert_array_equal(read_mask(signed, value="any"), [[False, False, True, True]])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("3", 3), ("any", "any"), (" ANY ", "any"), ("#ff0080", (255, 0, 128))),
        *(("#f08", (255, 0, 136)), ("255,0,128", (255, 0, 128)), ("(1, 2, 3)", (1, 2, 3))),
    ],
)
def test_values_as_text(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["", "cell", "#ff", "1,2", "256,0,0", "1.5", "#gggggg"])
def test_values_that_are_none(text):
    assert "any, or a colour" in refusal(parse_value, text, "--mask-value")


def colours_of(tmp_path: Path, suffix: str = "png", mode: str = "RGB") -> tuple[Path, np.ndarray]:
    labels = np.zeros((20, 30), int)
    labels[2:9, 3:12], labels[10:18, 15:28] = 1, 2
    pixels = np.array([(0, 0, 0), (250, 50, 83), (61, 61, 245)], np.uint8)[labels]
    path = tmp_path / "SegmentationClass" / f"m.{suffix}"
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(pixels)
    (image.quantize(3) if mode == "P" else image.convert(mode)).save(path)
    return path, labels


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_as_values(tmp_path, mode):
    path, labels = colours_of(tmp_path, mode=mode)
    for value in ("#fa3253", "250,50,83", (250, 50, 83)):
        np.testing.assert_array_equal(read_mask(path, value=value), labels == 1)
    text = refusal(read_mask, path, value="#123456")
    assert "does not hold the colour #123456" in text
    assert "#fa3253" in text
    np.testing.assert_array_equal(read_mask(path, value="any"), labels > 0)
    if mode != "P":
        assert "#fa3253" in refusal(read_mask, path)
        known = {(250, 50, 83): 4, (61, 61, 245): 9}
        read = read_label_map(path, colours=known)
        np.testing.assert_array_equal(read, np.array([0, 4, 9])[labels])


@pytest.mark.parametrize("place", ["beside", "above"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_labelmap_of_cvat(tmp_path, place, encoding):
    path, labels = colours_of(tmp_path)
    file = (path.parent if place == "beside" else tmp_path) / "labelmap.txt"
    lines = (
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncell:250,50,83::\nrim:61,61,245::\n"
    )
    file.write_text(lines, encoding=encoding)
    classes = {"cell": (250, 50, 83), "rim": (61, 61, 245)}
    assert cvat_classes(path) == (classes, (0, 0, 0))
    np.testing.assert_array_equal(read_mask(path, label="cell"), labels == 1)
    np.testing.assert_array_equal(read_mask(path, label="rim"), labels == 2)
    assert "marks cell, rim: say which" in refusal(read_mask, path)
    assert "marks no nut, only cell, rim" in refusal(read_mask, path, label="nut")
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "a.png")
    read = reference_from_files(tmp_path / "a.png", path, label="rim")
    np.testing.assert_array_equal(read.mask, labels == 2)


def test_labelmap_with_one_class_in_the_mask_needs_no_label(tmp_path):
    path, labels = colours_of(tmp_path)
    pixels = np.asarray(Image.open(path)).copy()
    pixels[labels == 2] = 0
    Image.fromarray(pixels).save(path)
    (tmp_path / "labelmap.txt").write_text("cell:250,50,83::\nrim:61,61,245::\n")
    np.testing.assert_array_equal(read_mask(path), labels == 1)


@pytest.mark.parametrize("nothing", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (9, 200, 9)])
@pytest.mark.parametrize("mark", [(0, 0, 0), (255, 255, 255), (64, 64, 64), (250, 50, 83)])
@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_labelmap_of_any_colours(tmp_path, blob, nothing, mark, mode):
    if nothing == mark:
        mark = (1, 2, 3)
    pixels = np.where(blob[..., None], mark, nothing).astype(np.uint8)
    image = Image.fromarray(pixels)
    (image.quantize(2) if mode == "P" else image).save(tmp_path / "m.png")
    said = [": ".join((k, ", ".join(map(str, v)), ":")) for k, v in
            (("Background", nothing), ("a:b", mark))]  # fmt: skip
    (tmp_path / "labelmap.txt").write_bytes("\r\n".join(["# label", *said, ""]).encode())
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", label="a:b"), blob)


def test_labelmap_that_does_not_fit(tmp_path):
    path, _ = colours_of(tmp_path)
    (tmp_path / "labelmap.txt").write_text("cell:250,50,83::\n")
    assert "#3d3df5, which its label map does not name" in refusal(read_mask, path)
    (tmp_path / "labelmap.txt").write_text("cell 250\n")
    assert "is no label map of CVAT" in refusal(read_mask, path)


def test_numpy_files_that_are_no_masks(tmp_path):
    np.save(tmp_path / "m.npy", np.array({"masks": 1}, dtype=object))
    assert "np.save" in refusal(read_mask, tmp_path / "m.npy")
    np.save(tmp_path / "m.npy", np.zeros((3, 4, 5, 6)))
    assert "the shape (3, 4, 5, 6)" in refusal(read_mask, tmp_path / "m.npy")


def test_the_first_page_of_a_mask_is_taken_even_if_blank(tmp_path, blob):
    pages = np.stack([blob & False, blob]).astype(np.uint8) * np.uint8(255)
    tifffile.imwrite(tmp_path / "m.tif", pages, photometric="minisblack")
    labels, text = told(read_label_map, tmp_path / "m.tif")
    assert not labels.any()
    assert "page 1 of 2 was taken" in text


# --- pixels: any type and range of one picture ------------------------------------------------

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
    assert "bands 1, 2 and 3 of 5 were taken" in text


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


# --- pages and frames -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_a_blank_first_frame_is_not_meant(tmp_path, rgb, suffix):
    frames = [Image.new("RGB", (7, 5)), Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    picture, text = told(read_picture, path)
    assert "2 of 3 was taken (those before it are blank)" in text
    assert np.abs(picture.pixels.astype(int) - rgb).mean() < 20  # a GIF has a palette


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pages_of_a_stack(tmp_path, scene, dtype):
    stack = np.stack([scene * (200 - 20 * k) for k in range(5)]).astype(dtype)
    picture, text = told(read_picture, written(tmp_path, stack, photometric="minisblack"))
    assert "page 1 of 5 was taken" in text
    assert picture.pixels.shape == (*SIZE, 3)
    _, text = told(read_picture, written(tmp_path, stack, imagej=True))
    assert "page 1 of 5 was taken" in text


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
    assert "page 1 of 2 was taken" in text


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


# --- references and targets of one call -------------------------------------------------------


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

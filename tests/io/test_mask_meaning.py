"""Masks by meaning: however they are stored, they read alike."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from helpers import refusal
from likewise.io.mask_values import cvat_classes
from likewise.io.masks import parse_value, read_label_map, read_mask
from likewise.vocabulary import reference_from_files
from stored import SIZE, file_of, told


@pytest.fixture
def blob() -> np.ndarray:
    """(48, 64) bool: a disc, a bar and a dot."""
    image = Image.new("1", SIZE[::-1])
    draw = ImageDraw.Draw(image)
    draw.ellipse([8, 6, 30, 30], fill=1)
    draw.rectangle([40, 10, 55, 40], fill=1)
    return np.asarray(image)


# --- masks: any storage of one black and white mask reads alike -----------------------------------


def indexed(mask: np.ndarray, white: int, black: int, rest: tuple[int, int, int]) -> Image.Image:
    """A palette picture with these indices of white and black, all others of one colour."""
    image = Image.fromarray(np.where(mask, white, black).astype(np.uint8), "P")
    palette = [rest] * 256
    palette[white], palette[black] = (255, 255, 255), (0, 0, 0)
    image.putpalette([channel for colour in palette for channel in colour])
    return image


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


# --- masks: which value ---------------------------------------------------------------------------


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
    assert "page 0 was taken, of 0 to 1" in text

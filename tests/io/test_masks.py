"""masks.py against real files and COCO entries: every rule, every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers import grey, refusal
from likewise.io.encoding import write_mask
from likewise.io.images import read_image
from likewise.io.masks import read_mask

# --- read_mask: what is foreground ------------------------------------------------------------


@pytest.mark.parametrize("foreground", [1, 7, 255])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grey_masks_of_two_values(tmp_path, square, suffix, foreground):
    Image.fromarray(square.astype(np.uint8) * np.uint8(foreground)).save(tmp_path / f"m.{suffix}")
    read = read_mask(tmp_path / f"m.{suffix}", size=square.shape)
    assert read.dtype == bool
    np.testing.assert_array_equal(read, square)


@pytest.mark.parametrize("mode", ["1", "I", "F", "I;16"])
def test_other_single_channel_modes(tmp_path, square, mode):
    dtype = {"1": bool, "I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]
    image = Image.fromarray(square.astype(dtype) * dtype(1))
    assert image.mode == mode
    image.save(tmp_path / "m.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), square)
    np.testing.assert_array_equal(read_mask(image), square)


def test_16_bit_mask_of_one_label(square):
    np.testing.assert_array_equal(read_mask(square.astype(np.uint16) * 40000), square)


def test_jpeg_mask_and_antialiased_mask(tmp_path):
    big = np.zeros((64, 64), dtype=bool)
    big[12:47, 20:53] = True
    image = Image.fromarray(big.astype(np.uint8) * np.uint8(255))
    image.save(tmp_path / "m.jpg", quality=80)
    assert len(np.unique(read_image(tmp_path / "m.jpg"))) > 2
    np.testing.assert_array_equal(read_mask(tmp_path / "m.jpg"), big)
    image.convert("RGB").save(tmp_path / "rgb.jpg", quality=80)
    np.testing.assert_array_equal(read_mask(tmp_path / "rgb.jpg"), big)

    soft = image.resize((97, 97), Image.Resampling.BICUBIC)
    soft.save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "soft.png"), np.asarray(soft) > 127)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, 2],
        [0, 1, 2, 255],  # classes and a void value, also near both ends
        [0, 128, 255],
        [3, 200],
        list(range(0, 256, 5)),
    ],
)
def test_label_maps_need_a_value(tmp_path, labels):
    values = np.zeros((20, 20), dtype=np.uint8)
    values.flat[:] = labels[0]
    values.flat[: 3 * len(labels)] = np.repeat(labels, 3)
    Image.fromarray(values).save(tmp_path / "labels.png")
    text = refusal(read_mask, tmp_path / "labels.png")
    assert text.startswith(str(tmp_path / "labels.png"))
    assert ", ".join(map(str, labels[:3])) in text if len(labels) > 2 else "3, 200" in text
    assert ("..." in text) == (len(labels) > 12)
    assert "--mask-value" in text
    for label in labels[:3]:
        np.testing.assert_array_equal(
            read_mask(tmp_path / "labels.png", value=label), values == label
        )
    text = refusal(read_mask, tmp_path / "labels.png", value=99)
    assert "does not hold the value 99" in text
    assert str(labels[1]) in text


def test_palette_masks_count_indices_not_colours(tmp_path):
    indices = np.zeros((6, 6), dtype=np.uint8)
    indices[1:3] = 5
    image = Image.new("P", (6, 6))
    image.putpalette([40, 80, 120] + [200, 30, 90] * 255)
    image.putdata(indices.ravel().tolist())
    image.save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "one.png"), indices == 5)

    indices[4] = 255  # void
    image.putdata(indices.ravel().tolist())
    image.save(tmp_path / "void.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "void.png"), indices == 5)
    np.testing.assert_array_equal(read_mask(tmp_path / "void.png", value=255), indices == 255)

    indices[5] = 6
    image.putdata(indices.ravel().tolist())
    image.save(tmp_path / "two.png")
    assert "0, 5, 6, 255" in refusal(read_mask, tmp_path / "two.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "two.png", value=6), indices == 6)

    image.putdata(((indices == 5) * 255).ravel().tolist())
    np.testing.assert_array_equal(read_mask(image), indices == 5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La", "PA"])
def test_alpha_that_varies_is_the_mask(mode, square):
    alpha = Image.fromarray(np.where(square, 200, 100).astype(np.uint8))
    opaque = {"RGBa": "RGBA", "La": "LA"}.get(mode, mode)
    image = Image.new(opaque, (16, 12))
    image.putalpha(alpha)
    image = image if mode == opaque else image.convert(mode)
    np.testing.assert_array_equal(read_mask(image), square)


def test_constant_alpha_leaves_the_colours(tmp_path, square):
    values = square.astype(np.uint8) * np.uint8(255)
    opaque = np.full_like(values, 255)
    for channels in ([values] * 3 + [opaque], [values, opaque]):
        Image.fromarray(np.dstack(channels)).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), square)
    varying = np.dstack([values] * 3 + [255 - values])
    np.testing.assert_array_equal(read_mask(varying), ~square)
    np.testing.assert_array_equal(read_mask(varying, value=255), square)
    np.testing.assert_array_equal(read_mask(varying / 255), ~square)


def test_colour_masks(tmp_path, square):
    values = square.astype(np.uint8) * np.uint8(255)
    Image.fromarray(grey(values)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), square)
    np.testing.assert_array_equal(read_mask(Image.fromarray(grey(values)).convert("HSV")), square)
    Image.fromarray(np.dstack([values, values, values * 0])).save(tmp_path / "yellow.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "yellow.png"), square)
    Image.fromarray(np.dstack([values, values, 255 - values])).save(tmp_path / "blue.png")
    text = refusal(read_mask, tmp_path / "blue.png")
    assert text.startswith(f"{tmp_path / 'blue.png'} is a colour picture of #0000ff, #ffff00")
    assert "--mask-value" in text
    np.testing.assert_array_equal(read_mask(tmp_path / "blue.png", value="#ffff00"), square)


def test_mask_arrays(square):
    for mask in (
        square,
        square[..., None],
        square[None],
        square.astype(np.int64) * 3,
        square.astype(np.int8),
        square * 1.0,
        square * 255.0,
        np.where(square, 0.51, 0.5),
        np.where(square, 0.9, 0.1).astype(np.float32),
        grey(square),
    ):
        np.testing.assert_array_equal(read_mask(mask), square)
    np.testing.assert_array_equal(read_mask(square, value=0), ~square)
    np.testing.assert_array_equal(read_mask(square * 4.0 + 1, value=5), square)
    assert read_mask(square) is not square


def test_mask_tensors(square):
    torch = pytest.importorskip("torch")
    mask = torch.from_numpy(square)
    for tensor in (mask, mask[None], mask[..., None], mask.float(), mask.to(torch.int32) * 2):
        np.testing.assert_array_equal(read_mask(tensor), square)
    assert refusal(read_mask, mask & False).startswith("the mask tensor marks nothing")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((3, 4), 0.1) * np.arange(4) * 40, "floats from 0 to 12"),
        (np.array([[-0.5, 0.5]]), "0..1"),
        (np.array([[np.nan, 0.5]]), "NaN"),
        (np.array([[0, 1, 2]]), "0, 1, 2"),
        (np.zeros((2, 3, 4), bool)[..., :2], "the shape (2, 3, 2)"),
        (np.zeros((0, 3), bool), "no pixels"),
        (np.array([[None, 1]]), "the dtype object"),
    ],
)
def test_bad_mask_arrays(array, words):
    assert words in refusal(read_mask, array)
    text = refusal(read_mask, array, name="mask 2 of the references")
    assert text.startswith("mask 2 of the references")


def test_empty_and_full_masks(tmp_path, square):
    Image.new("L", (4, 3), 0).save(tmp_path / "none.png")
    Image.new("L", (4, 3), 255).save(tmp_path / "all.png")
    text = refusal(read_mask, tmp_path / "none.png", name="ignored for files")
    assert text.startswith(f"{tmp_path / 'none.png'} marks nothing")
    text = refusal(read_mask, tmp_path / "all.png")
    assert text.startswith(f"{tmp_path / 'all.png'} marks the whole image")
    assert refusal(read_mask, square & False).startswith("the mask array marks nothing")
    assert "whole" in refusal(read_mask, Image.new("P", (4, 3), 5))
    assert refusal(read_mask, Image.new("1", (4, 3))).startswith("the mask picture marks nothing")


# --- read_mask: size --------------------------------------------------------------------------


def test_mask_of_another_size_but_the_same_shape(square):
    np.testing.assert_array_equal(
        read_mask(square, size=(24, 32)), np.repeat(np.repeat(square, 2, axis=0), 2, axis=1)
    )
    big = np.repeat(np.repeat(square, 3, axis=0), 3, axis=1)
    np.testing.assert_array_equal(read_mask(big, size=(12, 16)), square)
    image = Image.fromarray(square).resize((57, 43), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(read_mask(square, size=(43, 57)), np.asarray(image))


@pytest.mark.parametrize("size", [(12, 17), (13, 16), (1213, 1600), (375, 500)])
def test_mask_sizes_that_fit(square, size):
    assert read_mask(square, size=size).shape == size


@pytest.mark.parametrize("size", [(16, 12), (12, 20), (1200, 1800), (1000, 1000)])
def test_mask_sizes_that_do_not_fit(tmp_path, square, size):
    write_mask(tmp_path / "m.png", square)
    text = refusal(read_mask, tmp_path / "m.png", size=size)
    assert text.startswith(f"{tmp_path / 'm.png'} is 16 × 12 pixels")
    assert f"{size[1]} × {size[0]}" in text


# --- read_mask: COCO --------------------------------------------------------------------------


def test_run_lengths_as_a_list():
    expected = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)  # down the columns: 0 1 1 1 0 0
    entry = {"size": [2, 3], "counts": [1, 3, 2]}
    np.testing.assert_array_equal(read_mask(entry), expected)
    np.testing.assert_array_equal(read_mask({"segmentation": entry, "id": 4}), expected)
    np.testing.assert_array_equal(read_mask(entry, size=(4, 6))[::2, ::2], expected)
    np.testing.assert_array_equal(read_mask(entry, value=0), ~expected)
    np.testing.assert_array_equal(
        read_mask({"size": [2, 2], "counts": [0, 1, 3]}), [[True, False], [False, False]]
    )


def test_compressed_run_lengths_by_hand():
    # 6 background, 1 foreground, 2 background: each below 16, so one character each, 48 + n.
    expected = np.zeros((3, 3), dtype=bool)
    expected[0, 2] = True
    np.testing.assert_array_equal(read_mask({"size": [3, 3], "counts": "612"}), expected)
    np.testing.assert_array_equal(read_mask({"size": [3, 3], "counts": b"612"}), expected)


def test_compressed_run_lengths_against_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for trial in range(200):
        height, width = rng.integers(2, 90, 2)
        mask = rng.random((height, width)) > rng.random()
        if trial % 2:  # long runs too
            mask = np.zeros((height * 20, width * 20), dtype=bool)
            mask[height * 3 : height * 15, width : width * 19] = True
        if not mask.any() or mask.all():
            continue
        entry = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert isinstance(entry["counts"], bytes)
        np.testing.assert_array_equal(read_mask(entry), mask)
        np.testing.assert_array_equal(
            read_mask({"size": entry["size"], "counts": entry["counts"].decode()}), mask
        )


def test_polygons():
    square = [10, 10, 20, 10, 20, 20, 10, 20]
    corner = [0, 0, 5, 0, 5, 5, 0, 5]
    expected = np.zeros((30, 40), dtype=bool)
    expected[10:20, 10:20] = True
    annotation = {"segmentation": [square], "category_id": 1}
    np.testing.assert_array_equal(read_mask(annotation, size=(30, 40)), expected)
    np.testing.assert_array_equal(read_mask({**annotation, "size": [30, 40]}), expected)
    sized = {**annotation, "height": 30, "width": 40}
    np.testing.assert_array_equal(read_mask(sized), expected)
    assert read_mask(sized, size=(60, 80)).sum() == 400
    expected[:5, :5] = True
    np.testing.assert_array_equal(
        read_mask({"segmentation": [square, corner]}, size=(30, 40)), expected
    )


def test_polygon_beyond_the_edges():
    entry = {"segmentation": [[-5, -5, 3, -5, 3, 90, -5, 90]], "height": 6, "width": 8}
    expected = np.zeros((6, 8), dtype=bool)
    expected[:, :3] = True
    np.testing.assert_array_equal(read_mask(entry), expected)


def test_polygons_against_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(40, 90, 12)
        points = np.stack([100 + radii * np.cos(angles), 100 + radii * np.sin(angles)], axis=1)
        polygon = points.ravel().tolist()
        theirs = coco.decode(coco.frPyObjects([polygon], 200, 200))[..., 0].astype(bool)
        ours = read_mask({"segmentation": [polygon]}, size=(200, 200))
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"counts": [1, 3, 2]}, "it has no size"),
        ({"size": [2, 3], "counts": [1, 3]}, "do not add up to 2 × 3"),
        ({"size": [2, 3], "counts": [-1, 7]}, "do not add up"),
        ({"size": [2, 3], "counts": "1~"}, "a character"),
        ({"size": [2, 3], "counts": "1 2"}, "a character"),
        ({"size": [2, 3], "counts": "1\xe9"}, "COCO"),
        ({"size": [2, 3], "counts": "1P"}, "middle of a number"),
        ({"size": [2, 3], "counts": "o" * 30 + "0"}, "COCO"),
        ({"size": [2, 3], "counts": None}, "COCO"),
        ({"size": [2, 3]}, "COCO"),
        ({"size": [2, 3, 4], "counts": [6]}, "COCO"),
        ({"size": "2x3", "counts": [6]}, "COCO"),
        ({"size": [0, 3], "counts": []}, "no pixels"),
        ({"size": [100000, 100000], "counts": [1]}, "over the limit"),
        ({"segmentation": [[1, 2, 3, 4]], "size": [2, 3]}, "three or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]], "size": [2, 3]}, "three or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]], "size": [2, 3]}, "three or more"),
        ({"segmentation": [1, 2, 3, 4, 5, 6], "size": [2, 3]}, "three or more"),
        ({"segmentation": [["a"] * 6], "size": [2, 3]}, "COCO"),
        ({"segmentation": None, "size": [2, 3]}, "COCO"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "it has no size"),
        ({"segmentation": [], "size": [2, 3]}, "marks nothing"),
        ({}, "it has no size"),
    ],
)
def test_bad_coco_entries(entry, words):
    text = refusal(read_mask, entry, name="annotation 17")
    assert text.startswith("annotation 17")
    assert words in text
    assert refusal(read_mask, entry).startswith("the mask annotation")

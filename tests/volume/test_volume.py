"""Volumes: which way up slices are, windows, annotated slices."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from helpers import refusal
from likewise.volume.annotation import key_slices
from likewise.volume.clip import Slices
from likewise.volume.files import open_volume, read_label_volume
from likewise.volume.volume import Volume, aligned, cut_of
from likewise.volume.windows import find_window
from scans import GEOMETRY, coin, write_nifti

# which way up


def test_slices_are_upright_whatever_the_order_of_axes() -> None:
    """A mark at the right, another at the front, a third at the head, in all 48 orientations."""
    for axes, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        values = np.zeros((7, 7, 7))  # x to the right, y to the front, z to the head
        values[6, 3, 3], values[3, 6, 3], values[3, 3, 6] = 1, 2, 3
        turned = values.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for k, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            affine[axis, k] = sign
        volume = Volume(Path("v"), turned, "nifti", affine)
        seen = {}
        for plane in ("axial", "coronal", "sagittal"):
            cut = cut_of(volume, plane)
            slices = cut.slices(turned)
            assert (cut.volume(slices) == turned).all()
            seen[plane] = slices[3]
        assert cut_of(volume) == cut_of(volume, "axial")
        right, front, head = (3, 0), (0, 3), (0, 3)  # row, column: right of the body is at the left
        assert (seen["axial"][right], seen["axial"][front]) == (1, 2)
        assert (seen["coronal"][right], seen["coronal"][head]) == (1, 3)
        assert (seen["sagittal"][3, 0], seen["sagittal"][head]) == (2, 3)


def test_slices_are_along_the_thick_edge_of_voxels() -> None:
    thick = np.diag([1.0, 5.0, 1.0, 1.0])
    volume = Volume(Path("v"), np.zeros((3, 4, 5)), "nifti", thick)
    assert cut_of(volume).order[0] == 1
    assert cut_of(volume, "2").order[0] == 2
    stack = Volume(Path("v"), np.zeros((3, 4, 5)), "stack")
    assert cut_of(stack).order == (0, 1, 2)
    assert "v does not say how it lies in the body" in refusal(cut_of, stack, "axial")
    assert "--axis up is unknown" in refusal(cut_of, stack, "up")


def test_labels_on_other_axes_are_turned(tmp_path: Path) -> None:
    values, mask = coin()
    volume = open_volume(write_nifti(tmp_path / "a.nii.gz", values))
    turned = mask.astype(np.uint8).transpose(2, 0, 1)[:, ::-1]
    affine = GEOMETRY[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 1] * (mask.shape[0] - 1)
    affine[:, 1] *= -1
    labels = read_label_volume(write_nifti(tmp_path / "l.nii.gz", turned, affine), volume)
    assert (labels == mask).all()
    for wrong, said in (
        (mask[:-1], "does not cover"),
        (mask[:, :, 1:], "does not cover"),
    ):
        path = write_nifti(tmp_path / "w.nii.gz", wrong.astype(np.uint8))
        text = refusal(read_label_volume, path, volume)
        assert said in text
        assert "resample it" in text
    for moved in (GEOMETRY + np.eye(4) * 0.2, GEOMETRY * [[1, 1, 1.1, 1]] * 1.0):
        moved[3] = [0, 0, 0, 1]
        path = write_nifti(tmp_path / "w.nii.gz", mask.astype(np.uint8), moved)
        assert "does not lie in space as" in refusal(read_label_volume, path, volume)
    stack = Volume(Path("s.tif"), values, "stack")
    assert "has the shape 3 × 3 × 3" in refusal(aligned, np.zeros((3, 3, 3)), None, stack, "l.tif")


# windows


def test_windows() -> None:
    path, values = Path("v"), np.linspace(-1000, 1000, 10_001).reshape(1, 73, 137)
    assert find_window(values, "lung", path) == (-1350, 150)
    assert find_window(values, "-10, 20.5", path) == (-10, 20.5)
    low, high = find_window(values, None, path)
    assert (round(low), round(high)) == (-990, 990)
    assert find_window((values > 0).astype(np.uint8), None, path) == (0, 255)
    with_nan = np.where(values > 900, np.nan, values)
    assert find_window(with_nan, None, path)[1] < 900
    for wrong in ("ct", "5,1", "1", "nan,2"):
        assert f"--window {wrong} is unknown" in refusal(find_window, values, wrong, path)
    assert "shows nothing of v" in refusal(find_window, values, "2000,3000", path)
    assert "one value everywhere" in refusal(find_window, values * 0, None, path)
    volume = Volume(path, with_nan.repeat(2, axis=0), "stack")
    slices = Slices(volume, cut_of(volume), (-100.0, 100.0))
    (pixels,) = slices.read(range(1))
    assert pixels.shape == (73, 137, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


# annotated slices


def test_key_slices_of_a_label_volume() -> None:
    values, mask = coin()
    volume = Volume(Path("v.tif"), values, "stack")
    slices = Slices(volume, cut_of(volume), (-600.0, 600.0))
    labels = np.where(mask, 9, 0)
    labels[:, :4] = 4
    labels[:2] = labels[5] = 0
    known = key_slices(labels, slices, "l.tif", [2, 4])
    assert (known.labels, known.values) == (("label 4", "label 9"), (4, 9))
    assert (known.frames[2] == np.select([labels[2] == 4, labels[2] == 9], [1, 2])).all()
    known = key_slices(labels, slices, "l.tif", None, [9, 4], ["coin", "rim"])
    assert sorted(known.frames) == [2, 3, 4, 6, 7]
    assert (known.frames[3] == np.select([labels[3] == 9, labels[3] == 4], [1, 2])).all()
    for how, said in (
        ({"numbers": [5]}, "slice 5 of l.tif marks nothing; slices 2 to 7 do"),
        ({"numbers": [2], "classes": [3]}, "slice 2 of l.tif marks nothing of the classes 3"),
        ({"numbers": [2], "classes": [4, 3]}, "no class 3 in the slices 2"),
        ({"numbers": [8]}, "no slice 8 along this axis: its slices are 0 to 7"),
        ({"numbers": [2, 2]}, "given twice"),
        ({"numbers": [2], "names": ["a"]}, "2 classes (4, 9) and 1 --label"),
        ({"classes": [5]}, "l.tif marks nothing of the classes 5"),
    ):
        assert said in refusal(key_slices, labels, slices, "l.tif", **how)
    assert "marks all of it" in refusal(key_slices, labels * 0 + 1, slices, "l.tif", [2])

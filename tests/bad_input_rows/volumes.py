"""`likewise volume`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bad_input_rows.rows import row
from scans import coin, write_nifti, write_series
from scenes import TINY

MEDICAL = find_spec("nibabel") is not None and find_spec("highdicom") is not None


def volume(*more: str, source: str = "v.nii.gz", slices: str = "3") -> list[str]:
    """A coin in v.nii.gz, annotated in slice 3 of l.nii.gz."""
    values, mask = coin()
    write_nifti(Path("v.nii.gz"), values)
    given = np.zeros(mask.shape, np.uint8)
    given[3] = mask[3]
    if not Path("l.nii.gz").exists():
        write_nifti(Path("l.nii.gz"), given)
    files = [source, "--axis", "0", "--labels", "l.nii.gz", "--slices", slices, "--out", "out"]
    return ["volume", *files, *TINY, *more]


@row("volume that is not there", 2, r"no\.nii does not exist: check its spell", when=MEDICAL)
def volume_missing(_: Path) -> list[str]:
    return volume(source="no.nii")


@row("volume cut short", 2, r"cut\.nii\.gz is cut short or damaged \(.*\): copy", when=MEDICAL)
def volume_cut(_: Path) -> list[str]:
    words = volume(source="cut.nii.gz")
    Path("cut.nii.gz").write_bytes(Path("v.nii.gz").read_bytes()[:4000])
    return words


@row("labels of another shape", 2, r"l\.nii\.gz has the shape 7 × 96 × 96 and does", when=MEDICAL)
def volume_shape(_: Path) -> list[str]:
    write_nifti(Path("l.nii.gz"), coin()[1][1:].astype(np.uint8))
    return volume()


@row("labels of another affine", 2, r"l\.nii\.gz does not lie in space as v\.nii", when=MEDICAL)
def volume_affine(_: Path) -> list[str]:
    write_nifti(Path("l.nii.gz"), coin()[1].astype(np.uint8), np.eye(4))
    return volume()


@row("annotated slice that marks nothing", 2, r"slice 4 of l\.nii\.gz marks noth", when=MEDICAL)
def volume_empty(_: Path) -> list[str]:
    return volume(slices="3,4")


@row("window that shows nothing", 2, r"the window 5000,6000 .* shows nothing of v", when=MEDICAL)
def volume_window(_: Path) -> list[str]:
    return volume("--window", "5000,6000")


@row("labels that nobody gave", 2, r"annotated slices are needed: give --labels with a label vol")
def volume_nothing(_: Path) -> list[str]:
    tifffile.imwrite("v.tif", coin()[0])
    return ["volume", "v.tif", "--out", "out", *TINY]


def series(change: Any) -> list[str]:
    return volume(source=str(write_series(Path("scan"), coin()[0], change)))


@row("series that lacks a slice", 2, r"scan lacks a slice between 14\.dcm and", when=MEDICAL)
def series_gap(_: Path) -> list[str]:
    def away(k: int, header: Any) -> None:
        header.ImagePositionPatient[2] += 2.5 * (k > 2)

    return series(away)


@row("slices of other spacing", 2, r"scan mixes spacings: the pixels are 0\.8 × 0", when=MEDICAL)
def series_spacing(_: Path) -> list[str]:
    def wide(k: int, header: Any) -> None:
        header.PixelSpacing = [0.8, 0.6 + 0.1 * (k == 2)]

    return series(wide)


@row("two series in a folder", 2, r"scan holds 2 series \(4 from .*\): move all b", when=MEDICAL)
def series_two(_: Path) -> list[str]:
    def other(k: int, header: Any) -> None:
        header.SeriesInstanceUID = f"1.2.{k % 2}"

    return series(other)


@row("no file of DICOM in a folder", 2, r"none holds no DICOM slices: give the fo", when=MEDICAL)
def series_none(_: Path) -> list[str]:
    Path("none").mkdir()
    return volume(source="none")

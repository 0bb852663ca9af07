"""Small scans for tests: a coin that moves from slice to slice, as NIfTI and as a DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_mask

COUNT = 8
GEOMETRY = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 4.0, 7], [0, 0, 0, 1]])


def coin() -> tuple[np.ndarray, np.ndarray]:
    """(N, 96, 96) int16, a coin that moves from slice to slice, and where it is."""
    grey = read_image(FOLDER / "coin_reference.png").mean(axis=2)
    mask = read_mask(FOLDER / "coin_reference_mask.png")
    scale = 125 / min(mask.shape)
    size = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
    small = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size)).astype(np.int16)
    marked = np.asarray(Image.fromarray(mask).resize(size))
    at = [slice(3 * k, 3 * k + 96) for k in range(COUNT)]
    values = np.stack([small[12:108, where] for where in at]) * 5 - 600
    return values, np.stack([marked[12:108, where] for where in at])


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray = GEOMETRY) -> Path:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: likewise[medical]")
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"] = b"of the scanner"
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 3)
    nibabel.save(image, path)
    return path


def write_series(
    folder: Path,
    values: np.ndarray,
    change: Callable[[int, Any], None] = lambda _, header: None,
    first: int = 0,
) -> Path:
    """(N, H, W) int16 as CT slices, 2.5 mm apart, in files whose names are in another order."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: likewise[medical]")
    pytest.importorskip("highdicom", reason="highdicom is not installed: likewise[medical]")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(exist_ok=True)
    for k, plane in enumerate(values):
        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
        uid = f"1.2.3.{first + k + 1}"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", "1.2.4"
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = "1.2.5", ""
        header.Modality, header.PatientID, header.PatientName = "CT", "p", "a^b"
        header.PatientBirthDate = header.PatientSex = header.StudyID = header.AccessionNumber = ""
        header.StudyDate = header.StudyTime = header.ReferringPhysicianName = ""
        header.SeriesNumber, header.InstanceNumber = 1, k + 1
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [0.8, 0.6], 2.5
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [-20, -30, 100 + 2.5 * (first + k)]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = (plane + 1024).astype(np.int16).tobytes()
        change(k, header)
        header.save_as(folder / f"{(first + k) * 7 % 31:02d}.dcm", enforce_file_format=True)
    return folder

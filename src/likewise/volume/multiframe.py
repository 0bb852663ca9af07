"""One DICOM file whose frames are the slices of a volume: enhanced CT, MR and the like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import ImageError, needs
from .dicom import LPS, explained, small
from .volume import Volume


def read(path: Path) -> Volume:
    """Read a file; slices are ordered as those of a series.

    Raises:
        LikewiseError: a package is missing, or its frames are no grey, evenly spaced slices.
    """
    with needs("medical"):
        import highdicom
        import pydicom

    with explained(path):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        frames, samples = int(header.get("NumberOfFrames") or 1), header.get("SamplesPerPixel", 1)
    if frames == 1:
        raise ImageError(f"{path} is one file of DICOM: give the folder of its series.")
    if samples != 1 or header.get("Modality") == "SEG":
        raise ImageError(f"{path} holds colours or segments: give a file of grey frames.")
    with explained(path):
        image = highdicom.imread(path)
    try:
        found = image.get_volume(
            dtype=np.float32, apply_real_world_transform=False, apply_presentation_lut=False
        )
    except MemoryError as error:
        raise ImageError(f"{path} does not fit in memory: crop or shrink it.") from error
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ImageError(
            f"{path} has frames that are no evenly spaced slices of one volume "
            f"({str(error).splitlines()[0].rstrip('.')}): save one phase of it as NIfTI."
        ) from error
    affine = np.asarray(found.affine)
    if np.linalg.det(affine[:3, :3] @ np.eye(3)[:, ::-1]) < 0:
        found = found.flip_spatial(0)
        affine = np.asarray(found.affine)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = float(edges[0]), float(edges[1]), float(edges[2])
    values = small(np.asarray(found.array))
    return Volume(path, values, "dicom", LPS @ affine, spacing, [header])

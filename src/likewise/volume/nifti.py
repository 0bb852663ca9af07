"""NIfTI: one file, .nii or .nii.gz, with the way from voxels to mm in its header."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, needs
from ..io.opening import DAMAGE, RESAVE, opened, why
from .volume import Affine, Values, Volume

SUFFIXES = (".nii", ".nii.gz")


def read(path: Path) -> Volume:
    """Read a volume.

    Raises:
        LikewiseError: nibabel is missing, or the file is damaged or holds no single volume.
    """
    values, affine, image = _load(path)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not (edges > 0).all() or not np.isfinite(affine).all():
        raise ImageError(f"{path} has no usable affine in its header: save it again with one.")
    spacing = float(edges[0]), float(edges[1]), float(edges[2])
    return Volume(path, values, "nifti", affine, spacing, image)


def read_labels(path: Path) -> tuple[Values, Affine]:
    """The labels of a file, on its own voxels, and its affine. Raises as ``read``."""
    return _load(path)[:2]


def encode(volume: Volume, labels: Values, names: Mapping[int, str]) -> bytes:
    """The file of a label volume: header, affine and orientation are those of the volume.

    Args:
        volume: read by ``read``.
        labels: (A, B, C) unsigned integers.
        names: value → class; NIfTI has no place for it.
    """
    image = volume.source
    header = image.header.copy()
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0  # a window of the picture's values
    made = type(image)(labels.reshape(image.shape), image.affine, header)
    content: bytes = made.to_bytes()
    return gzip.compress(content, mtime=0)


def _load(path: Path) -> tuple[Values, Affine, Any]:
    with needs("medical"):
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it mends headers aloud
    with opened(path, str(path)):
        pass
    try:
        image: Any = nibabel.load(path)
        if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
            raise ImageError(f"{path} is no NIfTI file within: convert it to .nii.gz.")
        shape = _without_ones(image.shape)
        if len(shape) != 3:
            raise ImageError(
                f"{path} has the shape {image.shape}, and a volume has three axes: save one of "
                "its volumes alone."
            )
        values = np.asanyarray(image.dataobj).reshape(shape)
    except MemoryError as error:
        raise ImageError(f"{path} does not fit in memory: crop or shrink it.") from error
    except (ImageFileError, HeaderDataError, RuntimeError, *DAMAGE) as error:
        raise ImageError(f"{path} is cut short or damaged ({why(error)}): {_AGAIN}.") from error
    if values.dtype.kind not in "biuf":
        raise ImageError(f"{path} holds {values.dtype}, not one number a voxel: convert it.")
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        values = values.astype(np.float32)
    return values, np.asarray(image.affine, np.float64), image


_AGAIN = RESAVE.split(",")[0]


def _without_ones(shape: Sequence[int]) -> Sequence[int]:
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape

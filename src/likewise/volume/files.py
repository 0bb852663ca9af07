"""Volumes and label volumes of any of the formats: which module reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import ImageError
from ..io.files import write_whole
from ..io.formats import advice
from . import dicom, multiframe, nifti, ome_zarr, stack
from .volume import Values, Volume, aligned

_MODULES: dict[str, ModuleType] = {
    "nifti": nifti,
    "dicom": dicom,
    "stack": stack,
    "ome_zarr": ome_zarr,
}
SUFFIX = {"nifti": ".nii.gz", "dicom": ".dcm", "stack": ".tif"}
"""Of the label volume that is written for a volume of each kind but OME-Zarr."""
CHANNELS = ("stack", "ome_zarr")
"""Kinds that may have several channels."""
_KNOWN = "give NIfTI (.nii, .nii.gz), a TIFF stack, OME-Zarr, or the folder of a DICOM series"


def open_volume(path: str | Path, channel: int | None = None) -> Volume:
    """Read a volume: NIfTI, a TIFF stack, OME-Zarr, or the folder of a DICOM series.

    Args:
        path: of the file or folder.
        channel: of a TIFF stack or OME-Zarr that has several, from 0.

    Raises:
        LikewiseError: it is none of these, is damaged, or a package is missing.
    """
    path = Path(path)
    kind = _kind(path)
    if channel is not None and kind not in CHANNELS:
        raise ImageError(f"{path} has no channels: leave out --channel.")
    if kind == "dicom" and not path.is_dir():
        return multiframe.read(path)
    module = _MODULES[kind]
    found: Volume = module.read(path, channel) if kind in CHANNELS else module.read(path)
    if min(found.values.shape) < 2:
        shape = " × ".join(map(str, found.values.shape))
        raise ImageError(f"{path} is one picture ({shape}): give it to likewise segment.")
    return found


def read_label_volume(path: Path, volume: Volume) -> Values:
    """The labels of a file, on the voxels of a volume.

    Args:
        path: NIfTI or DICOM segmentation, perhaps with other axes than the volume; TIFF stack;
            a group in ``labels/`` of OME-Zarr.
        volume: what they are of.

    Returns:
        (A, B, C) integers from 0. Stacks of black and white, also with soft edges, are 0 and 255.

    Raises:
        LikewiseError: it cannot be read, holds no labels, or lies on other voxels.
    """
    kind = _kind(path)
    if kind == "dicom" and path.is_dir():
        raise ImageError(f"{path} is a folder: give one file of labels.")
    labels, affine = _MODULES[kind].read_labels(path)
    return check_labels(aligned(labels, affine, volume, path, partly=kind == "dicom"), path)


def check_labels(labels: Values, name: object) -> Values:
    """The labels as integers from 0. Raises ImageError if they are fractions or below 0."""
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            raise ImageError(
                f"{name} holds fractions: give a label volume, a whole number a class."
            )
        labels = labels.astype(np.int64)
    if labels.min() < 0:
        raise ImageError(f"{name} holds values below 0: give 0 for nothing and others for classes.")
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def labels_path(volume: Volume, out: Path) -> Path:
    """Where the labels of a volume go: a file in a folder; of OME-Zarr a group in its image."""
    if volume.kind == "ome_zarr":
        return volume.path / "labels" / (out.resolve().name or "likewise")
    return out / f"labels{SUFFIX[volume.kind]}"


def write_labels(path: Path, volume: Volume, labels: Values, names: Mapping[int, str]) -> None:
    """Write a label volume in the format of a volume, on the same voxels.

    Args:
        path: file to write, whole at every moment, old or new; see ``labels_path``.
        volume: what it is of.
        labels: (A, B, C) of 0 and classes.
        names: value → class, of all classes.

    Raises:
        ImageError: the file cannot be written.
    """
    top = max(names)
    dtype = np.uint8 if top < 256 else np.uint16 if top < 65536 else np.uint32
    if volume.kind == "ome_zarr":
        ome_zarr.write(path, volume, labels.astype(dtype), names)
        return
    write_whole(path, _MODULES[volume.kind].encode(volume, labels.astype(dtype), names))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "ome_zarr" if ome_zarr.is_group(path) else "dicom"
    name = path.name.lower()
    if name.endswith(nifti.SUFFIXES):
        return "nifti"
    if name.endswith(stack.SUFFIXES):
        return "stack"
    if name.endswith((".dcm", ".dicom", ".ima")):
        return "dicom"
    if not path.exists():
        raise ImageError(f"{path} does not exist: check its spelling and folder.")
    what = advice(path)
    raise ImageError(
        f"{path} is no volume that can be read{f' ({what})' if what else ''}: {_KNOWN}."
    )

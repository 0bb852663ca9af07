"""TIFF stacks: the pages of one file, plain, of ImageJ or of OME."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, note
from ..io.masks import read_label_map
from ..io.opening import DAMAGE, RESAVE, opened, why
from ..io.tiff import edges_mm
from ..run.labels import MARKED
from .volume import Values, Volume

SUFFIXES = (".tif", ".tiff")


def read(path: Path, channel: int | None = None) -> Volume:
    """Read a stack.

    Args:
        path: of it.
        channel: which one of several, from 0.

    Raises:
        ImageError: it is damaged, holds one page, several times or colours.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with it is told once
    try:
        with opened(path, str(path)) as file, tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            axes, values = series.axes, series.asarray()
            edges = edges_mm(tiff)
            ome, imagej = tiff.is_ome, tiff.is_imagej
    except MemoryError as error:
        raise ImageError(f"{path} does not fit in memory: crop or shrink it.") from error
    except (tifffile.TiffFileError, RuntimeError, *DAMAGE) as error:
        raise ImageError(f"{path} is cut short or damaged ({why(error)}): {RESAVE}.") from error
    spacing = (edges["Z"], edges["Y"], edges["X"]) if len(edges) == 3 else None
    values, axes = _channel(values, axes, channel, path)
    if values.ndim != 3 or axes[-2:] != "YX" or values.dtype.kind not in "biuf":
        raise ImageError(
            f"{path} holds pages of axes {axes} and {values.dtype}, no stack of grey slices: save "
            "one time and channel of it as a multi-page TIFF."
        )
    return Volume(path, values, "stack", None, spacing, "ome" if ome else imagej and "imagej")


def read_labels(path: Path) -> tuple[Values, None]:
    """The labels of a file; black and white pages, each in its own way, are 0 and 255.

    Raises:
        ImageError: as ``read``.
    """
    values = read(path).values
    if values.dtype != np.uint8 or values.max() != MARKED:
        return values, None
    pages = [read_label_map(page, name=str(path)) for page in values]
    held = [set(np.unique(page).tolist()) - {0} for page in pages]
    marked = [one for one in held if one]
    if sum(one == {MARKED} for one in marked) <= len(marked) / 2:
        return np.stack(pages), None
    for k, one in enumerate(held):
        if not one <= {MARKED}:
            threshold = 0 if len(one) == 1 else MARKED // 2
            pages[k] = np.where(pages[k] > threshold, MARKED, 0)
            note(path, f"page {k} is not 0 and {MARKED} as others are: above {threshold} is taken.")
    return np.stack(pages), None


def encode(volume: Volume, labels: Values, names: Mapping[int, str]) -> bytes:
    """The file of a label volume: pages, spacing and dialect are those of the volume.

    Args:
        volume: read by ``read``.
        labels: (Z, Y, X) unsigned integers.
        names: value → class; TIFF has no place for it.
    """
    import tifffile

    file, spacing = io.BytesIO(), volume.spacing
    how: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib"}
    metadata: dict[str, Any] = {"axes": "ZYX"}
    if volume.source == "imagej" and labels.dtype.itemsize < 4:
        how = {"imagej": True}
        if spacing is not None:
            metadata |= {"spacing": spacing[0] * 1000, "unit": "um"}
    elif spacing is not None:
        how["ome"] = True
        for axis, edge in zip("ZYX", spacing, strict=True):
            metadata |= {f"PhysicalSize{axis}": edge * 1000, f"PhysicalSize{axis}Unit": "µm"}
    if spacing is not None:
        how |= {"resolution": (10 / spacing[2], 10 / spacing[1]), "resolutionunit": "CENTIMETER"}
    if how.get("imagej") and spacing is not None:
        how["resolution"] = (1 / (1000 * spacing[2]), 1 / (1000 * spacing[1]))
        how["resolutionunit"] = "NONE"
    tifffile.imwrite(file, labels, metadata=metadata, **how)
    return file.getvalue()


def _channel(values: Values, axes: str, channel: int | None, path: Path) -> tuple[Values, str]:
    """Without the axis of channels, and those of one."""
    for name in "CS":
        if name not in axes:
            continue
        k = axes.index(name)
        count = values.shape[k]
        if count > 1 and (channel is None or not 0 <= channel < count):
            raise ImageError(f"{path} has {count} channels: give --channel 0 to {count - 1}.")
        values, axes = values.take(channel or 0, axis=k), axes[:k] + axes[k + 1 :]
    kept = [k for k, n in enumerate(values.shape) if n > 1 or k >= values.ndim - 2]
    return values.reshape([values.shape[k] for k in kept]), "".join(axes[k] for k in kept)

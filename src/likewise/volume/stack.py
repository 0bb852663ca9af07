"""TIFF stacks: the pages of one file, plain, of ImageJ or of OME."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, note
from ..io.masks import read_label_map
from ..io.opening import DAMAGE, RESAVE, opened, why
from ..video.annotation import MARKED
from .volume import Values, Volume

SUFFIXES = (".tif", ".tiff")
MM = {"m": 1e3, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3, "micron": 1e-3}
MM |= {"nm": 1e-6, "\\u00B5m": 1e-3, "pm": 1e-9, "Å": 1e-7}


def read(path: Path, channel: int | None = None) -> Volume:
    """Read a stack.

    Args:
        path: of it.
        channel: which one of several, from 0.

    Raises:
        ImageError: it is damaged, holds one page, several times or colours.
    """
    import tifffile

    try:
        with opened(path, str(path)) as file, tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            axes, values = series.axes, series.asarray()
            spacing = _spacing(tiff)
            ome, imagej = tiff.is_ome, tiff.is_imagej
    except MemoryError as error:
        raise ImageError(f"{path} does not fit in memory: crop or shrink it.") from error
    except (tifffile.TiffFileError, RuntimeError, *DAMAGE) as error:
        raise ImageError(f"{path} is cut short or damaged ({why(error)}): {RESAVE}.") from error
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


def _spacing(tiff: Any) -> tuple[float, float, float] | None:
    """Edges of a voxel in mm, along Z, Y, X; None where one is unknown."""
    if tiff.is_ome:
        head = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata or "")
        found = dict(re.findall(r'(PhysicalSize\w+)="([^"]*)"', head[0] if head else ""))
        edges = []
        for axis in "ZYX":
            unit = MM.get(found.get(f"PhysicalSize{axis}Unit", "µm"))
            size = found.get(f"PhysicalSize{axis}")
            if unit is None or size is None:
                return None
            edges.append(float(size) * unit)
        return (edges[0], edges[1], edges[2]) if min(edges) > 0 else None
    if tiff.is_imagej:
        told = tiff.imagej_metadata or {}
        unit, depth = MM.get(str(told.get("unit", ""))), told.get("spacing")
        tags = [tiff.pages[0].tags.get(name) for name in ("YResolution", "XResolution")]
        if unit is None or depth is None or None in tags:
            return None
        y, x = (tag.value[1] / tag.value[0] if tag.value[0] else 0.0 for tag in tags)
        return (depth * unit, y * unit, x * unit) if min(depth, y, x) > 0 else None
    return None

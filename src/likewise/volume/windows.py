"""Which values of a volume become black and white."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError
from ..io.stretch import OUTER, SAMPLE, Range

WINDOWS: dict[str, Range] = {
    "lung": (-1350, 150),
    "bone": (-500, 1300),
    "soft": (-160, 240),
    "mediastinum": (-125, 225),
    "liver": (-45, 105),
    "brain": (0, 80),
}
"""The usual ones of CT, in Hounsfield units."""


def find_window(values: npt.NDArray[Any], window: str | None, path: Path) -> Range:
    """The values that become 0 and 255.

    Args:
        values: of the volume.
        window: a name of WINDOWS, or "LO,HI"; None is all but the outer 0.5 % of the values at
            each end, and 8 bits stay as they are.
        path: of the volume.

    Raises:
        LikewiseError: another ``window``, or one in which all voxels look the same.
    """
    sample = values.ravel(order="K")[:: max(1, values.size // (4 * SAMPLE))]
    sample = sample.astype(np.uint8) if sample.dtype == bool else sample
    sample = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if not sample.size or sample.min() == sample.max():
        raise ImageError(f"{path} holds one value everywhere: give another volume.")
    if window is None:
        if values.dtype == np.uint8:
            return 0.0, 255.0
        low, high = np.percentile(sample, [OUTER, 100 - OUTER])
        return (
            (float(low), float(high)) if low < high else (float(sample.min()), float(sample.max()))
        )
    low, high = WINDOWS.get(window) or _parse(window)
    if not (sample > low).any() or not (sample < high).any():
        raise LikewiseError(
            f"the window {window} ({low:g} to {high:g}) shows nothing of {path}, whose values are "
            f"{sample.min():g} to {sample.max():g}: give another --window, or none."
        )
    return low, high


def _parse(window: str) -> Range:
    try:
        low, high = map(float, window.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        names = ", ".join(WINDOWS)
        raise LikewiseError(
            f"--window {window} is unknown: give {names}, or two numbers such as -160,240."
        )
    return low, high

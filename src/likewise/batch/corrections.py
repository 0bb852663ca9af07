"""Masks that a person made for a target, read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError
from ..images import read_image, read_pillow


def read_correction(
    image: Path, mask: Path, labels: Sequence[str], label: str | None = None
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The label map of a target as a person has it; nothing at all may be marked.

    Args:
        image: the target.
        mask: a label map with the values of the project (its masks are such), or one of 0 and 255.
        labels: the classes of the project.
        label: the class that a mask of 0 and 255 is of; may be left out if there is one class.

    Returns:
        (H, W) of the image, uint8 or uint16: 0 nothing, k the k-th class.

    Raises:
        LikewiseError: if a file cannot be used, or values or sizes do not fit.
    """
    height, width = read_image(image).shape[:2]
    values = np.array(read_pillow(mask, str(mask)))
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise LikewiseError(f"{mask} is no mask: give a label map, or grey values of 0 and 255.")
    if values.shape != (height, width):
        raise LikewiseError(
            f"{mask} has {values.shape[1]}x{values.shape[0]} pixels and {image} {width}x{height}: "
            "give a mask of the same size."
        )
    if label is not None and label not in labels:
        raise LikewiseError(f"the project has no class {label}: use {', '.join(labels)}.")
    number = 1 if label is None else labels.index(label) + 1
    highest = int(values.max())
    if label is not None or (len(labels) == 1 and highest == 255):
        values = np.where(values > highest // 2, number, 0)
    elif highest > len(labels):
        raise LikewiseError(
            f"{mask} holds the value {highest}, and the project has {len(labels)} classes: give a "
            "label map, or say with --label what its mask is of."
        )
    return values.astype(np.uint8 if len(labels) < 256 else np.uint16)

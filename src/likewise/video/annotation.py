"""Masks of annotated frames: which objects they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError
from ..images import read_pillow
from ..masks import is_soft, read_mask

MOST = 100
"""Objects of a clip; a mask with more values is none."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is known of a clip."""

    frames: Mapping[int, npt.NDArray[np.uint8]]
    """Frame → (H, W) label map: 0 nothing, k the k-th object."""
    labels: tuple[str, ...]
    """Names of the objects."""


def read_annotations(
    masks: Mapping[int, Path], size: tuple[int, int], frames: int, labels: Sequence[str] = ()
) -> Annotations:
    """Read the masks of annotated frames; a value means the same object in all of them.

    Args:
        masks: frame → file: 0 and 255 (or any mask that ``read_mask`` takes) for one object, or a
            label map, grey or palette, in which every value but 0 is an object.
        size: (H, W) of the clip.
        frames: how many it has.
        labels: names of the objects, by ascending values; by default ``object 1``, ...

    Raises:
        LikewiseError: if a mask cannot be used, or there is no such frame.
    """
    if not masks:
        raise LikewiseError("no frame is annotated: give --reference-frame and --mask.")
    for number in masks:
        if not 0 <= number < frames:
            raise LikewiseError(
                f"the clip has no frame {number}: its frames are 0 to {frames - 1}."
            )
    maps = {number: _values(path, size) for number, path in sorted(masks.items())}
    values = sorted({int(v) for found in maps.values() for v in np.unique(found)} - {0})
    names = tuple(labels) or tuple(f"object {k}" for k in range(1, len(values) + 1))
    if len(names) != len(values) or len(set(names)) != len(names):
        held = ", ".join(map(str, values))
        raise LikewiseError(
            f"the masks hold {len(values)} objects (values {held}) and {len(names)} --label were "
            "given: give one for each, all different, or none."
        )
    table = np.zeros(max(values) + 1, np.uint8)
    table[values] = np.arange(1, len(values) + 1)
    return Annotations({number: table[found] for number, found in maps.items()}, names)


def _values(path: Path, size: tuple[int, int]) -> npt.NDArray[Any]:
    """(H, W) integers: 0 nothing; a mask of one object has the value 1 unless it says another."""
    image = read_pillow(path, str(path))
    pixels = np.asarray(image)
    if (
        pixels.ndim == 2
        and pixels.dtype == np.uint8
        and not (image.mode == "L" and is_soft(pixels))
    ):
        values = [int(v) for v in np.unique(pixels) if 0 < v < 255]  # 255 is void beside others
        if len(values) > MOST:
            raise LikewiseError(
                f"{path} holds {len(values)} values, which is no mask: give 0 and 255, or a label "
                "map in which every value is an object."
            )
        if values:
            found = [v * read_mask(path, size=size, value=v).astype(np.uint8) for v in values]
            return np.maximum.reduce(found)
    return read_mask(path, size=size).astype(np.uint8)

"""Masks of annotated frames: which objects they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError, note
from ..io.masks import read_label_map
from ..run.labels import MARKED

MANY, ALIKE = 20, 0.7
"""A mask of more values is a photograph if fewer of its neighbouring pixels than this are alike."""
MOST = 255
"""Objects of a clip."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is known of a clip."""

    frames: Mapping[int, npt.NDArray[np.uint8]]
    """Frame → (H, W) label map: 0 nothing, k the k-th object."""
    labels: tuple[str, ...]
    """Names of the objects."""
    values: tuple[int, ...]
    """What the masks of a person call them."""


def read_annotations(
    masks: Mapping[int, Path], size: tuple[int, int], frames: int, labels: Sequence[str] = ()
) -> Annotations:
    """Read the masks of annotated frames; a value means the same object in all of them.

    Args:
        masks: frame → file, as ``read_label_map`` takes them: black and white for one object, or a
            label map in which every value but 0 is an object.
        size: (H, W) of the clip.
        frames: how many it has.
        labels: names of the objects, by ascending values; by default ``object 1``, ...

    Raises:
        LikewiseError: if a mask cannot be used, or there is no such frame.
    """
    if not masks:
        raise LikewiseError("no frame is annotated: give a mask of one at least.")
    for number in masks:
        if not 0 <= number < frames:
            raise LikewiseError(
                f"the clip has no frame {number}: its frames are 0 to {frames - 1}."
            )
    maps = {number: _values(path, size) for number, path in sorted(masks.items())}
    held = {number: set(np.unique(found).tolist()) - {0} for number, found in maps.items()}
    plain = [number for number, values in held.items() if values == {MARKED}]
    others = set().union(*(values for number, values in held.items() if number not in plain))
    if plain and others and MARKED not in others:
        if len(others) > 1:
            raise ImageError(
                f"{masks[plain[0]]} is black and white, and other masks hold the values "
                f"{_listed(sorted(others))}: save it as a label map, too."
            )
        for number in plain:
            maps[number] = np.where(maps[number] > 0, max(others), 0)
    values = sorted(others or {MARKED})
    if len(values) > MOST:
        raise LikewiseError(
            f"the masks hold {len(values)} objects, more than {MOST}: follow fewer at once, and "
            "give label maps in which every value is an object."
        )
    names = tuple(labels) or tuple(f"object {k}" for k in range(1, len(values) + 1))
    if len(names) != len(values) or len(set(names)) != len(names):
        raise LikewiseError(
            f"the masks hold {len(values)} objects (values {_listed(values)}) and "
            f"{len(names)} --label were given: give one for each, all different, or none."
        )
    table = np.zeros(max(values) + 1, np.uint8)
    table[values] = np.arange(1, len(values) + 1, dtype=np.uint8)
    return Annotations(
        {number: table[found] for number, found in maps.items()}, names, tuple(values)
    )


def _values(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """(H, W): 0 nothing, MARKED where a mask of one object does not say its value."""
    found = read_label_map(path, size=size).astype(np.int64)
    if found.shape != size:
        raise ImageError(
            f"{path} is {found.shape[1]} × {found.shape[0]} pixels, but the clip is {size[1]} × "
            f"{size[0]}: draw the mask on a frame of the clip."
        )
    values = [int(v) for v in np.unique(found) if v]
    if MARKED in values and len(values) > 1 and max(values) == MARKED:
        note(path, f"the value {MARKED} beside other values is taken for void.")
        found[found == MARKED] = 0
        values.remove(MARKED)
    if not values:
        raise ImageError(f"{path} marks nothing: mark the objects in it.")
    if min(values) < 0:
        raise ImageError(f"{path} holds values below 0: give 0 for nothing and others for objects.")
    alike = (found[:, 1:] == found[:, :-1]).mean() if found.shape[1] > 1 else 1.0
    if len(values) > MANY and alike < ALIKE:
        raise ImageError(
            f"{path} holds {len(values)} values all over, which is no mask: give 0 and 255, or a "
            "label map in which every value is an object."
        )
    if len(values) == 1 and found.all():
        raise ImageError(f"{path} marks the whole image: mark the pixels of the object only.")
    return found


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")

"""Masks that a person made for a target, read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..class_names import is_part, wholes_of
from ..errors import LikewiseError
from ..run.labels import MARKED, read_class_map

LabelMap = npt.NDArray[np.integer[Any]]


def as_numbers(
    mask: Path, size: tuple[int, int], numbers: Mapping[str, int], labels: Sequence[str]
) -> LabelMap:
    """(H, W) a mask file with the numbers of the classes.

    Args:
        mask: a label map with these numbers, or, where there is one class, of two values.
        size: (H, W) of its image.
        numbers: class → number.
        labels: the classes that have references.

    Raises:
        LikewiseError: if it cannot be used, or holds other values.
    """
    values = read_same_size(mask, size, numbers)
    known = sorted(numbers.values())
    unknown = [int(k) for k in np.unique(values) if k and k not in known]
    if unknown == [MARKED] and len(labels) == 1 and not (values % MARKED).any():
        return np.where(values == MARKED, np.uint16(numbers[labels[0]]), np.uint16(0))
    if unknown:
        names = ", ".join(f"{k} {label}" for label, k in numbers.items())
        raise LikewiseError(
            f"{mask} holds the value {unknown[-1]}, and the project has {names}: give a label map "
            "of these, or say with --label what its mask is of."
        )
    return values


def replace_class(
    before: LabelMap, marked: npt.NDArray[np.bool_], label: str, numbers: Mapping[str, int]
) -> LabelMap:
    """A label map with another mask of one class; the other classes stay.

    Parts lie over their wholes: inside the new mask of ``person`` its ``person/hair`` stays,
    outside there is no part of it any more; where ``person/hair`` is taken away, ``person`` is
    below.

    Args:
        before: (H, W) with the numbers.
        marked: (H, W) what is of the class, with its parts.
        label: the class.
        numbers: class → number.
    """
    labels = list(numbers)
    whole = wholes_of(labels)[labels.index(label)]
    below = 0 if whole is None else numbers[labels[whole]]
    parts = [k for name, k in numbers.items() if is_part(name, label)]
    inner = np.isin(before, parts)
    after = np.where(inner | (before == numbers[label]), below, before)
    after = np.where(marked, numbers[label], after)
    return np.where(marked & inner, before, after)


def check_size(target: Path, label_map: LabelMap, size: tuple[int, int]) -> None:
    """Raises LikewiseError if a label map is not of (H, W), the present size of a target's picture:
    it was replaced after its mask was made."""
    if label_map.shape != size:
        raise LikewiseError(
            f"{target} has {size[1]}x{size[0]} pixels now and its mask "
            f"{label_map.shape[1]}x{label_map.shape[0]}: take that back (likewise review --undo), "
            "annotate again, then correct what is found."
        )


def read_same_size(mask: Path, size: tuple[int, int], numbers: Mapping[str, int]) -> LabelMap:
    """Raises LikewiseError if it is no mask, or has another size: a person drew on that image."""
    values = read_class_map(mask, numbers.values())
    if values.shape != size:
        raise LikewiseError(
            f"{mask} has {values.shape[1]}x{values.shape[0]} pixels and its image "
            f"{size[1]}x{size[0]}: give a mask of the same size."
        )
    return values

"""Masks that a person made for a target, read from a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError
from ..io.images import read_image
from ..reference import is_part, wholes_of
from ..run.manifest import read_class_map

if TYPE_CHECKING:
    from .project import Project

LabelMap = npt.NDArray[np.integer[Any]]
MARKED = 255
"""What masks of two values are read as."""


def read_correction(
    project: Project, image: Path, mask: Path, label: str | None = None
) -> LabelMap:
    """The label map of a target as a person has it; nothing at all may be marked.

    Args:
        project: that the target is in.
        image: the target, which has a mask.
        mask: a label map with the project's numbers (its masks are such), or, of one class alone, a
            mask of two values in any form of ``read_label_map``.
        label: the class that takes the place of what the target's mask shows of it, while its other
            classes stay; by default the whole mask is replaced.

    Returns:
        (H, W) of the image: 0 nothing, else one of ``Project.numbers``.

    Raises:
        LikewiseError: if a file cannot be used, or values or sizes do not fit.
    """
    numbers, labels = project.numbers, project.settings.labels
    height, width = read_image(image).shape[:2]
    if label is None:
        return as_numbers(mask, (height, width), numbers, labels)
    if label not in labels:
        raise LikewiseError(f"the project has no class {label}: use {', '.join(labels)}.")
    values = _read(mask, (height, width), numbers)
    shown = [int(k) for k in np.unique(values) if k]
    marked = values > 0
    if len(shown) > 1:
        marked = values == numbers[label]
        if numbers[label] not in shown or not set(shown) <= set(numbers.values()):
            raise LikewiseError(
                f"{mask} holds the values {', '.join(map(str, shown))}, and {label} is "
                f"{numbers[label]}: give a mask of {label} alone."
            )
    return replace_class(project.read_mask(image), marked, label, numbers)


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
    values = _read(mask, size, numbers)
    known = sorted(numbers.values())
    unknown = [int(k) for k in np.unique(values) if k and k not in known]
    if unknown == [MARKED] and len(labels) == 1 and not (values % MARKED).any():
        return np.where(values == MARKED, numbers[labels[0]], 0)
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


def _read(mask: Path, size: tuple[int, int], numbers: Mapping[str, int]) -> LabelMap:
    """Raises LikewiseError if it is no mask, or has another size: a person drew on that image."""
    values = read_class_map(mask, numbers.values())
    if values.shape != size:
        raise LikewiseError(
            f"{mask} has {values.shape[1]}x{values.shape[0]} pixels and its image "
            f"{size[1]}x{size[0]}: give a mask of the same size."
        )
    return values

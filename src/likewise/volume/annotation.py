"""Slices that a person has annotated, out of a label volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ImageError, LikewiseError
from ..video.annotation import MOST, Annotations
from .clip import Slices
from .volume import Values


def key_slices(
    labels: Values,
    slices: Slices,
    name: object,
    numbers: Sequence[int] | None = None,
    classes: Sequence[int] = (),
    names: Sequence[str] = (),
) -> Annotations:
    """The annotated slices of a label volume.

    Args:
        labels: (A, B, C) on the voxels of the volume, integers from 0.
        slices: of the volume.
        name: of the label volume.
        numbers: slices that are fully annotated; None is all that hold any of the classes.
        classes: values to look for; none is all that these slices hold.
        names: of the classes, in the order of ``classes`` or by ascending values.

    Raises:
        LikewiseError: there is no such slice, one of them marks nothing or everything, or a class
            is in none of them.
    """
    cut = slices.cut.slices(labels)
    if numbers is None:
        wanted = np.isin(cut, classes) if classes else cut > 0
        numbers = np.flatnonzero(wanted.any(axis=(1, 2))).tolist()
    check_numbers(numbers, slices)
    if not numbers:
        raise ImageError(f"{name} marks nothing{_of(classes)}: annotate a slice of the volume.")
    held = {number: set(np.unique(cut[number]).tolist()) - {0} for number in numbers}
    values = list(classes) or sorted(set().union(*held.values()))
    for number, found in held.items():
        if not found & set(values) or not values:
            full = [
                k for k in range(len(cut)) if (np.isin(cut[k], values) if classes else cut[k]).any()
            ]
            where = f"slices {full[0]} to {full[-1]} do" if full else "no slice does"
            raise ImageError(
                f"slice {number} of {name} marks nothing{_of(classes)}; {where}: give others as "
                "--slices."
            )
    if missing := [value for value in values if not any(value in one for one in held.values())]:
        raise LikewiseError(
            f"{name} has no class {missing[0]} in the slices {_listed(numbers)}: give one that "
            "holds it as --slices, too."
        )
    if len(set(values)) != len(values) or min(values) < 1:
        raise LikewiseError(f"the classes {_listed(values)} hold 0 or one twice: give each once.")
    if len(values) > MOST:
        raise LikewiseError(f"{name} holds {len(values)} classes, more than {MOST}: choose some.")
    called = tuple(names) or tuple(f"label {value}" for value in values)
    if len(called) != len(values) or len(set(called)) != len(called):
        raise LikewiseError(
            f"there are {len(values)} classes ({_listed(values)}) and {len(called)} --label were "
            "given: give one for each, all different, or none."
        )
    frames = {}
    for number in sorted(numbers):
        frame = np.zeros(cut.shape[1:], np.uint8)
        for k, value in enumerate(values, 1):
            frame[cut[number] == value] = k
        if (frame == frame.flat[0]).all():
            raise ImageError(
                f"slice {number} of {name} marks all of it: mark the voxels of the class only."
            )
        frames[number] = frame
    return Annotations(frames, called, tuple(values))


def check_numbers(numbers: Sequence[int], slices: Slices) -> None:
    """Raises LikewiseError unless these are different slices of the volume."""
    for number in numbers:
        if not 0 <= number < len(slices):
            raise LikewiseError(
                f"{slices.path} has no slice {number} along this axis: its slices are 0 to "
                f"{len(slices) - 1}."
            )
    if len(set(numbers)) != len(numbers):
        raise LikewiseError("a slice was given twice in --slices: give it once.")


def _of(classes: Sequence[int]) -> str:
    return f" of the classes {_listed(classes)}" if classes else ""


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")

"""References as the command line takes them: lists of files, values and labels that go together."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LikewiseError
from ..io.annotations.shapes import LABEL
from ..io.images import read_picture
from ..io.masks import MaskValue, parse_value
from ..io.planes import AS_IT_IS, Choice, Plane
from ..prompts import Prompts
from ..reference import Reference
from ..vocabulary import reference_from_files

if TYPE_CHECKING:
    from .options import ExampleOptions, VocabularyOptions


def choose_references(
    examples: ExampleOptions, classes: VocabularyOptions, choice: Choice
) -> list[Reference]:
    """The references of a vocabulary or of single examples, read and checked.

    Raises:
        LikewiseError: if there are both, or neither, or one cannot be used.
    """
    check_one_source(examples, classes)
    if classes.vocabulary is None:
        return read_references(**vars(examples), choice=choice)
    from ..vocabulary import read_vocabulary

    return read_vocabulary(classes.vocabulary, classes.only or None, choice)


def check_one_source(
    examples: ExampleOptions, classes: VocabularyOptions, file: Path | None = None
) -> None:
    """Raises LikewiseError unless references are given in one way: examples, a folder or a file.

    Args:
        examples: of ``--reference`` and what goes with it.
        classes: of ``--vocabulary``, and ``--only``, which goes with a folder or a file.
        file: of ``--references``.
    """
    if file is not None and classes.vocabulary is not None:
        raise LikewiseError(
            f"--references {file} and --vocabulary {classes.vocabulary} are two sets of "
            "references: give one of them."
        )
    whole = file or classes.vocabulary
    if whole is not None and any(vars(examples).values()):
        option = "--vocabulary" if file is None else "--references"
        raise LikewiseError(
            f"{option} {whole} holds all references: leave --reference, --mask and what goes with "
            f"them away, or give no {option}."
        )
    if whole is None and classes.only:
        raise LikewiseError("--only chooses classes of --vocabulary or --references: add one.")
    if whole is None and not any(vars(examples).values()):
        raise LikewiseError(
            "no reference given: give --reference and --mask, or a file with --references, or a "
            "folder with --vocabulary."
        )


def read_references(
    reference: Sequence[Path],
    mask: Sequence[Path],
    mask_value: Sequence[str],
    label: Sequence[str],
    negative: Sequence[Path],
    negative_mask: Sequence[Path],
    points: Sequence[str] = (),
    box: str | None = None,
    *,
    read: Callable[..., Reference] = reference_from_files,
    choice: Choice = AS_IT_IS,
) -> list[Reference]:
    """The references of a command, read and checked.

    Args:
        reference: images.
        mask: one for each image; may be annotations, see ``annotation_files``.
        mask_value: what marks the example, as ``parse_value`` reads it: none, one for all masks,
            or one for each.
        label: none, or one for each image.
        negative: images.
        negative_mask: none, or one for each of them.
        points, box: of the only image, as the options take them; it may have no mask then.
        read: reads one, as ``reference_from_files``.
        choice: which picture of image files that hold several.

    Raises:
        LikewiseError: if there are too many or too few of one, or a file cannot be used.
    """
    prompts = _prompts(points, box)
    if prompts and len(reference) != 1:
        raise LikewiseError(
            f"--points and --box are of one --reference, but {len(reference)} were given: give one "
            "of them a mask, or write the others to a file with `likewise references save`."
        )
    if mask or not prompts:
        _check_count("--reference", reference, "--mask", mask)
    if len(mask_value) > 1:
        _check_count("--reference", reference, "--mask-value", mask_value)
    if label:
        _check_count("--reference", reference, "--label", label)
    if negative_mask:
        _check_count("--negative", negative, "--negative-mask", negative_mask)
    parsed = [parse_value(str(value), "--mask-value") for value in mask_value]
    each = parsed if len(parsed) > 1 else [parsed[0] if parsed else None] * len(reference)
    names = label or [LABEL] * len(reference)
    masks: Sequence[Path | None] = mask or [None] * len(reference)
    references = [
        _prompted(*files, prompts) if prompts else read(*files)
        for files in zip(map(choice.of, reference), masks, each, names, strict=True)
    ]
    wrong: Sequence[Path | None] = negative_mask or [None] * len(negative)
    pairs = zip(map(choice.of, negative), wrong, strict=True)
    references += [read(*files, negative=True) for files in pairs]
    return references


def _prompts(points: Sequence[str], box: str | None) -> Prompts:
    """What --points and --box say; nothing is checked against an image."""
    parsed = []
    for point in " ".join(points).split():
        numbers = _numbers(point, "--points", "X,Y,1 or X,Y,0", 3)
        parsed.append((numbers[0], numbers[1], int(numbers[2])))
    if box is None:
        return Prompts(parsed)
    left, top, right, bottom = _numbers(box, "--box", "X0,Y0,X1,Y1", 4)
    return Prompts(parsed, (left, top, right, bottom))


def _numbers(text: str, option: str, form: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise LikewiseError(f"{option} {text} is not {form}: give {count} numbers with commas.")
    return numbers


def _prompted(
    image: Path | Plane, mask: Path | None, value: MaskValue | None, label: str, prompts: Prompts
) -> Reference:
    """A reference whose mask is made of prompts, or corrected by them, all checked."""
    if mask is None:
        found = Reference(image, label=label)
    else:
        found = reference_from_files(image, mask, value, label)
    height, width = read_picture(image).pixels.shape[:2]
    prompts.checked((height, width), os.fspath(image), alone=mask is None)
    return replace(found, points=prompts.points, box=prompts.box)


def _check_count(one: str, ones: Sequence[Any], other: str, others: Sequence[Any]) -> None:
    if len(ones) != len(others):
        raise LikewiseError(
            f"{len(ones)} {one} and {len(others)} {other} were given: "
            f"give one {other} for each {one}, in the same order."
        )

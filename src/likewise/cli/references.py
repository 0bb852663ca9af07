"""References as the command line takes them: lists of files, values and labels that go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LikewiseError
from ..io.annotations.shapes import LABEL
from ..io.masks import parse_value
from ..reference import Reference
from ..vocabulary import reference_from_files

if TYPE_CHECKING:
    from ..reference_file import Info


def choose_references(
    file: Path | None,
    vocabulary: Path | None,
    examples: tuple[Sequence[Any], ...],
    only: Sequence[str] = (),
) -> tuple[Info | None, list[Reference]]:
    """What ``--references`` names, or the references that the other options give.

    Args:
        file: of ``--references``.
        vocabulary: of ``--vocabulary``.
        examples: what ``read_references`` takes.
        only: of ``--only``; goes with the first two.

    Returns:
        What the file says of itself and no reference, or None and references.

    Raises:
        LikewiseError: if there are both, or neither, or one cannot be used.
    """
    if file is not None and vocabulary is not None:
        raise LikewiseError(
            f"--references {file} and --vocabulary {vocabulary} are two sets of references: give "
            "one of them."
        )
    whole = file or vocabulary
    if whole is not None and any(examples):
        option = "--vocabulary" if file is None else "--references"
        raise LikewiseError(
            f"{option} {whole} holds all references: leave --reference, --mask and what goes with "
            f"them away, or give no {option}."
        )
    if whole is None:
        if only:
            raise LikewiseError("--only chooses classes of --vocabulary or --references: add one.")
        if not any(examples):
            raise LikewiseError(
                "no reference given: give --reference and --mask, or a file with --references, or "
                "a folder with --vocabulary."
            )
        return None, read_references(*examples)
    if vocabulary is not None:
        from ..vocabulary import read_vocabulary

        return None, read_vocabulary(vocabulary, only or None)
    from ..class_names import check_classes
    from ..reference_file import read_info

    info = read_info(whole)
    if only:
        check_classes(only, list(info.classes))
    return info, []


def files_of(references: Sequence[Reference]) -> list[Path]:
    """The image and mask files that references were not yet read from."""
    parts = [part for r in references for part in (r.image, r.mask)]
    return [part for part in parts if isinstance(part, Path)]


def read_references(
    images: Sequence[Path],
    masks: Sequence[Path],
    values: Sequence[str],
    labels: Sequence[str],
    negatives: Sequence[Path],
    negative_masks: Sequence[Path],
) -> list[Reference]:
    """The references of a command, read and checked.

    Args:
        images: of ``--reference``.
        masks: of ``--mask``, one for each image; may be annotations, see ``annotation_files``.
        values: of ``--mask-value``, as ``parse_value`` reads them: none, one for all masks, or one
            for each.
        labels: of ``--label``: none, or one for each image.
        negatives: of ``--negative``.
        negative_masks: of ``--negative-mask``: none, or one for each of them.

    Raises:
        LikewiseError: if there are too many or too few of one, or a file cannot be used.
    """
    _check_count("--reference", images, "--mask", masks)
    if len(values) > 1:
        _check_count("--reference", images, "--mask-value", values)
    if labels:
        _check_count("--reference", images, "--label", labels)
    if negative_masks:
        _check_count("--negative", negatives, "--negative-mask", negative_masks)
    parsed = [parse_value(str(value), "--mask-value") for value in values]
    each = parsed if len(parsed) > 1 else [parsed[0] if parsed else None] * len(images)
    names = labels or [LABEL] * len(images)
    references = [
        reference_from_files(*files) for files in zip(images, masks, each, names, strict=True)
    ]
    wrong: Sequence[Path | None] = negative_masks or [None] * len(negatives)
    references += [
        reference_from_files(*files, negative=True) for files in zip(negatives, wrong, strict=True)
    ]
    return references


def _check_count(one: str, ones: Sequence[Any], other: str, others: Sequence[Any]) -> None:
    if len(ones) != len(others):
        raise LikewiseError(
            f"{len(ones)} {one} and {len(others)} {other} were given: "
            f"give one {other} for each {one}, in the same order."
        )

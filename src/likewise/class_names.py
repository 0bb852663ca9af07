"""Names of classes: which are known, and which are parts of others (``person/hair``)."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import LikewiseError
from .io.text_files import normal


def class_name(label: str) -> str:
    """The label of a reference in NFC. Raises LikewiseError if it is empty."""
    if not label.strip():
        raise LikewiseError("a reference has an empty label: give a name, or no label.")
    return normal(label)


def check_classes(labels: Sequence[str], known: Sequence[str]) -> list[str]:
    """The ``labels`` in NFC. Raises LikewiseError if there are none, or one is not ``known``."""
    spelt = list(map(normal, [labels] if isinstance(labels, str) else labels))
    for label in spelt:
        if label not in known:
            raise LikewiseError(
                f"there is no reference of the class {label!r}: use some of {', '.join(known)}."
            )
    if not labels:
        raise LikewiseError(f"no class was chosen: use some of {', '.join(known)}.")
    return spelt


def is_part(label: str, whole: str) -> bool:
    """Whether a class is a part of another by its name: ``person/hair`` of ``person``."""
    return label.startswith(f"{whole}/")


def wholes_of(labels: Sequence[str]) -> list[int | None]:
    """For each of the classes the number, from 0, of the nearest that it is a part of."""
    wholes = []
    for label in labels:
        longer = [k for k, whole in enumerate(labels) if is_part(label, whole)]
        wholes.append(max(longer, key=lambda k: len(labels[k]), default=None))
    return wholes

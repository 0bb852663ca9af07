"""The classes of the page: their numbers in masks, and their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import LikewiseError
from ...io.draw import class_colour
from ...project.project import Project

NEGATIVE = 255
"""In label maps of references: what none of the classes is."""
FORMER = "#8a8a8a"
"""Colour of classes that were removed, in masks that still show them."""


def allot(project: Project, labels: Sequence[str]) -> None:
    """Give classes their numbers, which they keep for ever."""
    project.manifest.folder.mkdir(exist_ok=True)
    project.manifest.allot(labels, label_maps=True)


def classes(project: Project) -> list[dict[str, Any]]:
    """{"label", "colour", "number"} of the page's classes; those with references are among them.

    The number is what a class is in masks, and in what is painted. Classes that have none yet are
    shown with that which they will get.

    Raises:
        LikewiseError: a number is too large for the page.
    """
    page = project.settings.page
    labels = dict.fromkeys([*page.get("classes", []), *project.settings.labels]) or {"object": None}
    colours = list(page.get("colours", []))
    numbers = dict(project.manifest.numbers)
    for label in labels:
        if label not in numbers:
            numbers[label] = next(k for k in range(1, 65536) if k not in numbers.values())
    defaults = [f"#{bytes(class_colour(k)).hex()}" for k in range(1, len(labels) + 1)]
    if any(numbers[label] >= NEGATIVE for label in labels):
        raise LikewiseError(
            f"{project.folder} has more classes than the page can show: use the commands."
        )
    return [
        {"label": label, "colour": colour, "number": numbers[label]}
        for label, colour in zip(labels, colours + defaults[len(colours) :], strict=False)
    ]


def former(project: Project, known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As ``classes``, those that were removed: masks may still show them."""
    numbers = dict(project.manifest.numbers)
    labels = {c["label"] for c in known}
    return [
        {"label": label, "colour": FORMER, "number": number}
        for label, number in numbers.items()
        if label not in labels and number < NEGATIVE
    ]

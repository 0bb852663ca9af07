"""The table that the files of this folder fill: a row is one bad input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Prepare = Callable[[Path], "list[str] | Callable[[], object]"]


@dataclass(frozen=True)
class Row:
    """One bad input; `prepare` and the run have the scene as working folder."""

    name: str
    what: str
    prepare: Prepare
    code: int
    message: str
    """Pattern of the message behind "likewise: "."""
    masks: frozenset[str] = frozenset()
    """What lies in out/ afterwards, all of it whole."""
    fault: Callable[[], AbstractContextManager[None]] = nullcontext
    then: Callable[[], None] | None = None
    process: bool = False
    usage: bool = False
    """Refused by typer, with a box of several lines."""


ROWS: list[Row] = []


def row(
    what: str, code: int, message: str, *, masks: str = "", when: bool = True, **extra: Any
) -> Callable[[Prepare], Prepare]:
    """Put a function that prepares a bad input into the table."""

    def add(prepare: Prepare) -> Prepare:
        if when:
            kept = frozenset(masks.split())
            name = prepare.__name__
            ROWS.append(Row(name, what, prepare, code, message, kept, **extra))
        return prepare

    return add

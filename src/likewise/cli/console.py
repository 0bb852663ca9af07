"""What commands print: notes, progress, errors, values for JSON."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputWarning, LikewiseError

SHOWN = 3
"""How many notes of a kind are printed; the rest are counted."""
_notes: dict[tuple[str, str], None] = {}
"""(source, what) of the InputWarnings of this run, each once."""


@contextmanager
def printed_notes() -> Iterator[None]:
    """Print InputWarnings, each kind a few times and then how many more; others as Python does."""
    _notes.clear()
    kinds: Counter[str] = Counter()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Warning | str, *where: Any, **more: Any) -> None:
            if not isinstance(message, InputWarning):
                show(message, *where, **more)
            elif (key := (message.source, message.what)) not in _notes:
                _notes[key] = None
                kind = re.sub(r"\d[\d.,]*", "#", message.what)  # what numbers it is about
                kinds[kind] += 1
                if kinds[kind] <= SHOWN:
                    print(f"likewise: note: {message}", file=sys.stderr)

        warnings.showwarning = note
        warnings.simplefilter("always", InputWarning)
        try:
            yield
        finally:
            for kind, count in kinds.items():
                if count > SHOWN:
                    print(f"likewise: note: and {count - SHOWN} more: {kind}", file=sys.stderr)


def notes() -> dict[str, list[dict[str, str]]]:
    """What ``--json`` adds of the InputWarnings so far: ``notes``, or nothing if there are none."""
    listed = [{"source": source, "what": what} for source, what in _notes]
    return {"notes": listed} if listed else {}


def print_error(message: object) -> None:
    """One line on stderr."""
    print(f"likewise: {message}", file=sys.stderr)


def fail(message: str) -> NoReturn:
    """Print an error and end with exit code 2."""
    print_error(message)
    sys.exit(2)


def print_json(value: object) -> None:
    """What ``--json`` prints."""
    print(json.dumps(value, indent=2))


@dataclass
class Stop:
    """Whether a long run was ended early."""

    reason: str = ""
    """A sentence; empty if it was not."""


@contextmanager
def stopping(interrupted: str) -> Iterator[Stop]:
    """Print what ends the work inside, an error or Ctrl-C, and go on after it with the summary.

    Args:
        interrupted: what to say after Ctrl-C.

    Yields:
        Filled in after the work.
    """
    stop = Stop()
    try:
        yield stop
    except LikewiseError as error:
        stop.reason = str(error)
    except KeyboardInterrupt:
        stop.reason = interrupted
    if stop.reason:
        print_error(stop.reason)


@contextmanager
def progress(total: int, what: str = "segment") -> Iterator[Callable[[str | None], None]]:
    """A function to call after each target, with its error if it failed.

    It moves a progress bar on a terminal, none in a pipe; failures are printed either way.
    """
    if not sys.stderr.isatty() or total == 1:
        yield lambda error: print_error(error) if error else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)

        def advance(error: str | None) -> None:
            if error is not None:
                bar.console.print(f"likewise: {error}", markup=False, highlight=False)
            bar.advance(task)

        yield advance


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Paths as text, so that JSON can hold them; without lists of nothing."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if v != ()}

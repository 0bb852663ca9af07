"""What commands print: notes on inputs, progress, errors, JSON."""

from __future__ import annotations

import gc
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import InputWarning, LikewiseError

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..segmenter import Segmenter

SHOWN = 3
"""How many notes of one kind, or names in one line, are printed; the rest are counted."""
_notes: dict[tuple[str, str], None] = {}
"""(source, what) of every InputWarning of this run, in order, each once (an ordered set)."""


@contextmanager
def printed_notes() -> Iterator[None]:
    """Print InputWarnings on stderr while the block runs; other warnings are shown as usual.

    Notes that differ only in their numbers are of one kind: SHOWN of it are printed at once, and at
    the end how many more there were, with the text of the first.
    """
    _notes.clear()
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Warning | str, *where: Any, **more: Any) -> None:
            if not isinstance(message, InputWarning):
                show(message, *where, **more)
            elif (key := (message.source, message.what)) not in _notes:
                _notes[key] = None
                kind = re.sub(r"\d[\d.,]*", "#", message.what)
                kinds[kind] += 1
                first.setdefault(kind, message.what)
                if kinds[kind] <= SHOWN:
                    line = f"likewise: note: {message}\n"  # at once: threads give notes too
                    print(line, end="", file=sys.stderr)

        warnings.showwarning = note
        warnings.simplefilter("always", InputWarning)
        try:
            yield
        finally:
            for kind, count in kinds.items():
                if count > SHOWN:
                    numbers = ", with other numbers" if "#" in kind else ""
                    more = f"and {count - SHOWN} more{numbers}: {first[kind]}"
                    print(f"likewise: note: {more}", file=sys.stderr)


def notes() -> dict[str, list[dict[str, str]]]:
    """The InputWarnings so far for ``--json``: ``{"notes": [...]}``; ``{}`` if there are none."""
    listed = [{"source": source, "what": what} for source, what in _notes]
    return {"notes": listed} if listed else {}


def print_error(message: object) -> None:
    """Print one line on stderr."""
    print(f"likewise: {message}", file=sys.stderr)


def fail(message: str) -> NoReturn:
    """Print an error and end with exit code 2."""
    print_error(message)
    sys.exit(2)


def print_written(
    what: str, out: Path, total: int, reported: int, kept: int, failed: int, *, resume: bool
) -> None:
    """Print how many of ``total`` files were written; what is not reported was not reached."""
    parts = [f"{kept} kept"] if resume else []
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{total - reported} not reached"] if reported < total else []
    print(f"{reported - failed - kept} of {total} {what} written to {out}", *parts, sep=", ")


def print_json(value: object) -> None:
    """Print a value on stdout as indented JSON, as ``--json`` does."""
    print(json.dumps(value, indent=2))


@dataclass
class Stop:
    """Whether a long run was ended early."""

    reason: str = ""
    """A sentence; empty if it was not."""


@contextmanager
def importing() -> Iterator[None]:
    """Collect no garbage while much is imported: it stays, and looking for it takes a fifth."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def last_of(path: Path, what: str, first: int, last: int | None, count: int) -> int:
    """The last of the frames or slices to segment, which are from ``first`` to it.

    Args:
        path: what has them.
        what: they are called.
        first, last: as given, from 0; None for all that follow.
        count: how many there are.

    Raises:
        LikewiseError: if there are no such.
    """
    end = count - 1 if last is None else last
    if not first <= end < count:
        raise LikewiseError(
            f"{path} has no {what} {first} to {end}: its {what} are 0 to {count - 1}."
        )
    return end


def kept_notes(states: Counter[str], resume: bool, left: int) -> list[str]:
    """What a summary says of masks that were not made.

    Args:
        states: of the outcomes.
        resume: whether masks could be kept.
        left: not reached.
    """
    notes = [f"{states['kept']} kept"] if resume else []
    notes += [f"{left} not reached"] if left else []
    theirs = "made or changed by a person kept (--overwrite)"
    return notes + ([f"{states['by_hand']} {theirs}"] if states["by_hand"] else [])


@contextmanager
def stopping(interrupted: str) -> Iterator[Stop]:
    """Catch a LikewiseError or Ctrl-C inside the block and print it; the summary can follow.

    Args:
        interrupted: the sentence to print after Ctrl-C.

    Yields:
        A Stop whose ``reason`` is set after the block.
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
def progress(
    total: int, what: str = "segment", of: Segmenter | None = None
) -> Iterator[Callable[[str | None], None]]:
    """Show a progress bar, if stderr is a terminal and there is more than one step.

    Args:
        total: how many steps there are.
        what: a word behind the bar.
        of: what segments the images that are the steps: one that it reads in tiles has a bar of its
            own meanwhile, also where it is the only image.

    Yields:
        A function to call after each step, with its error or None; errors are always printed.
    """
    if not sys.stderr.isatty() or (total == 1 and of is None):
        yield lambda error: print_error(error) if error else None
        return
    with ExitStack() as shown:
        bar = cache(lambda: shown.enter_context(progress_bar("{task.description}")))
        task = None if total == 1 else bar().add_task(what, total=total)

        def advance(error: str | None) -> None:
            if error is not None:
                print_error(error)
            if task is not None:
                bar().advance(task)

        def watch(places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
            row = bar().add_task("tiles", total=len(places))
            try:
                for place in places:
                    yield place
                    bar().advance(row)
            finally:
                bar().remove_task(row)

        if of is not None:
            of.tiles.watch = watch
            shown.callback(setattr, of.tiles, "watch", iter)  # no bar is left to show them
        yield advance


def progress_bar(*more: str) -> Progress:
    """A bar on stderr with its count, the time left and ``more`` columns, in rich's format."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, *more, console=Console(stderr=True))


def json_ready(values: dict[str, Any]) -> dict[str, Any]:
    """Values for JSON: paths become text, empty tuples are left out."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if v != ()}


def target_json(result: object) -> dict[str, Any]:
    """A result as ``--json`` gives it: its ``path`` is the target."""
    rest = dict(vars(result))
    return json_ready({"target": rest.pop("path"), **rest})


def chosen_channels(text: str) -> tuple[int, ...]:
    """What ``--channel`` says; () for nothing. Raises LikewiseError unless it is one or three."""
    channels = tuple(whole_numbers(text, "--channel"))
    if len(channels) not in (0, 1, 3):
        raise LikewiseError(f"--channel {text} is {len(channels)} channels: give one or three.")
    return channels


def whole_numbers(text: str, option: str) -> list[int]:
    """``4,6,8``. Raises LikewiseError for anything else."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(part.isdecimal() for part in parts):
        raise LikewiseError(f"{option} {text} is no list of numbers: give such as 4 or 4,6,8.")
    return [int(part) for part in parts]

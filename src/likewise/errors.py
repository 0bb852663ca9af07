"""One exception family; a message names the file, what is wrong and the mend, in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class LikewiseError(Exception):
    """Base of every error raised on purpose; its text can be shown to a person as it is."""


class ImageError(LikewiseError):
    """An image or mask cannot be used."""


class WriteError(ImageError):
    """The disk refuses a result, as it would every further one: full, read-only, gone."""


class InputWarning(UserWarning):
    """What was assumed of an input, or left out of it: one sentence that names the file.

    Given by ``note``; the command line prints them (each kind a few times), and adds
    them to ``--json`` as ``notes``.
    """

    def __init__(self, source: object, what: str) -> None:
        super().__init__(f"{source}: {what}")
        self.source, self.what = str(source), what


_kept: ContextVar[list[str] | None] = ContextVar("_kept", default=None)


def note(source: object, what: str) -> None:
    """Give an ``InputWarning``, or keep it where ``noting`` is in force."""
    message, kept = InputWarning(source, what), _kept.get()
    if kept is None:
        warnings.warn(message, stacklevel=3)
    elif str(message) not in kept:
        kept.append(str(message))


@contextmanager
def noting() -> Iterator[list[str]]:
    """Keep the notes that this thread gives inside, each once, instead of warning."""
    notes: list[str] = []
    before = _kept.set(notes)
    try:
        yield notes
    finally:
        _kept.reset(before)


class BackboneError(LikewiseError):
    """A backbone cannot be found, downloaded, verified or loaded."""


@contextmanager
def explained_memory(what: str) -> Iterator[None]:
    """Turn running out of memory, on any device, into a LikewiseError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # torch's own class on accelerators; its CPU allocator raises a bare RuntimeError.
        accelerator = type(error).__name__ == "OutOfMemoryError"
        if isinstance(error, MemoryError) or accelerator or "allocate memory" in str(error):
            raise LikewiseError(
                f"{what} does not fit in memory: give a smaller --image-size or --backbone, "
                "or another --device."
            ) from error
        raise


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing package into a LikewiseError that says how to install the extra."""
    try:
        yield
    except ImportError as error:
        raise LikewiseError(
            f"{extra} needs the package {error.name}, which is not installed: "
            f"pip install 'likewise[{extra}]'."
        ) from error

"""One exception family; a message names the file, what is wrong and the mend, in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class LikewiseError(Exception):
    """Base of every error raised on purpose; its text can be shown to a person as it is."""


class ImageError(LikewiseError):
    """An image or mask cannot be used."""


class WriteError(ImageError):
    """The disk refuses a result, as it would every further one: full, read-only, gone."""


class InputWarning(UserWarning):
    """What was assumed of an input, or left out of it: one sentence that names the file.

    Given with ``warnings.warn``; the command line prints them (each kind a few times), and adds
    them to ``--json`` as ``notes``.
    """

    def __init__(self, source: object, what: str) -> None:
        super().__init__(f"{source}: {what}")
        self.source, self.what = str(source), what


def note(source: object, what: str) -> None:
    """Give an ``InputWarning``."""
    warnings.warn(InputWarning(source, what), stacklevel=3)


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

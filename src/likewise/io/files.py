"""Writing files whole: a crash or a full disk leaves the old file, or none, never half of one."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ImageError, LikewiseError, WriteError

PARTS = ".likewise-*.part*"
"""Glob pattern of unfinished files, which stay if a process is killed while it writes them; GDAL
puts files of its own beside, with longer names."""


@contextmanager
def unfinished(path: Path, suffix: str = "") -> Iterator[Path]:
    """A name beside ``path`` that no other process has; what has it after the block is deleted.

    Args:
        path: the file that is to be made.
        suffix: what the name ends with, where those who write the file go by it.
    """
    part = path.with_name(f".likewise-{uuid.uuid4().hex}.part{suffix}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file beside ``path`` to write to, which takes its place if nothing goes wrong inside.

    Args:
        path: the file.
        sync: wait until the disk has it; what can be made again need not.

    Raises:
        OSError: what the disk says.
    """
    with unfinished(path) as part:
        with part.open("xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        part.replace(path)


def remove_parts(folders: Iterable[Path]) -> None:
    """Delete what killed processes left in folders; younger files may be of a run that goes on."""
    for part in (part for folder in folders for part in folder.glob(PARTS)):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; ``path`` is whole at every moment, old or new.

    Raises:
        ImageError: as ``refused`` says.
    """
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> ImageError:
    """Why a file cannot be written: a WriteError if no other file could be written either."""
    mends = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "your share of the disk is full: free some space",
        errno.EROFS: "the disk is read-only: give a folder on another",
        errno.EIO: "the disk fails: give a folder on another",
    }
    if error.errno in mends:
        return WriteError(f"{path} cannot be written ({mends[error.errno]}).")
    mend = {
        errno.ENAMETOOLONG: "give its picture a shorter name",
        errno.ENOENT: "make its folder again",
        errno.EISDIR: "move the folder of that name",
        errno.ENOTDIR: "move the file that has the name of its folder",
    }.get(error.errno or 0, "give yourself write permission on it, or give another folder")
    return ImageError(f"{path} cannot be written ({error.strerror}): {mend}.")


def make_folder(folder: Path) -> Path:
    """The folder, made if need be. Raises LikewiseError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LikewiseError(
            f"the folder {folder} cannot be made ({error.strerror}): give another --out."
        ) from error
    return folder


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Write JSON; ``path`` is whole at every moment, old or new. Raises as ``write_whole``."""
    write_whole(path, encode_json(report))


def encode_json(report: Mapping[str, Any]) -> bytes:
    """What ``write_json`` writes."""
    return (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()

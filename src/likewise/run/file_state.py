"""What a file was like when it was read: size, time of change, sha256."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..io.hashing import file_sha256
from ..io.planes import Choice


@dataclass(frozen=True)
class FileState:
    """A picture file as it was when it was read."""

    bytes: int | None
    """None where there was no such file."""
    changed: int | None
    """Time of its last change, in ns."""
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One line of the manifest."""

    mask: str
    """Relative to the folder, with forward slashes."""
    sha256: str
    """Of the mask file."""
    image: str
    """The picture; relative to the folder where that is possible."""
    image_bytes: int | None
    image_changed: int | None
    """Time of its last change, in ns."""
    image_sha256: str
    run: str
    """Fingerprint of what made the mask; "" where a person did."""
    beside: Sequence[str] = ()
    """Names of the files that were written with it: overlay, instances."""
    picture: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen of a file that holds several pictures: fields of ``planes.Choice``."""

    @property
    def line(self) -> dict[str, Any]:
        """Its fields; ``picture`` only where something was chosen."""
        return {k: v for k, v in asdict(self).items() if k != "picture" or v}

    @property
    def choice(self) -> Choice:
        """Of ``picture``."""
        values = dict(self.picture)
        return Choice(**values | {"channels": tuple(values.get("channels", ()))})


def look(image: Path) -> FileState:
    """The picture file as it is."""
    return FileState(*stamp(image), file_hash(image))


def stamp(path: Path) -> tuple[int | None, int | None]:
    """(bytes, time of last change in ns); None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


def file_hash(path: Path) -> str:
    """sha256 of its bytes; empty where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""

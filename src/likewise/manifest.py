"""What likewise wrote into a folder of masks: the class of each number, and each mask's content.

Two files lie beside the masks:

- ``labels.json``: ``{"1": "ball", "2": "box"}``, the class that each value of a mask means. A class
  keeps its number for as long as the folder exists; new classes get new numbers.
- ``manifest.jsonl``: one line for every mask that was written: its sha256, the picture it is of,
  and the fingerprint of the run. A line is written before its mask, so that a mask whose sha256 is
  in no line was made or changed by somebody else, also after a kill at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .backbones.download import sha256_of
from .errors import LikewiseError
from .images import why
from .text_files import read_json
from .writing import refused, write_json, write_whole

LABELS, MANIFEST = "labels.json", "manifest.jsonl"
MARKED = 255
"""The number of the first class of a folder, where it is the only one: masks of 0 and 255."""


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


class Manifest:
    """The two files of one folder of masks.

    Args:
        folder: of the masks; need not exist yet.

    Raises:
        LikewiseError: if one of the files is there and cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = read_labels(folder / LABELS)
        """Class → its value in the masks."""
        self._last: dict[str, Entry] = {}
        self._known: dict[str, set[str]] = {}
        self._images: dict[str, str] = {}
        self._offset = 0
        self._read_on()

    # --- classes and their numbers ---------------------------------------------------------------

    def allot(self, labels: Sequence[str], *, label_maps: bool) -> dict[str, int]:
        """The numbers of classes; those that have none yet get new ones, kept in ``labels.json``.

        Args:
            labels: classes in order.
            label_maps: number a single class of a new folder 1, not MARKED.

        Returns:
            Class → number, of these classes.

        Raises:
            ImageError: if ``labels.json`` cannot be written.
        """
        numbers = dict(self.numbers)
        if not numbers and len(labels) == 1 and not label_maps:
            numbers[labels[0]] = MARKED
        for label in labels:
            if label not in numbers:
                taken = set(numbers.values())
                numbers[label] = next(k for k in range(1, 65536) if k not in taken)
        if numbers != self.numbers:
            self._write_labels(numbers)
        return {label: numbers[label] for label in labels}

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Give classes other names (old → new); their numbers stay. Raises ImageError."""
        numbers = {renamed.get(label, label): k for label, k in self.numbers.items()}
        if numbers != self.numbers:
            self._write_labels(numbers)

    def _write_labels(self, numbers: Mapping[str, int]) -> None:
        ordered = sorted(numbers.items(), key=lambda item: item[1])
        write_json(self.folder / LABELS, {str(k): label for label, k in ordered})
        self.numbers = dict(ordered)

    # --- masks -----------------------------------------------------------------------------------

    def write(self, mask: Path, content: bytes, image: Path, run: str) -> None:
        """Write a mask, its line first.

        Args:
            mask: the file, in the folder or below it.
            content: of it.
            image: the picture that it is a mask of.
            run: fingerprint of what made it; "" for a person.

        Raises:
            ImageError: if the mask cannot be written; WriteError if no other file could either.
        """
        size, changed = stamp(image)
        digest = hashlib.sha256(content).hexdigest()
        entry = Entry(
            self._key(mask), digest, self._key(image), size, changed, file_hash(image), run
        )
        line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        path = self.folder / MANIFEST
        self._read_on()
        try:
            with path.open("ab") as file:
                torn = file.tell() > self._offset  # a kill left a part of a line
                file.write((torn * "\n" + line).encode(errors="surrogateescape"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise refused(path, error) from error
        write_whole(mask, content)
        self._read_on()

    def is_ours(self, mask: Path) -> bool:
        """Whether a mask file is as likewise (or a person by means of it) wrote it."""
        digest = file_hash(mask)
        if digest not in self._known.get(self._key(mask), ()):
            self._read_on()  # another program may have written it
        return digest in self._known.get(self._key(mask), ())

    def is_current(self, mask: Path, image: Path, run: str) -> bool:
        """Whether a mask is there as this run would make it, of the picture as it is now."""
        entry = self._last.get(self._key(mask))
        if entry is None or entry.run != run or entry.sha256 != file_hash(mask):
            return False
        same = stamp(image) == (entry.image_bytes, entry.image_changed)
        return same or file_hash(image) == entry.image_sha256

    def mask_of(self, image: Path) -> Path | None:
        """Where the mask of a picture was last written; None if it never was."""
        name = self._images.get(self._key(image))
        return None if name is None else self.folder / name

    def image_of(self, mask: Path) -> Path | None:
        """The picture that a mask was last written for; None if nothing is known of it."""
        entry = self._last.get(self._key(mask))
        return None if entry is None else Path(os.path.normpath(self.folder / entry.image))

    def _key(self, path: Path) -> str:
        """As seen from the folder; absolute where that cannot be (another drive)."""
        try:
            return Path(os.path.relpath(path, self.folder)).as_posix()
        except ValueError:
            return path.absolute().as_posix()

    def _read_on(self) -> None:
        """Take in the lines that were added since; what a kill left of a line is passed over."""
        path = self.folder / MANIFEST
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise LikewiseError(f"{path} cannot be read ({why(error)}).") from error
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                entry = Entry(**json.loads(line.decode(errors="surrogateescape")))
            except (ValueError, TypeError):
                continue
            self._last[entry.mask] = entry
            self._known.setdefault(entry.mask, set()).add(entry.sha256)
            self._images[entry.image] = entry.mask


def read_labels(path: Path) -> dict[str, int]:
    """Class → value of the masks, from ``labels.json``; empty if there is none.

    Raises:
        LikewiseError: it cannot be used.
    """
    try:
        named = read_json(path)
        numbers = {str(label): int(k) for k, label in named.items()}
        if len(numbers) < len(named) or not all(0 < k < 65536 for k in numbers.values()):
            raise ValueError("it names a label twice, or a number is out of range")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise LikewiseError(
            f'{path} cannot be used ({why(error)}): it must name the labels as {{"1": "first", '
            '"2": "second"}.'
        ) from error
    return numbers


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
        return sha256_of(path)
    except OSError:
        return ""

"""What likewise wrote into a folder of masks: the class of each number, and each mask's content.

Two files lie beside the masks:

- ``labels.json``: ``{"1": "ball", "2": "box"}``, the class that each value of a mask means. A class
  keeps its number for as long as the folder exists; new classes get new numbers.
- ``manifest.jsonl``: one line for every mask that was written: its sha256, the picture it is of,
  and the fingerprint of the run. A line is written before its mask, so that a mask whose sha256 is
  in no line was made or changed by somebody else, also after a kill at any moment. Further lines
  hold the numbers as they were given out: none is given twice, even if ``labels.json`` is lost.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from ..errors import ImageError, LikewiseError, note
from ..io.annotations.shapes import LABEL
from ..io.files import refused, whole_file, write_json
from ..io.hashing import sha256
from ..io.masks import read_label_map
from ..io.opening import why
from ..io.planes import Plane, chosen
from ..io.text_files import normal
from .file_state import Entry, FileState, file_hash, look, stamp
from .labels import MARKED, read_labels

LABELS, MANIFEST = "labels.json", "manifest.jsonl"
STALE = "settings or references changed"
"""Why a mask of another run is made anew."""


class Manifest:
    """The two files of one folder of masks. Threads may share it.

    Args:
        folder: of the masks; need not exist yet.

    Raises:
        LikewiseError: if one of the files is there and cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: dict[str, Entry] = {}
        self._known: dict[str, set[str]] = {}
        self._images: dict[str, str] = {}
        self._given: dict[str, int] = {}
        self._ever: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        self._unknown: list[bytes] = []
        self._offset = 0
        self._lock = threading.RLock()
        self._read_on()
        self.numbers = self._read_numbers()
        """Class → its value in the masks."""

    def check(self) -> None:
        """Raises LikewiseError if some lines are whole and not ours: nothing is written to them."""
        for line in self._unknown:
            with suppress(ValueError):
                json.loads(line)
                raise LikewiseError(
                    f"{self.folder / MANIFEST} is of another program or version of likewise: move "
                    "it away, or give another folder."
                )

    # --- classes and their numbers ---------------------------------------------------------------

    def allot(self, labels: Sequence[str], *, label_maps: bool) -> dict[str, int]:
        """The numbers of classes; those that have none yet get new ones, kept in ``labels.json``.

        Args:
            labels: classes in order.
            label_maps: number a single class of a new folder 1, not MARKED.

        Returns:
            Class → number, of these classes.

        Raises:
            LikewiseError: ``labels.json`` cannot be used.
            ImageError: it cannot be written.
        """
        with self._lock, self._alone():
            self._read_on()
            numbers = self._read_numbers()  # another program may have written it
            new = [name for name in dict.fromkeys(map(normal, labels)) if name not in numbers]
            taken = {*numbers.values(), *self._ever.values()}
            if new and set(numbers.values()) <= {MARKED}:
                taken |= self._nameless(numbers)
                new = [label for label in new if label not in numbers]
            if new and not taken and len(labels) == 1 and not label_maps:
                numbers[new.pop()] = MARKED
            for label in new:
                number = self._ever.get(label, 0)  # labels.json has lost it
                if number in (0, *numbers.values()):
                    number = next(k for k in range(1, 65536) if k not in taken)
                numbers[label] = number
                taken.add(number)
            self._write_labels(numbers)
            return {label: numbers[normal(label)] for label in labels}

    def rename(self, renamed: Mapping[str, str]) -> None:
        """Give classes other names (old → new); their numbers stay. Raises ImageError."""
        with self._lock:
            named = {normal(old): normal(new) for old, new in renamed.items()}
            self._write_labels({named.get(label, label): k for label, k in self.numbers.items()})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other programs from giving out numbers meanwhile, where the system can do that."""
        path = self.folder / MANIFEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise refused(path, error) from error
        with file:
            if sys.platform != "win32":
                import fcntl

                with suppress(OSError):  # a disk of another machine
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read_numbers(self) -> dict[str, int]:
        """Of ``labels.json``; if that is lost, as they were given out."""
        found = read_labels(self.folder / LABELS)
        return dict(self._given) if found is None else found

    def _write_labels(self, numbers: Mapping[str, int]) -> None:
        ordered = dict(sorted(numbers.items(), key=lambda item: item[1]))
        if ordered != self._given:
            self._append({"labels": ordered})
        if ordered != read_labels(self.folder / LABELS):
            write_json(self.folder / LABELS, {str(k): label for label, k in ordered.items()})
        self.numbers = ordered

    def _nameless(self, numbers: dict[str, int]) -> set[int]:
        """Values of two-valued masks of others, which so far need no name; they are not given out.

        In a folder without names these masks are of the class LABEL, which gets MARKED.
        """
        others = [p for p in sorted(self.folder.glob("*.png")) if not self.is_ours(p)]
        values, named = set[int](), []
        for path in others:
            try:
                held = set(np.unique(read_label_map(path)).tolist()) - {0}
            except ImageError:
                continue  # no mask
            if len(held) == 1:
                values |= held
                named.append(path)
        if named and not numbers:
            numbers[LABEL] = MARKED
            note(
                named[0],
                f"masks that were there name no class: they count as {LABEL!r} in {LABELS}.",
            )
        return values

    # --- masks -----------------------------------------------------------------------------------

    def write(
        self,
        mask: Path,
        content: bytes,
        image: Path | Plane,
        run: str,
        *,
        seen: FileState | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        """Write a mask; its line is there before the file has its name.

        Args:
            mask: the file, in the folder or below it.
            content: of it.
            image: the picture that it is a mask of.
            run: fingerprint of what made it; "" for a person.
            seen: the picture when it was read; by default as it is now.
            beside: files in the folder of the mask that were written with it.

        Raises:
            ImageError: if the mask cannot be written; WriteError if no other file could either.
        """
        try:
            with whole_file(mask, sync=False) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a full disk says so before the line is there
                self._note(mask, sha256(content), image, run, seen, beside)
        except OSError as error:
            raise refused(mask, error) from error

    def adopt(self, mask: Path, image: Path | Plane, run: str) -> None:
        """Note a mask that is there already as one that likewise wrote. Raises as ``write``."""
        self._note(mask, file_hash(mask), image, run, None, ())

    def _note(
        self,
        mask: Path,
        digest: str,
        image: Path | Plane,
        run: str,
        seen: FileState | None,
        beside: Sequence[Path],
    ) -> None:
        path, picture = Path(image), chosen(image)
        seen = seen or look(path)
        of = (seen.bytes, seen.changed, seen.sha256)
        names = [file.name for file in beside]
        entry = Entry(self._key(mask), digest, self._key(path), *of, run, names, picture)
        self._append(entry.line)

    def _append(self, line: Mapping[str, object]) -> None:
        path, end = self.folder / MANIFEST, -1
        with self._lock:
            self._read_on()
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with path.open("ab") as file:
                    end = file.tell()
                    torn = end > self._offset  # a kill left a part of a line
                    text = torn * "\n" + json.dumps(line, ensure_ascii=False) + "\n"
                    file.write(text.encode(errors="surrogateescape"))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                with suppress(OSError):
                    os.truncate(path, end)  # what the line is of was not written
                raise refused(path, error) from error
            self._read_on()

    def is_ours(self, mask: Path, digest: str | None = None) -> bool:
        """Whether a mask file (of that hash) is as likewise, or a person with it, wrote it."""
        digest, entry = digest or file_hash(mask), self.entry_of(mask)
        if entry is None or entry.sha256 != digest:
            self._read_on()  # another thread or program may have written it
        return digest in self._known.get(self._key(mask), ())

    def is_by_hand(self, mask: Path) -> bool:
        """Whether a mask is there that somebody made or changed without likewise."""
        return os.path.isfile(mask) and not self.is_ours(mask)  # noqa: PTH113 (long names)

    def stale(self, mask: Path, image: Path, run: str, *, beside: Sequence[Path] = ()) -> str:
        """Why a mask is not as this run would make it; "" if it is.

        Args:
            mask: the file.
            image: its picture, as it is now.
            run: fingerprint of the run.
            beside: files that the run would write with it.
        """
        entry = self.entry_of(mask)
        if entry is None or entry.sha256 != file_hash(mask):
            return "not finished"
        if entry.run != run:
            return STALE
        if self.is_of_other(mask, image):
            return "its picture changed"
        missing = [p for p in beside if p.name not in entry.beside or not os.path.isfile(p)]  # noqa: PTH113
        return "without its overlay or instances" if missing else ""

    def is_of_other(self, mask: Path, image: Path) -> bool:
        """Whether a picture file is not, or no more, what a mask was last written for."""
        entry = self.entry_of(mask)
        if entry is None or stamp(image) == (entry.image_bytes, entry.image_changed):
            return False
        return file_hash(image) != entry.image_sha256

    def entry_of(self, mask: Path) -> Entry | None:
        """The last line of a mask; None if likewise never wrote it."""
        return self._last.get(self._key(mask))

    def mask_of(self, image: Path) -> Path | None:
        """Where the mask of a picture was last written; None if it never was."""
        name = self._images.get(self._key(image))
        return None if name is None else self.folder / name

    def image_of(self, mask: Path) -> Path | None:
        """The picture that a mask was last written for; None if nothing is known of it."""
        entry = self.entry_of(mask)
        return None if entry is None else Path(os.path.normpath(self.folder / entry.image))

    def _key(self, path: Path) -> str:
        """As seen from the folder; absolute where that cannot be (another drive)."""
        name = os.fspath(path)
        if name not in self._keys:  # asked several times of each picture of a run
            try:
                self._keys[name] = Path(os.path.relpath(path, self.folder)).as_posix()
            except ValueError:
                self._keys[name] = path.absolute().as_posix()
        return self._keys[name]

    def _read_on(self) -> None:
        """Take in the lines that were added since; what a kill left of a line is passed over."""
        path = self.folder / MANIFEST
        with self._lock:
            try:
                with path.open("rb") as file:
                    file.seek(self._offset)
                    new = file.read()
            except (FileNotFoundError, NotADirectoryError):
                return
            except OSError as error:
                raise LikewiseError(f"{path} cannot be read ({why(error)}).") from error
            whole = new[: new.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.splitlines():
                found = _parsed(line)
                if found is None:
                    self._unknown.append(line)
                elif isinstance(found, Entry):
                    self._last[found.mask] = found
                    self._known.setdefault(found.mask, set()).add(found.sha256)
                    self._images[found.image] = found.mask
                else:
                    self._given = found
                    self._ever |= found


def _parsed(line: bytes) -> Entry | dict[str, int] | None:
    """A line of the manifest: of a mask, or the numbers of the classes; None if it is neither."""
    try:
        values = json.loads(line.decode(errors="surrogateescape"))
        return dict(values["labels"]) if "labels" in values else Entry(**values)
    except (ValueError, TypeError):
        return None


def written_in(folder: Path) -> set[Path]:
    """What likewise wrote to a folder, by its manifest: masks and files beside them, as paths."""
    try:
        lines = (folder / MANIFEST).read_bytes().splitlines()
    except OSError:
        return set()
    entries = [entry for entry in map(_parsed, lines) if isinstance(entry, Entry)]
    masks = {folder / entry.mask for entry in entries}
    beside = {(folder / e.mask).with_name(name) for e in entries for name in e.beside}
    return masks | beside | {folder / LABELS, folder / MANIFEST}

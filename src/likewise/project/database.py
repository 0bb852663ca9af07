"""The database of a project: one SQLite file beside its masks."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import LikewiseError

DATABASE = "likewise.sqlite"
STATUSES = ("pending", "done", "failed", "accepted", "rejected", "corrected")
VERSION = 2
"""Of the database."""
ROOM = 2**20
"""Bytes below which it may be the disk that is full, whatever SQLite says."""
SCHEMA = (
    """CREATE TABLE images (
    path TEXT PRIMARY KEY, bytes INTEGER, changed INTEGER, hash TEXT, state TEXT NOT NULL,
    error TEXT, run TEXT, seconds REAL, confidence REAL, area REAL, doubt REAL, reasons TEXT,
    verdict TEXT, source TEXT NOT NULL DEFAULT 'model'
)""",
    """CREATE TABLE classes (
    path TEXT, label TEXT, confidence REAL, area REAL, reasons TEXT, PRIMARY KEY (path, label)
)""",
    """CREATE TABLE runs (
    run TEXT PRIMARY KEY, started TEXT, version TEXT, backbone TEXT, settings TEXT, wish TEXT
)""",
)
FROM_1 = (
    "ALTER TABLE images ADD COLUMN verdict TEXT",
    "ALTER TABLE images ADD COLUMN source TEXT NOT NULL DEFAULT 'model'",
    "UPDATE images SET source = 'person', state = 'done' WHERE state = 'corrected'",
    "UPDATE images SET verdict = state, state = 'done' WHERE state IN ('accepted', 'rejected')",
    "ALTER TABLE runs ADD COLUMN wish TEXT",
    "DROP INDEX by_doubt",
)
"""What makes a database of likewise 0.1.0 one of VERSION."""


@dataclass(frozen=True)
class ImageRow:
    """What is known of one image."""

    path: str
    """Relative to the project."""
    state: str
    """pending, done (it has a mask) or failed."""
    verdict: str | None
    """What a person said of the mask: accepted, rejected, or nothing."""
    source: str
    """Who made the mask: model or person."""
    error: str | None
    seconds: float | None
    confidence: float | None
    """None of a mask that a person made, as ``doubt``."""
    area: float | None
    doubt: float | None
    """0..1: how much it is worth a look."""
    reasons: tuple[str, ...]
    """What speaks against its masks, of all classes; see ``quality.mask_warnings``."""

    @property
    def status(self) -> str:
        """All of that in a word, one of STATUSES."""
        return status_of(self.state, self.verdict, self.source)


def status_of(state: str, verdict: str | None, source: str) -> str:
    made = "corrected" if source == "person" else "done"
    return verdict or made if state == "done" else state


class Database:
    """Three tables: images, the classes in their masks, and runs.

    Args:
        path: of the file; made if it is not there.
        take_over: called where a database of likewise 0.1.0 was brought to VERSION.

    Raises:
        LikewiseError: if it cannot be used.
    """

    def __init__(self, path: Path, take_over: Callable[[Database], None]) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self.explained():
            # Masks may be written in a thread, see ``Project.may_write``: hence ``_lock``.
            self.db = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
            if self._version() > VERSION:
                raise LikewiseError(f"{path} is of a newer likewise: install that one.")
            if self._version() < VERSION:
                with self.transaction():
                    version = self._version()  # another process may have been faster
                    for statement in {0: SCHEMA, 1: FROM_1}.get(version, ()):
                        self.db.execute(statement)
                    if version == 1:
                        take_over(self)
                    self.db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the database."""
        self.db.close()

    def _version(self) -> int:
        return int(self.db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            mend = "check its permissions, or move it away to begin anew"
            # SQLite has no room to open what it only reads, either.
            if "full" in str(error) or shutil.disk_usage(self.path.parent).free < ROOM:
                mend = "free some space"
            text = f"{self.path} cannot be used ({error}): {mend}."
            raise LikewiseError(text) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.rollback()
            raise
        self.db.execute("COMMIT")

    def known(self, key: str | None = None) -> dict[str, sqlite3.Row]:
        """The row of every image, or of one; of those that are no targets now, too."""
        where, values = ("", ()) if key is None else (" WHERE path = ?", (key,))
        with self.explained():
            cursor = self.db.cursor()
            cursor.row_factory = sqlite3.Row
            found = cursor.execute(f"SELECT * FROM images{where}", values).fetchall()
        return {row["path"]: row for row in found}

    def set(
        self, key: str, values: Mapping[str, object], unless_changed: sqlite3.Row | None = None
    ) -> bool:
        """Note values of an image.

        Args:
            key: of the image; new or known.
            values: column → value.
            unless_changed: do nothing if a person said something since this row.

        Returns:
            Whether they are noted.
        """
        new = {"path": key, "state": "pending", **values}
        update = ", ".join(f"{name} = excluded.{name}" for name in values)
        where, was = "", {}
        if unless_changed is not None:
            where = " WHERE images.verdict IS :was_verdict AND images.source = :was_source"
            was = {f"was_{name}": unless_changed[name] for name in ("verdict", "source")}
        with self.explained():
            changed = self.db.execute(
                f"INSERT INTO images ({', '.join(new)}) VALUES (:{', :'.join(new)}) "
                f"ON CONFLICT (path) DO UPDATE SET {update}{where}",
                {**new, **was},
            )
        return changed.rowcount > 0

    def note(
        self,
        key: str,
        values: Mapping[str, object],
        classes: Sequence[tuple[str, float, float, str]],
    ) -> None:
        """Note values of an image and all its classes: label, confidence, area, reasons."""
        self.set(key, values)
        self.db.execute("DELETE FROM classes WHERE path = ?", (key,))
        self.db.executemany(
            "INSERT INTO classes VALUES (?, ?, ?, ?, ?)", [(key, *known) for known in classes]
        )

    def select(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self.explained():
            return self.db.execute(query, values).fetchall()

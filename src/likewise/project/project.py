"""A project folder: what was annotated, with what, how it went, and what a person said of it.

One SQLite database beside the masks, and their ``Manifest``. A mask is whole before its row says
that it is done, so that a run that is killed at any moment goes on where it was, and never does a
finished image again. A project is its present targets: what is known of others stays in the
database, and counts again when they come back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..class_names import is_part
from ..errors import LikewiseError, note
from ..io.decoding import picture_size
from ..io.draw import class_palette
from ..io.encoding import encode_label_map
from ..io.masks import read_label_map
from ..run.jobs import Job
from ..run.labels import read_class_map
from .corrections import LabelMap, as_numbers, check_size, read_same_size, replace_class
from .database import STATUSES, ImageRow, status_of
from .folder import MASKS
from .runs import CHANGED, LOOK, ProjectRuns
from .settings import CONFIG, relative


class Project(ProjectRuns):
    """A folder with a `likewise.toml`: ``ProjectFolder``, ``ProjectRuns``, and what people say.

    Args:
        folder: the project.
        unfinished: it may have no targets and no references yet.

    Raises:
        LikewiseError: if it has none, or its database or ``labels.json`` cannot be used.
    """

    def judge(self, targets: Sequence[Path], verdict: str | None) -> None:
        """Note what a person says of masks: accepted or rejected, or None to take it back.

        Raises:
            LikewiseError: if one is no target, or has no mask yet; then nothing is noted.
        """
        jobs = [self._masked(target) for target in targets]
        # It is said of the picture as it is now.
        seen = self._picture if verdict is not None else self._seen
        with self.database.explained(), self.database.transaction():
            for job in jobs:
                self.database.set(self.key(job), {"verdict": verdict, **seen(job)})

    def status(self, target: Path) -> str:
        """Its ``ImageRow.status``; pending if nothing is known of it."""
        key = relative(target, self.folder)
        row = self.database.known(key).get(key)
        return "pending" if row is None else status_of(row["state"], row["verdict"], row["source"])

    def _masked(self, target: Path) -> Job:
        """The job of a target that has a mask. Raises LikewiseError if it is none or has none."""
        key = relative(target, self.folder)
        job, row = self._job(target), self.database.known(key).get(key)
        if job is None and row is not None:
            raise LikewiseError(
                f"{target} is no target of {self.folder} now: add it to targets in {CONFIG}."
            )
        if job is None or row is None or row["state"] != "done" or not job.mask.is_file():
            raise LikewiseError(f"{target} has no mask in {self.folder}: annotate it first.")
        return job

    def read_mask(self, target: Path) -> LabelMap:
        """(H, W) the label map of a target, with the project's numbers.

        Raises:
            LikewiseError: if it has no mask, or this one cannot be used.
        """
        return read_class_map(self._masked(target).mask, self.numbers.values())

    def read_correction(self, image: Path, mask: Path, label: str | None = None) -> LabelMap:
        """The label map of a target as a person has it; nothing at all may be marked.

        Args:
            image: the target, which has a mask.
            mask: a label map with the project's numbers (its masks are such), or, of one class
                alone, a mask of two values in any form of ``read_label_map``.
            label: the class that takes the place of what the target's mask shows of it, while its
                other classes stay; by default the whole mask is replaced.

        Returns:
            (H, W) of the image: 0 nothing, else one of ``numbers``.

        Raises:
            LikewiseError: if a file cannot be used, or values or sizes do not fit.
        """
        numbers, labels = self.numbers, self.settings.labels
        size = picture_size(self.settings.choice.of(image))
        if label is None:
            return as_numbers(mask, size, numbers, labels)
        if label not in labels:
            raise LikewiseError(f"the project has no class {label}: use {', '.join(labels)}.")
        values = read_same_size(mask, size, numbers)
        shown = [int(k) for k in np.unique(values) if k]
        marked = values > 0
        if len(shown) > 1:
            marked = values == numbers[label]
            if numbers[label] not in shown or not set(shown) <= set(numbers.values()):
                raise LikewiseError(
                    f"{mask} holds the values {', '.join(map(str, shown))}, and {label} is "
                    f"{numbers[label]}: give a mask of {label} alone."
                )
        before = self.read_mask(image)
        check_size(image, before, size)
        return replace_class(before, marked, label, numbers)

    def correct(self, target: Path, label_map: LabelMap) -> None:
        """Keep a mask that a person made instead: no run replaces it.

        Args:
            target: an image that has a mask.
            label_map: (H, W) of the image: 0 nothing, else one of ``numbers``.

        Raises:
            LikewiseError: if it has no mask yet, its picture has another size now, or this one
                cannot be written.
        """
        job = self._masked(target)
        check_size(target, label_map, picture_size(job.picture))
        self._keep(job, label_map)

    def _keep(self, job: Job, label_map: LabelMap) -> None:
        """Write a person's mask and note it; killed between both, ``adopt_edited`` notes it."""
        highest = max(self.numbers.values(), default=0)
        stored = label_map.astype(np.uint8 if highest < 256 else np.uint16)
        colours = class_palette(highest)
        self.manifest.write(job.mask, encode_label_map(job.mask, stored, colours), job.picture, "")
        self._note_person(job, stored)

    def _note_person(self, job: Job, label_map: LabelMap | None) -> None:
        nothing = dict.fromkeys(("error", "run", "seconds", "confidence", "doubt"))
        values = (
            nothing
            | self._picture(job)
            | {
                "state": "done",
                "verdict": None,
                "source": "person",
                "reasons": "[]",
                "area": None if label_map is None else float((label_map > 0).mean()),
            }
        )
        classes = []
        for label in self.numbers:
            parts = [k for name, k in self.numbers.items() if name == label or is_part(name, label)]
            area = 0.0  # NumPy's isin would make 8 bytes of each pixel
            if label_map is not None:
                area = sum(np.count_nonzero(label_map == k) for k in parts) / label_map.size
            if area or label in self.settings.labels:
                classes.append((label, 1.0, area, "[]"))
        with self.database.explained(), self.database.transaction():
            self.database.note(self.key(job), values, classes)

    def restore(self, target: Path) -> None:
        """Take a person's mask back: it stays until the next run has made another.

        Raises:
            LikewiseError: if it is no target, or has no mask.
        """
        key = self.key(self._masked(target))
        self.database.set(key, {"state": "pending", "verdict": None, "source": "model"})

    def forget(self, key: str) -> None:
        """Delete what the database holds of an image; its mask file stays."""
        with self.database.explained(), self.database.transaction():
            for table in ("images", "classes"):
                self.database.db.execute(f"DELETE FROM {table} WHERE path = ?", (key,))

    def adopt_edited(self, jobs: Sequence[Job] | None = None) -> list[str]:
        """Take masks that were changed without likewise as a person's; each is said once.

        Args:
            jobs: to look at; all of ``jobs`` by default.

        Returns:
            Their names, relative to the folder of masks.
        """
        rows = self.database.known()
        found = [
            job
            for job in (self.jobs() if jobs is None else jobs)
            if self._is_unknown(job, rows.get(self.key(job)))
        ]
        with self.lock:
            return [name for job in found if (name := self._adopt(job))]

    def _is_unknown(self, job: Job, row: sqlite3.Row | None) -> bool:
        """Whether a person made the mask, and the database does not know."""
        if not job.mask.is_file():
            return False
        model = row is not None and row["state"] == "done" and row["source"] == "model"
        killed = model and not self.manifest.stale(job.mask, job.target, "")  # while it was noted
        return killed or self._is_by_hand(job, row)

    def _adopt(self, job: Job) -> str:
        """Take a mask as a person's; its name if it was changed without likewise, else ""."""
        row = self.database.known(self.key(job)).get(self.key(job))
        if not self._is_unknown(job, row):
            return ""  # another thread was faster
        if not self._is_by_hand(job, row):
            self._note_person(job, read_label_map(job.mask))
            return ""
        try:
            size = picture_size(job.picture)
            label_map = as_numbers(job.mask, size, self.numbers, self.settings.labels)
            stored = read_class_map(job.mask, self.numbers.values())
            if np.array_equal(label_map, stored):  # the file stays as it is
                self.manifest.adopt(job.mask, job.picture, "")
                self._note_person(job, label_map)
            else:
                self._keep(job, label_map)
            what = (
                "it was changed without likewise, and is kept as yours: to have it made anew, "
                "annotate with --overwrite."
            )
        except LikewiseError as error:
            if row is None or row["source"] != "person":
                self._note_person(job, None)
            what = f"it was changed without likewise, and nothing is done with it: {error}"
        note(job.mask, what)
        return job.mask.relative_to(self.folder / MASKS).as_posix()

    def rename_classes(self, renamed: Mapping[str, str]) -> None:
        """Give classes other names (old → new) in ``labels.json`` and in what is known of images.

        likewise.toml is the caller's.

        Raises:
            LikewiseError: if another class has the new name in masks that are there.
        """
        renamed = {old: new for old, new in renamed.items() if old != new}
        kept = self.manifest.numbers.keys() - renamed.keys()
        for old, new in renamed.items():
            if old in self.manifest.numbers and new in kept:
                raise LikewiseError(
                    f"masks in {self.folder / MASKS} show another class called {new}: give "
                    f"{old} another name."
                )
        self.manifest.rename(renamed)
        with self.database.explained(), self.database.transaction():
            found = self.database.select(
                "SELECT path, label, confidence, area, reasons FROM classes"
            )
            self.database.db.execute("DELETE FROM classes")
            self.database.db.executemany(
                "INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?, ?)",
                [(path, renamed.get(label, label), *rest) for path, label, *rest in found],
            )

    # --- what is known ----------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """The ``ImageRow.status`` of every present target that is known, by ``key``."""
        return {row.path: row.status for row in self.rows()}

    def facts(self, key: str | None = None) -> dict[str, dict[str, Any]]:
        """Column → value of every image that is known, or of one, by ``key``."""
        return {path: dict(row) for path, row in self.database.known(key).items()}

    def rows(self, statuses: Sequence[str] = STATUSES, top: int | None = None) -> list[ImageRow]:
        """Present targets that are known, the most doubtful first.

        Args:
            statuses: some of STATUSES.
            top: at most so many.
        """
        present = set(map(self.key, self.jobs()))
        found = self.database.select(
            "SELECT path, state, verdict, source, error, seconds, confidence, area, doubt, reasons "
            "FROM images ORDER BY doubt DESC NULLS FIRST, path"
        )
        rows = [
            ImageRow(*[*known, tuple(json.loads(reasons or "[]"))])
            for *known, reasons in found
            if known[0] in present
        ]
        return [row for row in rows if row.status in statuses][:top]

    def finished(self) -> list[tuple[Path, Path, dict[str, float]]]:
        """(image, mask, class → confidence) of all present targets with masks, by path.

        Rejected masks are left out. So are those of a picture that was changed since, unless a
        person made or judged them; that is said, and what else is not as an `annotate` would have
        it. The confidences of a person's masks are 1.
        """
        self.adopt_edited()
        confidences: dict[str, dict[str, float]] = {}
        for path, label, confidence, _ in self.class_rows():
            confidences.setdefault(path, {})[label] = confidence
        rows, runs = self.database.known(), dict(self.database.select("SELECT run, wish FROM runs"))
        wish, found, stale, unmade, failed = self._wish(), [], 0, 0, 0
        for job in sorted(self.jobs(), key=self.key):
            row = rows.get(self.key(job))
            if row is not None and row["state"] == "failed":
                failed += 1
                continue
            if row is not None and row["verdict"] == "rejected":
                continue
            if row is None or row["state"] == "pending" or not job.mask.is_file():
                unmade += 1
                continue
            free = row["verdict"] is None and row["source"] == "model"
            if self._picture_changed(job, row):
                note(job.target, f"{CHANGED}: {'left out; annotate again.' if free else LOOK}")
                if free:
                    continue
            stale += free and runs.get(row["run"]) != wish
            found.append((job.target, job.mask, confidences.get(self.key(job), {})))
        total = len(self.jobs())
        for count, what in (
            (unmade, "targets have no mask, and are left out: run likewise annotate."),
            (failed, "targets failed, and are left out: likewise review says why."),
            (stale, "masks are of other settings or references than now: annotate again."),
        ):
            if count:
                note(self.folder, f"{count} of {total} {what}")
        return found

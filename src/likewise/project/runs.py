"""Running a project: what is to be done, and what became of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from ..errors import LikewiseError, note
from ..quality import review_priority
from ..run.file_state import file_hash, stamp
from ..run.jobs import Job
from ..run.manifest import STALE
from ..run.outcomes import Outcome
from ..run.runner import WriteCheck, segment_files
from .score_maps import ScoreMapWriter

if TYPE_CHECKING:
    from ..segmenter import Segmenter


from .folder import MASKS, SCORE_MAPS, ProjectFolder

NEW, AGAIN = "", "failed before"
"""Why a job is to be done: it has no mask yet; ``--retry`` …"""
REPLACED, GONE = "picture changed", "mask deleted"
"""… and, as STALE, why a mask is made anew."""
OVERWRITTEN = "made by a person"
CHANGED = "it was changed after its mask was made"
LOOK = "look whether its mask still is right, and accept it or take it back (likewise review)."


class ProjectRuns(ProjectFolder):
    """A project that can be segmented: each image is recorded when its files are written."""

    def todo(
        self, jobs: Sequence[Job], run: str, retry: bool = False, overwrite: bool = False
    ) -> dict[Job, str]:
        """Jobs that this run has to do, and why: NEW, AGAIN, STALE, REPLACED, GONE, OVERWRITTEN.

        What a person made or judged is none of them, as long as its mask is there.

        Args:
            jobs: from ``jobs``.
            run: from ``run_key``.
            retry: also those that failed, though neither they nor the settings changed.
            overwrite: also masks that a person made or changed, unless they accepted them.
        """
        rows, left = self.database.known(), {}
        for job in jobs:
            row = rows.get(self.key(job))
            reason = self._reason(job, row, run, retry)
            if reason is None and overwrite and self._persons(job, row):
                reason = OVERWRITTEN
            if reason is not None:
                left[job] = reason
        return left

    def doubtful_first(self, jobs: Iterable[Job]) -> list[Job]:
        """Jobs, those first whose masks are most doubtful as they are; new ones last, in order."""
        rows = self.database.known()

        def doubt(job: Job) -> float:
            row = rows.get(self.key(job))
            return 0.0 if row is None else row["doubt"] or 0.0

        return sorted(jobs, key=doubt, reverse=True)

    def _reason(self, job: Job, row: sqlite3.Row | None, run: str, retry: bool) -> str | None:
        if row is None or row["state"] == "pending":
            return NEW
        if row["state"] == "done" and not job.mask.is_file():
            return GONE if row["verdict"] != "rejected" else None
        if row["verdict"] is not None or row["source"] == "person":
            if row["verdict"] != "rejected" and self._picture_changed(job, row):
                note(job.target, f"{CHANGED}: {LOOK}")
            return None
        if row["run"] != run:
            return STALE
        if self._picture_changed(job, row):
            return REPLACED
        return AGAIN if row["state"] == "failed" and retry else None

    def _picture_changed(self, job: Job, row: sqlite3.Row) -> bool:
        """Whether a picture is another one than its mask was made of; touched is not changed."""
        now = stamp(job.target)
        if now == (row["bytes"], row["changed"]):
            return False
        if row["hash"] is None or row["hash"] != file_hash(job.target):
            return True
        self.database.set(self.key(job), {"bytes": now[0], "changed": now[1]})
        return False

    def _persons(self, job: Job, row: sqlite3.Row | None) -> bool:
        """Whether a mask is a person's, and they have not accepted or rejected it."""
        if row is not None and row["verdict"] is not None:
            return False
        made = row is not None and row["source"] == "person"
        return job.mask.is_file() and (made or self._is_by_hand(job, row))

    def _is_by_hand(self, job: Job, row: sqlite3.Row | None) -> bool:
        """Whether a mask that is there was made without likewise, or is an older one put back.

        Or a person made it with likewise, and the database does not know.
        """
        digest = file_hash(job.mask)
        if not self.manifest.is_ours(job.mask, digest):
            return True
        entry = self.manifest.entry_of(job.mask)
        if row is None:
            return entry is not None and not entry.run
        done = row is not None and row["state"] == "done"  # else it may be that a run was killed
        return done and entry is not None and entry.sha256 != digest

    def begin(self, run: str, backbone: str, jobs: Sequence[Job]) -> None:
        """Note a run and what it has to do, and give every class its number.

        Raises:
            LikewiseError: if the disk refuses it.
        """
        from .. import __version__
        from ..io.files import PARTS

        assert self.numbers.keys() >= set(self.settings.labels)
        settings = json.dumps(asdict(self.settings))
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with self.database.explained(), self.database.transaction():
            self.database.db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                (run, started, __version__, backbone, settings, self._wish()),
            )
            self.database.db.executemany(
                "INSERT OR IGNORE INTO images (path, state) VALUES (?, 'pending')",
                [(self.key(job),) for job in jobs],
            )
        with self.lock:
            for part in (self.folder / MASKS).rglob(PARTS):  # of a run that was killed
                part.unlink(missing_ok=True)

    def annotate(
        self,
        segmenter: Segmenter,
        jobs: Sequence[Job],
        run: str,
        *,
        overwrite: bool = False,
        may_write: WriteCheck | None = None,
        segment: Callable[..., Iterator[Outcome]] = segment_files,
    ) -> Iterator[Outcome]:
        """Segment jobs with fitted references; each is recorded before it is yielded.

        Layers are written too if the segmenter keeps the trees of images.

        Args:
            segmenter: fitted.
            jobs: from ``todo``.
            run: from ``run_key``.
            overwrite: as for ``todo``.
            may_write: context manager that yields whether the mask of a job may be written
                now; by default ``Project.may_write``.
            segment: what does as ``segment_files``, elsewhere and in any order.

        Raises:
            LikewiseError: if the disk refuses a mask or a row, or a job comes to nothing.
        """
        may_write = may_write or partial(self.may_write, overwrite=overwrite)
        keep = None
        if segmenter.keep_tree:
            size = segmenter.encoder.input_size
            folders = self.folder / MASKS, self.folder / SCORE_MAPS
            keep = ScoreMapWriter(*folders, self.sliders, segmenter.refiner, size)
        numbers = self.numbers
        outcomes = segment(
            *(segmenter, jobs, self.manifest),
            {label: numbers[label] for label in self.settings.labels},
            run=run,
            overwrite=overwrite,
            consensus=self.settings.consensus,
            limits=self.limits,
            keep=keep,
            may_write=may_write,
        )
        left = {job.target: job for job in jobs}
        for outcome in outcomes:
            job = left.pop(outcome.target)
            if outcome.error is not None:
                with may_write(job) as free:
                    if free:
                        self.record(job, outcome, run)
            elif not outcome.skipped:
                self.record(job, outcome, run)
            yield outcome
        if left:
            raise LikewiseError(f"{len(left)} pictures came back without a result: run it again.")

    @contextmanager
    def may_write(self, job: Job, *, overwrite: bool = False) -> Iterator[bool]:
        """Whether the mask of a job may be written: not if a person made, changed or judged it.

        If so, it is ``pending`` until ``record``, so that no verdict is given meanwhile.

        Args:
            job: from ``jobs``.
            overwrite: as for ``todo``.
        """
        row = self.database.known(self.key(job)).get(self.key(job))
        there = job.mask.is_file()
        judged = row is not None and row["verdict"] is not None
        persons = self._persons(job, row)
        free = not there or not (judged or (persons and not overwrite))
        if free:
            values = {"state": "pending", "verdict": None, "source": "model"}
            free = self.database.set(self.key(job), values, unless_changed=row)
        yield free

    def record(self, job: Job, outcome: Outcome, run: str) -> None:
        """Note what became of a job whose files are written."""
        several = len(outcome.classes) > 1
        values = (self._picture(job) if outcome.error else self._seen(job)) | {
            "state": "failed" if outcome.error else "done",
            "verdict": None,
            "source": "model",
            "error": outcome.error,
            "run": run,
            "seconds": outcome.seconds,
            "confidence": outcome.confidence,
            "area": outcome.area,
            "doubt": max(
                (
                    review_priority(c.confidence, c.stability_score, c.reasons)
                    for c in outcome.classes
                ),
                default=None,
            ),
            "reasons": json.dumps(
                [f"{c.label}: {r}" if several else r for c in outcome.classes for r in c.reasons]
            ),
        }
        classes = [(c.label, c.confidence, c.area, json.dumps(c.reasons)) for c in outcome.classes]
        with self.database.explained(), self.database.transaction():
            self.database.note(self.key(job), values, classes)

    def _picture(self, job: Job) -> dict[str, object]:
        size, changed = stamp(job.target)
        content = file_hash(job.target) if size is not None else None
        return {"bytes": size, "changed": changed, "hash": content}

    def _seen(self, job: Job) -> dict[str, object]:
        """The picture as it was when its mask was made."""
        if (entry := self.manifest.entry_of(job.mask)) is None:
            return self._picture(job)
        size, changed = entry.image_bytes, entry.image_changed
        return {"bytes": size, "changed": changed, "hash": entry.image_sha256}

"""A project folder: what was annotated, with what, how it went, and what a person said of it.

One SQLite database beside the masks, and their ``Manifest``. A mask is whole before its row says
that it is done, so that a run that is killed at any moment goes on where it was, and never does a
finished image again. A project is its present targets: what is known of others stays in the
database, and counts again when they come back.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..errors import LikewiseError, note
from ..io.draw import class_colour
from ..io.encoding import encode_label_map
from ..io.images import read_image
from ..io.masks import read_label_map
from ..quality import MIN_CONFIDENCE, doubt
from ..reference import is_part
from ..run.file_state import file_hash, stamp
from ..run.jobs import Job, plan
from ..run.labels import read_class_map
from ..run.manifest import STALE, Manifest
from ..run.outcomes import Outcome
from ..run.runner import Claim, segment_files
from ..run.targets import IMAGE_SUFFIXES, find_images
from .corrections import LabelMap, as_numbers, read_same_size, replace_class
from .score_maps import Keeper, Sliders, layers_path
from .settings import CONFIG, Settings, read_settings, relative

if TYPE_CHECKING:
    from ..backbones.encoder import Encoder
    from ..reference import Reference
    from ..segmenter import Segmenter

E = TypeVar("E", bound="Encoder")
DATABASE, MASKS, LAYERS = "likewise.sqlite", "masks", "layers"
STATUSES = ("pending", "done", "failed", "accepted", "rejected", "corrected")
VERSION = 2
"""Of the database."""
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
NEW, AGAIN = "", "failed before"
"""Why a job is to be done: it has no mask yet; ``--retry`` …"""
REPLACED, GONE = "picture changed", "mask deleted"
"""… and, as STALE, why a mask is made anew."""
OVERWRITTEN = "made by a person"
CHANGED = "it was changed after its mask was made"
LOOK = "look whether its mask still is right, and accept it or take it back (likewise review)."


@dataclass(frozen=True)
class Row:
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
    """What speaks against its masks, of all classes; see ``quality.verdicts``."""

    @property
    def status(self) -> str:
        """All of that in a word, one of STATUSES."""
        return _status(self.state, self.verdict, self.source)


def _status(state: str, verdict: str | None, source: str) -> str:
    made = "corrected" if source == "person" else "done"
    return verdict or made if state == "done" else state


class Project:
    """A folder with a `likewise.toml`.

    Args:
        folder: the project.
        unfinished: it may have no targets and no references yet.

    Raises:
        LikewiseError: if it has none, or its database or ``labels.json`` cannot be used.
    """

    def __init__(self, folder: Path, *, unfinished: bool = False) -> None:
        self.folder = folder
        self.settings: Settings = read_settings(folder, unfinished=unfinished)
        self.manifest = Manifest(folder / MASKS)
        self._jobs: dict[str, Job] | None = None
        self._missing: list[Path] = []
        self._lock = threading.RLock()
        path = folder / DATABASE
        with self._explained():
            # Masks may be written in a thread, see ``claim``; ``_lock`` keeps them apart.
            self._db = sqlite3.connect(
                path, isolation_level=None, timeout=30, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if self._version() > VERSION:
                raise LikewiseError(f"{path} is of a newer likewise: install that one.")
            if self._version() < VERSION:
                with self._transaction():
                    version = self._version()  # another process may have been faster
                    for statement in {0: SCHEMA, 1: FROM_1}.get(version, ()):
                        self._db.execute(statement)
                    if version == 1:
                        self._take_over()
                    self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            mend = "check its permissions, or move it away to begin anew"
            if "full" in str(error):
                mend = "free some space"
            text = f"{self.folder / DATABASE} cannot be used ({error}): {mend}."
            raise LikewiseError(text) from error

    def _take_over(self) -> None:
        """Note the masks of likewise 0.1.0, which kept no manifest, in ours.

        A mask that has not the area it was written with was changed by a person. One that was made
        with other classes than ``labels.json`` says is made anew.
        """
        found = self._select(
            "SELECT path, images.run, area, source, verdict, runs.settings FROM images "
            "LEFT JOIN runs ON images.run = runs.run WHERE state = 'done'"
        )
        for path, run, area, source, verdict, settings in found:
            target, mask = self._path(path), self.folder / MASKS / f"{Path(path).stem}.png"
            if not mask.is_file():
                continue
            references = json.loads(settings or "{}").get("references", [])
            labels = dict.fromkeys(r["label"] for r in references if not r["negative"])
            if verdict is None and source == "model":
                if {label: k for k, label in enumerate(labels, 1)} != self.manifest.numbers:
                    self._set(path, {"state": "pending"})
                try:
                    edited = abs((read_label_map(mask) > 0).mean() - (area or 0)) > 1e-6
                except LikewiseError:
                    edited = True
                if edited:
                    continue  # ``adopt_edited`` finds that it is in no line
            self.manifest.adopt(mask, target, (run or "") if source == "model" else "")

    @property
    def limits(self) -> dict[str, float]:
        """Of ``quality.verdicts``."""
        known = {"min_confidence": MIN_CONFIDENCE.get(self.settings.method, 0.0)}
        return known | dict(self.settings.quality)

    def references(self) -> list[Reference]:
        """Read from their files. Raises LikewiseError if one cannot be used."""
        from ..vocabulary import reference_from_files

        return [
            reference_from_files(
                self.folder / marked.image,
                None if marked.mask is None else self.folder / marked.mask,
                marked.value,
                marked.label,
                marked.negative,
            )
            for marked in self.settings.references
        ]

    # --- classes and targets ---------------------------------------------------------------------

    @property
    def numbers(self) -> dict[str, int]:
        """Class → its value in the masks, for ever; also of classes that have no reference now.

        Raises:
            LikewiseError: if ``labels.json`` cannot be written.
        """
        if not self.manifest.numbers.keys() >= set(self.settings.labels):
            self.manifest.allot(self.settings.labels, label_maps=True)
        return dict(self.manifest.numbers)

    @property
    def classes(self) -> dict[str, int]:
        """Those of ``numbers`` that have references or that masks still show."""
        shown = {label for _, label, _, area in self.class_rows() if area > 0}
        shown |= set(self.settings.labels)
        return {label: k for label, k in self.numbers.items() if label in shown}

    def jobs(self) -> list[Job]:
        """One for every present target, in order.

        Targets that were deleted are left out, with an InputWarning.

        Raises:
            LikewiseError: if a folder of targets is not there, or as ``plan`` says.
        """
        if self._jobs is None:
            references = self.settings.references
            jobs = plan(
                self._targets(),
                self.manifest,
                instances=self.settings.instances,
                inputs=[self.folder / f for r in references for f in (r.image, r.mask) if f],
                option="project",
            )
            self._jobs = {self.key(job): job for job in jobs}
            self._follow_moved()
            self._note_deleted()
        return list(self._jobs.values())

    def _job(self, target: Path) -> Job | None:
        """The job of a target; None if it is none now."""
        self.jobs()
        assert self._jobs is not None
        return self._jobs.get(relative(target, self.folder))

    def missing(self) -> list[Path]:
        """Targets that likewise.toml names one by one and that are not there."""
        self.jobs()
        return list(self._missing)

    def _targets(self) -> list[Path]:
        found, known = [], self._known()
        for name in self.settings.targets:
            path = self._path(name)
            pattern = any(mark in name for mark in "*?[")
            picture = path.suffix.lower() in IMAGE_SUFFIXES and not pattern
            if path.exists() or (pattern and relative(path, self.folder) not in known):
                found.append(path)
            elif (picture or relative(path, self.folder) in known) and path.parent.is_dir():
                self._missing.append(path)
                note(path, f"it is gone, and left out: take it out of targets in {CONFIG}.")
            else:
                raise LikewiseError(
                    f"{path} is not there: connect the disk that it is on, or take it out of "
                    f"targets in {self.folder / CONFIG}."
                )
        return find_images(found)

    def _follow_moved(self) -> None:
        """What is known of a picture goes with it where it was moved, and ``plan`` its mask."""
        known, present = self._known(), self._jobs or {}
        for key, job in present.items():
            if key in known:
                continue
            entry, owner = self.manifest.entry_of(job.mask), self.manifest.image_of(job.mask)
            if entry is None or owner is None or owner.exists():
                continue
            old = relative(owner, self.folder)
            if old in known and file_hash(job.target) == entry.image_sha256:
                with self._explained(), self._transaction():
                    for table in ("images", "classes"):
                        self._db.execute(f"DELETE FROM {table} WHERE path = ?", (key,))
                        self._db.execute(f"UPDATE {table} SET path = ? WHERE path = ?", (key, old))

    def _note_deleted(self) -> None:
        """Name pictures once that were deleted from a folder or pattern of the targets."""
        present = {*(self._jobs or ()), *(relative(path, self.folder) for path in self._missing)}
        masked = self._select("SELECT path FROM images WHERE bytes IS NOT NULL")
        wanted = [os.fspath(self._path(name)) for name in self.settings.targets]
        for (key,) in masked:
            path = self._path(key)
            named = any(
                os.fspath(path.parent) == name or fnmatch.fnmatch(os.fspath(path), name)
                for name in wanted
            )
            if key not in present and named and not path.exists():
                self._set(key, {"bytes": None, "changed": None})  # said
                note(path, "it is gone, and left out; its mask stays.")

    def _path(self, name: str) -> Path:
        return Path(os.path.normpath(self.folder / name))

    def mask(self, target: Path) -> Path:
        """Where the mask of a target is, also of one that is no longer in the project."""
        if (job := self._job(target)) is not None:
            return job.mask
        return self.manifest.mask_of(target) or self.folder / MASKS / f"{target.stem}.png"

    def layers(self, target: Path) -> Path:
        """Where the layers of a target are, if the project keeps them; see ``score_maps.py``."""
        return layers_path(self.mask(target), self.folder / MASKS, self.folder / LAYERS)

    def key(self, job: Job) -> str:
        """How a target is known in the database."""
        return relative(job.target, self.folder)

    @property
    def keeps_layers(self) -> bool:
        """Whether it was opened in `likewise ui`, which moves masks by their layers."""
        return (self.folder / LAYERS).is_dir()

    @property
    def sliders(self) -> Sliders:
        """Those of the page."""
        page = self.settings.page
        return Sliders(page.get("threshold", 0.0), page.get("granularity", 0.0))

    # --- how masks are made ----------------------------------------------------------------------

    def encoder(self, kind: type[E], *, device: str, dtype: str, offline: bool) -> tuple[E, str]:
        """Load the backbone of the settings into an Encoder or a class made of it.

        Returns:
            It, and how ``run_key`` knows it.

        Raises:
            BackboneError: as ``Encoder`` does.
        """
        encoder = kind(**self.encoder_options(device=device, dtype=dtype, offline=offline))
        return encoder, encoder.fingerprint

    def encoder_options(self, *, device: str, dtype: str, offline: bool) -> dict[str, Any]:
        """Of an ``Encoder``."""
        beside = self.folder / self.settings.backbone  # a file or folder, or a name
        return {
            "backbone": beside if beside.exists() else self.settings.backbone,
            "image_size": self.settings.image_size,
            "device": device,
            "dtype": dtype,
            "offline": offline,
        }

    def method_options(self) -> dict[str, Any]:
        """Of a ``Segmenter``, but for its encoder."""
        decoder = {} if self.decoder is None else {"decoder": str(self.decoder)}
        return {
            "method": self.settings.method,
            "refiner": self.settings.refine,
            "keep_tree": self.keeps_layers,
            **self.settings.options,
            **decoder,
        }

    @property
    def decoder(self) -> Path | None:
        """The file of method ``segic``."""
        name = self.settings.options.get("decoder")
        return None if name is None else self.folder / name

    def segmenter(self, encoder: Encoder) -> Segmenter:
        """With the method and refiner of the settings, not fitted yet."""
        from ..segmenter import Segmenter

        return Segmenter(encoder, **self.method_options())

    def run_key(self, backbone: str) -> str:
        """A hash of everything that masks depend on but the targets.

        Args:
            backbone: from ``encoder``.
        """
        from .. import __version__

        parts = f"{__version__} {backbone} {self._wish()}"
        return hashlib.sha256(parts.encode()).hexdigest()[:32]

    def _wish(self) -> str:
        """As ``run_key``, but without the weights: settings and the files that they name."""
        settings = asdict(self.settings) | {"targets": None, "quality": None}
        del settings["page"]  # its sliders move what is segmented already
        numbers = {label: self.numbers[label] for label in self.settings.labels}
        digest = hashlib.sha256(json.dumps([settings, numbers], sort_keys=True).encode())
        for marked in self.settings.references:
            for name in (marked.image, marked.mask):
                if name is not None:
                    digest.update(file_hash(self.folder / name).encode())
        if self.decoder is not None:
            digest.update(file_hash(self.decoder).encode())
        return digest.hexdigest()[:32]

    # --- running ---------------------------------------------------------------------------------

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
        rows, left = self._known(), {}
        for job in jobs:
            row = rows.get(self.key(job))
            reason = self._reason(job, row, run, retry)
            if reason is None and overwrite and self._persons(job, row):
                reason = OVERWRITTEN
            if reason is not None:
                left[job] = reason
        return left

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
        self._set(self.key(job), {"bytes": now[0], "changed": now[1]})
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
        if not self.manifest.is_ours(job.mask):
            return True
        entry = self.manifest.entry_of(job.mask)
        if row is None:
            return entry is not None and not entry.run
        done = row is not None and row["state"] == "done"  # else it may be that a run was killed
        return done and entry is not None and entry.sha256 != file_hash(job.mask)

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
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                (run, started, __version__, backbone, settings, self._wish()),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO images (path, state) VALUES (?, 'pending')",
                [(self.key(job),) for job in jobs],
            )
        for part in (self.folder / MASKS).rglob(PARTS):  # of a run that was killed
            part.unlink(missing_ok=True)

    def annotate(
        self,
        segmenter: Segmenter,
        jobs: Sequence[Job],
        run: str,
        *,
        overwrite: bool = False,
        claim: Claim | None = None,
        segment: Callable[..., Iterator[Outcome]] = segment_files,
    ) -> Iterator[Outcome]:
        """Segment jobs with fitted references; each is recorded before it is yielded.

        Layers are written too if the segmenter keeps the trees of images.

        Args:
            segmenter: fitted.
            jobs: from ``todo``.
            run: from ``run_key``.
            overwrite: as for ``todo``.
            claim: decides, when a job is to be written, whether it still may be; by default
                ``claim``.
            segment: what does as ``segment_files``, elsewhere and in any order.

        Raises:
            LikewiseError: if the disk refuses a mask or a row, or a job comes to nothing.
        """
        claim = claim or partial(self.claim, overwrite=overwrite)
        keep = None
        if segmenter.keep_tree:
            size = segmenter.encoder.input_size
            folders = self.folder / MASKS, self.folder / LAYERS
            keep = Keeper(*folders, self.sliders, segmenter.refiner, size)
        numbers = self.numbers
        outcomes = segment(
            *(segmenter, jobs, self.manifest),
            {label: numbers[label] for label in self.settings.labels},
            run=run,
            overwrite=overwrite,
            consensus=self.settings.consensus,
            limits=self.limits,
            keep=keep,
            claim=claim,
        )
        left = {job.target: job for job in jobs}
        for outcome in outcomes:
            job = left.pop(outcome.target)
            if outcome.error is not None:
                with claim(job) as free:
                    if free:
                        self.record(job, outcome, run)
            elif not outcome.skipped:
                self.record(job, outcome, run)
            yield outcome
        if left:
            raise LikewiseError(f"{len(left)} pictures came back without a result: run it again.")

    @contextmanager
    def claim(self, job: Job, *, overwrite: bool = False) -> Iterator[bool]:
        """Whether the mask of a job may be written: not if a person made, changed or judged it.

        From then until it is recorded it is pending, so that nobody judges it meanwhile.

        Args:
            job: from ``jobs``.
            overwrite: as for ``todo``.
        """
        row = self._known(self.key(job)).get(self.key(job))
        there = job.mask.is_file()
        judged = row is not None and row["verdict"] is not None
        persons = self._persons(job, row)
        free = not there or not (judged or (persons and not overwrite))
        if free:
            values = {"state": "pending", "verdict": None, "source": "model"}
            free = self._set(self.key(job), values, unless_changed=row)
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
                (doubt(c.confidence, c.steadiness, c.reasons) for c in outcome.classes),
                default=None,
            ),
            "reasons": json.dumps(
                [f"{c.label}: {r}" if several else r for c in outcome.classes for r in c.reasons]
            ),
        }
        classes = [(c.label, c.confidence, c.area, json.dumps(c.reasons)) for c in outcome.classes]
        with self._explained(), self._transaction():
            self._note(job, values, classes)

    def _note(
        self,
        job: Job,
        values: Mapping[str, object],
        classes: Sequence[tuple[str, float, float, str]],
    ) -> None:
        key = self.key(job)
        self._set(key, values)
        self._db.execute("DELETE FROM classes WHERE path = ?", (key,))
        self._db.executemany(
            "INSERT INTO classes VALUES (?, ?, ?, ?, ?)", [(key, *known) for known in classes]
        )

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

    # --- what a person says and makes ------------------------------------------------------------

    def judge(self, targets: Sequence[Path], verdict: str | None) -> None:
        """Note what a person says of masks: accepted or rejected, or None to take it back.

        Raises:
            LikewiseError: if one is no target, or has no mask yet; then nothing is noted.
        """
        jobs = [self._masked(target) for target in targets]
        # It is said of the picture as it is now.
        seen = self._picture if verdict is not None else self._seen
        with self._explained(), self._transaction():
            for job in jobs:
                self._set(self.key(job), {"verdict": verdict, **seen(job)})

    def status(self, target: Path) -> str:
        """Its ``Row.status``; pending if nothing is known of it."""
        key = relative(target, self.folder)
        row = self._known(key).get(key)
        return "pending" if row is None else _status(row["state"], row["verdict"], row["source"])

    def _masked(self, target: Path) -> Job:
        """The job of a target that has a mask. Raises LikewiseError if it is none or has none."""
        key = relative(target, self.folder)
        job, row = self._job(target), self._known(key).get(key)
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
        height, width = read_image(image).shape[:2]
        if label is None:
            return as_numbers(mask, (height, width), numbers, labels)
        if label not in labels:
            raise LikewiseError(f"the project has no class {label}: use {', '.join(labels)}.")
        values = read_same_size(mask, (height, width), numbers)
        shown = [int(k) for k in np.unique(values) if k]
        marked = values > 0
        if len(shown) > 1:
            marked = values == numbers[label]
            if numbers[label] not in shown or not set(shown) <= set(numbers.values()):
                raise LikewiseError(
                    f"{mask} holds the values {', '.join(map(str, shown))}, and {label} is "
                    f"{numbers[label]}: give a mask of {label} alone."
                )
        return replace_class(self.read_mask(image), marked, label, numbers)

    def correct(self, target: Path, label_map: LabelMap) -> None:
        """Keep a mask that a person made instead: no run replaces it.

        Args:
            target: an image that has a mask.
            label_map: (H, W) of the image: 0 nothing, else one of ``numbers``.

        Raises:
            LikewiseError: if it has no mask yet, or this one cannot be written.
        """
        self._keep(self._masked(target), label_map)

    def _keep(self, job: Job, label_map: LabelMap) -> None:
        """Write a person's mask and note it; killed between both, ``adopt_edited`` notes it."""
        highest = max(self.numbers.values(), default=0)
        stored = label_map.astype(np.uint8 if highest < 256 else np.uint16)
        colours = [(0, 0, 0), *(class_colour(k) for k in range(1, highest + 1))]
        self.manifest.write(job.mask, encode_label_map(job.mask, stored, colours), job.target, "")
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
            area = 0.0 if label_map is None else float(np.isin(label_map, parts).mean())
            if area or label in self.settings.labels:
                classes.append((label, 1.0, area, "[]"))
        with self._explained(), self._transaction():
            self._note(job, values, classes)

    def restore(self, target: Path) -> None:
        """Take a person's mask back: it stays until the next run has made another.

        Raises:
            LikewiseError: if it is no target, or has no mask.
        """
        key = self.key(self._masked(target))
        self._set(key, {"state": "pending", "verdict": None, "source": "model"})

    def forget(self, key: str) -> None:
        """Know nothing of an image any more; a mask of it stays where it is."""
        with self._explained(), self._transaction():
            for table in ("images", "classes"):
                self._db.execute(f"DELETE FROM {table} WHERE path = ?", (key,))

    def adopt_edited(self, jobs: Sequence[Job] | None = None) -> list[str]:
        """Take masks that were changed without likewise as a person's; each is said once.

        Args:
            jobs: to look at; all of ``jobs`` by default.

        Returns:
            Their names, relative to the folder of masks.
        """
        rows, adopted = self._known(), []
        for job in self.jobs() if jobs is None else jobs:
            row = rows.get(self.key(job))
            model = row is not None and row["state"] == "done" and row["source"] == "model"
            if not job.mask.is_file():
                continue
            if not self._is_by_hand(job, row):
                if model and self.manifest.is_current(job.mask, job.target, ""):
                    self._note_person(job, read_label_map(job.mask))  # killed while it was noted
                continue
            name = job.mask.relative_to(self.folder / MASKS).as_posix()
            adopted.append(name)
            try:
                size = read_image(job.target).shape[:2]
                label_map = as_numbers(job.mask, size, self.numbers, self.settings.labels)
                stored = read_class_map(job.mask, self.numbers.values())
                if np.array_equal(label_map, stored):  # the file stays as it is
                    self.manifest.adopt(job.mask, job.target, "")
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
        return adopted

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
        with self._explained(), self._transaction():
            found = self._select("SELECT path, label, confidence, area, reasons FROM classes")
            self._db.execute("DELETE FROM classes")
            self._db.executemany(
                "INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?, ?)",
                [(path, renamed.get(label, label), *rest) for path, label, *rest in found],
            )

    # --- what is known ---------------------------------------------------------------------------

    def states(self) -> dict[str, str]:
        """The ``Row.status`` of every present target that is known, by ``key``."""
        return {row.path: row.status for row in self.rows()}

    def facts(self, key: str | None = None) -> dict[str, dict[str, Any]]:
        """Column → value of every image that is known, or of one, by ``key``."""
        return {path: dict(row) for path, row in self._known(key).items()}

    def rows(self, statuses: Sequence[str] = STATUSES, top: int | None = None) -> list[Row]:
        """Present targets that are known, the most doubtful first.

        Args:
            statuses: some of STATUSES.
            top: at most so many.
        """
        present = set(map(self.key, self.jobs()))
        found = self._select(
            "SELECT path, state, verdict, source, error, seconds, confidence, area, doubt, reasons "
            "FROM images ORDER BY doubt DESC NULLS FIRST, path"
        )
        rows = [
            Row(*[*known, tuple(json.loads(reasons or "[]"))])
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
        rows, runs = self._known(), dict(self._select("SELECT run, wish FROM runs"))
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

    def class_rows(self) -> list[tuple[str, str, float, float]]:
        """(path, label, confidence, area) of everything that was found or not, by path."""
        present = {self.key(job) for job in self.jobs()}
        found = self._select("SELECT path, label, confidence, area FROM classes ORDER BY path")
        return [row for row in found if row[0] in present]

    # --- the database ----------------------------------------------------------------------------

    def _known(self, key: str | None = None) -> dict[str, sqlite3.Row]:
        """The row of every image, or of one; of those that are no targets now, too."""
        where, values = ("", ()) if key is None else (" WHERE path = ?", (key,))
        with self._explained():
            cursor = self._db.cursor()
            cursor.row_factory = sqlite3.Row
            found = cursor.execute(f"SELECT * FROM images{where}", values).fetchall()
        return {row["path"]: row for row in found}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("COMMIT")

    def _set(
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
        with self._explained():
            changed = self._db.execute(
                f"INSERT INTO images ({', '.join(new)}) VALUES (:{', :'.join(new)}) "
                f"ON CONFLICT (path) DO UPDATE SET {update}{where}",
                {**new, **was},
            )
        return changed.rowcount > 0

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._explained():
            return self._db.execute(query, values).fetchall()

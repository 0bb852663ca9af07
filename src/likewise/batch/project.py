"""A project folder: what was annotated, with what, how it went, and what a person said of it.

One SQLite database beside the masks. A mask is whole before its row says that it is done, so that a
run that is killed at any moment goes on where it was, and never does a finished image again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..backbones.download import sha256_of
from ..errors import LikewiseError
from ..quality import MIN_CONFIDENCE, doubt
from .folder import LABELS, Claim, Job, Outcome, plan, segment_files
from .layers import Keeper, Sliders
from .settings import Settings, read_settings, relative
from .targets import find_images

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..backbones.encoder import Encoder
    from ..reference import Reference
    from ..segmenter import Segmenter

E = TypeVar("E", bound="Encoder")
DATABASE, MASKS, LAYERS = "likewise.sqlite", "masks", "layers"
STATES = ("pending", "done", "failed", "accepted", "rejected", "corrected")
JUDGED = ("accepted", "rejected", "corrected")
"""States that a person gave; a run leaves them alone."""
SCHEMA = """
CREATE TABLE images (
    path TEXT PRIMARY KEY, bytes INTEGER, changed INTEGER, hash TEXT, state TEXT NOT NULL,
    error TEXT, run TEXT, seconds REAL, confidence REAL, area REAL, doubt REAL, reasons TEXT
);
CREATE INDEX by_doubt ON images (doubt);
CREATE TABLE classes (
    path TEXT, label TEXT, confidence REAL, area REAL, reasons TEXT, PRIMARY KEY (path, label)
);
CREATE TABLE runs (
    run TEXT PRIMARY KEY, started TEXT, version TEXT, backbone TEXT, settings TEXT
);
"""


@dataclass(frozen=True)
class Row:
    """What is known of one image."""

    path: str
    """Relative to the project."""
    state: str
    """One of STATES."""
    error: str | None
    seconds: float | None
    confidence: float | None
    area: float | None
    doubt: float | None
    """0..1: how much it is worth a look."""
    reasons: tuple[str, ...]
    """What speaks against its masks, of all classes; see ``quality.verdicts``."""


class Project:
    """A folder with a `likewise.toml`.

    Args:
        folder: the project.
        unfinished: it may have no targets and no references yet.

    Raises:
        LikewiseError: if it has none, or its database cannot be used.
    """

    def __init__(self, folder: Path, *, unfinished: bool = False) -> None:
        self.folder = folder
        self.settings: Settings = read_settings(folder, unfinished=unfinished)
        path = folder / DATABASE
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = 1; COMMIT;")
            elif version != 1:
                raise LikewiseError(f"{path} is of a newer likewise: install that one.")

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LikewiseError(
                f"{self.folder / DATABASE} cannot be used ({error}): free some space, check its "
                "permissions, or move it away to begin anew."
            ) from error

    @property
    def limits(self) -> dict[str, float]:
        """Of ``quality.verdicts``."""
        known = {"min_confidence": MIN_CONFIDENCE.get(self.settings.method, 0.0)}
        return known | dict(self.settings.quality)

    def references(self) -> list[Reference]:
        """Read from their files. Raises LikewiseError if one cannot be used."""
        from ..annotation_files import read_reference

        return [
            read_reference(
                self.folder / marked.image,
                None if marked.mask is None else self.folder / marked.mask,
                marked.value,
                marked.label,
                marked.negative,
            )
            for marked in self.settings.references
        ]

    def jobs(self) -> list[Job]:
        """One for every target, in order. Raises LikewiseError as ``plan`` does."""
        targets = find_images([os.path.normpath(self.folder / t) for t in self.settings.targets])
        files = [self.folder / f for r in self.settings.references for f in (r.image, r.mask) if f]
        return plan(
            targets,
            self.folder / MASKS,
            overlay=False,
            instances=self.settings.instances,
            inputs=files,
        )

    def mask(self, target: Path) -> Path:
        """Where the mask of a target is, as ``plan`` names it."""
        return self.folder / MASKS / f"{target.stem}.png"

    def layers(self, target: Path) -> Path:
        """Where the layers of a target are, if the project keeps them; see ``layers.py``."""
        return self.folder / LAYERS / f"{target.stem}.npz"

    @property
    def keeps_layers(self) -> bool:
        """Whether it was opened in `likewise ui`, which moves masks by their layers."""
        return (self.folder / LAYERS).is_dir()

    @property
    def sliders(self) -> Sliders:
        """Those of the page."""
        page = self.settings.page
        return Sliders(page.get("threshold", 0.0), page.get("granularity", 0.0))

    def encoder(self, kind: type[E], *, device: str, dtype: str, offline: bool) -> tuple[E, str]:
        """Load the backbone of the settings into an Encoder or a class made of it.

        Returns:
            It, and how ``run_key`` knows it.

        Raises:
            BackboneError: as ``Encoder`` does.
        """
        encoder = kind(**self.encoder_options(device=device, dtype=dtype, offline=offline))
        identity = encoder.backbone.identity
        return encoder, f"{identity} {encoder.input_size} {encoder.rank} {dtype}"

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

    def key(self, job: Job) -> str:
        """How a target is known in the database."""
        return relative(job.target, self.folder)

    def run_key(self, backbone: str) -> str:
        """A hash of everything that masks depend on but the targets: settings, files, weights."""
        digest = hashlib.sha256(backbone.encode())
        settings = asdict(self.settings) | {"targets": None, "quality": None}
        del settings["page"]  # its sliders move what is segmented already
        digest.update(json.dumps(settings, sort_keys=True).encode())
        if self.decoder is not None:
            digest.update(file_hash(self.decoder).encode())
        for marked in self.settings.references:
            for name in (marked.image, marked.mask):
                if name is not None:
                    digest.update(file_hash(self.folder / name).encode())
        return digest.hexdigest()[:32]

    def todo(self, jobs: Sequence[Job], run: str, retry: bool = False) -> list[Job]:
        """Jobs that this run has to do: new, changed, never finished, or made otherwise.

        Args:
            jobs: from ``jobs``.
            run: from ``run_key``.
            retry: also those that failed, though neither they nor the settings changed.
        """
        rows = {
            row[0]: row[1:]
            for row in self._select("SELECT path, bytes, changed, hash, state, run FROM images")
        }
        left = []
        for job in jobs:
            size, changed, content, state, made = rows.get(self.key(job), (None,) * 5)
            known = state in JUDGED or (state in ("done", "failed") and made == run)
            again = not known or (state == "failed" and retry)
            if again or (state != "failed" and not job.mask.is_file()):
                left.append(job)
            elif (now := stamp(job.target)) != (size, changed):  # touched: is it the same picture?
                if content is None or content != file_hash(job.target):
                    left.append(job)
                else:
                    self._set(self.key(job), {"bytes": now[0], "changed": now[1]})
        return left

    def begin(self, run: str, backbone: str, jobs: Sequence[Job]) -> None:
        """Note a run and what it has to do, and write which label is which value of the masks.

        Raises:
            LikewiseError: if masks that a person judged have other values for the classes.
        """
        from .. import __version__
        from ..writing import PARTS, write_json

        labels = {str(k): label for k, label in enumerate(self.settings.labels, 1)}
        path = self.folder / MASKS / LABELS
        if path.is_file() and self.rows(JUDGED, top=1):
            before = json.loads(path.read_text(encoding="utf-8"))
            if any(labels.get(value) != label for value, label in before.items()):
                raise LikewiseError(
                    f"masks that were judged have the classes {', '.join(before.values())}: keep "
                    "these first and in this order, or begin another project."
                )
        settings = json.dumps(asdict(self.settings))
        started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with self._explained():
            self._db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
                (run, started, __version__, backbone, settings),
            )
            with self._transaction():
                self._db.executemany(
                    "INSERT OR IGNORE INTO images (path, state) VALUES (?, 'pending')",
                    [(self.key(job),) for job in jobs],
                )
        for part in (self.folder / MASKS).glob(PARTS):  # of a run that was killed
            part.unlink(missing_ok=True)
        write_json(path, labels)

    def annotate(
        self,
        segmenter: Segmenter,
        jobs: Sequence[Job],
        run: str,
        *,
        claim: Claim | None = None,
        segment: Callable[..., Iterator[Outcome]] | None = None,
    ) -> Iterator[Outcome]:
        """Segment jobs with fitted references; each is recorded before it is yielded.

        Layers are written too if the segmenter keeps the trees of images.

        Args:
            segmenter: fitted.
            jobs: from ``todo``.
            run: from ``run_key``.
            claim: decides, when a job is to be written, whether it still may be.
            segment: what does as ``segment_files`` of label maps, elsewhere and in any order.

        Raises:
            LikewiseError: if the disk refuses a mask or a row, or a job comes to nothing.
        """
        keep = None
        if segmenter.keep_tree:
            size = segmenter.encoder.input_size
            keep = Keeper(self.folder / LAYERS, self.sliders, segmenter.refiner, size)
        segment = segment or partial(segment_files, label_maps=True)
        outcomes = segment(
            segmenter,
            jobs,
            consensus=self.settings.consensus,
            limits=self.limits,
            keep=keep,
            claim=claim,
        )
        left = {job.target: job for job in jobs}
        for outcome in outcomes:
            job = left.pop(outcome.target)
            if not outcome.skipped:
                self.record(job, outcome, run)
            yield outcome
        if left:
            raise LikewiseError(f"{len(left)} pictures came back without a result: run it again.")

    def record(self, job: Job, outcome: Outcome, run: str) -> None:
        """Note what became of a job whose files are written."""
        size, changed = stamp(job.target)
        several = len(outcome.classes) > 1
        values = {
            "bytes": size,
            "changed": changed,
            "hash": file_hash(job.target) if size is not None else None,
            "state": "failed" if outcome.error else "done",
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
        key = self.key(job)
        with self._explained(), self._transaction():
            self._set(key, values)
            self._db.execute("DELETE FROM classes WHERE path = ?", (key,))
            rows = [
                (key, c.label, c.confidence, c.area, json.dumps(c.reasons)) for c in outcome.classes
            ]
            self._db.executemany("INSERT INTO classes VALUES (?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("COMMIT")

    def _set(self, key: str, values: Mapping[str, object]) -> None:
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        update = ", ".join(f"{name} = :{name}" for name in values)
        with self._explained():
            changed = self._db.execute(
                f"UPDATE images SET {update} WHERE path = :path", {**values, "path": key}
            )
            if changed.rowcount == 0:
                self._db.execute(
                    f"INSERT INTO images (path, {names}) VALUES (:path, {marks})",
                    {**values, "path": key},
                )

    def states(self) -> dict[str, str]:
        """Of every image that is known, by ``key``."""
        return dict(self._select("SELECT path, state FROM images"))

    def facts(self, key: str | None = None) -> dict[str, dict[str, Any]]:
        """Column → value of every image that is known, or of one, by ``key``."""
        names = (
            "path",
            "hash",
            "state",
            "error",
            "run",
            "seconds",
            "confidence",
            "doubt",
            "reasons",
        )
        where, values = ("", ()) if key is None else (" WHERE path = ?", (key,))
        found = self._select(f"SELECT {', '.join(names)} FROM images{where}", values)
        return {row[0]: dict(zip(names, row, strict=True)) for row in found}

    def rename_classes(self, renamed: Mapping[str, str]) -> None:
        """Give classes other names (old → new) in what is known of images."""
        with self._explained(), self._transaction():
            found = self._select("SELECT path, label, confidence, area, reasons FROM classes")
            self._db.execute("DELETE FROM classes")
            self._db.executemany(
                "INSERT INTO classes VALUES (?, ?, ?, ?, ?)",
                [(path, renamed.get(label, label), *rest) for path, label, *rest in found],
            )

    def set_pending(self, key: str) -> None:
        """Note that an image is to be done, or is being done: nobody can judge it meanwhile."""
        self._set(key, {"state": "pending"})

    def judge(self, targets: Sequence[Path], state: str) -> None:
        """Note what a person says of masks: one of JUDGED, or ``done`` to take it back.

        Raises:
            LikewiseError: if one has no mask yet.
        """
        for target in targets:
            self._set(self._masked(target), {"state": state})

    def _masked(self, target: Path) -> str:
        """The key of an image that has a mask. Raises LikewiseError if it has none."""
        key = relative(target, self.folder)
        known = self._select("SELECT state FROM images WHERE path = ?", (key,))
        if not known or known[0][0] in ("pending", "failed"):
            raise LikewiseError(f"{target} has no mask in {self.folder}: annotate it first.")
        return key

    def correct(self, target: Path, label_map: npt.NDArray[np.unsignedinteger[Any]]) -> None:
        """Keep a mask that a person made instead: no run replaces it.

        Args:
            target: an image that has a mask.
            label_map: (H, W) of the image: 0 nothing, k the k-th class of the settings.

        Raises:
            LikewiseError: if it has no mask yet, or this one cannot be written.
        """
        from ..images import write_label_map
        from ..pictures import class_colour

        self._masked(target)
        colours = [class_colour(k) for k in range(1, len(self.settings.labels) + 1)]
        write_label_map(self.mask(target), label_map, [(0, 0, 0), *colours])
        self.judge([target], "corrected")

    def rows(self, states: Sequence[str] = STATES, top: int | None = None) -> list[Row]:
        """Images in these states, the most doubtful first.

        Args:
            states: some of STATES.
            top: at most so many.
        """
        marks = ", ".join("?" * len(states))
        found = self._select(
            "SELECT path, state, error, seconds, confidence, area, doubt, reasons FROM images "
            f"WHERE state IN ({marks}) ORDER BY doubt DESC NULLS FIRST, path LIMIT ?",
            (*states, -1 if top is None else top),
        )
        return [Row(*[*values, tuple(json.loads(reasons or "[]"))]) for *values, reasons in found]

    def finished(self) -> list[tuple[Path, Path, dict[str, float]]]:
        """(image, mask, class → confidence) of all but what failed or was rejected, by path."""
        confidences: dict[str, dict[str, float]] = {}
        for path, label, confidence, _ in self.class_rows():
            confidences.setdefault(path, {})[label] = confidence
        return [
            (
                Path(os.path.normpath(self.folder / row.path)),
                self.mask(Path(row.path)),
                confidences.get(row.path, {}),
            )
            for row in sorted(self.rows(("done", "accepted", "corrected")), key=lambda r: r.path)
        ]

    def class_rows(self) -> list[tuple[str, str, float, float]]:
        """(path, label, confidence, area) of everything that was found or not."""
        return self._select("SELECT path, label, confidence, area FROM classes ORDER BY path")

    def _select(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._explained():
            return self._db.execute(query, values).fetchall()


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

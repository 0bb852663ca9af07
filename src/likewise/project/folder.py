"""A project folder: its settings, classes, targets, and how its masks are made."""

from __future__ import annotations

import fnmatch
import json
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LikewiseError, note
from ..io.hashing import fingerprint
from ..io.masks import read_label_map
from ..methods import get_method, make_params, usual_dtype
from ..run.file_state import file_hash
from ..run.jobs import Job, plan
from ..run.manifest import Manifest
from ..run.targets import IMAGE_SUFFIXES, find_images
from .database import DATABASE, Database
from .score_maps import Sliders, score_maps_path
from .settings import CONFIG, ProjectSettings, read_settings, relative, size_in_bytes

if TYPE_CHECKING:
    from ..backbones.encoder import Encoder
    from ..backbones.feature_cache import CachedEncoder, FeatureCache
    from ..reference import Reference
    from ..segmenter import Segmenter


E = TypeVar("E", bound="CachedEncoder")
MASKS, SCORE_MAPS, FEATURES = "masks", "layers", "features"


class ProjectFolder:
    """What a project is, before anything is segmented.

    Args:
        folder: the project.
        unfinished: it may have no targets and no references yet.
        lock: held while what other threads write too is looked at and changed; it may be held
            already. By default there are none.

    Raises:
        LikewiseError: if it has none, or its database or ``labels.json`` cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        *,
        unfinished: bool = False,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.folder, self.lock = folder, lock or nullcontext()
        self.settings: ProjectSettings = read_settings(folder, unfinished=unfinished)
        self.manifest = Manifest(folder / MASKS)
        self._jobs: dict[str, Job] | None = None
        self._missing: list[Path] = []
        self.database = Database(folder / DATABASE, self._take_over)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def _take_over(self, store: Database) -> None:
        """Note the masks of likewise 0.1.0, which kept no manifest, in ours.

        A mask that has not the area it was written with was changed by a person. One that was made
        with other classes than ``labels.json`` says is made anew.
        """
        found = store.select(
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
                    store.set(path, {"state": "pending"})
                try:
                    edited = abs((read_label_map(mask) > 0).mean() - (area or 0)) > 1e-6
                except LikewiseError:
                    edited = True
                if edited:
                    continue  # ``adopt_edited`` finds that it is in no line
            self.manifest.adopt(mask, target, (run or "") if source == "model" else "")

    @property
    def limits(self) -> dict[str, float]:
        """Of ``quality.mask_warnings``."""
        known = {"min_confidence": get_method(self.settings.method).CAN.min_confidence}
        return known | dict(self.settings.quality)

    def references(self) -> list[Reference]:
        """Read from their files. Raises LikewiseError if one cannot be used."""
        from ..vocabulary import reference_from_files

        return [
            reference_from_files(
                self.settings.choice.of(self.folder / marked.image),
                None if marked.mask is None else self.folder / marked.mask,
                marked.value,
                marked.label,
                marked.negative,
            )
            for marked in self.settings.references
        ]

    # --- classes and targets ----------------------------------------------------------------------

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

    def class_rows(self) -> list[tuple[str, str, float, float]]:
        """(path, label, confidence, area) of everything that was found or not, by path."""
        present = {self.key(job) for job in self.jobs()}
        found = self.database.select(
            "SELECT path, label, confidence, area FROM classes ORDER BY path"
        )
        return [row for row in found if row[0] in present]

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
            choice = self.settings.choice
            self._jobs = {self.key(job): replace(job, choice=choice) for job in jobs}
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
        found, known = [], self.database.known()
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
        """Give rows of the database the new paths of moved pictures; ``plan`` moves their masks."""
        known, present = self.database.known(), self._jobs or {}
        for key, job in present.items():
            if key in known:
                continue
            entry, owner = self.manifest.entry_of(job.mask), self.manifest.image_of(job.mask)
            if entry is None or owner is None or owner.exists():
                continue
            old = relative(owner, self.folder)
            if old in known and file_hash(job.target) == entry.image_sha256:
                with self.database.explained(), self.database.transaction():
                    for table in ("images", "classes"):
                        self.database.db.execute(f"DELETE FROM {table} WHERE path = ?", (key,))
                        self.database.db.execute(
                            f"UPDATE {table} SET path = ? WHERE path = ?", (key, old)
                        )

    def _note_deleted(self) -> None:
        """Name pictures once that were deleted from a folder or pattern of the targets."""
        present = {*(self._jobs or ()), *(relative(path, self.folder) for path in self._missing)}
        masked = self.database.select("SELECT path FROM images WHERE bytes IS NOT NULL")
        wanted = [os.fspath(self._path(name)) for name in self.settings.targets]
        for (key,) in masked:
            path = self._path(key)
            named = any(
                os.fspath(path.parent) == name or fnmatch.fnmatch(os.fspath(path), name)
                for name in wanted
            )
            if key not in present and named and not path.exists():
                self.database.set(key, {"bytes": None, "changed": None})  # said
                note(path, "it is gone, and left out; its mask stays.")

    def _path(self, name: str) -> Path:
        return Path(os.path.normpath(self.folder / name))

    def mask(self, target: Path) -> Path:
        """Where the mask of a target is, also of one that is no longer in the project."""
        if (job := self._job(target)) is not None:
            return job.mask
        return self.manifest.mask_of(target) or self.folder / MASKS / f"{target.stem}.png"

    def score_maps(self, target: Path) -> Path:
        """Path of the score maps of a target, if the project stores them; see ``score_maps.py``."""
        return score_maps_path(self.mask(target), self.folder / MASKS, self.folder / SCORE_MAPS)

    def key(self, job: Job) -> str:
        """The key of a target in the database."""
        return relative(job.target, self.folder)

    @property
    def keeps_score_maps(self) -> bool:
        """Whether it was opened in `likewise ui`, which moves masks by their score maps."""
        return (self.folder / SCORE_MAPS).is_dir()

    @property
    def sliders(self) -> Sliders:
        """Those of the page."""
        page = self.settings.page
        return Sliders(page.get("threshold", 0.0), page.get("granularity", 0.0))

    # --- how masks are made -----------------------------------------------------------------------

    @property
    def feature_cache(self) -> FeatureCache:
        """Where features of its pictures are kept."""
        from ..backbones.feature_cache import FeatureCache

        limit = size_in_bytes(self.settings.feature_cache, self.folder / CONFIG)
        return FeatureCache(self.folder / FEATURES, limit)

    def features_said(self) -> str | None:
        """How large ``feature_cache`` is, in a sentence; None if it is empty."""
        pictures, size = self.feature_cache.size()
        if not pictures:
            return None
        most = self.settings.feature_cache
        return f"Features of {pictures} pictures and views are kept: {size / 1e6:.1f} MB of {most}."

    def encoder(self, kind: type[E], **machine: Any) -> tuple[E, str]:
        """Load the backbone of the settings into a CachedEncoder or a class made of it.

        Args:
            kind: the class.
            machine: of ``encoder_options``.

        Returns:
            It, and how ``run_key`` knows it.

        Raises:
            BackboneError: as ``Encoder`` does.
        """
        encoder = kind(**self.encoder_options(**machine))
        return encoder, encoder.fingerprint

    def encoder_options(
        self, *, device: str, dtype: str, offline: bool, cache: bool = True
    ) -> dict[str, Any]:
        """Of a ``CachedEncoder``; without ``cache`` no features are read or written."""
        beside = self.folder / self.settings.backbone  # a file or folder, or a name
        return {
            "backbone": beside if beside.exists() else self.settings.backbone,
            "cache": self.feature_cache if cache else replace(self.feature_cache, limit=0),
            "image_size": self.settings.image_size,
            "device": device,
            "dtype": usual_dtype(dtype, self.settings.method, self.settings.backbone, device),
            "offline": offline,
        }

    def method_options(self) -> dict[str, Any]:
        """Of a ``Segmenter``, but for its encoder."""
        decoder = {} if self.decoder is None else {"decoder": str(self.decoder)}
        return {
            "method": make_params(self.settings.method, {**self.settings.options, **decoder}),
            "refiner": self.settings.refine,
            "keep_tree": self.keeps_score_maps,
            "tile": self.settings.tile,
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

        return fingerprint(__version__, backbone, self._wish())

    def _wish(self) -> str:
        """As ``run_key``, but without the weights: settings and the files that they name."""
        settings = asdict(self.settings) | {"targets": None, "quality": None}
        for name in ("page", "feature_cache", "learn"):  # page: its sliders move what there is
            del settings[name]
        if self.settings.tile == ProjectSettings.tile:
            del settings["tile"]
        if not self.settings.picture:
            del settings["picture"]
        numbers = {label: self.numbers[label] for label in self.settings.labels}
        named = [name for r in self.settings.references for name in (r.image, r.mask) if name]
        files = [file_hash(self.folder / name) for name in named]
        decoder = None if self.decoder is None else file_hash(self.decoder)
        return fingerprint(settings, numbers, files, decoder)

"""What the page shows of a project: sources, pictures, classes, targets."""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import LikewiseError
from ...io.hashing import sha256
from ...io.planes import Plane, chosen
from ...project.folder import MASKS, SCORE_MAPS
from ...project.learning import is_learnt
from ...project.project import Project
from ...project.score_maps import Sliders
from ...project.settings import CONFIG, ProjectReference, ProjectSettings, read_settings, relative
from ...project.settings_file import replace_settings
from ...run.file_state import file_hash, stamp
from ...run.jobs import Job
from ...run.targets import IMAGE_SUFFIXES
from ..errors import RefusedError
from .class_list import classes, former

IMAGES, REFERENCES = "images", "references"
"""Folders of a project for what is uploaded; painted masks are in ``references/masks``, where no
upload goes."""


class GoneError(RefusedError):
    """What is asked for is not there (any more)."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


class StaleError(RefusedError):
    """What is to be changed was changed meanwhile, in another tab or by a command."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message)


class WorkspaceState:
    """A project folder; opened anew for every request, so that it always is as it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held while files that a person and the worker both may write are written."""
        self._targets: dict[str, Job] = {}
        self._settled: object = None
        """``likewise.toml`` as it was when ``_targets`` were found."""
        self.last_mask: tuple[object, npt.NDArray[np.uint8]] | None = None
        """See ``marks.last_values``."""
        self.id = identity(str(folder.resolve()))
        """Tells a tab that its address has come to show another project."""
        if not (folder / CONFIG).exists():
            replace_settings(folder, ProjectSettings((), ()))
        try:
            for name in (SCORE_MAPS, IMAGES, REFERENCES):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LikewiseError(
                f"{folder} cannot be written to ({error.strerror}): give another folder."
            ) from error
        with self.opened():
            pass  # its settings and its database can be used

    @contextmanager
    def opened(self) -> Iterator[Project]:
        """The project as it is now, without targets that are missing: they hold nothing up."""
        project = Project(self.folder, unfinished=True, lock=self.lock)
        try:
            here = tuple(filter(self._is_there, project.settings.targets))
            project.settings = dataclasses.replace(project.settings, targets=here)
            yield project
        finally:
            project.close()

    @property
    def learns(self) -> bool:
        """Whether what is accepted or corrected becomes a reference."""
        return read_settings(self.folder, unfinished=True).learn

    def _is_there(self, text: str) -> bool:
        """Whether a folder, file or pattern of the targets stands for any image now."""
        path = Path(os.path.normpath(self.folder / text))
        try:
            if path.is_dir():
                with os.scandir(path) as entries:
                    return any(is_image(e.name) and e.is_file() for e in entries)
            # Path.glob takes no absolute patterns.
            names = glob.iglob(str(path), recursive=True)  # noqa: PTH207
            return path.is_file() or any(is_image(n) and Path(n).is_file() for n in names)
        except (OSError, ValueError):
            return False

    def change(self, **fields: Any) -> None:
        """Write likewise.toml with other values. Raises LikewiseError if it cannot be."""
        with self.lock:
            self._targets = {}
            before = read_settings(self.folder, unfinished=True)
            replace_settings(self.folder, dataclasses.replace(before, **fields))

    def forget_targets(self) -> None:
        """Look for the images anew: some came or went."""
        self._targets = {}

    # --- what there is ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a page shows, but for pixels."""
        with self.opened() as project:
            sources = self.sources(project)
            jobs = project.jobs()
            known = classes(project)
            rows = project.facts()
            found = _found(project)
            return {
                "project": str(self.folder.resolve()),
                "id": self.id,
                "classes": known,
                "former": former(project, known),
                "classes_version": version_of(known),
                "labels": project.settings.labels,
                "learn": self.learns,
                "instances": project.settings.instances,
                "sliders": said_of(project.sliders),
                "pictures": [self.picture_state(project, p) for p in self.pictures(project)],
                "sources": sources,
                "targets": [
                    *(
                        _target(key, job.picture, job.mask, rows.get(key)) | found.get(key, NONE)
                        for job, key in ((job, project.key(job)) for job in jobs)
                    ),
                    *self._missing(project, jobs, sources, rows),
                ],
            }

    def sources(self, project: Project) -> list[dict[str, Any]]:
        """What the targets are taken from: "id", "path", "error" (why it is not there) each."""
        found = []
        for text in read_settings(self.folder, unfinished=True).targets:
            error = ""
            if text not in project.settings.targets:
                if self._is_uploads(text):
                    continue  # all that was uploaded may be removed again
                path = os.path.normpath(self.folder / text)
                error = (
                    f"{path} has no images now: connect the disk that it is on, or remove it from "
                    "the project."
                )
            found.append({"id": identity(text), "path": text, "error": error})
        return found

    def _is_uploads(self, text: str) -> bool:
        return (self.folder / text).resolve() == (self.folder / IMAGES).resolve()

    def _missing(
        self,
        project: Project,
        jobs: Sequence[Job],
        sources: Sequence[Mapping[str, Any]],
        rows: Mapping[str, Mapping[str, Any]],
    ) -> Iterator[dict[str, Any]]:
        """Pictures of the project's folders that were annotated, and are not there any more."""
        here = {project.key(job) for job in jobs}
        places = [os.path.normpath(self.folder / source["path"]) for source in sources]
        uploads = os.path.normpath(self.folder / IMAGES)
        for key, row in rows.items():
            path = Path(os.path.normpath(self.folder / key))
            inside = any(
                place in (str(path), str(path.parent)) or fnmatch.fnmatch(str(path), place)
                for place in [*places, uploads]
            )
            known = row["state"] == "done"  # a mask, maybe a person's
            if known and key not in here and inside and not path.exists():
                missing = {"state": "missing", "status": "missing", "error": str(_gone(path))}
                yield _target(key, path, project.folder / MASKS, row) | missing

    def pictures(self, project: Project) -> list[Path]:
        """Reference pictures, those without a mask too: of the project, then of other places."""
        references = project.settings.references
        masks = {(self.folder / r.mask).resolve() for r in references if r.mask}
        own = sorted(
            path
            for path in (self.folder / REFERENCES).iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
        named = [self.folder / r.image for r in references]
        # An image is a picture even if its own alpha channel is its mask.
        masks -= {path.resolve() for path in named}
        found: dict[Path, Path] = {}
        for path in [*own, *named]:
            if path.resolve() not in masks:
                found.setdefault(path.resolve(), path)
        return list(found.values())

    def picture_state(self, project: Project, path: Path) -> dict[str, Any]:
        """What a page shows of one reference picture."""
        marked = [r for r in project.settings.references if self.shows(r, path)]
        numbers = {c["label"]: c["number"] for c in classes(project)}
        marks = [
            (file_hash(self.folder / (r.mask or r.image)), r.value, r.negative or numbers[r.label])
            for r in marked
        ]
        return {
            "id": identity(relative(path, self.folder)),
            "name": path.name,
            "labels": list(dict.fromkeys(r.label for r in marked if not r.negative)),
            "negative": any(r.negative for r in marked),
            "changed": _seen(project.settings.choice.of(path)),
            "version": version_of(marks),
            "missing": not path.is_file(),
            "learnt": any(is_learnt(self.folder, r) for r in marked),
        }

    def describe(self, project: Project, target: Path) -> dict[str, Any]:
        """What a page shows of one target."""
        key = relative(target, self.folder)
        row = project.facts(key).get(key)
        picture = project.settings.choice.of(target)
        known = _target(key, picture, project.mask(target), row)
        return known | _found(project, key).get(key, NONE)

    def target(self, project: Project, wanted: str) -> Job:
        """By its id, with its picture. Raises GoneError."""
        now = stamp(self.folder / CONFIG)
        if wanted not in self._targets or now != self._settled:
            self._targets = {identity(project.key(job)): job for job in project.jobs()}
            self._settled = now
        if wanted not in self._targets:
            raise GoneError("this image is not in the project (any more): reload the page.")
        job = self._targets[wanted]
        if not job.target.is_file():
            raise _gone(job.target)
        return job

    def picture(self, project: Project, wanted: str) -> Path:
        """A reference picture, or a target that may become one, by its id. Raises GoneError."""
        for path in self.pictures(project):
            if identity(relative(path, self.folder)) == wanted:
                return path
        try:
            return self.target(project, wanted).target
        except GoneError as error:
            text = "this reference is no longer in the project: reload the page."
            raise GoneError(text) from error

    def shows(self, reference: ProjectReference, path: Path) -> bool:
        """Whether a reference marks that picture."""
        return (self.folder / reference.image).resolve() == path.resolve()


def said_of(sliders: Sliders) -> dict[str, Any]:
    """The sliders with their version, for the page."""
    return {**dataclasses.asdict(sliders), "version": version_of(sliders)}


def identity(key: str) -> str:
    """How the page calls a picture; it never names a path."""
    return sha256(key.encode(errors="surrogateescape"))[:20]


def version_of(value: Any) -> str:
    """Equal for equal values."""
    text = json.dumps(dataclasses.asdict(value) if isinstance(value, Sliders) else value)
    return identity(text)


def check_version(seen: str | None, now: str, what: str) -> None:
    """Raises StaleError if a person saw another version than there is; None saw none."""
    if seen not in (None, now):
        raise StaleError(f"{what} meanwhile, here or in another tab: look again.")


def _gone(path: Path) -> GoneError:
    return GoneError(f"{path} is not there any more: put it back, or remove it from the project.")


def _target(
    key: str, target: Path | Plane, mask: Path, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    row = known or {}
    state, verdict = row.get("state", "pending"), row.get("verdict")
    source = row.get("source") or "model"
    changed, picture = str(_changed(mask)), _seen(target)
    made = f"{row.get('run')}{row.get('hash')}"
    corrected = "corrected" if source == "person" else state
    return {
        "id": identity(key),
        "name": Path(target).name,
        "path": key,
        "state": state,
        "verdict": verdict,
        "source": source,
        "status": (verdict or corrected) if state == "done" else state,
        "error": row.get("error"),
        "confidence": row.get("confidence"),
        "doubt": row.get("doubt"),
        "reasons": json.loads(row.get("reasons") or "[]"),
        "made": made,
        "version": f"{made}-{verdict}-{source}-{changed if source == 'person' else ''}-{picture}",
        "mask": changed,
        "changed": picture,
    }


NONE: dict[str, Any] = {"labels": []}


def _found(project: Project, key: str | None = None) -> dict[str, dict[str, Any]]:
    """Of all images or one, "labels": the classes that their masks show."""
    where, values = ("", ()) if key is None else (" AND path = ?", (key,))
    query = f"SELECT path, label FROM classes WHERE area > 0{where} ORDER BY path, rowid"
    found: dict[str, dict[str, Any]] = {}
    for path, label in project.database.select(query, values):
        found.setdefault(path, {"labels": []})["labels"].append(label)
    return found


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not Path(name).name.startswith(".")


def _seen(picture: Path | Plane) -> str:
    """Tells apart what a file shows: by the time of its change, and by what is chosen of it."""
    changed, choice = str(_changed(Path(picture))), chosen(picture)
    return f"{changed}-{version_of(choice)}" if choice else changed


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

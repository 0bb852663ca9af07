"""What a person does to a project on the page: targets, references, classes, verdicts, datasets."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from PIL import Image

from ..batch.folder import Job
from ..batch.layers import Sliders
from ..batch.project import LAYERS, Project
from ..batch.redraw import redraw
from ..batch.settings import CONFIG, Marked, Settings, read_settings, relative, replace_settings
from ..batch.targets import IMAGE_SUFFIXES
from ..errors import LikewiseError
from ..images import read_image
from ..pictures import class_colour
from ..writing import write_whole

IMAGES, REFERENCES, MASK = "images", "references", ".mask.png"
"""Folders of a project for what is uploaded and painted, and how painted masks end."""
NEGATIVE = 255
"""In label maps of references: what none of the classes is."""


class GoneError(LikewiseError):
    """What is asked for is not there (any more)."""


class Workspace:
    """A project folder; opened anew for every request, so that it always is as it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held while files that a person and the worker both may write are written."""
        self._targets: dict[str, Job] = {}
        if not (folder / CONFIG).exists():
            replace_settings(folder, Settings((), ()))
        try:
            for name in (LAYERS, IMAGES, REFERENCES):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LikewiseError(
                f"{folder} cannot be written to ({error.strerror}): give another folder."
            ) from error
        with self.opened() as project:
            if project.settings.targets:
                project.jobs()

    @contextmanager
    def opened(self) -> Iterator[Project]:
        """The project as it is now."""
        project = Project(self.folder, unfinished=True)
        try:
            yield project
        finally:
            project.close()

    def change(self, **fields: Any) -> None:
        """Write likewise.toml with other values; as before if new targets cannot be used."""
        with self.lock:
            before = read_settings(self.folder, unfinished=True)
            replace_settings(self.folder, dataclasses.replace(before, **fields))
            try:
                if "targets" in fields:
                    with self.opened() as project:
                        project.jobs()
            except LikewiseError:
                replace_settings(self.folder, before)
                raise

    # --- what there is ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a page shows, but for pixels."""
        with self.opened() as project:
            settings = project.settings
            jobs = project.jobs()
            rows = project.facts()
            return {
                "project": str(self.folder.resolve()),
                "classes": classes(settings),
                "labels": settings.labels,
                "sliders": dataclasses.asdict(project.sliders),
                "pictures": [self._picture(project, path) for path in self.pictures(project)],
                "targets": [_target(project, job.target, rows) for job in jobs],
            }

    def pictures(self, project: Project) -> list[Path]:
        """Reference pictures, those without a mask too: of the project, then of other places."""
        own = sorted(
            path
            for path in (self.folder / REFERENCES).iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.endswith(MASK)
        )
        named = [self.folder / r.image for r in project.settings.references]
        found: dict[Path, Path] = {}
        for path in [*own, *named]:
            found.setdefault(path.resolve(), path)
        return list(found.values())

    def _picture(self, project: Project, path: Path) -> dict[str, Any]:
        marked = [r for r in project.settings.references if self.shows(r, path)]
        return {
            "id": identity(relative(path, self.folder)),
            "name": path.name,
            "labels": list(dict.fromkeys(r.label for r in marked if not r.negative)),
            "negative": any(r.negative for r in marked),
            "version": str(_changed(path)),
        }

    def describe(self, project: Project, target: Path) -> dict[str, Any]:
        """What a page shows of one target."""
        key = relative(target, self.folder)
        return _target(project, target, project.facts(key))

    def target(self, project: Project, wanted: str) -> Job:
        """By its id. Raises GoneError."""
        if wanted not in self._targets:
            self._targets = {identity(project.key(job)): job for job in project.jobs()}
        if wanted in self._targets:
            return self._targets[wanted]
        raise GoneError("this target is no longer in the project: reload the page.")

    def picture(self, project: Project, wanted: str) -> Path:
        """A reference picture by its id. Raises GoneError."""
        for path in self.pictures(project):
            if identity(relative(path, self.folder)) == wanted:
                return path
        raise GoneError("this reference is no longer in the project: reload the page.")

    def shows(self, reference: Marked, path: Path) -> bool:
        """Whether a reference marks that picture."""
        return (self.folder / reference.image).resolve() == path.resolve()

    # --- targets and classes ---------------------------------------------------------------------

    def add_folder(self, folder: str) -> None:
        """Add a folder, file or pattern to the targets. Raises LikewiseError if it is none."""
        if not folder.strip():
            raise LikewiseError("no folder was named: type the path of a folder of images.")
        path = Path(folder.strip()).expanduser()
        with self.opened() as project:
            targets = (*project.settings.targets, relative(path.absolute(), self.folder))
        self.change(targets=tuple(dict.fromkeys(targets)))

    def upload(self, name: str, content: bytes, reference: bool) -> None:
        """Keep an uploaded picture as a target or reference.

        Raises:
            LikewiseError: it is no picture, or cannot be written.
        """
        suffix = Path(name).suffix.lower()
        stem = re.sub(r"[^\w.-]+", "_", Path(name.replace("\\", "/")).stem).strip("._") or "image"
        if suffix not in IMAGE_SUFFIXES:
            raise LikewiseError(
                f"{name} is no picture by its name: give one of {', '.join(IMAGE_SUFFIXES)}."
            )
        try:
            with Image.open(io.BytesIO(content)) as picture:
                read_image(picture)
        except (OSError, ValueError, SyntaxError, LikewiseError) as error:
            raise LikewiseError(
                f"{name} cannot be read as a picture: open it in a viewer and save it as PNG."
            ) from error
        with self.lock, self.opened() as project:
            taken = {job.target.stem for job in project.jobs()}
            taken |= {path.stem for path in self.pictures(project)}
            count, free = 2, stem
            while free in taken:
                free, count = f"{stem}-{count}", count + 1
            folder = REFERENCES if reference else IMAGES
            write_whole(self.folder / folder / f"{free}{suffix}", content)
            targets = project.settings.targets
            if not reference and IMAGES not in targets:
                self.change(targets=(*targets, IMAGES))

    def add_example(self) -> None:
        """The bundled pictures: two to paint on, four to find things in."""
        from ..demo import CONCEPTS, FOLDER

        with self.lock:
            for _, (reference, _, pattern) in CONCEPTS.items():
                write_whole(self.folder / REFERENCES / reference, (FOLDER / reference).read_bytes())
                for path in FOLDER.glob(pattern):
                    write_whole(self.folder / IMAGES / path.name, path.read_bytes())
            settings = read_settings(self.folder, unfinished=True)
            page = dict(settings.page)
            page.setdefault("classes", list(CONCEPTS))
            targets = dict.fromkeys((*settings.targets, IMAGES))
            self.change(targets=tuple(targets), page=page)

    def set_classes(self, wanted: Sequence[dict[str, str]]) -> None:
        """Names and colours of the classes: {"label", "colour", "was" (its name before)} each.

        Raises:
            LikewiseError: a name is empty or taken, or a class with references is left out.
        """
        labels = [str(c["label"]).strip() for c in wanted]
        renamed = {str(c.get("was") or c["label"]): str(c["label"]).strip() for c in wanted}
        colours = [str(c["colour"]) for c in wanted]
        plain = all(label and label.isprintable() for label in labels)
        if not plain or len(set(labels)) < len(labels) or len(labels) >= NEGATIVE:
            raise LikewiseError("every class needs a name of its own: change one of them.")
        if not all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for colour in colours):
            raise LikewiseError("a colour is none: reload the page.")
        with self.lock, self.opened() as project:
            settings = project.settings
            if lost := [label for label in settings.labels if label not in renamed]:
                raise LikewiseError(f"{lost[0]} still has references: erase those first.")
            references = [
                dataclasses.replace(r, label=renamed.get(r.label, r.label))
                for r in settings.references
            ]
            page = {**settings.page, "classes": labels, "colours": colours}
            self.change(references=tuple(references), page=page)
            project.rename_classes(renamed)

    def set_sliders(self, sliders: Sliders) -> None:
        """Keep what the sliders say; the worker writes the masks.

        Raises:
            LikewiseError: they say no numbers.
        """
        if not (math.isfinite(sliders.threshold) and math.isfinite(sliders.granularity)):
            raise LikewiseError("a slider says no number: reload the page.")
        with self.lock:
            page = read_settings(self.folder, unfinished=True).page
            self.change(page={**page, **dataclasses.asdict(sliders)})

    # --- verdicts --------------------------------------------------------------------------------

    def masked(self, project: Project, wanted: str) -> Job:
        """A target by its id whose mask is there, and as the sliders say.

        Raises:
            LikewiseError: it has none (yet).
        """
        job = self.target(project, wanted)
        if project.states().get(project.key(job), "pending") in ("pending", "failed"):
            raise LikewiseError(f"{job.target.name} has no mask at the moment: wait for it.")
        for _ in redraw(project, [job], lambda _: nullcontext(True)):
            pass  # the worker has not come to it yet
        return job

    def judge(self, wanted: str, state: str, version: str) -> dict[str, Any]:
        """Note what a person says of a target's mask as they saw it.

        Raises:
            LikewiseError: it has no mask, or a newer one.
        """
        with self.lock, self.opened() as project:
            job = self.masked(project, wanted)
            if self.describe(project, job.target)["version"] != version:
                raise LikewiseError(f"{job.target.name} was masked anew meanwhile: look again.")
            if state == "done" and project.status(job.target) == "corrected":
                project.restore(job.target)  # the mask that was painted over comes back
            else:
                project.judge([job.target], None if state == "done" else state)
            return self.describe(project, job.target)


def classes(settings: Settings) -> list[dict[str, str]]:
    """{"label", "colour"} of the page's classes; those with references are all among them."""
    labels = dict.fromkeys([*settings.page.get("classes", []), *settings.labels]) or {
        "object": None
    }
    colours = list(settings.page.get("colours", []))
    defaults = [f"#{bytes(class_colour(k)).hex()}" for k in range(1, len(labels) + 1)]
    return [
        {"label": label, "colour": colour}
        for label, colour in zip(labels, colours + defaults[len(colours) :], strict=False)
    ]


def identity(key: str) -> str:
    """How the page calls a picture; it never names a path."""
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _target(project: Project, target: Path, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    key = relative(target, project.folder)
    row = rows.get(key, {})
    return {
        "id": identity(key),
        "name": target.name,
        "path": key,
        "state": project.status(target),
        "error": row.get("error"),
        "confidence": row.get("confidence"),
        "doubt": row.get("doubt"),
        "reasons": json.loads(row.get("reasons") or "[]"),
        "version": f"{row.get('run')}{row.get('hash')}",
        "mask": str(_changed(project.mask(target))),
        "changed": str(_changed(target)),
    }


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

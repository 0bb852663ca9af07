"""What a person does to a project on the page: targets, references, classes, verdicts, datasets."""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import LikewiseError
from ...io.draw import class_colour
from ...io.files import write_whole
from ...io.images import read_image
from ...io.text_files import normal
from ...project.folder import LAYERS, MASKS
from ...project.project import Project
from ...project.redraw import redraw
from ...project.score_maps import Sliders
from ...project.settings import CONFIG, Marked, Settings, read_settings, relative
from ...project.settings_file import replace_settings
from ...run.file_state import file_hash
from ...run.jobs import Job
from ...run.targets import IMAGE_SUFFIXES, find_images

IMAGES, REFERENCES = "images", "references"
"""Folders of a project for what is uploaded; painted masks are in ``references/masks``, where no
upload goes."""
NEGATIVE = 255
"""In label maps of references: what none of the classes is."""
FORMER = "#8a8a8a"
"""Colour of classes that were removed, in masks that still show them."""


class GoneError(LikewiseError):
    """What is asked for is not there (any more)."""


class StaleError(LikewiseError):
    """What is to be changed was changed meanwhile, in another tab or by a command."""


class Workspace:
    """A project folder; opened anew for every request, so that it always is as it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held while files that a person and the worker both may write are written."""
        self._targets: dict[str, Job] = {}
        self.id = identity(str(folder.resolve()))
        """Tells a tab that its address has come to show another project."""
        if not (folder / CONFIG).exists():
            replace_settings(folder, Settings((), ()))
        try:
            for name in (LAYERS, IMAGES, REFERENCES):
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
        project = Project(self.folder, unfinished=True)
        try:
            here = tuple(filter(self._is_there, project.settings.targets))
            project.settings = dataclasses.replace(project.settings, targets=here)
            yield project
        finally:
            project.close()

    def _is_there(self, text: str) -> bool:
        """Whether a folder, file or pattern of the targets stands for any image now."""
        path = Path(os.path.normpath(self.folder / text))
        try:
            if path.is_dir():
                with os.scandir(path) as entries:
                    return any(_is_image(e.name) and e.is_file() for e in entries)
            # Path.glob takes no absolute patterns.
            names = glob.iglob(str(path), recursive=True)  # noqa: PTH207
            return path.is_file() or any(_is_image(n) and Path(n).is_file() for n in names)
        except (OSError, ValueError):
            return False

    def change(self, **fields: Any) -> None:
        """Write likewise.toml with other values. Raises LikewiseError if it cannot be."""
        with self.lock:
            self._targets = {}
            before = read_settings(self.folder, unfinished=True)
            replace_settings(self.folder, dataclasses.replace(before, **fields))

    # --- what there is ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that a page shows, but for pixels."""
        with self.opened() as project:
            sources = self.sources(project)
            jobs = project.jobs()
            known = classes(project)
            rows = project.facts()
            return {
                "project": str(self.folder.resolve()),
                "id": self.id,
                "classes": known,
                "former": former(project, known),
                "classes_version": version_of(known),
                "labels": project.settings.labels,
                "sliders": said_of(project.sliders),
                "pictures": [self.picture_state(project, p) for p in self.pictures(project)],
                "sources": sources,
                "targets": [
                    *(
                        _target(project.key(job), job.target, job.mask, rows.get(project.key(job)))
                        for job in jobs
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
            "changed": str(_changed(path)),
            "version": version_of(marks),
            "missing": not path.is_file(),
        }

    def describe(self, project: Project, target: Path) -> dict[str, Any]:
        """What a page shows of one target."""
        key = relative(target, self.folder)
        return _target(key, target, project.mask(target), project.facts(key).get(key))

    def target(self, project: Project, wanted: str) -> Job:
        """By its id, with its picture. Raises GoneError."""
        if wanted not in self._targets:
            self._targets = {identity(project.key(job)): job for job in project.jobs()}
        if wanted not in self._targets:
            raise GoneError("this image is not in the project (any more): reload the page.")
        job = self._targets[wanted]
        if not job.target.is_file():
            raise _gone(job.target)
        return job

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
        """Add a folder, an image file or a pattern to the targets.

        Raises:
            LikewiseError: there are no images, or they are what likewise itself writes.
        """
        text = folder.strip()
        if not text:
            raise LikewiseError("no folder was named: type the path of a folder of images.")
        if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text):
            raise LikewiseError("this path holds what no path can hold: type it again.")
        try:
            path = Path(text).expanduser()
        except RuntimeError as error:  # ~nobody
            raise LikewiseError(f"{text} is nobody's home: type the whole path.") from error
        for image in find_images([path]):
            if image.suffix.lower() not in IMAGE_SUFFIXES:
                raise LikewiseError(
                    f"{path} is no image by its name: give a folder of images, or a file that "
                    f"ends in {', '.join(IMAGE_SUFFIXES)}."
                )
            own = [self.folder.resolve() / name for name in (MASKS, LAYERS)]
            if any(part in own for part in image.resolve().parents):
                raise LikewiseError(
                    f"{image.parent} is where this project keeps its own results: give a folder "
                    "of pictures."
                )
            if image == path:
                read_image(image)  # a file is named on purpose: it must be an image
        with self.lock:
            before = read_settings(self.folder, unfinished=True).targets
            targets = dict.fromkeys((*before, relative(path.absolute(), self.folder)))
            self._try_targets(tuple(targets))
            self.change(targets=tuple(targets))

    def _try_targets(self, targets: tuple[str, ...]) -> None:
        """Raises LikewiseError if results of these targets would collide."""
        with self.opened() as project:
            here = tuple(filter(self._is_there, targets))
            project.settings = dataclasses.replace(project.settings, targets=here)
            project.jobs()

    def remove_folder(self, wanted: str) -> None:
        """Take a folder, file or pattern out of the targets; its pictures and masks stay.

        Raises:
            GoneError: it is no longer there.
        """
        with self.lock:
            before = read_settings(self.folder, unfinished=True).targets
            left = tuple(text for text in before if identity(text) != wanted)
            if left == before:
                raise GoneError("this folder is no longer in the project: reload the page.")
            self.change(targets=left)

    def remove_target(self, wanted: str) -> None:
        """Take one picture out of the targets; the copy of an upload is deleted, masks stay.

        Raises:
            LikewiseError: it is one of a folder of the person.
        """
        with self.lock, self.opened() as project:
            keys = {identity(key): key for key in project.facts()}
            keys |= {identity(key): key for key in map(project.key, project.jobs())}
            if wanted not in keys:
                raise GoneError("this image is not in the project (any more): reload the page.")
            path = Path(os.path.normpath(self.folder / keys[wanted]))
            targets = read_settings(self.folder, unfinished=True).targets
            left = tuple(t for t in targets if os.path.normpath(self.folder / t) != str(path))
            uploaded = path.parent.resolve() == (self.folder / IMAGES).resolve()
            if left == targets and path.exists() and not uploaded:
                raise LikewiseError(
                    f"{path.name} is one of the folder {path.parent}: move it out of there, or "
                    "reject its mask."
                )
            if left != targets:
                self.change(targets=left)
            if uploaded:
                path.unlink(missing_ok=True)
            project.forget(keys[wanted])
            self._targets = {}

    def upload(self, name: str, content: bytes, reference: bool) -> None:
        """Keep an uploaded picture as a target or reference, under its own name if that is free.

        Raises:
            LikewiseError: it is no picture, or cannot be written.
        """
        suffix = Path(name).suffix.lower()
        stem = re.sub(r"[^\w.-]+", "_", Path(name.replace("\\", "/")).stem).strip("._")
        stem = stem.encode()[:150].decode(errors="ignore") or "image"
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
        with self.lock:
            self._keep(f"{stem}{suffix}", content, REFERENCES if reference else IMAGES)
            targets = read_settings(self.folder, unfinished=True).targets
            if not reference and not any(map(self._is_uploads, targets)):
                self.change(targets=(*targets, IMAGES))
            self._targets = {}

    def _keep(self, name: str, content: bytes, folder: str) -> None:
        """Write a picture under a name that no other has or had: masks are known by it."""
        known = {path.stem for path in (self.folder / folder).iterdir()}
        if folder == IMAGES:
            known |= {path.stem for path in (self.folder / MASKS).rglob("*.png")}
            with self.opened() as project:
                known |= {Path(key).stem for key in project.facts()}
        taken = {normal(stem).casefold() for stem in known}
        stem, suffix = Path(name).stem, Path(name).suffix
        count, free = 2, stem
        while normal(free).casefold() in taken:
            free, count = f"{stem}-{count}", count + 1
        write_whole(self.folder / folder / f"{free}{suffix}", content)

    def add_example(self) -> None:
        """The bundled pictures: two to paint on, four to find things in.

        Raises:
            LikewiseError: the project's settings cannot be read or written; nothing is copied then.
        """
        from ...example import CONCEPTS, FOLDER

        with self.lock:
            settings = read_settings(self.folder, unfinished=True)
            labels = list(dict.fromkeys([*settings.page.get("classes", []), *CONCEPTS]))
            targets = tuple(dict.fromkeys((*settings.targets, IMAGES)))
            self.change(targets=targets, page={**settings.page, "classes": labels})
            for reference, _, pattern in CONCEPTS.values():
                files = [(FOLDER / reference, REFERENCES)]
                files += [(path, IMAGES) for path in sorted(FOLDER.glob(pattern))]
                for path, folder in files:
                    here = {file_hash(other) for other in (self.folder / folder).iterdir()}
                    if file_hash(path) not in here:
                        self._keep(path.name, path.read_bytes(), folder)
            with self.opened() as project:
                allot(project, labels)
            self._targets = {}

    def set_classes(
        self, wanted: Sequence[Mapping[str, Any]], version: str | None = None, erase: bool = False
    ) -> None:
        """Names and colours of the classes: {"label", "colour", "was" (its name before)} each.

        A class that is left out keeps its number, for the masks that show it.

        Args:
            wanted: all classes, in order.
            version: of the classes as the person saw them.
            erase: what is painted of classes that are left out may go.

        Raises:
            LikewiseError: a name is empty or taken, or a class with references is left out.
            StaleError: the classes are not as the person saw them.
        """
        labels = [normal(str(c["label"])).strip() for c in wanted]
        renamed = {
            str(c.get("was") or c["label"]): label for c, label in zip(wanted, labels, strict=True)
        }
        colours = [str(c["colour"]) for c in wanted]
        plain = all(label and label.isprintable() for label in labels)
        if not plain or len(set(labels)) < len(labels) or len(renamed) < len(labels):
            raise LikewiseError("every class needs a name of its own: change one of them.")
        if len(labels) >= NEGATIVE:
            raise LikewiseError(f"there are {len(labels)} classes, and 254 can be shown.")
        if not all(re.fullmatch("#[0-9a-fA-F]{6}", colour) for colour in colours):
            raise LikewiseError("a colour is none: reload the page.")
        with self.lock, self.opened() as project:
            settings = project.settings
            known = classes(project)
            check_version(version, version_of(known), "the classes were changed")
            lost = [label for label in settings.labels if label not in renamed]
            if lost and not erase:
                raise LikewiseError(f"{lost[0]} still has references: erase those first.")
            references = [
                dataclasses.replace(r, label=renamed.get(r.label, r.label))
                for r in settings.references
                if r.negative or r.label not in lost
            ]
            allot(project, [c["label"] for c in known if c["label"] in renamed])
            project.rename_classes(renamed)
            page = {**settings.page, "classes": labels, "colours": colours}
            self.change(references=tuple(references), page=page)
            allot(project, labels)

    def set_sliders(self, sliders: Sliders, version: str | None = None) -> dict[str, Any]:
        """Keep what the sliders say; the worker writes the masks.

        Args:
            sliders: their new places.
            version: of the sliders as the person saw them.

        Returns:
            As ``said_of``.

        Raises:
            StaleError: they are not as the person saw them.
        """
        with self.lock, self.opened() as project:
            check_version(version, version_of(project.sliders), "the sliders were moved")
            page = {**project.settings.page, **dataclasses.asdict(sliders)}
            self.change(page=page)
            return said_of(sliders)

    # --- verdicts --------------------------------------------------------------------------------

    def masked(self, project: Project, wanted: str) -> Job:
        """A target by its id whose mask is there, and as the sliders say.

        Raises:
            LikewiseError: it has none (yet), or its picture is gone.
        """
        job = self.target(project, wanted)
        row = project.facts(project.key(job)).get(project.key(job), {})
        if row.get("state") != "done" or not job.mask.is_file():
            raise LikewiseError(f"{job.target.name} has no mask at the moment: wait for it.")
        project.adopt_edited([job])  # changed with another program
        for _ in redraw(project, [job], lambda _: nullcontext(True)):
            pass  # the worker has not come to it yet
        return job

    def as_seen(
        self, project: Project, wanted: str, version: str | None
    ) -> tuple[Job, dict[str, Any]]:
        """A target as ``masked`` gives it, and what is known of it, if it is as a person saw it.

        Args:
            project: opened.
            wanted: id of the target.
            version: of the target then; None asks for none.

        Raises:
            LikewiseError: it has no mask.
            StaleError: it has another mask, or another verdict.
        """
        job = self.masked(project, wanted)
        now = self.describe(project, job.target)
        check_version(version, now["version"], f"{job.target.name} was changed")
        return job, now

    def judge(
        self, wanted: str, verdict: str | None, version: str, sliders: str | None = None
    ) -> dict[str, Any]:
        """Note what a person says of a target's mask as they saw it.

        Args:
            wanted: id of the target.
            verdict: "accepted", "rejected", or None to take it back; a correction stays.
            version: of the target as the person saw it.
            sliders: version of the sliders then.

        Raises:
            LikewiseError: it has no mask.
            StaleError: it has another mask, or another verdict.
        """
        with self.lock, self.opened() as project:
            job, before = self.as_seen(project, wanted, version)
            if before["source"] != "person" and not before["verdict"]:
                check_version(sliders, version_of(project.sliders), "the sliders were moved")
            project.judge([job.target], verdict)
            return self.describe(project, job.target)

    def restore(self, wanted: str, version: str) -> dict[str, Any]:
        """Discard a person's mask of a target: the model's comes back.

        Raises:
            LikewiseError: it has no mask.
            StaleError: it has another mask, or another verdict.
        """
        with self.lock, self.opened() as project:
            job, _ = self.as_seen(project, wanted, version)
            project.restore(job.target)
            return self.describe(project, job.target)


def allot(project: Project, labels: Sequence[str]) -> None:
    """Give classes their numbers, which they keep for ever."""
    project.manifest.folder.mkdir(exist_ok=True)
    project.manifest.allot(labels, label_maps=True)


def classes(project: Project) -> list[dict[str, Any]]:
    """{"label", "colour", "number"} of the page's classes; those with references are among them.

    The number is what a class is in masks, and in what is painted. Classes that have none yet are
    shown with that which they will get.

    Raises:
        LikewiseError: a number is too large for the page.
    """
    page = project.settings.page
    labels = dict.fromkeys([*page.get("classes", []), *project.settings.labels]) or {"object": None}
    colours = list(page.get("colours", []))
    numbers = dict(project.manifest.numbers)
    for label in labels:
        if label not in numbers:
            numbers[label] = next(k for k in range(1, 65536) if k not in numbers.values())
    defaults = [f"#{bytes(class_colour(k)).hex()}" for k in range(1, len(labels) + 1)]
    if any(numbers[label] >= NEGATIVE for label in labels):
        raise LikewiseError(
            f"{project.folder} has more classes than the page can show: use the commands."
        )
    return [
        {"label": label, "colour": colour, "number": numbers[label]}
        for label, colour in zip(labels, colours + defaults[len(colours) :], strict=False)
    ]


def former(project: Project, known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As ``classes``, those that were removed: masks may still show them."""
    numbers = dict(project.manifest.numbers)
    labels = {c["label"] for c in known}
    return [
        {"label": label, "colour": FORMER, "number": number}
        for label, number in numbers.items()
        if label not in labels and number < NEGATIVE
    ]


def said_of(sliders: Sliders) -> dict[str, Any]:
    """The sliders with their version, for the page."""
    return {**dataclasses.asdict(sliders), "version": version_of(sliders)}


def identity(key: str) -> str:
    """How the page calls a picture; it never names a path."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:20]


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


def _target(key: str, target: Path, mask: Path, known: Mapping[str, Any] | None) -> dict[str, Any]:
    row = known or {}
    state, verdict = row.get("state", "pending"), row.get("verdict")
    source = row.get("source") or "model"
    changed = str(_changed(mask))
    made = f"{row.get('run')}{row.get('hash')}"
    corrected = "corrected" if source == "person" else state
    return {
        "id": identity(key),
        "name": target.name,
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
        "version": f"{made}-{verdict}-{source}-{changed if source == 'person' else ''}",
        "mask": changed,
        "changed": str(_changed(target)),
    }


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not Path(name).name.startswith(".")


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

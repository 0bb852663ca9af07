"""What a person does to a project on the page: targets, references, classes, verdicts, datasets."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..batch.folder import LABELS, Job
from ..batch.layers import Sliders
from ..batch.project import LAYERS, MASKS, Project
from ..batch.settings import CONFIG, Marked, Settings, read_settings, relative, replace_settings
from ..batch.targets import IMAGE_SUFFIXES
from ..errors import LikewiseError
from ..images import read_image, read_pillow, write_label_map
from ..masks import read_mask
from ..pictures import class_colour
from ..writing import write_json, write_whole

IMAGES, REFERENCES, MASK = "images", "references", ".mask.png"
"""Folders of a project for what is uploaded and painted, and how painted masks end."""
NEGATIVE = 255
"""In label maps of references: what none of the classes is."""
WORKING = 1600
"""Pixels of the longer side at which larger pictures are shown and painted."""
LabelMap = npt.NDArray[np.uint8]


class GoneError(LikewiseError):
    """What is asked for is not there (any more)."""


class Workspace:
    """A project folder; opened anew for every request, so that it always is as it is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        """Held while files that a person and the worker both may write are written."""
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
        """Write likewise.toml with other values; as before if the targets cannot be used."""
        with self.lock:
            before = read_settings(self.folder, unfinished=True)
            replace_settings(self.folder, dataclasses.replace(before, **fields))
            try:
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
                "folders": settings.targets,
                "targets": [_target(project, job.target, rows) for job in jobs],
                "backbone": settings.backbone,
            }

    def pictures(self, project: Project) -> list[Path]:
        """Reference pictures: those of the settings, then those not painted yet."""
        named = [self.folder / r.image for r in project.settings.references]
        found = sorted(
            path
            for path in (self.folder / REFERENCES).iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.endswith(MASK)
        )
        return list({path.resolve(): path for path in [*named, *found]}.values())

    def _picture(self, project: Project, path: Path) -> dict[str, Any]:
        marked = [r for r in project.settings.references if self._shows(r, path)]
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
        for job in project.jobs():
            if identity(project.key(job)) == wanted:
                return job
        raise GoneError("this target is no longer in the project: reload the page.")

    def picture(self, project: Project, wanted: str) -> Path:
        """A reference picture by its id. Raises GoneError."""
        for path in self.pictures(project):
            if identity(relative(path, self.folder)) == wanted:
                return path
        raise GoneError("this reference is no longer in the project: reload the page.")

    def _shows(self, reference: Marked, path: Path) -> bool:
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
                shutil.copyfile(FOLDER / reference, self.folder / REFERENCES / reference)
                for path in FOLDER.glob(pattern):
                    shutil.copyfile(path, self.folder / IMAGES / path.name)
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
        if not all(labels) or len(set(labels)) < len(labels) or len(labels) >= NEGATIVE:
            raise LikewiseError("every class needs a name of its own: change one of them.")
        with self.lock, self.opened() as project:
            settings = project.settings
            if lost := [label for label in settings.labels if label not in renamed]:
                raise LikewiseError(f"{lost[0]} still has references: erase those first.")
            references = [
                dataclasses.replace(r, label=renamed.get(r.label, r.label))
                for r in settings.references
            ]
            colours = [str(c["colour"]) for c in wanted]
            page = {**settings.page, "classes": labels, "colours": colours}
            self.change(references=tuple(references), page=page)
            path = self.folder / MASKS / LABELS
            if path.is_file():  # of masks that were judged under the old names
                values = json.loads(path.read_text(encoding="utf-8"))
                write_json(path, {k: renamed.get(label, label) for k, label in values.items()})
            project.rename_classes(renamed)

    def set_sliders(self, sliders: Sliders) -> None:
        """Keep what the sliders say; the worker writes the masks."""
        with self.lock:
            page = read_settings(self.folder, unfinished=True).page
            self.change(page={**page, **dataclasses.asdict(sliders)})

    # --- verdicts --------------------------------------------------------------------------------

    def judge(self, wanted: str, state: str, version: str) -> dict[str, Any]:
        """Note what a person says of a target's mask as they saw it.

        Raises:
            LikewiseError: it has no mask, or a newer one.
        """
        with self.lock, self.opened() as project:
            job = self.target(project, wanted)
            if self.describe(project, job.target)["version"] != version:
                raise LikewiseError(f"{job.target.name} was masked anew meanwhile: look again.")
            for _ in project.redraw([job], lambda _: nullcontext(True)):
                pass  # as the sliders say, which the worker may not have come to yet
            was = project.states().get(project.key(job))
            project.judge([job.target], state)
            if was == "corrected" and state == "done":
                project.set_pending(project.key(job))  # the mask that was painted over comes back
            return self.describe(project, job.target)

    def mask(self, wanted: str) -> LabelMap:
        """(h, w) a target's mask at working size: 0 nothing, k the k-th class of the page."""
        with self.opened() as project:
            job = self.target(project, wanted)
            label_map = read_label_map(job.mask)
            table = np.zeros(256, np.uint8)
            names = [c["label"] for c in classes(project.settings)]
            for k, label in enumerate(project.settings.labels, 1):
                table[k] = names.index(label) + 1
            return table[_nearest(label_map, working_size(label_map.shape))]

    def correct(self, wanted: str, painted: LabelMap) -> dict[str, Any]:
        """Keep a mask that a person painted, as ``mask`` has it; finer detail stays where it can.

        Raises:
            LikewiseError: it shows a class without references, or has another size.
        """
        before = self.mask(wanted)
        with self.lock, self.opened() as project:
            job, labels = self.target(project, wanted), project.settings.labels
            if painted.shape != before.shape:
                raise LikewiseError(f"the mask of {job.target.name} has another size: look again.")
            table = np.zeros(256, np.uint8)
            for k, found in enumerate(classes(project.settings), 1):
                if found["label"] in labels:
                    table[k] = labels.index(found["label"]) + 1
                elif (painted == k).any():
                    raise LikewiseError(f"{found['label']} has no reference yet: paint one first.")
            whole = read_label_map(job.mask)
            changed = _nearest((painted != before).astype(np.uint8), whole.shape) > 0
            whole[changed] = _nearest(table[painted], whole.shape)[changed]
            colours = [class_colour(k) for k in range(1, len(labels) + 1)]
            write_label_map(job.mask, whole, [(0, 0, 0), *colours])
            project.judge([job.target], "corrected")
            return self.describe(project, job.target)

    def promote(self, wanted: str) -> None:
        """Make a target and its mask a reference; the mask counts as accepted.

        Raises:
            LikewiseError: it has no mask, or an empty one.
        """
        painted = self.mask(wanted)
        with self.lock, self.opened() as project:
            job = self.target(project, wanted)
            if not painted.any():
                raise LikewiseError(f"the mask of {job.target.name} is empty: paint it first.")
            if project.states()[project.key(job)] != "corrected":
                project.judge([job.target], "accepted")
            self.save_reference(job.target, painted)

    # --- references ------------------------------------------------------------------------------

    def painted(self, path: Path) -> LabelMap:
        """(h, w) of a reference picture at working size: 0, classes of the page, or NEGATIVE."""
        with self.opened() as project:
            names = [c["label"] for c in classes(project.settings)]
            image = read_image(path)
            painted = np.zeros(image.shape[:2], np.uint8)
            for r in project.settings.references:
                if self._shows(r, path):
                    value = NEGATIVE if r.negative else names.index(r.label) + 1
                    if r.mask is None:
                        painted[:] = value
                    else:
                        mask = self.folder / r.mask
                        painted[read_mask(mask, size=image.shape[:2], value=r.value)] = value
        return _nearest(painted, working_size(painted.shape))

    def save_reference(self, path: Path, painted: LabelMap) -> None:
        """Make what is painted on a picture references, in place of what was; none if nothing is.

        Args:
            path: the picture.
            painted: as ``painted`` gives it.
        """
        with self.lock, self.opened() as project:
            settings = project.settings
            names = [c["label"] for c in classes(settings)]
            values = [int(k) for k in np.unique(painted) if k]
            if any(k > len(names) and k != NEGATIVE for k in values):
                raise LikewiseError("a class that is painted is no longer there: reload the page.")
            size = read_image(path).shape[:2]
            if painted.shape != working_size(size):
                raise LikewiseError(f"what was painted does not fit {path.name}: reload the page.")
            old = [r for r in settings.references if self._shows(r, path)]
            kept = [r for r in settings.references if not self._shows(r, path)]
            mask = self._mask_file(path, old)
            new = []
            if values:
                palette = [(0, 0, 0), *(class_colour(k) for k in range(1, NEGATIVE)), (90, 90, 90)]
                write_label_map(mask, _nearest(painted, size), palette)
            for k in values:
                image, where = relative(path, self.folder), relative(mask, self.folder)
                label = "object" if k == NEGATIVE else names[k - 1]
                new.append(Marked(image, where, k, label, negative=k == NEGATIVE))
            # Classes stay in their order: masks that were judged have their numbers.
            rank = {label: n for n, label in enumerate([*settings.labels, *names][::-1])}
            references = sorted([*kept, *new], key=lambda r: (r.negative, -rank.get(r.label, 0)))
            self.change(references=tuple(references))
            if not values:
                mask.unlink(missing_ok=True)

    def _mask_file(self, path: Path, old: Sequence[Marked]) -> Path:
        """Where the painted mask of a picture goes: where it was, or to a name that is free."""
        folder = self.folder / REFERENCES
        for reference in old:
            before = self.folder / (reference.mask or "")
            if before.name.endswith(MASK) and before.resolve().parent == folder.resolve():
                return before
        count, mask = 2, folder / f"{path.stem}{MASK}"
        while mask.exists():
            mask, count = folder / f"{path.stem}-{count}{MASK}", count + 1
        return mask

    def remove_reference(self, path: Path) -> None:
        """Take a picture out of the references; the file goes too if it was uploaded."""
        with self.lock:
            size = working_size(read_image(path).shape)
            self.save_reference(path, np.zeros(size, np.uint8))
            if path.resolve().parent == (self.folder / REFERENCES).resolve():
                path.unlink(missing_ok=True)

    # --- datasets --------------------------------------------------------------------------------

    def export(self, kind: str, zipped: bool) -> bytes | Path:
        """Make a dataset of all masks that were not rejected.

        Args:
            kind: one of ``export.dataset.FORMATS``.
            zipped: give a zip instead of a new folder of the project; its images are in it too.

        Raises:
            LikewiseError: there is no mask yet, or as for ``write_dataset``.
        """
        from ..export.annotations import Pair, read_annotation, read_classes
        from ..export.dataset import Settings as Options
        from ..export.dataset import write_dataset

        with self.opened() as project:
            found = project.finished()
            if not found:
                raise LikewiseError("there is no mask to export yet: paint a reference first.")
            names, label_maps = read_classes(self.folder / MASKS, None)
            annotations = (
                read_annotation(Pair(image, mask), names, label_maps=label_maps, score=scores)
                for image, mask, scores in found
            )
            if not zipped:
                count, out = 2, self.folder / f"dataset-{kind}"
                while out.exists():
                    out, count = self.folder / f"dataset-{kind}-{count}", count + 1
                write_dataset(annotations, out, kind, Options(names))
                return out
            with TemporaryDirectory() as folder:
                out = Path(folder) / "dataset"
                write_dataset(annotations, out, kind, Options(names))
                data = io.BytesIO()
                with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
                    for path in sorted(out.rglob("*")):
                        if path.is_file():
                            archive.write(path, path.relative_to(out))
                return data.getvalue()


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


def working_size(size: Sequence[int]) -> tuple[int, int]:
    """(h, w) at which a picture of (H, W) is shown and painted."""
    scale = min(1.0, WORKING / max(size[:2]))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_label_map(path: Path) -> LabelMap:
    """(H, W) uint8. Raises LikewiseError if it cannot be read or has too many classes."""
    label_map = np.array(read_pillow(path, str(path)))
    if label_map.dtype != np.uint8 or label_map.ndim != 2:
        raise LikewiseError(f"{path} has more classes than the page can show: use the commands.")
    return label_map


def _nearest(values: LabelMap, size: Sequence[int]) -> LabelMap:
    if values.shape == tuple(size):
        return values
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _target(project: Project, target: Path, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    key = relative(target, project.folder)
    row = rows.get(key, {})
    return {
        "id": identity(key),
        "name": target.name,
        "path": key,
        "state": row.get("state", "pending"),
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

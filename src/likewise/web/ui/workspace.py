"""What a person does to a project on the page: targets, references, classes, verdicts, datasets."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...io.files import write_whole
from ...io.images import read_image
from ...io.text_files import normal
from ...project.folder import MASKS, SCORE_MAPS
from ...project.project import Project
from ...project.redraw import redraw
from ...project.score_maps import Sliders
from ...project.settings import read_settings, relative
from ...run.jobs import Job
from ...run.targets import IMAGE_SUFFIXES, find_images
from .class_list import NEGATIVE, allot, classes
from .removing import Removal
from .state import (
    IMAGES,
    REFERENCES,
    GoneError,
    WorkspaceState,
    check_version,
    identity,
    said_of,
    version_of,
)


class Workspace(WorkspaceState):
    """What a person changes in a project: targets, classes, sliders, verdicts."""

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
            own = [self.folder.resolve() / name for name in (MASKS, SCORE_MAPS)]
            if any(part in own for part in image.resolve().parents):
                raise LikewiseError(
                    f"{image.parent} is where this project keeps its own results: give a folder "
                    "of pictures."
                )
            if image == path:
                choice = read_settings(self.folder, unfinished=True).choice
                read_image(choice.of(image))  # a file is named on purpose: it must be an image
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

    def remove_target(self, wanted: str, removal: Removal) -> None:
        """Take one picture out of the targets; the copy of an upload is put away, masks stay.

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
                removal.discard(path)
            removal.forget(project, keys[wanted])
            self.forget_targets()

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
            read_image(io.BytesIO(content), name=name)
        except (OSError, ValueError, SyntaxError, LikewiseError) as error:
            raise LikewiseError(
                f"{name} cannot be read as a picture: open it in a viewer and save it as PNG."
            ) from error
        with self.lock:
            self.keep(f"{stem}{suffix}", content, REFERENCES if reference else IMAGES)
            targets = read_settings(self.folder, unfinished=True).targets
            if not reference and not any(map(self._is_uploads, targets)):
                self.change(targets=(*targets, IMAGES))
            self.forget_targets()

    def keep(self, name: str, content: bytes, folder: str) -> None:
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
            self.set_page(**dataclasses.asdict(sliders))
            return said_of(sliders)

    def set_page(self, **values: Any) -> None:
        """Keep what is set on the page."""
        with self.lock:
            before = read_settings(self.folder, unfinished=True).page
            self.change(page={**before, **values})

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

    def judge_many(
        self, seen: Sequence[tuple[str, str]], verdict: str | None, sliders: str | None = None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """As ``judge``, of several: ids and versions.

        Returns:
            The targets that it is noted of, and why it is not of others.
        """
        judged, left = [], []
        for wanted, version in seen:
            try:
                judged.append(self.judge(wanted, verdict, version, sliders))
            except LikewiseError as error:
                left.append(str(error))
        return judged, left

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

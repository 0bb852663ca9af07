"""Painted masks: of references, and of targets that a person corrects.

The page has one byte a pixel of a picture as it is shown (see ``working_size``): 0 nothing, else
the number of a class in the project's masks (see ``state.classes``); in references also
NEGATIVE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...errors import LikewiseError
from ...io.decoding import picture_size
from ...io.draw import class_colour
from ...io.encoding import write_label_map
from ...io.images import read_picture
from ...project.folder import MASKS
from ...project.project import Project
from ...project.settings import ProjectReference, relative
from ...reference import Reference, marked_pixels
from ...run.file_state import stamp
from ...run.jobs import Job
from .class_list import NEGATIVE, allot, classes
from .removing import Removal
from .state import REFERENCES, check_version
from .workspace import Workspace

WORKING = 1600
"""Pixels of the longer side at which larger pictures are shown and painted."""
LabelMap = npt.NDArray[np.uint8]
Part = Sequence[int]
"""Of a picture: left, top, width and height in its own pixels."""


def read_mask_of(
    workspace: Workspace, wanted: str, side: int = WORKING, part: Part | None = None
) -> LabelMap:
    """(h, w) a target's mask at working size: 0 nothing, else numbers of classes.

    Args:
        workspace: the project.
        wanted: id of the target.
        side: at most so many pixels a side; below WORKING to look at only.
        part: of the picture; all of it by default.

    Raises:
        LikewiseError: it has none, or the part is not inside.
    """
    with workspace.lock, workspace.opened() as project:
        whole = last_values(workspace, project, workspace.masked(project, wanted))
    cut = whole[window(part, whole.shape)]
    return nearest(cut, working_size(cut.shape, side))


def correct(
    workspace: Workspace,
    wanted: str,
    painted: LabelMap,
    version: str | None = None,
    part: Part | None = None,
) -> dict[str, Any]:
    """Keep a target's mask that a person painted; what they left alone keeps its finer detail.

    Args:
        workspace: the project.
        wanted: id of the target.
        painted: as ``read_mask_of`` gives it.
        version: of the target as the person saw it.
        part: of the picture, that was painted; the rest of the mask stays.

    Raises:
        LikewiseError: it shows a class that there is not, or has another size.
        StaleError: it is not as the person saw it.
    """
    with workspace.lock, workspace.opened() as project:
        job, _ = workspace.as_seen(project, wanted, version)
        whole = read_values(project, job)
        cut = whole[window(part, whole.shape)]
        before = nearest(cut, working_size(cut.shape))
        if painted.shape != before.shape:
            raise LikewiseError(f"the mask of {job.target.name} has another size: look again.")
        allot(project, [c["label"] for c in classes(project)])
        _check_numbers(project, painted[painted != before])
        changed = nearest((painted != before).astype(np.uint8), cut.shape) > 0
        cut[changed] = nearest(painted, cut.shape)[changed]
        project.correct(job.target, whole)
        return workspace.describe(project, job.target)


def promote(workspace: Workspace, wanted: str, version: str | None = None) -> dict[str, Any]:
    """Make a target and its mask a reference; the mask counts as accepted.

    Args:
        workspace: the project.
        wanted: id of the target.
        version: of the target as the person saw it.

    Raises:
        LikewiseError: it has no mask, or an empty one.
        StaleError: it is not as the person saw it.
    """
    with workspace.lock, workspace.opened() as project:
        job, _ = workspace.as_seen(project, wanted, version)
        painted = read_values(project, job)
        if not painted.any():
            raise LikewiseError(f"the mask of {job.target.name} is empty: correct it first.")
        save_reference(workspace, job.target, painted)
        project.judge([job.target], "accepted")
        return workspace.describe(project, job.target)


def read_painted(workspace: Workspace, path: Path) -> LabelMap:
    """(h, w) of a reference picture at working size: 0, numbers of classes, or NEGATIVE.

    Raises:
        LikewiseError: the picture or a mask cannot be used.
    """
    with workspace.opened() as project:
        references = project.settings.references
        numbers = {c["label"]: c["number"] for c in classes(project)}
    shown = project.settings.choice.of(path)
    picture = read_picture(shown)
    painted = np.zeros(picture.pixels.shape[:2], np.uint8)
    for r in references:
        if workspace.shows(r, path):
            mask = None if r.mask is None else workspace.folder / r.mask
            marked = marked_pixels(Reference(shown, mask, r.value, r.label, r.negative), picture)
            painted[marked] = NEGATIVE if r.negative else numbers[r.label]
    return nearest(painted, working_size(painted.shape))


def save_reference(
    workspace: Workspace, path: Path, painted: LabelMap, version: str | None = None
) -> dict[str, Any]:
    """Make what is painted on a picture references, in place of what was; none if nothing is.

    One label map holds all classes that are painted on it.

    Args:
        workspace: the project.
        path: the picture.
        painted: as ``read_painted`` gives it, or at the picture's own size.
        version: of the picture's references as the person saw them.

    Returns:
        "version" of what is kept, and "note": what the person should know of it, or "".

    Raises:
        LikewiseError: the whole picture is painted, or it does not fit the picture or the classes.
        StaleError: the references are not as the person saw them.
    """
    with workspace.lock, workspace.opened() as project:
        settings = project.settings
        now = workspace.picture_state(project, path)["version"]
        check_version(version, now, f"the example on {path.name} was changed")
        known = classes(project)
        allot(project, [c["label"] for c in known])
        names = {c["number"]: c["label"] for c in known}
        values = [int(k) for k in np.unique(painted) if k]
        _check_numbers(project, painted[painted != NEGATIVE], names)
        size = picture_size(settings.choice.of(path))
        if painted.shape not in (working_size(size), size):
            raise LikewiseError(f"what was painted does not fit {path.name}: reload the page.")
        everything = len(np.unique(painted)) == 1
        if everything and values and values != [NEGATIVE]:
            raise LikewiseError(f"all of {path.name} is painted: leave free what is not the thing.")
        mask = _mask_file(workspace, path, settings.references)
        where: str | None = relative(mask, workspace.folder)
        if everything:  # a picture that shows nothing of the thing needs no mask
            where = None
        elif values:
            palette = [(0, 0, 0), *(class_colour(k) for k in range(1, NEGATIVE)), (90, 90, 90)]
            mask.parent.mkdir(exist_ok=True)
            write_label_map(mask, nearest(painted, size), palette)
        image = relative(path, workspace.folder)
        new = [
            ProjectReference(image, where, k if where else None, negative=True)
            if k == NEGATIVE
            else ProjectReference(image, where, k, names[k])
            for k in values
        ]
        kept = [r for r in settings.references if not workspace.shows(r, path)]
        order = [c["label"] for c in known]
        references = sorted(
            [*kept, *new], key=lambda r: len(order) if r.negative else order.index(r.label)
        )
        workspace.change(references=tuple(references))
        if not values or everything:
            mask.unlink(missing_ok=True)
    note = ""
    if references and all(r.negative for r in references):
        note = "What it is not is kept; now paint an example of what it is, here or on another."
    with workspace.opened() as project:
        return {"version": workspace.picture_state(project, path)["version"], "note": note}


def remove_reference(workspace: Workspace, path: Path, removal: Removal) -> None:
    """Take a picture out of the references; its file goes too if it was uploaded."""
    with workspace.lock, workspace.opened() as project:
        references = project.settings.references
        mask = _mask_file(workspace, path, references)
        workspace.change(references=tuple(r for r in references if not workspace.shows(r, path)))
        removal.discard(mask)
        if path.resolve().parent == (workspace.folder / REFERENCES).resolve():
            removal.discard(path)


def _mask_file(workspace: Workspace, path: Path, references: Sequence[ProjectReference]) -> Path:
    """Where the painted mask of a picture is, or a name that is free for it."""
    folder = workspace.folder / REFERENCES / MASKS
    old = folder.parent  # where likewise 0.1.0 kept them, as <stem>.mask.png
    for reference in references:
        before = workspace.folder / (reference.mask or "")
        place = before.resolve().parent
        ours = place == folder.resolve() or (
            place == old.resolve() and before.name.endswith(".mask.png")
        )
        if ours and workspace.shows(reference, path):
            return before
    count, mask = 2, folder / f"{path.stem}.png"
    while mask.exists():
        mask, count = folder / f"{path.stem}-{count}.png", count + 1
    return mask


def window(part: Part | None, size: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of a part of a picture of (H, W); all of them without one.

    Raises:
        LikewiseError: it is not inside.
    """
    left, top, width, height = part or (0, 0, size[1], size[0])
    right, bottom = left + width, top + height
    if min(left, top, width - 1, height - 1) < 0 or right > size[1] or bottom > size[0]:
        raise LikewiseError("this part is not inside of the picture: reload the page.")
    return slice(top, bottom), slice(left, right)


def working_size(size: Sequence[int], side: int = WORKING) -> tuple[int, int]:
    """(h, w) at which a picture of (H, W) is shown and painted: at most so many pixels a side."""
    scale = min(1.0, min(side, WORKING) / max(size[:2]))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_values(project: Project, job: Job) -> LabelMap:
    """(H, W) the numbers of classes in a mask of the project; see ``Project.read_mask``."""
    values = project.read_mask(job.target)
    if int(values.max()) >= NEGATIVE:
        raise LikewiseError(
            f"{job.mask} has more classes than the page can show: use the commands."
        )
    return values.astype(np.uint8)


def last_values(workspace: Workspace, project: Project, job: Job) -> LabelMap:
    """``read_values`` to look at; a large mask is looked at part by part, and read once."""
    key = job.mask, stamp(job.mask)
    if workspace.last_mask is None or workspace.last_mask[0] != key:
        workspace.last_mask = key, read_values(project, job)
    return workspace.last_mask[1]


def _check_numbers(
    project: Project, painted: LabelMap, names: Mapping[int, str] | None = None
) -> None:
    """Raises LikewiseError if a number is of no class, or of none of some: it was removed."""
    known = project.manifest.numbers
    for number in np.unique(painted[painted > 0]).tolist():
        label = next((label for label, k in known.items() if k == number), None)
        if label is None or (names is not None and number not in names):
            what = "a class" if label is None else f"the class {label}"
            raise LikewiseError(
                f"{what} that is painted is no longer there: add it again, or erase it."
            )


def nearest(values: LabelMap, size: Sequence[int]) -> LabelMap:
    if values.shape == tuple(size):
        return values
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))

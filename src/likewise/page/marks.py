"""Painted masks: of references, and of targets that a person corrects.

The page has one byte a pixel of a picture as it is shown (see ``working_size``): 0 nothing, k the
k-th class of the page, and in references NEGATIVE.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..batch.settings import Marked, relative
from ..errors import LikewiseError
from ..images import read_image, read_pillow, write_label_map
from ..masks import read_mask
from ..pictures import class_colour
from .workspace import MASK, NEGATIVE, REFERENCES, Workspace, classes

WORKING = 1600
"""Pixels of the longer side at which larger pictures are shown and painted."""
LabelMap = npt.NDArray[np.uint8]


def read_mask_of(workspace: Workspace, wanted: str) -> LabelMap:
    """(h, w) a target's mask at working size: 0 nothing, k the k-th class of the page.

    Raises:
        LikewiseError: it has none.
    """
    with workspace.lock, workspace.opened() as project:
        job = workspace.masked(project, wanted)
        label_map = read_label_map(job.mask)
        names = [c["label"] for c in classes(project.settings)]
        table = np.zeros(256, np.uint8)
        for k, label in enumerate(project.settings.labels, 1):
            table[k] = names.index(label) + 1
    return table[_nearest(label_map, working_size(label_map.shape))]


def correct(workspace: Workspace, wanted: str, painted: LabelMap) -> dict[str, Any]:
    """Keep a target's mask that a person painted; what they left alone keeps its finer detail.

    Args:
        workspace: the project.
        wanted: id of the target.
        painted: as ``read_mask_of`` gives it.

    Raises:
        LikewiseError: it shows a class without references, or has another size.
    """
    with workspace.lock, workspace.opened() as project:
        job, labels = workspace.masked(project, wanted), project.settings.labels
        before = read_mask_of(workspace, wanted)
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
        project.correct(job.target, whole)
        return workspace.describe(project, job.target)


def promote(workspace: Workspace, wanted: str) -> dict[str, Any]:
    """Make a target and its mask a reference; the mask counts as accepted.

    Raises:
        LikewiseError: it has no mask, or an empty one.
    """
    with workspace.lock, workspace.opened() as project:
        job = workspace.masked(project, wanted)
        painted = read_mask_of(workspace, wanted)
        if not painted.any():
            raise LikewiseError(f"the mask of {job.target.name} is empty: correct it first.")
        if project.states()[project.key(job)] != "corrected":
            project.judge([job.target], "accepted")
        save_reference(workspace, job.target, painted)
        return workspace.describe(project, job.target)


def read_painted(workspace: Workspace, path: Path) -> LabelMap:
    """(h, w) of a reference picture at working size: 0, classes of the page, or NEGATIVE.

    Raises:
        LikewiseError: the picture or a mask cannot be used.
    """
    with workspace.opened() as project:
        settings = project.settings
    names = [c["label"] for c in classes(settings)]
    height, width = read_image(path).shape[:2]
    painted = np.zeros((height, width), np.uint8)
    for r in settings.references:
        if workspace.shows(r, path):
            value = NEGATIVE if r.negative else names.index(r.label) + 1
            if r.mask is None:
                painted[:] = value
            else:
                mask = read_mask(workspace.folder / r.mask, size=(height, width), value=r.value)
                painted[mask] = value
    return _nearest(painted, working_size(painted.shape))


def save_reference(workspace: Workspace, path: Path, painted: LabelMap) -> None:
    """Make what is painted on a picture references, in place of what was; none if nothing is.

    One label map holds all classes that are painted on it.

    Args:
        workspace: the project.
        path: the picture.
        painted: as ``read_painted`` gives it.

    Raises:
        LikewiseError: the whole picture is painted, or it does not fit the picture or the classes.
    """
    with workspace.lock, workspace.opened() as project:
        settings = project.settings
        names = [c["label"] for c in classes(settings)]
        values = [int(k) for k in np.unique(painted) if k]
        if any(k > len(names) and k != NEGATIVE for k in values):
            raise LikewiseError("a class that is painted is no longer there: reload the page.")
        size = read_image(path).shape[:2]
        if painted.shape != working_size(size):
            raise LikewiseError(f"what was painted does not fit {path.name}: reload the page.")
        if len(np.unique(painted)) == 1 and values:
            raise LikewiseError(f"all of {path.name} is painted: leave free what is not the thing.")
        mask = _mask_file(workspace, path, settings.references)
        if values:
            palette = [(0, 0, 0), *(class_colour(k) for k in range(1, NEGATIVE)), (90, 90, 90)]
            write_label_map(mask, _nearest(painted, size), palette)
        image, where = relative(path, workspace.folder), relative(mask, workspace.folder)
        new = [
            Marked(image, where, k, negative=True)
            if k == NEGATIVE
            else Marked(image, where, k, names[k - 1])
            for k in values
        ]
        kept = [r for r in settings.references if not workspace.shows(r, path)]
        # Classes stay in their order: masks that were judged have their numbers.
        order = list(dict.fromkeys([*settings.labels, *names]))
        references = sorted(
            [*kept, *new], key=lambda r: len(order) if r.negative else order.index(r.label)
        )
        workspace.change(references=tuple(references))
        if not values:
            mask.unlink(missing_ok=True)


def remove_reference(workspace: Workspace, path: Path) -> None:
    """Take a picture out of the references; its file goes too if it was uploaded."""
    with workspace.lock, workspace.opened() as project:
        references = project.settings.references
        mask = _mask_file(workspace, path, references)
        workspace.change(references=tuple(r for r in references if not workspace.shows(r, path)))
        mask.unlink(missing_ok=True)
        if path.resolve().parent == (workspace.folder / REFERENCES).resolve():
            path.unlink(missing_ok=True)


def _mask_file(workspace: Workspace, path: Path, references: Sequence[Marked]) -> Path:
    """Where the painted mask of a picture is, or a name that is free for it."""
    folder = workspace.folder / REFERENCES
    for reference in references:
        before = workspace.folder / (reference.mask or "")
        ours = before.name.endswith(MASK) and before.resolve().parent == folder.resolve()
        if ours and workspace.shows(reference, path):
            return before
    count, mask = 2, folder / f"{path.stem}{MASK}"
    while mask.exists():
        mask, count = folder / f"{path.stem}-{count}{MASK}", count + 1
    return mask


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

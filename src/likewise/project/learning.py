"""Masks that a person accepted or corrected become references by themselves: the loop that learns.

They stand in likewise.toml like any other; copies of their masks in ``references/learnt`` tell
them apart. What is taken back is no reference any more. They are chosen anew of what the masks and
the database say, and nothing else is kept: so nothing is learnt twice, whenever it is killed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..backbones.encoder import Encoder
from ..errors import LikewiseError
from ..features.patch_features import PatchFeatures, mask_share
from ..io.files import write_whole
from ..io.images import read_image
from ..run.file_state import file_hash, stamp
from ..run.jobs import Job
from .folder import ProjectFolder
from .project import Project
from .settings import ProjectReference, read_settings, relative
from .settings_file import replace_settings

LEARNT = "references/learnt"
"""Folder of copies of the masks that were learnt from."""
MOST = 16
"""Learnt references of a class."""
CONSIDERED = 64
"""Masks of a class that they are chosen of: the newest."""
Mean = npt.NDArray[np.float32]
Means = MutableMapping[Hashable, Mean]
T = TypeVar("T")


def is_learnt(folder: Path, reference: ProjectReference) -> bool:
    """Whether a reference of a project was made by ``learn``."""
    if reference.mask is None:
        return False
    return (folder / LEARNT).resolve() in (folder / reference.mask).resolve().parents


def learn(
    project: Project,
    encoder: Encoder,
    means: Means | None = None,
) -> bool:
    """Make a project's learnt references what they should be now; none if its switch is off.

    Open the project anew after a change: its settings stay as they were read.

    Args:
        project: with ``learn`` in its settings, or references that were learnt before.
        encoder: its encoder.
        means: mean features of masks that were chosen of before; filled.

    Returns:
        Whether likewise.toml changed.

    Raises:
        LikewiseError: if a copy or likewise.toml cannot be written.
    """
    folder, settings = project.folder, project.settings
    own = tuple(r for r in settings.references if not is_learnt(folder, r))
    if not settings.learn and own == settings.references:
        return False
    wanted = (*own, *(_chosen(project, encoder, own, {} if means is None else means)))
    if wanted == settings.references:
        return False
    with project.lock:
        now = read_settings(folder, unfinished=True)
        if (now.references, now.learn) != (settings.references, settings.learn):
            return True  # a person changed them meanwhile: look again
        replace_settings(folder, replace(now, references=wanted))
        kept = {(folder / str(r.mask)).resolve() for r in wanted}
        for copy in (folder / LEARNT).glob("*.png"):
            if copy.resolve() not in kept:
                copy.unlink(missing_ok=True)
    return True


def _chosen(
    project: Project, encoder: Encoder, own: Sequence[ProjectReference], means: Means
) -> list[ProjectReference]:
    chosen: list[ProjectReference] = []
    if not project.settings.learn:
        return chosen
    labels = dict.fromkeys(
        [*project.settings.page.get("classes", []), *(r.label for r in own if not r.negative)]
    )
    for label, jobs in _candidates(project, own).items():
        if label not in labels:
            continue
        number = project.numbers[label]

        def mean(job: Job, number: int = number) -> Mean:
            key = job.target, stamp(job.target), stamp(job.mask), number
            if key not in means:
                encoded = encoder.encode(read_image(job.picture))
                means[key] = mean_feature(encoded, project.read_mask(job.target) == number)
            return means[key]

        jobs = sorted(jobs[:CONSIDERED], key=lambda job: job.target)
        chosen += [_reference(project, job, number, label) for job in diverse(jobs, mean)]
    return chosen


def _reference(project: ProjectFolder, job: Job, number: int, label: str) -> ProjectReference:
    """Of a copy of the mask, named by its content: it never changes."""
    folder = project.folder
    copy = folder / LEARNT / f"{file_hash(job.mask)[:20]}.png"
    if not copy.is_file():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_whole(copy, job.mask.read_bytes())
        except OSError as error:
            raise LikewiseError(
                f"{copy} cannot be written ({error.strerror}): make room, or set learn = false."
            ) from error
    image = relative(job.target, folder)
    return ProjectReference(image, relative(copy, folder), number, label)


def _candidates(project: Project, own: Sequence[ProjectReference]) -> dict[str, list[Job]]:
    """Class → targets whose mask of it a person vouches for, newest first."""
    rows, found = project.facts(), defaultdict[str, list[Job]](list)
    areas = defaultdict[str, list[str]](list)
    for path, label, _, area in project.class_rows():
        if area > 0:
            areas[path].append(label)
    given = {(project.folder / r.image).resolve() for r in own}
    jobs = [job for job in project.jobs() if job.mask.is_file()]
    for job in sorted(jobs, key=lambda job: -job.mask.stat().st_mtime_ns):
        row = rows.get(project.key(job), {})
        good = row.get("verdict") == "accepted" or (
            row.get("source") == "person" and not row.get("verdict")
        )
        if good and row.get("state") == "done" and job.target.resolve() not in given:
            for label in areas[project.key(job)]:
                found[label].append(job)
    return found


def diverse(items: Sequence[T], mean: Callable[[T], Mean]) -> list[T]:
    """At most MOST items, in their order: the most usual one, then always the farthest from all.

    Args:
        items: to choose of.
        mean: (D,) unit mean feature of one.
    """
    if len(items) <= MOST:
        return list(items)
    features = np.stack([mean(item) for item in items])
    cosines = features @ features.T
    taken = [int(cosines.sum(axis=1).argmax())]
    while len(taken) < MOST:
        near = cosines[:, taken].max(axis=1)
        near[taken] = np.inf
        taken.append(int(near.argmin()))
    return [items[k] for k in sorted(taken)]


def mean_feature(encoded: PatchFeatures, mask: npt.NDArray[np.bool_]) -> Mean:
    """(D,) float32 unit mean debiased feature of an (H, W) mask."""
    share = mask_share(mask, encoded.grid).float().cpu()
    total = (encoded.debiased.float().cpu() * share[:, None]).sum(dim=0).numpy()
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9))

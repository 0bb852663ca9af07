"""Masks that a person accepted or corrected become references by themselves: the loop that learns.

They stand in likewise.toml like any other; copies of their masks in ``references/learnt`` tell
them apart. What is taken back is no reference any more. Nothing else is kept, so nothing is learnt
twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from ...features.patch_features import mask_share
from ...io.files import write_whole
from ...io.images import read_image
from ...project.project import Project
from ...project.settings import ProjectReference, relative
from ...run.file_state import file_hash, stamp
from ...run.jobs import Job
from .class_list import classes
from .keeping import KeepingEncoder
from .state import LEARNT, WorkspaceState, is_learnt

MOST = 8
"""Learnt references of a class."""
CONSIDERED = 64
"""Masks of a class that they are chosen of: the newest."""
Means = dict[object, "np.ndarray"]


def learn(workspace: WorkspaceState, encoder: KeepingEncoder, means: Means) -> bool:
    """Make the learnt references what they should be now; none if the switch is off.

    Args:
        workspace: the project.
        encoder: its encoder.
        means: mean features of masks that were chosen of before; filled.

    Returns:
        Whether any changed.
    """
    with workspace.opened() as project:
        settings, chosen = project.settings, list[ProjectReference]()
        own = tuple(r for r in settings.references if not is_learnt(workspace.folder, r))
        if settings.page.get("learn"):
            numbers = {c["label"]: c["number"] for c in classes(project)}
            for label, jobs in _candidates(workspace, project, own).items():
                if label in numbers:
                    number = numbers[label]

                    def mean(job: Job, number: int = number) -> np.ndarray:
                        key = job.target, stamp(job.target), stamp(job.mask), number
                        if key not in means:
                            means[key] = _mean(project, encoder, job, number)
                        return means[key]

                    chosen += [
                        _reference(workspace, job, number, label) for job in diverse(jobs, mean)
                    ]
        wanted = (*own, *chosen)
        if wanted == settings.references:
            return False
    with workspace.lock, workspace.opened() as project:
        if project.settings.references != settings.references:
            return True  # a person changed them meanwhile: look again
        workspace.change(references=wanted)
        kept = {(workspace.folder / str(r.mask)).resolve() for r in wanted}
        for copy in (workspace.folder / LEARNT).glob("*.png"):
            if copy.resolve() not in kept:
                copy.unlink()
    return True


def _reference(workspace: WorkspaceState, job: Job, number: int, label: str) -> ProjectReference:
    """Of a copy of the mask, named by its content: it never changes."""
    copy = workspace.folder / LEARNT / f"{file_hash(job.mask)[:20]}.png"
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, job.mask.read_bytes())
    image = relative(job.target, workspace.folder)
    return ProjectReference(image, relative(copy, workspace.folder), number, label)


def _candidates(
    workspace: WorkspaceState, project: Project, own: tuple[ProjectReference, ...]
) -> dict[str, list[Job]]:
    """Class → targets whose mask of it a person vouches for, newest first."""
    rows, found = project.facts(), defaultdict[str, list[Job]](list)
    areas = defaultdict[str, list[str]](list)
    for path, label, _, area in project.class_rows():
        if area > 0:
            areas[path].append(label)
    jobs = [job for job in project.jobs() if job.mask.is_file()]
    for job in sorted(jobs, key=lambda job: -job.mask.stat().st_mtime_ns):
        row = rows.get(project.key(job), {})
        good = row.get("verdict") == "accepted" or (
            row.get("source") == "person" and not row.get("verdict")
        )
        if (
            good
            and row.get("state") == "done"
            and not any(workspace.shows(r, job.target) for r in own)
        ):
            for label in areas[project.key(job)]:
                found[label].append(job)
    return found


def diverse(jobs: list[Job], mean: Callable[[Job], np.ndarray]) -> list[Job]:
    """At most MOST jobs, in the order of their names: each is the farthest from those before.

    Args:
        jobs: newest first.
        mean: (D,) unit mean feature of the class in one.
    """
    jobs = sorted(jobs[:CONSIDERED], key=lambda job: job.target)
    if len(jobs) <= MOST:
        return jobs
    features = np.stack([mean(job) for job in jobs])
    cosines = features @ features.T
    taken = [int(cosines.sum(axis=1).argmax())]  # the most usual one
    while len(taken) < MOST:
        near = cosines[:, taken].max(axis=1)
        near[taken] = np.inf
        taken.append(int(near.argmin()))
    return [jobs[k] for k in sorted(taken)]


def _mean(project: Project, encoder: KeepingEncoder, job: Job, number: int) -> np.ndarray:
    encoded = encoder.encode(read_image(job.target))
    share = mask_share(project.read_mask(job.target) == number, encoded.grid).float().cpu()
    total = (encoded.debiased.float().cpu() * share.flatten()[:, None]).sum(dim=0).numpy()
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9))

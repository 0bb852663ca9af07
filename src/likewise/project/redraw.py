"""Masks rewritten from their score maps after the sliders were moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..io.files import write_whole
from ..io.images import read_picture
from ..run.jobs import Job
from ..run.outcomes import Outcome, SegmentedJob
from ..run.runner import WriteCheck, finish, store
from .project import Project
from .score_maps import read_score_maps, read_written_sliders


def redraw(project: Project, jobs: Sequence[Job], may_write: WriteCheck) -> Iterator[Outcome]:
    """Rewrite the masks of the model that no person judged and that have other sliders than now.

    Args:
        project: whose sliders they are.
        jobs: from ``Project.jobs``; those without score maps are skipped.
        may_write: context manager that yields whether the mask of a job may be written now.

    Raises:
        LikewiseError: if the disk refuses a mask or a row.
    """
    settings, sliders, numbers = project.settings, project.sliders, project.numbers
    project.adopt_edited(jobs)
    for job in jobs:
        path, key = project.score_maps(job.target), project.key(job)
        row = project.facts(key).get(key, {})
        free = row.get("state") == "done" and not row["verdict"] and row["source"] == "model"
        if not free or read_written_sliders(path) in (sliders, None):
            continue
        if project.manifest.is_of_other(job.mask, job.target):
            continue  # the scores are of a picture that was replaced: it is segmented anew
        found = read_score_maps(path)
        if found is None or not numbers.keys() >= set(found[0].labels):
            continue  # of classes that were renamed: they are segmented anew
        with may_write(job) as free:
            if not free:
                continue
            picture = read_picture(job.picture)
            result = found[0].result(sliders, settings.refine, picture)
            segmented = SegmentedJob(job, picture, result, row["seconds"])
            finished = finish(job, segmented, numbers=numbers, limits=project.limits)
            outcome = store(finished, project.manifest, row["run"])
            # Last: the file records with which sliders the mask is written.
            write_whole(path, found[0].encode(sliders))
            project.record(job, outcome, row["run"])
        yield outcome

"""Segment files into a folder: one mask a target, written whole; a failure is an outcome."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..backbones.device import faster_way, share_of_threads
from ..errors import ImageError, LikewiseError, WriteError, explained_memory
from ..io.encoding import encode_image, encode_label_map, encode_mask
from ..io.files import write_whole
from ..io.hashing import fingerprint
from ..io.prefetch import prefetch_map
from ..quality import mask_warnings, stability_score
from .file_state import FileState, look
from .instance_file import encode_instances
from .jobs import Job, make_parent
from .labels import MARKED, renumbered
from .manifest import Manifest
from .outcomes import ClassOutcome, Finished, Outcome, SegmentedJob

if TYPE_CHECKING:
    from ..io.images import Picture
    from ..result import ClassResult, Result
    from ..segmenter import Segmenter

Keep: TypeAlias = "Callable[[SegmentedJob], tuple[Result, tuple[Path, bytes]]]"
"""Called with each segmented job: the result to write, and path and content of one more file."""
WriteCheck: TypeAlias = "Callable[[Job], AbstractContextManager[bool]]"
"""A context manager for writing the files of a job; it yields whether they may be written."""
KeepCheck: TypeAlias = "Callable[[Job], Outcome | str]"
"""The outcome of a job if its existing mask is kept, else why it is not ('': there is none)."""
JobSource: TypeAlias = "Callable[[KeepCheck], Iterator[tuple[Job, SegmentedJob | Outcome]]]"
"""Reads and segments jobs, but those that are kept, and yields them in order."""


def run_key(segmenter: Segmenter, numbers: Mapping[str, int], consensus: bool = False) -> str:
    """Fingerprint of all that the masks of a folder depend on but their pictures.

    Args:
        segmenter: with references already fitted.
        numbers: class → its value in the masks, from ``Manifest.allot``.
        consensus: as for ``segment_files``.
    """
    return fingerprint(segmenter.fingerprint, numbers, consensus)


def _key(run: str, job: Job) -> str:
    """Fingerprint of all that the mask of a job depends on but its picture."""
    return fingerprint(run, job.prompts) if job.prompts else run


def segment_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    manifest: Manifest,
    numbers: Mapping[str, int],
    *,
    run: str,
    resume: bool = False,
    overwrite: bool = False,
    consensus: bool = False,
    limits: Mapping[str, float] | None = None,
    keep: Keep | None = None,
    may_write: WriteCheck | None = None,
    source: JobSource | None = None,
) -> Iterator[Outcome]:
    """Segment job after job; a target that cannot be read becomes an ``Outcome`` with its error.

    Args:
        segmenter: with references already fitted.
        jobs: from ``plan``.
        manifest: of the folder that they go to.
        numbers: class → its value in the masks, from ``Manifest.allot``.
        run: fingerprint of all that masks depend on but their pictures.
        resume: keep masks that are there as this run would make them.
        overwrite: also replace masks that a person made or changed.
        consensus: let targets that follow each other become references of each other.
        limits: of ``quality.mask_warnings``; None: masks are not checked.
        keep: see ``Keep``.
        may_write: context manager that yields whether the mask of a job may be written now.
        source: what segments the jobs, if they are not images each for itself.

    Yields:
        One outcome a job, its files already whole on disk.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    finished = partial(finish, numbers=numbers, limits=limits, keep=keep)

    def written(job: Job, done: SegmentedJob | Outcome) -> Outcome:
        return store(finished(job, done), manifest, run, overwrite=overwrite, may_write=may_write)

    def kept(job: Job) -> Outcome | str:
        if not overwrite and manifest.is_by_hand(job.mask):
            return Outcome(job.target, job.mask, skipped=True, by_hand=True)
        if not resume or not os.path.isfile(job.mask):  # noqa: PTH113 (long names)
            return ""
        stale = manifest.stale(job.mask, job.target, _key(run, job), beside=job.beside)
        return stale or Outcome(job.target, job.mask, skipped=True)

    source = source or partial(_images, segmenter, jobs, consensus)
    # Masks are written while the next are segmented; on the CPU one after the other, in order, and
    # where a person may judge them meanwhile, each before the next is begun.
    batch = segmenter.batch_size(False)
    ahead = batch if may_write is None else batch - 1
    yield from prefetch_map(lambda pair: written(*pair), source(kept), ahead, workers=batch)


def finish_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    numbers: Mapping[str, int],
    *,
    consensus: bool = False,
    limits: Mapping[str, float] | None = None,
    keep: Keep | None = None,
) -> Iterator[Finished]:
    """As ``segment_files``, but nothing is written: the caller does it with ``store``."""
    finished = partial(finish, numbers=numbers, limits=limits, keep=keep)
    segmented = _images(segmenter, jobs, consensus, lambda job: "")
    ahead = segmenter.batch_size(False) - 1
    yield from prefetch_map(lambda pair: finished(*pair), segmented, ahead)


def store(
    finished: Finished,
    manifest: Manifest,
    run: str,
    *,
    overwrite: bool = False,
    may_write: WriteCheck | None = None,
) -> Outcome:
    """Write the files of a job, each whole, but never over a mask that a person made or changed.

    Args:
        finished: the job.
        manifest, run, overwrite, may_write: as for ``segment_files``.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    job, outcome = finished.job, finished.outcome
    if not finished.files:
        return outcome
    start, others, unwritten = time.perf_counter(), list[Path](), list(outcome.unwritten)
    with nullcontext(True) if may_write is None else may_write(job) as free:
        if not free:
            return Outcome(job.target, job.mask, skipped=True)
        if not overwrite and manifest.is_by_hand(job.mask):  # since the run began
            return Outcome(job.target, job.mask, skipped=True, by_hand=True)
        *beside, (mask, content) = finished.files
        for path, more in beside:
            try:
                make_parent(path)
                write_whole(path, more)
                others.append(path)
            except WriteError:
                raise
            except ImageError as error:
                unwritten.append(str(error))
        try:
            make_parent(mask)
            key = _key(run, job)
            manifest.write(mask, content, job.picture, key, seen=finished.seen, beside=others)
        except WriteError:
            raise
        except ImageError as error:
            return Outcome(job.target, error=str(error))
    seconds = outcome.seconds + time.perf_counter() - start
    overlay = job.overlay if job.overlay in others else None
    return replace(outcome, seconds=seconds, overlay=overlay, unwritten=tuple(unwritten))


@dataclass(frozen=True, eq=False)
class _Read:
    """A target that was read."""

    picture: Picture
    seen: FileState
    anew: str


def _read(segmenter: Segmenter, job: Job, kept: KeepCheck) -> tuple[Job, _Read | Outcome]:
    found = kept(job)
    if isinstance(found, Outcome):
        return job, found
    try:
        with explained_memory(str(job.target)):
            seen = look(job.target)  # before: what changes while it is read is done again
            return job, _Read(segmenter.read(job.picture), seen, found)
    except LikewiseError as error:
        return job, Outcome(job.target, error=str(error))


def _images(
    segmenter: Segmenter, jobs: Sequence[Job], consensus: bool, kept: KeepCheck
) -> Iterator[tuple[Job, SegmentedJob | Outcome]]:
    """Read ahead and segment in batches, on a CPU several at the same time; what is kept or
    unreadable is passed on in its place."""
    workers = 1 if consensus else segmenter.images_at_once(len(jobs))
    ahead = max(workers, segmenter.batch_size(False))
    read = prefetch_map(partial(_read, segmenter, kept=kept), jobs, ahead)
    segmented = partial(_segmented, segmenter, consensus)
    yield from faster_way(segmented, read, segmenter.batch_size(consensus), workers)


def _segmented(
    segmenter: Segmenter,
    consensus: bool,
    batch: Sequence[tuple[Job, _Read | Outcome]],
) -> list[tuple[Job, SegmentedJob | Outcome]]:
    """The results of a batch; beside others an image took its share of the time of all threads."""
    read_now = {job: image.picture for job, image in batch if isinstance(image, _Read)}
    images = {job: picture for job, picture in read_now.items() if not job.prompts}
    start = time.perf_counter()
    results = dict(zip(images, _try(segmenter, images, consensus), strict=True))
    shared = (time.perf_counter() - start) / max(1, len(images))
    done: list[tuple[Job, SegmentedJob | Outcome]] = []
    for job, image in batch:
        if isinstance(image, Outcome):
            done.append((job, image))
            continue
        seconds, start = shared, time.perf_counter()
        if job.prompts:
            results[job] = _corrected(segmenter, job, image.picture)
            seconds = time.perf_counter() - start
        if isinstance(result := results[job], Outcome):
            done.append((job, result))
            continue
        known = job, image.picture, result, seconds * share_of_threads(), image.seen, image.anew
        done.append((job, SegmentedJob(*known)))
    return done


def _corrected(segmenter: Segmenter, job: Job, picture: Picture) -> Result | Outcome:
    from ..session import Session

    try:
        with explained_memory(str(job.target)):
            session = Session(segmenter, picture)
            for label, p in job.prompts:
                session.prompt(p.points, p.box, p.scribbles, label)
            return session.result
    except LikewiseError as error:
        return Outcome(job.target, error=str(error))


def _try(
    segmenter: Segmenter, images: Mapping[Job, Picture], consensus: bool
) -> list[Result | Outcome]:
    """Results in order; a batch that fails is tried image by image, unless it is a consensus."""
    if not images:
        return []
    try:
        with explained_memory(str(next(iter(images)).target)):
            return list(segmenter.segment_batch(list(images.values()), consensus=consensus))
    except LikewiseError as error:
        if consensus or len(images) == 1:
            return [Outcome(job.target, error=str(error)) for job in images]
        return [_try(segmenter, {job: image}, False)[0] for job, image in images.items()]


def finish(
    job: Job,
    done: SegmentedJob | Outcome,
    *,
    numbers: Mapping[str, int],
    limits: Mapping[str, float] | None,
    keep: Keep | None = None,
) -> Finished:
    """Encode the files of one job and check its masks, for ``store``."""
    if isinstance(done, Outcome):
        return Finished(job, done)
    start = time.perf_counter()
    result, files, unwritten = done.result, list[tuple[Path, bytes]](), list[str]()
    try:
        with explained_memory(str(job.target)):
            if keep is not None:
                result, kept = keep(done)
                files.append(kept)
            files += _encoded(job, done.picture.pixels, result, numbers, unwritten)
    except LikewiseError as error:
        return Finished(job, Outcome(job.target, error=str(error)))
    outcome = Outcome(
        job.target,
        job.mask,
        job.overlay,
        area=result.area,
        confidence=result.confidence,
        seconds=done.seconds + time.perf_counter() - start,
        anew=done.anew,
        unwritten=tuple(unwritten),
        classes=()
        if limits is None
        else tuple(_judged(label, c, limits) for label, c in result.classes.items()),
    )
    return Finished(job, outcome, tuple(files), done.seen)


def _encoded(
    job: Job,
    image: np.ndarray,
    result: Result,
    numbers: Mapping[str, int],
    unwritten: list[str],
) -> Iterator[tuple[Path, bytes]]:
    """The files, the mask last; why there is no overlay is added to ``unwritten``."""
    from ..io.draw import class_palette, overlay, overlay_labels, with_legend

    plain = set(numbers.values()) == {MARKED}
    label_map = np.empty(0, np.uint8) if plain else renumbered(result, numbers)
    if job.overlay is not None:
        if plain:
            picture = overlay(image, result.mask)
        else:
            found = set(np.unique(label_map).tolist())
            names = {k: name for name, k in numbers.items() if k in found}
            picture = with_legend(overlay_labels(image, label_map), names)
        try:
            yield job.overlay, encode_image(job.overlay, picture)
        except ImageError as error:  # too wide for JPEG
            unwritten.append(str(error))
    if job.instances is not None:
        objects = [replace(i, number=numbers[i.label]) for i in result.instances()]
        yield job.instances, encode_instances(objects)
    if plain:
        yield job.mask, encode_mask(job.mask, result.mask)
    else:
        palette = class_palette(max(numbers.values()))
        yield job.mask, encode_label_map(job.mask, label_map, palette)


def _judged(label: str, found: ClassResult, limits: Mapping[str, float]) -> ClassOutcome:
    stability = stability_score(found.scores)
    reasons = mask_warnings(found.mask, stability, found.confidence, found.disputed, **limits)
    return ClassOutcome(label, float(found.mask.mean()), found.confidence, stability, reasons)

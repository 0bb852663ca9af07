"""Segmenting files into a folder: one mask a target, whole files only, a failure ends nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from ..errors import LikewiseError, explained_memory
from ..images import encode_image, encode_label_map, encode_mask
from ..instance_file import encode_instances, instances_path
from ..prefetch import ahead, batched
from ..quality import steadiness, verdicts
from ..writing import write_whole

if TYPE_CHECKING:
    from ..images import Picture
    from ..result import ClassResult, Result
    from ..segmenter import Segmenter

R = TypeVar("R")


@dataclass(frozen=True)
class Job:
    """One target and where its files go."""

    target: Path
    mask: Path
    overlay: Path | None
    instances: Path | None = None
    """Where the objects go, if they are told apart."""


@dataclass(frozen=True)
class ClassOutcome:
    """What was found of one class."""

    label: str
    area: float
    """Share of the image, 0..1."""
    confidence: float
    """0..1."""
    steadiness: float
    """0..1: how little it hangs on the threshold, see ``quality.steadiness``."""
    reasons: tuple[str, ...]
    """What speaks against it, see ``quality.verdicts``."""


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    target: Path
    mask: Path | None = None
    overlay: Path | None = None
    area: float = 0.0
    """Share of the image that is foreground, 0..1."""
    confidence: float = 0.0
    """0..1: how sure the method is that the target shows the concept."""
    seconds: float = 0.0
    error: str | None = None
    """Why there is no mask; None when there is one."""
    skipped: bool = False
    """The mask was there already and was kept."""
    classes: tuple[ClassOutcome, ...] = ()
    """Every class looked for, where masks are judged."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """One job between segmenting and encoding."""

    job: Job
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    result: Result
    seconds: float


@dataclass(frozen=True)
class Finished:
    """One job between encoding, maybe on another machine, and writing."""

    job: Job
    outcome: Outcome
    files: tuple[tuple[Path, bytes], ...] = ()
    """What is still to be written, the mask last: it says that a target is done."""


Keep: TypeAlias = "Callable[[Segmented], tuple[Result, tuple[Path, bytes]]]"
"""What a result becomes before it is written, and one more file that is kept of it."""
Claim: TypeAlias = "Callable[[Job], AbstractContextManager[bool]]"
"""Holds while the files of a job are written; false leaves them alone."""

LABELS = "labels.json"
"""Beside label maps: {"1": first class, "2": second, ...}; 0 is unknown."""


def plan(
    targets: Sequence[Path],
    out: Path,
    *,
    overlay: bool,
    instances: bool = False,
    inputs: Sequence[Path] = (),
) -> list[Job]:
    """Name every output and make the folder, before anything expensive starts.

    Args:
        targets: images to segment.
        out: folder for ``<stem>.png`` and, with ``overlay``, ``<stem>_overlay.jpg``.
        overlay: whether pictures are written too.
        instances: whether ``<stem>.instances.json`` are written too.
        inputs: further files that must not be overwritten (references, masks).

    Raises:
        LikewiseError: if two targets would share an output, an output would replace an input, or
            the folder cannot be made or written to.
    """
    jobs = [
        Job(
            t,
            out / f"{t.stem}.png",
            out / f"{t.stem}_overlay.jpg" if overlay else None,
            instances_path(out / f"{t.stem}.png") if instances else None,
        )
        for t in targets
    ]
    pairs = [(j.target, p) for j in jobs for p in (j.mask, j.overlay, j.instances) if p is not None]
    claim(out, pairs, inputs=[*targets, *inputs])
    return jobs


def claim(
    out: Path,
    results: Sequence[tuple[Path, Path]],
    inputs: Sequence[Path],
    option: str = "--out",
) -> None:
    """Make the folder ``out``, sure that every result can go there and replaces no input.

    Args:
        out: folder to write to.
        results: (target, file to write for it) pairs.
        inputs: files that must not be overwritten.
        option: what errors say to change.

    Raises:
        LikewiseError: as for ``plan``.
    """
    sources = {_key(path): path for path in inputs}
    taken: dict[str, Path] = {}
    for target, path in results:
        if _key(path) in sources:
            raise LikewiseError(
                f"the result of {target} would overwrite {sources[_key(path)]}: "
                f"give another {option} folder."
            )
        other = taken.setdefault(_key(path), target)
        if other is not target:
            raise LikewiseError(
                f"{other} and {target} would both be written to {path}: "
                f"rename one, or write them to different {option} folders."
            )
        if path.is_dir():
            raise LikewiseError(f"{path} is a folder: move it, or give another {option}.")
    probe = out / f".likewise-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread may have asked the same
    except OSError as error:
        raise LikewiseError(
            f"the folder {out} cannot be written to ({error.strerror}): give another {option}."
        ) from error


def check_labels(out: Path, values: Mapping[str, str], jobs: Sequence[Job]) -> None:
    """Whether masks that are there already, and will be kept, were made with these classes.

    Args:
        out: the folder of the masks.
        values: what ``labels.json`` will say.
        jobs: from ``plan``.

    Raises:
        LikewiseError: if not, or if nothing says so.
    """
    if not any(job.mask.is_file() for job in jobs):
        return
    try:
        same = json.loads((out / LABELS).read_text(encoding="utf-8")) == values
    except (OSError, ValueError):
        same = False
    if not same:
        raise LikewiseError(
            f"the masks in {out} were not made with these labels: leave out --resume, or give "
            "another --out."
        )


def segment_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    *,
    resume: bool = False,
    label_maps: bool = False,
    consensus: bool = False,
    limits: Mapping[str, float] | None = None,
    keep: Keep | None = None,
    claim: Claim | None = None,
) -> Iterator[Outcome]:
    """Segment job after job; a target that cannot be read becomes an ``Outcome`` with its error.

    Args:
        segmenter: with references already fitted.
        jobs: from ``plan``.
        resume: keep masks that are there already.
        label_maps: write which class each pixel is (palette, 0 unknown), not masks of 0 and 255.
        consensus: let targets that follow each other become references of each other.
        limits: judge masks too, by these limits of ``quality.verdicts``.
        keep: keeps more of a result than its masks.
        claim: decides, when a job is to be written, whether it still may be.

    Yields:
        One outcome a job, its files already whole on disk.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    finish = partial(_finish, label_maps=label_maps, limits=limits, keep=keep)

    def written(job: Job, done: Segmented | Outcome) -> Outcome:
        return store(finish(job, done), claim)

    yield from _each(segmenter, jobs, written, resume, consensus)


def finish_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    *,
    consensus: bool = False,
    limits: Mapping[str, float] | None = None,
    keep: Keep | None = None,
) -> Iterator[Finished]:
    """As ``segment_files`` of label maps, where somebody else is to ``store`` them."""
    finish = partial(_finish, label_maps=True, limits=limits, keep=keep)
    yield from _each(segmenter, jobs, finish, False, consensus)


def store(finished: Finished, claim: Claim | None = None) -> Outcome:
    """Write the files of a job, each whole. Raises WriteError if the disk refuses one."""
    outcome = finished.outcome
    if not finished.files:
        return outcome
    start = time.perf_counter()
    with nullcontext(True) if claim is None else claim(finished.job) as free:
        if not free:
            return Outcome(finished.job.target, finished.job.mask, skipped=True)
        for path, content in finished.files:
            write_whole(path, content)
    return replace(outcome, seconds=outcome.seconds + time.perf_counter() - start)


def _each(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    last: Callable[[Job, Segmented | Outcome], R],
    resume: bool,
    consensus: bool,
) -> Iterator[R]:
    """``last`` of every job when it is segmented, in order."""
    depth = segmenter.batch_size(False)
    read = ahead(partial(_read, segmenter, resume=resume), jobs, depth)
    segmented = _segmented(segmenter, read, consensus)
    # On the CPU each is written before the next is segmented; an accelerator need not wait.
    yield from ahead(lambda pair: last(*pair), segmented, depth - 1)


def _read(segmenter: Segmenter, job: Job, resume: bool) -> tuple[Job, Picture | Outcome]:
    if resume and job.mask.is_file() and (job.instances is None or job.instances.is_file()):
        return job, Outcome(job.target, job.mask, skipped=True)
    try:
        with explained_memory(str(job.target)):
            return job, segmenter.read(job.target)
    except LikewiseError as error:
        return job, Outcome(job.target, error=str(error))


def _segmented(
    segmenter: Segmenter, read: Iterator[tuple[Job, Picture | Outcome]], consensus: bool
) -> Iterator[tuple[Job, Segmented | Outcome]]:
    """Segment as many as go together; what was kept or cannot be read keeps its place."""
    for batch in batched(read, segmenter.batch_size(consensus)):
        images = {job: image for job, image in batch if not isinstance(image, Outcome)}
        start = time.perf_counter()
        results = dict(zip(images, _try(segmenter, images, consensus), strict=True))
        shared = (time.perf_counter() - start) / max(1, len(images))
        for job, image in batch:
            result = image if isinstance(image, Outcome) else results[job]
            if isinstance(result, Outcome):
                yield job, result
            else:
                yield job, Segmented(job, images[job].pixels, result, shared)


def _try(
    segmenter: Segmenter, images: Mapping[Job, Picture], consensus: bool
) -> list[Result | Outcome]:
    """Results in order; images that fail together are tried one by one, unless they must agree."""
    if not images:
        return []
    try:
        with explained_memory(str(next(iter(images)).target)):
            return list(segmenter.segment_batch(list(images.values()), consensus=consensus))
    except LikewiseError as error:
        if consensus or len(images) == 1:
            return [Outcome(job.target, error=str(error)) for job in images]
        return [_try(segmenter, {job: image}, False)[0] for job, image in images.items()]


def redo(done: Segmented, limits: Mapping[str, float] | None) -> Finished:
    """The label map of a job whose result was drawn anew, to be stored."""
    return _finish(done.job, done, label_maps=True, limits=limits, keep=None)


def _finish(
    job: Job,
    done: Segmented | Outcome,
    *,
    label_maps: bool,
    limits: Mapping[str, float] | None,
    keep: Keep | None,
) -> Finished:
    """Judge and encode."""
    if isinstance(done, Outcome):
        return Finished(job, done)
    start = time.perf_counter()
    result, files = done.result, []
    try:
        with explained_memory(str(job.target)):
            if keep is not None:
                result, kept = keep(done)
                files.append(kept)
            files += _encoded(job, done.image, result, label_maps)
    except LikewiseError as error:
        return Finished(job, Outcome(job.target, error=str(error)))
    classes: tuple[ClassOutcome, ...] = ()
    if limits is not None:
        classes = tuple(_judged(label, c, limits) for label, c in result.classes.items())
    seconds = done.seconds + time.perf_counter() - start
    area, confidence = result.area, result.confidence
    outcome = Outcome(job.target, job.mask, job.overlay, area, confidence, seconds, classes=classes)
    return Finished(job, outcome, tuple(files))


def _encoded(
    job: Job, image: np.ndarray, result: Result, label_maps: bool
) -> Iterator[tuple[Path, bytes]]:
    from ..pictures import class_colour, overlay, overlay_labels, with_legend

    if job.overlay is not None:
        if label_maps:
            found = set(np.unique(result.label_map).tolist())
            names = {k: name for k, name in enumerate(result.labels, 1) if k in found}
            picture = with_legend(overlay_labels(image, result.label_map), names)
        else:
            picture = overlay(image, result.mask)
        yield job.overlay, encode_image(job.overlay, picture)
    if job.instances is not None:
        yield job.instances, encode_instances(result.instances())
    if label_maps:
        colours = [class_colour(k) for k in range(1, len(result.labels) + 1)]
        yield job.mask, encode_label_map(job.mask, result.label_map, [(0, 0, 0), *colours])
    else:
        yield job.mask, encode_mask(job.mask, result.mask)


def _judged(label: str, found: ClassResult, limits: Mapping[str, float]) -> ClassOutcome:
    steady = steadiness(found.scores)
    reasons = verdicts(found.mask, steady, found.confidence, found.disputed, **limits)
    return ClassOutcome(label, float(found.mask.mean()), found.confidence, steady, reasons)


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

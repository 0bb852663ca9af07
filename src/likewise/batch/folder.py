"""Segmenting files into a folder: one mask a target, whole files only, a failure ends nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LikewiseError, WriteError, explained_memory
from ..images import read_image, write_image, write_label_map, write_mask

if TYPE_CHECKING:
    import numpy as np

    from ..result import Result
    from ..segmenter import Segmenter


@dataclass(frozen=True)
class Job:
    """One target and where its files go."""

    target: Path
    mask: Path
    overlay: Path | None


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


LABELS = "labels.json"
"""Beside label maps: {"1": first class, "2": second, ...}; 0 is unknown."""


def plan(
    targets: Sequence[Path], out: Path, *, overlay: bool, inputs: Sequence[Path] = ()
) -> list[Job]:
    """Name every output and make the folder, before anything expensive starts.

    Args:
        targets: images to segment.
        out: folder for ``<stem>.png`` and, with ``overlay``, ``<stem>_overlay.jpg``.
        overlay: whether pictures are written too.
        inputs: further files that must not be overwritten (references, masks).

    Raises:
        LikewiseError: if two targets would share an output, an output would replace an input, or
            the folder cannot be made or written to.
    """
    jobs = [
        Job(t, out / f"{t.stem}.png", out / f"{t.stem}_overlay.jpg" if overlay else None)
        for t in targets
    ]
    pairs = [(j.target, path) for j in jobs for path in (j.mask, j.overlay) if path is not None]
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
        probe.unlink()
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
) -> Iterator[Outcome]:
    """Segment job after job; a target that cannot be read becomes an ``Outcome`` with its error.

    Args:
        segmenter: with references already fitted.
        jobs: from ``plan``.
        resume: keep masks that are there already.
        label_maps: write which class each pixel is (palette, 0 unknown), not masks of 0 and 255.
        consensus: let targets that follow each other become references of each other.

    Yields:
        One outcome a job, its files already whole on disk.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    from ..segmenter import CONSENSUS_BATCH

    size = CONSENSUS_BATCH if consensus else 1
    for start in range(0, len(jobs), size):
        yield from _segment_batch(
            segmenter, jobs[start : start + size], resume, label_maps, consensus
        )


def _segment_batch(
    segmenter: Segmenter, jobs: Sequence[Job], resume: bool, label_maps: bool, consensus: bool
) -> Iterator[Outcome]:
    """Read and segment one target, or as many as consensus takes together; write each."""
    done: dict[Job, Outcome] = {}
    images: dict[Job, np.ndarray] = {}
    results: dict[Job, Result] = {}
    start = time.perf_counter()
    for job in jobs:
        if resume and job.mask.is_file():
            done[job] = Outcome(job.target, job.mask, skipped=True)
            continue
        try:
            with explained_memory(str(job.target)):
                images[job] = read_image(job.target)
        except LikewiseError as error:
            done[job] = Outcome(job.target, error=str(error))
    try:
        with explained_memory(str(next(iter(images), jobs[0]).target)):
            if consensus:
                found = segmenter.segment_batch(list(images.values()))
            else:
                found = [segmenter.segment(image) for image in images.values()]
        results = dict(zip(images, found, strict=True))
    except LikewiseError as error:
        done |= {job: Outcome(job.target, error=str(error)) for job in images}
    shared = (time.perf_counter() - start) / max(1, len(images))
    for job in jobs:
        if job not in done:
            done[job] = _write_result(job, images[job], results[job], label_maps, shared)
        yield done[job]


def _write_result(
    job: Job, image: np.ndarray, result: Result, label_maps: bool, seconds: float
) -> Outcome:
    """The overlay first: the mask is what says that a target is done."""
    from ..pictures import class_colour, overlay, overlay_labels

    start = time.perf_counter()
    try:
        with explained_memory(str(job.target)):
            if job.overlay is not None:
                if label_maps:
                    write_image(job.overlay, overlay_labels(image, result.label_map))
                else:
                    write_image(job.overlay, overlay(image, result.mask))
            if label_maps:
                colours = [class_colour(k) for k in range(1, len(result.labels) + 1)]
                write_label_map(job.mask, result.label_map, [(0, 0, 0), *colours])
            else:
                write_mask(job.mask, result.mask)
    except WriteError:
        raise
    except LikewiseError as error:
        return Outcome(job.target, error=str(error))
    seconds += time.perf_counter() - start
    return Outcome(job.target, job.mask, job.overlay, result.area, result.confidence, seconds)


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

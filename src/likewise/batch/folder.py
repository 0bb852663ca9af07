"""Segmenting files into a folder: one mask a target, whole files only, a failure ends nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LikewiseError, WriteError, explained_memory
from ..images import read_image, write_image, write_mask

if TYPE_CHECKING:
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
    seconds: float = 0.0
    error: str | None = None
    """Why there is no mask; None when there is one."""
    skipped: bool = False
    """The mask was there already and was kept."""


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


def claim(out: Path, results: Sequence[tuple[Path, Path]], inputs: Sequence[Path]) -> None:
    """Make the folder ``out``, sure that every result can go there and replaces no input.

    Args:
        out: folder to write to.
        results: (target, file to write for it) pairs.
        inputs: files that must not be overwritten.

    Raises:
        LikewiseError: as for ``plan``.
    """
    sources = {_key(path): path for path in inputs}
    taken: dict[str, Path] = {}
    for target, path in results:
        if _key(path) in sources:
            raise LikewiseError(
                f"the result of {target} would overwrite {sources[_key(path)]}: "
                "give another --out folder."
            )
        other = taken.setdefault(_key(path), target)
        if other is not target:
            raise LikewiseError(
                f"{other} and {target} would both be written to {path}: "
                "rename one, or write them to different --out folders."
            )
        if path.is_dir():
            raise LikewiseError(f"{path} is a folder: move it, or give another --out.")
    probe = out / f".likewise-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LikewiseError(
            f"the folder {out} cannot be written to ({error.strerror}): give another --out."
        ) from error


def segment_files(
    segmenter: Segmenter, jobs: Sequence[Job], *, resume: bool = False
) -> Iterator[Outcome]:
    """Segment job after job; a target that cannot be read becomes an ``Outcome`` with its error.

    Args:
        segmenter: with references already fitted.
        jobs: from ``plan``.
        resume: keep masks that are there already.

    Yields:
        One outcome a job, its files already whole on disk.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    for job in jobs:
        if resume and job.mask.is_file():
            yield Outcome(job.target, job.mask, skipped=True)
            continue
        start = time.perf_counter()
        try:
            with explained_memory(str(job.target)):
                image = read_image(job.target)
                result = segmenter.segment(image)
            # The overlay first: the mask is what says that a target is done.
            if job.overlay is not None:
                from ..pictures import overlay

                write_image(job.overlay, overlay(image, result.mask))
            write_mask(job.mask, result.mask)
        except WriteError:
            raise
        except LikewiseError as error:
            yield Outcome(job.target, error=str(error))
            continue
        seconds = time.perf_counter() - start
        yield Outcome(job.target, job.mask, job.overlay, result.area, seconds)


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

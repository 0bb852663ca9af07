"""Segmenting files into a folder: one mask a target, whole files only, a failure ends nothing."""

from __future__ import annotations

import hashlib
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

from ..errors import ImageError, LikewiseError, WriteError, explained_memory
from ..io.files import refused, write_whole
from ..io.images import encode_image, encode_label_map, encode_mask
from ..io.prefetch import ahead, batched
from ..io.text_files import normal
from ..quality import steadiness, verdicts
from .instance_file import encode_instances, instances_path
from .manifest import MARKED, Manifest, Seen, file_hash, look

if TYPE_CHECKING:
    from ..io.images import Picture
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

    @property
    def beside(self) -> tuple[Path, ...]:
        """The files that go with the mask."""
        return tuple(path for path in (self.overlay, self.instances) if path is not None)


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
    by_hand: bool = False
    """It was kept because a person made or changed it."""
    anew: str = ""
    """Why a mask that was there was not kept but made anew, where that was asked."""
    unwritten: tuple[str, ...] = ()
    """Why files beside the mask could not be written, though the mask was."""
    classes: tuple[ClassOutcome, ...] = ()
    """Every class looked for, where masks are judged."""

    @property
    def state(self) -> str:
        """made, kept, by_hand (kept, for a person made or changed it) or failed."""
        if self.error is not None:
            return "failed"
        return "by_hand" if self.by_hand else "kept" if self.skipped else "made"


@dataclass(frozen=True, eq=False)
class Segmented:
    """One job between segmenting and encoding."""

    job: Job
    picture: Picture
    result: Result
    seconds: float
    seen: Seen | None = None
    """The picture file as it was read; None if it was not."""
    anew: str = ""
    """As of ``Outcome``."""


@dataclass(frozen=True)
class Finished:
    """One job between encoding, maybe on another machine, and writing."""

    job: Job
    outcome: Outcome
    files: tuple[tuple[Path, bytes], ...] = ()
    """What is still to be written, the mask last: it says that a target is done."""
    seen: Seen | None = None
    """The picture file as it was read."""


Keep: TypeAlias = "Callable[[Segmented], tuple[Result, tuple[Path, bytes]]]"
"""What a result becomes before it is written, and one more file that is kept of it."""
Claim: TypeAlias = "Callable[[Job], AbstractContextManager[bool]]"
"""Holds while the files of a job are written; false leaves them alone."""


def plan(
    targets: Sequence[Path],
    manifest: Manifest,
    *,
    overlay: bool = False,
    instances: bool = False,
    inputs: Sequence[Path] = (),
    suffix: str = ".png",
    option: str = "--out",
) -> list[Job]:
    """Name every output and make the folder, before anything expensive starts.

    Args:
        targets: images to segment.
        manifest: of the folder for ``<stem>.png`` (see ``places``) and, with ``overlay``,
            ``<stem>_overlay.jpg``.
        overlay: whether pictures are written too.
        instances: whether ``<stem>.instances.json`` are written too.
        inputs: further files that must not be overwritten (references, masks).
        suffix: of the masks.
        option: what errors say to change.

    Raises:
        LikewiseError: if two targets would share an output, an output would replace an input, or
            the folder cannot be made or written to.
    """
    manifest.check()
    out, jobs = manifest.folder, []
    for target, place in zip(targets, places(targets, suffix, manifest), strict=True):
        mask = out / place
        drawn = mask.with_name(f"{mask.stem}_overlay.jpg") if overlay else None
        jobs.append(Job(target, mask, drawn, instances_path(mask) if instances else None))
    owners = [(_owner(manifest, job.mask, job.target), job.mask) for job in jobs]
    pairs = [(owner, mask) for owner, mask in owners if owner is not None and owner.exists()]
    pairs += [(job.target, path) for job in jobs for path in (job.mask, *job.beside)]
    check_apart(pairs, [*targets, *inputs], option)
    _check_writable(out, option)
    return jobs


def places(images: Sequence[Path], suffix: str, manifest: Manifest | None = None) -> list[Path]:
    """Where the files of images go in a folder: ``<stem>`` and a suffix.

    If that would be the place of two images, new files keep the folders below the common parent
    of all images instead: ``cam1/0001.png``.

    Args:
        images: each once.
        suffix: of the files, such as ".png".
        manifest: of the folder, if it has one: what is known there keeps its place, and the
            places of other pictures stay theirs.

    Returns:
        Relative paths, in order. Two are equal if even the folders do not tell images apart.
    """
    known = [None if manifest is None else manifest.mask_of(image) for image in images]
    names = [normal(image.stem).casefold() for image in images]
    apart, root, others = len(set(names)) == len(names), None, set[Path]()
    while True:
        found, owners = [], set[Path]()
        for image, mask in zip(images, known, strict=True):
            if manifest is not None and mask is not None:
                found.append(mask.relative_to(manifest.folder))
                continue
            found.append(_place(image, root, suffix))
            owner = manifest and _owner(manifest, manifest.folder / found[-1], image)
            if owner and _absolute(owner).with_suffix("") != _absolute(image).with_suffix(""):
                owners.add(owner)
        if not owners and (apart or root is not None):
            return found
        try:
            if root is None or owners - others:
                others |= owners
                all_of_them = [_absolute(i).parent for i in (*images, *others)]
                root = Path(os.path.commonpath(all_of_them))
            elif root != root.parent:
                root = root.parent
            else:
                return found
        except ValueError:  # several drives
            return found


def _place(image: Path, root: Path | None, suffix: str) -> Path:
    folder = Path() if root is None else _absolute(image).parent.relative_to(root)
    return folder / f"{image.stem}{suffix}"


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _owner(manifest: Manifest, mask: Path, image: Path) -> Path | None:
    """The picture that a mask is of, unless it is this one, maybe moved since."""
    entry, owner = manifest.entry_of(mask), manifest.image_of(mask)
    if entry is None or owner is None or owner == image or _key(owner) == _key(image):
        return None
    moved = not owner.exists() and file_hash(image) == entry.image_sha256
    return None if moved else owner


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
        LikewiseError: as for ``plan``; or a folder has the name of a result.
    """
    check_apart(results, inputs, option)
    for _, path in results:
        if os.path.isdir(path):  # noqa: PTH112 (a name that is too long is none)
            raise LikewiseError(f"{path} is a folder: move it, or give another {option}.")
    _check_writable(out, option)


def check_apart(
    results: Sequence[tuple[Path, Path]], inputs: Sequence[Path], option: str = "--out"
) -> None:
    """Raises LikewiseError if a (target, file) would replace an input or two are to one file."""
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


def _check_writable(out: Path, option: str) -> None:
    probe = out / f".likewise-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another thread may have asked the same
    except OSError as error:
        raise LikewiseError(
            f"the folder {out} cannot be written to ({error.strerror}): give another {option}."
        ) from error


def run_key(segmenter: Segmenter, numbers: Mapping[str, int], consensus: bool = False) -> str:
    """Fingerprint of all that the masks of a folder depend on but their pictures.

    Args:
        segmenter: with references already fitted.
        numbers: class → its value in the masks, from ``Manifest.allot``.
        consensus: as for ``segment_files``.
    """
    parts = [segmenter.fingerprint, json.dumps(numbers, sort_keys=True), str(consensus)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


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
    claim: Claim | None = None,
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
        limits: judge masks too, by these limits of ``quality.verdicts``.
        keep: keeps more of a result than its masks.
        claim: decides, when a job is to be written, whether it still may be.

    Yields:
        One outcome a job, its files already whole on disk.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    finish = partial(_finish, numbers=numbers, limits=limits, keep=keep)

    def written(job: Job, done: Segmented | Outcome) -> Outcome:
        return store(finish(job, done), manifest, run, overwrite=overwrite, claim=claim)

    def kept(job: Job) -> Outcome | str:
        """What was kept instead, or why it is not."""
        if not overwrite and manifest.is_by_hand(job.mask):
            return Outcome(job.target, job.mask, skipped=True, by_hand=True)
        if not resume or not os.path.isfile(job.mask):  # noqa: PTH113 (long names)
            return ""
        stale = manifest.stale(job.mask, job.target, run, beside=job.beside)
        return stale or Outcome(job.target, job.mask, skipped=True)

    yield from _each(segmenter, jobs, written, kept, consensus)


def finish_files(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    numbers: Mapping[str, int],
    *,
    consensus: bool = False,
    limits: Mapping[str, float] | None = None,
    keep: Keep | None = None,
) -> Iterator[Finished]:
    """As ``segment_files``, where somebody else is to ``store`` them."""
    finish = partial(_finish, numbers=numbers, limits=limits, keep=keep)
    yield from _each(segmenter, jobs, finish, lambda job: "", consensus)


def store(
    finished: Finished,
    manifest: Manifest,
    run: str,
    *,
    overwrite: bool = False,
    claim: Claim | None = None,
) -> Outcome:
    """Write the files of a job, each whole, but never over a mask that a person made or changed.

    Args:
        finished: the job.
        manifest, run, overwrite, claim: as for ``segment_files``.

    Raises:
        WriteError: if the disk refuses a result (it would refuse every further one too).
    """
    job, outcome = finished.job, finished.outcome
    if not finished.files:
        return outcome
    start, others, unwritten = time.perf_counter(), list[Path](), list(outcome.unwritten)
    with nullcontext(True) if claim is None else claim(job) as free:
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
            manifest.write(mask, content, job.target, run, seen=finished.seen, beside=others)
        except WriteError:
            raise
        except ImageError as error:
            return Outcome(job.target, error=str(error))
    seconds = outcome.seconds + time.perf_counter() - start
    overlay = job.overlay if job.overlay in others else None
    return replace(outcome, seconds=seconds, overlay=overlay, unwritten=tuple(unwritten))


def make_parent(path: Path) -> None:
    """Make the folder of a file. Raises as ``writing.refused`` says."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(path, error) from error


def _each(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    last: Callable[[Job, Segmented | Outcome], R],
    kept: Callable[[Job], Outcome | str],
    consensus: bool,
) -> Iterator[R]:
    """``last`` of every job when it is segmented, in order."""
    depth = segmenter.batch_size(False)
    read = ahead(partial(_read, segmenter, kept=kept), jobs, depth)
    segmented = _segmented(segmenter, read, consensus)
    # On the CPU each is written before the next is segmented; an accelerator need not wait.
    yield from ahead(lambda pair: last(*pair), segmented, depth - 1)


@dataclass(frozen=True, eq=False)
class _Read:
    """A target that was read."""

    picture: Picture
    seen: Seen
    anew: str


def _read(
    segmenter: Segmenter, job: Job, kept: Callable[[Job], Outcome | str]
) -> tuple[Job, _Read | Outcome]:
    found = kept(job)
    if isinstance(found, Outcome):
        return job, found
    try:
        with explained_memory(str(job.target)):
            seen = look(job.target)  # before: what changes while it is read is done again
            return job, _Read(segmenter.read(job.target), seen, found)
    except LikewiseError as error:
        return job, Outcome(job.target, error=str(error))


def _segmented(
    segmenter: Segmenter, read: Iterator[tuple[Job, _Read | Outcome]], consensus: bool
) -> Iterator[tuple[Job, Segmented | Outcome]]:
    """Segment as many as go together; what was kept or cannot be read keeps its place."""
    for batch in batched(read, segmenter.batch_size(consensus)):
        images = {job: image.picture for job, image in batch if isinstance(image, _Read)}
        start = time.perf_counter()
        results = dict(zip(images, _try(segmenter, images, consensus), strict=True))
        shared = (time.perf_counter() - start) / max(1, len(images))
        for job, image in batch:
            if isinstance(image, Outcome):
                yield job, image
                continue
            result = results[job]
            if isinstance(result, Outcome):
                yield job, result
            else:
                yield job, Segmented(job, image.picture, result, shared, image.seen, image.anew)


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


def redo(
    done: Segmented, numbers: Mapping[str, int], limits: Mapping[str, float] | None
) -> Finished:
    """The mask of a job whose result was drawn anew, to be stored."""
    return _finish(done.job, done, numbers=numbers, limits=limits, keep=None)


def _finish(
    job: Job,
    done: Segmented | Outcome,
    *,
    numbers: Mapping[str, int],
    limits: Mapping[str, float] | None,
    keep: Keep | None,
) -> Finished:
    """Judge and encode."""
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
    from ..io.draw import class_colour, overlay, overlay_labels, with_legend

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
        colours = [class_colour(k) for k in range(1, max(numbers.values()) + 1)]
        yield job.mask, encode_label_map(job.mask, label_map, [(0, 0, 0), *colours])


def renumbered(result: Result, numbers: Mapping[str, int]) -> np.ndarray:
    """(H, W) uint8 or uint16: the label map of a result with these numbers of its classes."""
    kind = np.uint8 if max(numbers.values()) < 256 else np.uint16
    values = np.array([0, *(numbers[label] for label in result.labels)], kind)
    renumbered: np.ndarray = values[result.label_map]
    return renumbered


def _judged(label: str, found: ClassResult, limits: Mapping[str, float]) -> ClassOutcome:
    steady = steadiness(found.scores)
    reasons = verdicts(found.mask, steady, found.confidence, found.disputed, **limits)
    return ClassOutcome(label, float(found.mask.mean()), found.confidence, steady, reasons)


def _key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

"""What is to be segmented and where it goes: one job an image, checked before the first write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LikewiseError
from ..io.files import refused
from ..io.planes import AS_IT_IS, Choice, Plane
from ..io.text_files import normal
from ..prompts import Prompts
from .file_state import file_hash
from .instance_file import instances_path
from .manifest import Manifest


@dataclass(frozen=True)
class Job:
    """One target and where its files go."""

    target: Path
    mask: Path
    overlay: Path | None
    instances: Path | None = None
    """Where the objects go, if they are told apart."""
    prompts: tuple[tuple[str | None, Prompts], ...] = ()
    """Class (None: the only one) and what a person points at to correct what is found of it."""
    choice: Choice = AS_IT_IS
    """Which picture of the target."""

    @property
    def picture(self) -> Path | Plane:
        """What is read of the target."""
        return self.choice.of(self.target)

    @property
    def beside(self) -> tuple[Path, ...]:
        """The files that go with the mask."""
        return tuple(path for path in (self.overlay, self.instances) if path is not None)


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
    """Another picture that a mask belongs to; None if it is of this one, which may have moved."""
    entry, owner = manifest.entry_of(mask), manifest.image_of(mask)
    if entry is None or owner is None or owner == image or path_key(owner) == path_key(image):
        return None
    moved = not owner.exists() and file_hash(image) == entry.image_sha256
    return None if moved else owner


def check_outputs(
    out: Path,
    results: Sequence[tuple[Path, Path]] = (),
    inputs: Sequence[Path] = (),
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


def check_output_files(
    files: Sequence[Path], inputs: Sequence[Path] = (), option: str = "--out"
) -> None:
    """As ``check_outputs``, for the files of one folder; none need nothing."""
    if files:
        check_outputs(files[0].parent, [(file, file) for file in files], inputs, option)


def check_apart(
    results: Sequence[tuple[Path, Path]], inputs: Sequence[Path], option: str = "--out"
) -> None:
    """Raises LikewiseError if a (target, file) would replace an input or two are to one file."""
    sources = {path_key(path): path for path in inputs}
    taken: dict[str, Path] = {}
    for target, path in results:
        if path_key(path) in sources:
            raise LikewiseError(
                f"the result of {target} would overwrite {sources[path_key(path)]}: "
                f"give another {option} folder."
            )
        other = taken.setdefault(path_key(path), target)
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


def make_parent(path: Path) -> None:
    """Make the folder of a file. Raises as ``writing.refused`` says."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(path, error) from error


def path_key(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

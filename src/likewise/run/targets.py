"""Which files a person means by files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ..errors import ImageError, note
from ..io.decoding import PATH
from ..io.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES  # others take it from here
from ..io.formats import advice, is_image_name
from ..io.opening import why
from .manifest import LABELS, MANIFEST, written_in

LISTED = 5
"""Names that are given before the rest is counted."""


def find_images(
    targets: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Files that the targets stand for, in their order, each once.

    Args:
        targets: one or more of: a file, kept whatever its suffix; a folder, which stands for its
            images by name, without those of its subfolders or hidden ones; a glob pattern ("**"
            goes through subfolders), which stands for the images it matches. Images are known by
            `IMAGE_SUFFIXES`.

    Warns:
        InputWarning: one for each folder or pattern, with all that was left out of it.

    Raises:
        ImageError: a path does not exist, cannot be listed, or holds or matches no images.
    """
    found: dict[str, Path] = {}
    suffixes = ", ".join(IMAGE_SUFFIXES)
    for target in [targets] if isinstance(targets, PATH) else targets:
        path = Path(target)
        if not os.fspath(target):
            raise ImageError("an empty path was given as a target: give a file or a folder.")
        try:
            if path.is_dir():
                files = list(path.iterdir())
                reason, mend = f"the folder {target} holds no images ({suffixes})", "check its path"
            elif path.exists():
                found.setdefault(_same_file_key(path), path)
                continue
            elif any(mark in str(target) for mark in "*?["):
                # Path.glob takes no absolute patterns.
                files = [Path(p) for p in glob.glob(str(target), recursive=True)]  # noqa: PTH207
                reason, mend = f"{target} matches no images ({suffixes})", "check the pattern"
            elif path.is_symlink():
                raise ImageError(f"{target} is a broken link: check where it should point.")
            else:
                raise ImageError(f"{target} does not exist: check its spelling and folder.")
            ours = _written(files)
            images = [f for f in files if _is_target(f) and f not in ours]
            taken = set(images)
            rest = left_out([f for f in files if f not in taken], path.is_dir(), ours)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{target} cannot be listed ({why(error)}): check its permissions."
            ) from error
        if not images:
            raise ImageError(f"{reason}{', only ' if rest else ''}{rest}: {mend}.")
        if rest:
            note(target, f"left out: {rest}.")
        for file in sorted(images):
            found.setdefault(_same_file_key(file), file)
    return list(found.values())


def _written(files: Sequence[Path]) -> set[Path]:
    """Those of files that are masks, or lie beside masks, in folders that likewise wrote to."""
    folders = {folder for file in files for folder in file.parents}
    written = {file for folder in folders for file in written_in(folder)}
    return written.intersection(files)


def _is_target(file: Path) -> bool:
    return not file.name.startswith(".") and is_image_name(file) and file.is_file()


def left_out(
    files: Sequence[Path], with_folders: bool, written: Collection[Path] = frozenset()
) -> str:
    """What files of a folder are that are not taken, in words; empty if none is worth a word.

    Args:
        files: of the folder.
        with_folders: mention subfolders that hold images.
        written: those of them that likewise wrote; only pictures are worth a word.
    """
    pictures, others, hidden, folders, masks = [], [], [], [], []
    for file in sorted(files):
        if file in written:
            masks += [file.name] * is_image_name(file)
        elif file.name.startswith("."):
            # What systems leave beside pictures says nothing: .DS_Store, ._p.jpg, .likewise.
            if is_image_name(file) and not file.name.startswith("._"):
                hidden.append(file.name)
        elif file.is_dir():
            if with_folders and _holds_pictures(file):
                folders.append(file.name)
        elif is_image_name(file) or (file.is_symlink() and not file.exists()):
            is_link = file.is_symlink()
            pictures.append(f"{file.name} ({'a broken link' if is_link else 'no regular file'})")
        else:
            known = advice(file)
            if known is None:
                others.append(file.name)
            else:
                pictures.append(f"{file.name} ({known})")
    kinds = (
        (pictures, "picture that cannot be read", "pictures that cannot be read"),
        (others, "file that is no picture", "files that are no pictures"),
        (hidden, "hidden picture", "hidden pictures"),
        (masks, "picture that likewise wrote", "pictures that likewise wrote"),
        (folders, "subfolder with pictures", "subfolders with pictures"),
    )
    parts = [
        f"{len(names)} {one if len(names) == 1 else several}: {_listed(names)}"
        for names, one, several in kinds
        if names
    ]
    return "; ".join(parts)


def _holds_pictures(folder: Path) -> bool:
    """Whether a subfolder holds pictures that are no masks of likewise."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return False
    ours = {MANIFEST, LABELS} & set(names)
    return not ours and any(is_image_name(Path(name)) for name in names)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _same_file_key(path: Path) -> str:
    """Equal for two spellings of a path; links stay apart, since results are named by path."""
    return os.path.normcase(os.path.normpath(path.absolute()))

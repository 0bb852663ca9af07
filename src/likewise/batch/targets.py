"""Which files a person means by files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import ImageError
from ..images import PATH, why

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What counts as an image in a folder or behind a glob pattern, in any case."""


def find_images(
    targets: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Files that the targets stand for, in their order, each once.

    Args:
        targets: one or more of: a file, kept whatever its suffix; a folder, which stands for its
            images by name, without those of its subfolders or hidden ones; a glob pattern ("**"
            goes through subfolders), which stands for the images it matches. Images are known by
            `IMAGE_SUFFIXES`.

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
                files = [file for file in path.iterdir() if not file.name.startswith(".")]
                reason = f"the folder {target} holds no images ({suffixes}): check its path."
            elif path.exists():
                found.setdefault(_same_file_key(path), path)
                continue
            elif any(mark in str(target) for mark in "*?["):
                # Path.glob takes no absolute patterns.
                files = [Path(p) for p in glob.glob(str(target), recursive=True)]  # noqa: PTH207
                reason = f"{target} matches no images ({suffixes}): check the pattern."
            else:
                raise ImageError(f"{target} does not exist: check its spelling and folder.")
            files = [f for f in files if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()]
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{target} cannot be listed ({why(error)}): check its permissions."
            ) from error
        if not files:
            raise ImageError(reason)
        for file in sorted(files):
            found.setdefault(_same_file_key(file), file)
    return list(found.values())


def _same_file_key(path: Path) -> str:
    """Equal for two spellings of a path; links stay apart, since results are named by path."""
    return os.path.normcase(os.path.normpath(path.absolute()))

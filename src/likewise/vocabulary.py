"""A folder of named references: each class a folder, each example an image with its mask.

vocabulary/
  cat/            tom.jpg + tom.png            the mask has the name of the image,
  traffic light/  a.png + a_mask.png           or that and _mask,
  person/         b.jpg + masks/b.png          or lies in masks/,
    hair/         c.jpg + c.json               or is an annotation file;  person/hair: a part of it
  кошка/          cut-out.png                  or is the alpha channel of the image itself
  negatives/      wall.jpg                     what it is not; a mask, if any, marks that in it
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .errors import ImageError, LikewiseError, note
from .io.annotations.reader import READERS, is_annotation
from .io.annotations.shapes import LABEL
from .io.decoding import is_cut_out
from .io.formats import is_image_name
from .io.images import read_image, read_picture
from .io.masks import MaskValue
from .io.opening import why
from .io.planes import AS_IT_IS, Choice, Plane
from .io.text_files import normal
from .reference import Reference, marked_pixels

MASKS, NEGATIVES = "masks", "negatives"
"""Folders that are no classes."""
ENDING = "_mask"
MASKS_ONLY = (*READERS, ".npy")
"""Suffixes of what is a mask and never an image."""


def read_vocabulary(
    folder: str | os.PathLike[str],
    only: Sequence[str] | None = None,
    choice: Choice = AS_IT_IS,
) -> list[Reference]:
    """The references of a folder, every file of them read once and checked.

    Args:
        folder: holds a folder for each class, named like it; a folder inside of one is a part of
            it (``person/hair``). Hidden files and what is no image are passed over, with an
            InputWarning where it might have been a mask.
        only: the classes to take; None for all. Negatives are always taken.
        choice: which picture of image files that hold several.

    Returns:
        Classes by name, images of a class by name, negatives last. Images and masks are paths, so
        that many of them need no memory, but masks of JSON are (H, W) bool.

    Raises:
        LikewiseError: if there is no such folder, no class or not one of ``only``, a class without
            an image, an image without a mask or with two, a mask without an image, or a file that
            cannot be used.
    """
    root = Path(folder)
    if not root.is_dir():
        raise LikewiseError(
            f"the vocabulary {root} is no folder: give one that holds a folder for each class."
        )
    stray = [f for f in _entries(root) if _is_image(f)]
    if stray:
        raise LikewiseError(
            f"{stray[0]} lies beside the class folders of the vocabulary: put it into the folder "
            "of its class."
        )
    wanted = None if only is None else list(map(normal, only))
    classes = {k: path for k, path in _classes(root) if wanted is None or k in wanted}
    missing = [name for name in wanted or () if name not in classes]
    if missing or not classes:
        raise LikewiseError(
            f"the vocabulary {root} has no class {missing[0]!r}: give a name of one of its folders."
            if missing
            else f"the vocabulary {root} has no class: make a folder in it for each, named like "
            "it, with images and their masks."
        )
    found = [r for label, path in classes.items() for r in _examples(path, label, choice)]
    if (root / NEGATIVES).is_dir():
        found += _examples(root / NEGATIVES, LABEL, choice, negative=True)
    return found


def reference_from_files(
    image: Path | Plane,
    mask: Path | None,
    value: MaskValue | None = None,
    label: str = LABEL,
    negative: bool = False,
) -> Reference:
    """One reference, its files read and checked; for the meaning of all see ``Reference``.

    Args:
        image: the picture.
        mask: an image, or annotations, see ``read_annotated``; None marks everything, of a negative
            reference.
        value: see ``read_mask``; of annotations the number of a class, or "any".
        label: the class; LABEL, if annotations do not know it, is the only class marked there.
        negative: whether it marks what is not to be found: of annotations all classes.

    Raises:
        ImageError: if a file cannot be used.
    """
    named, picture = Reference(image, mask, value, label, negative), read_picture(image)
    marked = marked_pixels(named, picture)
    # Wide pictures are read again with the range of all references.
    shown = image if picture.kind else picture
    return replace(named, image=shown, mask=None if mask is None else marked, mask_value=None)


def _classes(folder: Path, whole: str = "") -> Iterator[tuple[str, Path]]:
    """Label and folder of every class, parts behind their whole."""
    reserved = (MASKS,) if whole else (NEGATIVES,)
    for path in _entries(folder):
        if not path.is_dir() or path.name in reserved:
            continue
        if path.name in (MASKS, NEGATIVES):
            raise LikewiseError(
                f"{path} is the name of no class: {MASKS} belongs into a class folder, {NEGATIVES} "
                "beside them."
            )
        label = f"{whole}/{normal(path.name)}".lstrip("/")
        parts = list(_classes(path, label))
        # A folder of folders only groups them.
        if not parts or any(map(_is_image, _entries(path))):
            yield label, path
        yield from parts


def _examples(
    folder: Path, label: str, choice: Choice, negative: bool = False
) -> Iterator[Reference]:
    """The references of one class."""
    files = [f for f in _entries(folder) if f.is_file()]
    images = [f for f in files if _is_image(f)]
    beside = _entries(folder / MASKS) if (folder / MASKS).is_dir() else []
    stems = {_stem(f) for f in images}
    # x_mask.png is a mask where there is an x, and x.png where there is an x.jpg.
    masks = [f for f in images if _stem(f).endswith(ENDING) and _stem(f)[: -len(ENDING)] in stems]
    others = {_stem(f) for f in images if f.suffix.lower() != ".png"}
    masks += [f for f in images if f.suffix.lower() == ".png" and _stem(f) in others]
    masks += [f for f in beside if _is_image(f)]
    masks += [f for f in (*files, *beside) if f.suffix.lower() in MASKS_ONLY]
    examples = [f for f in images if f not in masks]
    of: dict[Path, list[Path]] = {image: [] for image in examples}
    for mask in masks:
        names = (_stem(mask), _stem(mask).removesuffix(ENDING))
        owners = [image for image in examples if _stem(image) in names]
        if not owners and mask.suffix.lower() in MASKS_ONLY:
            # Lists of classes, notes, labels.json: in what is no image anything may be.
            note(mask, "belongs to no image beside it and is passed over.")
            continue
        if not owners:
            raise LikewiseError(f"the mask {mask} has no image beside it: add {names[-1]}.jpg.")
        if len(owners) > 1:
            raise LikewiseError(
                f"the mask {mask} belongs to {len(owners)} images "
                f"({', '.join(f.name for f in owners)}): give them different names."
            )
        of[owners[0]].append(mask)
    if not examples:
        raise LikewiseError(
            f"the folder {folder} holds no image: add one (with its mask), or remove the folder."
        )
    for image, marks in of.items():
        if len(marks) > 1:
            raise LikewiseError(
                f"{image} has {len(marks)} masks ({', '.join(m.name for m in marks)}): keep one, "
                "and give images different names."
            )
        mark = marks[0] if marks else None
        yield _checked(image, mark, label, choice, negative)


def _checked(
    image: Path, mark: Path | None, label: str, choice: Choice, negative: bool
) -> Reference:
    shown = choice.of(image)
    if mark is None and negative:
        read_image(shown)
        return Reference(shown, None, label=label, negative=True)
    if mark is None and not is_cut_out(image):
        like = [f for f in _entries(image.parent) if _stem(f) + ENDING == _stem(image)]
        if like:
            raise LikewiseError(
                f"{like[0]} is of no kind of image that is read, and {image.name} seems to be its "
                "mask: save it as PNG."
            )
        raise LikewiseError(
            f"{image} has no mask: put {image.stem}{ENDING}.png, or Labelme's {image.stem}.json, "
            "beside it."
        )
    mask = mark or image  # its alpha channel
    try:
        read = reference_from_files(shown, mask, None, LABEL if negative else label, negative)
    except ImageError as error:
        if mark is None or not _is_image(mark) or mark.with_suffix("") != image.with_suffix(""):
            raise
        raise ImageError(
            f"{str(error).removesuffix('.')}; beside {image.name} it is taken to be its mask, so "
            "give it another name if it is an image of its own."
        ) from error
    return replace(read, image=shown, mask=read.mask if is_annotation(mask) else mask)


def _is_image(path: Path) -> bool:
    return is_image_name(path) and path.is_file()


def _stem(path: Path) -> str:
    return normal(path.stem)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ImageError(
            f"{folder} cannot be listed ({why(error)}): check its permissions."
        ) from error

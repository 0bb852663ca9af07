"""References from files: masks are images, or the annotation files of other tools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from ...errors import ImageError, note
from ..opening import is_turned, why
from ..text_files import normal
from . import json_files, xml_files, yolo
from .shapes import DAMAGE, LABEL, Mask, Shape, Size, listed, reason

READERS: dict[str, Callable[[Path, Path, Size], list[Shape]]] = {
    ".json": json_files.read,
    ".geojson": json_files.read,
    ".txt": yolo.read,
    ".xml": xml_files.read,
}
OTHERS = (".csv", ".jsonl", ".ndjson", ".svg", ".tfrecord", ".yaml", ".yml", ".zip")
"""Suffixes in which annotations are kept that are not read."""
KNOWN = "COCO or Labelme JSON, YOLO .txt or CVAT .xml"


def is_annotation(mask: Path) -> bool:
    """Whether a mask is no image or array but a file of shapes, by its suffix in any case."""
    return mask.suffix.lower() in (*READERS, *OTHERS)


def read_annotated(
    file: Path,
    image: Path,
    size: tuple[int, int],
    label: str = LABEL,
    value: object = None,
) -> npt.NDArray[np.bool_]:
    """All that a file marks in an image as one class.

    What of it cannot be used, or was assumed, is said in an InputWarning.

    Args:
        file: annotations of one of the kinds in docs/segment.md. Where it is about several images,
            ``image`` is known by its name and the folders around it.
        image: the picture.
        size: its (H, W), upright.
        label: the class, or its number; of ``person/hair`` the last part may be meant. LABEL, if
            the file does not know it, is the only class in that image.
        value: number of the class, if the file does not know ``label``; "any" for all classes.

    Returns:
        (H, W) bool of the size that the file names, else ``size``.

    Raises:
        ImageError: the file cannot be read, does not mark the image or the class, or marks several
            and nothing says which of them.
    """
    if file.suffix.lower() not in READERS:
        raise ImageError(
            f"{file} is of a kind ({file.suffix.lower()}) that is not read: give a mask as PNG, or "
            f"{KNOWN}."
        )
    try:
        shapes = READERS[file.suffix.lower()](file, image, size)
    except OSError as error:
        raise ImageError(f"{file} cannot be used ({why(error)}): check the file.") from error
    except ImageError:
        raise
    except DAMAGE as error:
        # Only `ValueError`s are made of words of likewise or of the parser; both tell.
        text = str(error) if isinstance(error, ValueError) else reason(error)
        raise ImageError(
            f"{file} cannot be used ({text}): mend it, or give {image.name} as {KNOWN}."
        ) from error
    if not shapes:
        raise ImageError(f"{file} marks nothing in {image}: mark the example there.")
    lost = [shape for shape in shapes if not shape.has_class]
    if len(lost) == len(shapes):
        raise ImageError(
            f"{file} marks nothing usable in {image}, only {_draw(lost)[1]}: mend that."
        )
    chosen = _choose([s for s in shapes if s.has_class], label, value, file, image)
    drawn, damage = _draw([*chosen, *lost])
    what = "the example" if label == LABEL else label
    if not drawn:
        raise ImageError(
            f"{file} marks no area of {what} in {image}, only {damage}: draw its outline."
        )
    if damage:
        note(file, f"left out is {damage}.")
    return _upright(_pick(drawn, size, file), image, size, file)


def _choose(
    shapes: Sequence[Shape], label: str, value: object, file: Path, image: Path
) -> list[Shape]:
    """The shapes of the class that is meant; see ``read_annotated``.

    Args:
        shapes: all of known class; at least one.
        label, value: as given.
        file, image: for messages.
    """
    if value == "any":
        return list(shapes)
    if isinstance(value, tuple):
        raise ImageError(
            f"{file} has no colours as a mask has: give the number of a class as --mask-value, or "
            "its name as --label."
        )
    label = normal(label)
    names = (label, label.rpartition("/")[2])
    meant = next((s for name in names if (s := [k for k in shapes if k.label == name])), [])
    meant = meant or [shape for shape in shapes if str(shape.number) == label]
    numbers = {shape.number: _class(shape) for shape in shapes if shape.number is not None}
    if value is not None and numbers and (label == LABEL or not meant):
        if value not in numbers:
            known = listed(f"{k} ({name})" for k, name in sorted(numbers.items()))
            raise ImageError(
                f"{file} marks nothing of the class {value} in {image}, only of {known}: give one "
                "of these numbers as --mask-value."
            )
        return [shape for shape in shapes if shape.number == value]
    if value is not None and value not in {shape.number for shape in meant}:
        note(file, f"the value {value} is not used: a label tells the class there.")
    if not meant:
        # A point or a line is no class to choose, where something has an inside.
        areas = [shape for shape in shapes if shape.has_inside and not shape.erases] or shapes
        found = sorted({_class(shape) for shape in areas})
        nameless = all(shape.label is None for shape in areas)
        if len(found) > 1 and (label == LABEL or nameless):
            raise ImageError(
                f"{file} marks {listed(found)} in {image}: say which is the example by its label"
                f"{' (a number, as --label or --mask-value)' if nameless else ''}."
            )
        if label != LABEL and not nameless:
            raise ImageError(
                f"{file} marks no {label} in {image}, only {listed(found)}: give one of these as "
                "its label."
            )
        if label != LABEL:
            said = f"does not name its classes: its only one, {found[0]}, is taken to be {label}."
            note(file, said)
        meant = [shape for shape in shapes if _class(shape) == found[0]]
    taken = {id(shape) for shape in meant}
    return [shape for shape in shapes if id(shape) in taken or shape.erases]


def _class(shape: Shape) -> str:
    return str(shape.number) if shape.label is None else shape.label


def _draw(shapes: Sequence[Shape]) -> tuple[dict[Size, tuple[Mask, list[Shape]]], str]:
    """What they mark together, by the size that is drawn in, with those that mark something.

    The other result is what is wrong with the rest.
    """
    drawn: dict[Size, tuple[Mask, list[Shape]]] = {}
    damage = []
    for shape in shapes:
        try:
            mask = shape.draw()
            if not mask.any():
                raise ValueError("it covers no pixel of the picture")
        except DAMAGE as error:
            damage.append(f"{shape.id} ({reason(error)})")
            continue
        size = mask.shape[0], mask.shape[1]
        if size not in drawn:
            drawn[size] = np.zeros(size, bool), []
        whole, used = drawn[size]
        if shape.erases:
            whole &= ~mask
        else:
            whole |= mask
        used.append(shape)
    return drawn, listed(damage, longest=200)


def _pick(drawn: Mapping[Size, tuple[Mask, list[Shape]]], size: Size, file: Path) -> Mask:
    """Of the size of the picture, else of most shapes."""
    own = size if size in drawn else max(drawn, key=lambda size: len(drawn[size][1]))
    odd = [shape.id for other, (_, used) in drawn.items() if other != own for shape in used]
    if odd:
        note(file, f"left out is {listed(odd)} (of another size than the picture).")
    whole, used = drawn[own]
    boxes = [shape.id for shape in used if shape.is_box]
    if boxes:
        note(file, f"there is no outline of {listed(boxes)}: the box is taken.")
    return whole


def _upright(mask: Mask, image: Path, size: Size, file: Path) -> Mask:
    """Turned as EXIF turns the picture, if the file gives the size of the picture as it is stored.

    Labelme, CVAT and YOLO know EXIF, and many writers of COCO do not.
    """
    turns = range(2, 9)
    turn = next((k for k in turns if image.is_file() and is_turned(image, range(k, k + 1))), None)
    if turn is None:
        return mask
    if mask.shape == size or mask.shape[::-1] != size:
        note(file, f"is taken to be of {image} as it is seen, turned by its EXIF data.")
        return mask
    note(file, f"is of {image} as it is stored: turned with its EXIF data.")
    picture = Image.fromarray(mask)
    picture.getexif()[ExifTags.Base.Orientation] = turn
    return np.asarray(ImageOps.exif_transpose(picture))

"""What is exported: images with their label maps, read from what ``likewise segment`` wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError
from ..images import read_pillow, why
from ..instance_file import instances_path, read_instances
from ..instances import Instance
from ..manifest import LABELS
from ..reference import is_part


@dataclass(frozen=True, eq=False)
class Annotation:
    """An image and what is in it."""

    image: Path
    label_map: npt.NDArray[np.unsignedinteger[Any]]
    """(H, W) uint8 or uint16 at the upright image's size: 0 nothing, k the k-th class."""
    classes: tuple[str, ...]
    """All the classes of the dataset, whether this image shows them or not."""
    scores: Mapping[str, float]
    """Class → 0..1, how sure the method is that the image shows it; 1 where nothing is said."""
    instances: Sequence[Instance] | None = None
    """Its objects, where they were told apart: they make up ``label_map``, each has its score."""

    def mask_of(self, number: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool: the class of that number, with its parts (``person/hair`` of ``person``)."""
        whole = self.classes[number - 1]
        parts = [k for k, name in enumerate(self.classes, 1) if is_part(name, whole)]
        return np.isin(self.label_map, [number, *parts]) if parts else self.label_map == number


@dataclass(frozen=True)
class Pair:
    """An image and the mask file of the same name."""

    image: Path
    mask: Path


def find_pairs(folder: Path, images: Sequence[Path]) -> list[Pair]:
    """Which image each mask ``<stem>.png`` of a folder belongs to, in the order of the images.

    Images without a mask are left out.

    Raises:
        LikewiseError: the folder holds no masks, a mask has no image, or it has two.
    """
    try:
        masks = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix == ".png"}
    except OSError as error:
        raise LikewiseError(
            f"{folder} cannot be listed ({why(error)}): give the folder that likewise segment "
            "wrote masks to."
        ) from error
    masks = {stem: path for stem, path in masks.items() if not stem.startswith(".")}
    if not masks:
        raise LikewiseError(
            f"{folder} holds no masks (.png): give the folder that likewise segment wrote to."
        )
    found: dict[str, Path] = {}
    for image in images:
        other = found.setdefault(image.stem, image)
        if other != image and image.stem in masks:
            raise LikewiseError(
                f"{other} and {image} would both have the mask {masks[image.stem]}: leave one of "
                "them out of --images."
            )
    for stem, mask in masks.items():
        if stem not in found:
            raise LikewiseError(
                f"{mask} has no image of the same name among --images: give the images that the "
                "masks were made from."
            )
        if found[stem].absolute() == mask.absolute():
            raise LikewiseError(
                f"{mask} would be its own image: give the images that the masks were made from "
                "as --images."
            )
    return [Pair(image, masks[stem]) for stem, image in found.items() if stem in masks]


def read_classes(folder: Path, label: str | None) -> tuple[tuple[str, ...], bool]:
    """The classes of a folder of masks, and whether it holds label maps.

    Args:
        folder: of masks, with labels.json beside them if they are label maps.
        label: what masks of 0 and 255 mark; "object" if it is not said.

    Raises:
        LikewiseError: labels.json cannot be used, or says otherwise than ``label``.
    """
    file = folder / LABELS
    if not file.exists():
        return (label or "object",), False
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
        classes = tuple(str(names[str(k)]) for k in range(1, len(names) + 1))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LikewiseError(
            f'{file} cannot be used ({why(error)}): it must name the labels as {{"1": "first", '
            '"2": "second"}.'
        ) from error
    if not classes or len(set(classes)) < len(classes):
        raise LikewiseError(f"{file} names no labels, or one twice: give each its own name.")
    if label is not None:
        raise LikewiseError(f"{file} names the labels already: leave out --label.")
    return classes, True


def read_scores(file: Path) -> dict[str, float]:
    """Stem of a mask → confidence, from what ``likewise segment --json`` printed.

    Masks that were kept from an earlier run have none.

    Raises:
        LikewiseError: the file cannot be read, or is none of these.
    """
    try:
        targets = json.loads(file.read_text(encoding="utf-8"))["targets"]
        return {
            Path(t["mask"]).stem: float(t["confidence"])
            for t in targets
            if t["mask"] is not None and not t["skipped"]
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise LikewiseError(
            f"{file} holds no scores ({why(error)}): give what likewise segment --json printed."
        ) from error


def read_annotation(
    pair: Pair,
    classes: tuple[str, ...],
    *,
    label_maps: bool,
    score: Mapping[str, float] | float | None = None,
) -> Annotation:
    """One image with its mask, and its instances if they are kept beside it and make it up.

    The image is decoded too, so that none is damaged.

    Args:
        pair: the files.
        classes: of the dataset.
        label_maps: the mask holds 0 and numbers of classes; else 0 and one other value.
        score: of all the classes in this image, or of each.

    Raises:
        ImageError: a file cannot be read, the mask's size is not the image's, or a label has no
            name.
    """
    picture = read_pillow(pair.image, str(pair.image))
    size = picture.height, picture.width
    label_map = np.asarray(read_pillow(pair.mask, str(pair.mask)))
    if label_map.ndim != 2 or label_map.dtype.kind not in "biu":
        raise ImageError(
            f"{pair.mask} is a colour picture or holds fractions: save it as likewise segment "
            "does, grey or with a palette."
        )
    values = np.unique(label_map)
    if label_maps:
        if values[0] < 0 or values[-1] > len(classes):
            wrong = values[0] if values[0] < 0 else values[-1]
            raise ImageError(
                f"{pair.mask} holds the label {wrong}, but {LABELS} beside it names only 1 to "
                f"{len(classes)}: add its name there."
            )
        label_map = label_map.astype(np.uint8 if len(classes) <= 255 else np.uint16)
    else:
        if np.count_nonzero(values) > 1:
            raise ImageError(
                f"{pair.mask} holds several labels, and no {LABELS} beside it names them: add one "
                'such as {"1": "first", "2": "second"}.'
            )
        label_map = (label_map != 0).astype(np.uint8)
    if label_map.shape != size:
        raise ImageError(
            f"{pair.mask} is {label_map.shape[1]} × {label_map.shape[0]} pixels, but "
            f"{pair.image} is {size[1]} × {size[0]}: give the images that the masks were made from."
        )
    each = score if isinstance(score, Mapping) else dict.fromkeys(classes, score)
    scores = {name: value for name, value in each.items() if value is not None}
    instances = read_instances(instances_path(pair.mask), label_map, classes)
    return Annotation(pair.image, label_map, classes, scores, instances)


def is_validation(image: Path, share: float) -> bool:
    """Whether an image belongs to the validation part, about ``share`` (0..1) of all.

    Its bytes decide alone: copies never end on both sides, and images that are added or renamed
    move no other.

    Raises:
        ImageError: the file cannot be read.
    """
    if share == 0:
        return False
    digest = hashlib.sha256(read_bytes(image)).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def read_bytes(image: Path) -> bytes:
    """The file as it is. Raises ImageError if it cannot be read."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise ImageError(f"{image} cannot be read ({why(error)}): check the file.") from error

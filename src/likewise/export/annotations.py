"""What is exported: images with their label maps, read from a folder of masks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..class_names import is_part
from ..errors import ImageError, LikewiseError, note
from ..instances import Instance, connected_components
from ..io.annotations.shapes import LABEL
from ..io.decoding import picture_size
from ..io.hashing import sha256
from ..io.opening import why
from ..io.planes import AS_IT_IS, Choice
from ..io.text_files import normal, read_json
from ..run.instance_file import instances_path, read_instances
from ..run.jobs import places
from ..run.labels import MARKED, read_class_map
from ..run.manifest import LABELS, Manifest


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
    name: str = ""
    """What its files are called in a dataset: a relative path without suffix; the image's stem."""
    choice: Choice = AS_IT_IS
    """Which picture of the image file."""

    def mask_of(self, number: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool: the class of that number, with its parts (``person/hair`` of ``person``)."""
        whole = self.classes[number - 1]
        parts = [k for k, name in enumerate(self.classes, 1) if is_part(name, whole)]
        return np.isin(self.label_map, [number, *parts]) if parts else self.label_map == number


@dataclass(frozen=True)
class ImageMaskPair:
    """An image and its mask file."""

    image: Path
    mask: Path
    name: str = ""
    """What its files are called in a dataset, see ``Annotation``."""
    choice: Choice = AS_IT_IS
    """Which picture of the image file the mask is of."""


@dataclass(frozen=True)
class Names:
    """What the values of the masks of a folder mean."""

    classes: tuple[str, ...]
    numbers: Mapping[int, int]
    """Value → k, of the k-th class, from 1."""
    lone: bool = False
    """Every mask marks the one class with one value, whichever it is."""


def find_pairs(folder: Path, images: Sequence[Path]) -> list[ImageMaskPair]:
    """Which image each mask (.png) in a folder or below it is of, in the order of the images.

    The folder's manifest says it of masks that likewise wrote. Others, and those whose image is
    gone, belong to the image whose path ends as theirs in the folder (``cam1/0001``), else to the
    one with their name. Images without a mask are left out; masks without an image too, with a
    note, as are images that are not what their masks were made of.

    Raises:
        LikewiseError: the folder holds no masks or no mask has an image; a mask may be of two
            images, or an image have two masks.
    """
    masks, manifest = _find_masks(folder), Manifest(folder)
    given = {_same(i): i for i in images} | {_spelt(i): i for i in images}
    by_name: dict[str, list[Path]] = {}
    for image in images:
        by_name.setdefault(normal(image.stem), []).append(image)
    found: dict[Path, Path] = {}
    left: list[Path] = []
    for mask in masks:
        known = manifest.image_of(mask)
        of = None if known is None else given.get(_spelt(known), given.get(_same(known)))
        if of is None or (known and known.exists() and not known.samefile(of)):
            left.append(mask)
            continue
        newest = manifest.mask_of(of) or mask
        if newest == mask or (newest.exists() and newest.samefile(mask)):
            found[of] = mask
            touched = manifest.is_ours(mask) and manifest.is_of_other(mask, of)
            _note(of, "it was changed after its mask was made.", touched)
        else:
            _note(mask, "its image has a newer mask: left out.")
    for mask in left:
        likely = _alike(mask.relative_to(folder), by_name.get(normal(mask.stem), []))
        known = manifest.image_of(mask)
        if known is not None:
            same = [i for i in likely if not manifest.is_of_other(mask, i)]
            if known.exists() and not same:
                _note(mask, "its image is not among --images: left out.")
                continue
            likely = same or likely
        free = [i for i in likely if i not in found]
        if len(likely) > 1 and free:
            raise LikewiseError(
                f"{likely[0]} and {likely[1]} would both have the mask {mask}: leave one of them "
                "out of --images."
            )
        if not free:
            taken = found.get(likely[0]) if likely else None
            if taken in left:
                raise LikewiseError(
                    f"{taken} and {mask} would both be of {likely[0]}: move one of them away."
                )
            gone = known is not None and not known.exists()
            _note(mask, "its image is gone: left out." if gone else f"{_NO_IMAGE}: left out.")
            continue
        found[free[0]] = mask
        other = known is not None and manifest.is_of_other(mask, free[0])
        _note(free[0], "taken for the image of its name that is gone.", other)
    if not found:
        raise LikewiseError(
            f"{masks[0]} {_NO_IMAGE}: give the images that the masks were made from."
        )
    for image, mask in found.items():
        if _same(image) == _same(mask):
            raise LikewiseError(
                f"{mask} would be its own image: give the images that the masks were made from "
                "as --images."
            )
    return named([(image, found[image]) for image in images if image in found], manifest)


_NO_IMAGE = "has no image of the same name among --images"


def named(pairs: Sequence[tuple[Path, Path]], manifest: Manifest) -> list[ImageMaskPair]:
    """Images and masks with their names: stems, or with their folders where stems are equal."""
    names = places([image for image, _ in pairs], "")
    entries = [manifest.entry_of(mask) for _, mask in pairs]
    choices = [AS_IT_IS if entry is None else entry.choice for entry in entries]
    return [
        ImageMaskPair(*pair, name.as_posix(), choice)
        for pair, name, choice in zip(pairs, names, choices, strict=True)
    ]


def _find_masks(folder: Path) -> list[Path]:
    """All .png in and below a folder, but not hidden ones, and not in other folders of masks."""
    try:
        others = [p.parent for p in folder.rglob(LABELS) if p.parent != folder]
        masks = sorted([*folder.iterdir(), *folder.glob("*/**/*.png")])
    except OSError as error:
        raise LikewiseError(
            f"{folder} cannot be listed ({why(error)}): give the folder that likewise segment "
            "wrote masks to."
        ) from error
    masks = [
        mask
        for mask in dict.fromkeys(masks)
        if mask.suffix.lower() == ".png"
        and not any(part.startswith(".") for part in mask.relative_to(folder).parts)
        and not any(mask.is_relative_to(other) for other in others)
    ]
    if not masks:
        raise LikewiseError(
            f"{folder} holds no masks (.png): give the folder that likewise segment wrote to."
        )
    return masks


def _alike(place: Path, images: Sequence[Path]) -> list[Path]:
    """Those of images with a mask's name whose path ends as its place does; if none, all."""
    parts = [normal(part) for part in place.parent.parts]
    tails = [
        image
        for image in images
        if [normal(part) for part in image.absolute().parts][-1 - len(parts) : -1] == parts
    ]
    return tails or list(images)


def _spelt(path: Path) -> str:
    return os.path.normcase(os.path.normpath(path.absolute()))


def _same(path: Path) -> str:
    """Equal for spellings of one path."""
    return normal(_spelt(path))


def _note(source: Path, what: str, really: bool = True) -> None:
    if really:
        note(source, what)


def read_classes(folder: Path, label: str | None) -> Names:
    """The classes of a folder of masks, in the order of their numbers.

    Args:
        folder: of masks; labels.json beside them names what their values mean.
        label: what its only class is called instead; "object" if nothing says so.

    Raises:
        LikewiseError: labels.json cannot be used, or names several classes and there is ``label``.
    """
    numbers = Manifest(folder).numbers
    if not numbers and (folder / LABELS).exists():
        raise LikewiseError(f"{folder / LABELS} names no labels: delete it, or name some.")
    ordered = sorted(numbers or {LABEL: MARKED}, key=lambda name: numbers.get(name, 0))
    if label is not None and len(ordered) > 1:
        raise LikewiseError(f"{folder / LABELS} names the labels already: leave out --label.")
    if set(numbers.values()) <= {MARKED}:
        return Names((label or ordered[0],), {1: 1, MARKED: 1}, lone=True)
    names = name_values(numbers)
    return names if label is None else Names((label,), names.numbers)


def name_values(numbers: Mapping[str, int]) -> Names:
    """Classes with their values, in the order of these."""
    ordered = sorted(numbers, key=lambda name: numbers[name])
    return Names(tuple(ordered), {numbers[name]: k for k, name in enumerate(ordered, 1)})


def read_scores(file: Path) -> dict[str, float]:
    """Mask as seen from its folder → confidence, from what ``likewise segment --json`` printed.

    Masks that were kept from an earlier run have none.

    Raises:
        LikewiseError: the file cannot be read, or is none of these.
    """
    try:
        report = read_json(file)
        scores = {}
        for target in report["targets"]:
            if target["mask"] is not None and not target["skipped"]:
                out = report.get("out", Path(target["mask"]).parent)
                place = Path(os.path.relpath(target["mask"], out)).as_posix()
                scores[normal(place)] = float(target["confidence"])
        return scores
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LikewiseError(
            f"{file} holds no scores ({why(error)}): give what likewise segment --json printed."
        ) from error


def read_annotation(
    pair: ImageMaskPair, names: Names, *, score: Mapping[str, float] | float | None = None
) -> Annotation:
    """One image with its mask, and its instances if they are kept beside it and make it up.

    The image is decoded too, so that none is damaged.

    Args:
        pair: the files.
        names: of the folder of the mask.
        score: of all the classes in this image, or of each.

    Raises:
        ImageError: a file cannot be read, the mask's size is not the image's, or a value has no
            name.
    """
    size = picture_size(pair.choice.of(pair.image))
    values = read_class_map(pair.mask, () if names.lone else names.numbers)
    held = [k for k in np.unique(values).tolist() if k != 0]
    classes, numbers = names.classes, names.numbers
    if names.lone:
        if len(held) > 1:
            raise ImageError(
                f"{pair.mask} holds several labels, and no {LABELS} beside it names them: add one "
                'such as {"1": "first", "2": "second"}.'
            )
        label_map = (values != 0).astype(np.uint8)
    else:
        for value in held:
            if value not in numbers:
                raise ImageError(
                    f"{pair.mask} holds the value {value}, which {LABELS} does not name: add its "
                    f"name there, or change the mask to {', '.join(map(str, numbers))}."
                )
        kth = np.zeros(max(numbers, default=0) + 1, np.uint8 if len(classes) <= 255 else np.uint16)
        kth[list(numbers)] = list(numbers.values())
        label_map = kth[values]
    if label_map.shape != size:
        raise ImageError(
            f"{pair.mask} is {label_map.shape[1]} × {label_map.shape[0]} pixels, but "
            f"{pair.image} is {size[1]} × {size[0]}: give the images that the masks were made from."
        )
    each = score if isinstance(score, Mapping) else dict.fromkeys(classes, score)
    scores = {name: value for name, value in each.items() if value is not None}
    instances = read_instances(instances_path(pair.mask), label_map, classes, numbers)
    return Annotation(pair.image, label_map, classes, scores, instances, pair.name, pair.choice)


def is_validation(image: Path, share: float) -> bool:
    """Whether an image belongs to the validation part, about ``share`` (0..1) of all.

    A hash of its bytes decides: copies are on one side, and adding or renaming images
    moves no other.

    Raises:
        ImageError: the file cannot be read.
    """
    if share == 0:
        return False
    return int(sha256(read_bytes(image))[:16], 16) < share * 2**64


def read_bytes(image: Path) -> bytes:
    """The file as it is. Raises ImageError if it cannot be read."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise ImageError(f"{image} cannot be read ({why(error)}): check the file.") from error


def find_instances(annotation: Annotation, min_area: int = 1) -> Iterator[Instance]:
    """The annotation's own instances, or the 8-connected components of each class, class by class.

    Args:
        annotation: of one image.
        min_area: instances of fewer pixels are specks and are left out.
    """
    found = _components(annotation) if annotation.instances is None else annotation.instances
    return (instance for instance in found if instance.area >= min_area)


def _components(annotation: Annotation) -> Iterator[Instance]:
    for number, name in enumerate(annotation.classes, 1):
        score = annotation.scores.get(name, 1.0)
        for left, top, mask in connected_components(annotation.mask_of(number)):
            yield Instance(number, name, score, left, top, mask)

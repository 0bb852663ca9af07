"""Training data from COCO-style annotations: polygons and run lengths in one JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError
from ....io.coco_masks import read_coco
from ....io.images import read_image
from ....io.opening import why
from ....io.text_files import read_json
from ...evaluation.datasets.runs import pycocotools
from .augment import Mask, View, shrink
from .marked import LONGEST, SMALLEST, Augmentation, ReadCache, class_pair, object_pair
from .pairs import NEGATIVES, TrainingPair

_TRIES = 20


@dataclass(eq=False)
class _Marked:
    """An image and its annotations."""

    file: Path
    size: tuple[int, int]
    """(H, W)."""
    classes: dict[str, list[tuple[Any, float]]] = field(default_factory=dict)
    """Class → segmentation of each object, and its share of the image, 0..1."""
    void: list[Any] = field(default_factory=list)
    """Segmentations of crowds; their pixels are ignored."""
    partly: set[str] = field(default_factory=set)
    """Classes whose objects are not all annotated (LVIS)."""

    def shows(self, category: str, objects: bool) -> bool:
        """Whether one object (or, else, all of a fully annotated class) covers SMALLEST or more."""
        shares = [share for _, share in self.classes[category]]
        if objects:
            return max(shares) >= SMALLEST
        return sum(shares) >= SMALLEST and category not in self.partly


class Coco:
    """Images with annotations in COCO's format, such as COCO and LVIS."""

    def __init__(
        self,
        annotations: Path,
        images: Path,
        *,
        categories: Collection[str] | None = None,
        objects: bool = False,
        absent: float = 0.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Read the annotations; images are read when they are drawn.

        Args:
            annotations: JSON with images, annotations and categories. Crowds are ignored.
            images: folder of the pictures.
            categories: names of the classes to draw; None: all.
            objects: pairs are two views of one object, not two images of a class.
            absent: share of pairs of a class whose target does not show it, 0..1.
            augmentation: default as the class's.

        Raises:
            LikewiseError: pycocotools is not installed, the file cannot be used, a category is
                not in it, or nothing could make a pair.
        """
        pycocotools()
        self.name, self.objects, self.absent = annotations.stem, objects, absent
        self._augmentation = augmentation or Augmentation()
        names, marked = _parse(annotations, images)
        for name in categories or ():
            if name not in names:
                raise LikewiseError(
                    f"{annotations} has no category {name!r}: use some of its "
                    f"{len(names)}, such as {', '.join(sorted(names)[:8])}."
                )
        places = defaultdict(list)
        for at, image in enumerate(marked):
            for name in image.classes:
                wanted = categories is None or name in categories
                if wanted and image.shows(name, objects):
                    places[name].append(at)
        shots = 1 if objects else 2
        self.classes = {name: places[name] for name in sorted(places) if len(places[name]) >= shots}
        if not self.classes:
            raise LikewiseError(
                f"{annotations} marks no class in {shots} or more pictures, in at least "
                f"{SMALLEST:.1%} of each: give more data."
            )
        self._of = defaultdict(list)
        for name, indices in self.classes.items():
            for at in indices:
                self._of[at].append(name)
        self._marked, self._targets = marked, sorted(self._of)
        self._read = ReadCache(_read)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._targets)

    def sample(self, rng: np.random.Generator, size: int) -> TrainingPair:
        """A random target and one of its classes: see ``pairs.Source``."""
        for _ in range(_TRIES):
            at = self._targets[rng.integers(len(self._targets))]
            category = self._of[at][rng.integers(len(self._of[at]))]
            without = not self.objects and rng.random() < self.absent
            pair = self._pair(at, category, without, rng, size)
            # A polygon may be outside of its image, or too thin to cover a pixel.
            if pair.reference_mask.any() and (without or pair.target_mask.any()):
                return pair
        raise LikewiseError(
            f"the outlines of {category} in {self.name} hold no pixel: check the annotations."
        )

    def _pair(
        self, at: int, category: str, without: bool, rng: np.random.Generator, size: int
    ) -> TrainingPair:
        if self.objects:
            view = self._object(self._marked[at], category, rng)
            return object_pair(view, category, size, rng, self._augmentation)
        others = [other for other in self.classes[category] if other != at]
        reference = self._class(self._marked[others[rng.integers(len(others))]], category, rng)
        at = self._without(category, rng) if without else at
        target = self._class(self._marked[at], category, rng)
        return class_pair(reference, target, category, size, rng, self._augmentation)

    def _without(self, category: str, rng: np.random.Generator) -> int:
        """Index of an image without a class; after 20 draws any image."""
        for _ in range(_TRIES):
            at = int(rng.integers(len(self._marked)))
            if category not in self._marked[at].classes:
                break
        return at

    def _class(self, image: _Marked, category: str, rng: np.random.Generator) -> View:
        """View whose entity is all objects of a class; the other classes are negatives."""
        classes = {name: [shape for shape, _ in found] for name, found in image.classes.items()}
        entity = classes.pop(category, [])
        return self._view(image, entity, list(classes.values()), rng)

    def _object(self, image: _Marked, category: str, rng: np.random.Generator) -> View:
        """View whose entity is one object of a class; all others are negatives."""
        large = [shape for shape, share in image.classes[category] if share >= SMALLEST]
        chosen = large[rng.integers(len(large))]
        every = [shape for found in image.classes.values() for shape, _ in found]
        others = [[shape] for shape in every if shape is not chosen]
        return self._view(image, [chosen], others, rng)

    def _view(
        self,
        image: _Marked,
        entity: Sequence[Any],
        others: Sequence[Sequence[Any]],
        rng: np.random.Generator,
    ) -> View:
        """The image with one entity and some negatives, each a list of segmentations."""
        (pixels,) = self._read(image.file)
        if pixels.shape[:2] != image.size:
            height, width = image.size
            raise LikewiseError(
                f"{image.file} is {pixels.shape[1]} × {pixels.shape[0]} pixels, but its "
                f"annotations are of {width} × {height}: give the pictures that were annotated."
            )
        chosen = [others[i] for i in rng.permutation(len(others))[:NEGATIVES]]
        layers = [_draw(shapes, image) for shapes in (entity, image.void, *chosen)]
        pixels, mask, void, *rest = shrink(pixels, layers, LONGEST)
        negatives = np.stack(rest) if rest else np.zeros((0, *mask.shape), bool)
        return View(pixels, mask, negatives, ~void | mask)


def _parse(annotations: Path, images: Path) -> tuple[set[str], list[_Marked]]:
    """Names of all categories, and the annotations of every image."""
    try:
        content = read_json(annotations)
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        marked = {
            entry["id"]: _Marked(images / _name(entry), (int(entry["height"]), int(entry["width"])))
            for entry in content["images"]
        }
        for entry in content["images"]:
            partly = entry.get("not_exhaustive_category_ids", ())
            marked[entry["id"]].partly = {names[number] for number in partly}
        for entry in content["annotations"]:
            image, shape = marked[entry["image_id"]], entry["segmentation"]
            full = image.size[0] * image.size[1]
            if entry.get("iscrowd"):
                image.void.append(shape)
            elif shape:
                found = image.classes.setdefault(names[entry["category_id"]], [])
                found.append((shape, entry.get("area", full) / full))
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{annotations} cannot be used ({why(error)}): check it.") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise LikewiseError(
            f"{annotations} is no COCO JSON (at {error}): it needs images, annotations and "
            "categories."
        ) from error
    return set(names.values()), list(marked.values())


def _name(entry: dict[str, Any]) -> str:
    """File name of an image; LVIS has its URL only."""
    return str(entry["file_name"] if "file_name" in entry else Path(entry["coco_url"]).name)


def _draw(shapes: Sequence[Any], image: _Marked) -> Mask:
    """(H, W) bool, union of the segmentations."""
    mask = np.zeros(image.size, bool)
    try:
        outlines = [polygon for shape in shapes if isinstance(shape, list) for polygon in shape]
        if outlines:  # by pycocotools, for speed
            coco = pycocotools()
            runs = coco.merge(coco.frPyObjects(outlines, *image.size))
            mask |= coco.decode(runs).astype(bool)
        for shape in shapes:
            if not isinstance(shape, list):  # pycocotools does not check their total length
                mask |= read_coco(shape, image.size, f"an annotation of {image.file}")
        return mask
    except Exception as error:  # pycocotools raises bare Exception
        if isinstance(error, LikewiseError):
            raise
        raise LikewiseError(
            f"{image.file} has an annotation that is neither polygons nor run lengths ({error}): "
            "export the annotations again."
        ) from error


def _read(file: Path) -> tuple[np.ndarray, ...]:
    return (read_image(file),)

"""Training data from folders of images and label maps, or from a list of episodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ....errors import LikewiseError
from ....instances import CORNERS
from ....io.formats import is_image_name
from ....io.images import read_image
from ...evaluation.episodes import read_episodes
from ...evaluation.reading import read_labels
from .augment import View, shrink
from .marked import LONGEST, SMALLEST, Augmentation, ReadCache, class_pair, object_pair, some
from .pairs import TrainingPair

ENTITIES = ("classes", "values", "components")
_TRIES = 20


@dataclass(frozen=True)
class LabelledImage:
    """An image and its label map."""

    image: Path
    mask: Path


class LabelMapFolder:
    """A source of pairs: images with label maps."""

    def __init__(
        self,
        name: str,
        classes: Mapping[str, Sequence[tuple[LabelledImage, int]]],
        *,
        entities: str = "classes",
        background: Collection[int] = (0,),
        ignored: Collection[int] = (),
        absent: float = 0.0,
        augmentation: Augmentation | None = None,
    ) -> None:
        """A source; ``read_folder`` and ``read_sets`` make them.

        Args:
            name: of the data set.
            classes: class → its images, each with the value of the class in its label map.
            entities: what a pair shows. ``classes``: all of a class in two images. ``values``:
                two views of one value of a label map. ``components``: two views of one 8-connected
                component of a value.
            background: values that are neither entities nor negatives.
            ignored: values of pixels that are ignored in the loss.
            absent: 0..1, share of the pairs of ``classes`` whose target does not show the class.
            augmentation: default as the class's.

        Raises:
            LikewiseError: unknown ``entities``, or nothing that could make a pair.
        """
        if entities not in ENTITIES:
            raise LikewiseError(
                f"entities {entities!r} are unknown; use one of {', '.join(ENTITIES)}."
            )
        shots = 2 if entities == "classes" else 1
        self.classes = {
            category: list(places)
            for category, places in sorted(classes.items())
            if len({item for item, _ in places}) >= shots
        }
        if not self.classes:
            raise LikewiseError(
                f"no class of {name} is marked in {shots} or more pictures, in at least "
                f"{SMALLEST:.1%} of each: give more data."
            )
        self.name, self.entities, self.absent = name, entities, absent
        self._apart = [*background, *ignored]
        self._ignored = list(ignored)
        self._augmentation = augmentation or Augmentation()
        self._of: dict[LabelledImage, list[tuple[str, int]]] = defaultdict(list)
        for category, places in self.classes.items():
            for item, value in places:
                self._of[item].append((category, value))
        self._items = sorted(self._of, key=lambda item: (item.image, item.mask))
        self._read = ReadCache(_read)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._items)

    def sample(self, rng: np.random.Generator, size: int) -> TrainingPair:
        """A random target and one of its classes: see ``pairs.Source``."""
        item = self._items[rng.integers(len(self._items))]
        category, value = self._of[item][rng.integers(len(self._of[item]))]
        if self.entities != "classes":
            view = self._view(item, value, rng, components=self.entities == "components")
            return object_pair(view, category, size, rng, self._augmentation)
        places = [place for place in self.classes[category] if place[0] != item]
        reference = self._view(*places[rng.integers(len(places))], rng)
        target = self._view(item, value, rng)
        if rng.random() < self.absent:
            target = self._without(category, value, rng) or target
        return class_pair(reference, target, category, size, rng, self._augmentation)

    def _without(self, category: str, value: int, rng: np.random.Generator) -> View | None:
        """View of an image without a class; None if 20 draws find none."""
        for _ in range(_TRIES):
            item = self._items[rng.integers(len(self._items))]
            if category not in {c for c, _ in self._of[item]}:
                view = self._view(item, value, rng)
                # Pixels of ``value`` here are too few to be listed, or of another class: ignored.
                return replace(view, mask=np.zeros_like(view.mask), valid=view.valid & ~view.mask)
        return None

    def _view(
        self, item: LabelledImage, value: int, rng: np.random.Generator, components: bool = False
    ) -> View:
        image, labels = self._read(item)
        mask = labels == value
        values = np.setdiff1d(labels, [*self._apart, value])
        others = some(values, rng)[:, None, None] == labels
        if components:
            mask, others = _component(mask, labels, values, rng)
        return View(image, mask, others, ~np.isin(labels, self._ignored))


def read_folder(
    images: Path,
    masks: Path,
    *,
    ending: str = ".png",
    names: Mapping[int, str] | None = None,
    by_folder: bool = False,
    entities: str = "classes",
    background: Collection[int] = (0,),
    ignored: Collection[int] = (),
    absent: float = 0.0,
    augmentation: Augmentation | None = None,
) -> LabelMapFolder:
    """A folder of images and one of label maps with the same subfolders.

    Args:
        images: folder of the images.
        masks: folder with ``sub/NAME`` + ``ending`` for every ``sub/NAME.jpg``; grey or palette,
            each value a class, or 0 and 255.
        ending: of the names of label maps.
        names: value → class, all different; default: the number.
        by_folder: values are different classes in each subfolder, for example one video each.
        entities, background, ignored, absent, augmentation: as for ``LabelMapFolder``.

    Raises:
        LikewiseError: if there is no image, an image has no label map, a file cannot be read, two
            values have one name, or there is no pair.
    """
    twice = sorted(name for name, n in Counter((names or {}).values()).items() if n > 1)
    if twice:
        raise LikewiseError(f"several values are called {twice[0]}: give each value its own name.")
    found = sorted(p for p in images.rglob("*") if is_image_name(p))
    if not found:
        raise LikewiseError(f"{images} holds no picture: give the folder of the training pictures.")
    classes: dict[str, list[tuple[LabelledImage, int]]] = defaultdict(list)
    for image in found:
        inside = image.relative_to(images)
        mask = masks / inside.parent / (inside.stem + ending)
        if not mask.is_file():
            raise LikewiseError(
                f"{image} has no mask: {mask} does not exist, so draw it or remove the picture."
            )
        folder = f"{inside.parent.as_posix()}/" if by_folder else ""
        for value in _values(mask, {*background, *ignored}):
            classes[folder + (names or {}).get(value, str(value))].append(
                (LabelledImage(image, mask), value)
            )
    return LabelMapFolder(
        images.parent.name if images.name == "images" else images.name,
        classes,
        entities=entities,
        background=background,
        ignored=ignored,
        absent=absent,
        augmentation=augmentation,
    )


def read_sets(
    file: Path,
    root: Path,
    sets: Iterable[str] | None = None,
    *,
    augmentation: Augmentation | None = None,
) -> list[LabelMapFolder]:
    """The images of a list of episodes; each set is a source.

    Any two images of a class can be a pair, also if the list has no such episode.

    Args:
        file, root: as for ``read_episodes``.
        sets: names of the sets to use; None: all. Leave out the sets for testing.
        augmentation: as for ``LabelMapFolder``.

    Raises:
        LikewiseError: the list cannot be read, a set is not in it, or a mask cannot be used.
    """
    episodes = [e for e in read_episodes([file], root) if not e.absent]
    known = sorted({e.dataset for e in episodes})
    for name in sets or ():
        if name not in known:
            raise LikewiseError(f"{file} has no set {name!r}: use some of {', '.join(known)}.")
    folders = []
    for name in known if sets is None else dict.fromkeys(sets):
        classes: dict[str, set[tuple[LabelledImage, int]]] = defaultdict(set)
        for e in episodes:
            shown = (e.reference, e.reference_mask), (e.target, e.target_mask)
            for image, mask in shown if e.dataset == name else ():
                if not isinstance(mask, Path) or e.value is None:
                    raise LikewiseError(
                        f"{e} has no mask file with a value: train on lists whose masks are files."
                    )
                if e.value in _values(mask, ()):
                    classes[e.cls].add((LabelledImage(image, mask), e.value))
        ordered = {c: sorted(places, key=_place) for c, places in classes.items()}
        used = {value for places in ordered.values() for _, value in places}
        folders.append(
            LabelMapFolder(name, ordered, background={0} - used, augmentation=augmentation)
        )
    return folders


def _place(place: tuple[LabelledImage, int]) -> tuple[str, str, int]:
    item, value = place
    return str(item.image), str(item.mask), value


def _values(mask: Path, apart: Collection[int]) -> list[int]:
    """Values that cover from SMALLEST to 95 % of a label map, without those in ``apart``."""
    labels = read_labels(mask)
    values, counts = np.unique(labels, return_counts=True)
    shares = zip(values.tolist(), (counts / labels.size).tolist(), strict=True)
    return [value for value, share in shares if SMALLEST <= share <= 0.95 and value not in apart]


def _read(item: LabelledImage) -> tuple[np.ndarray, ...]:
    image, labels = read_image(item.image), read_labels(item.mask)
    (height, width), (h, w) = image.shape[:2], labels.shape
    if abs(w * height - h * width) > 0.02 * h * width:
        raise LikewiseError(
            f"{item.mask} is {w} × {h} pixels, but {item.image} is {width} × {height}: draw the "
            "mask on that very picture."
        )
    if (h, w) != (height, width):
        labels = read_labels(item.mask, (height, width))
    image, labels = shrink(image, [labels.astype(np.int32)], LONGEST)
    return image, labels


def _component(
    mask: npt.NDArray[np.bool_],
    labels: np.ndarray,
    values: np.ndarray,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """One connected component of a mask, drawn by area, and entities to be negatives.

    Args:
        mask: (H, W) bool, the pixels of one value.
        labels: (H, W) int32, the label map.
        values: (V,) other values of the label map.
        rng: of the draw.

    Returns:
        (H, W) bool of the component, and (n, H, W) bool of other components and values, n at most
        NEGATIVES.
    """
    from scipy import ndimage

    parts, _ = ndimage.label(mask, CORNERS)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    chosen = rng.choice(len(areas), p=areas / areas.sum())
    components = [parts == n for n in np.flatnonzero(areas >= SMALLEST * mask.size) if n != chosen]
    components += [labels == value for value in values]
    others = np.stack(components) if components else np.zeros((0, *mask.shape), bool)
    return parts == chosen, some(others, rng)

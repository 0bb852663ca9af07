"""Examples: images with masks of the thing to find, encoded once and reused for every target."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
from PIL import Image

from .class_names import check_classes, class_name, is_part
from .errors import ImageError
from .features.patch_features import PatchFeatures, mask_share, mask_to_grid
from .features.prompts import PromptSolver
from .features.views import each_view
from .io.annotations.shapes import LABEL
from .io.decoding import PATH
from .io.hashing import fingerprint
from .io.images import ImageLike, Picture, find_range, read_picture, source_name
from .io.masks import MaskLike, MaskValue, read_mask
from .io.stretch import Ranges, pooled
from .prompts import Box, Point, Prompts, Scribble, prompted_mask

if TYPE_CHECKING:
    import torch

    from .backbones.encoder import Encoder

T = TypeVar("T")
THUMBNAIL = 256


@dataclass(frozen=True, eq=False)
class Reference:
    """One example: an image and the mask of the thing in it.

    Args:
        image: a file, an (H, W, 3) array, a PIL image or a torch tensor.
        mask: a file, an array of the image's size and so on; of an image file also a file of
            annotations, see ``io/annotations``. Pixels that are transparent or without data are
            not in it. None needs prompts or, if negative, stands for the whole image.
        mask_value: what marks the thing in the mask: one value of a label map, a colour
            (``"#ff0000"``), or ``"any"`` value above 0. None where the mask has two values only;
            see ``io.masks.read_mask``.
        label: class of the thing. Several classes compete for every pixel; one called
            ``person/hair`` is a part of ``person``, if that is a class too: it is only looked for
            inside what is found of it, and its pixels are in both.
        negative: the mask marks what is *not* to be found; it speaks against every class.
        points, box, scribbles: what is meant (see ``Prompts``): instead of a mask, which is made of
            them when the reference is encoded, or to correct it.
    """

    image: ImageLike
    mask: MaskLike | None = None
    mask_value: MaskValue | None = None
    label: str = LABEL
    negative: bool = False
    points: Sequence[Point] = ()
    box: Box | None = None
    scribbles: Sequence[Scribble] = ()

    @property
    def prompts(self) -> Prompts:
        """Points, box and scribbles."""
        return Prompts(self.points, self.box, self.scribbles)

    def __post_init__(self) -> None:
        # Names of folders, files and the command line are spelt differently on different systems.
        object.__setattr__(self, "label", class_name(self.label))


@dataclass(frozen=True, eq=False)
class EncodedReference:
    """One shot: the patch features and the mask of one reference."""

    encoded: PatchFeatures
    mask: torch.Tensor
    """(N,) bool, at least one True: the patches of the concept or, if ``negative``, of another."""
    views: Mapping[str, tuple[PatchFeatures, torch.Tensor]] = field(default_factory=dict)
    """Name → augmented view (see ``features/views.py``), each with its mask."""
    label: str = LABEL
    negative: bool = False
    thumbnail: tuple[np.ndarray, np.ndarray] | None = None
    """(h, w, 3) uint8 RGB and (h, w) bool, at most THUMBNAIL a side, for display."""
    digest: str = ""
    """64 hex digits of the picture and the mask that were encoded; empty where unknown."""
    shares: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """View → (N,) float32 in 0..1, masked share of each patch; ``""`` is the reference itself."""

    @property
    def seen(self) -> dict[str, tuple[PatchFeatures, torch.Tensor]]:
        """View → features and mask: the reference itself (``""``), then its views."""
        return {"": (self.encoded, self.mask), **self.views}

    def share(self, view: str = "") -> torch.Tensor:
        """(N,) float32: ``shares`` of a view or, if unknown, its mask as 0 and 1."""
        return self.shares[view] if view in self.shares else self.seen[view][1].float()


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Encoded references of one or several concepts, reusable for any number of targets."""

    shots: tuple[EncodedReference, ...]
    ranges: Ranges = field(default_factory=dict)
    """Ranges that are mapped to 8 bits, of targets too; see ``io/stretch.py``."""
    _cached: dict[str, Any] = field(default_factory=dict, repr=False)

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """``make()``, computed once and then kept under ``name``, also for subsets (``of``)."""
        if name not in self._cached:
            self._cached[name] = make()
        return cast(T, self._cached[name])

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def fingerprint(self) -> str:
        """32 hex digits of all references: pictures, masks, classes and their order."""
        return fingerprint([(s.digest, s.label, s.negative) for s in self.shots], self.ranges)

    @property
    def positives(self) -> tuple[EncodedReference, ...]:
        """Shots that show the concept."""
        return tuple(s for s in self.shots if not s.negative)

    @property
    def negatives(self) -> tuple[EncodedReference, ...]:
        """Shots that show something else."""
        return tuple(s for s in self.shots if s.negative)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order given."""
        return tuple(dict.fromkeys(s.label for s in self.positives))

    @property
    def object_side(self) -> float | None:
        """Median of ``object_sides`` of all classes; None if unknown."""
        sides = [side for of_class in self.object_sides.values() for side in of_class]
        return float(np.median(sides)) if sides else None

    @property
    def object_sides(self) -> dict[str, list[float]]:
        """Class → side of each of its marked objects in pixels of their images, where known.

        The side is the square root of the area of a connected component of a mask.
        """
        return self.cached("object_sides", lambda: _object_sides(self.positives))

    def only(self, labels: Sequence[str]) -> ReferenceSet:
        """The references of some classes, and the negative ones.

        Raises:
            LikewiseError: if a class has none.
        """
        labels = check_classes(labels, self.labels)
        kept = tuple(s for s in self.shots if s.negative or s.label in labels)
        return ReferenceSet(kept, self.ranges)

    def of(self, label: str) -> ReferenceSet:
        """The references of one class; those of the other classes are negative.

        Its parts and its whole are neither positive nor negative: their references are left out.
        """
        related = {k for k in self.labels if is_part(k, label) or is_part(label, k)}
        cache = self._cached
        if related:  # fewer shots: what was computed of all does not hold for them
            cache = self.cached(f"without {sorted(related)}", dict)
        return ReferenceSet(
            tuple(
                s if s.negative or s.label == label else replace(s, negative=True)
                for s in self.shots
                if s.negative or s.label not in related
            ),
            self.ranges,
            cache,
        )


def _object_sides(shots: Sequence[EncodedReference]) -> dict[str, list[float]]:
    from .refine import components

    sides: dict[str, list[float]] = {}
    for shot in shots:
        if shot.thumbnail is not None:
            mask = shot.thumbnail[1]
            scale = shot.encoded.size[0] / mask.shape[0]
            starts, ends, piece = components(mask)
            areas = np.bincount(piece, ends - starts)
            sides.setdefault(shot.label, []).extend((np.sqrt(areas) * scale).tolist())
    return {name: found for name, found in sides.items() if found}


Example: TypeAlias = "Reference | tuple[ImageLike, MaskLike]"


def as_references(references: Example | Sequence[Example]) -> list[Reference]:
    """One Reference or (image, mask) pair, or a sequence of them → a list of References.

    Raises:
        ImageError: if there is none, or one is neither a Reference nor a pair.
    """
    items: list[Any] = [references]
    if isinstance(references, list | tuple):
        pair = isinstance(references, tuple) and references and not _is_example(references[0])
        items = [references] if pair else list(references)  # a pair, or several
    if len(items) == 0:
        raise ImageError("no reference given: pass at least one (image, mask) pair.")
    for item in items:
        if not _is_example(item):
            raise ImageError(
                "a reference must be a Reference or an (image, mask) pair, "
                f"not {type(item).__name__}: write [(image, mask), ...]."
            )
    return [r if isinstance(r, Reference) else Reference(*r) for r in items]


def _is_example(item: object) -> bool:
    return isinstance(item, Reference) or (isinstance(item, tuple | list) and len(item) == 2)


def read_reference(
    reference: Reference, stretch: Ranges | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Its (H, W, 3) uint8 RGB image and (H, W) bool mask; ``stretch`` is of ``read_picture``.

    Raises ImageError if the image or mask cannot be used.
    """
    picture = read_picture(reference.image, stretch=stretch)
    return picture.pixels, marked_pixels(reference, picture)


def marked_pixels(reference: Reference, picture: Picture) -> np.ndarray:
    """(H, W) bool: what a reference marks in its picture, of the pixels that are valid.

    Raises:
        ImageError: if the mask cannot be used, or marks only pixels that are not valid.
    """
    size = picture.pixels.shape[0], picture.pixels.shape[1]
    source, value = reference.mask, reference.mask_value
    if source is not None:
        label = None if reference.label == LABEL or reference.negative else reference.label
        name = os.fspath(source) if isinstance(source, PATH) else None
        if isinstance(source, PATH) and isinstance(reference.image, PATH):
            from .io.annotations.reader import is_annotation, read_annotated

            if is_annotation(Path(source)):
                wanted = "any" if reference.negative and value is None else value
                files = Path(source), Path(reference.image)
                source, value = read_annotated(*files, size, reference.label, wanted), None
        mask = read_mask(source, size=size, value=value, label=label, name=name)
    elif reference.negative:
        mask = np.ones(size, dtype=bool)
    else:
        raise ImageError(
            "a reference has no mask: give one, or points or a box; only a negative one may do "
            "without."
        )
    mask = mask if picture.valid is None else mask & picture.valid
    if not mask.any():
        raise ImageError(
            f"the mask of {source_name(reference.image, None, 'image')} marks only pixels that are "
            "transparent or without data: mark others."
        )
    return mask


def encode_references(
    encoder: Encoder, references: Sequence[Reference], views: Sequence[str] = ()
) -> ReferenceSet:
    """Read and encode references (INSID3 §3: the in-context examples).

    Args:
        encoder: backbone and input size.
        references: at least one of them not negative.
        views: names from ``views.VIEWS`` of further views to encode of each reference.

    Raises:
        ImageError: if an image or mask cannot be used.
    """
    if all(r.negative for r in references):
        raise ImageError("only negative references were given: give at least one of the thing.")
    references = [prompted(encoder, r) for r in references]
    # Several classes are often marked in one image: equal pictures are encoded once. They are read
    # when the encoder wants them, for a hundred references with their views fill the memory.
    keys: list[str] = []
    seen = []

    ranges = pooled(found for r in references if (found := find_range(r.image)) is not None)

    def pictures() -> Iterator[np.ndarray]:
        known: set[str] = set()
        for reference in references:
            image, mask = read_reference(reference, ranges)
            shown = {}
            own = ("", (image, mask))
            # One by one: all of a large picture would fill the memory.
            for name, (view, marked) in chain([own], each_view(image, mask, views)):
                key = fingerprint(view)
                on_grid = mask_to_grid(marked, encoder.grid), mask_share(marked, encoder.grid)
                shown[name] = key, on_grid[0].to(encoder.device), on_grid[1].to(encoder.device)
                if key not in known:
                    known.add(key)
                    keys.append(key)
                    yield view
            seen.append((shown, thumbnail(image, mask), fingerprint(shown[""][0], mask)))

    features = [replace(f, picture=None) for f in encoder.encode_many(pictures())]
    encoded = dict(zip(keys, features, strict=True))
    shots = []
    for reference, (shown, small, digest) in zip(references, seen, strict=True):
        patches = {name: (encoded[key], marked) for name, (key, marked, _) in shown.items()}
        shares = {name: share for name, (_, _, share) in shown.items()}
        kind = reference.label, reference.negative
        shots.append(EncodedReference(*patches.pop(""), patches, *kind, small, digest, shares))
    return ReferenceSet(tuple(shots), ranges)


def prompted(encoder: Encoder, reference: Reference) -> Reference:
    """A reference with the mask that its prompts make or correct; as it is without prompts.

    Raises LikewiseError if the image, the mask or a prompt cannot be used.
    """
    if not reference.prompts:
        return reference
    picture = read_picture(reference.image)
    given = None if reference.mask is None else marked_pixels(reference, picture)
    name = source_name(reference.image, None, "image")
    solver, size = PromptSolver(encoder.encode(picture.pixels)), encoder.input_size
    mask, _ = prompted_mask(solver, picture.pixels, reference.prompts, size, given, name)
    return replace(reference, mask=mask, mask_value=None, points=(), box=None, scribbles=())


def thumbnail(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrink (H, W, 3) uint8 and its (H, W) bool mask to at most THUMBNAIL a side.

    A pixel is masked if any part of it was.
    """
    scale = min(1.0, THUMBNAIL / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    marked = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(small), np.asarray(marked.resize(size, Image.Resampling.BOX)) > 0

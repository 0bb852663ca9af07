"""From patch scores of all classes to a ``Result``: refine, compete, drop invalid pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .class_names import wholes_of
from .errors import note
from .io.images import Picture
from .refine import compete_inside, refine
from .result import ClassResult, Result

if TYPE_CHECKING:
    from .features.target_cache import TargetCache
    from .methods import Scores

MIN_PATCHES = 2
"""Side, in patches of the grid, below which an object is too small to be found."""


def make_result(
    image: np.ndarray | Picture,
    found: Mapping[str, Scores],
    cache: TargetCache,
    input_size: tuple[int, int],
    refiner: str,
    *,
    keep_tree: bool = False,
    points: Mapping[str, np.ndarray] = {},
) -> Result:
    """Decide every pixel of one image.

    Args:
        image: (H, W, 3) uint8 RGB, or a picture; its pixels that are not valid are in no mask.
        found: label → scores of the class, at least one.
        cache: the encoded image and what was computed of it for all its classes.
        input_size: (H, W) that the backbone saw.
        refiner: ``none``, ``guided`` or ``crf``.
        keep_tree: the result has the clustering of the image's patches.
        points: label → (n, 3) x, y and sign, see ``refine``.
    """
    pixels = pixels_of(image)
    scores = [f.on(cache.target.grid) for f in found.values()]
    masks = [
        refine(s, pixels, input_size, refiner, points.get(label), cache.target.picture)
        for label, s in zip(found, scores, strict=True)
    ]
    confidences, wholes = [f.confidence for f in found.values()], wholes_of(list(found))
    label_map, masks = compete_inside(masks, scores, confidences, wholes, input_size)
    classes = {
        label: ClassResult(mask, s.cpu().numpy(), f.confidence, f.trace, f.disputed)
        for (label, f), mask, s in zip(found.items(), masks, scores, strict=True)
    }
    result = Result.merged(classes, label_map, pixels, cache.tree if keep_tree else None)
    return result.within(image.valid if isinstance(image, Picture) else None)


def note_too_small(picture: Picture, grid: tuple[int, int], side: float | None) -> None:
    """Note it if nothing was found in a picture whose objects may be too small to be found.

    Args:
        picture: in which nothing was found.
        grid: (h, w) patches that cover it.
        side: of an object of the references, in pixels; None if unknown.
    """
    H, W = picture.pixels.shape[:2]
    patch = max(H / grid[0], W / grid[1])
    if side is not None and side < MIN_PATCHES * patch:
        note(
            picture.name,
            f"nothing was found, but what measures {side:.0f} pixels, as in the references, is "
            f"too small to be seen in {W} × {H}: cut it into pieces of at most "
            f"{side / MIN_PATCHES * min(grid):.0f} pixels a side.",
        )


def pixels_of(image: np.ndarray | Picture) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return image.pixels if isinstance(image, Picture) else image

"""Objects of a class: the connected components of its mask, split where objects touch.

The distance to the edge has a peak in the middle of every thick part of a piece. Where the way from
one peak to another leads through a neck much thinner than both, and both parts are round enough to
be objects and no limbs, there are two objects. benchmarks/NOTES.md says what else was tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

NECK = 0.6
"""Two parts are two objects if the neck is thinner than this share of the thinner part."""
ROUND = 0.45
"""And if the widest circle in each fills this share of it: a disc 1, an ellipse of 2:1 a half."""
SHARE = 0.1
"""And if the smaller one has this share of the larger one's area."""
CELLS = 256
"""Cells along the longer side at which a larger component is processed."""
SAMPLES = 4096
"""Pixels of an instance whose scores are looked at, at least, if it has so many."""
SHORTEST = 7
"""Pixels a side that two parts with a neck take at least."""
CORNERS = np.ones((3, 3))
"""8-connectivity: pixels that touch at a corner are connected."""


@dataclass(frozen=True, eq=False)
class Instance:
    """One object in one image."""

    number: int
    """Its class, as in the label map: 1 for the first."""
    label: str
    """The class by name."""
    score: float
    """0..1: how sure it is that this is an object of the class."""
    left: int
    """Column of the first pixel of ``mask`` in the image."""
    top: int
    """Row of the first pixel of ``mask`` in the image."""
    mask: npt.NDArray[np.bool_]
    """(h, w) bool, cropped to the bounding box; 8-connected."""

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom edge in pixels; right and bottom lie outside: x < right."""
        height, width = self.mask.shape
        return self.left, self.top, self.left + width, self.top + height


def find_objects(
    mask: npt.NDArray[np.bool_],
    scores: npt.NDArray[np.floating[Any]],
    confidence: float,
    number: int = 1,
    label: str = "object",
) -> list[Instance]:
    """The objects of one class, from top to bottom; every pixel of the mask is in exactly one.

    Args:
        mask: (H, W) bool.
        scores: (h, w) in 0..1 on the patch grid, 0.5 is the threshold.
        confidence: 0..1, that the image shows the class at all.
        number, label: of the class.

    Returns:
        Each with the score ``confidence`` × mean of max(0, 2·score - 1) over its pixels: 0 if it
        only just passes the threshold. So a confident object ranks above a faint one.
    """
    from scipy import ndimage

    found = []
    for left, top, piece in connected_components(mask):
        parts = _split(piece) if max(piece.shape) >= SHORTEST else piece.astype(np.int64)
        for part, (rows, columns) in enumerate(ndimage.find_objects(parts), 1):
            shape = parts[rows, columns] == part
            x, y = left + columns.start, top + rows.start
            one = Instance(number, label, confidence, x, y, shape)
            found.append(replace(one, score=confidence * _margin(scores, one, mask.shape)))
    return found


def connected_components(
    mask: npt.NDArray[np.bool_],
) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Left, top and (h, w) bool of every 8-connected component, from top to bottom."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=CORNERS)
    for piece, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        yield columns.start, rows.start, labels[rows, columns] == piece


def draw(
    instances: Sequence[Instance], shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint16
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """(H, W) label map of these instances only; parts over wholes."""
    drawn = np.zeros(shape, dtype)
    for instance in sorted(instances, key=lambda i: i.label.count("/")):
        h, w = instance.mask.shape
        window = drawn[instance.top : instance.top + h, instance.left : instance.left + w]
        window[instance.mask] = instance.number
    return drawn


def _split(piece: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(h, w) labels of the objects of a connected piece, from 1, each connected; 0 outside."""
    from scipy.ndimage import distance_transform_edt

    step = -(-max(piece.shape) // CELLS)
    h, w = (-(-side // step) for side in piece.shape)
    padded = np.pad(
        piece, [(0, n * step - side) for n, side in zip((h, w), piece.shape, strict=True)]
    )
    # A cell counts if any pixel of it does, so that what hangs together still does.
    cells = padded.reshape(h, step, w, step).any(axis=(1, 3))
    distance = distance_transform_edt(np.pad(cells, 1))[1:-1, 1:-1]
    parts = _merged(*_basins(distance), distance)
    if step == 1 or parts.max() == 1:
        return parts if step == 1 else piece.astype(np.int64)
    fine = parts.repeat(step, axis=0).repeat(step, axis=1)[: piece.shape[0], : piece.shape[1]]
    return _rejoined(np.where(piece, fine, 0), piece)


def _basins(distance: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], list[float]]:
    """Watershed basins: each pixel has the label of the peak that steepest ascent leads to.

    Args:
        distance: (h, w) to the edge; 0 outside.

    Returns:
        (h, w) labels from 1, 0 outside, and the height of each label's peak.
    """
    h, w = distance.shape
    # One number a pixel, in the order of distance, then place: no two are equal.
    rank = np.empty(h * w, dtype=np.int64)
    rank[np.argsort(distance, axis=None, kind="stable")] = np.arange(h * w)
    around = np.pad(rank.reshape(h, w), 1, constant_values=-1)
    highest = np.max(
        [around[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0
    ).ravel()
    follows = np.argsort(rank)[highest]
    while (follows != (further := follows[follows])).any():
        follows = further
    inside = distance.ravel() > 0
    tops, labels = np.unique(follows[inside], return_inverse=True)
    basins = np.zeros(h * w, dtype=np.int64)
    basins[inside] = labels + 1
    return basins.reshape(h, w), [0.0, *distance.ravel()[tops].tolist()]


def _passes(
    basins: npt.NDArray[np.int64], distance: npt.NDArray[np.float64]
) -> list[tuple[float, int, int]]:
    """The highest saddle between every two adjacent basins: (height, one, other), highest first."""
    highest: dict[tuple[int, int], float] = {}
    h, w = basins.shape
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = slice(0, h - y), slice(max(0, -x), w - max(0, x))
        there = slice(y, h), slice(max(0, x), w - max(0, -x))
        one, other = basins[here], basins[there]
        border = (one != other) & (one > 0) & (other > 0)
        heights = np.minimum(distance[here], distance[there])[border]
        pairs = np.sort(np.stack([one[border], other[border]], axis=1), axis=1)
        for (a, b), height in zip(pairs.tolist(), heights.tolist(), strict=True):
            highest[a, b] = max(height, highest.get((a, b), 0.0))
    return sorted(((height, *pair) for pair, height in highest.items()), reverse=True)


def _merged(
    basins: npt.NDArray[np.int64], peaks: list[float], distance: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Basins joined over the highest passes first, but where there are two objects."""
    owner = list(range(len(peaks)))
    areas = np.bincount(basins.ravel(), minlength=len(peaks)).tolist()

    def find(basin: int) -> int:
        while owner[basin] != basin:
            basin = owner[basin]
        return basin

    for height, one, other in _passes(basins, distance):
        big, small = find(one), find(other)
        if big == small:
            continue
        if peaks[big] < peaks[small]:
            big, small = small, big
        apart = (
            height < NECK * peaks[small]
            and areas[small] > SHARE * areas[big]
            and all(np.pi * peaks[part] ** 2 > ROUND * areas[part] for part in (big, small))
        )
        if not apart:
            owner[small] = big
            areas[big] += areas[small]
    _, labels = np.unique([find(basin) for basin in range(len(peaks))], return_inverse=True)
    return labels[basins]


def _rejoined(parts: npt.NDArray[np.int64], piece: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Pixels that lie apart from the rest of their part go to the part that they touch."""
    from scipy import ndimage

    kept = np.zeros_like(parts)
    for part in range(1, parts.max() + 1):
        labels, _ = ndimage.label(parts == part, structure=CORNERS)
        kept[labels == np.bincount(labels.ravel())[1:].argmax() + 1] = part
    while (left := piece & (kept == 0)).any():
        kept[left] = ndimage.grey_dilation(kept, size=(3, 3))[left]
    return kept


def _margin(
    scores: npt.NDArray[np.floating[Any]], instance: Instance, size: tuple[int, ...]
) -> float:
    """How far the scores of an instance's pixels are above the threshold on average, 0..1."""
    from scipy.ndimage import map_coordinates

    inside = np.flatnonzero(instance.mask)[:: 1 + instance.area // SAMPLES]
    rows, columns = np.divmod(inside, instance.mask.shape[1])
    on_grid = [
        (places + start + 0.5) * cells / pixels - 0.5
        for places, start, cells, pixels in zip(
            (rows, columns), (instance.top, instance.left), scores.shape, size, strict=True
        )
    ]
    values = map_coordinates(scores, on_grid, order=1, mode="nearest")
    return float(np.maximum(2 * values - 1, 0).mean())

"""Connected pieces of a class in a label map that is too large to be labelled at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..instances import CORNERS

ROWS = 1024
"""That are labelled at once."""
TRACED = 2048
"""Pixels a side of a piece beyond which its mask is made on a coarser grid."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One connected piece."""

    mask: npt.NDArray[np.bool_]
    """(h, w), cut out as small as it goes."""
    top: int
    left: int
    """Of the mask in the label map, in steps."""
    step: int
    """Pixels of the label map that one of the mask measures; 1, or more of large pieces."""


def connected_pieces(labels: npt.NDArray[np.uint8], number: int) -> Iterator[Piece]:
    """The pieces of a class, from top to bottom by strips; pixels that touch at a corner hang
    together.

    Args:
        labels: (H, W), maybe on disk; only strips and pieces of it are in memory.
        number: of the class.
    """
    boxes: list[list[int]] = []
    """Top, left, bottom, right, and row and column of one pixel, of each part of a strip."""
    parent: list[int] = []

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    from scipy import ndimage

    above: npt.NDArray[np.int64] | None = None
    for top in range(0, labels.shape[0], ROWS):
        found, _ = ndimage.label(labels[top : top + ROWS] == number, CORNERS)
        first = len(parent)
        for k, (rows, columns) in enumerate(ndimage.find_objects(found), 1):
            column = columns.start + int((found[rows.start, columns] == k).argmax())
            at = rows.start + top, columns.start, rows.stop + top, columns.stop
            boxes.append([*at, rows.start + top, column])
            parent.append(len(parent))
        numbers = np.where(found > 0, found.astype(np.int64) + first - 1, -1)
        if above is not None:
            padded = np.pad(above, 1, constant_values=-1)
            for shift in range(3):
                beside = padded[shift : shift + len(above)]
                both = (beside >= 0) & (numbers[0] >= 0)
                for a, b in set(zip(beside[both].tolist(), numbers[0][both].tolist(), strict=True)):
                    low, high = sorted((root(a), root(b)))
                    parent[high] = low
        above = numbers[-1]
    for k, box in enumerate(boxes):
        if (r := root(k)) != k:
            whole = boxes[r]
            whole[:4] = [*np.minimum(whole[:2], box[:2]), *np.maximum(whole[2:4], box[2:4])]
    for k, box in enumerate(boxes):
        if root(k) == k:
            yield _cut(labels, number, *map(int, box))


def _cut(
    labels: npt.NDArray[np.uint8],
    number: int,
    top: int,
    left: int,
    bottom: int,
    right: int,
    row: int,
    column: int,
) -> Piece:
    """The piece in a box that a pixel is of; on a coarser grid the largest one in the box."""
    from scipy import ndimage

    step = -(-max(bottom - top, right - left) // TRACED)
    top, left = top // step, left // step
    part = labels[top * step : bottom : step, left * step : right : step] == number
    found, _ = ndimage.label(part, CORNERS)
    own = int(found[row - top, column - left]) if step == 1 else 0
    own = own or int(np.bincount(found[found > 0]).argmax())
    rows, columns = ndimage.find_objects(found)[own - 1]
    return Piece(found[rows, columns] == own, top + rows.start, left + columns.start, step)

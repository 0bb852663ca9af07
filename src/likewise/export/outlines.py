"""Outlines of masks as polygons, exact to the pixel: cracks followed, holes cut open.

Points are corners of pixels: x from 0 to the width, y from 0 to the height, the pixel in the first
row and column between (0, 0) and (1, 1). A pixel belongs to a polygon if its centre lies inside by
the even-odd rule, which is how `masks` reads polygons.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..instances import Instance
from ..io.coco_masks import fill_polygon

Points: TypeAlias = npt.NDArray[np.int64]
"""(n, 2) x, y."""

MIN_IOU = 0.98
"""What a simplified outline keeps of the mask at least."""

# Directions clockwise: east, south, west, north, with the mask on the right-hand side.
_DX, _DY = np.array([1, 0, -1, 0]), np.array([0, 1, 0, -1])


def outline(instance: Instance, simplify: float = 0.0) -> Points:
    """One polygon in the image that describes an instance, its holes too.

    A hole is joined to what lies left of it by a cut that is walked in and out and has no area.

    Args:
        instance: an 8-connected piece.
        simplify: how far the polygon may stray from the exact outline, in pixels. Halved until
            the polygon keeps an IoU of `MIN_IOU` with the mask, or zero, which is exact.

    Returns:
        (n, 2) int64, n ≥ 4, not closed: the last point is not the first again.
    """
    mask = instance.mask
    corner = np.array([instance.left, instance.top])
    points, kept = _joined(_rings(mask))
    tolerance = simplify
    # Below half a pixel nothing of a staircase goes any more.
    while tolerance >= 0.5:
        polygon = _corners(points[_simplified(points, kept, tolerance)])
        if len(polygon) >= 3 and _iou(polygon, mask) >= MIN_IOU:
            return polygon + corner
        tolerance /= 2
    return _corners(points) + corner


def _corners(points: Points) -> Points:
    """The points at which a closed walk turns."""
    (x, y), (u, v) = (
        (points - np.roll(points, 1, axis=0)).T,
        (np.roll(points, -1, axis=0) - points).T,
    )
    straight = (x * v == y * u) & (x * u + y * v > 0)
    turns: Points = points[~straight]
    return turns


def polygons(instance: Instance) -> list[list[Points]]:
    """Simple polygons in the image that describe an instance exactly: outer ring, then holes.

    Rings do not cross or touch themselves: each polygon is of pixels that share edges.

    Returns:
        For each polygon its rings, (n, 2) int64, n ≥ 4, not closed.
    """
    from scipy.ndimage import find_objects, label

    found, _ = label(instance.mask)
    made = []
    for k, (rows, columns) in enumerate(find_objects(found), 1):
        corner = np.array([instance.left + columns.start, instance.top + rows.start])
        walks = _rings(found[rows, columns] == k, together=False)
        rings = [ring for walk in walks for ring in _split(walk)]
        made.append([_corners(ring) + corner for ring in rings])
    return made


def _split(walk: Points) -> list[Points]:
    """The loops of a walk that comes by some corner twice, the one it began with first."""
    loops: list[list[tuple[int, int]]] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in walk.tolist():
        point = x, y
        if point in places:
            start = places[point]
            loops.append(path[start:])
            for left in path[start + 1 :]:
                del places[left]
            del path[start + 1 :]
        else:
            places[point] = len(path)
            path.append(point)
    return [np.array(loop) for loop in (path, *loops)]


def _rings(mask: npt.NDArray[np.bool_], together: bool = True) -> list[Points]:
    """The closed walks along the cracks between mask and rest, the outer one first.

    Each is (n, 2) with every corner of a pixel that it passes. Where two pixels of the mask touch
    at a corner only, the walk goes from one to the other, if they are to stay ``together``.
    """
    padded = np.pad(mask, 1)
    inner = padded[1:, 1:], padded[1:, :-1], padded[:-1, :-1], padded[:-1, 1:]
    # leaves[d, y, x]: an edge leaves the corner (x, y) in direction d. On its right-hand side is
    # the mask, on its left-hand side is not; around the corner are these four pixels, clockwise.
    leaves = np.stack([inner[d] & ~inner[d - 1] for d in range(4)])
    d, y, x = np.nonzero(leaves)
    end_x, end_y = x + _DX[d], y + _DY[d]
    left, right = (d - 1) % 4, (d + 1) % 4
    left, right = (left, right) if together else (right, left)
    turn = np.where(leaves[left, end_y, end_x], left, np.where(leaves[d, end_y, end_x], d, right))
    number = np.zeros(leaves.shape, dtype=np.int64)
    number[d, y, x] = np.arange(len(d))
    follows = number[turn, end_y, end_x].tolist()
    seen = bytearray(len(d))
    rings = []
    # The first edge is the top of the first pixel: the outer walk.
    for start in range(len(d)):
        walk = []
        edge = start
        while not seen[edge]:
            seen[edge] = 1
            walk.append(edge)
            edge = follows[edge]
        if walk:
            rings.append(np.stack([x[walk], y[walk]], axis=1))
    return rings


def _joined(rings: list[Points]) -> tuple[Points, npt.NDArray[np.bool_]]:
    """One walk through all the rings, and which of its points must stay (the ends of cuts).

    From its leftmost corner a hole is cut open to the left. There lies the mask, until the cut
    meets the outer ring or a hole that begins further left and so is joined already.
    """
    xs, ys = rings[0].T.tolist()
    after = [*range(1, len(xs)), 0]
    kept = [True] + [False] * (len(xs) - 1)
    rows: dict[int, list[tuple[int, int]]] = {}
    for point, (x, y) in enumerate(zip(xs, ys, strict=True)):
        rows.setdefault(y, []).append((x, point))
    for row in rows.values():
        row.sort()
    holes = [np.roll(r, -np.lexsort((r[:, 1], r[:, 0]))[0], axis=0) for r in rings[1:]]
    for hole in sorted(holes, key=lambda r: (r[0, 0], r[0, 1])):
        x, y = hole[0].tolist()
        row = rows[y]
        near = row[bisect_right(row, (x, len(xs))) - 1][1]
        first = len(xs)
        # The hole, its first corner again, and the corner that the cut began at again.
        for px, py in [*hole.tolist(), (x, y), (xs[near], y)]:
            insort(rows.setdefault(py, []), (px, len(xs)))
            xs.append(px)
            ys.append(py)
            after.append(len(xs))
            kept.append(False)
        after[-1], after[near] = after[near], first
        kept[near] = kept[first] = kept[-2] = kept[-1] = True
    order = [0]
    while after[order[-1]]:
        order.append(after[order[-1]])
    return np.array([xs, ys]).T[order], np.array(kept)[order]


def _simplified(
    points: Points, kept: npt.NDArray[np.bool_], tolerance: float
) -> npt.NDArray[np.bool_]:
    """Which points Douglas and Peucker leave; (n,) bool. Those that are ``kept`` stay."""
    closed = np.concatenate([points, points[:1]]).astype(np.float64)
    keep = np.append(kept, True)
    stops = np.flatnonzero(keep).tolist()
    todo = list(pairwise(stops))
    while todo:
        start, end = todo.pop()
        if end - start < 2:
            continue
        chord = closed[end] - closed[start]
        offsets = closed[start + 1 : end] - closed[start]
        length = float(np.hypot(*chord))
        if length:
            distances = np.abs(offsets[:, 0] * chord[1] - offsets[:, 1] * chord[0]) / length
        else:  # around a ring and back
            distances = np.hypot(offsets[:, 0], offsets[:, 1])
        far = int(distances.argmax())
        if distances[far] > tolerance:
            middle = start + 1 + far
            keep[middle] = True
            todo += [(start, middle), (middle, end)]
    return keep[:-1]


def _iou(polygon: Points, mask: npt.NDArray[np.bool_]) -> float:
    """The least that any program makes of the polygon, whatever it does with slopes.

    These often lead right through centres of pixels, which may then count or not. So the polygon is
    moved a little to either side: what both fill is sure, what one fills is possible.
    """
    drawn = np.zeros((2, *mask.shape), bool)
    for half, nudge in zip(drawn, (-0.1, 0.1), strict=True):
        fill_polygon(half, (polygon + np.array([nudge, 0])).ravel())
    return float((drawn.all(axis=0) & mask).sum() / (drawn.any(axis=0) | mask).sum())

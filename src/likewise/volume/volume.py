"""A volume of one number a voxel, where it lies in space, and how it is cut into pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError

Values: TypeAlias = npt.NDArray[Any]
Affine: TypeAlias = npt.NDArray[np.float64]
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Anatomical plane → the axis of the world that it is across: left-right, back-front, feet-head."""
THICK = 1.2
"""How many times longer than the others the edge of a voxel is along which slices were taken."""


@dataclass(frozen=True, eq=False)
class Volume:
    """What a file, or a folder of a series, holds."""

    path: Path
    values: Values
    """(A, B, C) bool, integers or floats, in the order of axes of its format."""
    kind: str
    """Name of the module that read it and writes labels for it: nifti, dicom, stack or ome_zarr."""
    affine: Affine | None = None
    """(4, 4) from indices to mm, x to the right, y to the front, z to the head; None if unknown."""
    spacing: tuple[float, float, float] | None = None
    """Edges of a voxel along the three axes, in mm; None if unknown."""
    source: Any = None
    """What is needed to write labels beside it: a header, the files of the slices, metadata."""

    @property
    def voxel_ml(self) -> float | None:
        """Millilitres of one voxel; None if unknown."""
        if self.affine is not None:  # a tilted scanner's voxels are no boxes
            return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000
        return None if self.spacing is None else float(np.prod(self.spacing)) / 1000


@dataclass(frozen=True)
class Cut:
    """Which way a volume is cut: slices along an axis, each shown upright.

    With a known orientation, pictures are as radiologists hold them: the patient's right at the
    left, the front or the head at the top. Slices keep their numbers.
    """

    order: tuple[int, int, int]
    """Axes of the slices, of their rows and of their columns."""
    flips: tuple[bool, bool] = (False, False)
    """Whether rows and columns run backwards."""

    def slices(self, values: Values) -> Values:
        """(N, H, W) of (A, B, C), a view."""
        rows, columns = (-1 if flip else 1 for flip in self.flips)
        return values.transpose(self.order)[:, ::rows, ::columns]

    def volume(self, slices: Values) -> Values:
        """(A, B, C) of (N, H, W), a view: the other way."""
        rows, columns = (-1 if flip else 1 for flip in self.flips)
        return slices[:, ::rows, ::columns].transpose(np.argsort(self.order))


def cut_of(volume: Volume, axis: str | None = None) -> Cut:
    """How to cut a volume.

    Args:
        volume: it.
        axis: "0", "1" or "2" of its format's axes; axial, coronal or sagittal; None is the axis
            with the longest edge of a voxel, else axial, or 0 where orientation is unknown.

    Raises:
        LikewiseError: another ``axis``, or a plane of a volume without orientation.
    """
    if axis in PLANES and volume.affine is None:
        raise LikewiseError(
            f"{volume.path} does not say how it lies in the body: give --axis 0, 1 or 2."
        )
    if axis is not None and axis not in (*PLANES, "0", "1", "2"):
        raise LikewiseError(f"--axis {axis} is unknown: give 0, 1, 2, axial, coronal or sagittal.")
    if volume.affine is None:
        first = int(axis or 0)
        rows, columns = (k for k in range(3) if k != first)
        return Cut((first, rows, columns))
    world, backwards = orientation(volume.affine)
    if axis is None:
        edges = np.linalg.norm(volume.affine[:3, :3], axis=0)
        longest = int(np.argmax(edges))
        thick = edges[longest] > THICK * np.delete(edges, longest).max()
        first = longest if thick else world.index(PLANES["axial"])
    else:
        first = world.index(PLANES[axis]) if axis in PLANES else int(axis)
    columns, rows = sorted((k for k in range(3) if k != first), key=lambda k: world[k])
    return Cut((first, rows, columns), (not backwards[rows], not backwards[columns]))


def orientation(affine: Affine) -> tuple[list[int], list[bool]]:
    """For each axis of a volume, which axis of the world it is nearest to, and if it runs back."""
    from scipy.optimize import linear_sum_assignment

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    world = linear_sum_assignment(-np.abs(cosines.T))[1]
    return [int(w) for w in world], [bool(cosines[w, k] < 0) for k, w in enumerate(world)]


def aligned(
    labels: Values, affine: Affine | None, volume: Volume, name: object, partly: bool = False
) -> Values:
    """Labels on the voxels of a volume.

    Args:
        labels: (A', B', C'), perhaps with other axes, forwards or backwards.
        affine: of the labels, as for volumes; None if unknown.
        volume: what they are of.
        name: of the labels' file.
        partly: labels may cover a part of it, as those of DICOM do; the rest is 0.

    Returns:
        (A, B, C).

    Raises:
        ImageError: if they do not lie on the same voxels.
    """
    shape = volume.values.shape
    mend = "resample it onto the volume, or save it from a program that opened the volume"
    if affine is None or volume.affine is None:
        if labels.shape == shape:
            return labels
        raise ImageError(
            f"{name} has the shape {_by(labels.shape)}, but {volume.path} has {_by(shape)}: {mend}."
        )
    step = np.linalg.inv(volume.affine) @ affine
    turn = np.rint(step[:3, :3]).astype(int)
    start = np.rint(step[:3, 3]).astype(int)
    far = np.abs(step[:3, :3] - turn) @ np.array(labels.shape) + np.abs(step[:3, 3] - start)
    is_turn = (np.abs(turn).sum(axis=0) == 1).all() and (np.abs(turn).sum(axis=1) == 1).all()
    if not is_turn or far.max() > 0.1:
        raise ImageError(f"{name} does not lie in space as {volume.path} (its affine): {mend}.")
    axes = [int(np.abs(turn[k]).argmax()) for k in range(3)]  # of the labels, by ours
    turned = labels.transpose(axes)
    low = []
    for k, axis in enumerate(axes):
        if turn[k, axis] < 0:
            turned = np.flip(turned, k)
            low.append(int(start[k]) - turned.shape[k] + 1)
        else:
            low.append(int(start[k]))
    if turned.shape == shape and low == [0, 0, 0]:
        return turned
    high = [a + n for a, n in zip(low, turned.shape, strict=True)]
    if not partly or min(low) < 0 or any(h > n for h, n in zip(high, shape, strict=True)):
        raise ImageError(
            f"{name} has the shape {_by(labels.shape)} and does not cover {volume.path} "
            f"({_by(shape)}) voxel by voxel: {mend}."
        )
    whole = np.zeros(shape, labels.dtype)
    whole[tuple(slice(a, h) for a, h in zip(low, high, strict=True))] = turned
    return whole


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))

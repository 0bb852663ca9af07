"""Prompts: points, a box or scribbles that say what is meant in one image."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .errors import LikewiseError
from .features.density import SCORE_RANGE
from .features.patch_features import mask_share
from .features.prompts import MARGIN, NOTHING, PromptSolver
from .refine import refine

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, int]
Box = tuple[float, float, float, float]
Scribble = tuple[Sequence[tuple[float, float]], int]
MOST_MARKS, MOST_CORNERS = 1000, 10_000
"""Points and lines of one image, and corners of its lines."""
LONGEST = 10
"""Lines together, in widths and heights of the image."""


@dataclass(frozen=True)
class Prompts:
    """What a person points at in one image; pixels count from 0, left to right and downwards."""

    points: Sequence[Point] = ()
    """x, y, and 1 (the thing) or 0 or -1 (not the thing)."""
    box: Box | None = None
    """Left, top, right, bottom: nothing outside is the thing."""
    scribbles: Sequence[Scribble] = ()
    """Lines: their corners (x, y), and a sign as of points."""

    def __bool__(self) -> bool:
        return bool(self.points or self.scribbles) or self.box is not None

    def checked(self, size: tuple[int, int], name: str, *, alone: bool = False) -> Prompts:
        """The same with every number checked against an (H, W) image.

        Args:
            size: (H, W) of the image.
            name: of the image, for messages.
            alone: there is no mask or reference: something must say where the thing is.

        Raises:
            LikewiseError: if a point or the box is not in the image, the box is empty, one pixel is
                marked both ways, nothing is positive that has to be, or there is too much.
        """
        height, width = size
        points = [_point(p, name) for p in self.points]
        lines = [_scribble(s, name) for s in self.scribbles]
        corners = [(x, y) for x, y, _ in points] + [c for line, _ in lines for c in line]
        if len(points) + len(lines) > MOST_MARKS or len(corners) > MOST_CORNERS:
            raise LikewiseError(
                f"{name} has more than {MOST_MARKS} points and scribbles, or these more than "
                f"{MOST_CORNERS} corners: give fewer, or a mask."
            )
        for x, y in corners:
            if not (0 <= x < width and 0 <= y < height):
                raise LikewiseError(
                    f"the point ({x:g}, {y:g}) lies outside {name}, which has {width} × {height} "
                    "pixels: x is from 0 to the width, y from 0 to the height."
                )
        if sum(_length(line) for line, _ in lines) > LONGEST * (width + height):
            raise LikewiseError(
                f"the scribbles of {name} are longer than {LONGEST} times its width and height: "
                "give fewer, or a mask."
            )
        box = None if self.box is None else _box(self.box, size, name)
        kept = Prompts(points, box, lines)
        sides: dict[tuple[int, int], bool] = {}
        for x, y, sign in kept.pixels():
            if sides.setdefault((int(x), int(y)), sign > 0) != (sign > 0):
                raise LikewiseError(
                    f"the pixel ({int(x)}, {int(y)}) of {name} is marked as the thing and as not "
                    "the thing: leave one of the two out."
                )
        if box is not None:
            for x, y, sign in kept.pixels():
                if sign > 0 and not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
                    raise LikewiseError(
                        f"the point ({int(x)}, {int(y)}) of {name} is marked as the thing but lies "
                        "outside the box: move one of the two."
                    )
        if alone and not kept.positive:
            raise LikewiseError(
                f"no prompt of {name} says where the thing is: add a positive point, a positive "
                "scribble or a box."
            )
        return kept

    @property
    def positive(self) -> bool:
        """Whether anything says where the thing is: a positive point or line, or a box."""
        signs = [p[2] for p in self.points] + [s[1] for s in self.scribbles]
        return self.box is not None or any(sign > 0 for sign in signs)

    def allowed(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool: the pixels that the box allows to be the thing; all without a box."""
        inside = np.ones(size, dtype=bool)
        if self.box is not None:
            left, top = (math.floor(v) for v in self.box[:2])
            right, bottom = (math.ceil(v) for v in self.box[2:])
            inside[:] = False
            inside[top:bottom, left:right] = True
        return inside

    def pixels(self, step: float = 1.0) -> Floats:
        """(n, 3) middle of each marked pixel, and 1 or -1; of lines one in a cell of ``step``."""
        rows = [(int(x) + 0.5, int(y) + 0.5, 1 if s > 0 else -1) for x, y, s in self.points]
        cells = dict[tuple[int, int, bool], tuple[float, float, int]]()
        for line, sign in self.scribbles:
            for x, y in _along(line, step):
                row = int(x) + 0.5, int(y) + 0.5, 1 if sign > 0 else -1
                cells.setdefault((int(x / step), int(y / step), sign > 0), row)
        every = dict.fromkeys([*rows, *cells.values()])
        return np.array(list(every), dtype=np.float64).reshape(-1, 3)


def log_odds(solver: PromptSolver, prompts: Prompts, known: Floats | None) -> Floats:
    """(N,) nats of every patch of an image, given checked prompts.

    Args:
        solver: of the image.
        prompts: checked.
        known: (N,) nats without them; None: nothing is known.
    """
    mean = known
    if prompts.box is not None:
        mean = solver.box(prompts.box, known)
    if mean is None:
        mean = np.full(len(solver.features), NOTHING)
    (height, width), (h, w) = solver.target.size, solver.target.grid
    return solver.solve(mean, prompts.pixels(step=max(height / h, width / w, 1.0)))


def scores_of(nats: Floats) -> torch.Tensor:
    """(N,) float32 scores in 0..1 of (N,) nats."""
    import torch

    return torch.from_numpy((nats / (2 * SCORE_RANGE) + 0.5).clip(0, 1)).float()


def prompted_mask(
    solver: PromptSolver,
    pixels: np.ndarray,
    prompts: Prompts,
    input_size: tuple[int, int],
    mask: np.ndarray | None = None,
    name: str = "the image",
) -> tuple[np.ndarray, np.ndarray]:
    """The mask of what is meant in one image, or a mask corrected.

    Args:
        solver: of the image.
        pixels: (H, W, 3) uint8 RGB.
        prompts: what is meant.
        input_size: (H', W') of the encoder.
        mask: (H, W) bool, to be corrected; None: there is none yet.
        name: of the image, for messages.

    Returns:
        (H, W) bool, and (h, w) float32 scores in 0..1 of its patches.

    Raises:
        LikewiseError: as ``Prompts.checked``.
    """
    size, grid = (pixels.shape[0], pixels.shape[1]), solver.target.grid
    prompts = prompts.checked(size, name, alone=mask is None)
    known = None if mask is None else mask_log_odds(mask, grid)
    points = prompts.pixels()

    def decided(nats: Floats, marked: Floats | None) -> tuple[np.ndarray, torch.Tensor]:
        scores = scores_of(nats).reshape(grid)
        small = solver.target.picture
        return refine(scores, pixels, input_size, "guided", marked, small), scores

    found, scores = decided(log_odds(solver, prompts, known), points)
    if mask is not None and known is not None:
        found = changed_pixels(mask, decided(known, None)[0], found, points)
    return found & prompts.allowed(size), scores.numpy()


def mask_log_odds(mask: np.ndarray, grid: tuple[int, int]) -> Floats:
    """(N,) nats of patches, from -MARGIN to MARGIN by the share that an (H, W) mask covers."""
    share: Floats = mask_share(mask, grid).double().numpy()
    return (2 * share - 1) * MARGIN


def changed_pixels(
    mask: np.ndarray, before: np.ndarray, after: np.ndarray, points: Floats
) -> np.ndarray:
    """A mask with what prompts change: patches are coarser than it, and say nothing of the rest.

    Args:
        mask: (H, W) bool, to be corrected.
        before: (H, W) bool, what its patches give without the prompts.
        after: (H, W) bool, the same with them.
        points: (n, 3) marked pixels, as ``Prompts.pixels`` gives them; they are as marked.
    """
    found = np.where(after == before, mask, after)
    columns, rows = points[:, 0].astype(int), points[:, 1].astype(int)
    found[rows, columns] = points[:, 2] > 0
    return found


def prompts_of(given: object, name: str) -> Prompts:
    """Prompts that were written as JSON; ``checked`` looks at the numbers.

    Args:
        given: ``{"points": [[x, y, 1], …], "box": [left, top, right, bottom], "scribbles":
            [[[[x, y], …], 1], …]}``, each of the three if there is any.
        name: of the image, for messages.

    Raises:
        LikewiseError: if it has another form.
    """
    known = {"points", "box", "scribbles"}
    if not isinstance(given, dict) or not given.keys() <= known:
        raise LikewiseError(
            f"the prompts of {name} must be an object with points, box or scribbles alone."
        )
    for key, example in (("points", "[[120, 80, 1]]"), ("scribbles", "[[[[9, 9], [40, 9]], 1]]")):
        if not isinstance(given.get(key, []), list):
            raise LikewiseError(f"the {key} of {name} must be a list such as {example}.")
    return Prompts(given.get("points", ()), given.get("box"), given.get("scribbles", ()))


def added(prompts: Prompts, more: Prompts) -> Prompts:
    """Both; of two boxes the later one."""
    return replace(
        prompts,
        points=[*prompts.points, *more.points],
        box=prompts.box if more.box is None else more.box,
        scribbles=[*prompts.scribbles, *more.scribbles],
    )


def _point(point: Sequence[float], name: str) -> Point:
    try:
        x, y, sign = (float(v) for v in point)
    except (TypeError, ValueError, OverflowError) as error:
        raise LikewiseError(
            f"a point of {name} must be three numbers, x, y and 1 (the thing) or 0 (not the "
            f"thing), not {reprlib.repr(point)}."
        ) from error
    if not (math.isfinite(x) and math.isfinite(y) and sign in (1, 0, -1)):
        raise LikewiseError(
            f"a point of {name} must be x, y and 1 (the thing) or 0 (not the thing), "
            f"not {x:g}, {y:g} and {sign:g}."
        )
    return x, y, int(sign)


def _scribble(scribble: Scribble, name: str) -> tuple[list[tuple[float, float]], int]:
    try:
        line, sign = scribble
        points = [_point((*corner, sign), name) for corner in line]
    except (TypeError, ValueError) as error:
        raise LikewiseError(
            f"a scribble of {name} must be a list of (x, y) and a sign, not "
            f"{reprlib.repr(scribble)}."
        ) from error
    if not points:
        raise LikewiseError(f"a scribble of {name} has no point: leave it out.")
    return [(x, y) for x, y, _ in points], points[0][2]


def _box(box: Box, size: tuple[int, int], name: str) -> Box:
    height, width = size
    try:
        left, top, right, bottom = (float(v) for v in box)
    except (TypeError, ValueError, OverflowError) as error:
        raise LikewiseError(
            f"the box in {name} must be four numbers, left, top, right, bottom, not "
            f"{reprlib.repr(box)}."
        ) from error
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise LikewiseError(f"the box in {name} must be four finite numbers.")
    left, right = max(left, 0.0), min(right, float(width))
    top, bottom = max(top, 0.0), min(bottom, float(height))
    if right - left < 1 or bottom - top < 1:
        raise LikewiseError(
            f"the box in {name} holds no pixel of its {width} × {height}: give left, top, right "
            "and bottom, the first two smaller."
        )
    return left, top, right, bottom


def _length(line: Sequence[tuple[float, float]]) -> float:
    return sum(max(abs(x1 - x0), abs(y1 - y0)) for (x0, y0), (x1, y1) in pairwise(line))


def _along(line: Sequence[tuple[float, float]], step: float) -> list[tuple[float, float]]:
    """Points on a line at most ``step`` apart, its corners with them."""
    found = [line[0]]
    for (x0, y0), (x1, y1) in pairwise(line):
        count = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0)) / step))
        found += [(x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(1, count)]
        found.append((x1, y1))
    return found

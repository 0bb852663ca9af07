"""Other looks of a picture for training: scale, crop, flip, colour, blur, noise, JPEG.

What is marked moves with the picture. Sizes and chances are those of SegIC (appendix A).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PADDING = (124, 116, 104)  # the mean of ImageNet: nothing, to a backbone
MIN_SHARE = 0.0015
"""Share of the square that an entity must keep to be asked for: about a patch."""
_TRIES = 8
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class View:
    """A picture and what is marked in it."""

    image: RGB
    """(H, W, 3) uint8."""
    mask: Mask
    """(H, W): the entity."""
    others: Mask
    """(n, H, W): other entities."""
    valid: Mask
    """(H, W): what counts; padding and void pixels do not."""


Look = Callable[[View, int, np.random.Generator], View]
"""A picture of any size → a square of that size, at random."""


def large_scale_jitter(
    view: View,
    size: int,
    rng: np.random.Generator,
    scales: tuple[float, float] = (0.1, 2.0),
) -> View:
    """The picture at a random scale, cut to a square or set into one.

    Args:
        view: a pixel of its entity, if it has any, stays in.
        size: S.
        rng: chance.
        scales: of its longer side, relative to the square's.

    Returns:
        (S, S); what the picture does not reach is grey and not valid.
    """
    height, width = view.mask.shape
    factor = rng.uniform(*scales) * size / max(height, width)
    y, x = _some_pixel(view.mask, rng)
    spans = [
        _span(side, max(1, round(side * factor)), at, size, rng)
        for side, at in ((height, y), (width, x))
    ]
    return _resample(view, spans, size)


def random_crop(
    view: View,
    size: int,
    rng: np.random.Generator,
    areas: tuple[float, float] = (0.3, 1.0),
) -> View:
    """A part of the picture, stretched to a square.

    Args:
        view: a pixel of its entity, if it has any, stays in.
        size: S.
        rng: chance.
        areas: of the part, relative to the picture's; its sides' ratio changes by up to a third.
    """
    height, width = view.mask.shape
    area, bend = rng.uniform(*areas), np.exp(rng.uniform(-1, 1) * np.log(4 / 3) / 2)
    sides = [min(1.0, np.sqrt(area) * bend), min(1.0, np.sqrt(area) / bend)]
    spans = []
    for full, share, at in zip((height, width), sides, _some_pixel(view.mask, rng), strict=True):
        part = max(1, round(full * share))
        low, high = max(0, at - part + 1), min(at, full - part)
        start = int(rng.integers(low, high + 1))
        spans.append((start, start + part, 0, size))
    return _resample(view, spans, size)


def whole(view: View, size: int) -> View:
    """The whole picture, at its shape, in the middle of a square."""
    longest = max(view.mask.shape)
    spans = []
    for side in view.mask.shape:
        part = max(1, round(side * size / longest))
        spans.append((0, side, (size - part) // 2, (size - part) // 2 + part))
    return _resample(view, spans, size)


def look_at(view: View, size: int, rng: np.random.Generator, look: Look) -> View:
    """A look in which the entity is to be seen: not lost in a crop, not all of the picture.

    Args:
        view: with an entity, or without: then the first look is taken.
        size: S.
        rng: chance.
        look: tried some times; then it is the whole picture.

    Returns:
        (S, S), whose mask is empty only if that of ``view`` is; its other entities are apart from
        the mask.
    """
    asked = view.mask.any()
    for _ in range(_TRIES):
        seen = look(view, size, rng)
        share = seen.mask.mean()
        if not asked or MIN_SHARE <= share <= 0.95 * seen.valid.mean():
            return _tidy(seen)
    seen = whole(view, size)
    if not seen.mask.any():  # so small that every sample missed it
        y, x = (at * size // max(view.mask.shape) for at in _some_pixel(view.mask, rng))
        top, left = ((size - side * size // max(view.mask.shape)) // 2 for side in view.mask.shape)
        seen.mask[min(top + y, size - 1), min(left + x, size - 1)] = True
    return _tidy(seen)


def flip(view: View) -> View:
    """Left and right exchanged."""
    parts = (view.image, view.mask, view.others, view.valid)
    image, mask, others, valid = (
        np.ascontiguousarray(np.flip(part, axis))
        for part, axis in zip(parts, (1, 1, 2, 1), strict=True)
    )
    return View(image, mask, others, valid)


def jitter_colour(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Another light: brightness, contrast, saturation, hue and gamma.

    Args:
        image: RGB.
        rng: chance.
        strength: 0..1: relative change of the first three; of hue a quarter, in turns.
    """
    bright, contrast, saturation, gamma = 1 + strength * rng.uniform(-1, 1, 4)
    turn = np.pi * strength * rng.uniform(-0.5, 0.5)
    grey = np.tile(_LUMA, (3, 1))
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    third = np.full((3, 3), 1 / 3)  # a turn about the axis of greys
    hue = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * third + np.sin(turn) * axis
    matrix = bright * contrast * (grey + saturation * (np.eye(3) - grey)) @ hue
    offset = (1 - contrast) * bright * 128
    rows = [value for row in matrix for value in (*row, offset)]
    curve = np.rint(255 * np.linspace(0, 1, 256) ** gamma).astype(int).tolist()
    return image.convert("RGB", tuple(rows)).point(curve * 3)


def degrade(image: Image.Image, rng: np.random.Generator, chance: float = 0.3) -> Image.Image:
    """What cameras and files do, each with this chance: blur, noise, JPEG."""
    if rng.random() < chance:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.5)))
    if rng.random() < chance:
        noise = rng.standard_normal((image.height, image.width, 1), np.float32)
        noisy = np.asarray(image) + noise * np.float32(rng.uniform(2, 12))
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    if rng.random() < chance:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(35, 95)))
        image = Image.open(file).convert("RGB")
    return image


def shrink(image: RGB, marks: Sequence[np.ndarray], longest: int) -> list[np.ndarray]:
    """A picture and (H, W) arrays of it, at most so long; the arrays by nearest neighbour."""
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        return [image, *marks]
    h, w = (max(1, round(side * longest / max(height, width))) for side in (height, width))
    small = Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR, reducing_gap=2.0)
    rows, columns = _nearest(0, height, h), _nearest(0, width, w)
    return [np.asarray(small), *(mark[rows[:, None], columns] for mark in marks)]


def _some_pixel(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a marked pixel, or of any where nothing is marked."""
    marked = np.flatnonzero(mask)
    at = int(marked[rng.integers(len(marked))]) if len(marked) else int(rng.integers(mask.size))
    return divmod(at, mask.shape[1])


def _span(
    side: int, scaled: int, at: int, size: int, rng: np.random.Generator
) -> tuple[float, float, int, int]:
    """Start and end in the picture, and in the square, along one axis; ``at`` stays in."""
    if scaled <= size:
        start = int(rng.integers(0, size - scaled + 1))
        return 0, side, start, start + scaled
    step = side / scaled
    centre = int((at + 0.5) / step)
    first = int(rng.integers(max(0, centre - size + 1), min(scaled - size, centre) + 1))
    return first * step, (first + size) * step, 0, size


def _nearest(start: float, end: float, count: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` samples between two places, at the samples' middles."""
    step = (end - start) / count
    return (start + (np.arange(count) + 0.5) * step).astype(np.int64)


def _resample(view: View, spans: Sequence[tuple[float, float, int, int]], size: int) -> View:
    """The part of a view that spans (rows, columns) say, where they say, in a square."""
    (top, bottom, y, y_end), (left, right, x, x_end) = spans
    picture = Image.fromarray(view.image).resize(
        (x_end - x, y_end - y), Image.Resampling.BICUBIC, (left, top, right, bottom)
    )
    image = np.full((size, size, 3), PADDING, np.uint8)
    image[y:y_end, x:x_end] = np.asarray(picture)
    rows, columns = _nearest(top, bottom, y_end - y), _nearest(left, right, x_end - x)

    def part(marks: Mask) -> Mask:
        placed = np.zeros((*marks.shape[:-2], size, size), bool)
        placed[..., y:y_end, x:x_end] = marks[..., rows[:, None], columns]
        return placed

    return View(image, part(view.mask), part(view.others), part(view.valid))


def _tidy(view: View) -> View:
    """Other entities apart from the entity, and without those of which too little is left."""
    others = view.others & ~view.mask
    return View(view.image, view.mask, others[others.mean(axis=(1, 2)) >= MIN_SHARE], view.valid)

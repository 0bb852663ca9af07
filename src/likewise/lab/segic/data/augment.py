"""Augmentation of training images with their masks: scale, crop, flip, colour, blur, noise, JPEG.

Ranges and probabilities are those of SegIC (appendix A).
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

PADDING = (124, 116, 104)  # mean RGB of ImageNet, 0 after the backbone's normalisation
MIN_SHARE = 0.0015
"""Share of the square that an entity must cover; about one patch."""
_TRIES = 8
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, eq=False)
class View:
    """An image with its masks."""

    image: RGB
    """(H, W, 3) uint8."""
    mask: Mask
    """(H, W) bool: the entity."""
    others: Mask
    """(n, H, W) bool: other entities."""
    valid: Mask
    """(H, W) bool: False for padding and void pixels."""


Look = Callable[[View, int, np.random.Generator], View]
"""Random augmentation: view of any size, side S, generator → (S, S) view."""


def large_scale_jitter(
    view: View,
    size: int,
    rng: np.random.Generator,
    scales: tuple[float, float] = (0.1, 2.0),
) -> View:
    """Random scale, then crop or padding to a square.

    Args:
        view: at least one pixel of its entity, if there is any, stays in the square.
        size: S.
        rng: of the draws.
        scales: range of the image's longer side in units of S.

    Returns:
        (S, S) view; padding is PADDING and not valid.
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
    """Random crop, resized to a square.

    Args:
        view: at least one pixel of its entity, if there is any, stays in the crop.
        size: S.
        rng: of the draws.
        areas: range of the crop's share of the image; its aspect changes by a factor of up to 4/3.
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
    """The whole image, scaled to a longer side S and centred in a square."""
    longest = max(view.mask.shape)
    spans = []
    for side in view.mask.shape:
        part = max(1, round(side * size / longest))
        spans.append((0, side, (size - part) // 2, (size - part) // 2 + part))
    return _resample(view, spans, size)


def look_at(view: View, size: int, rng: np.random.Generator, look: Look) -> View:
    """Augmentation after which the entity covers MIN_SHARE to 95 % of the valid pixels.

    Args:
        view: without an entity the first draw is taken.
        size: S.
        rng: of the draws.
        look: tried up to 8 times; then the whole image is taken.

    Returns:
        (S, S) view, whose mask is empty only if that of ``view`` is; other entities do not overlap
        the mask.
    """
    asked = view.mask.any()
    for _ in range(_TRIES):
        seen = look(view, size, rng)
        share = seen.mask.mean()
        if not asked or MIN_SHARE <= share <= 0.95 * seen.valid.mean():
            return _tidy(seen)
    seen = whole(view, size)
    if not seen.mask.any():  # smaller than the sampling step
        y, x = (at * size // max(view.mask.shape) for at in _some_pixel(view.mask, rng))
        top, left = ((size - side * size // max(view.mask.shape)) // 2 for side in view.mask.shape)
        seen.mask[min(top + y, size - 1), min(left + x, size - 1)] = True
    return _tidy(seen)


def flip(view: View) -> View:
    """Horizontal flip."""
    parts = (view.image, view.mask, view.others, view.valid)
    image, mask, others, valid = (
        np.ascontiguousarray(np.flip(part, axis))
        for part, axis in zip(parts, (1, 1, 2, 1), strict=True)
    )
    return View(image, mask, others, valid)


def jitter_colour(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Random brightness, contrast, saturation, hue and gamma.

    Args:
        image: RGB.
        rng: of the draws.
        strength: 0..1, greatest relative change of all but hue; of hue a quarter of it, in turns.
    """
    bright, contrast, saturation, gamma = 1 + strength * rng.uniform(-1, 1, 4)
    turn = np.pi * strength * rng.uniform(-0.5, 0.5)
    grey = np.tile(_LUMA, (3, 1))
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    third = np.full((3, 3), 1 / 3)  # rotation about the grey axis
    hue = np.cos(turn) * np.eye(3) + (1 - np.cos(turn)) * third + np.sin(turn) * axis
    matrix = bright * contrast * (grey + saturation * (np.eye(3) - grey)) @ hue
    offset = (1 - contrast) * bright * 128
    rows = [value for row in matrix for value in (*row, offset)]
    curve = np.rint(255 * np.linspace(0, 1, 256) ** gamma).astype(int).tolist()
    return image.convert("RGB", tuple(rows)).point(curve * 3)


def degrade(image: Image.Image, rng: np.random.Generator, chance: float = 0.3) -> Image.Image:
    """Gaussian blur, noise and JPEG compression, each with probability ``chance``."""
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
    """Image and (H, W) arrays at a longer side of at most ``longest``; arrays by nearest."""
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        return [image, *marks]
    h, w = (max(1, round(side * longest / max(height, width))) for side in (height, width))
    small = Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR, reducing_gap=2.0)
    rows, columns = _nearest(0, height, h), _nearest(0, width, w)
    return [np.asarray(small), *(mark[rows[:, None], columns] for mark in marks)]


def _some_pixel(mask: Mask, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a random foreground pixel, or of any pixel if the mask is empty."""
    marked = np.flatnonzero(mask)
    at = int(marked[rng.integers(len(marked))]) if len(marked) else int(rng.integers(mask.size))
    return divmod(at, mask.shape[1])


def _span(
    side: int, scaled: int, at: int, size: int, rng: np.random.Generator
) -> tuple[float, float, int, int]:
    """Start and end along one axis, in the image and in the square; pixel ``at`` stays in."""
    if scaled <= size:
        start = int(rng.integers(0, size - scaled + 1))
        return 0, side, start, start + scaled
    step = side / scaled
    centre = int((at + 0.5) / step)
    first = int(rng.integers(max(0, centre - size + 1), min(scaled - size, centre) + 1))
    return first * step, (first + size) * step, 0, size


def _nearest(start: float, end: float, count: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` evenly spaced samples between two coordinates."""
    step = (end - start) / count
    return (start + (np.arange(count) + 0.5) * step).astype(np.int64)


def _resample(view: View, spans: Sequence[tuple[float, float, int, int]], size: int) -> View:
    """A part of a view placed in a square; spans of rows and columns as from ``_span``."""
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
    """Without overlap of other entities with the mask, and without those below MIN_SHARE."""
    others = view.others & ~view.mask
    return View(view.image, view.mask, others[others.mean(axis=(1, 2)) >= MIN_SHARE], view.valid)

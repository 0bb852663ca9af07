"""Pictures for people who would rather look than read: overlays and contact sheets."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

RGB = npt.NDArray[np.uint8]
COLOUR = (255, 64, 32)
PREVIEW = 320
"""Pixels that a preview has at most, a side."""


def preview(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every n-th row and column, at most PREVIEW of each: a small picture at next to no cost.

    Args:
        pixels: (H, W) or (H, W, 3), image or label map; those of one size stay aligned.

    Returns:
        (h, w) or (h, w, 3), a copy of the same dtype.
    """
    step = -(-max(pixels.shape[:2]) // PREVIEW)
    return pixels[::step, ::step].copy()


def class_colour(k: int) -> tuple[int, int, int]:
    """RGB of the k-th class, k ≥ 1: that of masks, then far from those before it."""
    if k == 1:
        return COLOUR
    hue = 0.035 + (k - 1) * 0.618034  # COLOUR's, then steps of the golden ratio
    r, g, b = colorsys.hsv_to_rgb(hue % 1, 0.9 if k % 2 else 0.6, 1.0 if k % 3 else 0.75)
    return round(255 * r), round(255 * g), round(255 * b)


def class_palette(count: int) -> list[tuple[int, int, int]]:
    """RGB of the values 0 to ``count`` of a label map: black, then the colour of each class."""
    return [(0, 0, 0), *(class_colour(k) for k in range(1, count + 1))]


def overlay_labels(image: RGB, label_map: npt.NDArray[np.unsignedinteger[Any]]) -> RGB:
    """``overlay`` of every class in its colour; (H, W, 3) uint8 and (H, W) of 0 and classes."""
    for k in np.unique(label_map[label_map > 0]):
        image = overlay(image, label_map == k, colour=class_colour(int(k)))
    return image


def with_legend(picture: RGB, names: Mapping[int, str]) -> RGB:
    """The picture with a strip below it: number, name and colour of some classes.

    Args:
        picture: (H, W, 3) uint8.
        names: class, from 1 → its name; none, and the picture stays as it is.

    Returns:
        (H + h, W, 3) uint8.
    """
    if not names:
        return picture
    height, width = picture.shape[:2]
    size = min(max(11, round(max(height, width) / 45)), max(11, width // 12))
    font, gap = ImageFont.load_default(size=size), size // 2
    places, x, y = {}, gap, gap
    for k, name in names.items():
        text = f"{k} {name}"
        needed = round(font.getlength(text)) + 3 * size
        if x > gap and x + needed > width:
            x, y = gap, y + size + gap
        places[k] = x, y, text
        x += needed
    strip = Image.new("RGB", (width, y + size + 2 * gap), "white")
    draw = ImageDraw.Draw(strip)
    for k, (x, y, text) in places.items():
        draw.rectangle((x, y, x + size, y + size), fill=class_colour(k))
        draw.text((x + size + gap, y - size // 8), text, fill="black", font=font)
    return np.concatenate([picture, np.asarray(strip)])


def overlay(
    image: RGB,
    mask: npt.NDArray[np.bool_],
    opacity: float = 0.5,
    colour: tuple[int, int, int] = COLOUR,
) -> RGB:
    """The mask as a colour over the image, with its outline.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        opacity: of the colour, 0..1.
        colour: RGB.

    Returns:
        (H, W, 3) uint8.
    """
    from scipy.ndimage import binary_erosion  # 0.1 s to import, and most runs draw nothing

    picture = image.astype(np.float32)
    paint = np.array(colour, dtype=np.float32)
    picture[mask] = (1 - opacity) * picture[mask] + opacity * paint
    width = max(1, round(min(mask.shape) / 300))
    outline = mask & ~binary_erosion(mask, iterations=width, border_value=1)
    picture[outline] = paint
    return np.rint(picture).astype(np.uint8)


def contact_sheet(rows: Sequence[Sequence[tuple[RGB, str]]], height: int = 240) -> RGB:
    """Rows of captioned pictures at one height.

    Args:
        rows: for each row its ((H, W, 3) uint8 picture, caption) pairs.
        height: of every picture, in pixels.

    Returns:
        (H, W, 3) uint8, white where there is no picture.
    """
    gap, font = 10, ImageFont.load_default(size=15)
    caption_height = 22
    scaled = [
        [(Image.fromarray(p).resize((_width(p, height), height)), text) for p, text in row]
        for row in rows
    ]
    step = height + caption_height + gap
    width = max(sum(p.width + gap for p, _ in row) for row in scaled) + gap
    sheet = Image.new("RGB", (width, step * len(rows) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(scaled):
        x, y = gap, gap + number * step
        for picture, text in row:
            draw.text((x, y), text, fill="black", font=font)
            sheet.paste(picture, (x, y + caption_height))
            x += picture.width + gap
    return np.asarray(sheet)


def draw_matches(
    reference: RGB, points: npt.NDArray[np.float32], target: RGB, found: npt.NDArray[np.float32]
) -> RGB:
    """Reference and target side by side, the same number on a point and on its match.

    Args:
        reference: (H, W, 3) uint8.
        points: (n, 2) x, y in pixels of the reference.
        target: (H', W', 3) uint8.
        found: (n, 2) x, y in pixels of the target.

    Returns:
        (480, W, 3) uint8.
    """
    height, font = 480, ImageFont.load_default(size=16)
    halves = []
    for picture, places in ((reference, points), (target, found)):
        size = _width(picture, height), height
        half = Image.fromarray(picture).resize(size)
        draw = ImageDraw.Draw(half)
        scaled = places * np.array([size[0] / picture.shape[1], height / picture.shape[0]])
        for number, (x, y) in enumerate(scaled, start=1):
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline="white", fill=COLOUR, width=2)
            draw.text((x + 8, y - 10), str(number), fill=COLOUR, font=font, stroke_width=1)
        halves.append(np.asarray(half))
    return np.concatenate(halves, axis=1)


def _width(picture: RGB, height: int) -> int:
    """Width at that height; very thin and very wide pictures are squeezed into sight."""
    return min(max(1, round(picture.shape[1] * height / picture.shape[0])), 8 * height)

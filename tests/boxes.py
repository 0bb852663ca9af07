"""Pictures of one box, and a tiny random model that finds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import likewise
from likewise import Reference

EXAMPLE = Path(likewise.__file__).parent / "example"
SIDE, PATCH, DIM, RANK = 128, 16, 48, 23  # 23 = 500/1024 of 48

Box = tuple[int, int, int, int]


def picture(box: Box, shape: tuple[int, int] = (96, 128), seed: int = 0) -> np.ndarray:
    """Red in a box (top, left, bottom, right) on blue."""
    pixels = np.where(inside(box, shape)[..., None], (220, 60, 30), (20, 50, 200))
    noise = np.random.default_rng(seed).normal(size=pixels.shape) * 8
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def inside(box: Box, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


LEFT, RIGHT, LOW = (24, 16, 72, 64), (12, 64, 60, 112), (48, 32, 96, 96)


def pair(box: Box = LEFT) -> tuple[np.ndarray, np.ndarray]:
    return picture(box), inside(box)


PAINT = {"red": (220, 60, 30), "green": (40, 200, 60), "yellow": (230, 220, 60)}
PAIR = {"red": (12, 16, 60, 48), "green": (36, 80, 84, 112)}
MIXED = {"red": (12, 96, 48, 128), "green": (48, 0, 84, 32), "yellow": (60, 64, 96, 96)}


def paint(boxes: dict[str, Box], seed: int = 0) -> np.ndarray:
    """(96, 128, 3): boxes in their colours on blue."""
    pixels = np.full((96, 128, 3), (20, 50, 200), float)
    for name, box in boxes.items():
        pixels[inside(box)] = PAINT[name]
    return (
        (pixels + np.random.default_rng(seed).normal(size=pixels.shape) * 8)
        .clip(0, 255)
        .astype(np.uint8)
    )


def two_classes() -> list[Reference]:
    """Red and green, both marked in the same picture."""
    image = paint(PAIR)
    return [Reference(image, inside(PAIR[name]), label=name) for name in ("red", "green")]

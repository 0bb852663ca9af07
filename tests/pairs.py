"""Pictures to train SegIC on, and what must hold for each pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from likewise.lab.segic.data.pairs import TrainingPair

SIZE = 96

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (120, 120, 120)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def is_red(image: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(image.astype(int), 2, 0)
    return (r > 1.6 * g) & (r > 1.6 * b) & (r > 60)


def agree(a: np.ndarray, b: np.ndarray) -> float:
    """IoU."""
    return (a & b).sum() / max(1, (a | b).sum())


def check(pair: TrainingPair, size: int) -> None:
    """What holds for every pair."""
    for image in (pair.reference, pair.target):
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
    for mask in (pair.reference_mask, pair.target_mask, pair.valid):
        assert mask.shape == (size, size)
        assert mask.dtype == bool
    n = len(pair.negatives)
    assert n <= 3
    assert pair.negatives.shape == (n, size, size)
    assert pair.negatives.dtype == bool
    assert pair.reference_mask.any()
    assert not (pair.negatives & pair.reference_mask).any()
    assert all(negative.any() for negative in pair.negatives)
    assert pair.task in ("semantic", "instance")
    assert pair.category


def cut_out(
    colour: tuple[int, int, int], height: int, width: int, hole: bool = False
) -> np.ndarray:
    """An ellipse of noise round a colour, soft at its edge; magenta where it is transparent."""
    y, x = np.mgrid[:height, :width]
    radius = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)
    alpha = ((0.48 - radius) * 20000).clip(0, 255)
    if hole:
        alpha[radius < 0.2] = 0
    noise = seeded(height).integers(-20, 20, (height, width, 1))
    pixels = np.dstack([(np.array(colour) + noise).clip(0, 255), alpha]).astype(np.uint8)
    pixels[alpha == 0, :3] = (255, 0, 255)  # must never be seen
    return pixels


def write_stamps(folder: Path) -> Path:
    for name, colour in (("apple_red", RED), ("apple_big", (200, 60, 30)), ("leaf", GREEN)):
        (folder / "things").mkdir(parents=True, exist_ok=True)
        Image.fromarray(cut_out(colour, 60, 50)).save(folder / "things" / f"{name}.png")
    Image.fromarray(cut_out(BLUE, 40, 70, hole=True)).save(folder / "things" / "ring.png")
    return folder

"""Label maps worth exporting, by hand and from real masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from likewise.export.annotations import Annotation
from likewise.instances import Instance, draw
from scenes import run


def picture(*rows: str) -> np.ndarray:
    """(H, W) uint8 from text: a digit is a class, a dot is nothing."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.uint8)


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


RING = picture("........", ".111111.", ".1....1.", ".1.11.1.", ".1....1.", ".111111.", "........")
HAND_MADE = {
    "one pixel": picture("...", ".1.", "..."),
    "one pixel image": picture("1"),
    "full": picture("11", "11", "11"),
    "a line": picture(".....", "11111", "....."),
    "a corner of the image": picture("11..", "1...", "...."),
    "a diagonal": picture("1..", ".1.", "..1"),
    "an island in a hole": RING,
    "holes that touch at a corner": picture("11111", "1.111", "11.11", "111.1", "11111"),
    "a hole beside a pinch": picture("111.", "1.1.", "11.1", "..11"),
    "holes in a row": picture("1111111", "1.1.1.1", "1111111", "1.111.1", "1111111"),
    "a frame": np.pad(np.zeros((5, 9), np.uint8), 1, constant_values=1),
    "checkers": (np.indices((7, 9)).sum(axis=0) % 2).astype(np.uint8),
    "two classes": picture("11222", "11222", "..1.2"),
    "a disc": disc(90, 120, 40.2, 55.7, 30.0).astype(np.uint8),
    "a disc with holes": (
        disc(200, 240, 100, 110, 90) & ~disc(200, 240, 80, 90, 25) & ~disc(200, 240, 130, 140, 30)
    ).astype(np.uint8),
    "noise": (np.random.default_rng(0).random((40, 50)) < 0.6).astype(np.uint8),
    "nothing": np.zeros((6, 5), np.uint8),
}


def annotation(label_map: np.ndarray, scores: dict[str, float] | None = None) -> Annotation:
    classes = tuple(f"class {k}" for k in range(1, max(1, int(label_map.max())) + 1))
    return Annotation(Path("image.png"), label_map, classes, scores or {})


def alone(instance: Instance, like: np.ndarray) -> np.ndarray:
    return draw([instance], like.shape) > 0


def rasterised(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre a polygon holds, by Pillow, which fills what an outline touches.

    Drawn eight times as large, so that no outline along pixel edges reaches a centre.
    """
    canvas = Image.new("1", (8 * shape[1], 8 * shape[0]))
    ImageDraw.Draw(canvas).polygon([(8 * x, 8 * y) for x, y in points.tolist()], 1)
    return np.asarray(canvas)[4::8, 4::8]


STEMS = {f"{k:02} {name}": m for k, (name, m) in enumerate(HAND_MADE.items())}
"""Stem of each image → its label map."""


def exported(folder: Path, kind: str, *more: str) -> dict[str, Any]:
    """The summary of a run that is right."""
    words = ["export", f"{folder}/found", "--images", f"{folder}/images", "--format", kind]
    ran = run([*words, "--out", f"{folder}/{kind}", "--json", *more])
    assert (ran.code, ran.err) == (0, "")
    return dict(json.loads(ran.out))

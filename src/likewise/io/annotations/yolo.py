"""YOLO text: a line for each object of one picture, coordinates as shares of its sides."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..text_files import normal, read_text
from .shapes import DAMAGE, Mask, Shape, Size, box, collect, draw_polygon

NAMES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml", "classes.txt", "obj.names")
"""Files that name the classes, beside the file or up to two folders above it."""
BEYOND = 0.05
"""How far a share may lie outside of 0..1: tools let outlines stick out a little."""


def read(file: Path, image: Path, size: Size) -> list[Shape]:
    """The shapes of a file, see ``reader.read_annotated``.

    Raises:
        OSError, ValueError: it cannot be read, or is no YOLO text.
    """
    lines = [line.split() for line in read_text(file).splitlines()]
    names, poses = _classes(file)
    shapes = collect("line", lines, partial(_line, names, poses, size))
    if shapes and all(shape.number is None for shape in shapes):
        raise ValueError("it is no YOLO text: a line there is a class number and x y x y x y ...")
    return shapes


def _classes(file: Path) -> tuple[dict[int, str], bool]:
    """Class number → name in NFC, of the nearest file that says so; and whether lines are poses."""
    for folder in list(file.absolute().parents)[:3]:
        for name in NAMES:
            path = folder / name
            if path.is_file() and path != file.absolute():
                return _read_classes(path)
    return {}, False


def _read_classes(path: Path) -> tuple[dict[int, str], bool]:
    """Raises ValueError if it cannot be read."""
    import yaml

    try:
        text = read_text(path)
        poses = False
        if path.suffix in (".yaml", ".yml"):
            content = yaml.safe_load(text)
            listed: Any = content["names"]
            poses = "kpt_shape" in content
        else:
            listed = [line.strip() for line in text.splitlines() if line.strip()]
        pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
        return {int(number): normal(str(name)) for number, name in pairs}, poses
    except (OSError, yaml.YAMLError, *DAMAGE) as error:
        raise ValueError(f"{path} does not name its classes: mend or remove that") from error


def _line(
    names: dict[int, str], poses: bool, size: Size, name: str, words: list[str]
) -> Iterable[Shape]:
    if not words:
        return []
    try:
        kind, *values = (float(word) for word in words)
        number = int(kind)
    except (ValueError, OverflowError) as error:
        raise ValueError("it is not a line of numbers") from error
    if number != kind or number < 0:
        raise ValueError("it does not begin with the number of a class")
    is_box = poses or len(values) in (4, 5)  # the fifth is a score; of a pose, key points follow
    draw = partial(_draw, size, values[:4] if is_box else values, is_box)
    return [Shape(name, names.get(number), number, draw, is_box=is_box)]


def _draw(size: Size, values: list[float], is_box: bool) -> Mask:
    if len(values) % 2 and not is_box:
        values = values[:-1]  # a score
    shares = np.asarray(values, np.float64).reshape(-1, 2)
    if not ((shares >= -BEYOND) & (shares <= 1 + BEYOND)).all():
        raise ValueError("its coordinates are not shares from 0 to 1 of the picture's sides")
    points = (shares * size[::-1]).tolist()
    if is_box:
        (x, y), (width, height) = points
        points = box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return draw_polygon(size, points)

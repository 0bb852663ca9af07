"""Annotation files are read into these named shapes, each rasterised when its mask is needed."""

from __future__ import annotations

import base64
import io
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from ...errors import ImageError, note
from ..coco_masks import fill_polygon
from ..masks import read_label_map
from ..opening import check_size, open_image
from ..text_files import normal

Mask = npt.NDArray[np.bool_]
Size = tuple[int, int]
"""(H, W)."""
LABEL = "object"
"""The class of a shape that names none."""

DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError),
    *(ImageError, zlib.error),
)
"""Exceptions that reading an entry with wrong content raises."""
FARTHEST = 1e7
"""Largest absolute coordinate in pixels; larger ones are mistakes."""
ROUND = 360
"""Vertices of the polygon of an ellipse: within 0.04 pixels up to a radius of 1000."""


@dataclass(frozen=True)
class Shape:
    """One thing that a file marks in a picture."""

    id: str
    """What messages call it: ``annotation 17``."""
    label: str | None
    """Its class in NFC; None if the file does not name it."""
    number: int | None
    """Its class by number; None if the file has none."""
    draw: Callable[[], Mask]
    """Makes its (H, W) mask, of the size that the file says the picture has. Raises DAMAGE."""
    is_box: bool = False
    """Whether the file knows no outline of it, only its box."""
    has_inside: bool = True
    """Not so a point or a line."""
    erases: bool = False
    """Whether it takes away what the shapes before it mark."""

    @property
    def has_class(self) -> bool:
        """Not so an entry that is too damaged to tell."""
        return self.label is not None or self.number is not None


def collect(
    what: str, entries: Any, read: Callable[[str, Any], Iterable[Shape]], first: int = 1
) -> list[Shape]:
    """The shapes of all entries of a list; one that ``read`` cannot read has no class and no mask.

    Args:
        what: an entry is, in messages: ``annotation``.
        entries: of the file.
        read: takes the name of an entry in messages, and the entry.
        first: number of the first entry, for those that have no ``id`` of their own.

    Raises:
        ValueError: ``entries`` is no list.
    """
    if not isinstance(entries, list):
        raise ValueError(f"its {what}s are no list")
    shapes: list[Shape] = []
    for place, entry in enumerate(entries, first):
        own = entry.get("id") if isinstance(entry, Mapping) else None
        name = f"{what} {own if isinstance(own, int | str) else place}"
        try:
            shapes += read(name, entry)
        except DAMAGE as error:
            shapes.append(Shape(name, None, None, partial(fail, reason(error))))
    return shapes


def fail(text: str) -> Mask:
    """Draws nothing. Raises ValueError with the text."""
    raise ValueError(text)


def reason(error: BaseException) -> str:
    """What is wrong with an entry, as a part of a sentence."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    if type(error) in (ValueError, ImageError):
        return str(error).removesuffix(".")
    return "it holds something of the wrong kind"


def label_of(value: Any) -> str:
    """A class as the file names it. Raises ValueError if it names none."""
    if not isinstance(value, int | float | str) or isinstance(value, bool) or not str(value):
        raise ValueError("it has no label")
    return normal(str(value))


def frame(height: Any, width: Any, size: Size, name: str) -> Size:
    """(H, W) that a file says its picture has; ``size`` if it does not say.

    Raises:
        ImageError: it says far too much.
    """
    try:
        own = int(height), int(width)
    except DAMAGE:
        return size
    if min(own) <= 0:
        return size
    check_size(*own, name)
    return own


def find(names: Sequence[str], image: Path, file: Path) -> int:
    """Which of the listed file names is that of a picture: the one with the most folders in common.

    If none is, the only one counts that differs in what tools change of names.

    Raises:
        ValueError: none is, or several are equally so.
    """
    own = path_parts(str(image.absolute()))
    paths = [path_parts(name) for name in names]
    common = [_common_end(path, own) for path in paths]
    most = max(common, default=0)
    if not most:
        plain = _plain(image.name)
        alike = [k for k, name in enumerate(names) if plain in (_plain(name), _original(name))]
        if len(alike) == 1:
            note(file, f"its {listed([names[alike[0]]])} is taken to be {image}.")
            return alike[0]
        only = f", only {listed(names)}" if names else ""
        raise ValueError(f"it lists no image called {image.name}{only}")
    hits = [k for k, parts in enumerate(common) if parts == most]
    if len(hits) > 1:
        raise ValueError(f"it lists {len(hits)} images called {image.name}")
    if most < len(paths[hits[0]]):
        note(file, f"its {listed([names[hits[0]]])} is taken to be {image}.")
    return hits[0]


def _plain(name: str) -> str:
    """A file's name without folders, suffix, case, and what addresses hold: ``%20``, ``?...``."""
    if "://" in name:
        name = unquote(name.partition("?")[0])
    return PurePosixPath(*path_parts(name)[-1:]).stem.casefold()


def _original(name: str) -> str:
    """``_plain`` without what Label Studio puts in front of names and Roboflow behind."""
    added = r"^[0-9a-f]{8}-(?=.)|_(jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9a-z]+$"
    return re.sub(added, "", _plain(name))


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts of two paths are the same, from their ends."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def check_picture(said: Any, image: Path, file: Path) -> None:
    """Warns if a file says that it is of a picture of another name; its suffix may have changed."""
    own, of = path_parts(image.name)[-1], path_parts(str(said or image.name))[-1:]
    if of and PurePosixPath(of[0]).stem != PurePosixPath(own).stem:
        note(file, f"was drawn in {listed(of)}, and is used for {image}.")


def path_parts(name: str) -> tuple[str, ...]:
    """Folders and name of a path of any system, each in NFC."""
    return PurePosixPath(normal(name).replace("\\", "/")).parts


def listed(names: Iterable[str], most: int = 8, longest: int = 60) -> str:
    """Names for a message, on one line, not all of very many, cut where they are very long."""
    # JSON may hold halves of characters, which cannot be printed.
    clean = (name.encode("utf-8", "backslashreplace").decode() for name in names)
    every = [" ".join(name.split()) for name in clean]
    short = [n if len(n) <= longest else f"{n[:longest]}..." for n in every[:most]]
    return ", ".join(short) + (f" and {len(every) - most} more" if len(every) > most else "")


# --- drawing ------------------------------------------------------------------------------------


def coordinates(points: Any) -> npt.NDArray[np.float64]:
    """(N, 2) of [[x, y], ...] or [x, y, x, y, ...].

    Raises:
        ValueError: they are no pairs of numbers, or far away.
    """
    try:
        xy = np.asarray(points, np.float64)
        xy = xy.reshape(-1, 2) if xy.ndim == 1 else xy
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError("its points are not pairs of numbers") from error
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError("its points are not pairs of numbers")
    if not (np.abs(xy) <= FARTHEST).all():  # nor NaN
        raise ValueError("its coordinates are no numbers, or far outside of any picture")
    return xy


def two_points(points: Any, kind: str) -> tuple[float, float, float, float]:
    """x, y, x, y. Raises ValueError as ``coordinates`` does, or if there are not two."""
    xy = coordinates(points)
    if len(xy) != 2:
        raise ValueError(f"a {kind} has two points, and it has {len(xy)}")
    x, y, u, v = xy.ravel().tolist()
    return x, y, u, v


def draw_polygon(size: Size, points: Any) -> Mask:
    """(H, W) mask of a polygon [[x, y], ...] or [x, y, x, y, ...]; what lies outside is cut off.

    Raises:
        ValueError: as ``coordinates`` does, it has fewer than three points, or these are shares of
            the picture's sides.
    """
    xy = coordinates(points)
    if len(xy) < 3:
        raise ValueError(f"a polygon has three points or more, and it has {len(xy)}")
    if min(size) > 1 and xy.min() >= 0 and xy.max() <= 1:
        raise ValueError("its coordinates are all in 0..1: give pixels, not shares of the sides")
    mask = np.zeros(size, bool)
    fill_polygon(mask, xy.ravel())
    return mask


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """Corners of an upright box; its sides may be swapped."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def ellipse(x: float, y: float, across: float, down: float) -> list[list[float]]:
    """Points on an upright ellipse with two radii around (x, y).

    Raises:
        ValueError: a radius is not above 0, or far too large.
    """
    if not (0 < across <= FARTHEST and 0 < down <= FARTHEST):
        raise ValueError("its radius is not above 0, or far beyond any picture")
    angles = np.arange(ROUND) * (2 * math.pi / ROUND)
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], axis=1).tolist()


def turned(points: list[list[float]], angle: float) -> list[list[float]]:
    """Points turned clockwise by radians around the middle of their box."""
    xy = np.asarray(points, np.float64)
    middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    return ((xy - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle).tolist()


def paste(size: Size, piece: Mask, left: int, top: int) -> Mask:
    """(H, W) mask with a piece of it at its place; what lies outside is cut off."""
    mask = np.zeros(size, bool)
    inside = piece[max(0, -top) : max(0, size[0] - top), max(0, -left) : max(0, size[1] - left)]
    top, left = max(0, top), max(0, left)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


def picture_mask(text: Any, name: str, *, deflated: bool = False) -> Mask:
    """(h, w) mask of a PNG in base64.

    Args:
        text: of the file.
        name: of the shape in messages.
        deflated: whether the PNG is packed by zlib once more.

    Raises:
        DAMAGE: it is none.
    """
    content = base64.b64decode(str(text).partition("base64,")[2] or str(text))
    if deflated:
        content = zlib.decompressobj().decompress(content, 1 << 28)
    image = open_image(io.BytesIO(content), name)
    return np.asarray(read_label_map(image, name=name) > 0)

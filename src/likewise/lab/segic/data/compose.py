"""Photographs, and cut-outs pasted on them with the exact mask of the visible part of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ....errors import LikewiseError
from ....io.formats import is_image_name
from ....io.images import read_image
from .augment import RGB, degrade, jitter_colour, shrink
from .marked import ReadCache

Resampling = Image.Resampling
_PHOTO_SIDE = 1400  # longer side, in pixels, at which photographs are cached
_QUADS = 3  # cells along each side of the mesh that deforms a cut-out
_HALF = [0] * 128 + [255] * 128
_ENLARGED = 3.0  # greatest magnification of a cut-out; more is blurred


class Photos:
    """Random crops of photographs, as backgrounds."""

    def __init__(self, places: Sequence[Path]) -> None:
        """Files, and folders with their subfolders.

        Raises:
            LikewiseError: a place does not exist, or none holds a picture.
        """
        files = []
        for place in places:
            if not place.exists():
                raise LikewiseError(f"{place} does not exist: give folders of photographs.")
            inside = sorted(place.rglob("*")) if place.is_dir() else [place]
            files += [p for p in inside if is_image_name(p) and p.is_file()]
        if not files:
            raise LikewiseError(
                f"there is no picture in {', '.join(map(str, places)) or 'no folder'} to put "
                "things on: give folders of photographs."
            )
        self.files = files
        self._read = ReadCache(_read_photo)

    def part(self, rng: np.random.Generator, size: int) -> Image.Image:
        """(size, size) RGB: a random square of a random photograph, flipped with probability ½."""
        (pixels,) = self._read(self.files[rng.integers(len(self.files))])
        height, width = pixels.shape[:2]
        side = max(1, round(min(height, width) * rng.uniform(0.3, 1.0)))
        top, left = (int(rng.integers(0, full - side + 1)) for full in (height, width))
        square = Image.fromarray(pixels[top : top + side, left : left + side])
        square = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=1.5)
        mirrored = rng.random() < 0.5
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square


def _read_photo(file: Path) -> tuple[np.ndarray, ...]:
    return (shrink(read_image(file), [], _PHOTO_SIDE)[0],)


@dataclass(frozen=True)
class Pasting:
    """Random parameters of pasting; probabilities are 0..1."""

    sizes: tuple[float, float] = (0.12, 1.1)
    """Range of a cut-out's longer side as a share of the image's side, log-uniform."""
    turn: float = 25.0
    """Greatest rotation in degrees; one cut-out in eight is rotated by any angle."""
    bend: float = 0.06
    """Twice the standard deviation of the mesh's displacements, in units of the longer side."""
    colour: float = 0.3
    """``strength`` of ``jitter_colour`` for each cut-out and for the photograph."""
    soft: float = 0.5
    """Probability of blurred edges."""
    shadow: float = 0.3
    """Probability of a shadow."""
    wear: float = 0.3
    """``chance`` of ``degrade`` for the composed image."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph with pasted cut-outs."""

    image: RGB
    """(S, S, 3) uint8."""
    labels: npt.NDArray[np.uint8]
    """(S, S) uint8: number of the visible cut-out, from 1 in the order given; 0: none."""
    whole: tuple[int, ...]
    """Pixels of each cut-out without occlusion and without the limits of the square."""


def compose(
    photo: Image.Image,
    things: Sequence[npt.NDArray[np.uint8]],
    rng: np.random.Generator,
    pasting: Pasting,
    *,
    easy: bool = False,
) -> Scene:
    """Paste cut-outs at random positions, sizes, rotations and depths.

    Args:
        photo: (S, S) RGB.
        things: (h, w, 4) uint8 RGBA each, cropped to the pixels that are not transparent.
        rng: of the draws.
        pasting: parameters.
        easy: all inside the image, upright and not small; the first in front.

    Returns:
        A cut-out is visible where its alpha is above half and that of no later one is.
    """
    size = photo.width
    canvas = jitter_colour(photo, rng, pasting.colour)
    labels = Image.new("L", (size, size))
    whole = [0] * len(things)
    order = list(range(len(things)))[::-1] if easy else rng.permutation(len(things)).tolist()
    for k in order:
        low, high = (0.35, 0.6) if easy else pasting.sizes
        side = size * float(np.exp(rng.uniform(np.log(low), np.log(high))))
        thing = _turned(things[k], side, rng, pasting, upright=easy)
        w, h = thing.size
        inside = 0.0 if easy else 0.4  # share that may be outside of the image
        x, y = (
            int(rng.integers(-round(inside * s), max(1, size - round((1 - inside) * s) + 1)))
            for s in (w, h)
        )
        alpha = thing.getchannel("A")
        if rng.random() < pasting.soft:
            alpha = alpha.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
        if rng.random() < pasting.shadow:
            _cast(canvas, alpha, (x, y), rng)
        lit = jitter_colour(thing.convert("RGB"), rng, pasting.colour)
        canvas.paste(lit, (x, y), alpha)
        seen = alpha.point(_HALF)
        labels.paste(k + 1, (x, y), seen)
        whole[k] = int(seen.histogram()[255])
    image = degrade(canvas, rng, pasting.wear)
    return Scene(np.asarray(image), np.asarray(labels), tuple(whole))


def _turned(
    pixels: npt.NDArray[np.uint8],
    side: float,
    rng: np.random.Generator,
    pasting: Pasting,
    *,
    upright: bool,
) -> Image.Image:
    """RGBA cut-out, scaled to ``side``, flipped, rotated and deformed."""
    height, width = pixels.shape[:2]
    factor = min(side / max(height, width), _ENLARGED)
    w, h = (max(4, round(s * factor)) for s in (width, height))
    thing = Image.fromarray(pixels).resize((w, h), Resampling.BILINEAR)
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    any_way = rng.random() < 0.125
    angle = np.deg2rad(rng.uniform(-1, 1) * (180 if any_way else pasting.turn))
    angle = 0.0 if upright else angle
    # A margin for antialiased edges and for pixels that the mesh moves outwards.
    margin = 2 + round(2 * pasting.bend * max(w, h))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    out_w, out_h = (int(np.ceil(s)) + 2 * margin for s in np.abs(turn) @ (w, h))
    padded = Image.new("RGBA", (w + 2 * margin, h + 2 * margin))
    padded.paste(thing, (margin, margin))
    xs, ys = (np.linspace(0, s, _QUADS + 1).round().astype(int) for s in (out_w, out_h))
    # Source coordinates, in the padded cut-out, of the corners of the output's mesh cells.
    places = np.stack(np.meshgrid(xs, ys), axis=-1) - np.array([out_w, out_h]) / 2
    source = places @ turn.T + np.array(padded.size) / 2
    source += rng.normal(0, pasting.bend / 2 * max(w, h), source.shape)
    mesh = [
        (
            (int(xs[i]), int(ys[j]), int(xs[i + 1]), int(ys[j + 1])),
            tuple(
                float(value)
                for row, column in ((j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1))
                for value in source[row, column]
            ),
        )
        for j in range(_QUADS)
        for i in range(_QUADS)
    ]
    bent = padded.transform((out_w, out_h), Image.Transform.MESH, mesh, Resampling.BILINEAR)
    return bent.crop(bent.getchannel("A").getbbox() or (0, 0, out_w, out_h))


def _cast(
    canvas: Image.Image, alpha: Image.Image, place: tuple[int, int], rng: np.random.Generator
) -> None:
    """Draw the blurred shadow of a cut-out, below and to one side of it."""
    reach = max(alpha.size) / 8
    strength = rng.uniform(0.2, 0.6)
    pad = int(reach) + 2
    shadow = Image.new("L", (alpha.width + 2 * pad, alpha.height + 2 * pad))
    shadow.paste(alpha.point([round(level * strength) for level in range(256)]), (pad, pad))
    # Two box blurs approximate a Gaussian at a cost that does not depend on the radius.
    for _ in range(2):
        shadow = shadow.filter(ImageFilter.BoxBlur(reach / 3))
    dx, dy = rng.uniform(-reach / 2, reach / 2), rng.uniform(0, reach / 2)
    canvas.paste(0, (place[0] - pad + round(dx), place[1] - pad + round(dy)), shadow)

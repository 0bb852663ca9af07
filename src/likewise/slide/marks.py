"""What is marked in a slide: annotations of QuPath as GeoJSON, and references made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..io.annotations.geojson import fill, polygons_of
from ..io.annotations.shapes import LABEL
from ..io.masks import MaskValue
from ..io.opening import why
from ..io.text_files import read_json
from ..reference import Reference
from .slide import SUFFIXES, Slide

REFERENCE_SIDE = 4096
"""Of a larger reference only a part of so many pixels a side is read, around what is marked."""
MARKS = (".geojson", ".json")
"""Suffixes of QuPath's annotations."""


def read_marks(file: Path, label: str = LABEL) -> list[list[npt.NDArray[np.float64]]]:
    """Polygons of a GeoJSON file, in pixels of level 0.

    Args:
        file: of QuPath, or of ``likewise slide``.
        label: the class, by the name of the classification; LABEL takes all there.

    Returns:
        For each polygon its rings, (n, 2) x, y: the outer one, then holes.

    Raises:
        ImageError: it cannot be read, or marks nothing of the class.
    """
    try:
        content = read_json(file)
        named = polygons_of(content)
        wanted = [found for name, found in named if label in (LABEL, name)]
        if not wanted and len({name for name, _ in named}) == 1 and named[0][0] is None:
            wanted = [found for _, found in named]
        polygons = [rings for found in wanted for rings in found]
    except OSError as error:
        raise ImageError(f"{file} cannot be read ({why(error)}): check --mask.") from error
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise ImageError(
            f"{file} is no GeoJSON of annotations: export them from QuPath (File, Export objects)."
        ) from error
    if not polygons:
        known = ", ".join(sorted({name for name, _ in named if name is not None}))
        what = "" if label == LABEL else f" of {label}" + (f", only of {known}" if known else "")
        raise ImageError(f"{file} marks no area{what}: draw its outline, or give another --label.")
    return polygons


def read_slide_reference(
    image: Path,
    mask: Path | None,
    value: MaskValue | None = None,
    label: str = LABEL,
    negative: bool = False,
    *,
    mpp: float | None = None,
    level: int | None = None,
    channels: Sequence[int] = (),
) -> Reference:
    """A reference whose image is a slide, or a part of one as an ordinary picture.

    Of a slide beyond ``REFERENCE_SIDE`` the part around the marked polygons is read. Pictures that
    are no TIFF are taken to be of the wanted size of pixel.

    Args:
        image, mask, value, label, negative: as for ``Reference``; the mask may be GeoJSON in pixels
            of level 0.
        mpp, level, channels: as for ``Slide``.

    Raises:
        ImageError: if one of them cannot be used.
    """
    if image.suffix.lower() not in SUFFIXES:
        return Reference(image, mask, value, label, negative)
    slide = Slide(image, mpp, level, channels)
    (H, W), marked = slide.size, None
    rows, columns = slice(0, H), slice(0, W)
    if mask is not None and mask.suffix.lower() in MARKS:
        down, along = H / slide.full[0], W / slide.full[1]
        named = LABEL if negative else label
        polygons = [[ring * [along, down] for ring in rings] for rings in read_marks(mask, named)]
        corners = np.concatenate([rings[0] for rings in polygons])
        rows = _around(corners[:, 1], H)
        columns = _around(corners[:, 0], W)
        marked = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        for rings in polygons:
            fill(marked, [ring - [columns.start, rows.start] for ring in rings])
        if not marked.any():
            raise ImageError(
                f"{mask} marks no pixel of {image} as it is read: check that it is of that slide, "
                "and that --mpp or --level is no coarser than what is marked."
            )
    elif max(H, W) > REFERENCE_SIDE:
        raise ImageError(
            f"{image} is over {REFERENCE_SIDE} pixels a side: as a reference, give what is marked "
            "as GeoJSON of QuPath, or cut out a part."
        )
    picture = slide.read(rows, columns)
    if marked is None:
        return Reference(picture, mask, value, label, negative)
    return Reference(picture, marked, None, label, negative)


def _around(places: npt.NDArray[np.float64], length: int) -> slice:
    """All of a side, or the part around places that is as long as a reference may be."""
    if length <= REFERENCE_SIDE:
        return slice(0, length)
    first = float(places.min())
    middle = (first + min(float(places.max()), first + REFERENCE_SIDE / 2)) / 2
    start = round(min(max(0.0, middle - REFERENCE_SIDE / 2), length - REFERENCE_SIDE))
    return slice(start, start + REFERENCE_SIDE)

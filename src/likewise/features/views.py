"""The same reference seen otherwise: mirrored, closer, from further away.

One reference shows its object at one size and in one direction; encoding these views too tells the
method what else the object may look like, and lets it test itself on views that it left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

RGB = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

VIEWS = ("flip", "tight", "middle", "far")


def same_picture(name: str) -> tuple[str, ...]:
    """Views that show just what this one does; ``""`` is the reference as it is."""
    return ("", "flip") if name in ("", "flip") else (name,)


def make_views(image: RGB, mask: Mask, names: Iterable[str] = VIEWS) -> dict[str, tuple[RGB, Mask]]:
    """All of ``each_view`` at once, name → (image, mask)."""
    return dict(each_view(image, mask, names))


def each_view(
    image: RGB, mask: Mask, names: Iterable[str] = VIEWS
) -> Iterator[tuple[str, tuple[RGB, Mask]]]:
    """Views of a reference; crops keep the image's aspect and hold the masked object's centre.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool with at least one True.
        names: ``flip`` (left-right), ``tight`` (a crop 1.5 times the mask's box), ``middle`` (a
            crop of 60 % of each side), ``far`` (1.6 times the canvas, mirrored at the borders).

    Yields:
        Name and (image, mask), made one by one; a view without a masked pixel is left out.
    """
    height, width = mask.shape
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1

    def crop(scale: float) -> tuple[slice, slice]:
        """Window of ``scale`` times each side, centred on the object, inside the image."""
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        y = min(max(round((top + bottom - h) / 2), 0), height - h)
        x = min(max(round((left + right - w) / 2), 0), width - w)
        return slice(y, y + h), slice(x, x + w)

    for name in names:
        if name == "flip":
            view = image[:, ::-1], mask[:, ::-1]
        elif name == "far":
            pad = [(round(0.3 * height),) * 2, (round(0.3 * width),) * 2]
            view = np.pad(image, [*pad, (0, 0)], mode="symmetric"), np.pad(mask, pad, "symmetric")
        else:
            box = max((bottom - top) / height, (right - left) / width)
            window = crop(0.6 if name == "middle" else min(1.0, max(0.25, 1.5 * box)))
            view = image[window], mask[window]
        if view[1].any():
            yield name, (np.ascontiguousarray(view[0]), np.ascontiguousarray(view[1]))

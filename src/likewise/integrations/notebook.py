"""How a result looks in a notebook: its picture, and what was found, in words."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..io.draw import class_colour, glimpse, overlay_labels

if TYPE_CHECKING:
    from ..result import Result


def draw(result: Result) -> npt.NDArray[np.uint8]:
    """(h, w, 3) uint8: the classes in their colours over the small picture, or over white."""
    label_map = glimpse(result.label_map)
    ground = result.glimpse
    if ground is None:
        ground = np.full((*label_map.shape, 3), 255, np.uint8)
    return overlay_labels(ground, label_map)


def to_png(result: Result) -> bytes:
    """``draw`` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(draw(result)).save(file, "PNG")
    return file.getvalue()


def to_html(result: Result) -> str:
    """The picture, and for each class its area (share of the image) and confidence."""
    height, width = result.mask.shape
    rows = []
    for number, (label, found) in enumerate(result.classes.items(), 1):
        colour = "#{:02x}{:02x}{:02x}".format(*class_colour(number))
        area = f"{found.mask.mean():.1%} of the image" if found.mask.any() else "not found"
        rows.append(
            f'<div><span style="color:{colour}">&#9632;</span> {escape(label)}: {area}, '
            f"confidence {found.confidence:.2f}</div>"
        )
    picture = base64.b64encode(to_png(result)).decode("ascii")
    return (
        f'<div><img src="data:image/png;base64,{picture}" alt="what was found"/>'
        f"<div>{width} × {height} pixels</div>{''.join(rows)}</div>"
    )

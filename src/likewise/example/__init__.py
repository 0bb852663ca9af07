"""The bundled example: four concepts, one masked picture each, found in other pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..io.draw import RGB, contact_sheet, overlay
from ..io.encoding import write_image
from ..io.images import read_image
from ..io.masks import read_mask
from ..segmenter import Segmenter

FOLDER = Path(__file__).resolve().parent
Concept = tuple[str, str, str]
"""Files in ``FOLDER``: the reference, its mask, and a pattern of the targets."""
CONCEPTS: dict[str, Concept] = {
    "coin": ("coin_reference.png", "coin_reference_mask.png", "coin_[0-9].png"),
    "board": ("board_reference.jpg", "board_reference_mask.png", "board_[0-9].jpg"),
}
"""Those whose targets have a true mask, ``<target>_mask.png``: results can be checked on them."""
SHOWN: dict[str, Concept] = {
    "window": ("window_reference.jpg", "window_reference_mask.png", "window_[0-9].jpg"),
    "capacitor": ("capacitor_reference.jpg", "capacitor_reference_mask.png", "capacitor_[0-9].jpg"),
    "coin": CONCEPTS["coin"],
}
"""What ``likewise demo`` shows."""


def demo_targets() -> list[Path]:
    """The pictures that ``run_demo`` segments, in its order."""
    return [path for *_, pattern in SHOWN.values() for path in sorted(FOLDER.glob(pattern))]


def run_demo(segmenter: Segmenter, out: Path) -> Iterator[tuple[str, float]]:
    """Segment the bundled targets, and write one contact sheet after the last.

    Args:
        segmenter: any Segmenter; its references are replaced.
        out: picture to write (.png, .jpg or .webp).

    Yields:
        Target file name, and the share of it that was masked, 0..1.

    Raises:
        ImageError: if the picture cannot be written.
    """
    rows: list[list[tuple[RGB, str]]] = []
    for concept, (image, mask, pattern) in SHOWN.items():
        segmenter.fit((FOLDER / image, FOLDER / mask))
        pixels = read_image(FOLDER / image)
        example = overlay(pixels, read_mask(FOLDER / mask, size=pixels.shape[:2]))
        row = [(example, f"reference + mask: {concept}")]
        for target in sorted(FOLDER.glob(pattern)):
            found = segmenter.segment(target).mask
            row += [(read_image(target), "target"), (overlay(read_image(target), found), "result")]
            yield target.name, float(np.mean(found))
        rows.append(row)
    write_image(out, contact_sheet(rows))

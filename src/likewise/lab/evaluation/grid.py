"""Pictures of episodes: reference, true mask and prediction side by side."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ...io.draw import RGB, contact_sheet, overlay
from .episodes import MaskedImage, Trial
from .reading import read_marked

CELL = (320, 240)  # width, height
LONGEST = 40  # characters of a caption


def cell(picture: RGB, caption: str) -> tuple[RGB, str]:
    """The picture centred in a white (CELL[1], CELL[0], 3) cell, and the caption, cut if long."""
    scale = min(CELL[0] / picture.shape[1], CELL[1] / picture.shape[0])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    sheet = Image.new("RGB", CELL, "white")
    corner = (CELL[0] - size[0]) // 2, (CELL[1] - size[1]) // 2
    sheet.paste(Image.fromarray(picture).resize(size), corner)
    text = caption if len(caption) <= LONGEST else f"{caption[: LONGEST - 3]}..."
    return np.asarray(sheet), text


def marked_cell(marked: MaskedImage, caption: str) -> tuple[RGB, str]:
    """A reference with its mask. Raises ImageError if a file cannot be used."""
    image, mask, _ = read_marked(marked)
    return cell(overlay(image, mask), caption)


def trial_picture(
    trial: Trial, pixels: RGB, mask: np.ndarray, truth: np.ndarray, iou: float | None
) -> RGB:
    """First reference, truth and prediction side by side.

    Args:
        trial: the trial.
        pixels: (H, W, 3) uint8, the target.
        mask: (H, W) bool, predicted.
        truth: (H, W) bool.
        iou: in points 0..100; None if both masks are empty.
    """
    e = trial.episode
    row = [
        marked_cell(trial.references[0], f"{e.dataset} {e.cls}"),
        cell(overlay(pixels, truth), f"truth of {e.target.name}"),
        cell(overlay(pixels, mask), f"found, {iou_text(iou)}"),
    ]
    return contact_sheet([row], CELL[1])


def iou_text(iou: float | None) -> str:
    """Caption of an IoU in points; None: both masks are empty."""
    return "nothing there or found" if iou is None else f"IoU {iou:.1f}"

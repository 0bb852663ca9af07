"""From patch scores to pixel masks: plain upsampling, guided by the image, or a dense CRF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import LikewiseError

if TYPE_CHECKING:  # numpy, PIL and torch only where they are needed: commands read the names below
    import numpy as np
    import torch

REFINERS = ("none", "guided", "crf")
DEFAULT_REFINER = "guided"
"""+1.4 mIoU and +2.6 boundary IoU for 0.035 s at 768 px: see benchmarks/NOTES.md."""
GUIDED_STEP = 4
"""``step`` of ``guided_filter``: 14 times as fast as 1 at 768 px, no less accurate."""


def check_refiner(name: str) -> None:
    """Raises LikewiseError unless ``name`` is one of ``REFINERS``."""
    if name not in REFINERS:
        raise LikewiseError(f"refiner {name!r} is unknown; use one of {', '.join(REFINERS)}.")


def refine(
    scores: torch.Tensor,
    image: np.ndarray,
    input_size: tuple[int, int],
    refiner: str = "none",
    points: np.ndarray | None = None,
) -> np.ndarray:
    """Pixel mask of patch scores (INSID3 §4, implementation details).

    1. Bilinear upsampling to the encoder's input size.
    2. Refinement there, guided by the image at that size.
    3. Bilinear resizing to the image's size, then threshold 0.5.

    Args:
        scores: (h, w) float32 in 0..1, on any device.
        image: (H, W, 3) uint8 RGB, the original target.
        input_size: (H', W') of the encoder's input.
        refiner: ``none``, ``guided`` or ``crf``.
        points: (n, 3) x, y in pixels of the image and a sign: these pixels are foreground where it
            is above 0, background elsewhere, whatever the scores say; what lies close and has their
            colour follows them.

    Returns:
        (H, W) bool.
    """
    import numpy as np

    check_refiner(refiner)
    if points is None or len(points) == 0:
        if not scores.gt(0.5).any():  # absent; untouched zeros take no memory
            return np.zeros(image.shape[:2], dtype=bool)
        fine = at_input_size(scores, image, input_size, refiner)
        return (resize(fine, image.shape[:2]) > 0.5).cpu().numpy()
    from .points import honour

    size = image.shape[:2]
    fine = at_input_size(scores, image, input_size, refiner)
    scaled = points * [input_size[1] / size[1], input_size[0] / size[0], 1]
    mask: np.ndarray = (resize(honour(fine, image, scaled), size) > 0.5).cpu().numpy()
    mask[points[:, 1].astype(int), points[:, 0].astype(int)] = points[:, 2] > 0
    return mask


def at_input_size(
    scores: torch.Tensor, image: np.ndarray, input_size: tuple[int, int], refiner: str = "none"
) -> torch.Tensor:
    """Steps 1 and 2 of ``refine``, with the same arguments but the points.

    Returns:
        (H', W') float32; above 0.5 is foreground.
    """
    import numpy as np
    import torch
    from PIL import Image

    check_refiner(refiner)
    if not scores.gt(0.5).any():  # interpolation never exceeds its inputs
        return scores.new_zeros(input_size)
    upsampled = resize(scores, input_size)
    if refiner == "none" or not upsampled.gt(0.5).any():
        return upsampled.gt(0.5).float()
    small = Image.fromarray(image).resize(input_size[::-1], Image.Resampling.BILINEAR)
    guide = torch.from_numpy(np.array(small)).to(scores.device).float() / 255
    if refiner == "guided":
        from .guided import guided_filter

        return rooted(guided_filter(guide, upsampled, step=GUIDED_STEP), upsampled)
    from .crf import dense_crf

    # mps has neither float64 nor sparse matrices.
    device = "cpu" if guide.device.type == "mps" else guide.device
    return dense_crf(guide.to(device), upsampled.to(device) > 0.5).float()


def rooted(refined: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """Remove connected components of the refined mask that do not overlap the unrefined mask.

    Such components are specks of the object's colour beside it.

    Args:
        refined: (H, W) float32 in 0..1; above 0.5 is foreground.
        plain: (H, W) float32, the scores before refinement.

    Returns:
        (H, W) float32 on the same device.
    """
    import numpy as np
    import torch
    from scipy.ndimage import label

    found = (refined > 0.5).cpu().numpy()
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    if len(rows) == 0:
        return refined
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pieces, count = label(found[window])
    dropped = np.ones(count + 1, dtype=bool)
    dropped[pieces[(plain[window] > 0.5).cpu().numpy()]] = False
    dropped[0] = False  # background stays as it is
    if not dropped.any():
        return refined
    refined = refined.clone()
    refined[window].masked_fill_(torch.from_numpy(dropped[pieces]).to(refined.device), 0)
    return refined


def compete(
    masks: Sequence[np.ndarray],
    scores: Sequence[torch.Tensor],
    confidences: Sequence[float],
    input_size: tuple[int, int],
) -> np.ndarray:
    """Label map of overlapping masks: each pixel gets the class of the highest upsampled score.

    Of equal scores (INSID3's are 0 or 1) the class of higher confidence is taken, then the earlier.

    Args:
        masks: C ≥ 1 of (H, W) bool, from ``refine``.
        scores: C of (h, w) float32 in 0..1, of which the masks were made.
        confidences: C numbers in 0..1.
        input_size: (H', W') of the encoder's input.

    Returns:
        (H, W) uint8, or uint16 for more than 255 classes: 0 none, k the k-th class.
    """
    import numpy as np

    label_map = masks[0].astype(np.uint8 if len(masks) < 256 else np.uint16)
    if len(masks) == 1:
        return label_map
    best = np.full(label_map.shape, -np.inf, dtype=np.float32)
    for k in sorted(range(len(masks)), key=lambda k: -confidences[k]):
        if masks[k].any():
            upsampled = resize(resize(scores[k], input_size), best.shape).cpu().numpy()
            won = masks[k] & (upsampled > best)
            label_map[won], best[won] = k + 1, upsampled[won]
    return label_map


def compete_inside(
    masks: Sequence[np.ndarray],
    scores: Sequence[torch.Tensor],
    confidences: Sequence[float],
    wholes: Sequence[int | None],
    input_size: tuple[int, int],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """``compete`` with classes that are parts of others: parts compete inside their whole only.

    Args:
        masks, scores, confidences, input_size: as for ``compete``.
        wholes: for each class the index, from 0, of the class it is a part of, or None.

    Returns:
        (H, W) label map in which a part replaces its whole, and C of (H, W) bool: every class
        including its parts.
    """
    import numpy as np

    label_map = np.zeros(masks[0].shape, np.uint8 if len(masks) < 256 else np.uint16)
    found = list(masks)
    level: list[int | None] = [None]
    while level:
        for whole in level:
            parts = [k for k, of in enumerate(wholes) if of == whole]
            if not parts:
                continue
            own = [masks[k] if whole is None else masks[k] & found[whole] for k in parts]
            won = compete(
                own, [scores[k] for k in parts], [confidences[k] for k in parts], input_size
            )
            for n, k in enumerate(parts, 1):
                found[k] = won == n
            numbers = np.array([0, *(k + 1 for k in parts)], label_map.dtype)
            label_map = np.where(won > 0, numbers[won], label_map)
        level = [k for k, of in enumerate(wholes) if of in level]
    return label_map, found


def resize(values: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Bilinear (h, w) → (H, W) float32, ``align_corners=False``."""
    import torch

    return torch.nn.functional.interpolate(
        values[None, None], size=(size[0], size[1]), mode="bilinear"
    )[0, 0]

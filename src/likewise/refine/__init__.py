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
"""Pixels of the input in one of the coarser picture of ``guided_filter``: 14 times as fast as 1 at
768 px, no less accurate."""


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
    small: np.ndarray | None = None,
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
        small: (H', W', 3) uint8, the image at ``input_size``; it is resized to that by default.

    Returns:
        (H, W) bool.
    """
    import numpy as np

    check_refiner(refiner)
    if points is None or len(points) == 0:
        if not scores.gt(0.5).any():  # absent; untouched zeros take no memory
            return np.zeros(image.shape[:2], dtype=bool)
        fine = at_input_size(scores, image, input_size, refiner, small)
        return (resize(fine, image.shape[:2]) > 0.5).cpu().numpy()
    from .points import honour

    size = image.shape[:2]
    fine = at_input_size(scores, image, input_size, refiner, small)
    scaled = points * [input_size[1] / size[1], input_size[0] / size[0], 1]
    mask: np.ndarray = (resize(honour(fine, image, scaled), size) > 0.5).cpu().numpy()
    mask[points[:, 1].astype(int), points[:, 0].astype(int)] = points[:, 2] > 0
    return mask


def at_input_size(
    scores: torch.Tensor,
    image: np.ndarray,
    input_size: tuple[int, int],
    refiner: str = "none",
    small: np.ndarray | None = None,
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
    if refiner == "none":
        return resize(scores, input_size).gt(0.5).float()
    if small is None:
        resized = Image.fromarray(image).resize(input_size[::-1], Image.Resampling.BILINEAR)
        small = np.asarray(resized)
    writable = np.require(small, requirements="W")
    planes = torch.from_numpy(writable).to(scores.device).permute(2, 0, 1).contiguous()
    guide = planes.float().div_(255)
    if refiner == "guided":
        from .guided import coarser, enlarged, guided_filter

        height, width = (-(-n // GUIDED_STEP) for n in input_size)
        coarse = coarser(min(image, small, key=np.size), (height, width)).to(scores.device)
        plain = enlarged(scores[None], input_size)[0]
        return rooted(guided_filter(guide, coarse, scores), plain)
    from .crf import dense_crf

    guide = guide.permute(1, 2, 0)
    # mps has neither float64 nor sparse matrices.
    device = "cpu" if guide.device.type == "mps" else guide.device
    plain = resize(scores, input_size) > 0.5
    return dense_crf(guide.to(device), plain.to(device)).float()


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

    found = (refined > 0.5).cpu().numpy()
    starts, ends, piece = components(found)
    marked = np.flatnonzero((plain > 0.5).cpu().numpy())
    inside = np.searchsorted(marked, ends) - np.searchsorted(marked, starts)
    kept = np.bincount(piece, inside) > 0
    if kept.all():
        return refined
    for start, end in zip(starts[~kept[piece]], ends[~kept[piece]], strict=True):
        found.reshape(-1)[start:end] = False
    return refined.where(torch.from_numpy(found).to(refined.device) | (refined <= 0.5), 0)


def components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected components (by edges) of a mask, as the runs of its rows.

    SciPy has this too, but takes a quarter of a second to import, and longer for a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        Of each of R runs, row by row: its first pixel and the one after its last, (R,) int64 each,
        as indices into the flattened mask; and (R,) int64 number of its component, from 0.
    """
    import numpy as np

    # 1. Runs, in rows that end with a pixel that is False.
    height, width = mask.shape
    rows = np.zeros((height, width + 1), bool)
    rows[:, :-1] = mask
    flat = np.concatenate([[False], rows.reshape(-1)])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = edges[::2], edges[1::2]
    # 2. Pairs: run ``upper`` touches ``lower`` of the next row.
    first = np.searchsorted(ends, starts + width + 1, side="right")
    count = np.searchsorted(starts, ends + width + 1) - first
    upper = np.repeat(np.arange(len(starts)), count)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(count) + count, count)
    # 3. Every run takes the least number it touches, until none changes.
    root = np.arange(len(starts))
    while (differ := root[upper] != root[lower]).any():
        one, other = root[upper[differ]], root[lower[differ]]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while (root[root] != root).any():
            root = root[root]
    row = starts // (width + 1)
    return starts - row, ends - row, np.unique(root, return_inverse=True)[1].reshape(-1)


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

    if len(masks) == 1:
        return compete(masks, scores, confidences, input_size), list(masks)
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

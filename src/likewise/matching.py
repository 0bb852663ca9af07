"""Find points of one image in another: semantic correspondence (INSID3 §4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .errors import LikewiseError
from .methods.keypoints import match_keypoints

if TYPE_CHECKING:
    from .features.patch_features import PatchFeatures
    from .io.images import ImageLike
    from .segmenter import Segmenter


def match(
    segmenter: Segmenter,
    reference: ImageLike,
    keypoints: Sequence[Sequence[float]] | np.ndarray,
    image: ImageLike,
    *,
    debiased: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Find points of one image in another (INSID3 §4.3, semantic correspondence).

    Args:
        segmenter: whose backbone is used; it needs no references.
        reference: the image that the points are of.
        keypoints: (n, 2) x, y in pixels of ``reference``.
        image: the image to find them in.
        debiased: match with debiased features, the paper's way.

    Returns:
        ``(points, similarity)``: (n, 2) float32 x, y in pixels of ``image``, and (n,) float32
        cosine similarity of the best patch, -1..1.

    Raises:
        LikewiseError: if an image cannot be read, or a point is not a pair of numbers inside the
            reference.
    """
    pictures = [segmenter.read(i).pixels for i in (reference, image)]
    first, second = segmenter.encoder.encode_many(pictures)
    return match_encoded(first, second, check_keypoints(keypoints, first.size), debiased)


def match_encoded(
    reference: PatchFeatures, target: PatchFeatures, keypoints: np.ndarray, debiased: bool
) -> tuple[np.ndarray, np.ndarray]:
    """``match_keypoints`` on (n, 2) float32 arrays."""
    import torch

    points, similarity = match_keypoints(
        reference, target, torch.from_numpy(keypoints), debiased=debiased
    )
    return points.cpu().numpy(), similarity.cpu().numpy()


def check_keypoints(
    keypoints: Sequence[Sequence[float]] | np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(n, 2) float32 of x, y inside an (H, W) image. Raises LikewiseError otherwise."""
    try:
        points = np.asarray(keypoints, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise LikewiseError("keypoints must be numbers: one (x, y) pair for each point.") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise LikewiseError(
            f"keypoints must be (n, 2): one (x, y) pair for each point, not {points.shape}."
        )
    inside = (points >= 0).all(axis=1) & (points <= (size[1], size[0])).all(axis=1)
    if not inside.all():
        x, y = points[~inside][0]
        raise LikewiseError(
            f"keypoint ({x:g}, {y:g}) lies outside its image of {size[1]}x{size[0]} pixels."
        )
    return points

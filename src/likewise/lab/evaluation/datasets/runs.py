"""Polygons and run lengths of COCO-like annotations as one mask, as pycocotools draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ....errors import ImageError, LikewiseError
from ....io.coco_masks import read_coco
from ..episodes import RunLengths


def pycocotools() -> Any:
    """The package's ``mask`` module.

    Raises:
        LikewiseError: if it is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise LikewiseError(
            "this benchmark's annotations need pycocotools: pip install 'likewise[coco]'."
        ) from error
    return mask


def merged(segmentations: Sequence[Any], size: tuple[int, int]) -> RunLengths:
    """The union of polygon lists, run lengths and (H, W) arrays in an image of (H, W)."""
    import numpy as np

    coco, runs = pycocotools(), []
    for segmentation in segmentations:
        if isinstance(segmentation, Mapping):
            counts = segmentation["counts"]
            if isinstance(counts, list):
                runs.append(coco.frPyObjects(segmentation, *size))
            else:
                data = counts.encode("ascii") if isinstance(counts, str) else counts
                runs.append({"size": list(segmentation["size"]), "counts": data})
        elif isinstance(segmentation, np.ndarray) and segmentation.ndim == 2:
            runs.append(coco.encode(np.asfortranarray(segmentation.astype(np.uint8))))
        elif len(segmentation):
            polygons = [np.asarray(p, dtype=np.float64).ravel().tolist() for p in segmentation]
            runs.extend(coco.frPyObjects(polygons, *size))
    union = coco.merge(runs) if runs else coco.encode(np.zeros(size, np.uint8, order="F"))
    height, width = union["size"]
    return RunLengths((int(height), int(width)), union["counts"].decode("ascii"))


def any_inside(runs: RunLengths, box: tuple[int, int, int, int]) -> bool:
    """Whether a mask has a foreground pixel in a box (left, top, right, bottom)."""
    left, top, right, bottom = (max(0, edge) for edge in box)
    mask = read_coco({"size": runs.size, "counts": runs.counts}, None, "the mask")
    return bool(mask[top:bottom, left:right].any())


@cache
def size_of(image: Path) -> tuple[int, int]:
    """(H, W) of an image file, from its header. Raises ImageError if it cannot be read."""
    try:
        with Image.open(image) as file:
            return file.height, file.width
    except OSError as error:
        raise ImageError(f"{image} cannot be read: check --data-root.") from error

"""Reading images and masks of episodes, as described by a ``MaskedImage``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ImageError
from ...io.coco_masks import read_coco
from ...io.draw import RGB
from ...io.images import read_image
from ...io.masks import nearest, read_label_map, read_mask
from .episodes import MaskedImage, RunLengths

Bools = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


def read_pixels(image: Path, box: Box | None = None) -> RGB:
    """(H, W, 3) uint8 of an image file or of a box in it.

    Raises:
        ImageError: if it cannot be read, or the box is outside of it.
    """
    return crop(read_image(image), box, image)


def read_marked(
    marked: MaskedImage, pixels: RGB | None = None, *, strict: bool = True
) -> tuple[RGB, Bools, Bools | None]:
    """Image, mask, and ignored pixels.

    Args:
        marked: what to read. A mask of another size than its image is resized to it, nearest
            neighbour.
        pixels: the image, or its box, if it was read before.
        strict: a mask file without ``min_value``, ``void`` and ``box`` goes by the rules of
            ``read_mask``: it must mark something, and not everything.

    Returns:
        (H, W, 3) uint8, (H, W) bool, and (H, W) bool or None.

    Raises:
        ImageError: if a file cannot be used.
    """
    whole = read_image(marked.image) if pixels is None or marked.box is not None else pixels
    size = (whole.shape[0], whole.shape[1])
    image = crop(whole, marked.box, marked.image) if pixels is None else pixels
    plain = marked == MaskedImage(marked.image, marked.mask, marked.value)
    if isinstance(marked.mask, Path) and plain and (strict or marked.value is None):
        return image, read_mask(marked.mask, size=size, value=marked.value), None
    if isinstance(marked.mask, RunLengths):
        mask, void = read_coco(asdict(marked.mask), size, f"the mask of {marked.image}"), None
        if mask.shape != size:
            raise ImageError(f"the mask of {marked.image} is of another size than the image.")
    else:
        mask, void = _read_values(marked, marked.mask, size)
    return (
        image,
        crop(mask, marked.box, marked.image),
        None if void is None else crop(void, marked.box, marked.image),
    )


def read_benchmark_reference(marked: MaskedImage) -> tuple[RGB, Bools]:
    """Image and mask of a reference; of a mask that is all foreground the last pixel is cleared.

    The papers' lists have such references, and their code accepts them.

    Raises:
        ImageError: if a file cannot be used, or the mask marks nothing.
    """
    image, mask, _ = read_marked(marked, strict=False)
    if not mask.any():
        raise ImageError(
            f"the mask of {marked.image} marks nothing of what it is a reference for: check the "
            "download."
        )
    if mask.all():
        mask = mask.copy()
        mask[-1, -1] = False
    return image, mask


def read_labels(path: Path, size: tuple[int, int] | None = None) -> npt.NDArray[np.int64]:
    """(H, W) int64 values of ``read_label_map``, resized by nearest neighbour to ``size``.

    Raises:
        ImageError: if it cannot be read, or holds colours.
    """
    values = read_label_map(path)
    if size is not None and values.shape != tuple(size):
        values = nearest(values, size)
    return values.astype(np.int64)


def _read_values(
    marked: MaskedImage, path: Path, size: tuple[int, int]
) -> tuple[Bools, Bools | None]:
    if marked.min_value is not None:
        return read_labels(path, size) >= marked.min_value, None
    values = read_labels(path, size)
    return values == marked.value, None if marked.void is None else values == marked.void


def crop(values: np.ndarray, box: Box | None, name: Path) -> np.ndarray:
    """The box of an (H, W, ...) array. Raises ImageError if it is outside of the array."""
    if box is None:
        return values
    left, top, right, bottom = box
    part = values[max(0, top) : bottom, max(0, left) : right]
    if part.size == 0:
        raise ImageError(f"the box {box} holds no pixel of {name}: make the manifest again.")
    return part

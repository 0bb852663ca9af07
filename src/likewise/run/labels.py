"""labels.json and label maps: the class of each number in a folder of masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError
from ..io.draw import class_colour
from ..io.mask_values import looked_up
from ..io.masks import read_label_map
from ..io.opening import why
from ..io.text_files import normal, read_json

if TYPE_CHECKING:
    from ..result import Result

MARKED = 255
"""The number of the first class of a folder, where it is the only one: masks of 0 and 255."""


def read_class_map(mask: Path, numbers: Iterable[int]) -> npt.NDArray[np.integer[Any]]:
    """(H, W) the label map of a mask, which a program may have saved in the classes' colours.

    Args:
        mask: the file.
        numbers: of the classes.

    Raises:
        ImageError: as ``read_label_map``.
    """
    try:
        return read_label_map(mask, colours={class_colour(k): k for k in numbers})
    except ImageError:  # other colours, or none of these kinds
        return read_label_map(mask)


def read_labels(path: Path) -> dict[str, int] | None:
    """Class → value of the masks, from ``labels.json``; None if there is none.

    Raises:
        LikewiseError: it cannot be used.
    """
    try:
        named = read_json(path)
        if not isinstance(named, dict) or not all(isinstance(v, str) for v in named.values()):
            raise ValueError("it holds other than names")
        numbers = {normal(label): int(k) for k, label in named.items()}
        if len(numbers) < len(named) or len(set(numbers.values())) < len(named):
            raise ValueError("it names a label twice")
        if not all(0 < k < 65536 for k in numbers.values()):
            raise ValueError("a number is not within 1 to 65535")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise LikewiseError(
            f'{path} cannot be used ({why(error)}): it must name the labels as {{"1": "first", '
            '"2": "second"}.'
        ) from error
    return numbers


def renumbered(result: Result, numbers: Mapping[str, int]) -> np.ndarray:
    """(H, W) uint8 or uint16: the label map of a result with these numbers of its classes."""
    kind = np.uint8 if max(numbers.values()) < 256 else np.uint16
    values = np.array([0, *(numbers[label] for label in result.labels)], kind)
    return looked_up(values, result.label_map)

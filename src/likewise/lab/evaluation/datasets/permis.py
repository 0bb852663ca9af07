"""PerMIS: the same object of a video in its first frame and in two later ones.

PerMIRS/VIDEO/0.jpg 1.jpg 2.jpg    made by Where's Waldo's permirs_gen_dataset.py from BURST
PerMIRS/VIDEO/masks.npz.npy        three dicts, object → (H, W) mask; the first object is used
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError
from ....io.coco_masks import encode_runs
from ..episodes import RunLengths
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .pickles import read_object_array


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Two episodes a video; there is no second reference to give."""
    if shots > 1:
        raise LikewiseError("PerMIS has one reference a video: leave out --shots.")
    entries = []
    for video in sorted(p for p in (root / "PerMIRS").iterdir() if p.is_dir()):
        frames = [_frame(root, video, number, mask) for number, mask in enumerate(_masks(video))]
        entries += [mask_entry("all", "object", frame, frames[:1]) for frame in frames[1:]]
    if not entries:
        raise LikewiseError(f"{root / 'PerMIRS'} holds no folder of a video.")
    return Built(entries, {"videos": len(entries) // 2})


def _masks(video: Path) -> list[np.ndarray]:
    """The first object's (H, W) bool mask in each of three frames."""
    path = video / "masks.npz.npy"
    content = read_object_array(path)
    try:
        return [np.asarray(next(iter(content[frame].values()))) > 0 for frame in range(3)]
    except (IndexError, KeyError, AttributeError, TypeError, StopIteration) as error:
        raise LikewiseError(f"{path} does not hold the masks of three frames.") from error


def _frame(root: Path, video: Path, number: int, mask: np.ndarray) -> dict[str, Any]:
    runs = encode_runs(mask, (mask.shape[0], mask.shape[1]))
    size = (int(mask.shape[0]), int(mask.shape[1]))
    return marked_entry(video / f"{number}.jpg", RunLengths(size, runs["counts"]), root)

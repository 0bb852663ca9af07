"""LVIS-92i: ten folds of 92 classes, 2300 episodes each.

LVIS/coco/train2017/000000000009.jpg   LVIS/coco/val2017/...
LVIS/lvis_val.pkl     class → {image: {"annotations": [{"segmentation": ...}, ...]}}
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ....errors import ImageError, LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .pickles import read_pickle
from .runs import merged
from .sampler import sample

FOLDS, EPISODES = 10, 2300


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Classes with more images than shots, dealt to the folds one by one, each in turn."""
    folder, path = root / "LVIS" / "coco", root / "LVIS" / "lvis_val.pkl"
    listed = read_pickle(path)
    try:
        kept = [c for c in listed if len(listed[c]) > shots]
        images = {c: list(listed[c]) for c in kept}
    except (TypeError, KeyError) as error:
        raise LikewiseError(f"{path} is no list of images for each class.") from error
    each = len(kept) // FOLDS
    if not each:
        raise LikewiseError(
            f"{path}: {len(kept)} classes have more than {shots} images, which does not fill "
            f"{FOLDS} folds: give a smaller --shots, or complete the download."
        )

    @cache
    def entry(item: tuple[Any, str]) -> dict[str, Any]:
        cls, name = item
        image = folder / name
        shapes = [a["segmentation"] for a in listed[cls][name]["annotations"]]
        return marked_entry(image, merged(shapes, size_of(image)), root)

    entries = []
    for fold in range(FOLDS):
        classes = [kept[fold + FOLDS * v] for v in range(each)]
        pools = {str(c): [(c, name) for name in images[c]] for c in classes}
        what = f"LVIS-92i, fold {fold}"
        for episode in sample(pools, EPISODES, shots, what, cycle=True, pick=entry):
            entries.append(mask_entry(f"fold{fold}", *episode))
    left_out = [str(c) for c in listed if len(listed[c]) <= shots]
    protocol = {"folds": FOLDS, "classes a fold": each, "classes left out": left_out}
    return Built(entries, protocol, [path])


@cache
def size_of(image: Path) -> tuple[int, int]:
    """(H, W) from an image file's header. Raises ImageError if it cannot be read."""
    try:
        with Image.open(image) as file:
            return file.height, file.width
    except OSError as error:
        raise ImageError(f"{image} cannot be read: check --data-root.") from error

"""PACO-Part: four folds of object parts, 2500 episodes each, seen in the box of one object.

PACO-Part/coco/train2017/*.jpg   PACO-Part/coco/val2017/*.jpg
PACO-Part/paco/paco_part_{train,val}.pkl
    {"cid2img": {class: [{image id: path}, ...]},
     "img2anno": {image id: [{"category_id", "obj_ann_id", "obj_bbox", "segmentation"}, ...]}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .lvis92i import size_of
from .pickles import read_pickle
from .runs import any_inside, merged
from .sampler import Draw, sample

FOLDS, EPISODES = 4, 2500
Item = tuple[Any, Any, str]
"""Class, image id and path of the image."""


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Classes dealt to the folds in the order of the training list, drawn at random."""
    folder = root / "PACO-Part"
    sources = [folder / "paco" / f"paco_part_{split}.pkl" for split in ("train", "val")]
    train, test = (read_pickle(path) for path in sources)
    try:
        order = list(train["cid2img"])
        pools = {c: _images(c, images) for c, images in test["cid2img"].items()}
        objects = test["img2anno"]
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise LikewiseError(f"{sources[1]} is no list of PACO-Part: download it again.") from error
    each, entries = len(order) // FOLDS, []
    for fold in range(FOLDS):
        classes = [order[fold + FOLDS * v] for v in range(each)]
        kept = {str(c): pools[c] for c in classes if len(pools.get(c, ())) > shots}
        draw = Draw()

        def entry(item: Item, draw: Draw = draw) -> dict[str, Any] | None:
            return _object(root, folder / "coco", item, objects[item[1]], draw)

        what = f"PACO-Part, fold {fold}"
        drawn = sample(kept, EPISODES, shots, what, cycle=False, pick=entry, draw=draw)
        entries += [mask_entry(f"fold{fold}", *episode) for episode in drawn]
    left_out = [str(c) for c in order if len(pools.get(c, ())) <= shots]
    return Built(entries, {"folds": FOLDS, "classes left out": left_out}, sources)


def _images(cls: Any, listed: list[dict[Any, str]]) -> list[Item]:
    """Every image of a class once."""
    unique: dict[Any, str] = {}
    for image in listed:
        number, path = next(iter(image.items()))
        unique.setdefault(number, path)
    return [(cls, number, "/".join(path.split("/")[-2:])) for number, path in unique.items()]


def _object(
    root: Path, folder: Path, item: Item, annotations: list[Any], draw: Draw
) -> dict[str, Any] | None:
    """One object of the image with the part, or None where its box holds nothing of it."""
    cls, _, name = item
    parts: dict[Any, list[Any]] = {}
    for a in annotations:
        if a["category_id"] == cls:
            parts.setdefault(a["obj_ann_id"], []).append(a)
    if not parts:
        return None
    chosen = parts[draw.one(list(parts))]
    x, y, w, h = chosen[0]["obj_bbox"]
    box = int(x), int(y), int(x + w), int(y + h)
    runs = merged([a["segmentation"] for a in chosen], size_of(folder / name))
    return marked_entry(folder / name, runs, root, box=box) if any_inside(runs, box) else None

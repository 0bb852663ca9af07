"""Benchmarks of object parts, each seen in the box of one object: PASCAL-Part, PACO-Part."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .pickles import read_pickle
from .runs import any_inside, merged, size_of
from .sampler import Draw, sample

PACO_FOLDS, PACO_EPISODES = 4, 2500
PacoItem = tuple[Any, Any, str]
"""Class, image id and path of the image."""
PASCAL_GROUPS = ("animals", "indoor", "person", "vehicles")
PASCAL_LEFT_OUT = ("aeroplane+TAIL",)
PASCAL_EPISODES = 2500
PascalItem = tuple[str, str, str]
"""Object, part and image."""


def pascal_part(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """PASCAL-Part: parts of four groups of objects, at most 2500 episodes a group, in object boxes.

    Only parts with training and validation images, drawn in turn; then an object of the image.

    Pascal-Part/VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg
    Pascal-Part/VOCdevkit/VOC2010/Annotations_Part_json_merged_part_classes/2008_000008.json
        {"object": [{"name", "bndbox": {xmin, ymin, xmax, ymax},
                     "parts": [{"name", "mask": [run lengths, ...]}, ...]}, ...]}
    Pascal-Part/VOCdevkit/VOC2010/all_obj_part_to_image.json
        {group: {"object": {object: {"part": {part: {"train": [...], "val": [image, ...]}}}}}}
    """
    folder = root / benchmark.folder
    path = folder / "all_obj_part_to_image.json"
    listed, entries = _read(path), []
    for group in PASCAL_GROUPS:
        try:
            pools, count = _pools(listed[group]["object"])
        except (KeyError, TypeError) as error:
            raise LikewiseError(f"{path} is no list of PASCAL-Part (missing {error}).") from error
        draw = Draw()

        def entry(item: PascalItem, draw: Draw = draw) -> dict[str, Any] | None:
            return _pascal_object(root, folder, item, draw)

        what = f"PASCAL-Part, {group}"
        drawn = sample(
            pools, min(count, PASCAL_EPISODES), shots, what, cycle=True, pick=entry, draw=draw
        )
        entries += [mask_entry(group, *episode) for episode in drawn]
    return Built(entries, {"groups": PASCAL_GROUPS, "classes left out": PASCAL_LEFT_OUT}, [path])


def _pools(objects: Any) -> tuple[dict[str, list[PascalItem]], int]:
    """Validation images of each part, and their number over all parts."""
    pools, count = {}, 0
    for name, content in objects.items():
        for part, images in content["part"].items():
            count += len(images["val"])
            cls = f"{name}+{part}"
            if images["train"] and images["val"] and cls not in PASCAL_LEFT_OUT:
                pools[cls] = [(name, part, image) for image in images["val"]]
    return pools, count


def _pascal_object(root: Path, folder: Path, item: PascalItem, draw: Draw) -> dict[str, Any] | None:
    """A drawn object with the part in the image; None if there is none."""
    name, part, number = item
    annotation = _read(folder / "Annotations_Part_json_merged_part_classes" / f"{number}.json")
    objects = [o for o in annotation["object"] if o["name"] == name]
    if not objects:
        return None
    chosen = draw.one(objects)
    masks = [m for p in chosen["parts"] if p["name"] == part for m in p["mask"]]
    if not masks:
        return None
    bounds = chosen["bndbox"]
    left, top, right, bottom = (int(bounds[e]) for e in ("xmin", "ymin", "xmax", "ymax"))
    box = left, top, right, bottom
    runs = merged(masks, tuple(masks[0]["size"]))
    image = folder / "JPEGImages" / f"{number}.jpg"
    return marked_entry(image, runs, root, box=box) if any_inside(runs, box) else None


@lru_cache(maxsize=4096)
def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{path} cannot be read as JSON ({error}).") from error


def paco_part(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """PACO-Part: four folds of object parts, 2500 episodes each, seen in the box of one object.

    Fold f has the classes f, f + 4, ... of the training list; classes are drawn at random.

    PACO-Part/coco/train2017/*.jpg   PACO-Part/coco/val2017/*.jpg
    PACO-Part/paco/paco_part_{train,val}.pkl
        {"cid2img": {class: [{image id: path}, ...]},
         "img2anno": {image id: [{"category_id", "obj_ann_id", "obj_bbox", "segmentation"}, ...]}}
    """
    folder = root / "PACO-Part"
    sources = [folder / "paco" / f"paco_part_{split}.pkl" for split in ("train", "val")]
    train, test = (read_pickle(path) for path in sources)
    try:
        order = list(train["cid2img"])
        pools = {c: _paco_images(c, images) for c, images in test["cid2img"].items()}
        objects = test["img2anno"]
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise LikewiseError(f"{sources[1]} is no list of PACO-Part: download it again.") from error
    each, entries = len(order) // PACO_FOLDS, []
    for fold in range(PACO_FOLDS):
        classes = [order[fold + PACO_FOLDS * v] for v in range(each)]
        used = {str(c): pools[c] for c in classes if len(pools.get(c, ())) > shots}
        draw = Draw()

        def entry(item: PacoItem, draw: Draw = draw) -> dict[str, Any] | None:
            return _paco_object(root, folder / "coco", item, objects[item[1]], draw)

        what = f"PACO-Part, fold {fold}"
        drawn = sample(used, PACO_EPISODES, shots, what, cycle=False, pick=entry, draw=draw)
        entries += [mask_entry(f"fold{fold}", *episode) for episode in drawn]
    left_out = [str(c) for c in order if len(pools.get(c, ())) <= shots]
    return Built(entries, {"folds": PACO_FOLDS, "classes left out": left_out}, sources)


def _paco_images(cls: Any, listed: list[dict[Any, str]]) -> list[PacoItem]:
    """Items of a class, each image once."""
    unique: dict[Any, str] = {}
    for image in listed:
        number, path = next(iter(image.items()))
        unique.setdefault(number, path)
    return [(cls, number, "/".join(path.split("/")[-2:])) for number, path in unique.items()]


def _paco_object(
    root: Path, folder: Path, item: PacoItem, annotations: list[Any], draw: Draw
) -> dict[str, Any] | None:
    """A drawn object with the part in the image; None if its box has no pixel of the part."""
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

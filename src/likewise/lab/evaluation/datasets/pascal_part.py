"""PASCAL-Part: animals, indoor, person and vehicles, at most 2500 episodes each, in object boxes.

Pascal-Part/VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg
Pascal-Part/VOCdevkit/VOC2010/Annotations_Part_json_merged_part_classes/2008_000008.json
    {"object": [{"name", "bndbox": {xmin, ymin, xmax, ymax},
                 "parts": [{"name", "mask": [run lengths, ...]}, ...]}, ...]}
Pascal-Part/VOCdevkit/VOC2010/all_obj_part_to_image.json
    {group: {"object": {object: {"part": {part: {"train": [...], "val": [image, ...]}}}}}}
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .runs import any_inside, merged
from .sampler import Draw, sample

GROUPS = ("animals", "indoor", "person", "vehicles")
LEFT_OUT = ("aeroplane+TAIL",)
MOST = 2500
Item = tuple[str, str, str]
"""Object, part and image."""


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Parts with training and validation images, in turn; an object of the image is drawn."""
    folder = root / benchmark.folder
    path = folder / "all_obj_part_to_image.json"
    listed, entries = _read(path), []
    for group in GROUPS:
        try:
            pools, count = _pools(listed[group]["object"])
        except (KeyError, TypeError) as error:
            raise LikewiseError(f"{path} is no list of PASCAL-Part (missing {error}).") from error
        draw = Draw()

        def entry(item: Item, draw: Draw = draw) -> dict[str, Any] | None:
            return _object(root, folder, item, draw)

        what = f"PASCAL-Part, {group}"
        drawn = sample(pools, min(count, MOST), shots, what, cycle=True, pick=entry, draw=draw)
        entries += [mask_entry(group, *episode) for episode in drawn]
    return Built(entries, {"groups": GROUPS, "classes left out": LEFT_OUT}, [path])


def _pools(objects: Any) -> tuple[dict[str, list[Item]], int]:
    """The images of each part, and how many there are of all parts together."""
    pools, count = {}, 0
    for name, content in objects.items():
        for part, images in content["part"].items():
            count += len(images["val"])
            cls = f"{name}+{part}"
            if images["train"] and images["val"] and cls not in LEFT_OUT:
                pools[cls] = [(name, part, image) for image in images["val"]]
    return pools, count


def _object(root: Path, folder: Path, item: Item, draw: Draw) -> dict[str, Any] | None:
    """One such object of the image, or None where it lacks the part."""
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

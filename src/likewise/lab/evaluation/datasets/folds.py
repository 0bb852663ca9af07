"""Benchmarks whose classes are divided into folds: COCO-20i, LVIS-92i, iSAID-5i."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, read_lines
from .pickles import read_pickle
from .runs import merged, pycocotools, size_of
from .sampler import Draw, check_pools, sample

LVIS_FOLDS, LVIS_EPISODES = 10, 2300
ISAID_FOLDS, ISAID_VOID = 3, 255
COCO_FOLDS, COCO_CLASSES, COCO_EPISODES = 4, 80, 1000
Item = tuple[int, str]
"""Class and image."""
Fold = tuple[dict[str, list[Item]], Callable[[Item], dict[str, Any]]]
"""Class → its items, and the function that makes a manifest's entry of an item."""


def coco20i(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """COCO-20i: four folds of twenty classes, 1000 random episodes each.

    Fold f has the classes f, f + 4, f + 8, ...; classes are drawn at random.

        COCO2014/val2014/COCO_val2014_*.jpg
        COCO2014/annotations/val2014/COCO_val2014_*.png    values 1..80: class + 1
        COCO2014/splits/val/fold{0..3}.pkl                 class 0..79 → its images

    Without splits/, the official annotations are read instead. Then the episodes are not the
    published ones, and overlapping objects are not cut by each other:

        COCO2014/annotations/instances_val2014.json        read with pycocotools
    """
    folder, entries = root / "COCO2014", []
    lists = [folder / "splits" / "val" / f"fold{fold}.pkl" for fold in range(COCO_FOLDS)]
    own = folder / "annotations" / "instances_val2014.json"
    listed = lists[0].parent.is_dir()
    folds = _from_lists(root, folder, lists) if listed else _from_instances(root, folder, own)
    for fold, (pools, entry) in enumerate(folds):
        where = f"COCO-20i, fold {fold}"
        for episode in sample(pools, COCO_EPISODES, shots, where, cycle=False, pick=entry):
            entries.append(mask_entry(f"fold{fold}", *episode))
    protocol = {"folds": COCO_FOLDS, "episodes a fold": COCO_EPISODES, "published lists": listed}
    return Built(entries, protocol, lists if listed else [own])


def _from_lists(root: Path, folder: Path, lists: Sequence[Path]) -> Iterator[Fold]:
    def entry(item: Item) -> dict[str, Any]:
        mask = (folder / "annotations" / item[1]).with_suffix(".png")
        return marked_entry(folder / item[1], mask, root, value=item[0] + 1)

    for fold, path in enumerate(lists):
        images = read_pickle(path)
        try:
            numbers = range(fold, COCO_CLASSES, COCO_FOLDS)
            yield {str(c): [(c, str(name)) for name in images[c]] for c in numbers}, entry
        except (KeyError, TypeError, IndexError) as error:
            raise LikewiseError(
                f"{path} is no list of images for each of {COCO_CLASSES} classes: download it "
                "again."
            ) from error


def _from_instances(root: Path, folder: Path, path: Path) -> Iterator[Fold]:
    pycocotools()
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO

    try:
        with redirect_stdout(StringIO()):  # it tells how long it took
            coco = COCO(str(path))
        categories = sorted(coco.getCatIds())
        names = [coco.loadCats(c)[0]["name"] for c in categories]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LikewiseError(
            f"{path} cannot be read as COCO annotations ({error}): put it or splits/ there."
        ) from error

    def entry(item: Item) -> dict[str, Any]:
        image = coco.loadImgs(int(item[1]))[0]
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], catIds=[categories[item[0]]]))
        runs = merged([a["segmentation"] for a in found], (image["height"], image["width"]))
        return marked_entry(folder / "val2014" / image["file_name"], runs, root)

    for fold in range(COCO_FOLDS):
        yield (
            {
                names[c]: [(c, str(i)) for i in sorted(coco.getImgIds(catIds=[categories[c]]))]
                for c in range(fold, len(categories), COCO_FOLDS)
            },
            entry,
        )


def lvis92i(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """LVIS-92i: ten folds of 92 classes, 2300 episodes each.

    Only classes with more images than shots; fold f has the classes f, f + 10, ...; in turn.

    LVIS/coco/train2017/000000000009.jpg   LVIS/coco/val2017/...
    LVIS/lvis_val.pkl     class → {image: {"annotations": [{"segmentation": ...}, ...]}}
    """
    folder, path = root / "LVIS" / "coco", root / "LVIS" / "lvis_val.pkl"
    listed = read_pickle(path)
    try:
        used = [c for c in listed if len(listed[c]) > shots]
        images = {c: list(listed[c]) for c in used}
    except (TypeError, KeyError) as error:
        raise LikewiseError(f"{path} is no list of images for each class.") from error
    each = len(used) // LVIS_FOLDS
    if not each:
        raise LikewiseError(
            f"{path}: {len(used)} classes have more than {shots} images, which does not fill "
            f"{LVIS_FOLDS} folds: give a smaller --shots, or complete the download."
        )

    @cache
    def entry(item: tuple[Any, str]) -> dict[str, Any]:
        cls, name = item
        image = folder / name
        shapes = [a["segmentation"] for a in listed[cls][name]["annotations"]]
        return marked_entry(image, merged(shapes, size_of(image)), root)

    entries = []
    for fold in range(LVIS_FOLDS):
        classes = [used[fold + LVIS_FOLDS * v] for v in range(each)]
        pools = {str(c): [(c, name) for name in images[c]] for c in classes}
        what = f"LVIS-92i, fold {fold}"
        for episode in sample(pools, LVIS_EPISODES, shots, what, cycle=True, pick=entry):
            entries.append(mask_entry(f"fold{fold}", *episode))
    left_out = [str(c) for c in listed if len(listed[c]) <= shots]
    protocol = {"folds": LVIS_FOLDS, "classes a fold": each, "classes left out": left_out}
    return Built(entries, protocol, [path])


def isaid5i(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """iSAID-5i: three folds of five classes of aerial patches; every listed patch is a target once.

    Targets are the lines of the lists, in order; references are drawn.

    iSAID/val/images/P0003_0_256_0_256.png
    iSAID/val/semantic_png/P0003_0_256_0_256_instance_color_RGB.png   1..15: class; 255: void
    iSAID/splits/val/fold{0..2}.txt                                   PATCH__CLASS a line
    """
    folder, entries = root / "iSAID" / "val", []
    sources = [root / "iSAID" / "splits" / "val" / f"fold{fold}.txt" for fold in range(ISAID_FOLDS)]

    def entry(item: tuple[str, int]) -> dict[str, object]:
        name, cls = item
        mask = folder / "semantic_png" / f"{name}_instance_color_RGB.png"
        return marked_entry(
            folder / "images" / f"{name}.png", mask, root, value=cls, void=ISAID_VOID
        )

    for fold, path in enumerate(sources):
        draw, what = Draw(), f"iSAID-5i, fold {fold}"
        items: list[tuple[str, int]] = []
        pools: dict[str, list[tuple[str, int]]] = {}
        for line in read_lines(path):
            name, _, cls = line.partition("__")
            if not cls.isdecimal():
                raise LikewiseError(f"{path}: {line!r} is not of the form PATCH__CLASS.")
            items.append((name, int(cls)))
            pools.setdefault(str(int(cls)), []).append(items[-1])
        check_pools(pools, shots, what)
        for item in items:
            found = draw.references(pools[str(item[1])], item, shots, entry, what)
            entries.append(mask_entry(f"fold{fold}", str(item[1]), entry(item), found))
    return Built(entries, {"folds": ISAID_FOLDS, "void": ISAID_VOID}, sources)

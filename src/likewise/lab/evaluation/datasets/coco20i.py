"""COCO-20i: four folds of twenty classes, 1000 random episodes each.

    COCO2014/val2014/COCO_val2014_*.jpg
    COCO2014/annotations/val2014/COCO_val2014_*.png    values 1..80: class + 1
    COCO2014/splits/val/fold{0..3}.pkl                 class 0..79 → its images

Without splits/, from the official annotations instead (then episodes are not the published ones,
and objects that lie over one another are all whole):

    COCO2014/annotations/instances_val2014.json        read with pycocotools
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built
from .pickles import read_pickle
from .runs import merged, pycocotools
from .sampler import sample

FOLDS, CLASSES, EPISODES = 4, 80, 1000
Item = tuple[int, str]
"""Class and image."""
Fold = tuple[dict[str, list[Item]], Callable[[Item], dict[str, Any]]]
"""Class → its images, and what makes a manifest's entry of one."""


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Classes fold + 4·v, drawn at random."""
    folder, entries = root / "COCO2014", []
    lists = [folder / "splits" / "val" / f"fold{fold}.pkl" for fold in range(FOLDS)]
    own = folder / "annotations" / "instances_val2014.json"
    listed = lists[0].parent.is_dir()
    folds = _from_lists(root, folder, lists) if listed else _from_instances(root, folder, own)
    for fold, (pools, entry) in enumerate(folds):
        where = f"COCO-20i, fold {fold}"
        for episode in sample(pools, EPISODES, shots, where, cycle=False, pick=entry):
            entries.append(mask_entry(f"fold{fold}", *episode))
    protocol = {"folds": FOLDS, "episodes a fold": EPISODES, "published lists": listed}
    return Built(entries, protocol, lists if listed else [own])


def _from_lists(root: Path, folder: Path, lists: Sequence[Path]) -> Iterator[Fold]:
    def entry(item: Item) -> dict[str, Any]:
        mask = (folder / "annotations" / item[1]).with_suffix(".png")
        return marked_entry(folder / item[1], mask, root, value=item[0] + 1)

    for fold, path in enumerate(lists):
        images = read_pickle(path)
        try:
            numbers = range(fold, CLASSES, FOLDS)
            yield {str(c): [(c, str(name)) for name in images[c]] for c in numbers}, entry
        except (KeyError, TypeError, IndexError) as error:
            raise LikewiseError(
                f"{path} is no list of images for each of {CLASSES} classes: download it again."
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

    for fold in range(FOLDS):
        yield (
            {
                names[c]: [(c, str(i)) for i in sorted(coco.getImgIds(catIds=[categories[c]]))]
                for c in range(fold, len(categories), FOLDS)
            },
            entry,
        )

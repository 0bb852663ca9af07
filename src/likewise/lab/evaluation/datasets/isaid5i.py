"""iSAID-5i: three folds of five classes of aerial patches; every listed patch is a target once.

iSAID/val/images/P0003_0_256_0_256.png
iSAID/val/semantic_png/P0003_0_256_0_256_instance_color_RGB.png   1..15: class; 255: void
iSAID/splits/val/fold{0..2}.txt                                   PATCH__CLASS a line
"""

from __future__ import annotations

from pathlib import Path

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, read_lines
from .sampler import Draw, check_pools

FOLDS, VOID = 3, 255


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """The lists in their order; a reference is drawn for each line."""
    folder, entries = root / "iSAID" / "val", []
    sources = [root / "iSAID" / "splits" / "val" / f"fold{fold}.txt" for fold in range(FOLDS)]

    def entry(item: tuple[str, int]) -> dict[str, object]:
        name, cls = item
        mask = folder / "semantic_png" / f"{name}_instance_color_RGB.png"
        return marked_entry(folder / "images" / f"{name}.png", mask, root, value=cls, void=VOID)

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
    return Built(entries, {"folds": FOLDS, "void": VOID}, sources)

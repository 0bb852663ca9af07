"""SUIM: seven underwater classes, as many episodes as there are masks that mark something.

SUIM/images/NAME.jpg
SUIM/masks/{FV,HD,PF,RI,RO,SR,WR}/NAME.bmp      a mask for each class (SUIM merged)
"""

from __future__ import annotations

from pathlib import Path

from ....io.masks import read_label_map
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, files_in
from .sampler import sample

CLASSES = ("FV", "HD", "PF", "RI", "RO", "SR", "WR")


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """The classes in turn; masks without foreground are left out, as in the released code."""
    folder = root / "SUIM"
    pools = {
        cls: [path for path in files_in(folder / "masks" / cls, ".bmp", ".png") if _marks(path)]
        for cls in CLASSES
    }

    def entry(mask: Path) -> dict[str, object]:
        return marked_entry(folder / "images" / f"{mask.stem}.jpg", mask, root, least=128)

    count = sum(len(masks) for masks in pools.values())
    drawn = sample(pools, count, shots, "SUIM", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {"classes": CLASSES})


def _marks(mask: Path) -> bool:
    return bool((read_label_map(mask) >= 128).any())

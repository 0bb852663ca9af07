"""Chest X-ray: the lungs, 600 episodes.

LungSegmentation/CXR_png/CHNCXR_0001_0.png       MCUCXR_0001_0.png
LungSegmentation/masks/CHNCXR_0001_0_mask.png    MCUCXR_0001_0.png
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, files_in
from .sampler import sample

EPISODES = 600


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Masks are listed, as in the released code: images without one are not used."""
    folder = root / "LungSegmentation"
    pools = {"lungs": files_in(folder / "masks", ".png")}

    def entry(mask: Path) -> dict[str, object]:
        name = mask.name if "MCUCXR" in mask.name else f"{mask.name[: -len('_mask.png')]}.png"
        return marked_entry(folder / "CXR_png" / name, mask, root, least=128)

    drawn = sample(pools, EPISODES, shots, "Chest X-ray", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {})

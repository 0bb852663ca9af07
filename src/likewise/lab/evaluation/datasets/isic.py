"""ISIC 2018 task 1: three kinds of skin lesion, 600 episodes.

ISIC/ISIC2018_Task1-2_Training_Input/{1,2,3}/ISIC_*.jpg    sorted by DR-Adapter's ISIC_Split.py
ISIC/ISIC2018_Task1_Training_GroundTruth/ISIC_*_segmentation.png
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, files_in
from .sampler import sample

EPISODES = 600


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """The three kinds in turn."""
    images = root / "ISIC" / "ISIC2018_Task1-2_Training_Input"
    truths = root / "ISIC" / "ISIC2018_Task1_Training_GroundTruth"
    pools = {kind: files_in(images / kind, ".jpg") for kind in "123"}

    def entry(image: Path) -> dict[str, object]:
        return marked_entry(image, truths / f"{image.stem}_segmentation.png", root, least=128)

    drawn = sample(pools, EPISODES, shots, "ISIC", cycle=True, pick=entry)
    return Built([mask_entry("all", *episode) for episode in drawn], {})

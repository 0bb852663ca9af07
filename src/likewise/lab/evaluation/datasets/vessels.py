"""DRIVE and CHASE_DB1: the vessels of the retina, thinner than a patch.

    DRIVE/training/images/21_training.tif   DRIVE/training/1st_manual/21_manual1.gif
    CHASEDB1/Image_01L.jpg                  CHASEDB1/Image_01L_1stHO.png

No paper of the tables fixes episodes for them: here every image is a target once and its references
are drawn with seed 0. DRIVE's test images have no public masks any more; its training images serve.
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, files_in
from .sampler import Draw, check_pools


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """Every image with a drawn reference."""
    drive = benchmark.name == "drive"
    folder = root / benchmark.folder
    if drive:
        images = files_in(folder / "training" / "images", ".tif", ".png")
    else:
        images = files_in(folder, ".jpg")
    check_pools({"vessels": images}, shots, benchmark.title)

    def entry(image: Path) -> dict[str, object]:
        number = image.stem.split("_")[0]
        mask = folder / "training" / "1st_manual" / f"{number}_manual1.gif"
        if not drive:
            mask = image.with_name(f"{image.stem}_1stHO.png")
        return marked_entry(image, mask, root, least=128)

    draw, entries = Draw(), []
    for target in images:
        found = draw.references(images, target, shots, entry, benchmark.title)
        entries.append(mask_entry("all", "vessels", entry(target), found))
    return Built(entries, {})

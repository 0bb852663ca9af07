"""FSS-1000: 240 test classes of ten images; every image is a target once.

FSS-1000/data/CLASS/1.jpg 1.png ... 10.jpg 10.png
FSS-1000/splits/test.txt                             a class a line
"""

from __future__ import annotations

from pathlib import Path

from ....errors import LikewiseError
from ..manifest import marked_entry, mask_entry
from . import Benchmark, Built, read_lines
from .sampler import Draw


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """All images of the test classes; references by number, as the released code draws them."""
    folder, split = root / "FSS-1000" / "data", root / "FSS-1000" / "splits" / "test.txt"
    draw, entries = Draw(), []

    def entry(image: Path) -> dict[str, object]:
        return marked_entry(image, image.with_suffix(".png"), root, least=128)

    for cls in sorted(read_lines(split)):
        images = sorted((folder / cls).glob("*.jpg"), key=str)
        numbered = sorted(images, key=lambda path: (len(path.stem), path.stem))
        if len(images) <= shots:
            raise LikewiseError(
                f"FSS-1000: class {cls} has {len(images)} images, but a target and {shots} "
                f"references need {shots + 1}: give a smaller --shots, or complete the download."
            )
        for target in images:
            found = draw.references(numbered, target, shots, lambda p: p, f"class {cls}")
            entries.append(mask_entry("test", cls, entry(target), [entry(p) for p in found]))
    return Built(entries, {"split": "test"}, [split])

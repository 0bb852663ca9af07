"""SPair-71k: 12,234 test pairs of images with corresponding keypoints.

    SPair-71k/Layout/large/test.txt                               NUMBER-IMAGE-IMAGE:CLASS a line
    SPair-71k/PairAnnotation/test/NUMBER-IMAGE-IMAGE:CLASS.json   points, boxes
    SPair-71k/JPEGImages/CLASS/IMAGE.jpg

(Where a file system has no colon, unpacked names hold an underscore instead: that is read as well.)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from . import Benchmark, Built, read_lines


def spair(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """All pairs of the list; ``side``: longer side of the target's box, the unit of PCK."""
    if shots > 1:
        raise LikewiseError("SPair-71k has one reference a pair: leave out --shots.")
    folder = root / "SPair-71k"
    layout = folder / "Layout" / "large" / "test.txt"
    entries = [_pair(root, folder, name) for name in read_lines(layout)]
    return Built(entries, {"split": "test"}, [layout])


def _pair(root: Path, folder: Path, name: str) -> dict[str, Any]:
    path = folder / "PairAnnotation" / "test" / f"{name}.json"
    if not path.is_file():
        path = path.with_name(path.name.replace(":", "_"))
    try:
        pair = json.loads(path.read_text(encoding="utf-8"))
        left, top, right, bottom = pair["trg_bndbox"]
        category, images = pair["category"], folder / "JPEGImages" / pair["category"]
        source, target = (images / f"{part}.jpg" for part in name.split(":")[0].split("-")[1:3])
        return {
            "set": "test",
            "cls": category,
            "ref": source.relative_to(root).as_posix(),
            "tgt": target.relative_to(root).as_posix(),
            "points": pair["src_kps"],
            "truth": pair["trg_kps"],
            "side": max(right - left, bottom - top),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LikewiseError(f"{path} cannot be read as a pair of SPair-71k ({error}).") from error

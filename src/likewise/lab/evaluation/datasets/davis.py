"""DAVIS-2016 and DAVIS-2017: find the objects of the first frame in every other frame, alone.

    DAVIS/JPEGImages/480p/SEQUENCE/00000.jpg
    DAVIS/Annotations/480p/SEQUENCE/00000.png     objects 1, 2, ... (2016: all one object)
    DAVIS/ImageSets/2016/val.txt                  (or ImageSets/480p/val.txt of the 2016 download)
    DAVIS/ImageSets/2017/val.txt

As in the official evaluation the last frame is not counted. No frame but the first helps another:
this is segmentation of images, not tracking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError
from ....io.masks import read_label_map
from ..manifest import marked_entry
from . import Benchmark, Built, files_in, read_lines


def build(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """All sequences of the validation list."""
    if shots > 1:
        raise LikewiseError(f"{benchmark.title} has one reference a video: leave out --shots.")
    folder, single = root / "DAVIS", benchmark.name == "davis2016"
    lists = [folder / "ImageSets" / benchmark.name[5:] / "val.txt"]
    if single and not lists[0].is_file():
        lists = [folder / "ImageSets" / "480p" / "val.txt"]
    entries: list[dict[str, Any]] = []
    references: dict[str, list[dict[str, Any]]] = {}
    for sequence in dict.fromkeys(_name(line) for line in read_lines(lists[0])):
        frames = files_in(folder / "JPEGImages" / "480p" / sequence, ".jpg")
        masks = [folder / "Annotations" / "480p" / sequence / f"{f.stem}.png" for f in frames]
        truth: dict[str, dict[str, int]] = {sequence: {"least": 1}}
        if not single:
            truth = {f"{sequence} {k}": {"value": k} for k in _objects(masks[0])}
        for name, how in truth.items():
            references[name] = [marked_entry(frames[0], masks[0], root, **how)]
        for frame, mask in zip(frames[1:-1], masks[1:-1], strict=True):
            target = {n: marked_entry(frame, mask, root, **how) for n, how in truth.items()}
            entries.append({"set": "val", "unit": sequence, "tgt": target, "score": "contour"})
    if not entries:
        raise LikewiseError(f"{lists[0]} names no sequence of three frames or more.")
    return Built(entries, {"split": "val", "last frame": "not counted"}, lists, references)


def _name(line: str) -> str:
    """Of a sequence; the 2016 download lists frames instead: image, mask."""
    return line.split()[0].split("/")[-2] if "/" in line else line


def _objects(mask: Path) -> list[int]:
    values = np.unique(read_label_map(mask))
    return [int(v) for v in values if 0 < v < 255]

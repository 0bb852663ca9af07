"""Benchmarks in which several labels compete in a target: DAVIS, ADE20K, COCO-Stuff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError
from ....io.masks import read_label_map
from ..manifest import marked_entry
from . import Benchmark, Built, files_in, read_lines
from .sampler import Draw

SEARCHED = 4000
"""Training images that are searched for references; fewer are enough in practice."""
VISIBLE = 0.01
"""Share of a reference image that the class covers, where there are enough such images."""


def davis(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """DAVIS-2016 and DAVIS-2017: find the objects of the first frame in every other frame, alone.

        DAVIS/JPEGImages/480p/SEQUENCE/00000.jpg
        DAVIS/Annotations/480p/SEQUENCE/00000.png     objects 1, 2, ... (2016: all one object)
        DAVIS/ImageSets/2016/val.txt                  or ImageSets/480p/val.txt
        DAVIS/ImageSets/2017/val.txt

    As in the official evaluation the last frame is not counted. Only the first frame is a
    reference: this is segmentation of images, not tracking.
    """
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
        truth: dict[str, dict[str, int]] = {sequence: {"min_value": 1}}
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
    """Name of the sequence in a line; the 2016 download has lines of an image and a mask."""
    return line.split()[0].split("/")[-2] if "/" in line else line


def _objects(mask: Path) -> list[int]:
    values = np.unique(read_label_map(mask))
    return [int(v) for v in values if 0 < v < 255]


def semantic(root: Path, shots: int, benchmark: Benchmark) -> Built:
    """ADE20K and COCO-Stuff: every pixel a class, from a set of references for each class.

        ADEChallengeData2016/{images,annotations}/{training,validation}/ADE_*.{jpg,png}    0: void
        cocostuff/{images,annotations}/{train2017,val2017}/000000000139.{jpg,png}          255: void

    References come from the training images, drawn with seed 0: those in which the class covers at
    least 1 % of the image, if there are enough. Only the classes of a target are looked for, as in
    SegIC's figures marked #; a pixel that gets no class counts as an error.
    """
    folder, ade = root / benchmark.folder, benchmark.name == "ade20k"
    void = 0 if ade else 255
    train, val = ("training", "validation") if ade else ("train2017", "val2017")
    targets = files_in(folder / "annotations" / val, ".png")
    present = {mask: _shares(mask, void) for mask in targets}
    wanted = sorted({value for shares in present.values() for value in shares})
    chosen = _references(folder / "annotations" / train, wanted, void, shots)
    left_out = [str(value) for value in wanted if value not in chosen]

    def image(mask: Path, split: str) -> Path:
        return folder / "images" / split / f"{mask.stem}.jpg"

    references = {
        f"class {v}": [marked_entry(image(m, train), m, root, value=v, void=void) for m in masks]
        for v, masks in chosen.items()
    }
    entries: list[dict[str, Any]] = []
    for mask, shares in present.items():
        marked = {
            f"class {v}": marked_entry(image(mask, val), mask, root, value=v, void=void)
            for v in sorted(shares)
            if v in chosen
        }
        if marked:
            entries.append({"set": "val", "unit": mask.stem, "tgt": marked, "score": "area"})
    if not entries:
        raise LikewiseError(f"{folder} has no class in both {train} and {val}.")
    return Built(entries, {"known classes": True, "classes left out": left_out}, (), references)


def _shares(mask: Path, void: int) -> dict[int, float]:
    """Value → share of the image, 0..1, without void."""
    values, counts = np.unique(read_label_map(mask), return_counts=True)
    total = counts.sum()
    return {int(v): float(c / total) for v, c in zip(values, counts, strict=True) if v != void}


def _references(folder: Path, wanted: list[int], void: int, shots: int) -> dict[int, list[Path]]:
    """Class → ``shots`` training masks that the class covers in part; classes with fewer: none."""
    draw, masks = Draw(), files_in(folder, ".png")
    order = [masks[i] for i in draw.shuffled(len(masks))[:SEARCHED]]
    good: dict[int, list[Path]] = {}
    small: dict[int, list[Path]] = {}
    for mask in order:
        for value, share in _shares(mask, void).items():
            if share < 1:
                (good if share >= VISIBLE else small).setdefault(value, []).append(mask)
    found = {v: [*good.get(v, []), *small.get(v, [])][:shots] for v in wanted}
    return {v: masks for v, masks in found.items() if len(masks) == shots}

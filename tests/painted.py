"""A segmenter that finds what a picture was painted with, and a folder of masks that it fills."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.io.images import Picture, read_picture
from likewise.io.masks import read_label_map
from likewise.result import ClassResult, Result
from likewise.run.jobs import plan
from likewise.run.manifest import Manifest
from likewise.run.outcomes import Outcome
from likewise.run.runner import segment_files

CLASSES = ("apple", "ball", "box", "cat", "münze")
"""What can be painted: each has a grey value of its own."""


def paint(path: Path, classes: Sequence[str], seed: int = 0) -> None:
    """A picture of 8 × 10 pixels with some of the classes, and nothing in its first row."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((8, 10), np.uint8)
    for number, name in enumerate(classes):
        grey[1:, number::5] = 40 * (1 + CLASSES.index(name))
    grey[1:][rng.random((7, 10)) < 0.2] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(path, format="PNG")


def truth(image: Path, labels: Sequence[str]) -> np.ndarray:
    """(H, W) names: what a run that looks for these labels finds in a picture; "" is nothing."""
    with Image.open(image) as file:
        grey = np.asarray(file)[..., 0]
    found = np.full(grey.shape, "", object)
    for label in labels:
        found[grey == 40 * (1 + CLASSES.index(label))] = label
    return found


class Painted:
    """As much of a Segmenter as folders use."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    def images_at_once(self, count: int) -> int:
        return 1

    def batch_size(self, consensus: bool) -> int:
        return 1

    def read(self, image: Path) -> Picture:
        return read_picture(image)

    def segment_batch(self, images: Sequence[Picture], *, consensus: bool) -> list[Result]:
        return [self._result(image.pixels[..., 0]) for image in images]

    def _result(self, grey: np.ndarray) -> Result:
        label_map = np.zeros(grey.shape, np.uint8)
        for k, label in enumerate(self.labels, 1):
            label_map[grey == 40 * (1 + CLASSES.index(label))] = k
        scores = (label_map > 0).astype(np.float32)
        classes = {
            label: ClassResult(label_map == k, scores, 1.0)
            for k, label in enumerate(self.labels, 1)
        }
        return Result(label_map > 0, scores, 1.0, None, label_map, classes)


def annotate(
    out: Path, images: Sequence[Path], labels: Sequence[str], run: str = "", **how: Any
) -> Iterator[Outcome]:
    """As ``likewise segment`` does it; the fingerprint is that of the labels in their order."""
    manifest = Manifest(out)
    beside = {name: how.pop(name, False) for name in ("overlay", "instances")}
    jobs = plan(images, manifest, **beside)
    numbers = manifest.allot(labels, label_maps=len(labels) > 1)
    segmenter: Any = Painted(labels)
    run = run or " ".join(labels)
    yield from segment_files(segmenter, jobs, manifest, numbers, run=run, **how)


def meaning(mask: Path, out: Path) -> np.ndarray:
    """(H, W) names of a mask's pixels, as its folder names its values."""
    named = {k: name for name, k in Manifest(out).numbers.items()} | {0: ""}
    values = read_label_map(mask)
    names = np.full(values.shape, "", object)
    for value in np.unique(values).tolist():
        names[values == value] = named[value]
    return names


def states(out: Path, images: Sequence[Path], labels: Sequence[str], **how: object) -> list[str]:
    return [outcome.state for outcome in annotate(out, images, labels, **how)]


def shots(folder: Path, *names: str) -> list[Path]:
    for seed, name in enumerate(names):
        paint(folder / name, CLASSES, seed)
    return [folder / name for name in names]

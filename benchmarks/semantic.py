"""Semantic segmentation from references: every pixel to one of the classes of a set, or to none.

    python benchmarks/semantic.py BENCH [--sets camvid ...] [--shots 1 3 5] [--methods likewise ...]

BENCH is a folder of SET/images and SET/masks (label maps). The images of a set are shuffled with
--seed: every class draws up to --shots references from the first half (those that show at least
0.2 % of it), all images of the other half are segmented. Classes without a reference are not
counted. Printed, in points: mIoU over the classes when those in each image are known ("#" in
SegIC), and when all compete; the same with "unknown" as one more class, where the set has
unlabelled pixels that show something else; accuracy over all pixels that count; then seconds of
fit and images a second after the encoder. Features are kept on disk.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from likewise import Reference, Segmenter
from likewise.io.images import read_image
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.methods import METHODS

LEAST = 0.002
"""Share of an image that a reference shows at least."""
VOID = {"camvid": 11, "fasseg_face_parts": 255}
"""Pixels that count neither way."""
OTHER = {"camvid": None}
"""Value of what is no class; 0 but in sets that name every pixel."""


@dataclass
class Tally:
    """Pixels of each class, and all that were right."""

    classes: int
    inside: np.ndarray = field(init=False)
    union: np.ndarray = field(init=False)
    right: int = 0
    pixels: int = 0

    def __post_init__(self) -> None:
        self.inside, self.union = (np.zeros(self.classes + 1, np.int64) for _ in range(2))

    def add(self, found: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> None:
        """(H, W) of 0 and classes, and which pixels count."""
        found, truth = found[counts], truth[counts]
        size = self.classes + 1
        table = np.bincount(truth.astype(np.int64) * size + found, minlength=size**2)
        table = table.reshape(size, size)
        self.inside += table.diagonal()
        self.union += table.sum(0) + table.sum(1) - table.diagonal()
        self.right += int(table.diagonal().sum())
        self.pixels += len(found)

    def miou(self, first: int = 1) -> float:
        """Over the classes from ``first`` on that occur or were found; 0 is unknown."""
        seen = self.union[first:] > 0
        return 100 * float((self.inside[first:][seen] / self.union[first:][seen]).mean())

    @property
    def accuracy(self) -> float:
        return 100 * self.right / self.pixels


@dataclass(frozen=True)
class Scene:
    """One set, split."""

    name: str
    references: dict[int, list[Path]]
    """Class value → images that show it, in the order drawn."""
    targets: list[Path]

    def mask(self, image: Path) -> np.ndarray:
        return np.asarray(Image.open(image.parents[1] / "masks" / f"{image.stem}.png"))


def draw(bench: Path, name: str, seed: int) -> Scene:
    """Split a set and order the references of each class."""
    images = sorted((bench / name / "images").iterdir())
    random.Random(seed).shuffle(images)
    half = len(images) // 2
    scene = Scene(name, {}, images[half:])
    shown: dict[int, list[Path]] = {}
    for image in images[:half]:
        values, counts = np.unique(mask := scene.mask(image), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            if value not in (VOID.get(name), OTHER.get(name, 0)) and count >= LEAST * mask.size:
                shown.setdefault(value, []).append(image)
    there = {v for image in scene.targets for v in np.unique(scene.mask(image)).tolist()}
    scene.references.update({v: shown[v] for v in sorted(shown) if v in there})
    return scene


def examples(scene: Scene, shots: int) -> list[Reference]:
    return [
        Reference(image, scene.mask(image), value, str(value))
        for value, images in scene.references.items()
        for image in images[:shots]
    ]


def truths(scene: Scene) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels of each target, its classes as 1, 2, ... and which pixels count."""
    for target in scene.targets:
        mask = scene.mask(target)
        truth = np.zeros(mask.shape, np.uint8)
        for k, value in enumerate(scene.references, 1):
            truth[mask == value] = k
        counts = mask != VOID.get(scene.name)
        if OTHER.get(scene.name, 0) is None:
            counts &= truth > 0
        yield read_image(target), truth, counts


def measure(encoder: TimedEncoder, scene: Scene, method: str, shots: int) -> str:
    """One line of the table."""
    labels = [str(value) for value in scene.references]
    segmenter = Segmenter(encoder, method=method)
    references = examples(scene, shots)
    list(encoder.encode_many(p for p, _, _ in truths(scene)))  # from now on they are on the disk
    segmenter.fit(references)  # so are the views
    start = time.perf_counter()
    segmenter.fit_encoded(segmenter.fitted().only(labels))
    fit = time.perf_counter() - start
    known, every, seconds = Tally(len(labels)), Tally(len(labels)), 0.0
    for pixels, truth, counts in truths(scene):
        encoded = encoder.encode(pixels)
        start = time.perf_counter()
        result = segmenter.segment_encoded(pixels, encoded)
        seconds += time.perf_counter() - start
        every.add(result.label_map, truth, counts)
        there = [label for k, label in enumerate(labels, 1) if (truth == k).any()]
        few = np.zeros_like(truth)
        if there:
            few = segmenter.only(there).segment_encoded(pixels, encoded).label_map
            few = np.array([0, *(labels.index(label) + 1 for label in there)])[few]
        known.add(few, truth, counts)
    unknown = "" if OTHER.get(scene.name, 0) is None else f"{every.miou(0):.1f}"
    return (
        f"| {scene.name} | {len(labels)} | {len(scene.targets)} | {shots} ({len(references)}) "
        f"| {method} | {known.miou():.1f} | {every.miou():.1f} | {unknown} | {known.accuracy:.1f} "
        f"| {every.accuracy:.1f} | {fit:.1f} | {len(scene.targets) / seconds:.1f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    names = ["camvid", "coco128_seg", "car_parts", "fasseg_face_parts"]
    parser.add_argument("--sets", nargs="+", default=names)
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 3, 5])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--image-size", type=int, default=288)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    encoder = TimedEncoder(args.backbone, image_size=args.image_size)
    print(
        f"{args.backbone}, {args.image_size} px, seed {args.seed}, {torch.get_num_threads()} thr."
    )
    print(
        "| set | classes | images | shots (references) | method | mIoU # | mIoU all "
        "| with unknown | accuracy # | accuracy all | fit, s | images/s |"
    )
    print("|---|" + "---|" * 11)
    for name in args.sets:
        scene = draw(args.bench, name, args.seed)
        for shots in args.shots:
            for method in args.methods:
                print(measure(encoder, scene, method, shots), flush=True)


if __name__ == "__main__":
    main()

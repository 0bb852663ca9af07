"""How well volumes are segmented from one annotated slice a class.

    python benchmarks/volumes.py VOLUME LABELS [--classes 2,3,5] [--window soft] [--save FOLDER]

LABELS is the truth on the same voxels. For each class the slice where it is largest is given,
alone; Dice is of all other slices together. Rows: each method slice by slice, then with the memory
of ``likewise volume``. Features are kept on disk between runs, so seconds are of everything behind
the encoder.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from likewise import Segmenter
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.video.propagate import propagate
from likewise.volume.annotation import key_slices
from likewise.volume.clip import Slices
from likewise.volume.files import open_volume, read_label_volume
from likewise.volume.volume import cut_of
from likewise.volume.windows import find_window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--classes", default="")
    parser.add_argument("--methods", nargs="+", default=["insid3", "likewise"])
    parser.add_argument("--axis")
    parser.add_argument("--window")
    parser.add_argument("--refine", default="guided")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--save", type=Path, help="folder for what is found, as .npz")
    args = parser.parse_args()
    volume = open_volume(args.volume)
    window = find_window(volume.values, args.window, args.volume)
    clip = Slices(volume, cut_of(volume, args.axis), window)
    labels = read_label_volume(args.labels, volume)
    truth = clip.cut.slices(labels)
    every = [int(v) for v in np.unique(truth) if v]
    classes = [int(v) for v in args.classes.split(",")] if args.classes else every
    given = {v: int((truth == v).sum(axis=(1, 2)).argmax()) for v in classes}
    encoder = TimedEncoder(args.backbone, image_size=args.image_size)
    told = ", ".join(f"{v} (slice {given[v]})" for v in classes)
    print(f"{args.volume.name}, window {window[0]:g} to {window[1]:g}; Dice of {told}")
    for method, memory in itertools.product(args.methods, (False, True)):
        segmenter = Segmenter(encoder, method=method, refiner=args.refine)
        scores, start = [], time.perf_counter()
        for value in classes:
            known = key_slices(labels, clip, args.labels, [given[value]], [value])
            found = np.zeros(truth.shape, bool)
            for frame in propagate(clip, known, segmenter, memory=memory):
                found[frame.number] = frame.label_map == 1
            scores.append(dice(found, truth == value, given[value]))
            if args.save:
                name = f"{args.volume.name.split('.')[0]}_{value}_{method}_{memory}.npz"
                np.savez_compressed(args.save / name, found=found, truth=truth == value)
        row = f"{method}, {'memory' if memory else 'each alone'}"
        seconds = (time.perf_counter() - start) / (len(classes) * len(clip))
        listed = " ".join(f"{100 * score:6.1f}" for score in scores)
        print(f"{row:22} {listed}  mean {100 * np.mean(scores):.1f}, {seconds:.2f} s a slice")


def dice(found: np.ndarray, truth: np.ndarray, given: int) -> float:
    """0..1 of two (N, H, W) bool, without the slice that was given."""
    a, b = np.delete(found, given, axis=0), np.delete(truth, given, axis=0)
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


if __name__ == "__main__":
    main()

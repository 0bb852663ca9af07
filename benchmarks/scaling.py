"""Seconds of one image against the number of classes.

    python benchmarks/scaling.py [--classes 1 2 5 10 20 50] [--json]

Every class has a reference of its own: another crop of the bundled pictures with another square
masked. All classes compete for one target, whose encoding counts; fitting does not, and is printed
beside it. Folders of many images: `speed.py --only folder_vs_encoder_only`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from speed import EXAMPLE, make_encoder, make_folder, timed

from likewise.io.images import read_image
from likewise.reference import Reference
from likewise.segmenter import Segmenter


def classes(args: argparse.Namespace) -> list[dict[str, float]]:
    """Seconds of one image, by number of classes."""
    encoder = make_encoder(args.backbone, args.size, args.device, args.dtype)
    target = read_image(EXAMPLE / "board_1.jpg")
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        pictures = [read_image(p) for p in make_folder(Path(scratch) / "in", max(args.classes))]
    references = []
    for number, picture in enumerate(pictures):
        mask = np.zeros(picture.shape[:2], bool)
        y, x = rng.integers(0, 350), rng.integers(0, 500)
        mask[y : y + 100, x : x + 100] = True
        references.append(Reference(picture, mask, label=f"class {number}"))
    jobs, fits = {}, {}
    for count in args.classes:
        segmenter = Segmenter(encoder, method=args.method)
        start = time.perf_counter()
        segmenter.fit(references[:count])
        fits[count] = time.perf_counter() - start
        jobs[str(count)] = lambda s=segmenter: s.segment(target)
    seconds = timed(jobs, args.runs, args.device)
    first = seconds[str(args.classes[0])]["median"]
    for count in args.classes:
        own = seconds[str(count)]["median"]
        rows.append({"classes": count, "seconds": own, "times": own / first, "fit": fits[count]})
        if not args.json:
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", nargs="+", type=int, default=[1, 2, 5, 10, 20, 50])
    parser.add_argument("--method", default="likewise")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = classes(args)
    if args.json:
        print(json.dumps({"classes": rows}, indent=2))


if __name__ == "__main__":
    main()

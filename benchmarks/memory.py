"""Most host memory of one whole run at a large input: a process of its own for each method.

    python benchmarks/memory.py [--size 2048] [--backbone dinov3-vits16] [--methods insid3 ...]

Weights are random (their size is what counts). Prints the peak of the process, with Python, torch
and the weights, and the seconds of fit and of one target.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from speed import EXAMPLE, MASK, REFERENCE, make_encoder, peak

from likewise.segmenter import Segmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--backbone", default="dinov3-vits16")
    parser.add_argument("--methods", nargs="+", default=["insid3", "likewise"])
    parser.add_argument("--refine", default="none")
    args = parser.parse_args()
    if len(args.methods) > 1:
        for method in args.methods:
            words = ["--size", str(args.size), "--backbone", args.backbone, "--refine", args.refine]
            subprocess.run([sys.executable, __file__, *words, "--methods", method], check=True)
        return
    encoder = make_encoder(args.backbone, args.size, "cpu", "auto")
    segmenter = Segmenter(encoder, method=args.methods[0], refiner=args.refine)
    start = time.perf_counter()
    segmenter.fit((REFERENCE, MASK))
    fitted = time.perf_counter()
    segmenter.segment(EXAMPLE / "board_1.jpg")
    done = time.perf_counter()
    row = {"method": args.methods[0], "backbone": args.backbone, "size": args.size}
    row |= {"patches": encoder.grid[0] * encoder.grid[1], "peak_gb": peak("cpu") / 1e3}
    print(json.dumps(row | {"fit_s": fitted - start, "target_s": done - fitted}), flush=True)


if __name__ == "__main__":
    main()

"""mIoU of a backbone and INSID3 on a fixed list of episodes.

    python benchmarks/accuracy.py EPISODES.json ROOT [--backbone B] [--tau T] [--refine R] [--json]

Prints a table: mIoU per set, the mean over sets (with and without personal_objects) and its 95 %
bootstrap interval over episodes within sets.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from pathlib import Path

from rich.progress import track

from likewise import Segmenter
from likewise.evaluation.episodes import read_episodes
from likewise.evaluation.metrics import bootstrap_interval, count, mean_miou, set_miou
from likewise.features.clustering import average_linkage
from likewise.features.encoded import Encoded
from likewise.features.grid import mask_to_grid
from likewise.images import read_image
from likewise.masks import read_mask
from likewise.methods.insid3 import INSID3Params, insid3
from likewise.refine import REFINERS, refine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--svd-components", type=int)
    parser.add_argument("--tau", type=float, nargs="*", help="several are measured in one run")
    parser.add_argument("--refine", nargs="*", choices=REFINERS, default=["none"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    segmenter = Segmenter(
        args.backbone, image_size=args.image_size, svd_components=args.svd_components
    )
    encoder = segmenter.encoder

    @cache
    def encode(path: Path) -> Encoded:
        return encoder.encode(read_image(path))

    @cache
    def tree(path: Path):
        return average_linkage(encode(path).features)

    taus = args.tau or [segmenter.params.tau]
    counts = {(tau, refiner): [] for tau in taus for refiner in args.refine}
    start = time.perf_counter()
    for e in track(read_episodes(args.episodes, args.root), "episodes"):
        marked = read_mask(e.reference_mask, value=e.value)
        reference = mask_to_grid(marked, encoder.grid).to(encoder.device)
        truth = read_mask(e.target_mask, value=e.value)
        image, target = read_image(e.target), encode(e.target)
        for tau in taus:
            params = INSID3Params(tau=tau)
            trace = insid3([encode(e.reference)], [reference], target, params, tree(e.target))
            scores = trace.scores.reshape(target.grid)
            for refiner in args.refine:
                mask = refine(scores, image, encoder.input_size, refiner)
                counts[tau, refiner].append(count(e.dataset, e.cls, mask, truth))
    seconds = time.perf_counter() - start

    rows = []
    for (tau, refiner), all_sets in counts.items():
        headline = [c for c in all_sets if c.dataset != "personal_objects"]
        rows.append(
            {
                "backbone": encoder.spec.name,
                "rank": encoder.rank,
                "tau": tau,
                "refine": refiner,
                "mean": mean_miou(headline),
                "interval": bootstrap_interval(headline),
                "mean_with_personal": mean_miou(all_sets),
                "sets": set_miou(all_sets),
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        low, high = row["interval"]
        print(
            f"\n{row['backbone']}, rank {row['rank']}, tau {row['tau']}, refine {row['refine']}: "
            f"mean over sets {row['mean']:.2f} [{low:.2f}, {high:.2f}], "
            f"with personal_objects {row['mean_with_personal']:.2f}"
        )
        for name, value in sorted(row["sets"].items()):
            print(f"  {name:20} {value:6.2f}")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    main()

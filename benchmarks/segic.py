"""What the decoder of SegIC can learn, and what each part of its training is worth.

    python benchmarks/segic.py overfit [--out FOLDER] [--steps N]
    python benchmarks/segic.py ablate CONFIG.toml [--out FOLDER] [--seeds 0 1 2] [--steps N]

``overfit`` learns 16 real pairs by heart (episodes of ../shared/bench, or else composites of the
installed stamps) and must reach an IoU of 0.95. ``ablate`` trains one decoder for each row and
seed on the pool of the config, and prints their validation mIoU. Both go on where they were.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from likewise.evaluation.episodes import Episode, Marked, read_episodes
from likewise.evaluation.reading import read_marked
from likewise.segic.config import Config, Seen, Validation
from likewise.segic.curve import Row
from likewise.segic.pairs import Pair
from likewise.segic.processes import Processes
from likewise.segic.train import open_encoder, train

BENCH = Path(__file__).parents[2] / "shared" / "bench"
PAIRS, IOU = 16, 95.0


def squared(marked: Marked, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask as the backbone sees them."""
    image, mask, _ = read_marked(marked)
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    marks = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(marks, dtype=bool)


def pair_of(episode: Episode, size: int) -> Pair:
    """An episode as it is, without augmentation."""
    e = episode
    assert e.target_mask is not None
    reference, target = (
        squared(Marked(*files, e.value), size)
        for files in ((e.reference, e.reference_mask), (e.target, e.target_mask))
    )
    none = np.zeros((0, size, size), bool)
    return Pair(*reference, *target, none, "semantic", e.cls)


def ceiling(mask: np.ndarray, side: int) -> float:
    """IoU 0..100 that the best mask of (side, side) logits can have, nearly."""
    truth = torch.from_numpy(mask)[None, None].float()
    small = torch.nn.functional.interpolate(truth, (side, side), mode="bilinear", antialias=True)
    fine = torch.nn.functional.interpolate(small, mask.shape, mode="bilinear")[0, 0] > 0.5
    known = truth[0, 0] > 0
    return 100 * float((fine & known).sum() / (fine | known).sum())


def real_pairs(size: int, side: int) -> list[Pair]:
    """16 pairs of as many sets as there are, whose masks the decoder's resolution can show."""
    found: dict[str, list[Pair]] = {}
    for episode in read_episodes(BENCH / "episodes_dev.json", BENCH):
        own = found.setdefault(episode.dataset, [])
        if len(own) < 2:
            pair = pair_of(episode, size)
            if ceiling(pair.target_mask, side) > 98 and pair.reference_mask.any():
                own.append(pair)
    first = [own[k] for k in range(2) for own in found.values() if len(own) > k]
    return first[:PAIRS]


def overfit(out: Path, steps: int) -> int:
    """Learn 16 pairs; 0 if the IoU is good enough."""
    size = 336
    side = 4 * size // 14
    pairs = real_pairs(size, side)
    best = np.mean([ceiling(pair.target_mask, side) for pair in pairs])
    print(f"{len(pairs)} pairs: {', '.join(pair.category for pair in pairs)}")
    print(f"IoU that masks of {side}x{side} can have: {best:.1f}")
    config = Config(
        Path.cwd() / "segic.toml",
        str(out.resolve()),
        data=(),
        pairs=PAIRS,
        steps=steps,
        batch=PAIRS,
        lr=1e-3,
        warmup=20,
        drop=0.8,
        ema=0.0,
        precision="bfloat16",
        reversion=0.0,
        negatives=0.0,
        minutes=2,
        backbone=Seen(image_size=size),
        # Numbers are taken modulo 16: these are the trained pairs again.
        validation=Validation(pairs=PAIRS, every=50),
    )
    out.mkdir(parents=True, exist_ok=True)
    encoder = open_encoder(config, Processes())

    def draw(_: int, number: int) -> Pair:
        return pairs[number % PAIRS]

    found = train(config, encoder, draw, Processes(), shown, print)
    print(json.dumps(found, indent=2))
    return 0 if (found["miou"] or 0.0) >= IOU else 1


def shown(row: Row) -> None:
    if row.miou is not None or row.step % 10 == 0:
        miou = "" if row.miou is None else f"  mIoU {row.miou:.1f}"
        print(f"step {row.step}  loss {row.loss:.3f}{miou}  {row.seconds:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    one = tasks.add_parser("overfit")
    one.add_argument("--out", type=Path, default=Path("segic-overfit"))
    one.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    return overfit(given.out, given.steps)


if __name__ == "__main__":
    sys.exit(main())

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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from likewise.lab.evaluation.episodes import Episode, MaskedImage, read_episodes
from likewise.lab.evaluation.reading import read_marked
from likewise.lab.segic.data.pairs import TrainingPair
from likewise.lab.segic.data.sources import open_data
from likewise.lab.segic.training.config import BackboneSettings, Config, Validation, read_config
from likewise.lab.segic.training.history import HistoryRow
from likewise.lab.segic.training.processes import Processes
from likewise.lab.segic.training.train import open_encoder, train
from likewise.methods.segic.decoder import INSTRUCTIONS

BENCH = Path(__file__).parents[2] / "shared" / "bench"
PAIRS, IOU = 16, 95.0


def squared(marked: MaskedImage, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and mask as the backbone sees them."""
    image, mask, _ = read_marked(marked)
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    marks = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(marks, dtype=bool)


def pair_of(episode: Episode, size: int) -> TrainingPair:
    """An episode as it is, without augmentation."""
    e = episode
    assert e.target_mask is not None
    reference, target = (
        squared(MaskedImage(*files, e.value), size)
        for files in ((e.reference, e.reference_mask), (e.target, e.target_mask))
    )
    none = np.zeros((0, size, size), bool)
    return TrainingPair(*reference, *target, none, "semantic", e.cls)


def ceiling(mask: np.ndarray, side: int) -> float:
    """IoU 0..100 of a mask resized to (side, side) and back: what such logits can show, nearly."""
    truth = torch.tensor(mask)[None, None].float()
    small = torch.nn.functional.interpolate(truth, (side, side), mode="bilinear", antialias=True)
    fine = torch.nn.functional.interpolate(small, mask.shape, mode="bilinear")[0, 0] > 0.5
    known = truth[0, 0] > 0
    return 100 * float((fine & known).sum() / (fine | known).sum())


def real_pairs(size: int, side: int) -> list[TrainingPair]:
    """16 pairs of as many sets as there are, whose masks the decoder's resolution can show."""
    found: dict[str, list[TrainingPair]] = {}
    for episode in read_episodes([BENCH / "episodes_dev.json"], BENCH):
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
    print(f"IoU of the masks resized to {side}x{side} and back: {best:.1f}")
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
        backbone=BackboneSettings(image_size=size),
        # Numbers are taken modulo 16: these are the trained pairs again.
        validation=Validation(pairs=PAIRS, every=50),
    )
    out.mkdir(parents=True, exist_ok=True)
    encoder = open_encoder(config, Processes())

    def draw(_: int, number: int) -> TrainingPair:
        return pairs[number % PAIRS]

    found = train(config, encoder, draw, Processes(), shown, print)
    print(json.dumps(found, indent=2))
    return 0 if (found["miou"] or 0.0) >= IOU else 1


ROWS: dict[str, tuple[tuple[str, ...], dict[str, float]]] = {
    "all": (INSTRUCTIONS, {}),
    "without geometric": (("visual", "meta", "evidence"), {}),
    "without visual": (("geometric", "meta", "evidence"), {}),
    "without meta": (("geometric", "visual", "evidence"), {}),
    "without evidence (the paper's three)": (("geometric", "visual", "meta"), {}),
    "without context reversion": (INSTRUCTIONS, {"reversion": 0.0}),
    "without negative entities": (INSTRUCTIONS, {"negatives": 0.0}),
    "without both": (INSTRUCTIONS, {"reversion": 0.0, "negatives": 0.0}),
}
"""Name → instructions, and what else of the config is changed."""


def ablate(file: Path, out: Path, seeds: Sequence[int], steps: int | None, only: str) -> int:
    """Train every row with every seed on the config's data, and print their mIoU."""
    plain = read_config(file)
    plain = replace(plain, steps=steps or plain.steps)
    encoder = open_encoder(plain, Processes())
    mixture = open_data(plain, encoder.input_size[0])
    results: dict[str, list[float]] = {}
    for seed in seeds:  # one of each first, so that a table is there early
        for name, (instructions, changes) in ROWS.items():
            if only not in name:
                continue
            folder = out / f"{name.replace(' ', '-')}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            shape = {**plain.decoder, "instructions": list(instructions)}
            config = replace(plain, out=str(folder.resolve()), seed=seed, decoder=shape, **changes)
            print(f"{name}, seed {seed}", flush=True)
            found = train(config, encoder, mixture.pair, Processes(), shown, print)
            if found["stopped"]:
                return 1
            results.setdefault(name, []).append(found["miou"])
    first = results.get("all", [])
    print(
        f"\n| training | mIoU, mean of {len(seeds)} | each seed | to all, mean |\n|---|---|---|---|"
    )
    for name, values in results.items():
        each = ", ".join(f"{value:.1f}" for value in values)
        less = [v - all_ for v, all_ in zip(values, first, strict=False)]
        gap = f"{np.mean(less):+.1f}" if less else ""
        print(f"| {name} | {np.mean(values):.1f} | {each} | {gap} |")
    return 0


def shown(row: HistoryRow) -> None:
    if row.miou is not None or row.step % 10 == 0:
        miou = "" if row.miou is None else f"  mIoU {row.miou:.1f}"
        print(f"step {row.step}  loss {row.loss:.3f}{miou}  {row.seconds:.0f} s", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    one = tasks.add_parser("overfit")
    one.add_argument("--out", type=Path, default=Path("segic-overfit"))
    one.add_argument("--steps", type=int, default=400)
    two = tasks.add_parser("ablate")
    two.add_argument("config", type=Path)
    two.add_argument("--out", type=Path, default=Path("segic-ablation"))
    two.add_argument("--seeds", type=int, nargs="+", default=[0])
    two.add_argument("--steps", type=int, help="instead of the config's")
    two.add_argument("--only", default="", help="rows whose name holds this")
    given = parser.parse_args()
    if given.task == "overfit":
        return overfit(given.out, given.steps)
    return ablate(given.config, given.out, given.seeds, given.steps, given.only)


if __name__ == "__main__":
    sys.exit(main())

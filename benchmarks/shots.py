"""Whether more references help: the same episodes with 1, 2 and 5 of them.

    python benchmarks/shots.py ROOT EPISODES.json ... [--limit N] [--json]

Only episodes that have five references are run, so that every number of shots sees the same
targets. Features are kept on disk between runs, as of `likewise eval`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from likewise import Segmenter
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import choose, read_episodes
from likewise.lab.evaluation.metrics import Counts, interval_over_sets, mean_miou
from likewise.lab.evaluation.runner import run_trials
from likewise.refine import DEFAULT_REFINER

SHOTS = (1, 2, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("episodes", type=Path, nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    listed = read_episodes(args.episodes, args.root)
    trials = choose(listed, shots=max(SHOTS), only_full_shots=True, limit=args.limit)
    segmenter = Segmenter(TimedEncoder(args.backbone, dtype=args.dtype), refiner="none")
    counts: dict[int, list[Counts]] = {}
    for shots in SHOTS:
        fewer = [replace(trial, references=trial.references[:shots]) for trial in trials]
        outcomes = sorted(
            run_trials(segmenter, fewer, refiner=DEFAULT_REFINER),
            key=lambda outcome: outcome.trial.episode.index,
        )
        counts[shots] = [outcome.counts for outcome in outcomes]
    rows = {
        shots: {
            "mean": mean_miou(found),
            "to_one": mean_miou(found) - mean_miou(counts[1]),
            "interval": list(interval_over_sets(counts[1], found)),
        }
        for shots, found in counts.items()
    }
    sets = {c.dataset for c in counts[1]}
    if args.json:
        print(json.dumps({"episodes": len(trials), "sets": len(sets), "shots": rows}, indent=2))
        return
    print(f"{len(trials)} episodes of {len(sets)} sets")
    for shots, row in rows.items():
        low, high = row["interval"]
        print(f"{shots} shots  {row['mean']:6.2f}  {row['to_one']:+.2f}, {low:+.2f} to {high:+.2f}")


if __name__ == "__main__":
    main()

"""The default method with tiles and without: the same episodes, paired.

    python benchmarks/tiles.py ROOT EPISODES.json... [--sets dsb2018_nuclei,…] [--limit 5]
                               [--tile auto|half|third] [--only-read] [--out counts.jsonl]

``half`` makes tiles of half of the target's longer side; ``auto`` is as `likewise segment` has it,
and with --only-read only the targets are run that it reads in tiles. Prints mIoU per set of off and
on, and the gain with its 95 % interval. What --out holds already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

from likewise.backbones.encoder import Encoder
from likewise.errors import noting
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.lab.evaluation.episodes import Episode, read_episodes
from likewise.lab.evaluation.metrics import Counts, count, paired_intervals, set_miou
from likewise.reference import Reference
from likewise.segmenter import Segmenter

SHARES = {"half": 2, "third": 3}


def run(encoder: Encoder, episode: Episode, tile: str, only_read: bool) -> dict | None:
    """Counts without and with tiles; None if nothing would be read in tiles."""
    e = episode
    image = read_image(e.target)
    size = image.shape[0], image.shape[1]
    truth = read_mask(e.target_mask, size=size, value=e.value)
    found = {"set": e.dataset, "cls": e.cls, "index": e.index, "size": size}
    fitted = Segmenter(encoder)
    fitted.fit(Reference(e.reference, e.reference_mask, e.value))
    for name, setting in (
        ("on", max(size) // SHARES[tile] if tile in SHARES else tile),
        ("off", "off"),
    ):
        fitted.tiles.tile = setting
        plan = fitted.tiles.plan(size, encoder, fitted.fitted())
        if name == "on" and only_read and plan is None:
            return None
        start = time.process_time()
        c = count(e.dataset, e.cls, fitted.segment(image).mask, truth)
        found[name] = c.intersection, c.union
        found[f"{name}_seconds"] = time.process_time() - start
        found[f"{name}_tiles"] = 1 if plan is None else len(plan.tiles)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("episodes", type=Path, nargs="+")
    parser.add_argument("--sets", default="")
    parser.add_argument("--limit", type=int, default=10**6)
    parser.add_argument("--tile", default="auto")
    parser.add_argument("--only-read", action="store_true")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    by_set: dict[str, list[Episode]] = defaultdict(list)
    for episode in read_episodes(options.episodes, options.root):
        if not options.sets or episode.dataset in options.sets.split(","):
            by_set[episode.dataset].append(episode)
    known = options.out.read_text().splitlines() if options.out.exists() else []
    done = {entry["index"]: entry for entry in map(json.loads, known)}
    encoder = Encoder(dtype=options.dtype)
    for episodes in by_set.values():
        n = min(options.limit, len(episodes))
        for episode in (episodes[i * len(episodes) // n] for i in range(n)):
            if episode.index in done:
                continue
            with noting():
                found = run(encoder, episode, options.tile, options.only_read)
            if found is not None:
                done[episode.index] = found
                with options.out.open("a") as file:
                    file.write(json.dumps(found) + "\n")

    off, on = (
        [Counts(d["set"], d["cls"], *d[name]) for d in done.values()] for name in ("off", "on")
    )
    before, after = set_miou(off), set_miou(on)
    whole, sets = paired_intervals(off, on)
    for name in before:
        low, high = sets[name]
        count_of = sum(c.dataset == name for c in off)
        gain = after[name] - before[name]
        print(
            f"{name} ({count_of}): {before[name]:.1f} → {after[name]:.1f}, {gain:+.1f} "
            f"[{low:+.1f}, {high:+.1f}]"
        )
    gain = sum(after.values()) / len(after) - sum(before.values()) / len(before)
    tiles = sum(d["on_tiles"] for d in done.values()) / len(done)
    seconds = [sum(d[f"{n}_seconds"] for d in done.values()) / len(done) for n in ("off", "on")]
    print(
        f"all ({len(off)}): {gain:+.1f} [{whole[0]:+.1f}, {whole[1]:+.1f}]; {tiles:.0f} tiles, "
        f"{seconds[0]:.1f} → {seconds[1]:.1f} s of processor time an image"
    )


if __name__ == "__main__":
    main()

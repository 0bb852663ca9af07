"""Add absent episodes to a list: references of one class, a target that does not hold it.

    python benchmarks/absent.py EPISODES.json ROOT OUT.json

Every episode gets a twin with another target. Every second one takes it from the same set where the
masks say that an image lacks the class (hard: the same kind of picture), all others from another
set. `likewise eval --episodes OUT.json` then reports how often the mask is empty and the AUROC of
the confidence, and counts only present episodes for the mIoU.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    entries = json.loads(args.episodes.read_text())
    masks: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    classes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for e in entries:
        for role in ("ref", "tgt"):
            masks[e["set"]][e[role]].add(e[f"{role}_mask"])
            classes[e["set"], e[role]].add(e["cls"])
    values = {
        mask: set(np.unique(np.asarray(Image.open(args.root / mask))).tolist())
        for images in masks.values()
        for files in images.values()
        for mask in files
    }
    # Label maps say which classes an image lacks; of binary masks the other classes' images do.
    maps = {
        name: any(len(values[m]) > 2 for files in images.values() for m in files)
        or len({e["value"] for e in entries if e["set"] == name}) > 1
        for name, images in masks.items()
    }

    def lacks(e: dict, image: str, files: set[str]) -> bool:
        if maps[e["set"]]:
            return all(e["value"] not in values[m] for m in files)
        return e["cls"] not in classes[e["set"], image]

    rng, absent, kinds = random.Random(0), [], Counter()
    for number, e in enumerate(entries):
        same = [i for i, files in sorted(masks[e["set"]].items()) if lacks(e, i, files)]
        other = [i for name in sorted(masks) if name != e["set"] for i in sorted(masks[name])]
        kind = "same set" if same and number % 2 == 0 else "other set"
        target = rng.choice(same if kind == "same set" else other)
        absent.append({**e, "tgt": target, "tgt_mask": None, "absent": True})
        kinds[kind] += 1
    args.out.write_text(json.dumps(entries + absent, indent=1) + "\n")
    print(f"{len(entries)} present and {len(absent)} absent episodes ({dict(kinds)}): {args.out}")


if __name__ == "__main__":
    main()

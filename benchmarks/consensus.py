"""Single images against batch consensus, in pools of images with and without the concept.

    python benchmarks/consensus.py EPISODES.json ROOT [--largest 10] [--classes 3] [--json]

A pool is a class of an episode list: its first reference, and up to --largest other images whose
mask holds the class. In a mixed pool every second image is one of the same set without the class
(of another set, where all hold it). Prints mIoU per set, on images that hold the concept.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.metrics import count, set_miou
from likewise.methods import likewise
from likewise.methods.consensus import ROUNDS, consensus
from likewise.reference import Reference, encode_references
from likewise.refine import refine

SMALLEST = 8


def pools(episodes: Path, root: Path, largest: int) -> list[dict]:
    """One pool a class: its reference, images that hold it and images that do not."""
    entries = json.loads(episodes.read_text("utf-8"))
    files: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    classes: dict[str, set[str]] = defaultdict(set)
    own: dict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
    for e in entries:
        classes[e["set"]].add(e["cls"])
        for role in ("ref", "tgt"):
            files[e["set"]][e[role]].add(e[f"{role}_mask"])
            own[e["set"], e["cls"], e["value"]][e[role]] = e[f"{role}_mask"]
    values = {
        mask: set(np.unique(np.asarray(Image.open(root / mask))).tolist())
        for images in files.values()
        for masks in images.values()
        for mask in masks
    }
    found = []
    for (name, cls, value), holding in own.items():
        # In label maps, and where there is one class, every image with the value holds the class.
        if len(classes[name]) == 1 or any(len(values[m]) > 2 for m in holding.values()):
            for image, masks in sorted(files[name].items()):
                for mask in sorted(masks):
                    if value in values[mask]:
                        holding.setdefault(image, mask)
        first, *rest = holding.items()
        if len(rest) < SMALLEST:
            continue
        lacking = [i for i in sorted(files[name]) if i not in holding]
        others = [i for other in sorted(files) if other != name for i in sorted(files[other])]
        found.append(
            {
                "set": name,
                "cls": cls,
                "value": value,
                "reference": first,
                "with": rest[:largest],
                "without": lacking + others[:: max(1, len(others) // largest)],
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--largest", type=int, default=10, help="images in a pool")
    parser.add_argument("--classes", type=int, default=3, help="pools of each set")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    encoder = TimedEncoder()
    counts: dict[str, list] = defaultdict(list)
    done: dict[str, int] = defaultdict(int)
    for pool in pools(args.episodes, args.root, args.largest):
        done[pool["set"]] += 1
        if done[pool["set"]] > args.classes:
            continue
        image, mask = pool["reference"]
        value = pool["value"]
        example = Reference(args.root / image, args.root / mask, mask_value=value)
        references = encode_references(encoder, [example], likewise.VIEWS)
        model = likewise.fit(references, likewise.Params())
        whole = pool["with"]
        half = whole[: len(whole) // 2]
        absent = pool["without"][: len(half)]
        for kind, members in (("present", whole), ("mixed", [*half, *((a, None) for a in absent)])):
            pixels = [read_image(args.root / file) for file, _ in members]
            encoded = list(encoder.encode_many(pixels))
            single = [likewise.score(model, e) for e in encoded]
            joint = consensus(references, model, encoded, args.rounds)
            for way, results in (("single", single), ("consensus", joint)):
                for (_, truth), rgb, e, result in zip(
                    members, pixels, encoded, results, strict=True
                ):
                    if truth is None:
                        continue
                    found = refine(result.patches.reshape(e.grid), rgb, encoder.input_size)
                    true = read_mask(args.root / truth, size=rgb.shape[:2], value=value)
                    counts[f"{kind} {way}"].append(count(pool["set"], pool["cls"], found, true))
        print(pool["set"], pool["cls"], len(whole), len(absent), flush=True)
    report = {
        name: set_miou(c) | {"mean": np.mean(list(set_miou(c).values()))}
        for name, c in counts.items()
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for kind in ("present", "mixed"):
        a, b = report[f"{kind} single"], report[f"{kind} consensus"]
        print(f"\n{kind}: set, single, consensus, difference")
        for name in a:
            print(f"  {name:20} {a[name]:6.2f} {b[name]:6.2f} {b[name] - a[name]:+6.2f}")


if __name__ == "__main__":
    main()

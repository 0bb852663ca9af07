"""What a look at the most doubtful masks is worth: which share of the wrong ones is among them.

    python benchmarks/review.py EPISODES.json ROOT [--share 0.2] [--json]

A mask is wrong if its IoU with the truth is below 0.5. Features come from the cache of
`likewise eval`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from likewise import Segmenter
from likewise.io.images import read_image
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import read_episodes
from likewise.methods import likewise
from likewise.quality import mask_warnings, review_priority, stability_score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--share", type=float, default=0.2, help="of the masks are looked at")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    encoder, doubts, ious, sure = TimedEncoder("embedded"), [], [], []
    limits = {"min_confidence": likewise.CAN.min_confidence}
    for episode in track(read_episodes([args.episodes], args.root), disable=args.json):
        with Image.open(episode.reference_mask) as file:
            marked = np.asarray(file) == episode.value
        segmenter = Segmenter(encoder).fit((read_image(episode.reference), marked))
        found = segmenter.segment(episode.target).classes["object"]
        stability = stability_score(found.scores)
        reasons = mask_warnings(found.mask, stability, found.confidence, found.disputed, **limits)
        doubts.append(review_priority(found.confidence, stability, reasons))
        sure.append(found.confidence)
        with Image.open(episode.target_mask) as file:
            truth = np.asarray(file) == episode.value
        ious.append((found.mask & truth).sum() / max(1, (found.mask | truth).sum()))
    wrong = np.array(ious) < 0.5
    looked_at = round(args.share * len(wrong))
    report: dict[str, float] = {"masks": len(wrong), "wrong": int(wrong.sum())}
    report["most that can be found"] = min(1.0, looked_at / wrong.sum())
    for name, order in (("doubt", np.array(doubts)), ("confidence alone", -np.array(sure))):
        first = wrong[np.argsort(-order, kind="stable")[:looked_at]]
        report[f"found by {name}"] = float(first.sum() / wrong.sum())
        report[f"wrong of those looked at by {name}"] = float(first.mean())
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

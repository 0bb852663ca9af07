"""Simulated labelling of folders: effort against IoU, plain, by doubt, and with the loop.

    python benchmarks/labelling.py EPISODES.json ... ROOT [--sets N] [--images 14] [--starts 1]
        [--dtype bfloat16] [--json]

A folder is one class of the lists with 12 or more pictures; episodes without the concept are left
out. One of the pictures is the reference; then a person gives so many true masks (corrects, or
accepts what is right already), and the other pictures are as the model has them:

    fixed       pictures in the order of their names; nothing is learnt
    doubt       the most doubtful first, as `likewise review` lists them; nothing is learnt
    loop_fixed  as fixed, and what was given is a reference, as with ``learn = true``
    loop        as doubt, of masks that are made anew after each step, and learnt

``folder`` is the mean IoU of all pictures but the reference, those that were given counting 100;
``rest`` that of the pictures that were not given. Intervals are 95 % bootstraps over sets, of the
difference to ``doubt`` (of ``loop_fixed`` to ``fixed``, which have the same pictures left). Masks
are compared with at most 256 pixels a side. Features are kept between runs, as of `likewise eval`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import track

from likewise import Reference, Segmenter
from likewise.features.patch_features import PatchFeatures
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import read_episodes
from likewise.lab.evaluation.reading import read_pixels
from likewise.methods import get_method, likewise
from likewise.project.learning import diverse, mean_feature
from likewise.quality import mask_warnings, review_priority, stability_score
from likewise.reference import EncodedReference, ReferenceSet, encode_references

BUDGETS = (0, 1, 2, 4, 8)
FEWEST = 12
SIDE = 256
RULES = {
    "fixed": (False, False),
    "doubt": (True, False),
    "loop_fixed": (False, True),
    "loop": (True, True),
}
"""Name → whether by doubt, and whether it learns."""
PAIRS = {"loop": "doubt", "loop_fixed": "fixed", "doubt": "fixed"}


@dataclass(frozen=True)
class Picture:
    """One picture of a folder."""

    features: PatchFeatures
    pixels: np.ndarray
    mask: np.ndarray
    """(H, W) bool, the truth at its own size."""
    small: np.ndarray
    truth: np.ndarray
    """With at most SIDE pixels a side."""


class Folder:
    """Pictures of one class; what was computed of them stays."""

    def __init__(self, encoder: TimedEncoder, files: list[tuple[Path, Path]], value: int) -> None:
        self.segmenter = Segmenter(encoder)
        self.pictures = [p for f in files if (p := self._read(*f, value)) is not None]
        self._shots: dict[int, EncodedReference] = {}
        self._found: dict[tuple[int, ...], tuple[list[float], list[float]]] = {}

    def _read(self, image: Path, mask: Path, value: int) -> Picture | None:
        pixels = read_pixels(image)
        with Image.open(mask) as file:
            marked = np.asarray(file) == value
        if not marked.any() or marked.shape != pixels.shape[:2]:
            return None
        scale = min(1.0, SIDE / max(marked.shape))
        size = round(marked.shape[1] * scale), round(marked.shape[0] * scale)
        small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        grey = Image.fromarray(marked.astype(np.uint8) * np.uint8(255))
        truth = np.asarray(grey.resize(size, Image.Resampling.BOX)) > 127
        if not truth.any():
            return None
        encoded = self.segmenter.encoder.encode(pixels)
        return Picture(replace(encoded, size=truth.shape), pixels, marked, small, truth)

    def shot(self, number: int) -> EncodedReference:
        """A picture with its true mask as a reference."""
        if number not in self._shots:
            picture, views = self.pictures[number], get_method(self.segmenter.method).VIEWS
            reference = Reference(picture.pixels, picture.mask)
            found = encode_references(self.segmenter.encoder, [reference], views)
            self._shots[number] = found.shots[0]
        return self._shots[number]

    def found(self, references: tuple[int, ...]) -> tuple[list[float], list[float]]:
        """IoU and doubt of every picture, found from some of them."""
        if references not in self._found:
            shots = tuple(self.shot(k) for k in references)
            self.segmenter.fit_encoded(ReferenceSet(shots))
            ious, doubts = [], []
            for number, picture in enumerate(self.pictures):
                if number in references:
                    ious.append(1.0)
                    doubts.append(-1.0)
                    continue
                result = self.segmenter.segment_encoded(picture.small, picture.features)
                c = result.classes["object"]
                stability = stability_score(c.scores)
                limits = {"min_confidence": likewise.CAN.min_confidence}
                reasons = mask_warnings(c.mask, stability, c.confidence, c.disputed, **limits)
                doubts.append(review_priority(c.confidence, stability, reasons))
                either = (c.mask | picture.truth).sum()
                ious.append(float((c.mask & picture.truth).sum() / max(1, either)))
            self._found[references] = ious, doubts
        return self._found[references]

    def label(self, start: int, by_doubt: bool, learns: bool) -> dict[str, list[float]]:
        """``folder`` and ``rest`` in points, at every budget."""
        given: list[int] = []
        curves: dict[str, list[float]] = {"folder": [], "rest": []}
        for budget in BUDGETS:
            if budget:
                _, doubts = self.found(self._learnt(start, given, learns))
                left = [k for k in range(len(self.pictures)) if k != start and k not in given]
                left.sort(key=lambda k: -doubts[k] if by_doubt else 0.0)
                given += left[: budget - len(given)]
            ious, _ = self.found(self._learnt(start, given, learns))
            others = [k for k in range(len(self.pictures)) if k != start]
            rest = [ious[k] for k in others if k not in given]
            curves["rest"].append(100 * float(np.mean(rest)))
            curves["folder"].append(100 * (sum(rest) + len(given)) / len(others))
        return curves

    def _learnt(self, start: int, given: list[int], learns: bool) -> tuple[int, ...]:
        if not learns:
            return (start,)

        def mean(k: int) -> np.ndarray:
            return mean_feature(self.pictures[k].features, self.pictures[k].mask)

        return (start, *diverse(sorted(given), mean))


def folders(episodes: list[Path], root: Path) -> dict[tuple[str, int], list[tuple[Path, Path]]]:
    """(set, value) → pictures and masks, by name, of classes with enough of them."""
    found = defaultdict[tuple[str, int], dict[Path, Path]](dict)
    for e in read_episodes(episodes, root):
        if not e.absent:
            for image, mask in ((e.reference, e.reference_mask), (e.target, e.target_mask)):
                found[e.dataset, e.value][image] = mask
    return {k: sorted(v.items()) for k, v in sorted(found.items()) if len(v) >= FEWEST}


def interval(differences: dict[str, list[float]]) -> dict[str, float]:
    """Mean over sets with the 95 % bootstrap interval over sets, and cases within them."""
    rng, groups = np.random.default_rng(0), [np.array(v) for v in differences.values()]
    means = [
        np.mean([rng.choice(groups[n], len(groups[n])).mean() for n in drawn])
        for drawn in rng.integers(len(groups), size=(2000, len(groups)))
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    mean = np.mean([g.mean() for g in groups])
    return {"mean": round(float(mean), 2), "low": round(low, 2), "high": round(high, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path, nargs="+")
    parser.add_argument("root", type=Path)
    parser.add_argument("--sets", type=int, help="at most so many, spread over all")
    parser.add_argument("--images", type=int, default=14, help="of a folder")
    parser.add_argument("--starts", type=int, default=1, help="references tried in a folder")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    encoder = TimedEncoder(args.backbone, dtype=args.dtype)
    listed, chosen = folders(args.episodes, args.root), dict[str, Any]()
    for (name, value), files in listed.items():  # one class of each set: that with most pictures
        if name not in chosen or len(files) > len(chosen[name][1]):
            chosen[name] = value, files
    names = list(chosen)
    if args.sets and args.sets < len(names):
        names = [names[k] for k in np.linspace(0, len(names) - 1, args.sets).round().astype(int)]
    cases: dict[str, dict[str, list[dict[str, list[float]]]]] = {}
    for name in track(names, disable=args.json):
        value, files = chosen[name]
        folder = Folder(encoder, files[: args.images], value)
        starts = range(0, len(folder.pictures), max(1, len(folder.pictures) // args.starts))
        cases[name] = {
            rule: [folder.label(start, *how) for start in [*starts][: args.starts]]
            for rule, how in RULES.items()
        }
    report: dict[str, Any] = {"sets": len(names), "budgets": BUDGETS, "images": args.images}
    for kind in ("folder", "rest"):
        curves = {
            rule: np.mean([np.mean([c[kind] for c in cases[n][rule]], axis=0) for n in names], 0)
            for rule in RULES
        }
        report[kind] = {rule: [round(float(v), 2) for v in c] for rule, c in curves.items()}
        report[f"{kind} gains"] = {
            f"{rule} - {other}": [
                interval(
                    {
                        n: [
                            a[kind][k] - b[kind][k]
                            for a, b in zip(cases[n][rule], cases[n][other], strict=True)
                        ]
                        for n in names
                    }
                )
                for k in range(len(BUDGETS))
            ]
            for rule, other in PAIRS.items()
        }
    report["by set"] = {
        n: {
            rule: [round(float(v), 1) for v in np.mean([c["folder"] for c in found], axis=0)]
            for rule, found in cases[n].items()
        }
        for n in names
    }
    print(json.dumps(report, indent=None if args.json else 2))


if __name__ == "__main__":
    main()

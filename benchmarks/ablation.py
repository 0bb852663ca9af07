"""What each ingredient of the method is worth: paired differences on the same episodes.

    python benchmarks/ablation.py EPISODES.json ROOT [--only NAME...] [--json FILE]

Every row is the whole method (or INSID3, for the three ways to debias) with one thing changed, and
its difference to the first row of its block with a paired 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from rich.progress import track

from likewise import Segmenter
from likewise.features.patch_features import PatchFeatures
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import choose, read_episodes
from likewise.lab.evaluation.metrics import mean_miou, paired_intervals, set_miou
from likewise.lab.evaluation.runner import run_trials
from likewise.methods import make_params
from likewise.reference import EncodedReference


class OwnComponents(TimedEncoder):
    """Debias by the first 8 principal components of the image's own patches, as the wiki does."""

    def encode_many(
        self, images: Sequence[np.ndarray], batch_size: int = 8
    ) -> Iterator[PatchFeatures]:
        for encoded in super().encode_many(images, batch_size):
            F = encoded.features
            mean = F.mean(dim=0)
            V = torch.linalg.svd(F - mean, full_matrices=False).Vh[:8]
            rest = (F - mean) - (F - mean) @ V.T @ V + mean
            yield replace(encoded, debiased=torch.nn.functional.normalize(rest, dim=1))


@dataclass(frozen=True)
class Variant:
    """One row."""

    method: str = "likewise"
    encoder: str = "content-free image"
    settings: dict[str, float] = field(default_factory=dict)
    instead: dict[str, object] = field(default_factory=dict)
    """What replaces what, below ``likewise.``."""


def hard(shot: EncodedReference, view: str = "") -> torch.Tensor:
    """Each patch is masked or not, as in INSID3."""
    return shot.seen[view][1].float()


VIEWS = "methods.likewise.VIEWS"
VARIANTS = {
    "likewise": Variant(),
    "without the mirror image": Variant(instead={VIEWS: ()}),
    "with crops and from further away": Variant(
        instead={VIEWS: ("flip", "tight", "middle", "far")}
    ),
    "patches masked or not": Variant(instead={"reference.EncodedReference.share": hard}),
    "without merging": Variant(instead={"methods.likewise.POOL_SHARE": 1}),
    "twice the temperature": Variant(settings={"temperature": 0.04}),
    "twice the discriminant": Variant(settings={"linear": 10.0}),
    "without presence": Variant(settings={"presence": 0.0}),
    "without discriminant": Variant(settings={"linear": 0.0}),
    "without sharing": Variant(settings={"affinity": 1e-4}),
    "likewise, no debiasing": Variant(encoder="none"),
    "likewise, own components removed": Variant(encoder="own components"),
    "insid3": Variant("insid3"),
    "insid3, no debiasing": Variant("insid3", "none"),
    "insid3, own components removed": Variant("insid3", "own components"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    encoders = {
        "content-free image": TimedEncoder(),
        "none": TimedEncoder(svd_components=0),
        "own components": OwnComponents(),
    }
    trials = choose(read_episodes([args.episodes], args.root))
    rows, bases = {}, {}
    for name in args.only or VARIANTS:
        variant = VARIANTS[name]
        with ExitStack() as stack:
            for name_of, value in variant.instead.items():
                stack.enter_context(mock.patch(f"likewise.{name_of}", value))
            segmenter = Segmenter(
                encoders[variant.encoder], method=make_params(variant.method, variant.settings)
            )
            counts = [o.counts for o in track(run_trials(segmenter, trials), name, len(trials))]
        base = bases.setdefault(variant.method, counts)
        rows[name] = {
            "mean": mean_miou(counts),
            "difference": mean_miou(counts) - mean_miou(base),
            "interval": paired_intervals(base, counts)[0],
            "sets": set_miou(counts),
        }
        low, high = rows[name]["interval"]
        print(
            f"{name:38} {rows[name]['mean']:6.2f} {rows[name]['difference']:+6.2f} "
            f"[{low:+.2f}, {high:+.2f}]",
            flush=True,
        )
        if args.json is not None:
            args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

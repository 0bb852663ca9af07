"""mIoU as few-shot segmentation reports it, with a bootstrap interval over episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Counts:
    """Pixels of one episode, at the target's own resolution."""

    dataset: str
    cls: str
    intersection: int
    union: int


def count(
    dataset: str, cls: str, predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]
) -> Counts:
    """Intersection and union of two (H, W) bool masks."""
    return Counts(dataset, cls, int((predicted & truth).sum()), int((predicted | truth).sum()))


def set_miou(counts: Sequence[Counts]) -> dict[str, float]:
    """mIoU of every set in points 0..100: I and U summed per class, IoU averaged over classes."""
    sums: dict[str, dict[str, list[int]]] = {}
    for c in counts:
        total = sums.setdefault(c.dataset, {}).setdefault(c.cls, [0, 0])
        total[0] += c.intersection
        total[1] += c.union
    return {
        name: 100 * float(np.mean([i / max(u, 1) for i, u in classes.values()]))
        for name, classes in sums.items()
    }


def mean_miou(counts: Sequence[Counts]) -> float:
    """Mean over sets of ``set_miou``, in points."""
    return float(np.mean(list(set_miou(counts).values())))


def bootstrap_interval(
    counts: Sequence[Counts], rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of ``mean_miou``, resampling episodes within each set."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Counts]] = {}
    for c in counts:
        groups.setdefault(c.dataset, []).append(c)
    means = [
        mean_miou([g[i] for g in groups.values() for i in rng.integers(len(g), size=len(g))])
        for _ in range(rounds)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)

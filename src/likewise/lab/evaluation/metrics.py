"""mIoU, boundary IoU, contour F and AUROC, with bootstrap intervals over episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]


@dataclass(frozen=True)
class Counts:
    """Pixels of one episode, at the target's own resolution."""

    dataset: str
    cls: str
    intersection: int
    union: int

    @property
    def iou(self) -> float | None:
        """In points 0..100; None if prediction and truth are empty."""
        return 100 * self.intersection / self.union if self.union else None


def count(
    dataset: str, cls: str, predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]
) -> Counts:
    """Intersection and union of two (H, W) bool masks."""
    return Counts(dataset, cls, int((predicted & truth).sum()), int((predicted | truth).sum()))


def boundary(mask: npt.NDArray[np.bool_], dilation: float = 0.02) -> npt.NDArray[np.bool_]:
    """Pixels of a mask that are close to its boundary (Boundary IoU, Cheng et al., CVPR 2021).

    As in the released code: the mask minus the mask eroded d times by a 3×3 square; d is
    ``dilation`` times the image's diagonal, at least 1. Outside of the image is background.

    Args:
        mask: (H, W) bool.
        dilation: share of the diagonal.

    Returns:
        (H, W) bool, a subset of ``mask``.
    """
    from scipy.ndimage import minimum_filter

    height, width = mask.shape
    band = np.zeros_like(mask)
    if not mask.any():
        return band
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    depth = max(1, round(dilation * float(np.hypot(height, width))))
    inside = mask[box].view(np.uint8)
    # The filter runs on the bounding box only; cval=0 is the background around it.
    eroded = minimum_filter(inside, size=2 * depth + 1, mode="constant", cval=0)
    band[box] = inside > eroded
    return band


def contour(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(H, W) bool: pixels that differ from the one to the right, below, or below right.

    As in DAVIS's evaluation; in the last row and column only the neighbour inside the image counts.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1] |= mask[:-1] != mask[1:]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def contour_f(
    mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], tolerance: float = 0.008
) -> float:
    """F of DAVIS in points 0..100: harmonic mean of contour precision and recall.

    Args:
        mask: (H, W) bool, predicted.
        truth: (H, W) bool.
        tolerance: greatest distance of matching pixels, as a share of the diagonal, rounded up to
            pixels (Perazzi et al., CVPR 2016).
    """
    from scipy.ndimage import distance_transform_edt

    found, there = contour(mask), contour(truth)
    if not found.any() or not there.any():
        # As in DAVIS's code: 100 if both contours are empty, 0 if one is.
        return 100.0 if found.any() == there.any() else 0.0
    reach = math.ceil(tolerance * math.hypot(*mask.shape))
    precision = float((distance_transform_edt(~there)[found] <= reach).mean())
    recall = float((distance_transform_edt(~found)[there] <= reach).mean())
    return 200 * precision * recall / (precision + recall) if precision + recall else 0.0


def class_ious(counts: Sequence[Counts]) -> dict[str, dict[str, float]]:
    """IoU of every class of every set in points 0..100: I and U summed over episodes first."""
    sums: dict[str, dict[str, list[int]]] = {}
    for c in counts:
        total = sums.setdefault(c.dataset, {}).setdefault(c.cls, [0, 0])
        total[0] += c.intersection
        total[1] += c.union
    return {
        name: {cls: 100 * i / max(u, 1) for cls, (i, u) in classes.items()}
        for name, classes in sums.items()
    }


def set_miou(counts: Sequence[Counts]) -> dict[str, float]:
    """mIoU of every set in points 0..100: I and U summed per class, IoU averaged over classes."""
    return {
        name: float(np.mean(list(classes.values()))) for name, classes in class_ious(counts).items()
    }


def mean_miou(counts: Sequence[Counts]) -> float:
    """Mean over sets of ``set_miou``, in points."""
    return float(np.mean(list(set_miou(counts).values())))


def bootstrap_interval(counts: Sequence[Counts], rounds: int = 1000, seed: int = 0) -> Interval:
    """95 % interval of ``mean_miou``, resampling episodes within each set."""
    return _middle([mean_miou([counts[i] for i in r]) for r in _resamples(counts, rounds, seed)])


def paired_intervals(
    a: Sequence[Counts], b: Sequence[Counts], rounds: int = 1000, seed: int = 0
) -> tuple[Interval, dict[str, Interval]]:
    """95 % intervals of b - a in points: of ``mean_miou``, and of ``set_miou`` of every set.

    Args:
        a: counts of one run.
        b: counts of another run of the same episodes in the same order; each round draws the same
            episodes of both, within each set.
        rounds: of the bootstrap.
        seed: of the random numbers.
    """
    means: list[float] = []
    sets: dict[str, list[float]] = {}
    for chosen in _resamples(a, rounds, seed):
        first, second = set_miou([a[i] for i in chosen]), set_miou([b[i] for i in chosen])
        differences = {name: second[name] - first[name] for name in first}
        means.append(float(np.mean(list(differences.values()))))
        for name, difference in differences.items():
            sets.setdefault(name, []).append(difference)
    return _middle(means), {name: _middle(values) for name, values in sets.items()}


def interval_over_sets(
    a: Sequence[Counts], b: Sequence[Counts], rounds: int = 1000, seed: int = 0
) -> Interval:
    """95 % interval of the mean over sets of b - a, in points, with sets as random samples.

    Each round draws sets with replacement, and episodes within each, the same for both runs.

    Args:
        a: counts of one run.
        b: counts of another run of the same episodes in the same order.
        rounds: of the bootstrap.
        seed: of the random numbers.
    """
    rng, groups = np.random.default_rng(seed), _places(a)
    means = []
    for _ in range(rounds):
        differences = []
        for n in rng.integers(len(groups), size=len(groups)):
            group = groups[n]
            drawn = [group[i] for i in rng.integers(len(group), size=len(group))]
            first, second = (mean_miou([x[i] for i in drawn]) for x in (a, b))
            differences.append(second - first)
        means.append(float(np.mean(differences)))
    return _middle(means)


def _resamples(counts: Sequence[Counts], rounds: int, seed: int) -> Iterator[list[int]]:
    """Indices into ``counts``: for each set as many as it has, drawn with replacement."""
    rng, groups = np.random.default_rng(seed), _places(counts)
    for _ in range(rounds):
        yield [g[i] for g in groups for i in rng.integers(len(g), size=len(g))]


def _places(counts: Sequence[Counts]) -> list[list[int]]:
    """For each set the indices into ``counts`` of its episodes."""
    groups: dict[str, list[int]] = {}
    for place, c in enumerate(counts):
        groups.setdefault(c.dataset, []).append(place)
    return list(groups.values())


def _middle(values: Sequence[float]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """Area under the ROC curve, 0..1: P(positive > negative), ties count ½; None without a pair."""
    if not positives or not negatives:
        return None
    difference = np.subtract.outer(np.asarray(positives), np.asarray(negatives))
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())

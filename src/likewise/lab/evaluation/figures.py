"""Figures of a benchmark from the records of its episodes, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .tasks import ALPHAS

Weights = npt.NDArray[np.float64]
Measure = Callable[[Weights], float]
"""(U,) weights of the units (episode, video or image) → figure in points 0..100."""
ROUNDS = 1000
"""Of the bootstrap."""


def figures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of every set (fold), their mean over sets, and 95 % intervals of that mean.

    The bootstrap draws units with replacement within each set. A unit is an episode, or a whole
    video, since its frames are not independent.

    Args:
        records: of ``BenchmarkTask``, in any order, at least one.

    Returns:
        ``sets``: set → measure → points; ``mean`` and ``interval``: measure → points.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda r: int(r["at"])):
        groups.setdefault(record["set"], []).append(record)
    measured = {name: _measures(group) for name, group in groups.items()}
    sizes = {name: len({r["unit"] for r in group}) for name, group in groups.items()}
    sets = {
        name: {m: measure(np.ones(sizes[name])) for m, measure in measures.items()}
        for name, measures in measured.items()
    }
    names = next(iter(sets.values())).keys()
    rng, drawn = np.random.default_rng(0), {m: np.zeros(ROUNDS) for m in names}
    for place in range(ROUNDS):
        for name, measures in measured.items():
            chosen = rng.integers(sizes[name], size=sizes[name])
            weights = np.bincount(chosen, minlength=sizes[name]).astype(np.float64)
            for m, measure in measures.items():
                drawn[m][place] += measure(weights) / len(sets)
    return {
        "sets": sets,
        "mean": {m: float(np.mean([values[m] for values in sets.values()])) for m in names},
        "interval": {m: np.percentile(drawn[m], [2.5, 97.5]).tolist() for m in names},
    }


def _measures(records: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """Measures of the records of one set; units are numbered by first appearance."""
    units = {unit: k for k, unit in enumerate(dict.fromkeys(r["unit"] for r in records))}
    of = np.array([units[r["unit"]] for r in records])
    first = records[0]
    if "own" in first:
        pairs = {"mIoU at input size": "input", "mIoU": "own", "boundary IoU": "edge"}
        return {m: _iou([(r["cls"], *r[f]) for r in records], of) for m, f in pairs.items()}
    if "areas" in first:
        rows = [(label, *pair) for r in records for label, pair in r["areas"].items()]
        return {"mIoU": _iou(rows, np.repeat(of, [len(r["areas"]) for r in records]))}
    if "objects" in first:
        j, f = (_over_objects(records, units, place) for place in (0, 1))
        return {"J&F": lambda w: (j(w) + f(w)) / 2, "J": j, "F": f}
    points = np.array([r["points"] for r in records], dtype=np.float64)
    right = np.array([r["right"] for r in records], dtype=np.float64)
    shares = {}
    for place, alpha in enumerate(ALPHAS):
        each = 100 * right[:, place] / points
        shares[f"PCK@{alpha:.2f} per image"] = _ratio(each, np.ones(len(each)), of)
    for place, alpha in enumerate(ALPHAS):
        shares[f"PCK@{alpha:.2f} per point"] = _ratio(100 * right[:, place], points, of)
    return shares


def _iou(rows: Iterable[tuple[str, int, int]], of: npt.NDArray[np.int64]) -> Measure:
    """mIoU: mean over classes of Σ intersection / Σ union; ``of``: unit of each row."""
    rows = list(rows)
    classes = {cls: k for k, cls in enumerate(dict.fromkeys(row[0] for row in rows))}
    cls = np.array([classes[row[0]] for row in rows])
    i, u = (np.array([row[k] for row in rows], dtype=np.float64) for k in (1, 2))

    def measure(weights: Weights) -> float:
        w = weights[of]
        seen = np.bincount(cls, w) > 0
        inter, union = np.bincount(cls, w * i)[seen], np.bincount(cls, w * u)[seen]
        return float(np.mean(100 * inter / np.maximum(union, 1)))

    return measure


def _ratio(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], of: npt.NDArray[np.int64]
) -> Measure:
    return lambda weights: float((weights[of] * above).sum() / (weights[of] * below).sum())


def _over_objects(
    records: Sequence[Mapping[str, Any]], units: Mapping[str, int], place: int
) -> Measure:
    """Mean over objects of the mean over their frames, as in DAVIS's evaluation."""
    frames: dict[str, list[float]] = {}
    unit_of: dict[str, int] = {}
    for record in records:
        for label, values in record["objects"].items():
            frames.setdefault(label, []).append(values[place])
            unit_of[label] = units[record["unit"]]
    means = np.array([np.mean(values) for values in frames.values()])
    return _ratio(means, np.ones(len(means)), np.array([unit_of[label] for label in frames]))

"""Cross-validation over sets: a run is chosen on some sets and evaluated on the others.

The score of the best run on the sets it was chosen on is optimistic. Here each fold of sets is
evaluated with the run that is best on the other folds, so that the mean estimates the score of the
chosen run on new sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import LikewiseError
from ...io.hashing import sha256
from .compare import EvaluationReport, counts_of, pair
from .metrics import interval_over_sets, mean_miou, set_miou


def folds_of(sets: Sequence[str], count: int) -> dict[str, int]:
    """Set → fold 0..count-1, of nearly equal sizes; depends on the names alone.

    Raises:
        LikewiseError: if there are fewer sets than folds, or fewer than two folds.
    """
    names = sorted(set(sets), key=lambda name: sha256(name.encode()))
    if not 2 <= count <= len(names):
        raise LikewiseError(
            f"--folds {count} does not divide {len(names)} sets: give a number from 2 to "
            f"{len(names)}."
        )
    return {name: place % count for place, name in enumerate(names)}


def leave_sets_out(runs: Sequence[EvaluationReport], count: int = 5) -> dict[str, Any]:
    """Evaluate each fold with the run that is best on the other folds, compared with the first run.

    Args:
        runs: reports of the same episodes; the first is what the others are compared with.
        count: of folds.

    Returns:
        ``base``: mean mIoU of the first run over the sets; ``left_out``: mean mIoU of the chosen
        runs, each on its own fold; ``difference`` with its 95 % ``interval`` (bootstrap over sets,
        and over episodes within them); ``chosen``: the report of each fold; ``sets``: a row for
        each set; ``runs``: for each its mean, and its difference from the first with interval.

    Raises:
        LikewiseError: if runs are not of the same episodes, or the folds do not suit the sets.
    """
    if len(runs) < 2:
        raise LikewiseError("one report leaves nothing to choose between: give at least two.")
    columns = [[counts_of(first) for first, _ in pair(runs[0], runs[0])]]
    columns += [[counts_of(second) for _, second in pair(runs[0], run)] for run in runs[1:]]
    scores = [set_miou(column) for column in columns]
    folds = folds_of(list(scores[0]), count)
    best = [
        max(
            range(len(runs)),
            key=lambda r: np.mean([v for s, v in scores[r].items() if folds[s] != fold]),
        )
        for fold in range(count)
    ]
    chosen = [columns[best[folds[base.dataset]]][place] for place, base in enumerate(columns[0])]
    base, after = mean_miou(columns[0]), mean_miou(chosen)
    left_out = set_miou(chosen)
    rows = {
        name: {"base": value, "left_out": left_out[name], "fold": folds[name]}
        for name, value in scores[0].items()
    }
    return {
        "base": base,
        "left_out": after,
        "difference": after - base,
        "interval": list(interval_over_sets(columns[0], chosen)),
        "chosen": [str(runs[r].file) for r in best],
        "sets": rows,
        "runs": [
            {
                "report": str(run.file),
                "mean": mean_miou(column),
                "difference": mean_miou(column) - base,
                "interval": list(interval_over_sets(columns[0], column)),
            }
            for run, column in zip(runs, columns, strict=True)
        ],
    }


def leave_out_text(result: Mapping[str, Any]) -> str:
    """The result as text tables."""
    runs, rows = result["runs"], result["sets"]
    wide = max(24, *(len(run["report"]) for run in runs), *(len(name) for name in rows))
    lines = [f"{'report':{wide}} {'mean':>6} {'to first':>8}  95 % interval over sets"]
    for run in runs:
        low, high = run["interval"]
        lines.append(
            f"{run['report']:{wide}} {run['mean']:6.2f} {run['difference']:+8.2f}  "
            f"{low:+.2f} to {high:+.2f}"
        )
    lines += ["", f"{'set':{wide}} {'first':>6} {'left out':>8}  chosen without it"]
    for name, row in sorted(rows.items()):
        chosen = result["chosen"][row["fold"]]
        lines.append(f"{name:{wide}} {row['base']:6.2f} {row['left_out']:8.2f}  {chosen}")
    low, high = result["interval"]
    lines.append(
        f"{f'mean over {len(rows)} sets':{wide}} {result['base']:6.2f} {result['left_out']:8.2f}  "
        f"{result['difference']:+.2f}, {low:+.2f} to {high:+.2f}"
    )
    return "\n".join(lines)

"""Comparison of two runs of the same episodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LikewiseError
from ...io.draw import RGB, contact_sheet, overlay
from ...io.images import read_image
from ...io.masks import read_label_map
from ...io.opening import why
from ...io.text_files import read_json
from .episodes import MaskedImage
from .grid import CELL, cell, iou_text, marked_cell
from .metrics import Counts, mean_miou, paired_intervals, set_miou

SHOWN = 6  # rows of the grid for improvements, and for losses


@dataclass(frozen=True)
class EvaluationReport:
    """A report of ``likewise eval``."""

    file: Path
    report: Mapping[str, Any]
    episodes: Mapping[str, Mapping[str, Any]]
    """JSON of set, class, references and target, with a counter → entry of the episode."""


def read_run(file: Path) -> EvaluationReport:
    """Read a report.

    Raises:
        LikewiseError: if it cannot be read or is none.
    """
    try:
        report = read_json(file)
    except (OSError, ValueError) as error:
        raise LikewiseError(
            f"{file} cannot be read as a JSON report ({why(error)}): give what likewise eval wrote."
        ) from error
    episodes: dict[str, Mapping[str, Any]] = {}
    times: Counter[str] = Counter()
    try:
        report["settings"]["method"]
        for e in report["episodes"]:
            refs = [[r["image"], r["mask"], r["value"]] for r in e["refs"]]
            key = json.dumps([e["set"], e["cls"], refs, e["tgt"]])
            times[key] += 1  # an episode may be in a list more than once
            episodes[f"{key} {times[key]}"] = e
            counts_of(e), counts_of(e, "boundary_"), e["absent"], e["mask"]
    except (KeyError, TypeError) as error:
        raise LikewiseError(
            f"{file} is no report of `likewise eval`: write one with --out."
        ) from error
    return EvaluationReport(file, report, episodes)


def pair(
    a: EvaluationReport, b: EvaluationReport
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Entries of the same episodes in both runs, without episodes of absent concepts.

    Raises:
        LikewiseError: if an episode of one is not in the other, or none is left.
    """
    only_a, only_b = (len(x.episodes.keys() - y.episodes.keys()) for x, y in ((a, b), (b, a)))
    if only_a or only_b:
        raise LikewiseError(
            f"{a.file} and {b.file} are not of the same episodes and references: {only_a} are only "
            f"in the first, {only_b} only in the second; run both with the same --episodes, "
            "--shots, --exclude and --limit."
        )
    pairs = [(e, b.episodes[key]) for key, e in a.episodes.items() if not e["absent"]]
    if not pairs:
        raise LikewiseError(f"{a.file} and {b.file} hold no episode to compare mIoU on.")
    return pairs


def compare(a: EvaluationReport, b: EvaluationReport) -> dict[str, Any]:
    """mIoU of the second run minus the first, in points, with paired 95 % intervals.

    Raises:
        LikewiseError: as for ``pair``.
    """
    pairs = pair(a, b)
    first, second = ([counts_of(p[i]) for p in pairs] for i in (0, 1))
    edges_a, edges_b = ([counts_of(p[i], "boundary_") for p in pairs] for i in (0, 1))
    interval, intervals = paired_intervals(first, second)
    sets_a, sets_b = set_miou(first), set_miou(second)
    sizes = Counter(c.dataset for c in first)
    return {
        "minus": "second minus first, in points",
        "first": {"report": str(a.file), **_what(a), "mean": mean_miou(first)},
        "second": {"report": str(b.file), **_what(b), "mean": mean_miou(second)},
        "difference": mean_miou(second) - mean_miou(first),
        "interval": list(interval),
        "boundary_difference": mean_miou(edges_b) - mean_miou(edges_a),
        "boundary_interval": list(paired_intervals(edges_a, edges_b)[0]),
        "sets": {
            name: {
                "first": sets_a[name],
                "second": sets_b[name],
                "difference": sets_b[name] - sets_a[name],
                "interval": list(intervals[name]),
                "episodes": sizes[name],
            }
            for name in sets_a
        },
        "episodes": len(pairs),
        "better": sum(_change(p) > 0 for p in pairs),
        "worse": sum(_change(p) < 0 for p in pairs),
    }


def comparison_text(result: Mapping[str, Any]) -> str:
    """The comparison as a text table."""
    wide = max(24, *(len(name) for name in result["sets"]))
    lines = [
        f"A  {_title(result['first'])}",
        f"B  {_title(result['second'])}",
        "",
        f"{'set':{wide}} {'A':>6} {'B':>6} {'B - A':>7}  95 % interval of B - A",
    ]
    rows = sorted(result["sets"].items())
    mean = f"mean over {len(rows)} set{'s' * (len(rows) > 1)}"
    total = {"first": result["first"]["mean"], "second": result["second"]["mean"]}
    alone = all(row["episodes"] == 1 for _, row in rows)  # nothing to draw from
    for name, row in [*rows, (mean, {**result, **total})]:
        low, high = row["interval"]
        interval = f"{low:+.2f} to {high:+.2f}"
        if row["episodes"] == 1 or alone:
            interval = "none: one episode a set"
        lines.append(
            f"{name:{wide}} {row['first']:6.2f} {row['second']:6.2f} {row['difference']:+7.2f}  "
            f"{interval}"
        )
    low, high = result["boundary_interval"]
    interval = "" if alone else f", {low:+.2f} to {high:+.2f}"
    lines += [
        "",
        f"boundary: B - A {result['boundary_difference']:+.2f}{interval}",
        f"{result['episodes']} episodes: B is better in {result['better']}, worse in "
        f"{result['worse']}",
    ]
    return "\n".join(lines)


def draw_grid(a: EvaluationReport, b: EvaluationReport, root: Path | None = None) -> RGB:
    """The ``SHOWN`` episodes of largest gains from A to B, and those of largest losses.

    Args:
        a: run with predicted masks.
        b: another.
        root: folder of the images; the one in the first report by default.

    Returns:
        (H, W, 3) uint8: reference with mask, target, A and B in each row.

    Raises:
        LikewiseError: if masks or images are missing, or no episode differs.
    """
    for run in (a, b):
        if any(e["mask"] is None for e in run.episodes.values()):
            raise LikewiseError(
                f"{run.file} has no masks to draw: run `likewise eval` again with --masks DIR."
            )
    pairs = sorted((p for p in pair(a, b) if _change(p)), key=_change, reverse=True)
    if not pairs:
        raise LikewiseError(
            f"{a.file} and {b.file} score the same in every episode: there is nothing to draw."
        )
    better = [p for p in pairs if _change(p) > 0][:SHOWN]
    worse = [p for p in reversed(pairs) if _change(p) < 0][:SHOWN]
    root = Path(a.report["settings"]["root"]) if root is None else root
    return contact_sheet([_row(p, a, b, root) for p in better + worse], CELL[1])


def _row(
    pair: tuple[Mapping[str, Any], Mapping[str, Any]],
    a: EvaluationReport,
    b: EvaluationReport,
    root: Path,
) -> list[tuple[RGB, str]]:
    first = pair[0]
    reference = first["refs"][0]
    marked = MaskedImage(root / reference["image"], root / reference["mask"], reference["value"])
    target = read_image(root / first["tgt"])
    row = [
        marked_cell(marked, f"{first['set']} {first['cls']}"),
        cell(target, f"target of episode {first['id']}, B - A {_change(pair):+.1f}"),
    ]
    for letter, run, entry in zip("AB", (a, b), pair, strict=True):
        file = run.file.parent / entry["mask"]
        found = read_label_map(file) > 0
        if found.shape != target.shape[:2]:
            raise LikewiseError(f"{file} has another size than its target {first['tgt']}.")
        row.append(cell(overlay(target, found), f"{letter}: {iou_text(entry['iou'])}"))
    return row


def counts_of(entry: Mapping[str, Any], kind: str = "") -> Counts:
    """Intersection and union of an entry; ``kind`` "boundary_": of the boundary."""
    numbers = entry[f"{kind}intersection"], entry[f"{kind}union"]
    return Counts(entry["set"], entry["cls"], *numbers)


def _change(pair: Sequence[Mapping[str, Any]]) -> float:
    """IoU of the second minus the first, in points; 100 if mask and truth are both empty."""
    first, second = (100.0 if e["iou"] is None else float(e["iou"]) for e in pair)
    return float(np.round(second - first, 9))


def _what(run: EvaluationReport) -> dict[str, Any]:
    settings = run.report["settings"]
    names = ("method", "params", "refine", "backbone", "block", "rank", "input_size", "shots")
    return {name: settings.get(name) for name in names}


def _title(what: Mapping[str, Any]) -> str:
    params = "".join(f", {name} {value}" for name, value in (what["params"] or {}).items())
    return (
        f"{what['report']}: {what['method']}{params}, refine {what['refine']}, {what['backbone']}, "
        f"block {what['block']}, rank {what['rank']}"
    )

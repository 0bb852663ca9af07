"""Report of ``likewise eval``: as JSON and as a text table."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .episodes import RunLengths
from .metrics import auroc, bootstrap_interval, class_ious, mean_miou, set_miou
from .runner import TrialOutcome
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from ...segmenter import Segmenter

STAGES = ("read", "encode", "cached", "fit", "score", "refine")


def make_report(
    outcomes: Sequence[TrialOutcome],
    watch: Stopwatch,
    seconds: float,
    settings: Mapping[str, Any],
    *,
    root: Path,
    beside: Path | None = None,
) -> dict[str, Any]:
    """The report of a run; docs/evaluate.md describes each figure.

    Args:
        outcomes: of all trials, in any order.
        watch: seconds of the stages.
        seconds: of the whole run.
        settings: from ``describe``.
        root: folder that paths of images and masks are given relative to.
        beside: folder of the report; paths of predicted masks are given relative to it.

    Returns:
        Text, numbers, None, lists and dicts only; no NaN and no infinity.
    """
    outcomes = sorted(outcomes, key=lambda o: o.trial.episode.index)
    present = [o for o in outcomes if not o.trial.episode.absent]
    absent = [o for o in outcomes if o.trial.episode.absent]
    counts, edges = [o.counts for o in present], [o.boundary for o in present]
    ratios: dict[str, list[float]] = {}
    for o in present:
        ratios.setdefault(o.counts.dataset, []).append(o.predicted / o.true)
    report = {
        "mean": mean_miou(counts) if counts else None,
        "interval": bootstrap_interval(counts) if counts else None,
        "boundary": mean_miou(edges) if edges else None,
        "sets": set_miou(counts),
        "boundary_sets": set_miou(edges),
        "classes": class_ious(counts),
        "area_ratio": {name: median(values) for name, values in ratios.items()},
        "empty_rate": _empty_rate(present),
        "absent": {
            "episodes": len(absent),
            "empty_rate": _empty_rate(absent),
            "auroc": auroc([o.confidence for o in present], [o.confidence for o in absent]),
        },
        "shots_used": Counter(str(len(o.trial.references)) for o in outcomes),
        "seconds": seconds,
        "stages": {name: watch.per_image(name) for name in STAGES},
        "images": {name: watch.images.get(name, 0) for name in STAGES},
        "settings": settings,
        "episodes": [_episode(o, root, beside) for o in outcomes],
    }
    return _plain(report)


def describe(segmenter: Segmenter, **more: Any) -> dict[str, Any]:
    """Settings of a run: method, backbone, versions, and ``more``."""
    encoder, versions = segmenter.encoder, {"python": platform.python_version()}
    from ... import __version__

    versions["likewise"] = __version__
    for name in ("torch", "numpy"):
        versions[name] = __import__(name).__version__
    return {
        "method": segmenter.method,
        "params": dataclasses.asdict(segmenter.params),
        "backbone": encoder.spec.name,
        "weights": encoder.backbone.identity,
        "block": encoder.backbone.block,
        "rank": encoder.rank,
        "input_size": encoder.input_size,
        "device": str(encoder.device),
        "dtype": str(encoder.dtype).removeprefix("torch."),
        **more,
        "versions": versions,
    }


def _episode(outcome: TrialOutcome, root: Path, beside: Path | None) -> dict[str, Any]:
    e, counts, edges = outcome.trial.episode, outcome.counts, outcome.boundary
    return {
        "index": e.index,
        "id": e.id,
        "set": e.dataset,
        "cls": e.cls,
        "value": e.value,
        "absent": e.absent,
        "refs": [
            {"image": _below(r.image, root), "mask": _below(r.mask, root), "value": r.value}
            for r in outcome.trial.references
        ],
        "tgt": _below(e.target, root),
        "tgt_mask": None if e.target_mask is None else _below(e.target_mask, root),
        "intersection": counts.intersection,
        "union": counts.union,
        "boundary_intersection": edges.intersection,
        "boundary_union": edges.union,
        "iou": counts.iou,
        "confidence": outcome.confidence,
        "area_ratio": outcome.predicted / outcome.true if outcome.true else None,
        "predicted": outcome.predicted,
        "mask": None if outcome.mask is None else _seen_from(outcome.mask, beside),
    }


def _empty_rate(outcomes: Sequence[TrialOutcome]) -> float | None:
    return sum(o.predicted == 0 for o in outcomes) / len(outcomes) if outcomes else None


def _below(path: Path | RunLengths, root: Path) -> str:
    if isinstance(path, RunLengths):
        return "run lengths"
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _seen_from(path: Path, folder: Path | None) -> str:
    """Path relative to the folder; absolute without one or on another drive."""
    if folder is not None:
        try:
            return Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # another drive
            pass
    return str(path.resolve())


def _plain(value: Any) -> Any:
    """The value in JSON's types: no tuples, paths, NaN or infinity."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):  # NumPy's and torch's numbers
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def as_text(report: Mapping[str, Any]) -> str:
    """The report as a text table."""
    settings, stages, absent = report["settings"], report["stages"], report["absent"]
    params = "".join(f", {name} {value}" for name, value in settings["params"].items())
    height, width = settings["input_size"]
    lines = [
        f"{settings['method']}{params}, refine {settings['refine']}; {settings['backbone']}, block "
        f"{settings['block']}, {width}x{height} px, rank {settings['rank']}",
        "",
    ]
    if report["sets"]:
        sizes = Counter(e["set"] for e in report["episodes"] if not e["absent"])
        wide = max(24, *(len(name) for name in report["sets"]))
        lines.append(f"{'set':{wide}} {'mIoU':>6} {'boundary':>8} {'episodes':>8}")
        for name, value in sorted(report["sets"].items()):
            edge = report["boundary_sets"][name]
            lines.append(f"{name:{wide}} {value:6.2f} {edge:8.2f} {sizes[name]:8}")
        low, high = report["interval"]
        interval = f"95 % interval of the mean {low:.2f} to {high:.2f}"
        if max(sizes.values()) == 1:  # nothing to draw from
            interval = "no interval of the mean: each set has one episode"
        total = f"mean over {len(report['sets'])} set{'s' * (len(report['sets']) > 1)}"
        lines += [
            f"{total:{wide}} {report['mean']:6.2f} {report['boundary']:8.2f} "
            f"{sum(sizes.values()):8}",
            "",
            f"{interval}; found nothing in {report['empty_rate']:.1%} of the episodes",
        ]
    if absent["episodes"]:
        chance = (
            "" if absent["auroc"] is None else f", AUROC of the confidence {absent['auroc']:.3f}"
        )
        lines.append(
            f"concept absent in {absent['episodes']} more: found nothing in "
            f"{absent['empty_rate']:.1%} of them{chance}"
        )
    used = report["shots_used"]
    if settings["shots"] > 1:
        listed = ", ".join(f"{used[k]} with {k}" for k in sorted(used, key=int))
        lines.append(f"references: {listed}")
    spent = ", ".join(f"{k} {v:.3f}" for k, v in stages.items() if v is not None)
    lines.append(f"seconds an image: {spent}; {report['seconds']:.0f} s in all")
    return "\n".join(lines)

"""History of a training, step by step: as CSV and as a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ....errors import LikewiseError
from ....io.files import write_whole


class HistoryRow(NamedTuple):
    """One step of a training."""

    step: int
    """From 1."""
    loss: float
    """Mean loss of the step's batch over all processes."""
    lr: float
    """Learning rate of the step."""
    miou: float | None
    """0..100; None if there was no validation after this step."""
    seconds: float
    """Since the start of the training, without interruptions."""


def check_matplotlib() -> None:
    """Raises LikewiseError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise LikewiseError(
            "training draws its curve with matplotlib: pip install 'likewise[train]'."
        ) from error


def write_history(folder: Path, rows: Sequence[HistoryRow]) -> None:
    """Write ``curve.csv`` and ``curve.png``.

    Raises:
        LikewiseError: if they cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HistoryRow._fields)
    table.writerows(rows)
    write_whole(folder / "curve.csv", text.getvalue().encode())
    if rows:
        write_whole(folder / "curve.png", draw(rows))


def draw(rows: Sequence[HistoryRow]) -> bytes:
    """A PNG: loss, its running mean, and validation mIoU over steps."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, losses = [r.step for r in rows], np.array([r.loss for r in rows])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    width = max(1, len(rows) // 50)
    sums = np.cumsum(np.pad(losses, (width, 0)))
    means = (sums[width:] - sums[:-width]) / np.minimum(np.arange(len(rows)) + 1, width)
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.7)
    axes.plot(steps, means, color="tab:blue", label=f"loss, mean of {width} steps")
    axes.legend(loc="upper left")
    measured = [(r.step, r.miou) for r in rows if r.miou is not None]
    if measured:
        other = axes.twinx()
        other.set_ylabel("mIoU")
        other.plot(*zip(*measured, strict=True), "o-", color="tab:orange", label="validation")
        other.legend(loc="upper right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()

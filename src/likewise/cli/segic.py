"""The commands that train: ``likewise segic train`` and ``likewise segic show``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app
from .console import print_error, print_json, progress_bar
from .options import JsonOption

if TYPE_CHECKING:
    from ..lab.segic.training.config import Config
    from ..lab.segic.training.history import HistoryRow

segic_app = typer.Typer(help="Train the decoder of method segic, and see what it is trained on.")
app.add_typer(segic_app, name="segic")

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", help="The training, see docs/segic.md.")
]


@segic_app.command()
def train(
    config: ConfigArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try everything for two steps, and keep nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a decoder; run again, it goes on where it was. For GPUs: torchrun -m likewise ..."""
    from ..lab.segic.training.config import read_config
    from ..run.jobs import check_output_files

    settings = read_config(config)
    out = settings.path(settings.out)
    names = ("decoder.safetensors", "best.safetensors", "curve.csv", "curve.png", "pairs.jpg")
    check_output_files([out / name for name in names], [config], "out")

    from ..lab.segic.data.sources import open_data
    from ..lab.segic.training.processes import processes
    from ..lab.segic.training.train import open_encoder, train

    with processes() as group:
        encoder = open_encoder(settings, group)
        mixture = open_data(settings, encoder.input_size[0])
        if dry_run:
            from ..lab.segic.training.dry_run import dry_run_report

            report = dry_run_report(settings, encoder, mixture.pair, group)
        else:
            with _training_progress(settings, group.rank == 0) as (advance, say):
                report = train(settings, encoder, mixture.pair, group, advance, say)
        if group.rank > 0:
            return
    if as_json:
        print_json(report)
    else:
        print(_report_text(report))
    if report.get("stopped"):
        print_error("stopped: run the same command to go on.")
        raise typer.Exit(1)


@segic_app.command()
def show(
    config: ConfigArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")],
    count: Annotated[int, typer.Option(help="So many pairs.")] = 12,
) -> None:
    """Draw training pairs: reference and target, as they are and marked."""
    from ..errors import LikewiseError
    from ..io.encoding import picture_format, write_image
    from ..lab.segic.training.config import read_config
    from ..run.jobs import check_output_files

    if not 1 <= count <= 200:
        raise LikewiseError(f"--count {count} cannot be drawn: give 1 to 200.")
    picture_format(out)
    settings = read_config(config)
    check_output_files([out], [config])

    from ..lab.segic.data.pairs import grid
    from ..lab.segic.data.sources import open_data
    from ..lab.segic.training.batches import order

    mixture = open_data(settings, settings.backbone.image_size or 448)
    numbers = [n for step in range(-(-count // settings.batch)) for n in order(settings, step)]
    write_image(out, grid([mixture.pair(settings.data_seed, n) for n in numbers[:count]]))
    print(f"look at {out}")


def _report_text(report: dict[str, Any]) -> str:
    """The report of a training, one line a value."""
    lines = []
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{n:,} {name}" for name, n in value.items())
        lines.append(f"{key:12} {f'{value:.3f}' if isinstance(value, float) else value}")
    return "\n".join(lines)


@contextmanager
def _training_progress(
    config: Config, here: bool
) -> Iterator[tuple[Callable[[HistoryRow], None], Callable[[str], None]]]:
    """Two functions: to call after each step, and to print a line; a bar if stderr is a terminal.

    Both do nothing unless ``here``, so that of several processes only one prints.
    """
    if not here:
        yield (lambda _: None), (lambda _: None)
        return
    if not sys.stderr.isatty():
        every = max(1, config.steps // 50)

        def line(row: HistoryRow) -> None:
            if row.miou is not None or row.step % every == 0:
                print(_step_text(row, row.miou), file=sys.stderr, flush=True)

        yield line, lambda text: print(text, file=sys.stderr, flush=True)
        return
    with progress_bar("{task.description}") as bar:
        task, miou = bar.add_task("", total=config.steps), None

        def advance(row: HistoryRow) -> None:
            nonlocal miou
            miou = miou if row.miou is None else row.miou
            bar.update(task, completed=row.step, description=_step_text(row, miou))

        yield advance, lambda text: bar.console.print(text, markup=False, highlight=False)


def _step_text(row: HistoryRow, miou: float | None) -> str:
    known = "" if miou is None else f"  mIoU {miou:.1f}"
    return f"step {row.step}  loss {row.loss:.3f}{known}"

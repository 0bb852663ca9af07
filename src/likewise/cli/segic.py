"""The commands that train: ``likewise segic train`` and ``likewise segic show``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .app import app
from .console import print_error, print_json
from .options import JsonOption

if TYPE_CHECKING:
    from ..lab.segic.training.config import Config
    from ..lab.segic.training.curve import Row

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

    told = read_config(config)
    out = told.path(told.out)
    names = ("decoder.safetensors", "best.safetensors", "curve.csv", "curve.png", "pairs.jpg")
    check_output_files([out / name for name in names], [config], "out")

    from ..lab.segic.data.sources import open_data
    from ..lab.segic.training.processes import processes
    from ..lab.segic.training.train import open_encoder, train

    with processes() as all_:
        encoder = open_encoder(told, all_)
        mixture = open_data(told, encoder.input_size[0])
        if dry_run:
            from ..lab.segic.training.rehearsal import rehearse

            report = rehearse(told, encoder, mixture.pair, all_)
        else:
            with _shown(told, all_.rank == 0) as (advance, say):
                report = train(told, encoder, mixture.pair, all_, advance, say)
        if all_.rank > 0:
            return
    if as_json:
        print_json(report)
    else:
        print(_told(report))
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
    told = read_config(config)
    check_output_files([out], [config])

    from ..lab.segic.data.pairs import grid
    from ..lab.segic.data.sources import open_data
    from ..lab.segic.training.feed import order

    mixture = open_data(told, told.backbone.image_size or 448)
    numbers = [n for step in range(-(-count // told.batch)) for n in order(told, step)]
    write_image(out, grid([mixture.pair(told.data_seed, n) for n in numbers[:count]]))
    print(f"look at {out}")


def _told(report: dict[str, Any]) -> str:
    """One line for each figure."""
    lines = []
    for key, value in report.items():
        if isinstance(value, dict):
            value = ", ".join(f"{n:,} {name}" for name, n in value.items())
        lines.append(f"{key:12} {f'{value:.3f}' if isinstance(value, float) else value}")
    return "\n".join(lines)


@contextmanager
def _shown(
    config: Config, here: bool
) -> Iterator[tuple[Callable[[Row], None], Callable[[str], None]]]:
    """What to call after each step, and with what to say: a bar on a terminal, else lines."""
    if not here:
        yield (lambda _: None), (lambda _: None)
        return
    if not sys.stderr.isatty():
        every = max(1, config.steps // 50)

        def line(row: Row) -> None:
            if row.miou is not None or row.step % every == 0:
                print(_figures(row, row.miou), file=sys.stderr, flush=True)

        yield line, lambda text: print(text, file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(*columns, text, console=Console(stderr=True)) as bar:
        task, miou = bar.add_task("", total=config.steps), None

        def advance(row: Row) -> None:
            nonlocal miou
            miou = miou if row.miou is None else row.miou
            bar.update(task, completed=row.step, description=_figures(row, miou))

        yield advance, lambda text: bar.console.print(text, markup=False, highlight=False)


def _figures(row: Row, miou: float | None) -> str:
    known = "" if miou is None else f"  mIoU {miou:.1f}"
    return f"step {row.step}  loss {row.loss:.3f}{known}"

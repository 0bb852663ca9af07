"""The commands that measure: ``likewise eval``, ``eval-compare`` and ``eval-folds``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import progress
from .options import (
    FeatureOptions,
    JsonOption,
    MethodOptions,
    NoCacheOption,
    RefineOption,
    RuntimeOptions,
    encoder_options,
    takes_groups,
)


@dataclass(frozen=True)
class MeasuredMethodOptions(MethodOptions):
    """The method and any of its settings, by name."""

    setting: Annotated[
        list[str], typer.Option("--set", help="name=value of the method; may be repeated.")
    ] = field(default_factory=list)

    def settings(self) -> dict[str, Any]:
        """Of the method. Raises LikewiseError if one is no name=value."""
        decoder = {} if self.decoder is None else {"decoder": self.decoder}
        return {**parse_settings(self.setting), **decoder}


@dataclass(frozen=True)
class MeasuredFeatureOptions(FeatureOptions):
    """``FeatureOptions`` with ``--size`` as another name of ``--image-size``."""

    image_size: Annotated[
        int | None,
        typer.Option("--size", "--image-size", help="Side of the square the backbone sees."),
    ] = None


@app.command("eval")
@takes_groups
def evaluate(
    *,
    episodes: Annotated[
        list[Path],
        typer.Option("--episodes", "-e", help="JSON list, see docs/evaluate.md; may be repeated."),
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that paths start from; default that of the first list."),
    ] = None,
    algorithm: MeasuredMethodOptions,
    shots: Annotated[int, typer.Option(help="References for each episode.")] = 1,
    only_full_shots: Annotated[
        bool, typer.Option("--only-full-shots", help="Leave out episodes with fewer.")
    ] = False,
    refine: RefineOption = DEFAULT_REFINER,
    exclude: Annotated[list[str], typer.Option(help="A set to leave out; may be repeated.")] = [],  # noqa: B006
    limit: Annotated[
        int | None, typer.Option(help="So many episodes, spread evenly over the list.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Report to write.")] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder for the predicted masks.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each episode.")
    ] = None,
    no_cache: NoCacheOption = False,
    network: MeasuredFeatureOptions,
    machine: RuntimeOptions,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy and speed on a list of episodes."""
    from ..lab.evaluation.episodes import check_files, choose, read_episodes

    # Everything that can be wrong with the input, before the seconds that a backbone takes.
    algorithm.settings()  # the rest of the check needs torch: see params below
    folder = episodes[0].parent if root is None else root
    listed = read_episodes(episodes, folder)
    trials = choose(
        listed, shots=shots, only_full_shots=only_full_shots, exclude=exclude, limit=limit
    )
    check_files(trials)
    inputs = [
        path
        for e in listed
        for path in (e.reference, e.reference_mask, e.target, e.target_mask)
        if isinstance(path, Path)
    ]

    from ..io.files import write_json
    from ..lab.evaluation.report import as_text, describe, make_report
    from ..lab.evaluation.runner import TrialOutcome, result_file, run_trials
    from ..lab.evaluation.stopwatch import Stopwatch
    from ..refine import check_refiner
    from ..run.jobs import check_output_files

    check_output_files([] if out is None else [out], [*episodes, *inputs])
    for option, place, suffix in (("--masks", masks, ".png"), ("--pictures", pictures, ".jpg")):
        files = [result_file(place, t.episode, suffix) for t in trials] if place else []
        check_output_files(files, [*episodes, *inputs], option)
    check_refiner(refine)

    from ..lab.evaluation.cache import TimedEncoder
    from ..segmenter import Segmenter

    params = algorithm.params()

    watch = Stopwatch()
    encoder = TimedEncoder(
        keep=not no_cache, watch=watch, **encoder_options(network, machine, params)
    )
    segmenter = Segmenter(encoder, method=params, refiner="none")
    _ = encoder.basis  # made or read now: it is no part of encoding the first image
    start = time.perf_counter()
    outcomes: list[TrialOutcome] = []
    with progress(len(trials)) as advance:
        for outcome in run_trials(
            segmenter, trials, refiner=refine, watch=watch, masks=masks, pictures=pictures
        ):
            outcomes.append(outcome)
            advance(None)
    what = describe(
        segmenter,
        refine=refine,
        shots=shots,
        only_full_shots=only_full_shots,
        episodes=len(trials),
        lists=[str(file) for file in episodes],
        root=str(folder.resolve()),
        exclude=list(exclude),
        limit=limit,
        cache=not no_cache,
    )
    report = make_report(
        outcomes,
        watch,
        time.perf_counter() - start,
        what,
        root=folder,
        beside=None if out is None else out.parent,
    )
    if out is not None:
        write_json(out, report)
    print(json.dumps(report, indent=2) if as_json else as_text(report))


@app.command("eval-compare")
def compare_reports(
    first: Annotated[Path, typer.Argument(metavar="A.json", help="Report to start from.")],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Report to compare with it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture of the largest differences.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the images; default the one in A.json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How much better B is than A on the same episodes: B minus A, with its interval."""
    from ..io.encoding import picture_format, write_image
    from ..lab.evaluation.compare import compare, comparison_text, draw_grid, read_run
    from ..run.jobs import check_output_files

    if out is not None:
        picture_format(out)
    a, b = read_run(first), read_run(second)
    result = compare(a, b)
    if out is not None:
        check_output_files([out], [first, second])
        write_image(out, draw_grid(a, b, root))
    print(json.dumps(result, indent=2) if as_json else comparison_text(result))
    if out is not None:
        print(f"look at {out}", file=sys.stderr if as_json else sys.stdout)


@app.command("eval-folds")
def leave_out(
    reports: Annotated[
        list[Path], typer.Argument(metavar="A.json B.json ...", help="Reports to choose between.")
    ],
    folds: Annotated[int, typer.Option(help="Groups of sets that are left out in turn.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Choose the best report on some sets, judge it on the others, and compare with the first."""
    from ..lab.evaluation.compare import read_run
    from ..lab.evaluation.leave_out import leave_out_text, leave_sets_out

    result = leave_sets_out([read_run(file) for file in reports], folds)
    print(json.dumps(result, indent=2) if as_json else leave_out_text(result))


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """``name=value`` texts as numbers and truth values. Raises LikewiseError for anything else."""
    settings: dict[str, int | float | bool] = {}
    for text in texts:
        name, _, word = text.partition("=")
        value = _parse(word.strip())
        if not name.strip().isidentifier() or value is None:
            raise LikewiseError(
                f"--set {text} is no name=value: give a number, true or false, such as "
                "--set tau=0.8."
            )
        settings[name.strip()] = value
    return settings


def _parse(word: str) -> int | float | bool | None:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None

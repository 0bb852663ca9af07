"""The command that segments images: ``likewise segment``."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import (
    SHOWN,
    importing,
    json_ready,
    notes,
    print_error,
    print_json,
    progress,
    stopping,
)
from .options import (
    ConsensusOption,
    FeatureOptions,
    InstancesOption,
    JsonOption,
    OptionalExampleOptions,
    OverwriteOption,
    PictureOptions,
    RefineOption,
    ResumeOption,
    RuntimeOptions,
    TargetsArgument,
    TileOption,
    TunedMethodOptions,
    VocabularyOptions,
    given,
    takes_groups,
)

if TYPE_CHECKING:
    from ..run.outcomes import Outcome


@app.command()
@takes_groups
def segment(
    *,
    context: typer.Context,
    targets: TargetsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the masks.")],
    examples: OptionalExampleOptions,
    references_file: Annotated[
        Path | None,
        typer.Option("--references", help="Instead: a file of `likewise references save`."),
    ] = None,
    classes: VocabularyOptions,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON of points, boxes and scribbles that correct what is found."),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write <stem>_overlay.jpg pictures.")
    ] = False,
    instances: InstancesOption = False,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    consensus: ConsensusOption = False,
    refine: RefineOption = DEFAULT_REFINER,
    tile: TileOption = "auto",
    pictures: PictureOptions,
    algorithm: TunedMethodOptions,
    network: FeatureOptions,
    machine: RuntimeOptions,
    as_json: JsonOption = False,
) -> None:
    """Find in other images what is masked in the reference.

    Writes <stem>.png for each: 0/255, or with several labels 1, 2, ...; the image's size.
    """
    from ..run.folder import FolderRun
    from .references import check_one_source, choose_references

    check_one_source(examples, classes, references_file)
    if consensus and tile not in ("auto", "off"):
        raise LikewiseError("--consensus sees whole images: leave out --tile or --consensus.")
    choice = pictures.choice
    chosen = given(context, algorithm, network)
    settings = {name: chosen.pop(name) for name in algorithm.settings() if name in chosen}
    with importing():
        run = FolderRun(
            targets,
            out,
            references_file or choose_references(examples, classes, choice),
            only=classes.only,
            overlay=overlay,
            instances=instances,
            resume=resume,
            overwrite=overwrite,
            consensus=consensus,
            prompts=prompts,
            inputs=examples.files,
            refiner=refine,
            tile=tile,
            **choice.said,
            **vars(machine),
            settings=settings,
            **chosen,
        )
    outcomes: list[Outcome] = []
    interrupted = "stopped by Ctrl-C: finished masks are whole, --resume goes on from here."
    with stopping(interrupted) as stopped, progress(len(run.jobs), of=run.segmenter) as advance:
        for outcome in run:
            outcomes.append(outcome)
            for error in outcome.unwritten:
                print_error(error)
            advance(outcome.error)

    states = Counter(o.state for o in outcomes)
    lacking = sum(bool(o.unwritten) for o in outcomes)
    if as_json:
        report = {
            "backbone": run.segmenter.encoder.spec.name,
            "references": run.reference_count,
            "out": str(out),
            "labels": {str(k): label for label, k in run.numbers.items()},
            "written": states["made"],
            "kept": states["kept"] + states["by_hand"],
            "by_hand": states["by_hand"],
            "failed": states["failed"],
            "not_reached": len(run.jobs) - len(outcomes),
            "targets": [json_ready(dataclasses.asdict(o)) | {"state": o.state} for o in outcomes],
            **notes(),
        }
        print_json(report)
    else:
        empty = sum(o.area == 0 and o.state == "made" for o in outcomes)
        parts = [f"{empty} of them empty"] if empty else []
        parts += [f"{lacking} of them without a file beside it"] if lacking else []
        parts += [f"{states['kept']} kept"] if resume else []
        parts += [f"{states['failed']} failed"] if states["failed"] else []
        parts += [f"{len(run.jobs) - len(outcomes)} not reached"] if stopped.reason else []
        print(f"{states['made']} of {len(run.jobs)} masks written to {out}", *parts, sep=", ")
        _say_more(outcomes)
    if states["failed"] or lacking or stopped.reason:
        raise typer.Exit(1)


def _say_more(outcomes: Sequence[Outcome]) -> None:
    """Print why masks were made anew with ``--resume``, and which were kept as changed by hand."""
    anew = Counter(o.anew for o in outcomes if o.anew and o.state == "made").most_common()
    if anew:
        (first, count), *others = anew
        print(f"{count} made anew: {first}", *(f"{n}: {why}" for why, n in others), sep="; ")
    if by_hand := [o.mask.name for o in outcomes if o.by_hand and o.mask is not None]:
        named = ", ".join(by_hand[:SHOWN]) + (", ..." if len(by_hand) > SHOWN else "")
        which = "them" if len(by_hand) > 1 else "it"
        print(f"{len(by_hand)} kept, changed by hand: {named}; --overwrite replaces {which}")

"""Clips on the command line: ``likewise video``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import kept_notes, last_of, print_json, progress, stopping
from .options import (
    BackboneOptions,
    JsonOption,
    MethodOptions,
    OverwriteOption,
    RefineOption,
    ResumeOption,
    RuntimeOptions,
    open_segmenter,
    takes_groups,
)

if TYPE_CHECKING:
    from ..run.outcomes import Outcome


@app.command()
@takes_groups
def video(
    *,
    clip: Annotated[Path, typer.Argument(help="A video file, or a folder of frames.")],
    mask: Annotated[
        list[Path],
        typer.Option("--mask", "-m", help="Mask of that frame: 0 and 255, or a value an object."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what is found.")],
    reference_frame: Annotated[
        list[int],
        typer.Option("--reference-frame", "-r", help="Annotated frame, from 0; may be repeated."),
    ] = [0],  # noqa: B006 (typer copies it)
    label: Annotated[
        list[str], typer.Option(help="Name of an object, by ascending values of the masks.")
    ] = [],  # noqa: B006
    first: Annotated[int, typer.Option("--from", min=0, help="First frame to segment.")] = 0,
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="Last frame to segment; default the clip's.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only every so many frames.")] = 1,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Look at every frame alone, to compare.")
    ] = False,
    no_overlay: Annotated[bool, typer.Option("--no-overlay", help="Write no overlay.mp4.")] = False,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    refine: RefineOption = DEFAULT_REFINER,
    algorithm: MethodOptions,
    network: BackboneOptions,
    machine: RuntimeOptions,
    as_json: JsonOption = False,
) -> None:
    """Follow the objects of annotated frames through a clip: masks, video, COCO-video JSON."""
    from ..methods import get_method
    from ..methods.segic.text import TASKS
    from ..refine import check_refiner
    from ..video.annotation import read_annotations
    from ..video.frames import open_clip, tell_order
    from ..video.run import LOG, ClipRun
    from ..video.video_file import pyav

    # Everything that can be wrong with the input, before the seconds that a backbone takes.
    # Where a method knows tasks: not anything of the class, but this very thing.
    task = TASKS.index("instance") if get_method(algorithm.method).CAN.decoder else None
    params = algorithm.params(task=task)
    check_refiner(refine)
    if not no_overlay:
        pyav("overlay.mp4 needs PyAV", "leave it out with --no-overlay")
    if len(reference_frame) != len(mask):
        raise LikewiseError(
            f"{len(reference_frame)} --reference-frame and {len(mask)} --mask were given: give "
            "one --mask for each --reference-frame, in the same order."
        )
    if len(set(reference_frame)) != len(reference_frame):
        raise LikewiseError("a --reference-frame was given twice: give one label map for it.")
    frames = open_clip(clip)
    tell_order(frames, reference_frame)
    annotated = dict(zip(reference_frame, mask, strict=True))
    annotations = read_annotations(annotated, frames.size, len(frames), label)
    stop = last_of(clip, "frames", first, last, len(frames)) + 1
    run = ClipRun(frames, annotations, out, range(first, stop, every), tuple(mask))

    segmenter = open_segmenter(network, machine, method=params, refiner=refine)
    found = run.segment(segmenter, memory=not no_memory, resume=resume, overwrite=overwrite)
    outcomes: list[Outcome] = []
    written: list[Path] = []
    interrupted = "stopped by Ctrl-C: finished masks are whole, --resume goes on from here."
    with stopping(interrupted) as stopped:
        with progress(len(run.order), "video") as advance:
            for outcome in found:
                outcomes.append(outcome)
                advance(None)
        written = run.finish(overlay=not no_overlay)
    states = Counter(outcome.state for outcome in outcomes)
    empty = sum(outcome.area == 0 for outcome in outcomes)
    left = len(run.order) - len(outcomes)
    if as_json:
        report = {
            "backbone": segmenter.encoder.spec.name,
            "objects": list(annotations.labels),
            "size": list(frames.size),
            "written": states["made"],
            "kept": states["kept"],
            "kept_of_a_person": states["by_hand"],
            "empty": empty,
            "not_reached": left,
            "masks": str(out / "masks"),
            "log": str(out / LOG),
            "files": [str(path) for path in written],
        }
        print_json(report)
    else:
        notes = [f"{empty} of them empty"] if empty else []
        notes += kept_notes(states, resume, left)
        print(f"{states['made']} of {len(run.order)} masks written to {out}", *notes, sep=", ")
        if written:
            print(f"look at {written[-1]}")
    if stopped.reason:
        raise typer.Exit(1)

"""Volumes on the command line: ``likewise volume``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import kept_notes, last_of, print_json, progress, stopping, whole_numbers
from .options import (
    BackboneOptions,
    DeviceOptions,
    JsonOption,
    MethodOptions,
    OverwriteOption,
    RefineOption,
    ResumeOption,
    open_segmenter,
    takes_groups,
)

if TYPE_CHECKING:
    from ..run.outcomes import Outcome
    from ..video.annotation import Annotations
    from ..volume.clip import Slices
    from ..volume.run import Measured


@app.command()
@takes_groups
def volume(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="VOLUME",
            help="NIfTI, a TIFF stack, OME-Zarr, the folder of a DICOM series or its one file.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what is found.")],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", "-l", help="Label volume in which some slices are annotated."),
    ] = None,
    slices: Annotated[
        str, typer.Option(help="Annotated slices, from 0: 40,60; default all that hold a label.")
    ] = "",
    mask: Annotated[
        list[Path],
        typer.Option("--mask", "-m", help="Instead of --labels: a mask for each of --slices."),
    ] = [],  # noqa: B006 (typer copies it)
    show: Annotated[
        str, typer.Option(help="Only write the pictures of these slices, to draw masks on: 40,60.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="Values of --labels to look for: 5,2; default all there.")
    ] = "",
    label: Annotated[
        list[str],
        typer.Option(help="Name of a class, in the order of --classes or by ascending values."),
    ] = [],  # noqa: B006
    axis: Annotated[
        str | None,
        typer.Option(help="0, 1, 2, axial, coronal or sagittal; default as scanned, else axial."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="lung, bone, soft, mediastinum, liver, brain or LO,HI; default nearly all values."
        ),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Channel of a TIFF stack that has several, from 0.")
    ] = None,
    first: Annotated[int, typer.Option("--from", min=0, help="First slice to segment.")] = 0,
    last: Annotated[
        int | None, typer.Option("--to", min=0, help="Last slice to segment; default the last.")
    ] = None,
    no_memory: Annotated[
        bool, typer.Option("--no-memory", help="Look at every slice alone, to compare.")
    ] = False,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    refine: RefineOption = DEFAULT_REFINER,
    algorithm: MethodOptions,
    network: BackboneOptions,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Carry the classes of annotated slices through a volume: one label volume, millilitres."""
    from ..refine import check_refiner
    from ..volume.clip import Slices
    from ..volume.files import open_volume
    from ..volume.run import VolumeRun, write_pictures
    from ..volume.volume import cut_of
    from ..volume.windows import find_window

    # Everything that can be wrong with the input, before the seconds that a backbone takes.
    params = algorithm.params()
    check_refiner(refine)
    opened = open_volume(file, channel)
    clip = Slices(opened, cut_of(opened, axis), find_window(opened.values, window, opened.path))
    if show:
        written = write_pictures(clip, whole_numbers(show, "--show"), out)
        print(f"{len(written)} pictures written to {out}: draw masks on them, for --mask")
        return
    numbers = whole_numbers(slices, "--slices")
    annotations = _annotations(
        clip, labels, mask, numbers, whole_numbers(classes, "--classes"), label
    )
    stop = last_of(file, "slices", first, last, len(clip)) + 1
    inputs = (*mask, *([] if labels is None else [labels]))
    run = VolumeRun(clip, annotations, out, range(first, stop), inputs)
    segmenter = open_segmenter(network, machine, method=params, refiner=refine)
    found = run.clip.segment(segmenter, memory=not no_memory, resume=resume, overwrite=overwrite)
    outcomes: list[Outcome] = []
    measured: list[Measured] = []
    interrupted = "stopped by Ctrl-C: finished slices are whole, --resume goes on from here."
    with stopping(interrupted) as stopped:
        with progress(len(run.clip.order), "volume") as advance:
            for outcome in found:
                outcomes.append(outcome)
                advance(None)
        measured = run.finish()
    states = Counter(outcome.state for outcome in outcomes)
    total = len(run.clip.order)
    left = total - len(outcomes)
    if as_json:
        print_json(
            {
                "backbone": segmenter.encoder.spec.name,
                "shape": list(opened.values.shape),
                "spacing_mm": opened.spacing,
                "axis": clip.cut.order[0],
                "window": list(clip.window),
                "given": sorted(annotations.frames),
                "classes": [asdict(one) for one in measured],
                "written": states["made"],
                "kept": states["kept"],
                "kept_of_a_person": states["by_hand"],
                "not_reached": left,
                "labels": str(run.labels),
                "montage": str(run.montage),
                "masks": str(out / "masks"),
            }
        )
    else:
        notes = kept_notes(states, resume, left)
        print(f"{states['made']} of {total} slices segmented", *notes, sep=", ")
        for one in measured:
            size = f"{one.voxels} voxels" + ("" if one.ml is None else f", {one.ml:.4g} mL")
            print(f"{one.name}: {size}")
        if measured:
            print(f"labels in {run.labels}, look at {run.montage}")
    if stopped.reason:
        raise typer.Exit(1)


def _annotations(
    clip: Slices,
    labels: Path | None,
    masks: list[Path],
    numbers: list[int],
    classes: list[int],
    names: list[str],
) -> Annotations:
    """What the options say of annotated slices."""
    from ..run.labels import MARKED
    from ..video.annotation import read_annotations
    from ..volume.annotation import check_numbers, key_slices
    from ..volume.files import read_label_volume

    if (labels is None) == (not masks):
        raise LikewiseError(
            "annotated slices are needed: give --labels with a label volume, or --slices and a "
            "--mask for each, drawn on the pictures of --show."
        )
    if labels is not None:
        known = read_label_volume(labels, clip.volume)
        return key_slices(known, clip, labels, numbers or None, classes, names)
    if classes:
        raise LikewiseError("--classes is of --labels: leave it out with --mask.")
    if len(numbers) != len(masks):
        raise LikewiseError(
            f"{len(numbers)} --slices and {len(masks)} --mask were given: give one --mask for each "
            "of --slices, in the same order."
        )
    check_numbers(numbers, clip)
    annotated = dict(zip(numbers, masks, strict=True))
    found = read_annotations(annotated, clip.size, len(clip), names)
    return replace(found, values=(1,)) if found.values == (MARKED,) else found

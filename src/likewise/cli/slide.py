"""The command for slides and other pyramids: ``likewise slide``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ImageError, LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import (
    chosen_channels,
    notes,
    print_json,
    print_written,
    progress,
    stopping,
    target_json,
)
from .options import (
    ChannelOption,
    DeviceOptions,
    ExampleOptions,
    FeatureOptions,
    JsonOption,
    LevelOption,
    MppOption,
    RefineOption,
    ResumeOption,
    TileOption,
    open_segmenter,
    takes_groups,
)


@app.command()
@takes_groups
def slide(
    *,
    targets: Annotated[list[str], typer.Argument(help="Slides, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for labels and annotations.")],
    examples: ExampleOptions,
    mpp: MppOption = None,
    level: LevelOption = None,
    channel: ChannelOption = "",
    min_area: Annotated[float, typer.Option(help="No annotations of what is smaller, in µm².")] = 0,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Also look where there is no tissue.")
    ] = False,
    resume: ResumeOption = False,
    tile: TileOption = "auto",
    refine: RefineOption = DEFAULT_REFINER,
    network: FeatureOptions,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Write <stem>.ome.tif of labels (1, 2, ...) of each slide, and <stem>.geojson for QuPath."""
    from ..io.planes import Choice
    from ..run.jobs import check_outputs, places
    from ..slide.marks import read_slide_reference
    from ..slide.run import SlideOptions, SlideResult, annotations_of, find_slides, segment_slides
    from .references import read_references

    if not min_area >= 0:
        raise LikewiseError(f"--min-area {min_area:g} is no area: give µm² from 0 on.")
    channels = Choice(None, chosen_channels(channel), mpp, level).channels
    files = find_slides(targets)
    labels = [out / place for place in places(files, ".ome.tif")]
    labels = [p.with_name(p.name.replace(".ome.ome.tif", ".ome.tif")) for p in labels]
    pairs = list(zip(files, labels, strict=True))
    made = [*pairs, *((file, annotations_of(place)) for file, place in pairs)]
    check_outputs(out, made, [*files, *examples.files])
    read = partial(read_slide_reference, mpp=mpp, level=level, channels=channels)
    references = read_references(**vars(examples), read=read)
    segmenter = open_segmenter(network, machine, refiner=refine, tile=tile).fit(references)

    options = SlideOptions(mpp, level, channels, min_area, everywhere)
    done: list[SlideResult] = []
    report: list[dict[str, Any]] = []
    interrupted = "stopped by Ctrl-C: finished files are whole."
    with stopping(interrupted) as stopped, progress(len(files), of=segmenter) as advance:
        for found in segment_slides(segmenter, pairs, options, resume=resume):
            advance(str(found) if isinstance(found, ImageError) else None)
            if isinstance(found, ImageError):
                report.append({"target": str(pairs[len(report)][0]), "error": str(found)})
                continue
            done.append(found)
            report.append(target_json(found))
    failed = len(report) - len(done)
    if as_json:
        print_json({"labels": list(segmenter.models), "targets": report, **notes()})
    else:
        kept = sum(not (one.tiles or one.skipped) for one in done)
        print_written("slides", out, len(files), len(report), kept, failed, resume=resume)
        for one in done:
            counts = ", ".join(f"{count} {name}" for name, count in one.pieces.items())
            glass = f", {one.skipped} tiles without tissue skipped" if one.skipped else ""
            print(f"{one.path}: {counts}{glass}")
    if failed or stopped.reason:
        raise typer.Exit(1)

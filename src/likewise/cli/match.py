"""The command that finds points again: ``likewise match``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LikewiseError, WriteError
from .app import app
from .console import print_error, print_json
from .options import (
    DeviceOptions,
    FeatureOptions,
    JsonOption,
    PictureOptions,
    TargetsArgument,
    open_segmenter,
    takes_groups,
)


@app.command()
@takes_groups
def match(
    *,
    targets: TargetsArgument,
    reference: Annotated[Path, typer.Option("--reference", "-r", help="Image the points are of.")],
    point: Annotated[
        list[str], typer.Option("--point", "-p", help="X,Y in its pixels; may be repeated.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for <stem>_match.jpg pictures.")
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="Match without debiasing, to compare.")
    ] = False,
    pictures: PictureOptions,
    network: FeatureOptions,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Find points of one image in others (semantic correspondence)."""
    from ..io.draw import draw_matches
    from ..io.encoding import write_image
    from ..io.images import read_image
    from ..matching import check_keypoints
    from ..matching import match as match_points
    from ..run.jobs import check_outputs, make_parent, places
    from ..run.targets import find_images

    try:
        points = [tuple(float(part) for part in text.split(",")) for text in point]
        if any(len(pair) != 2 for pair in points):
            raise ValueError("needs one (x, y) pair for each point")
    except ValueError as error:
        raise LikewiseError(f"--point takes X,Y, such as --point 120,85 ({error}).") from error
    choice = pictures.choice
    image = read_image(choice.of(reference))
    keypoints = check_keypoints(points, image.shape[:2])
    files = find_images(targets)
    drawn = [] if out is None else [out / name for name in places(files, "_match.jpg")]
    if out is not None:
        check_outputs(out, list(zip(files, drawn, strict=True)), inputs=[*files, reference])
    segmenter = open_segmenter(network, machine)
    report: list[dict[str, Any]] = []
    failed = False
    for number, file in enumerate(files):
        try:
            target = read_image(choice.of(file))
            found, similarity = match_points(
                segmenter, image, keypoints, target, debiased=not original
            )
            if drawn:
                make_parent(drawn[number])
                write_image(drawn[number], draw_matches(image, keypoints, target, found))
        except WriteError:
            raise
        except LikewiseError as error:
            failed = True
            print_error(error)
            report.append({"target": str(file), "error": str(error)})
            continue
        report.append(
            {"target": str(file), "points": found.tolist(), "similarity": similarity.tolist()}
        )
        if not as_json:
            for start, end, cosine in zip(keypoints, found, similarity, strict=True):
                print(
                    f"{file}: {start[0]:g},{start[1]:g} -> {end[0]:.1f},{end[1]:.1f} "
                    f"(similarity {cosine:.2f})"
                )
    if as_json:
        print_json(report)
    if failed:
        raise typer.Exit(1)

"""The command that finds points again: ``likewise match``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LikewiseError, WriteError
from .app import app
from .options import (
    BackboneOption,
    BlockOption,
    DeviceOption,
    DtypeOption,
    ImageSizeOption,
    JsonOption,
    OfflineOption,
    RankOption,
    open_segmenter,
)


@app.command()
def match(
    targets: Annotated[list[str], typer.Argument(help="Images, folders or glob patterns.")],
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
    backbone: BackboneOption = "embedded",
    image_size: ImageSizeOption = None,
    block: BlockOption = None,
    svd_components: RankOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find points of one image in others (semantic correspondence)."""
    from ..io.draw import draw_matches
    from ..io.encoding import write_image
    from ..io.images import read_image
    from ..matching import check_keypoints
    from ..matching import match as match_points
    from ..run.jobs import claim, make_parent, places
    from ..run.targets import find_images

    try:
        points = [tuple(float(part) for part in text.split(",")) for text in point]
        if any(len(pair) != 2 for pair in points):
            raise ValueError("needs one (x, y) pair for each point")
    except ValueError as error:
        raise LikewiseError(f"--point takes X,Y, such as --point 120,85 ({error}).") from error
    image = read_image(reference)
    keypoints = check_keypoints(points, image.shape[:2])
    files = find_images(targets)
    pictures = [] if out is None else [out / name for name in places(files, "_match.jpg")]
    if out is not None:
        claim(out, list(zip(files, pictures, strict=True)), inputs=[*files, reference])
    segmenter = open_segmenter(
        svd_components,
        backbone=backbone,
        image_size=image_size,
        device=device,
        dtype=dtype,
        block=block,
        offline=offline,
    )
    report: list[dict[str, Any]] = []
    failed = False
    for number, file in enumerate(files):
        try:
            target = read_image(file)
            found, similarity = match_points(
                segmenter, image, keypoints, target, debiased=not original
            )
            if pictures:
                make_parent(pictures[number])
                write_image(pictures[number], draw_matches(image, keypoints, target, found))
        except WriteError:
            raise
        except LikewiseError as error:
            failed = True
            print(f"likewise: {error}", file=sys.stderr)
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
        print(json.dumps(report, indent=2))
    if failed:
        raise typer.Exit(1)

"""The command that makes datasets of finished masks: ``likewise export``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LikewiseError
from .app import app
from .console import notes, print_error, print_json, progress, stopping
from .options import (
    JsonOption,
    SimplifyOption,
)

if TYPE_CHECKING:
    from ..export.annotations import Annotation


@app.command()
def export(
    masks: Annotated[
        Path, typer.Argument(help="A project, or a folder that `likewise segment` wrote to.")
    ],
    kind: Annotated[
        str, typer.Option("--format", "-f", help="coco, yolo, voc, labelme, qupath or masks.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the dataset.")],
    images: Annotated[
        list[str],
        typer.Option("--images", "-i", help="Their images: files, a folder or a pattern."),
    ] = [],  # noqa: B006 (typer copies it)
    val: Annotated[
        float, typer.Option(help="Share of the images for validation; their content decides.")
    ] = 0.0,
    label: Annotated[
        str | None, typer.Option(help="Name of the class; default object, or labels.json.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="What `likewise segment --json` printed: confidences.")
    ] = None,
    min_area: Annotated[
        int, typer.Option(help="Leave out connected components of fewer pixels.")
    ] = 1,
    simplify: SimplifyOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Write finished masks as a dataset: COCO, YOLO, VOC, Labelme, QuPath or label maps."""
    from ..export.annotations import (
        find_pairs,
        name_values,
        named,
        read_annotation,
        read_classes,
        read_scores,
    )
    from ..export.dataset import ExportSettings, check_folder, find_writer, write_dataset
    from ..io.text_files import normal
    from ..project.settings import CONFIG
    from ..run.jobs import check_outputs
    from ..run.targets import find_images

    # Everything that can be wrong with the call, before anything is written.
    confidences: Mapping[Path, Mapping[str, float] | float]
    if (masks / CONFIG).is_file():
        if images or label is not None or scores is not None:
            raise LikewiseError(
                f"{masks} is a project, which knows its images, classes and scores: leave "
                "--images, --label and --scores away."
            )
        from ..project.project import Project

        work = Project(masks)
        finished = work.finished()
        if not finished:
            raise LikewiseError(
                f"{masks} has no finished masks to export: run likewise annotate {masks}, or look "
                f"at them with likewise review {masks}."
            )
        files = [image for image, _, _ in finished]
        pairs = named([(image, mask) for image, mask, _ in finished], work.manifest)
        confidences = {mask: classes for _, mask, classes in finished}
        names = name_values(work.classes)
    else:
        if not images:
            raise LikewiseError(f"{masks} is no project: give the images of its masks as --images.")
        names = read_classes(masks, label)
        files = find_images(images)
        pairs = find_pairs(masks, files)
        known = {} if scores is None else read_scores(scores)
        places = {normal(p.mask.relative_to(masks).as_posix()): p.mask for p in pairs}
        confidences = {places[place]: score for place, score in known.items() if place in places}
    settings = ExportSettings(names.classes, val, min_area, simplify)
    find_writer(kind, settings)
    check_folder(out)
    check_outputs(out)

    failed, reached = 0, 0
    interrupted = f"stopped by Ctrl-C: {out} is unfinished, delete it and start again."
    summary = None
    with stopping(interrupted) as stopped, progress(len(pairs), "export") as advance:

        def read() -> Iterator[Annotation]:
            nonlocal failed, reached
            for pair in pairs:
                try:
                    found = read_annotation(pair, names, score=confidences.get(pair.mask))
                except LikewiseError as error:
                    failed += 1
                    advance(str(error))
                else:
                    yield found
                    advance(None)
                reached += 1

        summary = write_dataset(read(), out, kind, settings)
        failed += len(summary.failed)
        for error in summary.failed:
            print_error(error)

    report = {
        "format": kind,
        "out": str(out),
        "finished": summary is not None,
        "images": {} if summary is None else dict(summary.images),
        "instances": {} if summary is None else dict(summary.instances),
        "empty": 0 if summary is None else summary.empty,
        "failed": failed,
        "not_reached": len(pairs) - reached,
        "without_mask": len(files) - len(pairs),
        **notes(),
    }
    if as_json:
        print_json(report)
    elif summary is not None:
        number = sum(summary.images.values())
        parts = [f"{summary.images['val']} of them for validation"] if val else []
        parts += [f"{summary.empty} of them empty"] if summary.empty else []
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{len(files) - len(pairs)} without a mask"] if len(files) > len(pairs) else []
        total = sum(summary.instances.values())
        print(f"{number} images with {total} instances written to {out}", *parts, sep=", ")
    if failed or stopped.reason:
        raise typer.Exit(1)

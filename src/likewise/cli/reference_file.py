"""The commands about references kept in a file: ``likewise references save | show``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .console import print_json
from .options import (
    FeatureOptions,
    JsonOption,
    OptionalExampleOptions,
    PictureOptions,
    RuntimeOptions,
    TunedMethodOptions,
    VocabularyOptions,
    open_segmenter,
    takes_groups,
)

references_app = typer.Typer(
    help="Keep references in a file, to segment without their pictures.", no_args_is_help=True
)
app.add_typer(references_app, name="references")
PER_ROW = 4


@references_app.command()
@takes_groups
def save(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, FILE.safetensors.")],
    examples: OptionalExampleOptions,
    classes: VocabularyOptions,
    pictures: PictureOptions,
    algorithm: TunedMethodOptions,
    network: FeatureOptions,
    machine: RuntimeOptions,
    half: Annotated[
        bool, typer.Option("--half", help="Half the size; masks may change by a pixel.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write references to one file, with small pictures of them, for `segment --references`."""
    from ..reference_file import check_name
    from ..run.folder import files_of
    from ..run.jobs import check_output_files
    from .references import choose_references

    check_name(out)
    references = choose_references(examples, classes, pictures.choice)
    inputs = [*examples.files, *files_of(references)]
    check_output_files([out], inputs)
    segmenter = open_segmenter(network, machine, method=algorithm.params())
    segmenter.fit(references).save(out, half=half)
    show(out, as_json=as_json)


@references_app.command()
def show(
    file: Annotated[Path, typer.Argument(help="What `likewise references save` wrote.")],
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw the references and their masks.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What is in a references file: classes, backbone, method and settings."""
    from ..reference_file import read_info

    info = read_info(file)
    if picture is not None:
        _draw(file, picture)
    size = file.stat().st_size
    if as_json:
        facts = dataclasses.asdict(info) | {"path": str(file), "bytes": size}
        print_json(facts | {"classes": info.classes, "negatives": info.negatives})
        return
    print(f"{'file':12} {file} ({size / 1e6:.1f} MB, likewise {info.likewise})")
    for label, count in info.classes.items():
        print(f"{'class':12} {label}: {count} reference{'s' * (count > 1)}")
    height, width = info.image_size
    rows = {"negatives": info.negatives, "backbone": info.backbone, "block": info.block}
    rows |= {"input size": f"{width}x{height} px", "rank": info.rank, "dtype": info.dtype}
    rows |= {"rounded": "to float16"} if info.half else {}
    for name, value in (rows | {"method": info.method, **info.settings}).items():
        print(f"{name:12} {value:g}" if isinstance(value, float) else f"{name:12} {value}")


def _draw(file: Path, out: Path) -> None:
    """A contact sheet of the thumbnails with their masks."""
    from ..io.draw import class_colour, contact_sheet, overlay
    from ..io.encoding import picture_format, write_image
    from ..reference_file import read_info, read_thumbnails
    from ..run.jobs import check_output_files

    picture_format(out)
    check_output_files([out], [file], "--picture")
    info = read_info(file)
    numbers = {label: k for k, label in enumerate(info.classes, 1)}
    pictures = []
    for shot, small in zip(info.shots, read_thumbnails(file), strict=True):
        if small is not None:
            text = "not this" if shot["negative"] else shot["label"]
            colour = (40, 40, 40) if shot["negative"] else class_colour(numbers[shot["label"]])
            pictures.append((overlay(*small, colour=colour), text))
    rows = [pictures[n : n + PER_ROW] for n in range(0, len(pictures), PER_ROW)]
    write_image(out, contact_sheet(rows))

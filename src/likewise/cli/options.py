"""Options that several commands share, and what their values mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..segmenter import Segmenter

ReferenceOption = Annotated[
    list[Path], typer.Option("--reference", "-r", help="Example image; may be repeated.")
]
MaskOption = Annotated[
    list[Path],
    typer.Option(
        "--mask", "-m", help="Its mask, an image or annotations; one for each --reference."
    ),
]
MaskValueOption = Annotated[
    list[str],
    typer.Option(
        help="What marks the example: a label (3), any, or a colour (#ff0000); one for each "
        "--mask, or for all."
    ),
]
LabelOption = Annotated[
    list[str],
    typer.Option("--label", help="Class of the example, one for each --reference; they compete."),
]
VocabularyOption = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary", help="Instead: a folder with a folder of images and masks for each class."
    ),
]
OnlyOption = Annotated[
    list[str],
    typer.Option("--only", help="Class to look for, of those of a vocabulary; may be repeated."),
]
NegativeOption = Annotated[
    list[Path], typer.Option("--negative", help="Image of what it is not; may be repeated.")
]
NegativeMaskOption = Annotated[
    list[Path],
    typer.Option("--negative-mask", help="Marks that in it, one for each; default all of it."),
]
MethodOption = Annotated[
    str, typer.Option("--method", help="likewise, segic, insid3, foris, frost or nearest.")
]
DecoderOption = Annotated[
    Path | None, typer.Option(help="For segic: the file that `likewise segic train` wrote.")
]
ThresholdOption = Annotated[
    float | None, typer.Option(help="For likewise: above 0 gives smaller masks, below larger.")
]
TauOption = Annotated[
    float | None, typer.Option(help="Clustering similarity -1..1; higher gives finer regions.")
]
AlphaOption = Annotated[
    float | None, typer.Option(help="For insid3: lower adds more regions to the mask.")
]
BackboneOption = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        help="A name from `likewise backbones`, a file or folder; or several with + between them.",
    ),
]
ImageSizeOption = Annotated[
    int | None, typer.Option(help="Side of the square the backbone sees; bigger is finer, slower.")
]
BlockOption = Annotated[int | None, typer.Option(help="1-based block to read; default the last.")]
RankOption = Annotated[
    float | None,
    typer.Option(help="Rank of the positional basis: a count, or a fraction below 1 of D."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
InstancesOption = Annotated[
    bool, typer.Option("--instances", help="Also tell the objects of a class apart, for export.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


METHOD_SETTINGS = ("decoder", "threshold", "tau", "alpha")
"""Options that are settings of the method."""


def open_segmenter(rank: float | None, **options: Any) -> Segmenter:
    """A segmenter of ``--svd-components`` and further options, ``METHOD_SETTINGS`` among them."""
    from ..methods import make_params
    from ..segmenter import Segmenter

    settings = {name: options.pop(name) for name in METHOD_SETTINGS if name in options}
    if settings:
        options["method"] = make_params(options["method"], settings)
    return Segmenter(svd_components=parse_rank(rank), **options)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, even if with its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def parse_rank(rank: float | None) -> int | float | None:
    """A whole number is a count of directions, as in the papers; a fraction is one of D."""
    return int(rank) if rank is not None and float(rank).is_integer() else rank

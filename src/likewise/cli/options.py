"""Options that several commands share: each is defined once, alone or in a group.

A group is a frozen dataclass whose fields are options. A command under ``@takes_groups`` has a
parameter of that class; on the command line each field is an option of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ..methods import DEFAULT, MethodParams, make_params
from .console import chosen_channels

if TYPE_CHECKING:
    from ..io.planes import Choice
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
BackboneOption = Annotated[
    str,
    typer.Option(
        "--backbone",
        "-b",
        help="A name from `likewise backbones`, a file or folder; or several with + between them.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Never touch the network.")]
RefineOption = Annotated[str, typer.Option(help="Edges: none, guided or crf.")]
TileOption = Annotated[
    str, typer.Option(help="Read in tiles: auto (large or fine images), off, or a side in pixels.")
]
InstancesOption = Annotated[
    bool, typer.Option("--instances", help="Also tell the objects of a class apart, for export.")
]
ConsensusOption = Annotated[
    bool, typer.Option("--consensus", help="Targets of one kind become references of each other.")
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on after a stop: keep what this run would make again."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Also replace masks that a person made or changed.")
]
SimplifyOption = Annotated[
    float, typer.Option(help="Pixels that polygons may stray, at IoU 0.98; 0 is exact.")
]
HostOption = Annotated[
    str, typer.Option(help="Address to listen at; others than this machine's open it to all.")
]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")
]
PageOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Page, frame or plane of files with several, from 0; also of --reference."
    ),
]
ChannelOption = Annotated[
    str,
    typer.Option(help="Channels to see, from 0: one, as grey, or 2,1,0 as red, green and blue."),
]
MppOption = Annotated[
    float | None, typer.Option(help="Of slides: µm a pixel to read them at; also of --reference.")
]
LevelOption = Annotated[
    int | None, typer.Option(min=0, help="Instead: a level of the pyramid, 0 the finest.")
]
TargetsArgument = Annotated[list[str], typer.Argument(help="Images, folders or glob patterns.")]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Compute all features, keep none on disk.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def whole_rank(rank: float | None) -> int | float | None:
    """A whole number is a count of directions, as in the papers; a fraction is one of D."""
    return int(rank) if rank is not None and float(rank).is_integer() else rank


@dataclass(frozen=True)
class ExampleOptions:
    """Images and masks that show what to look for, and what it is not."""

    reference: ReferenceOption
    mask: MaskOption
    mask_value: Annotated[
        list[str],
        typer.Option(
            help="What marks the example: a label (3), any, or a colour (#ff0000); one for each "
            "--mask, or for all."
        ),
    ] = field(default_factory=list)
    label: Annotated[
        list[str],
        typer.Option(
            "--label", help="Class of the example, one for each --reference; they compete."
        ),
    ] = field(default_factory=list)
    negative: Annotated[
        list[Path], typer.Option("--negative", help="Image of what it is not; may be repeated.")
    ] = field(default_factory=list)
    negative_mask: Annotated[
        list[Path],
        typer.Option("--negative-mask", help="Marks that in it, one for each; default all of it."),
    ] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """All files that are given."""
        return [*self.reference, *self.mask, *self.negative, *self.negative_mask]


@dataclass(frozen=True)
class OptionalExampleOptions(ExampleOptions):
    """Examples, where something else may stand for them."""

    reference: ReferenceOption = field(default_factory=list)
    mask: MaskOption = field(default_factory=list)
    points: Annotated[
        list[str],
        typer.Option(
            help="X,Y,1 of a pixel of the thing, X,Y,0 of one that is not it: instead of --mask, "
            "or to correct it; may be repeated."
        ),
    ] = field(default_factory=list)
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 around the thing, as --points.")] = (
        None
    )


@dataclass(frozen=True)
class VocabularyOptions:
    """A folder of named references instead of single examples."""

    vocabulary: Annotated[
        Path | None,
        typer.Option(
            "--vocabulary",
            help="Instead: a folder with a folder of images and masks for each class.",
        ),
    ] = None
    only: Annotated[
        list[str],
        typer.Option(
            "--only", help="Class to look for, of those of a vocabulary; may be repeated."
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class PictureOptions:
    """Which picture of files that hold several."""

    page: PageOption = None
    channel: ChannelOption = ""
    mpp: MppOption = None
    level: LevelOption = None

    @property
    def choice(self) -> Choice:
        """The same for the library. Raises LikewiseError for what is no choice."""
        from ..io.planes import Choice

        return Choice(self.page, chosen_channels(self.channel), self.mpp, self.level)


@dataclass(frozen=True)
class MethodOptions:
    """The method, and what it cannot do without; all but ``method`` are settings of it."""

    method: Annotated[
        str, typer.Option("--method", help="likewise, segic, insid3, foris, frost or nearest.")
    ] = DEFAULT
    decoder: Annotated[
        Path | None, typer.Option(help="For segic: the file that `likewise segic train` wrote.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """Fields of the method's ``Params``; None is the default."""
        return {name: value for name, value in vars(self).items() if name != "method"}

    def params(self, **more: Any) -> MethodParams:
        """The method with these settings and ``more``. Raises LikewiseError as ``make_params``."""
        return make_params(self.method, {**self.settings(), **more})


@dataclass(frozen=True)
class TunedMethodOptions(MethodOptions):
    """The method and its settings; None is its default."""

    threshold: Annotated[
        float | None,
        typer.Option(help="For likewise and segic: above 0 gives smaller masks, below larger."),
    ] = None
    tau: Annotated[
        float | None,
        typer.Option(help="For insid3 and foris: similarity -1..1; higher gives finer regions."),
    ] = None
    alpha: Annotated[
        float | None, typer.Option(help="For insid3: lower adds more regions to the mask.")
    ] = None


@dataclass(frozen=True)
class BackboneOptions:
    """The backbone and its input."""

    backbone: BackboneOption = "embedded"
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the square the backbone sees; bigger is finer, slower."),
    ] = None


@dataclass(frozen=True)
class FeatureOptions(BackboneOptions):
    """The backbone, its input, and which features of it are used."""

    block: Annotated[int | None, typer.Option(help="1-based block to read; default the last.")] = (
        None
    )
    svd_components: Annotated[
        float | None,
        typer.Option(
            callback=whole_rank,
            help="Rank of the positional basis: a count, or a fraction below 1 of D.",
        ),
    ] = None


@dataclass(frozen=True)
class DeviceOptions:
    """Where and how precisely to compute."""

    device: DeviceOption = "auto"
    dtype: Annotated[
        str,
        typer.Option(
            help="auto, float32, bfloat16 or float16; auto is float32, but bfloat16 for the "
            "default method and backbone on a processor that has it."
        ),
    ] = "auto"
    offline: OfflineOption = False


@dataclass(frozen=True)
class RuntimeOptions(DeviceOptions):
    """``DeviceOptions`` with what runs the backbone."""

    runtime: Annotated[
        str, typer.Option(help="torch, or openvino or onnx, on the CPU, if installed.")
    ] = "torch"


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command have parameters that are groups: typer sees an option for each of their fields.

    Args:
        command: each parameter is one of typer's, or annotated with a frozen dataclass of them.

    Returns:
        The command for typer, which takes the fields and passes instances on.
    """
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if dataclasses.is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _parameters_of(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        filled = {
            name: group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**given, **filled)

    vars(call)["__signature__"] = inspect.Signature(parameters)  # typer asks inspect for it
    return call


def _parameters_of(group: Any) -> list[inspect.Parameter]:
    """The fields of a group as parameters of a function."""
    hints = get_type_hints(group, include_extras=True)
    parameters = []
    for f in dataclasses.fields(group):
        default: Any = inspect.Parameter.empty
        if f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        elif f.default is not dataclasses.MISSING:
            default = f.default
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(
            inspect.Parameter(f.name, kind, default=default, annotation=hints[f.name])
        )
    return parameters


def keywords(*groups: Any) -> dict[str, Any]:
    """The fields of groups, name → value."""
    return {name: value for group in groups for name, value in vars(group).items()}


def given(context: typer.Context, *groups: Any) -> dict[str, Any]:
    """As ``keywords``, of those fields that are on the command line, even if with their default."""
    return {name: value for name, value in keywords(*groups).items() if is_given(context, name)}


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, even if with its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def encoder_options(network: Any, machine: DeviceOptions, method: MethodParams) -> dict[str, Any]:
    """Of an ``Encoder`` for a method: ``auto`` of dtype is what is usual for it."""
    from ..methods import usual_dtype

    options = keywords(network, machine)
    known = machine.dtype, method, network.backbone, machine.device
    return options | {"dtype": usual_dtype(*known, options.get("runtime", "torch"))}


def open_segmenter(*groups: Any, **more: Any) -> Segmenter:
    """A segmenter with the options of groups and further keywords."""
    from ..segmenter import Segmenter

    return Segmenter(**keywords(*groups), **more)

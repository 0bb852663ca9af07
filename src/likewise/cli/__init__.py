"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import InputWarning, LikewiseError, WriteError
from ..methods import DEFAULT

if TYPE_CHECKING:
    from ..run.runner import Outcome
    from ..segmenter import Segmenter

app = typer.Typer(
    help="Mask one example, get the same thing masked in every other image.",
    epilog="Exit codes: 0 all done, 1 some targets failed or were not reached, 2 nothing started.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
backbones_app = typer.Typer(help="List, download, verify and describe backbones.")
app.add_typer(backbones_app, name="backbones")

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


SHOWN = 3
"""How many notes of a kind are printed; the rest are counted."""
_notes: dict[tuple[str, str], None] = {}
"""(source, what) of the InputWarnings of this run, each once."""


def main() -> None:
    """Entry point: every error a person can mend is one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with _printed_notes():
            app()
            sys.stdout.flush()
    except LikewiseError as error:
        _fail(str(error))
    except OSError as error:  # ours are explained: this is stdout itself, full or closed
        _fail(f"output cannot be written ({error.strerror}): redirect it to where there is room.")


@contextmanager
def _printed_notes() -> Iterator[None]:
    """Print InputWarnings, each kind a few times and then how many more; others as Python does."""
    _notes.clear()
    kinds: Counter[str] = Counter()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Warning | str, *where: Any, **more: Any) -> None:
            if not isinstance(message, InputWarning):
                show(message, *where, **more)
            elif (key := (message.source, message.what)) not in _notes:
                _notes[key] = None
                kind = re.sub(r"\d[\d.,]*", "#", message.what)  # what numbers it is about
                kinds[kind] += 1
                if kinds[kind] <= SHOWN:
                    print(f"likewise: note: {message}", file=sys.stderr)

        warnings.showwarning = note
        warnings.simplefilter("always", InputWarning)
        try:
            yield
        finally:
            for kind, count in kinds.items():
                if count > SHOWN:
                    print(f"likewise: note: and {count - SHOWN} more: {kind}", file=sys.stderr)


def notes() -> dict[str, list[dict[str, str]]]:
    """What ``--json`` adds of the InputWarnings so far: ``notes``, or nothing if there are none."""
    listed = [{"source": source, "what": what} for source, what in _notes]
    return {"notes": listed} if listed else {}


def _fail(message: str) -> NoReturn:
    print(f"likewise: {message}", file=sys.stderr)
    sys.exit(2)


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        print(f"likewise {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _segmenter(rank: float | None, **options: Any) -> Segmenter:
    from ..segmenter import Segmenter

    return Segmenter(svd_components=_rank(rank), **options)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given, even if with its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _rank(rank: float | None) -> int | float | None:
    """A whole number is a count of directions, as in the papers; a fraction is one of D."""
    return int(rank) if rank is not None and float(rank).is_integer() else rank


@app.command()
def segment(
    context: typer.Context,
    targets: Annotated[list[str], typer.Argument(help="Images, folders or glob patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the masks.")],
    reference: ReferenceOption = [],  # noqa: B006 (typer copies it)
    mask: MaskOption = [],  # noqa: B006
    references_file: Annotated[
        Path | None,
        typer.Option("--references", help="Instead: a file of `likewise references save`."),
    ] = None,
    vocabulary: VocabularyOption = None,
    only: OnlyOption = [],  # noqa: B006
    mask_value: MaskValueOption = [],  # noqa: B006
    label: LabelOption = [],  # noqa: B006
    negative: NegativeOption = [],  # noqa: B006
    negative_mask: NegativeMaskOption = [],  # noqa: B006
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write <stem>_overlay.jpg pictures.")
    ] = False,
    instances: InstancesOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep masks that this run would make again.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace masks that were changed by hand.")
    ] = False,
    consensus: Annotated[
        bool,
        typer.Option("--consensus", help="Targets of one kind become references of each other."),
    ] = False,
    refine: Annotated[str, typer.Option(help="Edges: none, guided or crf.")] = "none",
    method: MethodOption = DEFAULT,
    decoder: DecoderOption = None,
    threshold: ThresholdOption = None,
    tau: TauOption = None,
    alpha: AlphaOption = None,
    backbone: BackboneOption = "embedded",
    image_size: ImageSizeOption = None,
    block: BlockOption = None,
    svd_components: RankOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write <stem>.png (0/255, or with several labels 1, 2, ...; the target's size)."""
    from ..io.text_files import normal
    from ..methods import check_consensus
    from ..run.manifest import LABELS, MANIFEST, Manifest
    from ..run.runner import check_apart, plan, run_key, segment_files
    from ..run.targets import find_images
    from .references import choose_references, files_of

    # Everything that can be wrong with the input, before the seconds that a backbone takes.
    examples = (reference, mask, mask_value, label, negative, negative_mask)
    only = list(map(normal, only))
    info, references = choose_references(references_file, vocabulary, examples, only)
    inputs = [*reference, *mask, *negative, *negative_mask, *files_of(references)]
    options: dict[str, Any] = {
        "backbone": backbone,
        "image_size": image_size,
        "svd_components": svd_components,
        "block": block,
        "method": method,
        "decoder": decoder,
        "threshold": threshold,
        "tau": tau,
        "alpha": alpha,
    }
    if info is not None:
        inputs.append(info.path)
        options = info.options(**{k: v for k, v in options.items() if _is_given(context, k)})
    if consensus:
        check_consensus(options["method"])
    found = find_images(targets)
    check_apart([(out / name, out / name) for name in (LABELS, MANIFEST)], [*found, *inputs])
    manifest = Manifest(out)
    jobs = plan(found, manifest, overlay=overlay, instances=instances, inputs=inputs)
    names = [r.label for r in references if not r.negative] if info is None else info.classes
    labels = [name for name in dict.fromkeys(names) if info is None or not only or name in only]
    segmenter = _segmenter(
        options.pop("svd_components"),
        refiner=refine,
        device=device,
        dtype=dtype,
        offline=offline,
        **options,
    )
    if info is None:
        segmenter.fit(references)
    else:
        segmenter.load_references(info.path, only or None)
    numbers = manifest.allot(labels, label_maps=len(labels) > 1)
    run = run_key(segmenter, numbers, consensus)

    outcomes: list[Outcome] = []
    stopped = ""
    try:
        with _progress(len(jobs)) as advance:
            for outcome in segment_files(
                *(segmenter, jobs, manifest, numbers),
                run=run,
                resume=resume,
                overwrite=overwrite,
                consensus=consensus,
            ):
                outcomes.append(outcome)
                for error in outcome.unwritten:
                    print(f"likewise: {error}", file=sys.stderr)
                advance(outcome.error)
    except LikewiseError as error:
        stopped = str(error)
    except KeyboardInterrupt:
        stopped = "stopped by Ctrl-C: finished masks are whole, --resume goes on from here."
    if stopped:
        print(f"likewise: {stopped}", file=sys.stderr)

    states = Counter(o.state for o in outcomes)
    lacking = sum(bool(o.unwritten) for o in outcomes)
    if as_json:
        report = {
            "backbone": segmenter.encoder.spec.name,
            "references": len(references if info is None else info.shots),
            "out": str(out),
            "labels": {str(k): label for label, k in numbers.items()},
            "written": states["made"],
            "kept": states["kept"] + states["by_hand"],
            "by_hand": states["by_hand"],
            "failed": states["failed"],
            "not_reached": len(jobs) - len(outcomes),
            "targets": [_plain(dataclasses.asdict(o)) | {"state": o.state} for o in outcomes],
            **notes(),
        }
        print(json.dumps(report, indent=2))
    else:
        empty = sum(o.area == 0 and o.state == "made" for o in outcomes)
        parts = [f"{empty} of them empty"] if empty else []
        parts += [f"{lacking} of them without a file beside it"] if lacking else []
        parts += [f"{states['kept']} kept"] if resume else []
        parts += [f"{states['failed']} failed"] if states["failed"] else []
        parts += [f"{len(jobs) - len(outcomes)} not reached"] if stopped else []
        print(f"{states['made']} of {len(jobs)} masks written to {out}", *parts, sep=", ")
        _say_more(outcomes)
    if states["failed"] or lacking or stopped:
        raise typer.Exit(1)


def _say_more(outcomes: Sequence[Outcome]) -> None:
    """Lines on why masks that were there were made anew, and which were kept for a person."""
    anew = Counter(o.anew for o in outcomes if o.anew and o.state == "made").most_common()
    if anew:
        (first, count), *others = anew
        print(f"{count} made anew: {first}", *(f"{n}: {why}" for why, n in others), sep="; ")
    if by_hand := [o.mask.name for o in outcomes if o.by_hand and o.mask is not None]:
        named = ", ".join(by_hand[:SHOWN]) + (", ..." if len(by_hand) > SHOWN else "")
        which = "them" if len(by_hand) > 1 else "it"
        print(f"{len(by_hand)} kept, changed by hand: {named}; --overwrite replaces {which}")


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
    from ..io.images import read_image, write_image
    from ..run.runner import claim, make_parent, places
    from ..run.targets import find_images
    from ..segmenter import check_keypoints

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
    segmenter = _segmenter(
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
            found, similarity = segmenter.match(image, keypoints, target, debiased=not original)
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


@backbones_app.callback(invoke_without_command=True)
def _backbones(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_backbones()


@backbones_app.command("list")
def list_backbones(as_json: JsonOption = False) -> None:
    """Every backbone likewise knows, and whether it is on this machine."""
    from ..backbones.download import cached_path
    from ..backbones.registry import ALIASES, BACKBONES

    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "aliases": [a for a, name in ALIASES.items() if name == spec.name],
            "dim": spec.dim,
            "depth": spec.depth,
            "patch": spec.patch,
            "here": cached_path(spec.name) is not None,
            "source": spec.repo or "ships with likewise",
        }
        for spec in BACKBONES.values()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'name':20} {'also':18} {'dim':>5} {'blocks':>6} {'patch':>5} {'here':>4}  source")
    for row in rows:
        also, here = (row["aliases"] or [""])[0], "yes" if row["here"] else "-"
        print(
            f"{row['name']:20} {also:18} {row['dim']:5} {row['depth']:6} {row['patch']:5} "
            f"{here:>4}  {row['source']}"
        )


@backbones_app.command()
def download(name: str, offline: OfflineOption = False) -> None:
    """Download a backbone into the Hugging Face cache and check its sha256."""
    from ..backbones.download import fetch_weights
    from ..backbones.registry import get_spec, split_names

    for spec in [get_spec(part) for part in split_names(name)]:
        if spec.repo is None:
            print(f"{spec.name} ships with likewise: nothing to download.")
        else:
            print(fetch_weights(spec, offline=offline))


@backbones_app.command()
def verify(name: str) -> None:
    """Recompute the sha256 of a backbone on this machine."""
    from ..backbones.download import verify
    from ..backbones.registry import get_spec, split_names

    reports = [verify(part) for part in split_names(name)]
    for report in reports:
        packaged = get_spec(report.name).repo is None
        mend = "install likewise again" if packaged else "download it again"
        verdict = {True: "correct", False: f"WRONG, {mend}", None: "nothing to compare with"}
        print(f"{report.path}\nsha256 {report.sha256}: {verdict[report.ok]}")
    if any(report.ok is False for report in reports):
        raise typer.Exit(1)


@backbones_app.command()
def info(name: str, as_json: JsonOption = False) -> None:
    """What likewise knows of a backbone, or of joined ones: source, shape, defaults, licence."""
    from ..backbones.download import cached_path
    from ..backbones.registry import get_spec, joined_spec, split_names

    specs = [get_spec(part) for part in split_names(name)]
    paths = [cached_path(spec.name) for spec in specs]
    here = [None if path is None else str(path) for path in paths]
    facts = dataclasses.asdict(specs[0] if len(specs) == 1 else joined_spec(specs))
    if len(specs) == 1:
        facts["here"] = here[0]
    else:  # the rest is different for each
        own = ("name", "family", "patch", "dim", "image_size", "svd_components", "tau", "license")
        facts = {key: facts[key] for key in own} | {"here": here}
    if as_json:
        print(json.dumps(_plain(facts), indent=2))
        return
    for key, value in facts.items():
        print(f"{key:15} {value}")


@app.command()
def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """What is installed, which device is used, and a one-image self-test."""
    from .doctor import examine

    checks = []
    for check in examine(device):
        checks.append(check)
        if not as_json:
            mark = {True: "ok", False: "FAILED", None: ""}[check.ok]
            print(f"{check.name:17} {check.value}  {mark}".rstrip(), flush=True)
    if as_json:
        print(json.dumps([dataclasses.asdict(c) for c in checks], indent=2))
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path(
        "likewise_demo.png"
    ),
    backbone: BackboneOption = "embedded",
    refine: Annotated[str, typer.Option(help="Edges: none, guided or crf.")] = "guided",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Run the bundled example: one coin and one board masked, the others found."""
    from ..example import run_demo
    from ..io.images import picture_format
    from ..run.runner import claim
    from ..segmenter import Segmenter

    picture_format(out)
    claim(out.parent, [], inputs=[])
    segmenter = Segmenter(backbone, refiner=refine, device=device, offline=offline)
    for name, area in run_demo(segmenter, out).items():
        print(f"{name}: {area:.0%} of the picture masked")
    print(f"look at {out}")


@contextmanager
def _progress(total: int, what: str = "segment") -> Iterator[Callable[[str | None], None]]:
    """A function to call after each target, with its error if it failed.

    It moves a progress bar on a terminal, none in a pipe; failures are printed either way.
    """
    if not sys.stderr.isatty() or total == 1:
        yield lambda error: print(f"likewise: {error}", file=sys.stderr) if error else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)

        def advance(error: str | None) -> None:
            if error is not None:
                bar.console.print(f"likewise: {error}", markup=False, highlight=False)
            bar.advance(task)

        yield advance


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Paths as text, so that JSON can hold them; without lists of nothing."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items() if v != ()}


from . import (  # noqa: E402 (they need the app and options)
    benchmark,  # noqa: F401
    eval,  # noqa: F401
    export,  # noqa: F401
    label_studio,  # noqa: F401
    project,  # noqa: F401
    reference_file,  # noqa: F401
    segic,  # noqa: F401
    serve,  # noqa: F401
    tune,  # noqa: F401
    ui,  # noqa: F401
    video,  # noqa: F401
)

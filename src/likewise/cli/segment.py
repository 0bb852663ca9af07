"""The command that segments images: ``likewise segment``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LikewiseError
from ..methods import DEFAULT
from .app import app
from .console import SHOWN, notes, plain, progress
from .options import (
    METHOD_SETTINGS,
    AlphaOption,
    BackboneOption,
    BlockOption,
    DecoderOption,
    DeviceOption,
    DtypeOption,
    ImageSizeOption,
    InstancesOption,
    JsonOption,
    LabelOption,
    MaskOption,
    MaskValueOption,
    MethodOption,
    NegativeMaskOption,
    NegativeOption,
    OfflineOption,
    OnlyOption,
    RankOption,
    ReferenceOption,
    TauOption,
    ThresholdOption,
    VocabularyOption,
    is_given,
    open_segmenter,
)

if TYPE_CHECKING:
    from ..run.outcomes import Outcome


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
    from ..run.jobs import check_apart, plan
    from ..run.manifest import LABELS, MANIFEST, Manifest
    from ..run.runner import run_key, segment_files
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
        given = {k: v for k, v in options.items() if is_given(context, k)}
        settings = {k: given.pop(k) for k in METHOD_SETTINGS if k in given}
        options = info.options(settings, **given)
    if consensus:
        check_consensus(method if info is None else options["method"].method)
    found = find_images(targets)
    check_apart([(out / name, out / name) for name in (LABELS, MANIFEST)], [*found, *inputs])
    manifest = Manifest(out)
    jobs = plan(found, manifest, overlay=overlay, instances=instances, inputs=inputs)
    names = [r.label for r in references if not r.negative] if info is None else info.classes
    labels = [name for name in dict.fromkeys(names) if info is None or not only or name in only]
    segmenter = open_segmenter(
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
        segmenter.load(info.path, only or None)
    numbers = manifest.allot(labels, label_maps=len(labels) > 1)
    run = run_key(segmenter, numbers, consensus)

    outcomes: list[Outcome] = []
    stopped = ""
    try:
        with progress(len(jobs)) as advance:
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
            "targets": [plain(dataclasses.asdict(o)) | {"state": o.state} for o in outcomes],
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

"""Projects on the command line: ``likewise init``, ``annotate``, ``review`` and ``report``."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import Stop, json_ready, notes, print_error, print_json, progress, stopping
from .options import (
    BackboneOptions,
    ConsensusOption,
    DeviceOptions,
    ExampleOptions,
    InstancesOption,
    JsonOption,
    MethodOptions,
    NoCacheOption,
    OverwriteOption,
    PictureOptions,
    RefineOption,
    takes_groups,
)

if TYPE_CHECKING:
    from ..project.database import ImageRow
    from ..project.project import Project

ProjectArgument = Annotated[Path, typer.Argument(help="Folder of the project.")]


@app.command()
@takes_groups
def init(
    *,
    project: ProjectArgument,
    targets: Annotated[
        list[str], typer.Option("--targets", "-t", help="Files, folders or patterns.")
    ],
    examples: ExampleOptions,
    algorithm: MethodOptions,
    network: BackboneOptions,
    refine: RefineOption = DEFAULT_REFINER,
    pictures: PictureOptions,
    consensus: ConsensusOption = False,
    instances: InstancesOption = False,
) -> None:
    """Write PROJECT/likewise.toml, with comments: references, targets, settings."""
    from ..io.annotations.shapes import LABEL
    from ..io.masks import parse_value
    from ..methods import check_consensus
    from ..methods.segic.files import load_decoder
    from ..project.folder import MASKS
    from ..project.settings import ProjectReference, ProjectSettings, relative
    from ..project.settings_file import write_settings
    from ..refine import check_refiner
    from ..run.jobs import check_apart, places
    from ..run.targets import find_images
    from .references import read_references

    choice = pictures.choice
    read_references(**vars(examples), choice=choice)  # all is well
    found = find_images(targets)
    masks = [project / MASKS / place for place in places(found, ".png")]
    check_apart(list(zip(found, masks, strict=True)), [], "project")
    algorithm.params()
    if algorithm.decoder is not None:
        load_decoder(algorithm.decoder)
    check_refiner(refine)
    if consensus:
        check_consensus(algorithm.method)
    reference, each = examples.reference, examples.mask_value
    each = each * len(reference) if len(each) == 1 else each
    values = [v if isinstance(v := parse_value(text), int) else text for text in each]
    references = [
        ProjectReference(
            relative(image, project),
            relative(examples.mask[number], project),
            values[number] if values else None,
            examples.label[number] if examples.label else LABEL,
        )
        for number, image in enumerate(reference)
    ]
    wholly: list[Path | None] = [None] * len(examples.negative)
    for image, marked in zip(examples.negative, examples.negative_mask or wholly, strict=True):
        where = None if marked is None else relative(marked, project)
        references.append(ProjectReference(relative(image, project), where, negative=True))
    settings: list[tuple[str, Any]] = [
        ("targets", [relative(target, project) for target in targets]),
        ("method", algorithm.method),
        *vars(network).items(),
        ("refine", refine),
        ("consensus", consensus),
        ("instances", instances),
        ("tile", ProjectSettings.tile),
        ("feature_cache", ProjectSettings.feature_cache),
        ("learn", False),
    ]
    options = {} if algorithm.decoder is None else {"decoder": relative(algorithm.decoder, project)}
    picture = {{"channels": "channel"}.get(k, k): v for k, v in choice.said.items()}
    path = write_settings(project, settings, references, options, picture)
    print(f"{path} written: {len(references)} references, {len(found)} targets.")
    print(f"Look at it, then: likewise annotate {project}")


@app.command()
@takes_groups
def annotate(
    *,
    project: ProjectArgument,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many; the next run goes on.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is to do.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try those that failed again.")] = False,
    overwrite: OverwriteOption = False,
    machine: DeviceOptions,
    no_cache: NoCacheOption = False,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="On Ray: local, auto or HOST:PORT of its cluster."),
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(min=1, help="On Ray; default one a GPU, else one a few CPUs.")
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="One JSON object a finished image, for scripts.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Annotate what is not done yet; may be stopped at any moment and run again."""
    from ..backbones.feature_cache import CachedEncoder
    from ..project.learning import learn
    from ..project.project import Project
    from ..run.distributed import check_address, on_ray
    from ..run.runner import segment_files

    if ray is not None:
        check_address(ray)
    elif ray_workers is not None:
        raise LikewiseError("--ray-workers needs --ray: give --ray local to start Ray here.")
    work = Project(project)
    jobs = work.jobs()
    references = work.references()
    network = {**vars(machine), "cache": not no_cache}
    encoder, backbone = work.encoder(CachedEncoder, **network)
    if not overwrite:
        work.adopt_edited()
    if not dry_run and learn(work, encoder):
        work.close()
        work = Project(project)
        jobs, references = work.jobs(), work.references()
    run = work.run_key(backbone)
    wanted = work.todo(jobs, run, retry, overwrite)
    left = (work.doubtful_first(wanted) if work.settings.learn else list(wanted))[:limit]
    still = {row.path for row in work.rows(("failed",))} - set(map(work.key, wanted))
    kept = len(jobs) - len(wanted) - len(still)
    lacking, failed, stopped = 0, 0, Stop()
    done, anew = 0, Counter[str]()
    if left and not dry_run:
        segmenter = work.segmenter(encoder).fit(references)
        options = work.encoder_options(**network) | work.method_options()
        elsewhere = nullcontext(segment_files) if ray is None else on_ray(ray, ray_workers, options)
        with elsewhere as segment:
            work.begin(run, encoder.spec.name, left)
            reasons = {job.target: wanted[job] for job in left}
            interrupted = (
                "stopped by Ctrl-C: what is finished stays, the next run goes on from here."
            )
            with stopping(interrupted) as stopped, progress(len(left), of=segmenter) as advance:
                for outcome in work.annotate(
                    segmenter, left, run, overwrite=overwrite, segment=segment
                ):
                    made = outcome.error is None and not outcome.skipped
                    done += made
                    failed += outcome.error is not None
                    lacking += bool(outcome.unwritten)
                    anew[reasons[outcome.target]] += made
                    if json_lines:
                        print(json.dumps(json_ready(dataclasses.asdict(outcome))), flush=True)
                    for error in outcome.unwritten:
                        print_error(error)
                    advance(outcome.error)
    counts = Counter(row.status for row in work.rows())
    made_anew = {why: count for why, count in anew.items() if why and count}
    if as_json:
        report: dict[str, Any] = {"done_now": done, "failed_now": failed, "kept": kept}
        report |= {"to_do": len(left), "made_anew": made_anew}
        print_json({**report, **counts, **notes()})
    elif not json_lines:
        if dry_run:
            print(f"{len(wanted)} of {len(jobs)} images are to be done, {kept} are.")
            _say_why(Counter(filter(None, wanted.values())), "to be made anew")
        else:
            parts = [f"{kept} kept"] if kept else []
            parts += [f"{failed} failed"] if failed else []
            parts += [f"{len(still)} failed before (--retry tries again)"] if still else []
            print(f"{done} of {len(jobs)} images annotated in {work.folder}", *parts, sep=", ")
            _say_why(made_anew, "made anew")
    work.close()
    if failed or lacking or stopped.reason or (still and not dry_run):
        raise typer.Exit(1)


def _say_why(counts: Mapping[str, int], what: str) -> None:
    for why, count in counts.items():
        print(f"{count} {what}: {why}")


@app.command()
def review(
    project: ProjectArgument,
    top: Annotated[int, typer.Option(min=1, help="How many to list.")] = 20,
    accept: Annotated[
        list[Path], typer.Option(help="Images whose masks are right, by path or name.")
    ] = [],  # noqa: B006
    reject: Annotated[list[Path], typer.Option(help="Images whose masks are wrong.")] = [],  # noqa: B006
    undo: Annotated[list[Path], typer.Option(help="Take back what was said of them.")] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """List what is most worth a look, with reasons; or say what you saw."""
    from ..project.project import Project

    work = Project(project)
    work.adopt_edited()
    accepted, rejected, undone = (_targets(work, named) for named in (accept, reject, undo))
    work.judge(accepted, "accepted")
    work.judge(rejected, "rejected")
    for target in undone:
        if work.status(target) == "corrected":
            work.restore(target)
        else:
            work.judge([target], None)
    rows = work.rows(("failed", "done"), top)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    for row in rows:
        print(_line(row))
    if (said := work.features_said()) is not None:
        print(said)
    counts = Counter(row.status for row in work.rows())
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing yet")


@app.command()
def correct(
    project: ProjectArgument,
    image: Annotated[Path, typer.Argument(help="A target of the project.")],
    mask: Annotated[Path, typer.Argument(help="What is right: a label map, or a mask of --label.")],
    label: Annotated[
        str | None, typer.Option(help="The class that it is of; the others stay as they are.")
    ] = None,
) -> None:
    """Put a mask that you made in the place of one that was found; no run replaces it."""
    from ..project.project import Project

    work = Project(project)
    work.adopt_edited()
    (target,) = _targets(work, [image])
    work.correct(target, work.read_correction(target, mask, label))
    print(f"{work.mask(target)} written, corrected.")


def _targets(work: Project, named: Sequence[Path]) -> list[Path]:
    """The targets that a person names: a path, one as `review` lists it, or the end of one.

    Raises:
        LikewiseError: if a name is that of no target, or the end of several.
    """
    from ..project.settings import relative

    if not named:  # looking for all targets of a large project takes a while
        return []
    targets = [job.target for job in work.jobs()]
    known = {relative(t, work.folder) for t in targets} | work.database.known().keys()
    found = []
    for path in named:
        paths = (path, work.folder / path)  # as `review` lists it: seen from the project
        here = [p for p in paths if relative(p, work.folder) in known][:1]
        parts = Path(os.path.normpath(path)).parts
        ends = here or [t for t in targets if parts and t.parts[-len(parts) :] == parts]
        if len(ends) != 1:
            several = f"is the end of {len(ends)} targets of {work.folder}: give more of its path."
            nothing = f"is no target of {work.folder}: name it as `likewise review` lists it."
            raise LikewiseError(f"{path} {several if ends else nothing}")
        found.append(ends[0])
    return found


def _line(row: ImageRow) -> str:
    if row.error:
        return f"failed  {row.path}: {row.error}"
    reasons = ", ".join(row.reasons) or "nothing in particular"
    return f"{row.doubt or 0:6.2f}  {row.path}: {reasons} (confidence {row.confidence or 0:.2f})"


@app.command()
def report(
    project: ProjectArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write; PROJECT/report.html.")
    ] = None,
) -> None:
    """Write one HTML page: counts, histograms, the surest masks and those most likely wrong."""
    from ..project.project import Project
    from ..project.report import write_report

    path = out or project / "report.html"
    write_report(Project(project), path)
    print(f"look at {path}")

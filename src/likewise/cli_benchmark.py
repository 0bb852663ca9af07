"""The command that reproduces the papers' tables: ``likewise benchmark``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli import (
    BackboneOption,
    BlockOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    MethodOption,
    OfflineOption,
    RankOption,
    _is_given,
    _progress,
    _rank,
    app,
)
from .cli_eval import parse_settings
from .errors import LikewiseError
from .methods import DEFAULT

if TYPE_CHECKING:
    from .evaluation.datasets import Benchmark
    from .evaluation.manifest import Manifest


@dataclass(frozen=True)
class Options:
    """What a run depends on; an ablation replaces some."""

    data_root: Path
    out: Path
    shots: int
    episodes: int | None
    manifest: Path | None
    shard: str
    method: str
    set: Mapping[str, Any]
    refine: str
    cache: bool
    backbone: str
    image_size: int | None
    block: int | None
    svd_components: float | None
    device: str
    dtype: str
    offline: bool


@app.command("benchmark")
def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A benchmark, or: list, all, merge.")],
    reports: Annotated[
        list[Path] | None, typer.Argument(help="For merge: report.json of each shard.")
    ] = None,
    data_root: Annotated[
        Path, typer.Option(help="Folder of the downloads, see docs/benchmarks.md.")
    ] = Path("data"),
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for manifests and reports.")
    ] = Path("benchmark"),
    shots: Annotated[int, typer.Option(help="References for each episode.")] = 1,
    episodes: Annotated[
        int | None, typer.Option(help="Only so many, spread evenly: no longer the protocol.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Episodes of an earlier run; default: draw them.")
    ] = None,
    shard: Annotated[str, typer.Option(help="i/n: run one of n parts; merge them after.")] = "0/1",
    ablation: Annotated[
        str | None, typer.Option(help="Compare variants: debias, rank, tau, alpha, foris, ...")
    ] = None,
    method: MethodOption = DEFAULT,
    setting: Annotated[
        list[str], typer.Option("--set", help="name=value of the method; may be repeated.")
    ] = [],  # noqa: B006 (typer copies it)
    refine: Annotated[str, typer.Option(help="Edges: none, guided or crf.")] = "none",
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep features on disk: for several runs of one list.")
    ] = False,
    backbone: BackboneOption = "embedded",
    image_size: Annotated[
        int | None,
        typer.Option("--size", "--image-size", help="Side of the square the backbone sees."),
    ] = None,
    block: BlockOption = None,
    svd_components: RankOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the published protocol of a benchmark, and print paper and ours."""
    from .evaluation.datasets import BENCHMARKS, get_benchmark

    if reports and name != "merge":
        raise LikewiseError(f"{reports[0]}: reports are for `likewise benchmark merge`.")
    if name == "list":
        print_list(data_root if _is_given(context, "data_root") else None, as_json)
        return
    if name == "merge":
        merge(reports or [], out, as_json)
        return
    options = Options(
        data_root=data_root,
        out=out,
        shots=shots,
        episodes=episodes,
        manifest=manifest,
        shard=shard,
        method=method,
        set=parse_settings(setting),
        refine=refine,
        cache=cache,
        backbone=backbone,
        image_size=image_size,
        block=block,
        svd_components=svd_components,
        device=device,
        dtype=dtype,
        offline=offline,
    )
    if shots < 1:
        raise LikewiseError(f"--shots {shots} leaves nothing to find by: give at least 1.")
    if manifest is not None and name == "all":
        raise LikewiseError("--manifest is of one benchmark: name it instead of all.")
    chosen = list(BENCHMARKS.values()) if name == "all" else [get_benchmark(name)]
    here = [b for b in chosen if name != "all" or not b.missing(data_root)]
    if not here:
        raise LikewiseError(
            f"{data_root} holds none of the benchmarks: `likewise benchmark list` says where to "
            "get them."
        )
    found = []
    for b in here:
        try:
            ran = run_one(b, options) if ablation is None else run_ablation(b, options, ablation)
        except LikewiseError as error:
            if name != "all":
                raise
            print(f"likewise: {b.title}: {error}", file=sys.stderr)
            continue
        found.append(ran["json"])
        if not as_json:
            print(ran["text"])
    if as_json:
        print(json.dumps(found if name == "all" else found[0], indent=2))
    for b in chosen:
        if b not in here:
            print(f"not there: {b.title}, get it at {b.where}", file=sys.stderr)
    if len(found) < len(here):
        raise typer.Exit(1)


def print_list(root: Path | None, as_json: bool) -> None:
    """Name, title, where it is expected and where to get it; with a root, whether it is there."""
    from .evaluation.benchmark_report import table
    from .evaluation.datasets import BENCHMARKS

    rows = []
    for b in BENCHMARKS.values():
        row = {"name": b.name, "title": b.title, "measure": b.headline, "folder": b.folder}
        if root is not None:
            missing = b.missing(root)
            row["here"] = f"lacks {missing[0].relative_to(root)}" if missing else "yes"
        rows.append({**row, "where": b.where})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print("\n".join(table(list(rows[0]), [list(row.values()) for row in rows])))


def merge(reports: list[Path], out: Path, as_json: bool) -> None:
    """Write and print the report of all shards."""
    from .evaluation.benchmark_report import markdown, merge_reports, write_report

    if not reports:
        raise LikewiseError("merge needs reports: give report-i-of-n.json of every shard.")
    merged = merge_reports(reports)
    write_report(_folder(out), merged)
    print(json.dumps(merged, indent=2) if as_json else markdown(merged))


def run_one(b: Benchmark, o: Options, variant: str | None = None) -> dict[str, Any]:
    """Run one benchmark and write its report; ``json`` and ``text`` of it."""
    from .evaluation.benchmark import (
        Shard,
        choose_numbers,
        code_digest,
        fingerprint,
        run_blocks,
    )
    from .evaluation.benchmark_report import (
        commit,
        describe_machine,
        make_benchmark_report,
        markdown,
        write_report,
    )
    from .evaluation.cache import CachedEncoder
    from .evaluation.manifest import check_images
    from .evaluation.report import describe
    from .evaluation.stopwatch import Stopwatch
    from .evaluation.tasks import Task
    from .methods import make_params
    from .refine import check_refiner
    from .segmenter import Segmenter

    shard = Shard.parse(o.shard)
    check_refiner(o.refine)
    make_params(o.method, o.set, tau=0.6)
    folder = _folder(o.out / b.name)
    manifest = get_manifest(b, o, folder)
    numbers = choose_numbers(len(manifest.entries), o.episodes)
    check_images(manifest, numbers, o.data_root)

    watch = Stopwatch()
    encoder = CachedEncoder(
        o.backbone,
        keep=o.cache,
        watch=watch,
        image_size=o.image_size,
        svd_components=_rank(o.svd_components),
        device=o.device,
        dtype=o.dtype,
        block=o.block,
        offline=o.offline,
    )
    segmenter = Segmenter(encoder, method=o.method, **o.set)
    _ = encoder.basis  # made or read now: it is no part of encoding the first image
    settings = describe(segmenter, refine=o.refine, cache=o.cache)
    asked = {k: v for k, v in settings.items() if k not in ("versions", "device")}
    asked |= {"manifest": manifest.digest, "numbers": numbers, "code": code_digest()}
    run = fingerprint(asked)
    task = Task(segmenter, manifest, b.task, o.data_root, o.refine, watch)
    folder = folder if variant is None else _folder(folder / variant)
    with _progress(len(numbers) // shard.count, b.title) as advance:

        def count(done: int) -> None:
            for _ in range(done):
                advance(None)

        records, seconds = run_blocks(task, numbers, folder / "blocks", run, shard, count)
    what = {
        "run": run,
        "settings": {**settings, "commit": commit()},
        "manifest": manifest.digest,
        "protocol": dict(manifest.protocol),
        "numbers": numbers,
        "total": len(manifest.entries),
        "shards": [str(shard)],
        "machines": [describe_machine(str(encoder.device))],
    }
    report = make_benchmark_report(b, records, what, seconds)
    write_report(folder, report)
    return {"json": report, "text": markdown(report)}


def run_ablation(b: Benchmark, o: Options, name: str) -> dict[str, Any]:
    """Run every variant of an ablation on the same episodes and write one table."""
    from .evaluation.ablations import get_ablation
    from .evaluation.benchmark_report import table, warnings
    from .writing import write_json, write_whole

    if o.shard != "0/1":
        raise LikewiseError("--ablation cannot be sharded: run its variants one by one.")
    found = {}
    for variant, change in get_ablation(name).items():
        changed = {k: v for k, v in change.items() if k != "set"}
        variant_options = dataclasses.replace(o, **changed, set={**o.set, **change.get("set", {})})
        found[variant] = run_one(b, variant_options, f"{name} {variant}")["json"]
    first = next(iter(found.values()))
    measures = list(first["mean"])
    rows = [[v, *(r["mean"][m] for m in measures)] for v, r in found.items()]
    lines = [f"# {b.title}, ablation {name}", "", *warnings(first), *table([name, *measures], rows)]
    summary = {
        variant: {k: r[k] for k in ("mean", "interval", "sets", "run", "settings")}
        for variant, r in found.items()
    }
    folder = o.out / b.name
    write_json(folder / f"ablation-{name}.json", summary)
    write_whole(folder / f"ablation-{name}.md", ("\n".join(lines) + "\n").encode())
    return {"json": summary, "text": "\n".join(lines)}


def get_manifest(b: Benchmark, o: Options, folder: Path) -> Manifest:
    """The given one, that of an earlier run in the folder, or a new one, which is written there."""
    from .evaluation.datasets import make_manifest
    from .evaluation.manifest import check_sources, load_manifest, save_manifest

    own = folder / f"manifest-{o.shots}-shot.json"
    file = o.manifest or own
    if o.manifest is None and not own.exists():
        save_manifest(own, make_manifest(b, o.data_root, o.shots))
    manifest = load_manifest(file, b.name)
    if manifest.protocol.get("shots") != o.shots:
        raise LikewiseError(
            f"{file} has {manifest.protocol.get('shots')} references an episode: give that as "
            "--shots, or leave out --manifest."
        )
    check_sources(manifest, o.data_root)
    return manifest


def _folder(path: Path) -> Path:
    from .batch.folder import claim

    claim(path, [], [])
    return path

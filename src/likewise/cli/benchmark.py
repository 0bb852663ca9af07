"""The command that reproduces the papers' tables: ``likewise benchmark``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LikewiseError
from .app import app
from .console import print_error, print_json, progress
from .eval import MeasuredFeatureOptions, MeasuredMethodOptions
from .options import DeviceOptions, JsonOption, RefineOption, is_given, keywords, takes_groups


@app.command("benchmark")
@takes_groups
def benchmark(
    *,
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
    quick: Annotated[
        bool,
        typer.Option("--quick", help="200 episodes: an estimate, and what the whole would take."),
    ] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="Episodes of an earlier run; default: draw them.")
    ] = None,
    shard: Annotated[str, typer.Option(help="i/n: run one of n parts; merge them after.")] = "0/1",
    ablation: Annotated[
        str | None, typer.Option(help="Compare variants: debias, rank, tau, alpha, foris, ...")
    ] = None,
    algorithm: MeasuredMethodOptions,
    refine: RefineOption = "none",
    cache: Annotated[
        bool, typer.Option("--cache", help="Keep features on disk: for several runs of one list.")
    ] = False,
    network: MeasuredFeatureOptions,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Run the published protocol of a benchmark, and print paper and ours."""
    from ..lab.evaluation.datasets import BENCHMARKS, get_benchmark

    if reports and name != "merge":
        raise LikewiseError(f"{reports[0]}: reports are for `likewise benchmark merge`.")
    if name == "list":
        print_list(data_root if is_given(context, "data_root") else None, as_json)
        return
    if name == "merge":
        merge(reports or [], out, as_json)
        return
    from ..lab.evaluation.benchmark_run import QUICK, Options, run_ablation, run_one

    if quick and episodes is not None:
        raise LikewiseError(f"--quick is --episodes {QUICK}: give one of the two.")
    options = Options(
        data_root=data_root,
        out=out,
        shots=shots,
        episodes=QUICK if quick else episodes,
        manifest=manifest,
        shard=shard,
        method=algorithm.method,
        set=algorithm.settings(),
        refine=refine,
        cache=cache,
        progress=progress,
        **keywords(network, machine),
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
            print_error(f"{b.title}: {error}")
            continue
        found.append(ran["json"])
        if not as_json:
            print(ran["text"])
    if as_json:
        print_json(found if name == "all" else found[0])
    for b in chosen:
        if b not in here:
            print(f"not there: {b.title}, get it at {b.where}", file=sys.stderr)
    if len(found) < len(here):
        raise typer.Exit(1)


def print_list(root: Path | None, as_json: bool) -> None:
    """Name, title, where it is expected and where to get it; with a root, whether it is there."""
    from ..lab.evaluation.benchmark_report import table
    from ..lab.evaluation.datasets import BENCHMARKS

    rows = []
    for b in BENCHMARKS.values():
        row = {"name": b.name, "title": b.title, "measure": b.headline, "folder": b.folder}
        if root is not None:
            missing = b.missing(root)
            row["here"] = f"lacks {missing[0].relative_to(root)}" if missing else "yes"
        rows.append({**row, "where": b.where})
    if as_json:
        print_json(rows)
        return
    print("\n".join(table(list(rows[0]), [list(row.values()) for row in rows])))


def merge(reports: list[Path], out: Path, as_json: bool) -> None:
    """Write and print the report of all shards."""
    from ..lab.evaluation.benchmark_report import markdown, merge_reports, write_report
    from ..run.jobs import check_outputs

    if not reports:
        raise LikewiseError("merge needs reports: give report-i-of-n.json of every shard.")
    merged = merge_reports(reports)
    check_outputs(out)
    write_report(out, merged)
    print(json.dumps(merged, indent=2) if as_json else markdown(merged))

"""The report of a benchmark: measured and published figures."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...errors import LikewiseError
from ...io.draw import COLOUR, RGB
from ...io.encoding import write_image
from ...io.files import write_json, write_whole
from ...io.text_files import read_json
from .datasets import Benchmark, get_benchmark
from .figures import figures
from .papers import published


def make_benchmark_report(
    benchmark: Benchmark,
    records: Sequence[Mapping[str, Any]],
    what: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Figures of a run, published figures, and the settings of the run.

    Args:
        benchmark: which.
        records: of all its episodes, or of one shard.
        what: ``run``, ``settings``, ``manifest``, ``protocol``, ``numbers`` (of episodes of the
            whole run), ``total`` (of the manifest), ``shards``, ``machines``.
        seconds: of all episodes, without loading the backbone.
    """
    found = figures(records)
    shots = int(what["protocol"].get("shots", 1))
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "headline": benchmark.headline,
        **found,
        "papers": [asdict(p) for p in published(benchmark.name, shots)],
        "episodes": len(records),
        **what,
        "seconds": seconds,
        "images_per_second": len(records) / seconds if seconds else None,
        "records": sorted(records, key=lambda r: int(r["at"])),
    }


def merge_reports(files: Sequence[Path]) -> dict[str, Any]:
    """One report from those of all shards.

    Raises:
        LikewiseError: if a file is no report, the reports are of different runs, or an episode is
            missing or there twice.
    """
    reports = [_read_report(file) for file in files]
    first = reports[0]
    for file, report in zip(files, reports, strict=True):
        if report["run"] != first["run"]:
            raise LikewiseError(
                f"{file} is of another run than {files[0]}: merge shards of the same episodes and "
                "settings."
            )
    records = [record for report in reports for record in report["records"]]
    numbers = [int(record["at"]) for record in records]
    missing = len(set(first["numbers"]) - set(numbers))
    if len(set(numbers)) < len(numbers) or missing:
        twice = len(numbers) - len(set(numbers))
        raise LikewiseError(
            f"of the run's {len(first['numbers'])} episodes the reports lack {missing} and hold "
            f"{twice} twice: give the report of each shard once."
        )
    names = ("run", "settings", "manifest", "protocol", "numbers", "total")
    what = {name: first[name] for name in names}
    what["shards"] = [shard for report in reports for shard in report["shards"]]
    what["machines"] = [machine for report in reports for machine in report["machines"]]
    seconds = sum(float(report["seconds"]) for report in reports)
    return make_benchmark_report(get_benchmark(first["benchmark"]), records, what, seconds)


def _read_report(file: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = read_json(file)
        for name in ("run", "records", "numbers", "shards", "machines", "seconds", "benchmark"):
            _ = report[name]
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{file} cannot be read as a JSON report ({error}).") from error
    except (KeyError, TypeError) as error:
        raise LikewiseError(
            f"{file} is no report of `likewise benchmark`: it writes report.json to --out."
        ) from error
    return report


def write_report(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write report.json, .md and .png to a folder; of a shard only report-i-of-n.json.

    Returns:
        The JSON file.

    Raises:
        WriteError: if one cannot be written.
    """
    name = "report"
    if report["episodes"] < len(report["numbers"]):
        name = f"report-{report['shards'][0].replace('/', '-of-')}"
    else:
        write_whole(folder / "report.md", markdown(report).encode())
        write_image(folder / "report.png", bars(report))
    write_json(folder / f"{name}.json", report)
    return folder / f"{name}.json"


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    settings, headline = report["settings"], report["headline"]
    measures = list(report["mean"])
    params = "".join(f", {name} {value}" for name, value in settings["params"].items())
    height, width = settings["input_size"]
    rows = [[name, *values.values()] for name, values in report["sets"].items()]
    mean = [report["mean"][m] for m in measures]
    intervals = [f"{low:.1f} to {high:.1f}" for low, high in report["interval"].values()]
    lines = [
        f"# {report['title']}",
        "",
        f"{settings['method']}{params}; refine {settings['refine']}; {settings['backbone']}, block "
        f"{settings['block']}, {width}x{height} px, rank {settings['rank']}",
        "",
        *warnings(report),
        *(line for text in estimate(report) for line in (text, "")),
        *table(["set", *measures], [*rows, ["**mean**", *mean], ["95 % interval", *intervals]]),
        "",
    ]
    if report["papers"]:
        ours = [settings["method"], headline, report["mean"][headline], "this run"]
        papers = [[p["method"], p["measure"], p["value"], p["source"]] for p in report["papers"]]
        lines += [*table(["method", "measure", "figure", "source"], [ours, *papers]), ""]
    rate = report["images_per_second"]
    lines += [
        f"{report['episodes']} episodes in {report['seconds']:.0f} s"
        + (f" ({rate:.2f} images/s)" if rate else "")
        + f" on {'; '.join(dict.fromkeys(_machine(m) for m in report['machines']))}",
        "",
        f"Protocol: {', '.join(f'{k} {_brief(v)}' for k, v in report['protocol'].items())}.",
        "",
        f"Manifest {report['manifest'][:16]}, run {report['run']}, likewise "
        f"{settings['versions']['likewise']} at commit {settings['commit'] or 'unknown'}, "
        + ", ".join(f"{k} {v}" for k, v in settings["versions"].items() if k != "likewise"),
        "",
    ]
    return "\n".join(lines)


def warnings(report: Mapping[str, Any]) -> list[str]:
    """Markdown lines that say in what the run differs from the protocol; none if it does not."""
    said = []
    if len(report["numbers"]) < report["total"]:
        said.append(
            f"**NOT THE PROTOCOL: {len(report['numbers'])} of {report['total']} episodes "
            "(--episodes). Do not compare with published figures.**"
        )
    if report["episodes"] < len(report["numbers"]):
        said.append(
            f"**ONE SHARD: {report['episodes']} of {len(report['numbers'])} episodes. Merge all "
            "shards for the figures.**"
        )
    return [line for text in said for line in (text, "")]


def estimate(report: Mapping[str, Any]) -> list[str]:
    """Sentences for a run of a part of the episodes; none for a whole run or a shard.

    The interval of the whole figure, the papers' figures beside it, and the time that all take.
    """
    asked = len(report["numbers"])
    if not report["seconds"] or report["episodes"] < asked or asked == report["total"]:
        return []
    headline, said = report["headline"], []
    low, high = report["interval"][headline]
    for paper in report["papers"]:
        if headline.startswith(paper["measure"]):
            value = paper["value"]
            place = "below" if value < low else "above" if value > high else "in"
            said.append(f"{paper['method']} {value:.1f} is {place} it")
    whole = report["seconds"] * report["total"] / report["episodes"]
    return [
        f"Estimate: {headline} {report['mean'][headline]:.1f}, 95 % interval {low:.1f} to "
        f"{high:.1f}" + (f" ({', '.join(said)})." if said else "."),
        f"All {report['total']} episodes would take {duration(whole)} on this machine, and 1/n of "
        "that on each of n with --shard i/n.",
    ]


def duration(seconds: float) -> str:
    """A duration as text: minutes, from two hours on hours."""
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{max(1, round(seconds / 60))} min"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; floats with two decimals."""
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    wide = [max(len(line[k]) for line in [list(head), *cells]) for k in range(len(head))]

    def line(words: Sequence[str]) -> str:
        return "| " + " | ".join(w.ljust(n) for w, n in zip(words, wide, strict=True)) + " |"

    return [line(head), "|" + "|".join("-" * (n + 2) for n in wide) + "|", *map(line, cells)]


def bars(report: Mapping[str, Any]) -> RGB:
    """(H, W, 3) uint8: the headline of this run, with its interval, above the published ones."""
    headline = report["headline"]
    low, high = report["interval"][headline]
    rows = [(f"{report['settings']['method']} (this run)", report["mean"][headline])]
    comparable = [p for p in report["papers"] if headline.startswith(p["measure"])]
    rows += [(p["method"], p["value"]) for p in sorted(comparable, key=lambda p: -p["value"])]
    font, step, left, width = ImageFont.load_default(size=15), 26, 220, 500
    sheet = Image.new("RGB", (left + width + 70, step * (len(rows) + 2)), "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{report['title']}, {headline}" + (" - NOT THE PROTOCOL" * bool(warnings(report)))
    draw.text((10, 5), title, fill="black", font=font)
    for number, (name, value) in enumerate(rows, start=1):
        top, end = step * number + 8, left + round(width * value / 100)
        draw.text((10, top), name[:28], fill="black", font=font)
        draw.rectangle((left, top, end, top + 16), fill=COLOUR if number == 1 else (150, 160, 170))
        if number == 1:
            ends = [left + round(width * edge / 100) for edge in (low, high)]
            draw.line((ends[0], top + 8, ends[1], top + 8), fill="black", width=2)
            end = max(end, ends[1])
        draw.text((end + 6, top), f"{value:.1f}", fill="black", font=font)
    return np.asarray(sheet)


def describe_machine(device: str) -> dict[str, Any]:
    """Device, processor, cores, threads and system of the timings."""
    import torch

    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
    }


def commit() -> str | None:
    """Hash of the checkout's commit, with + if files were changed; None without a checkout."""
    root = Path(__file__).resolve().parents[4]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _brief(value: Any) -> str:
    """Text of a value; of lists over 8 entries the length only."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) if len(value) <= 8 else str(len(value))
    return str(value)


def _machine(machine: Mapping[str, Any]) -> str:
    return f"{machine['device']} ({machine['processor']}, {machine['cores']} cores)"

"""One run of a benchmark, or of all variants of an ablation, from options to report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...io.files import write_json, write_whole
from ...io.hashing import fingerprint
from ...methods import make_params
from ...refine import check_refiner
from ...run.jobs import check_outputs
from ...segmenter import Segmenter
from .benchmark import Shard, choose_numbers, code_digest, run_blocks
from .benchmark_report import (
    commit,
    describe_machine,
    make_benchmark_report,
    markdown,
    table,
    warnings,
    write_report,
)
from .cache import TimedEncoder
from .datasets import Benchmark, make_manifest
from .manifest import BenchmarkManifest, check_images, check_sources, load_manifest, save_manifest
from .report import describe
from .stopwatch import Stopwatch
from .tasks import BenchmarkTask

Change = Mapping[str, Any]
"""Options of ``likewise benchmark`` to replace; ``set``: settings of the method."""

ABLATIONS: Mapping[str, Mapping[str, Change]] = {
    "debias": {"on": {}, "off": {"svd_components": 0}},
    "rank": {
        f"{share:g}": {"svd_components": share} for share in (0.02, 0.05, 0.1, 0.25, 0.5, 0.75)
    },
    "tau": {f"{tau:g}": {"set": {"tau": tau}} for tau in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)},
    "alpha": {
        f"{alpha:g}": {"method": "insid3", "set": {"alpha": alpha}}
        for alpha in (0.0, 0.1, 0.2, 0.3, 0.4)
    },
    # FoRIS, from matching alone to all of it.
    "foris": {
        "matching": {
            "method": "foris",
            "set": {"vote_weight": 0.0, "prior_weight": 0.0, "reward": 0.0, "reduction": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0, "background_weight": 0.0},
        },
        "+ localisation": {
            "method": "foris",
            "set": {"reward": 0.0, "reduction": 0.0, "background_weight": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0},
        },
        "+ purification": {
            "method": "foris",
            "set": {"reward": 0.0, "reduction": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0},
        },
        "+ consolidation": {"method": "foris"},
    },
    "backbone": {name: {"backbone": name} for name in ("vits", "vitb", "vitl", "dinov2-vitl14")},
    "size": {str(size): {"image_size": size} for size in (512, 768, 1024)},
    "shots": {"1": {"shots": 1}, "5": {"shots": 5}},
    "refine": {name: {"refine": name} for name in ("none", "guided", "crf")},
}


def get_ablation(name: str) -> Mapping[str, Change]:
    """The variants of an ablation by name. Raises LikewiseError if there is none of that name."""
    if name not in ABLATIONS:
        raise LikewiseError(f"ablation {name!r} is unknown; use one of {', '.join(ABLATIONS)}.")
    return ABLATIONS[name]


QUICK = 200
"""Episodes of ``--quick``: about a minute on a GPU."""


@dataclass(frozen=True)
class Options:
    """Options of ``likewise benchmark``."""

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
    svd_components: int | float | None
    device: str
    dtype: str
    offline: bool
    progress: Callable[[int, str], AbstractContextManager[Callable[[str | None], None]]]
    """Total and title → a context whose function is called after each episode."""


def run_one(b: Benchmark, o: Options, variant: str | None = None) -> dict[str, Any]:
    """Run one benchmark and write its report below ``o.out``.

    Args:
        b: the benchmark.
        o: the options.
        variant: of an ablation; the name of the folder for its report.

    Returns:
        The report as ``json`` and as ``text`` (Markdown).

    Raises:
        LikewiseError: if an option, a file or the backbone cannot be used.
    """
    shard = Shard.parse(o.shard)
    check_refiner(o.refine)
    params = make_params(o.method, o.set)
    folder = o.out / b.name
    check_outputs(folder)
    manifest = get_manifest(b, o, folder)
    numbers = choose_numbers(len(manifest.entries), o.episodes)
    check_images(manifest, numbers, o.data_root)

    watch = Stopwatch()
    encoder = TimedEncoder(
        o.backbone,
        keep=o.cache,
        watch=watch,
        image_size=o.image_size,
        svd_components=o.svd_components,
        device=o.device,
        dtype=o.dtype,
        block=o.block,
        offline=o.offline,
    )
    segmenter = Segmenter(encoder, method=params, refiner="none")
    _ = encoder.basis  # computed here, so that it is not timed with the first image
    settings = describe(segmenter, refine=o.refine, cache=o.cache)
    asked = segmenter.settings_fingerprint, o.refine, o.cache, manifest.digest, numbers
    run = fingerprint(*asked, code_digest())
    task = BenchmarkTask(segmenter, manifest, b.task, o.data_root, o.refine, watch)
    folder = folder if variant is None else folder / variant
    check_outputs(folder)
    with o.progress(len(numbers) // shard.count, b.title) as advance:

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
    """Run every variant of an ablation and write one table; returns and raises as ``run_one``."""
    if o.shard != "0/1":
        raise LikewiseError("--ablation cannot be sharded: run its variants one by one.")
    found = {}
    for variant, change in get_ablation(name).items():
        changed = {k: v for k, v in change.items() if k != "set"}
        variant_options = replace(o, **changed, set={**o.set, **change.get("set", {})})
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


def get_manifest(b: Benchmark, o: Options, folder: Path) -> BenchmarkManifest:
    """The manifest given, else that in the folder, else a new one, which is written there."""
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

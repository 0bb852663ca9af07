"""How fast likewise is, against named baselines in the same run on the same machine.

    python benchmarks/speed.py [--only KEY] [--json] [--against OTHER/src]

Needs `pip install -e ".[bench]"`. Each key is one ratio or time with its parts beside it, and takes
one to three minutes on two cores. A part is the median and the range of --runs, and the median of
the CPU time, which other work on the machine changes less. All jobs are taken in turn, so that a
slow minute slows all:

- folder_vs_encoder_only: images a second of a folder of 50 JPEG files, from file to file with
  fitting (what `likewise segment` does once it has started), as a share of the encoder's own from
  pictures in memory: of one fit and 50 times the seconds an image, measured on --images; also of
  1,000, and of the line-by-line pipeline.
- after_encoder_share: seconds from features to mask over those of the encoder, with what they are
  made of: at 37x37 patches of `embedded-vits14` (the key), at its 64x64, and of the default.
- cold_start_s: from starting the process to the first mask on disk, of `likewise segment` with the
  bundled example (bfloat16 where the processor has it); in float32, of the backbone of 0.1, and of
  the line-by-line pipeline beside it.
- second_pass_speedup: a pass over pictures that were encoded before (features on disk), against
  the first.
- clustering_vs_sklearn: scikit-learn's seconds over ours, for 1369 and 4096 (the key) real patches.

--against is the src of another checkout, of which `likewise segment` is run too: its cold start,
and its seconds an image as the difference of two folders.

The baseline is `reference_pipeline.py`: INSID3 line by line; its masks are those of `insid3`, which
is checked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import reference_pipeline
import torch
from PIL import Image

import likewise
from likewise.backbones.device import side_by_side
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import Backbone
from likewise.backbones.registry import BACKBONES
from likewise.backbones.spec import ModelShape
from likewise.backbones.vit import ViT
from likewise.features.clustering import MergeTree, average_linkage, reciprocal_merges
from likewise.features.debias import debias
from likewise.features.target_cache import TargetCache
from likewise.io.encoding import write_mask
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.io.prefetch import batched
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.methods import get_method
from likewise.refine import refine
from likewise.run.folder import FolderRun
from likewise.segmenter import Segmenter

EXAMPLE = Path(likewise.__file__).parent / "example"
REFERENCE, MASK = EXAMPLE / "board_reference.jpg", EXAMPLE / "board_reference_mask.png"
OUT = "{out}"
EDGES = {"likewise": "guided", "insid3": "none"}
Part = dict[str, float]
"""Seconds: ``median``, ``least`` and ``most``, and ``cpu``, their median of CPU time."""


class Times:
    """Seconds of jobs by name, of a clock and of the CPU."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    @contextmanager
    def of(self, name: str, device: str = "cpu") -> Iterator[None]:
        """Measure what is done inside."""
        start, cpu = time.perf_counter(), time.process_time()
        yield
        if device == "cuda":
            torch.cuda.synchronize()
        self.add(name, time.perf_counter() - start, time.process_time() - cpu)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Add one measurement."""
        self.wall.setdefault(name, []).append(wall)
        self.cpu.setdefault(name, []).append(cpu)

    def parts(self, per: dict[str, int] | None = None) -> dict[str, Part]:
        """What was measured; of some jobs divided by a number of images."""
        counts = {name: (per or {}).get(name, 1) for name in self.wall}
        return {
            name: {
                "median": statistics.median(values) / counts[name],
                "least": min(values) / counts[name],
                "most": max(values) / counts[name],
                "cpu": statistics.median(self.cpu[name]) / counts[name],
            }
            for name, values in self.wall.items()
        }


def timed(jobs: dict[str, Callable[[], object]], runs: int, device: str = "cpu") -> dict[str, Part]:
    """Seconds of each job; one of each in turn, after a round that warms up."""
    for job in jobs.values():
        job()
    times = Times()
    for _ in range(runs):
        for name, job in jobs.items():
            with times.of(name, device):
                job()
    return times.parts()


def share(found: dict[str, Part], over: str, under: str, what: str = "median") -> float:
    """Ratio of two medians."""
    return found[over][what] / found[under][what]


def make_encoder(name: str, size: int | None, device: str, dtype: str) -> Encoder:
    """At the multiple of the patch next to ``size``; random weights but for the embedded ones."""
    spec = BACKBONES[name]
    side = None if size is None else round(size / spec.patch) * spec.patch
    if spec.repo is None:
        return Encoder(name, image_size=side, device=device, dtype=dtype)
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    torch.manual_seed(0)
    model = ViT(ModelShape.of(spec), spec.depth).to(device, kind).eval().requires_grad_(False)
    return Encoder(Backbone(model, spec, spec.depth, f"random {name}"), image_size=side)


def make_folder(folder: Path, count: int) -> list[Path]:
    """``count`` different JPEG files of 640x480: crops of the bundled pictures."""
    folder.mkdir()
    sources = [Image.open(EXAMPLE / f"board_{n}.jpg").convert("RGB") for n in (1, 2)]
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        part = rng.uniform(0.7, 1)
        w, h = round(source.width * part), round(source.height * part)
        x, y = rng.integers(source.width - w + 1), rng.integers(source.height - h + 1)
        paths.append(folder / f"{number:05d}.jpg")
        source.crop((x, y, x + w, y + h)).resize((640, 480)).save(paths[-1], quality=92)
    return paths


def folder(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """A folder of JPEG files and one reference: masks on disk."""
    encoder = make_encoder(args.backbone, args.size, args.device, args.dtype)
    _ = encoder.basis
    times, n = Times(), args.images
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        targets = make_folder(place / "in", n)
        reference, truth = read_image(REFERENCE), read_mask(MASK)
        pictures = [read_image(t) for t in targets]

        def encode_batch(batch: list[np.ndarray]) -> None:
            encoder.tokens(encoder.preprocess(batch))

        def encode(some: list[np.ndarray], workers: int = 1) -> None:
            for _ in side_by_side(encode_batch, batched(some, encoder.batch_size), workers):
                pass

        def segment(method: str, files: list[Path]) -> None:
            options = {"backbone": encoder, "method": method, "refiner": EDGES[method]}
            with times.of(f"{method}: fit", args.device):
                run = FolderRun(
                    files, place / method, [(REFERENCE, MASK)], overwrite=True, **options
                )
            with times.of(method, args.device):
                for outcome in run:
                    assert outcome.state == "made", outcome

        def by_line() -> None:
            (place / "by line").mkdir(exist_ok=True)
            mask = reference_pipeline.segment(
                encoder, reference, truth, read_image(targets[0]), encoder.spec.tau
            )
            write_mask(place / "by line" / f"{targets[0].stem}.png", mask)

        for number in range(args.runs + 1):
            some = n if number else encoder.batch_size  # the first round warms up
            with times.of("encoder only", args.device):
                encode(pictures[:some])
            with times.of("encoder only, side by side", args.device):
                encode(pictures[:some], encoder.images_at_once(some))
            segment("likewise", targets[:some])
            with times.of("line by line", args.device):
                by_line()
            if not number:
                segment("insid3", targets[:1])
                made = [place / m / f"{targets[0].stem}.png" for m in ("insid3", "by line")]
                assert np.array_equal(*map(Image.open, made)), "another mask than the pipeline"
                times = Times()
    beside = "encoder only, side by side"
    found = times.parts(per={"encoder only": n, beside: n, "likewise": n})
    shares = [
        share_of(50, alone / n, fit, each / n)
        for alone, fit, each in zip(
            *(times.wall[k] for k in ("encoder only", "likewise: fit", "likewise")), strict=True
        )
    ]
    names = "encoder only", "likewise: fit", "likewise"
    by_clock, by_cpu = ([found[k][what] for k in names] for what in ("median", "cpu"))
    parts = {
        "images": n,
        "seconds_an_image": found,
        "of_50": {"least": min(shares), "most": max(shares), "cpu": share_of(50, *by_cpu)},
        "of_1000": share_of(1000, *by_clock),
        "each_without_fit": share(found, "encoder only", "likewise"),
        "each_without_fit_vs_side_by_side": share(found, beside, "likewise"),
        "vs_line_by_line": share(found, "line by line", "likewise"),
        "line_by_line_vs_encoder_only": share(found, "encoder only", "line by line"),
    }
    return statistics.median(shares), parts | encoder_facts(encoder)


def share_of(count: int, alone: float, fit: float, each: float) -> float:
    """Speed of a folder of ``count`` images as a share of the encoder's: seconds of one image in
    the encoder, of fitting and of one image from file to file."""
    return count * alone / (fit + count * each)


def after(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """From features to the mask of one target; references are fitted already."""
    vits = [make_encoder("embedded-vits14", s * 14, args.device, args.dtype) for s in (37, 64)]
    encoders = [*vits, make_encoder(args.backbone, args.size, args.device, args.dtype)]
    names = ["{} at {}x{}".format(e.spec.name, *e.grid) for e in encoders]
    parts = {name: after_one(e, args) for name, e in zip(names, encoders, strict=True)}
    return parts[names[0]]["share"], parts


def after_one(encoder: Encoder, args: argparse.Namespace) -> dict[str, Any]:
    """At one input size."""
    reference, image = read_image(REFERENCE), read_image(EXAMPLE / "board_1.jpg")
    truth = read_mask(MASK, size=reference.shape[:2])
    pixels = encoder.preprocess([reference, image])
    tokens = torch.cat([encoder.tokens(p[None]) for p in pixels])
    default, insid3 = Segmenter(encoder), Segmenter(encoder, method="insid3", refiner="none")
    for segmenter in (default, insid3):
        segmenter.fit((REFERENCE, MASK))
    known, method = next(iter(default.models.values())), get_method(default.method)
    target = encoder.encode(image)
    scores = method.score(known, target).on(target.grid)

    def all_after(segmenter: Segmenter) -> np.ndarray:
        F = torch.nn.functional.normalize(tokens[1], dim=1)
        seen = replace(target, features=F, debiased=debias(F, encoder.basis))
        return segmenter.segment_encoded(image, seen).mask

    def by_line() -> np.ndarray:
        size = image.shape[:2]
        return reference_pipeline.after_encoder(encoder, tokens, truth, size, encoder.spec.tau)

    assert np.array_equal(all_after(insid3), by_line()), "another mask than the pipeline"
    found = timed(
        {
            "encoder": lambda: encoder.tokens(pixels[1:]),
            "likewise": lambda: all_after(default),
            "insid3, no edges": lambda: all_after(insid3),
            "line by line": by_line,
            "likewise: debias": lambda: encoder.debias(target.features),
            "likewise: match": lambda: TargetCache(target).match(
                known.pool, known.params.temperature
            ),
            "likewise: match and score": lambda: method.score(known, target),
            "likewise: edges": lambda: refine(scores, image, encoder.input_size, "guided"),
        },
        args.runs + 2,
        args.device,
    )
    parts = {
        "share": share(found, "likewise", "encoder"),
        "share_of_cpu": share(found, "likewise", "encoder", "cpu"),
        "share_line_by_line": share(found, "line by line", "encoder"),
        "seconds": found,
    }
    return parts | encoder_facts(encoder)


def cold_start(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Process start to mask on disk; the positional basis is kept from an earlier run."""
    here = Path(likewise.__file__).parents[1]
    line = "import sys, speed; speed.one_by_line(sys.argv[1])"
    command = segment_command([EXAMPLE / "board_1.jpg"], args.device)
    own = ["-b", args.backbone, "--dtype"]
    commands = {
        "likewise": (here, [*command, *own, args.dtype]),
        "likewise, float32": (here, [*command, *own, "float32"]),
        "embedded-vits14, likewise": (here, [*command, "-b", "embedded-vits14"]),
        "embedded-vits14, line by line": (here, ["-c", line, OUT]),
    }
    if args.against:
        commands["against, likewise"] = (args.against, command)
    times = Times()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(args.runs + 2):  # one more, for they are short
            for name, (source, words) in commands.items():
                out = Path(scratch) / f"{name} {number}"
                first, whole, cpu = run_process(source, words, out, "board_1")
                if number:  # the first round fills the caches of files and bases
                    times.add(name, first, cpu)
                    if name == "likewise":
                        times.add("likewise, until exit", whole, cpu)
        if args.against:
            against(args, Path(scratch), times)
    found = times.parts()
    return found["likewise"]["median"], {"seconds": found}


def segment_command(targets: list[Path], device: str) -> list[str]:
    """What follows ``python`` to segment these with the bundled example, in every version."""
    start = ["-c", "from likewise.cli import main; main()", "segment", *map(str, targets)]
    return [*start, "-r", str(REFERENCE), "-m", str(MASK), "--device", device, "-o", OUT]


def run_process(source: Path, words: list[str], out: Path, stem: str) -> tuple[float, float, float]:
    """Run Python on the sources of a checkout; ``out``, where OUT stands, is the folder for masks.

    Returns:
        Seconds until the mask is there, until the process ends, and of CPU time.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(source), str(Path(__file__).parent)])}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled
    words = [str(out) if word == OUT else word for word in words]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.DEVNULL)
    while not (out / f"{stem}.png").exists() and process.poll() is None:
        time.sleep(0.002)
    first = time.perf_counter() - start
    if process.wait() or not (out / f"{stem}.png").exists():
        raise SystemExit(f"{source} made no mask")
    whole, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return first, whole, cpu


def against(args: argparse.Namespace, scratch: Path, times: Times) -> None:
    """Seconds an image of a folder, ours and of another checkout: of --images less those of one."""
    here = Path(likewise.__file__).parents[1]
    targets = make_folder(scratch / "folder", 1 + args.images)
    for number in range(args.runs):
        for name, source in (("an image", here), ("against, an image", args.against)):
            walls, cpus = [], []
            for count in (1, len(targets)):
                words = segment_command(targets[:count], args.device)
                out = scratch / f"{name} {number} {count}"
                _, wall, cpu = run_process(source, words, out, targets[count - 1].stem)
                walls.append(wall)
                cpus.append(cpu)
            times.add(name, *((last - first) / args.images for first, last in (walls, cpus)))


def one_by_line(out: str) -> None:
    """The bundled example through the line-by-line pipeline: one mask on disk."""
    encoder = Encoder("embedded-vits14")
    reference = read_image(REFERENCE)
    truth = read_mask(MASK, size=reference.shape[:2])
    target = read_image(EXAMPLE / "board_1.jpg")
    mask = reference_pipeline.segment(encoder, reference, truth, target, encoder.spec.tau)
    Path(out).mkdir()
    write_mask(Path(out) / "board_1.png", mask)


def second_pass(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Pictures through a segmenter that keeps features on disk: new ones, and the same again."""
    count, before = max(2, args.images // 3), os.environ.get("LIKEWISE_CACHE")
    times = Times()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            pictures = [read_image(p) for p in make_folder(Path(scratch) / "in", count)]
            options = {"device": args.device, "dtype": args.dtype, "image_size": args.size}
            for number in range(args.runs):
                os.environ["LIKEWISE_CACHE"] = f"{scratch}/{number}"
                segmenter = Segmenter(TimedEncoder(args.backbone, **options))
                segmenter.fit((REFERENCE, MASK))
                for name in ("first", "second"):
                    with times.of(name, args.device):
                        for picture in pictures:
                            segmenter.segment(picture)
    finally:
        os.environ.pop("LIKEWISE_CACHE")
        os.environ.update({} if before is None else {"LIKEWISE_CACHE": before})
    found = times.parts(per={"first": count, "second": count})
    return share(found, "first", "second"), {"images": count, "seconds_an_image": found}


def clustering(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Average linkage from features; scikit-learn's also from the distances that it wants."""
    parts: dict[str, Any] = {}
    for side in (37, 64):
        encoder = make_encoder("embedded-vits14", side * 14, args.device, "float32")
        features = encoder.encode(read_image(EXAMPLE / "board_1.jpg")).features
        tau, host = encoder.spec.tau, features.cpu()
        distance = (1 - host @ host.T).clamp(min=0).numpy()
        model = reference_pipeline.AgglomerativeClustering(
            n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - tau
        )
        rounds = MergeTree(reciprocal_merges(features))  # what GPUs run, on any device
        expected = reference_pipeline.cluster(features, tau).numpy()
        for labels in (average_linkage(features).cut(tau), rounds.cut(tau)):
            pairs = len(set(zip(labels.tolist(), expected.tolist(), strict=True)))
            assert pairs == labels.max() + 1 == expected.max() + 1, "another partition"
        found = timed(
            {
                "ours": lambda f=features, t=tau: average_linkage(f).cut(t),
                "reciprocal rounds": lambda f=features: reciprocal_merges(f),
                "sklearn": lambda f=features, t=tau: reference_pipeline.cluster(f, t),
                "sklearn from distances": lambda m=model, d=distance: m.fit_predict(d),
            },
            args.runs,
            args.device,
        )
        parts[f"{side * side} patches"] = {
            "vs_sklearn": share(found, "sklearn", "ours"),
            "vs_sklearn_from_distances": share(found, "sklearn from distances", "ours"),
            "seconds": found,
            "clusters": int(expected.max()) + 1,
        }
    return list(parts.values())[-1]["vs_sklearn"], parts


def encoder_facts(encoder: Encoder) -> dict[str, str]:
    """What was run."""
    dtype = str(encoder.dtype).removeprefix("torch.")
    return {"backbone": encoder.spec.name, "size": str(encoder.input_size[0]), "dtype": dtype}


def peak(device: str) -> int:
    """Most megabytes this process held so far, on the device where there is one."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


KEYS: dict[str, Callable[[argparse.Namespace], tuple[float, dict[str, Any]]]] = {
    "folder_vs_encoder_only": folder,
    "after_encoder_share": after,
    "cold_start_s": cold_start,
    "second_pass_speedup": second_pass,
    "clustering_vs_sklearn": clustering,
}


def print_table(report: dict[str, Any]) -> None:
    """One row a figure, those of parts indented."""

    def rows(values: dict[str, Any], depth: int) -> None:
        for name, value in values.items():
            label = "  " * depth + name
            if isinstance(value, dict) and set(value) == {"median", "least", "most", "cpu"}:
                spread = f"{value['least']:.4f}-{value['most']:.4f}"
                print(f"{label:44} {value['median']:10.4f}  {spread:17} cpu {value['cpu']:.4f}")
            elif isinstance(value, dict):
                print(label)
                rows(value, depth + 1)
            else:
                print(
                    f"{label:44} {value:10.4f}"
                    if isinstance(value, float)
                    else f"{label:44} {value:>10}"
                )

    parts = report["parts"]
    rows(
        {name: value for name, value in report.items() if name not in parts and name != "parts"}, 0
    )
    for key in parts:
        print(f"\n{key:44} {report[key]:10.4f}")
        rows(parts[key], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(KEYS), metavar="KEY", help=", ".join(KEYS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto", help="of the backbone")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--size", type=int, help="pixels; the backbone's own by default")
    parser.add_argument("--images", type=int, default=24, help="in the folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--against", type=Path, help="src of another checkout: cold_start_s")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    report: dict[str, Any] = {
        "machine": torch.cuda.get_device_name() if args.device == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else -1.0,
        "parts": {},
    }
    for key, part in KEYS.items():
        if args.only in (None, key):
            start = time.perf_counter()
            report[key], report["parts"][key] = part(args)
            report["parts"][key]["took_s"] = time.perf_counter() - start
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)


if __name__ == "__main__":
    main()

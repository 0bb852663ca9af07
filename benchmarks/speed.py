"""How fast likewise is, against named baselines in the same run on the same machine.

    python benchmarks/speed.py [--only KEY] [--json] [--against OTHER/src]

Needs `pip install -e ".[bench]"`. Each key is one ratio or time, with its parts beside it; a part
is the median and the range of --runs, all jobs taken in turn so that a slow minute slows all:

- folder_vs_encoder_only: images a second of a folder of JPEG files, from file to file with fitting
  (what `likewise segment` does once it has started), as a share of the encoder's own; the same for
  folders of 50 and 1,000 from fit and rate; and of the line-by-line pipeline.
- after_encoder_share: seconds from features to mask over those of the encoder, with what they are
  made of: at 37x37 patches of `embedded-vits14` (the key), at its 64x64, and of the default.
- cold_start_s: from starting the process to the first mask on disk, of `likewise segment` with the
  bundled example; of the backbone of 0.1, the line-by-line pipeline, and of --against beside it.
- second_pass_speedup: a pass over pictures that were encoded before (features on disk), against
  the first.
- clustering_vs_sklearn: scikit-learn's seconds over ours, for 1369 and 4096 (the key) real patches.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import reference_pipeline
import torch
from PIL import Image

import likewise
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import Backbone
from likewise.backbones.registry import BACKBONES
from likewise.backbones.spec import ModelShape
from likewise.backbones.vit import ViT
from likewise.features.clustering import MergeTree, average_linkage, reciprocal_merges
from likewise.features.debias import debias
from likewise.features.patch_features import PatchFeatures
from likewise.features.target_cache import TargetCache
from likewise.io.encoding import write_mask
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.methods import get_method
from likewise.refine import refine
from likewise.run.folder import FolderRun
from likewise.segmenter import Segmenter

EXAMPLE = Path(likewise.__file__).parent / "example"
REFERENCE, MASK = EXAMPLE / "board_reference.jpg", EXAMPLE / "board_reference_mask.png"
EDGES = {"likewise": "guided", "insid3": "none"}
Part = dict[str, float]
"""Seconds: ``median``, ``least`` and ``most``."""


def timed(jobs: dict[str, Callable[[], object]], runs: int, device: str = "cpu") -> dict[str, Part]:
    """Seconds of each job; one of each in turn, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(runs + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: spread(values) for name, values in seconds.items()}


def spread(values: list[float]) -> Part:
    """Median and range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def share(found: dict[str, Part], over: str, under: str) -> float:
    """Ratio of two medians."""
    return found[over]["median"] / found[under]["median"]


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
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        targets = make_folder(place / "in", args.images)
        reference, truth = read_image(REFERENCE), read_mask(MASK)
        pixels = encoder.preprocess([read_image(t) for t in targets[: encoder.batch_size]])
        few = targets[:2]

        def run(method: str, files: list[Path]) -> None:
            examples = [(REFERENCE, MASK)]
            options = {"backbone": encoder, "method": method, "refiner": EDGES[method]}
            for outcome in FolderRun(files, place / method, examples, overwrite=True, **options):
                assert outcome.state == "made", outcome

        def pipeline() -> None:
            (place / "reference").mkdir(exist_ok=True)
            for target in few:
                pictures = reference, truth, read_image(target)
                mask = reference_pipeline.segment(encoder, *pictures, encoder.spec.tau)
                write_mask(place / "reference" / f"{target.stem}.png", mask)

        def only_encoder() -> None:
            for _ in range(0, len(targets), encoder.batch_size):
                encoder.tokens(pixels)

        jobs: dict[str, Callable[[], object]] = {
            "encoder only": only_encoder,
            "likewise": lambda: run("likewise", targets),
            "fit": lambda: Segmenter(encoder).fit((REFERENCE, MASK)),
            "line by line, 2 images": pipeline,
        }
        found = timed(jobs, args.runs, args.device)
        run("insid3", few)
        for target in few:
            made, wanted = (place / m / f"{target.stem}.png" for m in ("insid3", "reference"))
            assert np.array_equal(Image.open(made), Image.open(wanted)), target
    n, fit = len(targets), found["fit"]["median"]
    alone, whole = found["encoder only"]["median"] / n, found["likewise"]["median"]
    each = (whole - fit) / n
    line = found["line by line, 2 images"]["median"] / len(few)
    parts = {
        "images": n,
        "seconds": found,
        "images_a_second": {"encoder only": 1 / alone, "likewise": n / whole, "by line": 1 / line},
        "vs_line_by_line": line / (whole / n),
        "line_by_line_vs_encoder_only": alone / line,
        "of_50_from_fit_and_rate": 50 * alone / (fit + 50 * each),
        "of_1000_from_fit_and_rate": 1000 * alone / (fit + 1000 * each),
    }
    return n * alone / whole, parts | encoder_facts(encoder)


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
        F, size = torch.nn.functional.normalize(tokens[1], dim=1), (480, 640)
        target = PatchFeatures(F, debias(F, encoder.basis), encoder.grid, size)
        return segmenter.segment_encoded(image, target).mask

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
        2 * args.runs + 1,
        args.device,
    )
    parts = {
        "share": share(found, "likewise", "encoder"),
        "share_line_by_line": share(found, "line by line", "encoder"),
        "seconds": found,
    }
    return parts | encoder_facts(encoder)


def cold_start(args: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Process start to mask on disk; the positional basis is kept from an earlier run."""
    line = "import sys, speed; speed.one_by_line(sys.argv[1])"
    here = str(Path(likewise.__file__).parents[1])
    plain: list[str] = ["-m", "likewise", "segment", str(EXAMPLE / "board_1.jpg")]
    plain += ["-r", str(REFERENCE), "-m", str(MASK), "--device", args.device, "--overwrite", "-o"]
    commands = {
        "likewise": (here, plain, ["--dtype", args.dtype, "-b", args.backbone]),
        "embedded-vits14, likewise": (here, plain, ["-b", "embedded-vits14"]),
        "embedded-vits14, line by line": (here, ["-c", line], []),
    }
    if args.against:
        commands["likewise, against"] = (str(args.against), plain, ["-b", args.backbone])
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    exits: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(args.runs + 3):  # more runs, for they are short
            for name, (source, words, options) in commands.items():
                out = Path(scratch) / f"{name} {number}"
                places = [source, str(Path(__file__).parent)]
                start = time.perf_counter()
                process = subprocess.Popen(
                    [sys.executable, *words, str(out), *options],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
                    stdout=subprocess.DEVNULL,
                )
                while not (out / "board_1.png").exists() and process.poll() is None:
                    time.sleep(0.002)
                stop = time.perf_counter()
                if process.wait() or not (out / "board_1.png").exists():
                    raise SystemExit(f"{name} made no mask")
                if number:  # the first round fills the caches of files and bases
                    seconds[name].append(stop - start)
                    if name == "likewise":
                        exits.append(time.perf_counter() - start)
    found = {name: spread(values) for name, values in seconds.items()}
    return found["likewise"]["median"], {"seconds": found, "until_exit": spread(exits)}


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
    first, second = [], []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            pictures = [read_image(p) for p in make_folder(Path(scratch) / "in", count)]
            options = {"device": args.device, "dtype": args.dtype, "image_size": args.size}
            for number in range(args.runs):
                os.environ["LIKEWISE_CACHE"] = f"{scratch}/{number}"
                segmenter = Segmenter(TimedEncoder(args.backbone, **options))
                segmenter.fit((REFERENCE, MASK))
                for kept in (first, second):
                    start = time.perf_counter()
                    for picture in pictures:
                        segmenter.segment(picture)
                    kept.append((time.perf_counter() - start) / count)
    finally:
        os.environ.pop("LIKEWISE_CACHE")
        os.environ.update({} if before is None else {"LIKEWISE_CACHE": before})
    found = {"first": spread(first), "second": spread(second)}
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
            if isinstance(value, dict) and set(value) == {"median", "least", "most"}:
                print(
                    f"{label:44} {value['median']:10.4f}  {value['least']:.4f}-{value['most']:.4f}"
                )
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
    parser.add_argument("--against", type=Path, help="src of another checkout, for cold_start_s")
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

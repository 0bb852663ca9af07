"""How fast likewise is, against named baselines in the same run on the same machine.

    python benchmarks/speed.py [--only clustering|stages|end_to_end] [--device cpu] [--json]

Needs scikit-learn. Three parts, every figure the median of --runs, all rows taken in turn:

- clustering: 64x64 patches of real pictures; ours and reciprocal rounds against scikit-learn.
- stages: milliseconds of decode, resize, encode, debias, match, cluster, select, refine and write,
  at each of --sizes for each of --backbones (random weights but for the embedded one), with peak
  memory, and the floor: operations over the measured rate of matrix products plus bytes over the
  measured rate of copies. Then all that follows the encoder at 64x64 patches against the reference.
- end_to_end: a folder of --images pictures and one reference, from file to file.

The baseline is `reference_pipeline.py`. Ratios above 1 say how many times faster likewise is;
`end_to_end_vs_encoder_only` is the share of the encoder's own images a second that is kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
from likewise.features.patch_features import PatchFeatures, mask_to_grid
from likewise.features.target_cache import TargetCache
from likewise.io.encoding import write_mask
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.methods import insid3
from likewise.reference import EncodedReference, ReferenceSet
from likewise.refine import refine
from likewise.run.jobs import plan
from likewise.run.runner import segment_files
from likewise.segmenter import Segmenter

EXAMPLE = Path(likewise.__file__).parent / "example"
REFERENCE, MASK = EXAMPLE / "board_reference.jpg", EXAMPLE / "board_reference_mask.png"
GRID = 64


def timed(jobs: dict[str, Callable[[], object]], runs: int, device: str) -> dict[str, float]:
    """Median seconds of each job; one of each in turn, so that a slow minute slows all."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(runs + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def random_backbone(name: str, device: str, dtype: torch.dtype) -> Backbone:
    """A registry entry with random weights: for time, any will do."""
    spec = BACKBONES[name]
    torch.manual_seed(0)
    model = ViT(ModelShape.of(spec), spec.depth).to(device, dtype).eval().requires_grad_(False)
    return Backbone(model, spec, spec.depth, f"random {name}")


def make_encoder(name: str, size: int, device: str, dtype: str) -> Encoder:
    """At the multiple of the patch next to ``size``."""
    side = round(size / BACKBONES[name].patch) * BACKBONES[name].patch
    if name == "embedded":
        return Encoder(image_size=side, device=device, dtype=dtype)
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    return Encoder(random_backbone(name, device, kind), image_size=side)


def clustering(args: argparse.Namespace) -> dict[str, object]:
    """Average linkage of 4096 patches, from features and from the distances that sklearn wants."""
    encoder = make_encoder("embedded", GRID * 14, args.device, "auto")
    features = encoder.encode(read_image(EXAMPLE / "board_1.jpg")).features
    tau = encoder.spec.tau
    host = features.cpu()
    distance = (1 - host @ host.T).clamp(min=0).numpy()
    model = reference_pipeline.AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - tau
    )
    same = average_linkage(features).cut(tau), reciprocal_labels(features, tau)
    expected = reference_pipeline.cluster(features, tau).numpy()
    for labels in same:
        pairs = len(set(zip(labels.tolist(), expected.tolist(), strict=True)))
        assert pairs == labels.max() + 1 == expected.max() + 1, "another partition"
    seconds = timed(
        {
            "ours": lambda: average_linkage(features).cut(tau),
            "reciprocal rounds": lambda: reciprocal_labels(features, tau),
            "sklearn": lambda: reference_pipeline.cluster(features, tau),
            "sklearn from distances": lambda: model.fit_predict(distance),
        },
        args.runs,
        args.device,
    )
    return {
        "clustering_vs_sklearn": seconds["sklearn"] / seconds["ours"],
        "clustering_vs_sklearn_without_distances": seconds["sklearn from distances"]
        / seconds["ours"],
        "clustering": {"patches": len(features), "clusters": int(expected.max()) + 1} | seconds,
    }


def reciprocal_labels(features: torch.Tensor, tau: float) -> np.ndarray:
    """What GPUs run, on any device."""
    return MergeTree(reciprocal_merges(features)).cut(tau)


def rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """(operations, bytes) a second: a large matrix product, and a copy read and written."""
    side = 2048 if device == "cpu" else 8192
    a = torch.randn(side, side, device=device).to(dtype)
    b = torch.empty(1 << 26, device=device)
    seconds = timed({"product": lambda: a @ a, "copy": lambda: b.clone()}, 5, device)
    return 2 * side**3 / seconds["product"], 2 * b.nbytes / seconds["copy"]


def operations(encoder: Encoder) -> float:
    """Of one image in the backbone: its matrix products."""
    spec = encoder.spec
    n = encoder.grid[0] * encoder.grid[1] + 1 + spec.registers
    weights = 4 * spec.dim**2 + (3 if spec.gated else 2) * spec.dim * spec.mlp_dim
    return encoder.backbone.block * (2.0 * n * weights + 4.0 * n * n * spec.dim)


def stages(args: argparse.Namespace) -> dict[str, object]:
    """The table of stages, then what follows the encoder against the reference pipeline."""
    table = []
    for name in args.backbones:
        for size in args.sizes:
            row = stage_row(make_encoder(name, size, args.device, args.dtype), name, args)
            table.append(row)
            if not args.json:
                print(json.dumps(row), flush=True)
    return {"stages": table} | post_encoder(args)


def stage_row(encoder: Encoder, name: str, args: argparse.Namespace) -> dict[str, object]:
    """Milliseconds of every stage of one image of 640x480."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = make_folder(Path(scratch) / "in", 1)[0]
        out = Path(scratch) / "mask.png"
        image, shown = read_image(picture), read_image(REFERENCE)
        pixels = encoder.preprocess([image])
        reference, target = encoder.encode_many([shown, image])
        grid_mask = mask_to_grid(read_mask(MASK, size=shown.shape[:2]), encoder.grid)
        mask = grid_mask.to(encoder.device)
        model = (
            ReferenceSet((EncodedReference(reference, mask),)),
            insid3.Params(tau=encoder.spec.tau),
        )
        known = TargetCache(target)
        scores = insid3.score(model, target, known).patches.reshape(target.grid)
        found = refine(scores, image, encoder.input_size)
        similarity = target.debiased @ target.debiased[0]
        jobs: dict[str, Callable[[], object]] = {
            "decode": lambda: read_image(picture),
            "resize": lambda: encoder.preprocess([image]),
            "encode": lambda: encoder.tokens(pixels),
            "debias": lambda: debias(target.features, encoder.basis),
            "match": lambda: insid3.candidate_patches([reference], [mask], target, similarity),
            "cluster": lambda: average_linkage(target.features),
            "match and select": lambda: insid3.score(model, target, known),
            "refine": lambda: refine(scores, image, encoder.input_size),
            "refine guided": lambda: refine(scores, image, encoder.input_size, "guided"),
            "write": lambda: write_mask(out, found),
        }
        batch = pixels.repeat(max(2, encoder.batch_size), 1, 1, 1)
        jobs["encode a batch"] = lambda: encoder.tokens(batch)
        seconds = timed(jobs, args.runs, args.device)
    seconds["encode a batch"] /= len(batch)
    operations_a_second, bytes_a_second = rates(args.device, encoder.dtype)
    weights = sum(p.nbytes for p in encoder.backbone.model.parameters())
    floor = operations(encoder) / operations_a_second + weights / bytes_a_second
    row = {"backbone": name, "size": encoder.input_size[0], "patches": len(target.features)}
    row |= {"milliseconds": {key: round(1e3 * value, 2) for key, value in seconds.items()}}
    return row | {"floor_of_encode": round(1e3 * floor, 2), "peak_mb": peak(args.device)}


def post_encoder(args: argparse.Namespace) -> dict[str, object]:
    """From tokens to the mask of one target at 64x64 patches; references are fitted already."""
    encoder = make_encoder("embedded", GRID * 14, args.device, "auto")
    reference, image = read_image(REFERENCE), read_image(EXAMPLE / "board_1.jpg")
    truth = read_mask(MASK, size=reference.shape[:2])
    tokens = encoder.tokens(encoder.preprocess([reference, image]))
    tau = encoder.spec.tau

    def after(segmenter: Segmenter) -> np.ndarray:
        features = torch.nn.functional.normalize(tokens[1], dim=1)
        size = (image.shape[0], image.shape[1])
        target = PatchFeatures(features, debias(features, encoder.basis), encoder.grid, size)
        return segmenter.segment_encoded(image, target).mask

    def baseline() -> np.ndarray:
        return reference_pipeline.after_encoder(encoder, tokens, truth, image.shape[:2], tau)

    example = (REFERENCE, MASK)
    ours = Segmenter(encoder, method="insid3").fit(example)
    default = Segmenter(encoder).fit(example)
    assert np.array_equal(after(ours), baseline()), "another mask than the reference pipeline"
    seconds = timed(
        {
            "insid3": lambda: after(ours),
            "likewise": lambda: after(default),
            "reference": baseline,
        },
        args.runs,
        args.device,
    )
    return {
        "post_encoder_vs_reference": seconds["reference"] / seconds["insid3"],
        "post_encoder_vs_reference_likewise": seconds["reference"] / seconds["likewise"],
        "post_encoder": seconds,
    }


def end_to_end(args: argparse.Namespace) -> dict[str, object]:
    """A folder of JPEG files and one reference: masks on disk."""
    name, size = args.backbones[0], args.sizes[0]
    encoder = make_encoder(name, size, args.device, args.dtype)
    tau = encoder.spec.tau
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        targets = make_folder(folder / "in", args.images)
        reference, truth = read_image(REFERENCE), read_mask(MASK)
        pixels = encoder.preprocess([read_image(t) for t in targets[: encoder.batch_size]])

        def ours(method: str) -> None:
            segmenter = Segmenter(encoder, method=method).fit((REFERENCE, MASK))
            jobs = plan(targets, folder / method, overlay=False)
            outcomes = list(segment_files(segmenter, jobs))
            assert all(o.error is None for o in outcomes)

        def baseline() -> None:
            (folder / "reference").mkdir(exist_ok=True)
            for target in targets[:: args.every]:
                mask = reference_pipeline.segment(
                    encoder, reference, truth, read_image(target), tau
                )
                write_mask(folder / "reference" / f"{target.stem}.png", mask)

        def only_encoder() -> None:
            for _ in range(0, len(targets), encoder.batch_size):
                encoder.tokens(pixels)

        seconds = timed(
            {
                "insid3": lambda: ours("insid3"),
                "likewise": lambda: ours("likewise"),
                "reference": baseline,
                "encoder only": only_encoder,
            },
            args.runs,
            args.device,
        )
        for target in targets[:: args.every]:
            made, wanted = (folder / m / f"{target.stem}.png" for m in ("insid3", "reference"))
            assert np.array_equal(read_mask_or_empty(made), read_mask_or_empty(wanted)), target
    seconds["reference"] *= len(targets) / len(targets[:: args.every])
    rate = {key: len(targets) / value for key, value in seconds.items()}
    return {
        "end_to_end_vs_reference": rate["insid3"] / rate["reference"],
        "end_to_end_vs_encoder_only": rate["insid3"] / rate["encoder only"],
        "end_to_end_vs_reference_likewise": rate["likewise"] / rate["reference"],
        "end_to_end_vs_encoder_only_likewise": rate["likewise"] / rate["encoder only"],
        "end_to_end": {
            "backbone": name,
            "size": encoder.input_size[0],
            "images": len(targets),
            "images_a_second": rate,
        },
    }


def read_mask_or_empty(path: Path) -> np.ndarray:
    """(H, W) bool."""
    return np.asarray(Image.open(path)) > 0


def make_folder(folder: Path, count: int) -> list[Path]:
    """``count`` different JPEG files of 640x480: crops of the bundled pictures."""
    folder.mkdir()
    sources = [
        Image.open(EXAMPLE / f"{name}.jpg").convert("RGB") for name in ("board_1", "board_2")
    ]
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        source = sources[number % len(sources)]
        share = rng.uniform(0.7, 1)
        w, h = round(source.width * share), round(source.height * share)
        x, y = rng.integers(source.width - w + 1), rng.integers(source.height - h + 1)
        paths.append(folder / f"{number:05d}.jpg")
        source.crop((x, y, x + w, y + h)).resize((640, 480)).save(paths[-1], quality=92)
    return paths


def peak(device: str) -> int:
    """Most megabytes this process held so far, on the device where there is one."""
    if device == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("clustering", "stages", "end_to_end"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto", help="of the backbone")
    parser.add_argument(
        "--backbones", nargs="+", default=["embedded"], help="names; first one: end"
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[768], help="pixels; first one: end"
    )
    parser.add_argument("--images", type=int, default=50, help="in the folder of end_to_end")
    parser.add_argument("--every", type=int, default=1, help="reference pipeline on each n-th only")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    machine = torch.cuda.get_device_name() if args.device == "cuda" else platform.machine()
    report: dict[str, object] = {
        "machine": machine,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    for name, part in (("clustering", clustering), ("stages", stages), ("end_to_end", end_to_end)):
        if args.only in (None, name):
            report |= part(args)
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for key, value in report.items():
        if key != "stages":
            print(f"{key:40} {value}")


if __name__ == "__main__":
    main()

"""A simulated user who clicks: IoU after so many clicks, and clicks to 80 % and 90 %.

    python benchmarks/clicks.py EPISODES.json ... ROOT [--start reference|nothing|both] [--limit 20]
        [--clicks 20] [--baselines] [--json] [--picture FILE.png]

The user of RITM and SimpleClick: the first click is at the pixel farthest from the border of what
is missing; each further one at the pixel farthest from the border of the largest connected error,
positive if it is a miss, negative if a false alarm. IoU is counted at the target's own size, or
with at most --side pixels a side. It is counted for each episode, then averaged over the episodes
of a set, then over sets. An episode ends when it has reached 90 % and five clicks; what it had then
counts for the clicks after. NoC is --clicks where the IoU is not reached. Episodes without the
concept are left out.

The top-level figures are on top of the reference: "0" is the mask of the default method. With
--baselines there are two more rules, each with its own clicks: ``nearest`` (every patch as the
click with the most similar patch, if similar enough) and ``walker`` (scikit-image's random walker
over the colours, at most 128 pixels a side; left out where scikit-image is not installed); they
double the time. Features are kept on disk between runs, as of `likewise eval`. --limit 0 takes all
episodes: 3 s each on one core, and 5 s more to encode its pictures the first time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from scipy.ndimage import distance_transform_edt, find_objects, label

from likewise import Reference, Segmenter, Session
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.episodes import Trial, choose, read_episodes
from likewise.lab.evaluation.reading import read_marked, read_pixels
from likewise.refine import DEFAULT_REFINER, resize
from likewise.session import EncodedPicture

SHOWN = (0, 1, 3, 5)
TARGETS = (0.8, 0.9)
SIMILAR = 0.5
"""Cosine from which on a patch is as its nearest click; the best of 0.5 to 0.8 on list A."""
WALKER_SIDE = 128
Click = tuple[int, int, int]
Rule = Callable[[list[Click]], np.ndarray]


def next_click(mask: np.ndarray, truth: np.ndarray, clicked: list[Click]) -> Click | None:
    """x, y and sign of the next click; None where nothing is wrong that was not clicked."""
    pieces = []
    for sign, wrong in ((1, truth & ~mask), (-1, mask & ~truth)):
        numbers, count = label(wrong)
        if count:
            areas = np.bincount(numbers.ravel())[1:]
            largest = int(areas.argmax())
            pieces.append((int(areas[largest]), sign, numbers, largest))
    for _, sign, numbers, largest in sorted(pieces, key=lambda p: -p[0]):
        rows, columns = find_objects(numbers)[largest]
        depth = distance_transform_edt(np.pad(numbers[rows, columns] == largest + 1, 1))[1:-1, 1:-1]
        for x, y, _ in clicked:
            if rows.start <= y < rows.stop and columns.start <= x < columns.stop:
                depth[y - rows.start, x - columns.start] = 0
        if depth.any():
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            return int(x + columns.start), int(y + rows.start), sign
    return None


def simulate(rule: Rule, truth: np.ndarray, clicks: int) -> list[float]:
    """IoU after 0, 1, … ``clicks`` clicks."""
    done: list[Click] = []
    mask = rule(done)
    ious = [iou(mask, truth)]
    while len(done) < clicks and not (len(done) >= max(SHOWN) and max(ious) >= max(TARGETS)):
        click = next_click(mask, truth, done)
        if click is None:
            break
        done.append(click)
        mask = rule(done)
        ious.append(iou(mask, truth))
    return ious + [ious[-1]] * (clicks + 1 - len(ious))


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


class Ours:
    """A ``Session`` that follows the clicks, and the seconds that each took."""

    def __init__(self, segmenter: Segmenter, encoded: EncodedPicture) -> None:
        self.session = Session(segmenter, encoded)
        self.seconds: list[float] = []
        self.segmenter, self.empty = segmenter, np.zeros(self.session.size, bool)

    def __call__(self, clicks: list[Click]) -> np.ndarray:
        if not clicks:
            return self.session.result.mask if self.segmenter.models else self.empty
        start = time.process_time()
        x, y, sign = clicks[-1]
        mask = self.session.click(x, y, sign > 0).result.mask
        self.seconds.append(time.process_time() - start)
        return mask


def nearest_rule(features: torch.Tensor, grid: tuple[int, int], first: np.ndarray) -> Rule:
    """Patches take the side of the click whose patch is most similar, if by ``SIMILAR`` at least;
    the others stay as they were."""
    (h, w), (H, W) = grid, first.shape
    before = torch.nn.functional.adaptive_avg_pool2d(
        torch.from_numpy(first).float()[None], (h, w)
    ).flatten()

    def rule(clicks: list[Click]) -> np.ndarray:
        if not clicks:
            return first
        places = [y * h // H * w + x * w // W for x, y, _ in clicks]
        cosines = features @ features[places].T
        best, which = cosines.max(dim=1)
        sides = torch.tensor([float(s > 0) for _, _, s in clicks])[which]
        scores = torch.where(best > SIMILAR, sides, before).reshape(h, w)
        mask = (resize(scores, (H, W)) > 0.5).numpy()
        for x, y, sign in clicks:
            mask[y, x] = sign > 0
        return mask

    return rule


def walker_rule(pixels: np.ndarray, first: np.ndarray) -> Rule | None:
    """Random walker from the clicks; without one of both sides, the border and its opposite."""
    try:
        from skimage.segmentation import random_walker
    except ImportError:
        return None
    H, W = first.shape
    scale = min(1.0, WALKER_SIDE / max(H, W))
    h, w = max(2, round(H * scale)), max(2, round(W * scale))
    small = np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.BILINEAR)) / 255.0
    shrunk = np.asarray(Image.fromarray(first).resize((w, h), Image.Resampling.NEAREST))
    core = [distance_transform_edt(np.pad(m, 1))[1:-1, 1:-1] for m in (shrunk, ~shrunk)]

    def rule(clicks: list[Click]) -> np.ndarray:
        if not clicks:
            return first
        seeds = np.zeros((h, w), int)
        if first.any():  # what was found counts where it is farther than half of its depth
            seeds[core[0] > core[0].max() / 2] = 1
            seeds[core[1] > core[1].max() / 2] = 2
        else:
            seeds[[0, -1]] = seeds[:, [0, -1]] = 2
        for x, y, sign in clicks:
            row, column = min(h - 1, int(y * h / H)), min(w - 1, int(x * w / W))
            near = np.s_[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            seeds[near] = 1 if sign > 0 else 2
        if not ((seeds == 1).any() and (seeds == 2).any()):
            return first
        share = random_walker(
            small,
            seeds,
            beta=90,
            mode="cg_j",
            return_full_prob=True,
            channel_axis=-1,
            tol=1e-2,
            prob_tol=1,
        )[0]
        mask = np.asarray(Image.fromarray(np.float32(share)).resize((W, H))) > 0.5
        for x, y, sign in clicks:
            mask[y, x] = sign > 0
        return mask

    return rule


def read_target(trial: Trial, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, encoded at their own size, and truth with at most ``side`` pixels a side."""
    pixels = read_pixels(trial.episode.target)
    truth = read_marked(trial.asked, pixels)[1]
    scale = min(1.0, side / max(truth.shape))
    size = max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale))
    small = Image.fromarray(truth.astype(np.uint8) * np.uint8(255)).resize(
        size, Image.Resampling.BOX
    )
    shown = np.asarray(small) > 127
    return pixels, shown if shown.any() else truth


class Resized(Ours):
    """``Ours`` where masks and clicks are those of a smaller picture."""

    def __init__(
        self, segmenter: Segmenter, encoded: EncodedPicture, size: tuple[int, int]
    ) -> None:
        super().__init__(segmenter, encoded)
        self.size = size

    def __call__(self, clicks: list[Click]) -> np.ndarray:
        H, W = self.empty.shape
        h, w = self.size
        large = [(int((x + 0.5) * W / w), int((y + 0.5) * H / h), s) for x, y, s in clicks]
        mask = super().__call__(large)
        if mask.shape == self.size:
            return mask
        rows = ((np.arange(h) + 0.5) * H / h).astype(int)
        columns = ((np.arange(w) + 0.5) * W / w).astype(int)
        return mask[np.ix_(rows, columns)]


def run(trials: list[Trial], args: argparse.Namespace) -> dict[str, Any]:
    """start → rule → list of IoU curves; and the sets, and the seconds of our clicks."""
    encoder = TimedEncoder(args.backbone, image_size=args.size, dtype=args.dtype)
    fitted, plain = Segmenter(encoder), Segmenter(encoder)
    curves: dict[str, dict[str, list[list[float]]]] = {s: {} for s in args.starts}
    seconds: list[float] = []
    kept = []
    console = Console(stderr=True)
    for trial in track(trials, "clicking", console=console):
        pixels, truth = read_target(trial, args.side)
        if not truth.any():
            continue
        kept.append(trial)
        encoded = EncodedPicture(encoder, plain.read(pixels))
        for start in args.starts:
            if start == "reference":
                shots = [Reference(*read_marked(r)[:2]) for r in trial.references]
                fitted.fit(shots)
            ours = Resized(fitted if start == "reference" else plain, encoded, truth.shape)
            found: dict[str, Rule | None] = {"likewise": ours}
            if args.baselines:
                first = ours([])
                size = (truth.shape[1], truth.shape[0])
                small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
                features = encoded.solver.target.features.cpu()
                found["nearest"] = nearest_rule(features, encoder.grid, first)
                found["walker"] = walker_rule(small, first)
            for name, rule in found.items():
                if rule is not None:
                    curve = simulate(rule, truth, args.clicks)
                    curves[start].setdefault(name, []).append(curve)
            seconds += ours.seconds
    return {
        "curves": curves,
        "sets": [t.episode.dataset for t in kept],
        "seconds": seconds,
        "grid": encoder.grid,
    }


def summary(curves: np.ndarray, sets: list[str], clicks: int) -> dict[str, Any]:
    """IoU in points after so many clicks and NoC, with 95 % intervals over episodes within sets."""
    names = np.array(sets)
    groups = [np.flatnonzero(names == name) for name in sorted(set(sets))]
    hits = [curves >= t for t in TARGETS]
    numbers = [np.where(h.any(axis=1), h.argmax(axis=1), clicks) for h in hits]
    columns = np.column_stack([*(100 * curves[:, k] for k in shown(clicks)), *numbers])
    rng = np.random.default_rng(0)
    draws = np.array(
        [
            np.mean([columns[g[rng.integers(len(g), size=len(g))]].mean(axis=0) for g in groups], 0)
            for _ in range(1000)
        ]
    )
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    mean = np.mean([columns[g].mean(axis=0) for g in groups], axis=0)
    keys = [str(k) for k in shown(clicks)]

    def named(values: np.ndarray) -> dict[str, Any]:
        found = [round(float(v), 3) for v in values]
        return {
            "iou": dict(zip(keys, found, strict=False)),
            "noc80": found[-2],
            "noc90": found[-1],
        }

    return {
        **named(mean),
        "low": named(low),
        "high": named(high),
        "curve": [
            round(float(np.mean([100 * curves[g, k].mean() for g in groups])), 2)
            for k in range(clicks + 1)
        ],
        "sets": {str(names[g[0]]): named(columns[g].mean(axis=0)) for g in groups},
    }


def shown(clicks: int) -> list[int]:
    return [k for k in SHOWN if k <= clicks]


def draw(report: dict[str, Any], file: Path) -> None:
    """Mean IoU against clicks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="clicks", ylabel="mean IoU, %", ylim=(0, 100))
    for start, rules in report["starts"].items():
        for name, found in rules.items():
            style = "-" if start == "reference" else "--"
            axes.plot(found["curve"], style, label=f"{name}, from {start}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("episodes", type=Path, nargs="+")
    parser.add_argument("root", type=Path)
    parser.add_argument("--limit", type=int, default=20, help="episodes, over all sets; 0: all")
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--start", choices=("reference", "nothing", "both"), default="both")
    parser.add_argument("--side", type=int, default=768, help="of the truth, in pixels, at most")
    parser.add_argument("--baselines", action="store_true", help="nearest and walker as well")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--size", type=int, help="of the backbone's input")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--picture", type=Path, help="PNG of the curves")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.starts = ["reference", "nothing"] if args.start == "both" else [args.start]
    episodes = [e for e in read_episodes(args.episodes, args.root) if not e.absent]
    if not episodes:
        parser.error("no episode shows its concept: there is nothing to click at")
    trials = choose(episodes, limit=args.limit or None)
    done = run(trials, args)
    starts = {
        start: {
            name: summary(np.array(curves), done["sets"], args.clicks)
            for name, curves in rules.items()
        }
        for start, rules in done["curves"].items()
    }
    headline = starts[args.starts[0]]["likewise"]
    report = {
        "iou": headline["iou"],
        "noc80": headline["noc80"],
        "noc90": headline["noc90"],
        "low": headline["low"],
        "high": headline["high"],
        "episodes": len(done["sets"]),
        "refiner": DEFAULT_REFINER,
        "grid": list(done["grid"]),
        "click_ms": {
            "median": round(1000 * float(np.median(done["seconds"])), 1),
            "p90": round(1000 * float(np.quantile(done["seconds"], 0.9)), 1),
        },
        "starts": starts,
    }
    if args.picture is not None:
        draw(report, args.picture)
    if args.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['episodes']} episodes of {len(set(done['sets']))} sets")
    print(f"{'start':10} {'rule':9}" + "".join(f"{k:>7}" for k in shown(args.clicks)), end="")
    print(f"{'NoC@80':>22}{'NoC@90':>22}")
    for start, rules in starts.items():
        for name, found in rules.items():
            cells = "".join(f"{v:7.1f}" for v in found["iou"].values())
            for key in ("noc80", "noc90"):
                cells += f"{found[key]:8.2f} [{found['low'][key]:5.2f}, {found['high'][key]:5.2f}]"
            print(f"{start:10} {name:9}{cells}")
    ms = report["click_ms"]
    print(f"CPU time of a click: median {ms['median']} ms, 9 of 10 below {ms['p90']} ms")


if __name__ == "__main__":
    main()

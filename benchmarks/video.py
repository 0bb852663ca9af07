"""How well and how fast clips are segmented, and that memory stays flat on long ones.

    python benchmarks/video.py accuracy DAVIS [--methods insid3 likewise] [--image-size N]
    python benchmarks/video.py memory DAVIS [--frames 1000] [--image-size 112]

DAVIS holds JPEGImages/480p/SEQUENCE/ and Annotations/480p/SEQUENCE/. Accuracy: J, F and their mean
in points as in the official semi-supervised evaluation of DAVIS-2016: the first frame is given,
first and last are not counted; the mean over frames, then over sequences. Features are kept on disk
between runs, so images/s is of everything behind the encoder unless --timed. Memory: a long MP4 is
made of one sequence, forwards and backwards, and `likewise video` runs on it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from likewise import Segmenter
from likewise.io.masks import read_mask
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.evaluation.metrics import contour_f
from likewise.methods import get_method, make_params
from likewise.video.annotation import read_annotations
from likewise.video.frames import open_clip
from likewise.video.propagate import propagate

Scores = dict[str, list[tuple[float, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    accuracy = commands.add_parser("accuracy")
    accuracy.add_argument("davis", type=Path)
    accuracy.add_argument("--methods", nargs="+", default=["insid3", "likewise"])
    accuracy.add_argument("--sequences", nargs="+")
    accuracy.add_argument("--backbone", default="embedded")
    accuracy.add_argument("--image-size", type=int)
    accuracy.add_argument("--refine", default="none")
    accuracy.add_argument("--decoder", help="of segic")
    accuracy.add_argument("--timed", action="store_true", help="encode anew: images/s of it all")
    accuracy.add_argument("--json", type=Path)
    accuracy.set_defaults(call=measure)
    memory = commands.add_parser("memory")
    memory.add_argument("davis", type=Path)
    memory.add_argument("--sequence", default="blackswan")
    memory.add_argument("--frames", type=int, default=1000)
    memory.add_argument("--image-size", type=int, default=112)
    memory.set_defaults(call=watch)
    args = parser.parse_args()
    args.call(args)


def measure(args: argparse.Namespace) -> None:
    """A row for each method without memory and with it, then the differences."""
    encoder = TimedEncoder(args.backbone, image_size=args.image_size, keep=not args.timed)
    names = args.sequences or sorted(p.name for p in (args.davis / "JPEGImages/480p").iterdir())
    kept: dict[str, Scores] = {}
    print(f"{'':22} {'J':>6} {'F':>6} {'J&F':>6} {'images/s':>9}  J&F of {', '.join(names)}")
    for method, memory in itertools.product(args.methods, (False, True)):
        row = f"{method}, {'memory' if memory else 'each alone'}"
        own = {"decoder": args.decoder, "task": 1} if get_method(method).CAN.decoder else {}
        segmenter = Segmenter(encoder, method=make_params(method, own), refiner=args.refine)
        start = time.perf_counter()
        scores: Scores = {}
        scoring = 0.0
        for name in names:
            scores[name], seconds = sequence(args.davis, name, segmenter, memory)
            scoring += seconds
        seconds = time.perf_counter() - start - scoring
        kept[row] = scores
        means = np.array([np.mean(scores[name], axis=0) for name in names])
        rate = sum(len(s) + 2 for s in scores.values()) / seconds
        each = "  ".join(f"{v:.1f}" for v in means.mean(axis=1))
        j, f = means.mean(axis=0)
        print(f"{row:22} {j:6.1f} {f:6.1f} {(j + f) / 2:6.1f} {rate:9.2f}  {each}", flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps(kept) + "\n")
    rows = list(kept)
    for other in rows[1:]:
        print(f"{other} − {rows[0]}: {difference(kept[rows[0]], kept[other])}")
    for k in range(2, len(rows), 2):
        print(f"{rows[k + 1]} − {rows[k]}: {difference(kept[rows[k]], kept[rows[k + 1]])}")


def sequence(
    davis: Path, name: str, segmenter: Segmenter, memory: bool
) -> tuple[list[tuple[float, float]], float]:
    """(J, F) in points of every frame but the first and last, and the seconds that scoring took."""
    clip = open_clip(davis / "JPEGImages/480p" / name)
    truth = [davis / "Annotations/480p" / name / f"{clip.name(k)}.png" for k in range(len(clip))]
    known = read_annotations({0: truth[0]}, clip.size, len(clip))
    scores, scoring = [], 0.0
    for frame in propagate(clip, known, segmenter, memory=memory):
        if 0 < frame.number < len(clip) - 1:
            start = time.perf_counter()
            found, true = frame.label_map == 1, read_mask(truth[frame.number], size=clip.size)
            union = (found | true).sum()
            j = 100 * float((found & true).sum() / union) if union else 100.0
            scores.append((j, contour_f(found, true)))
            scoring += time.perf_counter() - start
    return scores, scoring


def difference(one: Scores, other: Scores) -> str:
    """Of J&F, with the 95 % interval of all ways to draw as many sequences, with repetition."""
    gains = [np.mean(other[name]) - np.mean(one[name]) for name in one]
    drawn = [np.mean(some) for some in itertools.product(gains, repeat=len(gains))]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.mean(gains):+.1f} [{low:+.1f}, {high:+.1f}]"


def watch(args: argparse.Namespace) -> None:
    """Resident memory of `likewise video` while it goes through a long clip."""
    import av

    clip = open_clip(args.davis / "JPEGImages/480p" / args.sequence)
    mask = args.davis / "Annotations/480p" / args.sequence / f"{clip.name(0)}.png"
    with tempfile.TemporaryDirectory() as folder:
        film, out = Path(folder) / "long.mp4", Path(folder) / "out"
        pictures = list(clip.read(range(len(clip))))
        turn = itertools.cycle([*pictures, *pictures[-2:0:-1]])
        with av.open(str(film), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width = clip.size
            stream.pix_fmt = "yuv420p"
            for pixels in itertools.islice(turn, args.frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        words = [str(film), "--mask", str(mask), "--out", str(out)]
        words += ["--image-size", str(args.image_size)]
        command = "import sys; from likewise.cli import main; sys.argv[0] = 'likewise'; main()"
        process = subprocess.Popen([sys.executable, "-c", command, "video", *words])
        log, step = out / "frames.jsonl", args.frames // 10
        shown, start = 0, time.perf_counter()
        while process.poll() is None:
            done = log.read_text().count("\n") - 1 if log.is_file() else 0
            if done >= shown + step:
                shown = done
                seconds = time.perf_counter() - start
                print(
                    f"{done:6} frames  {resident(process.pid):6.0f} MB  {seconds:6.0f} s",
                    flush=True,
                )
            time.sleep(0.5)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"exit code {process.returncode}, at most {most:.0f} MB, outputs included")


def resident(process: int) -> float:
    """MB of a process (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()

"""Kill `likewise annotate` again and again at random moments, then let it finish.

    python benchmarks/crash.py [--kills 50] [--images 300]

The result must be that of an undisturbed run, byte for byte; no half file, no finished image done
again. Exit status 1 if not.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from speed import MASK, REFERENCE, make_folder

COMMAND = [sys.executable, "-c", "from likewise.cli import main; main()"]


def masks(project: Path) -> dict[str, bytes]:
    """Name → bytes."""
    return {path.name: path.read_bytes() for path in (project / "masks").glob("*.png")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=300)
    args = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for path in make_folder(folder / "in", args.images):
            with Image.open(path) as image:
                small = image.resize((160, 120))
            small.save(path)
        for name in ("calm", "wild"):
            words = ["init", str(folder / name), "-r", str(REFERENCE), "-m", str(MASK)]
            words += ["-t", str(folder / "in"), "--image-size", "112"]
            subprocess.run([*COMMAND, *words], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*COMMAND, "annotate", str(folder / "calm")], check=True)
        done: list[str] = []
        kills = 0
        while True:
            words = [*COMMAND, "annotate", str(folder / "wild"), "--json-lines"]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline()]  # it is at work
                if kills < args.kills:
                    kills += 1
                    delay = rng.uniform(0, 0.2)
                    threading.Timer(delay, process.send_signal, [signal.SIGKILL]).start()
                lines += process.stdout.readlines()
            done += [json.loads(line)["target"] for line in lines if line.endswith("\n")]
            for path in (folder / "wild" / "masks").glob("*.png"):
                with Image.open(path) as image:
                    image.load()
            if process.returncode == 0:
                break
        same = masks(folder / "calm") == masks(folder / "wild")
        left = [p.name for p in (folder / "wild" / "masks").iterdir() if p.name.startswith(".")]
    repeats = len(done) - len(set(done))
    print(f"{kills} kills, {len(done)} images reported, {repeats} repeated, same bytes: {same}")
    print(f"parts of files left behind: {len(left)}")
    sys.exit(not same or repeats > 0 or len(left) > 0)


if __name__ == "__main__":
    main()

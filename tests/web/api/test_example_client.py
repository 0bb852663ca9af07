"""examples/client.py, as a reader runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from live import Live

CLIENT = Path(__file__).resolve().parents[3] / "examples" / "client.py"


def test_the_example_client_gets_a_mask(live: Live, scene: Path, tmp_path: Path) -> None:
    files = [scene / name for name in ("reference.png", "mask.png", "a.jpg")]
    out = tmp_path / "found.png"
    done = subprocess.run(
        [sys.executable, CLIENT, *files, "--url", f"http://127.0.0.1:{live.port}", "--out", out],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    with Image.open(scene / "a.jpg") as image, Image.open(out) as found:
        assert found.size == image.size
        assert bool(np.asarray(found).any()) == answer["present"]

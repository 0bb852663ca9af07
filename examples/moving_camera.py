"""Make a clip to try `likewise video` on: a camera that moves over the bundled photographs.

    python examples/moving_camera.py work
    likewise video work/clip.mp4 --mask work/mask.png --out work/found

It pans, zooms and turns over three photographs of a chess board, with a cut between them; the
board is masked in the first frame.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

from likewise.example import FOLDER

SIZE = 320, 240
FRAMES = 16  # of each photograph


def view(picture: Image.Image, time: float, smooth: bool = True) -> Image.Image:
    """What the camera sees at a time from 0 to 1."""
    turn = math.radians(14 * math.sin(2 * math.pi * time))
    zoom = 1.55 - 0.5 * math.sin(math.pi * time)  # pixels of the photograph to one of the clip
    x = picture.width * (0.5 + 0.08 * math.sin(2 * math.pi * time))
    y = picture.height * (0.5 + 0.06 * math.sin(4 * math.pi * time))
    a, b = zoom * math.cos(turn), zoom * math.sin(turn)
    width, height = SIZE
    shift = x - a * width / 2 - b * height / 2, y + b * width / 2 - a * height / 2
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    matrix = (a, b, shift[0], -b, a, shift[1])
    return picture.transform(SIZE, Image.Transform.AFFINE, matrix, how)


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "work")
    out.mkdir(parents=True, exist_ok=True)
    with av.open(str(out / "clip.mp4"), "w") as container:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for name in ("board_reference.jpg", "board_1.jpg", "board_2.jpg"):
            picture = Image.open(FOLDER / name).convert("RGB")
            for k in range(FRAMES):
                pixels = np.asarray(view(picture, k / FRAMES))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    mask = Image.open(FOLDER / "board_reference_mask.png").convert("L")
    view(mask, 0.0, smooth=False).save(out / "mask.png")
    print(f"{out / 'clip.mp4'} and {out / 'mask.png'} written")


if __name__ == "__main__":
    main()

"""Clips of a coin that the camera moves over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_mask

COUNT = 14


def camera(count: int = COUNT, step: int = 8) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames and masks of a camera that moves over the bundled coin."""
    image = read_image(FOLDER / "coin_reference.png")
    mask = read_mask(FOLDER / "coin_reference_mask.png")
    scale = 200 / min(mask.shape)
    size = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
    small = np.asarray(Image.fromarray(image).resize(size))
    marked = np.asarray(Image.fromarray(mask).resize(size))
    most = size[0] - 160
    places = [min(most, step * k) for k in range(count)]
    return (
        [small[20:180, x : x + 160].copy() for x in places],
        [marked[20:180, x : x + 160].copy() for x in places],
    )


def write_video(path: Path, frames: list[np.ndarray], codec: str = "mpeg4", **how: int) -> Path:
    """Encode frames, a key frame every five."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size, stream.bit_rate = 5, 4_000_000
        if "rotation" in how:
            stream.set_display_rotation(how["rotation"])
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(path: Path, frames: list[np.ndarray]) -> Path:
    path.mkdir()
    for k, pixels in enumerate(frames):
        Image.fromarray(pixels).save(path / f"f{k}.png")
    return path

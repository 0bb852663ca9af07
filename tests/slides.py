"""Small slides: glass, tissue and dark spots in it, written as microscopes do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

SPOTS = [(200, 260, 96, 120), (520, 300, 80, 80), (620, 640, 64, 128)]
"""Top, left, height and width of the dark spots in the tissue, in pixels of level 0."""
SIZE = 1024, 1536


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8: grainy glass, pink tissue in the left half, blue spots in it."""
    pixels = np.full((*size, 3), (242, 240, 243), np.int16)
    pixels[100:900, 100:800] = (225, 150, 190)
    for top, left, height, width in SPOTS:
        pixels[top : top + height, left : left + width] = (90, 60, 160)
    noise = np.random.default_rng(0).integers(-9, 10, (*size, 1))
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def truth(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    for top, left, height, width in SPOTS:
        mask[top : top + height, left : left + width] = True
    return mask


def halved(pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    return pixels.reshape(h, 2, w, 2, 3).mean(axis=(1, 3)).astype(np.uint8)


def write_svs(path: Path, pixels: np.ndarray, compression: str | None = None) -> Path:
    """As Aperio does: levels are pages, the thumbnail is the second, µm a pixel in words."""
    told = "Aperio Image Library v12.0\n{}x{} (256x256) Q=70|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as tiff:
        for k in range(3):
            how = {"tile": (256, 256), "compression": compression, "photometric": "rgb"}
            text = told.format(pixels.shape[1], pixels.shape[0])
            tiff.write(pixels, description=text, metadata=None, **how)
            if k == 0:
                tiff.write(pixels[::4, ::4], description=text, metadata=None, photometric="rgb")
            pixels = halved(pixels)
    return path


def write_ome(path: Path, pixels: np.ndarray) -> Path:
    """Levels in SubIFDs; 0.5 µm a pixel."""
    told = {"axes": "YXS"}
    for axis in "XY":
        told |= {f"PhysicalSize{axis}": 0.5, f"PhysicalSize{axis}Unit": "µm"}
    how = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, subifds=2, metadata=told, **how)
        for _ in range(2):
            pixels = halved(pixels)
            tiff.write(pixels, subfiletype=1, **how)
    return path


def write_marks(path: Path, spots: list[tuple[int, int, int, int]], name: str = "spot") -> Path:
    """Annotations as QuPath exports them."""
    features = []
    for top, left, height, width in spots:
        x, y = (left, left + width), (top, top + height)
        ring = [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        about = {"objectType": "annotation", "classification": {"name": name}}
        features.append({"type": "Feature", "geometry": geometry, "properties": about})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return path

"""Draw docs/concepts-debias.jpg and docs/concepts-insid3.jpg from the bundled pictures.

python tools/draw_concepts.py [--out docs] [--backbone embedded-vits14]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from likewise.backbones.encoder import Encoder
from likewise.example import FOLDER
from likewise.features.patch_features import mask_to_grid
from likewise.io.draw import class_colour, contact_sheet, overlay
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.methods.insid3 import INSID3Params, insid3
from likewise.refine import refine

RGB = np.ndarray


def heat(values: np.ndarray, size: tuple[int, int]) -> RGB:
    """(h, w), from the least to the most → (H, W, 3) uint8: black, red, yellow."""
    low, high = np.quantile(values, [0.02, 0.995])
    share = np.clip((values - low) / (high - low), 0, 1)
    rgb = np.stack([share * 1.6, share * 1.6 - 0.6, share * 3 - 2], axis=-1).clip(0, 1)
    picture = Image.fromarray((255 * rgb).astype(np.uint8))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.NEAREST))


def regions(labels: np.ndarray, size: tuple[int, int], only: int | None = None) -> RGB:
    """(h, w) ids → a colour each; grey but for ``only``."""
    rgb = np.full((*labels.shape, 3), 70, np.uint8)
    for k in np.unique(labels) if only is None else [only]:
        rgb[labels == k] = class_colour(int(k) + 1)
    return np.asarray(Image.fromarray(rgb).resize(size[::-1], Image.Resampling.NEAREST))


def cross(image: RGB, x: int, y: int) -> RGB:
    """The picture with a point marked."""
    image = image.copy()
    for width, colour in ((9, (0, 0, 0)), (5, (255, 64, 32))):
        image[max(0, y - 24) : y + 24, x - width : x + width] = colour
        image[y - width : y + width, max(0, x - 24) : x + 24] = colour
    return image


def debiasing(encoder: Encoder, point: tuple[float, float]) -> RGB:
    """Where patches are like one patch of the reference, before and after."""
    h, w = encoder.grid
    patch = round(point[1] * (h - 1)) * w + round(point[0] * (w - 1))
    empty = encoder.encode(np.zeros((480, 640, 3), np.uint8))
    reference = read_image(FOLDER / "board_reference.jpg")
    known = encoder.encode(reference)
    place = round(point[0] * reference.shape[1]), round(point[1] * reference.shape[0])
    rows = []
    for name in ("board_1.jpg", "board_2.jpg"):
        target = read_image(FOLDER / name)
        found = encoder.encode(target)
        row = [(cross(reference, *place), "one patch"), (target, "target")]
        for caption, features, one in (
            ("similar in a black image", empty.features, known.features[patch]),
            ("similar before debiasing", found.features, known.features[patch]),
            ("similar after debiasing", found.debiased, known.debiased[patch]),
        ):
            similar = (features @ one).reshape(h, w).cpu().numpy()
            row.append((heat(similar, target.shape[:2]), caption))
        rows.append(row)
    return contact_sheet(rows, height=170)


def steps(encoder: Encoder) -> RGB:
    """INSID3 on a bundled picture, step by step."""
    rows = []
    for reference, target in (
        ("board_reference.jpg", "board_2.jpg"),
        ("coin_reference.png", "coin_1.png"),
    ):
        image, other = read_image(FOLDER / reference), read_image(FOLDER / target)
        mask = read_mask(FOLDER / f"{Path(reference).stem}_mask.png")
        known, found = encoder.encode(image), encoder.encode(other)
        inside = mask_to_grid(mask, encoder.grid).to(encoder.device)
        trace = insid3([known], [inside], found, INSID3Params(tau=encoder.spec.tau))
        size, grid = other.shape[:2], encoder.grid
        labels = trace.labels.reshape(grid).cpu().numpy()
        result = refine(trace.scores.reshape(grid), other, encoder.input_size, "none")
        candidates = trace.candidates.reshape(grid).cpu().numpy().astype(int)
        rows.append(
            [
                (overlay(image, mask), "reference"),
                (heat(trace.similarity.reshape(grid).cpu().numpy(), size), "1. similarity"),
                (regions(candidates - 1, size, 0), "2. candidates"),
                (regions(labels, size), "3. clusters"),
                (regions(labels, size, trace.seed), "4. seed"),
                (overlay(other, result), "5. mask"),
            ]
        )
    return contact_sheet(rows, height=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--backbone", default="embedded-vits14")
    args = parser.parse_args()
    encoder = Encoder(args.backbone)
    sheets = {"debias": debiasing(encoder, (0.37, 0.20)), "insid3": steps(encoder)}
    for name, sheet in sheets.items():
        file = args.out / f"concepts-{name}.jpg"
        Image.fromarray(sheet).save(file, quality=72, optimize=True)


if __name__ == "__main__":
    main()

"""Draw docs/method.jpg: the steps of the method `likewise` on bundled pictures.

python tools/draw_method.py [--out docs/method.jpg]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from likewise.backbones.encoder import Encoder
from likewise.example import CONCEPTS, FOLDER
from likewise.io.draw import contact_sheet, overlay
from likewise.io.encoding import write_image
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.methods import likewise
from likewise.reference import Reference, encode_references
from likewise.refine import refine


def heat(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) nats → (H, W, 3) uint8: blue is against, white undecided, red for the concept."""
    share = np.clip(values / 10, -1, 1)[..., None]
    red, blue = np.array([200, 30, 20]), np.array([30, 70, 190])
    rgb = np.where(share > 0, 255 + share * (red - 255), 255 - share * (blue - 255))
    picture = Image.fromarray(rgb.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/method.jpg"))
    args = parser.parse_args()
    encoder = Encoder()
    rows = []
    for concept, (file, mask_file, pattern) in CONCEPTS.items():
        image = read_image(FOLDER / file)
        mask = read_mask(FOLDER / mask_file, size=image.shape[:2])
        references = encode_references(encoder, [Reference(image, mask)], likewise.VIEWS)
        model = likewise.fit(references, likewise.Params())
        target = read_image(sorted(FOLDER.glob(pattern))[-1])
        encoded = encoder.encode(target)
        scores = likewise.score(model, encoded)
        trace, size = scores.trace, target.shape[:2]
        found = refine(scores.patches.reshape(encoded.grid), target, encoder.input_size, "guided")
        rows.append(
            [
                (overlay(image, mask), f"reference: this {concept}"),
                (target, "target"),
                (heat(trace.log_odds.reshape(encoded.grid).numpy(), size), "1. log-odds"),
                (heat(trace.smoothed.reshape(encoded.grid).numpy(), size), "2. smoothed"),
                (heat(trace.decided.reshape(encoded.grid).numpy(), size), "3. with the seed"),
                (overlay(target, found), "mask"),
            ]
        )
    write_image(args.out, contact_sheet(rows, height=180))


if __name__ == "__main__":
    main()

"""INSID3 on the bundled pictures: golden outputs of plain_insid3.py on the embedded backbone.

``python tests/golden_cases.py`` writes golden/insid3.npz anew. It holds outputs alone: the test
that reads them computes features again, and so covers the backbone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from likewise.backbones.encoder import Encoder
from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from plain_insid3 import Arrays, insid3, projector

FILE = Path(__file__).parent / "golden" / "insid3.npz"
SIDE, RANK = 512, 100
PICTURES = {  # reference → targets
    "coin_reference.png": ("coin_1.png", "coin_2.png"),
    "board_reference.jpg": ("board_1.jpg", "board_2.jpg"),
}


def make_encoder() -> Encoder:
    return Encoder("embedded-small", image_size=SIDE, device="cpu", dtype="float32")


def features_of(encoder: Encoder, image: np.ndarray) -> np.ndarray:
    """(D, h, w) float32 of one image, not normalised."""
    tokens = encoder.tokens(encoder.preprocess([image]))[0].float().numpy()
    return tokens.T.reshape(-1, *encoder.grid)


def make_cases(encoder: Encoder) -> tuple[np.ndarray, dict[str, Arrays]]:
    """Features of the black image, and each target's inputs as parity/run_golden.py reads them."""
    cases = {}
    for reference, targets in PICTURES.items():
        mask = read_mask(FOLDER / f"{reference[:-4]}_mask.png")
        known = features_of(encoder, read_image(FOLDER / reference))
        for name in targets:
            image = read_image(FOLDER / name)
            cases[name[:-4]] = {
                "ref_features": known[None],
                "tgt_features": features_of(encoder, image),
                "ref_masks": mask[None],
                "out_size": np.array(image.shape[:2]),
                "params": np.array([RANK, 0.6, 0.2, SIDE]),
            }
    return features_of(encoder, np.zeros((SIDE, SIDE, 3), np.uint8)), cases


def main() -> None:
    zero, cases = make_cases(make_encoder())
    basis = projector(zero, RANK)
    outputs = {
        f"{name}.{key}": value
        for name, case in cases.items()
        for key, value in insid3(case, basis).items()
    }
    np.savez_compressed(FILE, **outputs)


if __name__ == "__main__":
    main()

"""SAM 2's image encoder against ONNX Runtime's own outputs, on real images.

    pip install onnxruntime
    python tests/parity/run_hiera.py MODEL.ort WEIGHTS.safetensors IMAGE...

MODEL.ort is the file that ``tools/build_hiera_tiny.py`` converts, WEIGHTS what it wrote. Prints the
largest difference of each of the three outputs as a share of its range, and seconds of both; ends
with 1 where a share is above 0.001.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from PIL import Image

from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import load_backbone

SIDE, MOST = 1024, 1e-3


def main(model: str, weights: str, *images: str) -> int:
    import onnxruntime

    encoder = Encoder(load_backbone(weights), image_size=SIDE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options)
    failed = False
    for path in images:
        pixels = encoder.preprocess([np.asarray(Image.open(path).convert("RGB"))])
        start = time.perf_counter()
        theirs = session.run(
            ["image_embed", "high_res_feats_1", "high_res_feats_0"], {"image": pixels.numpy()}
        )
        between = time.perf_counter()
        with torch.inference_mode():
            ours = encoder.backbone.model.maps(pixels)
        seconds = between - start, time.perf_counter() - between
        shares = []
        for mine, other in zip(ours, theirs, strict=True):
            difference = np.abs(mine.permute(0, 3, 1, 2).numpy() - other).max()
            shares.append(difference / (other.max() - other.min()))
        failed |= max(shares) > MOST
        print(
            f"{path}: {' '.join(f'{s:.1e}' for s in shares)} of the range; "
            f"{seconds[0]:.2f} s there, {seconds[1]:.2f} s here"
        )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))

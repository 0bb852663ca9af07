"""The encoder in another runtime than torch: exported once for an input size, then read from there.

Exports are made of float32 weights. They lie in the cache folder under a name of all that they
depend on, and are made again if they are missing.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import BackboneError, needs
from ..io.hashing import fingerprint
from .files import cache_folder

if TYPE_CHECKING:
    import torch

    from .loading import Backbone

RUNTIMES = ("torch", "openvino", "onnx")
SUFFIXES = {"openvino": ".xml", "onnx": ".onnx"}
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
Run = Callable[["torch.Tensor"], "torch.Tensor"]
"""(1, 3, H, W) float32 normalised pixels → (1, N, D) float32 tokens."""


def check_runtime(runtime: str) -> None:
    """Raises BackboneError unless it is one of ``RUNTIMES``."""
    if runtime not in RUNTIMES:
        raise BackboneError(f"runtime {runtime!r} is unknown; use one of {', '.join(RUNTIMES)}.")


def check_exportable(backbone: Backbone, runtime: str) -> None:
    """Raises BackboneError for what is not exported: joined backbones, and all but float32."""
    if backbone.parts:
        raise BackboneError(f"{backbone.spec.name} is joined of several: use --runtime torch.")
    if str(backbone.dtype) != "torch.float32" or backbone.device.type != "cpu":
        raise BackboneError(
            f"runtime {runtime} takes float32 weights on the CPU, not {backbone.dtype} on "
            f"{backbone.device}: load the backbone so."
        )


def runtime_dtype(runtime: str, dtype: str) -> str:
    """What a runtime computes in; ``auto`` is float32.

    Raises:
        BackboneError: if it cannot compute in the dtype.
    """
    known = ("float32", "bfloat16") if runtime == "openvino" else ("float32",)
    if dtype not in ("auto", *known):
        raise BackboneError(
            f"runtime {runtime} does not compute in {dtype}: use {' or '.join(known)}."
        )
    return "float32" if dtype == "auto" else dtype


def version(runtime: str) -> str:
    """Of the runtime's package. Raises LikewiseError with the extra that holds it."""
    with needs(runtime):
        try:
            return importlib.metadata.version(PACKAGES[runtime])
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(name=PACKAGES[runtime]) from error


def export(backbone: Backbone, size: tuple[int, int], path: Path) -> None:
    """Write the encoder for one input size: ``.xml`` with a ``.bin`` for OpenVINO, or ``.onnx``.

    Args:
        backbone: float32 on the CPU, not joined.
        size: (H, W) pixels, multiples of the patch.
        path: its suffix says for which runtime.

    Raises:
        LikewiseError: if the runtime's packages are not installed, or another suffix.
    """
    import torch

    runtime = next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)
    if runtime is None:
        raise BackboneError(f"{path} must end in .xml (OpenVINO) or .onnx: give such a name.")
    check_exportable(backbone, runtime)
    pixels = torch.zeros(1, 3, *size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
        torch.no_grad(),
        _silent(),
    ):
        made = Path(folder) / path.name
        backbone.model(pixels)  # what it keeps for a size is made before it is traced
        if runtime == "openvino":
            openvino = _openvino()
            model = openvino.convert_model(backbone.model, example_input=pixels)
            model.reshape([1, 3, *size])
            openvino.save_model(model, made, compress_to_fp16=False)
            made.with_suffix(".bin").replace(path.with_suffix(".bin"))  # the .xml reads it
        else:
            with needs("onnx"):
                import onnx  # noqa: F401
                import onnxscript  # noqa: F401
            torch.onnx.export(
                backbone.model, (pixels,), made, dynamo=True, external_data=False, verbose=False
            )
        made.replace(path)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without what tracers and exporters print of sizes that are fixed, as is meant here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def open_exported(backbone: Backbone, size: tuple[int, int], runtime: str, dtype: str) -> Run:
    """The encoder in a runtime; exported first where it was not yet.

    Args:
        backbone: as for ``export``.
        size: (H, W) pixels.
        runtime: ``openvino`` or ``onnx``.
        dtype: ``float32``, or of OpenVINO ``bfloat16``: what it computes in.

    Raises:
        LikewiseError: if the packages are not installed.
    """
    key = fingerprint(backbone.identity, backbone.block, size, runtime, version(runtime))
    path = cache_folder() / "runtimes" / f"{key}{SUFFIXES[runtime]}"
    if not path.is_file():
        export(backbone, size, path)
    return _open_openvino(path, dtype) if runtime == "openvino" else _open_onnx(path)


def _openvino() -> Any:
    """The package; it reports its use over the network unless this other one is missing."""
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))
    with needs("openvino"):
        import openvino
    return openvino


def _open_openvino(path: Path, dtype: str) -> Run:
    import torch

    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = _openvino().Core().compile_model(path, "CPU", options)
    return lambda pixels: torch.from_numpy(model([pixels.numpy()])[0].copy())


def _open_onnx(path: Path) -> Run:
    import torch

    with needs("onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: torch.from_numpy(session.run(None, {name: pixels.numpy()})[0])

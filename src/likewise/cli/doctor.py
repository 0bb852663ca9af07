"""``likewise doctor``: is everything there, which device is used, does one image come out right?"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from ..errors import LikewiseError
from .app import app
from .console import print_json
from .options import DeviceOption, JsonOption

REQUIRED = ("torch", "safetensors", "huggingface_hub", "numpy", "scipy", "pillow")
OPTIONAL = (
    *("fastapi", "uvicorn", "python-multipart", "prometheus_client", "httpx", "av", "matplotlib"),
    *("nibabel", "pydicom", "highdicom", "zarr", "rasterio", "pyogrio", "shapely"),
    *("pillow-heif", "pycocotools", "cvat-sdk", "supervision", "ray"),
    *("openvino", "onnx", "onnxruntime", "onnxscript", "scikit-learn"),
)
"""The packages of the extras that users need."""


@dataclass(frozen=True)
class PackageCheck:
    """One line of the report; ``ok`` is None for plain facts."""

    name: str
    value: str
    ok: bool | None = None


@app.command()
def doctor(device: DeviceOption = "auto", as_json: JsonOption = False) -> None:
    """What is installed, which device is used, and a one-image self-test."""
    checks = []
    for check in examine(device):
        checks.append(check)
        if not as_json:
            mark = {True: "ok", False: "FAILED", None: ""}[check.ok]
            print(f"{check.name:17} {check.value}  {mark}".rstrip(), flush=True)
    if as_json:
        print_json([dataclasses.asdict(c) for c in checks])
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def examine(device: str = "auto") -> Iterator[PackageCheck]:
    """Yield checks one by one, the cheap ones first and the self-test last."""
    from .. import __version__

    yield PackageCheck("likewise", __version__)
    yield PackageCheck("python", f"{platform.python_version()} on {platform.platform()}")
    for name in (*REQUIRED, *OPTIONAL):
        try:
            yield PackageCheck(name, importlib.metadata.version(name), True)
        except importlib.metadata.PackageNotFoundError:
            missing = name in REQUIRED
            yield PackageCheck(name, "not installed", False if missing else None)
    yield from _torch(device)
    yield from _weights()
    yield _self_test(device)


def _torch(device: str) -> Iterator[PackageCheck]:
    import torch

    from ..backbones.device import choose_device
    from ..backbones.files import cache_folder
    from ..features.correspondence import multiplies_bytes
    from ..processor import has_bfloat16

    try:
        chosen = choose_device(device)
    except LikewiseError as error:
        yield PackageCheck("device", str(error), False)
        return
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor()
    yield PackageCheck("device", f"{chosen} {name}".strip(), True)
    yield PackageCheck("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")
    if chosen.type == "cpu":
        has = has_bfloat16()
        yield PackageCheck("bfloat16", "yes, used by the default method" if has else "no")
        yield PackageCheck("8 bits", "yes, used to match" if multiplies_bytes() else "no")
    yield PackageCheck("cache", str(cache_folder()))


def _weights() -> Iterator[PackageCheck]:
    from ..backbones.download import cached_path, verify
    from ..backbones.registry import BACKBONES

    try:
        ok = bool(verify("embedded").ok)
        yield PackageCheck(
            "embedded weights", "sha256 correct" if ok else "damaged: install again", ok
        )
    except LikewiseError as error:
        yield PackageCheck("embedded weights", str(error), False)
    cached = [n for n, spec in BACKBONES.items() if spec.repo and cached_path(n) is not None]
    yield PackageCheck("downloaded", ", ".join(cached) or "none (the embedded backbone needs none)")


def _self_test(device: str) -> PackageCheck:
    """Segment the bundled coin with itself: the mask must come back."""
    from ..example import CONCEPTS, FOLDER
    from ..io.masks import read_mask
    from ..segmenter import Segmenter

    image, mask = (FOLDER / name for name in CONCEPTS["coin"][:2])
    start = time.perf_counter()
    try:
        found = Segmenter(device=device).fit((image, mask)).segment(image).mask
    except LikewiseError as error:
        return PackageCheck("self-test", str(error), False)
    truth = read_mask(mask)
    iou = (found & truth).sum() / (found | truth).sum()
    seconds = time.perf_counter() - start
    return PackageCheck(
        "self-test", f"IoU {iou:.2f} on one image in {seconds:.1f} s", bool(iou > 0.8)
    )

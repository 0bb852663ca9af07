"""The backbones likewise knows by name: shapes, sources and settings, as plain data."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BackboneError
from .spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec, HieraShape, ModelShape

SAT_MEAN, SAT_STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)

DINOV3_LICENSE = (
    "DINOv3 License (Meta): https://ai.meta.com/resources/models-and-libraries/dinov3-license/ ; "
    "likewise never ships these weights"
)
DINOV2_LICENSE = "Apache-2.0 (Meta, DINOv2): https://github.com/facebookresearch/dinov2"
SAM2_LICENSE = "Apache-2.0 (Meta, SAM 2): https://github.com/facebookresearch/sam2"
EMBEDDED_LICENSE = "Apache-2.0, BSD-3-Clause and MIT: see likewise/backbones/embedded"


@dataclass(frozen=True)
class _Size:
    depth: int
    dim: int
    heads: int
    mlp_dim: int
    gated: bool = False
    qkv_bias: bool = True


_V3_SIZES = {
    "vits16": _Size(12, 384, 6, 1536),
    "vits16plus": _Size(12, 384, 6, 1536, gated=True),
    "vitb16": _Size(12, 768, 12, 3072),
    "vitl16": _Size(24, 1024, 16, 4096),
    "vith16plus": _Size(32, 1280, 20, 5120, gated=True),
    "vit7b16": _Size(40, 4096, 32, 8192, gated=True, qkv_bias=False),
}
_V2_SIZES = {
    "vits14": ("small", _Size(12, 384, 6, 1536)),
    "vitb14": ("base", _Size(12, 768, 12, 3072)),
    "vitl14": ("large", _Size(24, 1024, 16, 4096)),
    "vitg14": ("giant", _Size(40, 1536, 24, 4096, gated=True)),
}


def _dinov3(size: str, timm: str, digest: str, *, sat: bool = False) -> BackboneSpec:
    """A DINOv3 entry: downloads the ungated timm copy `timm`; `digest` ends Meta's file name."""
    s, data = _V3_SIZES[size], "sat493m" if sat else "lvd1689m"
    return BackboneSpec(
        name=f"dinov3-{size}-sat" if sat else f"dinov3-{size}",
        family="dinov3",
        repo=f"timm/{timm}.{data}",
        filename="model.safetensors",
        meta_file=f"dinov3_{size}_pretrain_{data}-{digest}.pth",
        patch=16,
        depth=s.depth,
        dim=s.dim,
        heads=s.heads,
        mlp_dim=s.mlp_dim,
        gated=s.gated,
        registers=4,
        qkv_bias=s.qkv_bias,
        mean=SAT_MEAN if sat else IMAGENET_MEAN,
        std=SAT_STD if sat else IMAGENET_STD,
        license=DINOV3_LICENSE,
    )


def _dinov2(size: str, *, registers: bool) -> BackboneSpec:
    """A DINOv2 entry: downloads Meta's own copy in the Hugging Face layout."""
    word, s = _V2_SIZES[size]
    return BackboneSpec(
        name=f"dinov2-{size}-reg" if registers else f"dinov2-{size}",
        family="dinov2_with_registers" if registers else "dinov2",
        repo=f"facebook/dinov2-with-registers-{word}" if registers else f"facebook/dinov2-{word}",
        filename="model.safetensors",
        patch=14,
        depth=s.depth,
        dim=s.dim,
        heads=s.heads,
        mlp_dim=s.mlp_dim,
        gated=s.gated,
        registers=4 if registers else 0,
        tau=0.6,  # uncalibrated: DINOv3's value, which nobody has tuned for DINOv2
        image_size=1022,
        license=DINOV2_LICENSE,
    )


_SAM2_SIZES = {
    "t": ("tiny", HieraShape(96, 1, (1, 2, 7, 2), whole=(5, 7, 9))),
    "s": ("small", HieraShape(96, 1, (1, 2, 11, 2), whole=(7, 10, 13))),
    "b": ("base-plus", HieraShape(112, 2, (2, 3, 16, 3), whole=(12, 16, 20), grid=14)),
    "l": ("large", HieraShape(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43))),
}


def _sam2(size: str) -> BackboneSpec:
    """The image encoder of a SAM 2.1: downloads Meta's own copy in the Hugging Face layout."""
    word, shape = _SAM2_SIZES[size]
    return BackboneSpec(
        name=f"sam2-hiera-{size}",
        repo=f"facebook/sam2.1-hiera-{word}",
        filename="model.safetensors",
        license=SAM2_LICENSE,
        **hiera_fields(shape),
    )


def _embedded(name: str, size: int) -> BackboneSpec:
    """SAM 2's tiny image encoder up to its third stage, which ships with likewise, at a size."""
    shape = HieraShape(96, 1, (1, 2, 7, 0), whole=(5, 7, 9), neck=0)
    return BackboneSpec(
        name=name,
        repo=None,
        filename="embedded/sam2-hiera-tiny-b10.safetensors",
        sha256="5d84e2fdb31b1012f1e17b7b6f78483325377e9b0618d5d8f7f2c8cc79350192",
        image_size=size,
        license=EMBEDDED_LICENSE,
        **hiera_fields(shape) | {"tau": 0.4},  # benchmarks/NOTES.md: what it was chosen on
    )


def hiera_fields(shape: HieraShape) -> dict[str, Any]:
    """Those of a `BackboneSpec` that are the same for every SAM 2 of a shape."""
    return {
        "family": "sam2",
        "patch": 16,
        "depth": shape.depth,
        "dim": shape.features(shape.depth),
        "heads": shape.heads,
        "mlp_dim": 4 * shape.dim,
        "tau": 0.8,  # this and the rank: first guesses, to be calibrated
        "svd_components": 20,
        "hiera": shape,
    }


_ENTRIES = [
    _dinov3("vits16", "vit_small_patch16_dinov3", "08c60483"),
    _dinov3("vits16plus", "vit_small_plus_patch16_dinov3", "4057cbaa"),
    _dinov3("vitb16", "vit_base_patch16_dinov3", "73cec8be"),
    _dinov3("vitl16", "vit_large_patch16_dinov3", "8aa4cbdd"),
    _dinov3("vith16plus", "vit_huge_plus_patch16_dinov3", "7c1da9a5"),
    _dinov3("vit7b16", "vit_7b_patch16_dinov3", "a955f4ea"),
    _dinov3("vitl16", "vit_large_patch16_dinov3", "eadcf0ff", sat=True),
    _dinov3("vit7b16", "vit_7b_patch16_dinov3", "a6675841", sat=True),
    *(_dinov2(size, registers=reg) for reg in (False, True) for size in _V2_SIZES),
    *(_sam2(size) for size in _SAM2_SIZES),
    _embedded("embedded", 768),
    _embedded("embedded-small", 512),
    _embedded("embedded-large", 1024),
    BackboneSpec(
        name="embedded-vits14",  # the embedded one of version 0.1
        family="dinov2",
        repo=None,
        filename="embedded/vits14-focus-b10.safetensors",
        patch=14,
        depth=10,
        dim=384,
        heads=6,
        mlp_dim=1536,
        sha256="4fe90d2621bf7b03bbdce43287d9880b01125967566a217089a95389e13c095d",
        tau=0.9,  # this and the rank: best of a small grid, see benchmarks/NOTES.md
        svd_components=60,
        image_size=518,
        license=EMBEDDED_LICENSE,
    ),
]

BACKBONES: dict[str, BackboneSpec] = {spec.name: spec for spec in _ENTRIES}

ALIASES: dict[str, str] = {
    "vits": "dinov3-vits16",
    "vitsplus": "dinov3-vits16plus",
    "vitb": "dinov3-vitb16",
    "vitl": "dinov3-vitl16",
    "vith": "dinov3-vith16plus",
    "vithplus": "dinov3-vith16plus",
    "vit7b": "dinov3-vit7b16",
    "vitl-sat": "dinov3-vitl16-sat",
    "vit7b-sat": "dinov3-vit7b16-sat",
    **{f"dinov3_{size}": f"dinov3-{size}" for size in _V3_SIZES},
    **{f"dinov2_{size}": f"dinov2-{size}" for size in _V2_SIZES},
    **{f"dinov2_{size}_reg": f"dinov2-{size}-reg" for size in _V2_SIZES},
    "sam2-hiera-bplus": "sam2-hiera-b",
    **{f"sam2-hiera-{word}": f"sam2-hiera-{size}" for size, (word, _) in _SAM2_SIZES.items()},
}


def split_names(name: str) -> list[str]:
    """One name, or the two or three of joined backbones with + between them."""
    names = [part.strip() for part in name.split("+")]
    if len(names) > 3 or not all(names):
        raise BackboneError(
            f"{name!r} does not join backbones: give two or three names or files with + between "
            "them, such as embedded+embedded-vits14."
        )
    return names


def joined_spec(
    specs: Sequence[BackboneSpec], weights: Sequence[float] | None = None
) -> BackboneSpec:
    """What is known of backbones that are joined: size, patch, depth and rank are the first's.

    `tau` cuts cosines, so it is averaged as they are.
    """
    weights = weights or [1.0] * len(specs)
    pairs = zip(specs, weights, strict=True)
    return replace(
        specs[0],
        name="+".join(spec.name for spec in specs),
        family="joined",
        repo=None,
        filename="",
        sha256=None,
        meta_file=None,
        dim=sum(spec.dim for spec in specs),
        tau=round(sum(spec.tau * weight for spec, weight in pairs) / sum(weights), 4),
        license="; ".join(dict.fromkeys(spec.license for spec in specs)),
        hiera=None,
    )


def find_spec(name: str) -> BackboneSpec | None:
    """The entry called `name`, aliased so, or joined of such names; None if there is none."""
    specs = [BACKBONES.get(ALIASES.get(n, n)) for n in name.strip().lower().split("+")]
    known = [spec for spec in specs if spec is not None]
    if len(known) < len(specs):
        return None
    return known[0] if len(known) == 1 else joined_spec(known)


def get_spec(name: str) -> BackboneSpec:
    """The entry called `name` or aliased so; raises BackboneError with the closest names."""
    key = name.strip().lower()
    spec = BACKBONES.get(ALIASES.get(key, key))
    if spec is not None:
        return spec
    close = difflib.get_close_matches(key, [*BACKBONES, *ALIASES], n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}" if close else f"known are {', '.join(BACKBONES)}"
    raise BackboneError(
        f"{name!r} is not a backbone likewise knows: {hint}; the path of a weights file or folder, "
        "or a hub name such as org/repo, also works."
    )


def match_shape(shape: ModelShape | HieraShape, *, sat: bool) -> BackboneSpec | None:
    """The downloadable entry of that shape, trained on satellite images or not."""
    for spec in BACKBONES.values():
        if spec.repo is not None and shape.same_as(spec) and spec.name.endswith("-sat") == sat:
            return spec
    return None


def packaged_file(spec: BackboneSpec) -> Path:
    """Where a spec without a hub repository keeps its file, inside the installed package."""
    return Path(__file__).resolve().parent / spec.filename

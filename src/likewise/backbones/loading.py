"""Loading one frozen backbone from a name, file, folder or the hub, and reading its features."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BackboneError
from ..io.hashing import sha256
from . import download, hiera_layouts
from .device import choose_device
from .files import PICKLES, read_tensors
from .layouts import (
    canonical_state,
    detect_layout,
    infer_config,
    packed_state,
)
from .registry import (
    ALIASES,
    BACKBONES,
    SAT_MEAN,
    SAT_STD,
    get_spec,
    hiera_fields,
    joined_spec,
    match_shape,
    split_names,
)
from .spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec, HieraShape, ModelShape

if TYPE_CHECKING:
    import torch
    from torch.nn import ModuleList

    from .hiera import Hiera
    from .vit import ViT

MODEL_TYPES = ("dinov3_vit", "dinov2", "dinov2_with_registers", *hiera_layouts.MODEL_TYPES)


IN_FLOAT32 = re.compile(r"^(embeddings|fine|neck|no_memory)|norm|layer_scale")
"""Tensors that are float32 in half precision too, as are patches and the sums over blocks: three
quarters of the error of features came from there. Products are in half precision."""


@dataclass(frozen=True)
class Backbone:
    """A frozen model (eval, no gradients), cut to `block` blocks.

    `block` is 1-based: the features are the output of that block after the final norm, of SAM 2
    those of its neck after the last block and the block's own before. `identity` is a hash
    of the loaded weights, equal for every layout and dtype of the same weights, and different for
    different `block`.
    """

    model: ViT | Hiera | ModuleList
    spec: BackboneSpec
    block: int
    identity: str
    samples: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What ``identity`` is made of, see ``weight_samples``; empty for joined ones."""
    parts: tuple[Backbone, ...] = ()
    """The backbones that this one joins: ``block`` is the first one's, ``model`` holds theirs."""
    weights: tuple[float, ...] = ()
    """Of each of ``parts`` in the cosine of two patches."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What products are computed in; patches, norms and sums are in float32."""
        return min((p.dtype for p in self.model.parameters()), key=lambda dtype: dtype.itemsize)


@dataclass(frozen=True)
class _Source:
    path: Path
    label: str  # for messages, the spec's name, and to recognise satellite weights
    config: Mapping[str, Any] | None = None
    spec: BackboneSpec | None = None


def load_backbone(
    source: str | Path,
    *,
    block: int | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    offline: bool = False,
    num_heads: int | None = None,
) -> Backbone:
    """Load a backbone.

    `source` is a registry name or alias, a .safetensors, .pth or .pt file, a Hugging Face folder,
    or a hub name "org/repo"; or two or three of these with + between them, to be joined (a path
    that exists is a path). `block` defaults to the last one, of joined ones it is the first one's;
    later blocks are not loaded. `dtype` is float32 (default), bfloat16 or float16. `num_heads` is
    needed only where neither the file nor its width tells. Raises BackboneError.
    """
    import torch

    from .hiera import Hiera
    from .vit import ViT

    dtype = torch.float32 if dtype is None else dtype
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise BackboneError(f"dtype {dtype} is not supported: use float32, bfloat16 or float16.")
    if isinstance(source, str) and "+" in source and not Path(source).expanduser().exists():
        options: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "offline": offline,
            "num_heads": num_heads,
        }
        first, *others = split_names(source)
        return join(
            [
                load_backbone(first, block=block, **options),
                *(load_backbone(other, **options) for other in others),
            ]
        )
    target = choose_device(str(device))
    found = _resolve(source, offline)
    state = read_tensors(found.path)
    where = str(found.path)
    shape, canonical = _read(state, found, num_heads)
    spec = _spec(shape, found)
    block = _block(spec, block, shape.readable)
    if spec.dim != shape.features(block):
        spec = replace(spec, dim=shape.features(block))
    tensors = canonical(block)
    with torch.device("meta"):
        model = Hiera(shape, block) if isinstance(shape, HieraShape) else ViT(shape, block)
    weights = {
        # A copy, so that nothing keeps pointing into the (memory mapped) file.
        key: value.to(
            device=target, dtype=torch.float32 if IN_FLOAT32.search(key) else dtype, copy=True
        ).contiguous()
        for key, value in packed_state(tensors, model.state_dict(), where).items()
    }
    model.load_state_dict(weights, assign=True)
    model.eval().requires_grad_(False)
    samples = weight_samples(tensors)
    return Backbone(model, spec, block, identity_of(samples, shape.heads), samples)


def join(parts: Sequence[Backbone], weights: Sequence[float] | None = None) -> Backbone:
    """Several backbones as one; see ``Encoder`` for what becomes of their features.

    Args:
        parts: two or more, none of them joined; the first sets the grid.
        weights: positive, of each in the cosine of two patches; equal by default.
    """
    from torch.nn import ModuleList

    weights = tuple(weights or [1.0] * len(parts))
    first = parts[0]
    spec = joined_spec([part.spec for part in parts], weights)
    # Only size and rank of the first are the encoder's to say.
    known = [
        f"{p.identity} {p.spec.image_size} {p.spec.svd_components if n else ''} "
        f"{p.spec.mean} {p.spec.std} {weight / sum(weights):.6f}"
        for n, (p, weight) in enumerate(zip(parts, weights, strict=True))
    ]
    identity = sha256("\n".join(known).encode())[:32]
    models = ModuleList(part.model for part in parts)
    return Backbone(models, spec, first.block, identity, parts=tuple(parts), weights=weights)


def _read(
    state: Mapping[str, torch.Tensor], found: _Source, num_heads: int | None
) -> tuple[ModelShape | HieraShape, Callable[[int], dict[str, torch.Tensor]]]:
    """What a state dict holds, and a function of the block that gives its canonical tensors."""
    where = str(found.path)
    if hiera_layouts.is_hiera(state):
        tensors = hiera_layouts.named(state, where)
        hiera = hiera_layouts.infer_shape(tensors, found.config, where)
        return hiera, lambda block: hiera_layouts.canonical_state(tensors, hiera, block)
    layout = detect_layout(state, where)
    if found.spec is not None:
        num_heads = found.spec.heads
    shape = infer_config(state, layout, num_heads=num_heads, config=found.config, where=where)
    return shape, lambda block: canonical_state(state, layout, block, where)


def _block(spec: BackboneSpec, block: int | None, readable: Sequence[int]) -> int:
    """The block to read; raises BackboneError unless it is one of ``readable``."""
    block = (spec.block or spec.depth) if block is None else block
    if block not in readable:
        row = [n for n in readable if n - 1 in readable or n + 1 in readable] or readable
        last = "" if readable[-1] in row else f" or {readable[-1]}"
        what = "gives no features" if 1 <= block <= spec.depth else "does not exist"
        raise BackboneError(
            f"block {block} of {spec.name} {what}: use {row[0]} to {row[-1]}{last}."
        )
    return block


def patch_tokens(backbone: Backbone, pixels: torch.Tensor) -> torch.Tensor:
    """The patch features of normalised images (B,3,H,W): (B, H/patch, W/patch, D).

    Block output after the final norm, without class and register tokens, in float32.
    Raises BackboneError where H or W is not a multiple of the patch.
    """
    import torch

    patch = backbone.spec.patch
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise BackboneError(f"images must be (B,3,H,W), not {tuple(pixels.shape)}.")
    height, width = pixels.shape[2:]
    if not height or not width or height % patch or width % patch:
        raise BackboneError(
            f"an image of {height}x{width} px does not divide into patches: resize both sides to "
            f"multiples of {patch}."
        )
    with torch.inference_mode():
        tokens: torch.Tensor = backbone.model(pixels.to(backbone.device, torch.float32))
    return tokens.unflatten(1, (height // patch, width // patch))


def weight_samples(canonical: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
    """Name of each tensor → its name, shape and 64 evenly strided values, in order of the names."""
    import torch

    samples = {}
    for name in sorted(canonical):
        flat = canonical[name].reshape(-1)
        values = flat[:: max(1, flat.numel() // 64)][:64].to(torch.float32)
        text = f"{name} {tuple(canonical[name].shape)}".encode()
        samples[name] = text + values.numpy().astype("<f4").tobytes()
    return samples


def first_samples(samples: Mapping[str, bytes], block: int) -> dict[str, bytes]:
    """Those of the same weights loaded up to an earlier block."""
    layers = {name: re.match(r"layer\.(\d+)\.", name) for name in samples}
    return {
        name: sample
        for name, sample in samples.items()
        if (int(m[1]) < block if (m := layers[name]) else not hiera_layouts.LAST.match(name))
    }


def identity_of(samples: Mapping[str, bytes], heads: int) -> str:
    """32 hex digits of sha256 over the heads and samples of the weights."""
    return sha256(f"heads {heads}".encode(), *samples.values())[:32]


def _resolve(source: str | Path, offline: bool) -> _Source:
    text = str(source)
    if isinstance(source, str):
        name = source.strip().lower()
        if name in BACKBONES or name in ALIASES:
            return _named(get_spec(name), offline)
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        beside = path.parent / "config.json"
        config = _read_config(beside) if beside.is_file() else {}
        known = config.get("model_type") in MODEL_TYPES or "architecture" in config
        return _Source(path, path.stem, config if known else None)
    pathlike = isinstance(source, Path) or path.suffix in {".safetensors", *PICKLES}
    if pathlike or text.startswith((".", "/", "~")) or "\\" in text:
        raise BackboneError(f"{text} does not exist: give the path of a weights file or folder.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        return _named(get_spec(text), offline)  # raises, with the closest names
    config = _read_config(download.fetch(text, "config.json", offline=offline))
    _check_model_type(config, text)
    return _Source(download.fetch_weights(text, offline=offline), text.split("/")[1], config)


def _named(spec: BackboneSpec, offline: bool) -> _Source:
    if spec.repo is not None:
        return _Source(download.fetch_weights(spec, offline=offline), spec.name, spec=spec)
    return _Source(download.packaged_path(spec), spec.name, spec=spec)


def _folder(folder: Path) -> _Source:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise BackboneError(f"{folder} has no config.json: give a Hugging Face folder, or a file.")
    config = _read_config(config_file)
    _check_model_type(config, str(folder))
    names = ("model.safetensors", "model.safetensors" + download.INDEX_SUFFIX, "pytorch_model.bin")
    for name in names:
        if (folder / name).is_file():
            return _Source(folder / name, folder.resolve().name, config)
    raise BackboneError(f"{folder} has no weights: none of {', '.join(names)} is there.")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path} is not readable JSON: download it again.") from error
    return config if isinstance(config, dict) else {}


def _check_model_type(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("model_type")
    if kind not in MODEL_TYPES and "architecture" not in config:
        raise BackboneError(
            f"{where} is a {kind!r} model, not one of {', '.join(MODEL_TYPES)}: give one of these."
        )


def _spec(shape: ModelShape | HieraShape, found: _Source) -> BackboneSpec:
    """The registry entry that a file is, or one made from its shapes."""
    if found.spec is not None:
        if not shape.same_as(found.spec):
            raise BackboneError(
                f"{found.path} does not hold {found.spec.name} but another model, of width "
                f"{shape.dim} and {shape.depth} blocks: delete it and download it again."
            )
        return found.spec
    sat = "sat493m" in f"{found.label} {found.path.name}".lower()
    entry = match_shape(shape, sat=sat)
    if entry is not None:
        return entry
    if isinstance(shape, HieraShape):
        fields = hiera_fields(shape)
        return BackboneSpec(name=found.label, repo=None, filename=str(found.path), **fields)
    return BackboneSpec(
        name=found.label,
        family=shape.family,
        repo=None,
        filename=str(found.path),
        patch=shape.patch,
        depth=shape.depth,
        dim=shape.dim,
        heads=shape.heads,
        mlp_dim=shape.mlp_dim,
        gated=shape.gated,
        registers=shape.registers,
        image_size=max(1, 1024 // shape.patch) * shape.patch,
        mean=SAT_MEAN if sat else IMAGENET_MEAN,
        std=SAT_STD if sat else IMAGENET_STD,
    )

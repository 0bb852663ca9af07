"""Reading SAM 2 checkpoints of Meta and transformers as one and the same image encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import BackboneError
from .registry import BACKBONES
from .spec import HieraShape

if TYPE_CHECKING:
    import torch

MODEL_TYPES = ("sam2", "sam2_video", "sam2_vision_model")

# Meta's and transformers' spellings -> canonical, applied in turn. ``neck.0`` is of the last stage,
# ``high.0`` of the finest map.
_NAMES = [
    (r"^(?:image_encoder\.trunk|(?:vision_encoder\.)?backbone)\.", "trunk."),
    (r"^(?:(?:image|vision)_encoder\.)?neck\.convs\.(\d)\.(?:conv\.)?", r"neck.\1."),
    (r"^(?:sam_)?mask_decoder\.conv_s(\d)\.", r"high.\1."),
    (r"^(?:no_mem_embed|no_memory_embedding)$", "no_memory"),
    (r"^trunk\.patch_embed\.proj(?:ection)?\.", "embeddings.patch_embeddings."),
    (r"^trunk\.pos_embed$", "embeddings.position_embeddings"),
    (r"^trunk\.pos_embed_window$", "embeddings.window_embeddings"),
    (r"^trunk\.blocks\.", "layer."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.attn\.qkv\.", ".attention.in_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.mlp\.(?:layers\.0|proj_in)\.", ".up_proj."),
    (r"\.mlp\.(?:layers\.1|proj_out)\.", ".down_proj."),
    (r"^(layer\.\d+)\.proj\.", r"\1.widen."),
]
_OURS = re.compile(r"(embeddings|layer|trunk|neck|high)\.|no_memory$")
_LAYER = re.compile(r"layer\.(\d+)\.")
LAST = re.compile(r"neck\.|no_memory$")
"""What is used after the last block only."""

# What transformers leaves out of config.json where it is the default (those of the tiny model).
_DEFAULTS = {
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "window_size_per_stage": [8, 4, 14, 7],
    "global_attention_blocks": [5, 7, 9],
    "blocks_per_stage": [1, 2, 7, 2],
}


def is_hiera(keys: Iterable[str]) -> bool:
    """Whether a state dict holds SAM 2's image encoder, in any spelling."""
    return any(key.endswith("pos_embed_window") for key in keys)


def named(state: Mapping[str, torch.Tensor], where: str) -> dict[str, torch.Tensor]:
    """The image encoder's tensors under canonical names, without the rest of SAM 2.

    Raises:
        BackboneError: if one is not of floating point.
    """
    out = {}
    for key, value in state.items():
        name = key
        for pattern, new in _NAMES:
            name = re.sub(pattern, new, name)
        if _OURS.match(name):
            if not value.is_floating_point():
                raise BackboneError(
                    f"{where} stores {key} as {value.dtype}, not as floating point."
                )
            out[name] = value
    return out


def infer_shape(
    tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any] | None, where: str
) -> HieraShape:
    """The model of ``named`` tensors: heads and windows from config.json or the registry.

    Raises:
        BackboneError: if a tensor is missing, or nothing tells heads and windows.
    """

    def size(name: str, *expected: int | None) -> tuple[int, ...]:
        if name not in tensors:
            raise BackboneError(
                f"{where} lacks the tensor {name}: it is incomplete or no SAM 2 image encoder."
            )
        found = tuple(tensors[name].shape)
        fits = [e in (None, f) for e, f in zip(expected, found, strict=False)]
        if len(found) != len(expected) or not all(fits):
            raise BackboneError(
                f"{where} has {name} of shape {found}: it is no SAM 2 image encoder."
            )
        return found

    dim = size("embeddings.patch_embeddings.weight", None, 3, 7, 7)[0]
    grid = size("embeddings.position_embeddings", 1, dim, None, None)[2]
    window = size("embeddings.window_embeddings", 1, dim, None, None)[2]
    numbers = {int(m[1]) for m in map(_LAYER.match, tensors) if m}
    depth = max(numbers, default=-1) + 1
    starts = [0, *(n for n in sorted(numbers) if f"layer.{n}.widen.weight" in tensors), depth]
    blocks = tuple(b - a for a, b in pairwise(starts))
    if len(blocks) == 3 and "neck.0.weight" not in tensors:  # as the embedded one is
        blocks = (*blocks, 0)
    if len(blocks) != 4:
        raise BackboneError(f"{where} has {len(blocks)} stages instead of 4: it is no SAM 2 model.")
    width = size("neck.3.weight", None, dim, 1, 1)[0]
    fine = tuple(
        size(f"high.{n}.weight", None, width, 1, 1)[0] if f"high.{n}.weight" in tensors else width
        for n in (0, 1)
    )
    neck = size("neck.0.weight", width, 8 * dim, 1, 1)[0] if blocks[3] else 0
    if config is None or config.get("model_type") not in MODEL_TYPES:
        for spec in BACKBONES.values():
            known = spec.hiera
            if known and (known.dim, known.blocks, known.windows[0]) == (dim, blocks, window):
                return replace(known, grid=grid, neck=neck, fine=fine)
        raise BackboneError(
            f"{where} holds a SAM 2 of an unknown size (width {dim}, blocks {blocks}): give the "
            "folder with its config.json."
        )
    try:
        told = config.get("vision_config", config)["backbone_config"]
        heads, windows, whole, same = (
            tuple(map(int, told.get(key, value))) for key, value in _DEFAULTS.items()
        )
        shape = HieraShape(dim, heads[0], blocks, windows, whole, grid, neck, fine)
        fits = same == blocks and len(windows) == 4 and windows[0] == window
        fits &= dim % shape.heads == 0 and all(n > 0 and n % 2 == 0 for n in windows[:3])
    except (AttributeError, LookupError, TypeError, ValueError, ZeroDivisionError):
        fits = False
    if not fits:
        raise BackboneError(f"the config.json of {where} is not of its weights: download it again.")
    return shape


def canonical_state(
    tensors: Mapping[str, torch.Tensor], shape: HieraShape, block: int
) -> dict[str, torch.Tensor]:
    """The ``named`` tensors up to a block, as ``Hiera`` has them.

    Convolutions of one pixel become matrices; those of the finer maps and of the neck before them
    become one. Without a mask decoder the finer maps are the neck's; ``no_memory`` is then 0.
    """
    import torch

    out = {}
    for name, value in tensors.items():
        layer = _LAYER.match(name)
        if layer is None or int(layer[1]) < block:
            out[name] = value.flatten(1) if re.match(r"(neck|high)\..*weight$", name) else value
    out["no_memory"] = out.get("no_memory", torch.zeros(shape.neck)).flatten()
    for n in (0, 1):
        neck, high = (
            [out.pop(f"{name}.{leaf}", None) for leaf in ("weight", "bias")]
            for name in (f"neck.{3 - n}", f"high.{n}")
        )
        if neck[0] is None or neck[1] is None:
            continue  # whoever fills the model says what is missing
        # In float64, so that the last digits, and with them the identity, do not depend on where
        # in memory a file happens to lie.
        weight, bias = neck[0].double(), neck[1].double()
        if high[0] is not None and high[1] is not None:
            matrix = high[0].double()
            weight, bias = matrix @ weight, matrix @ bias + high[1].double()
        out |= {f"fine.{n}.weight": weight.float(), f"fine.{n}.bias": bias.float()}
    if not shape.through_neck(block):
        out = {name: value for name, value in out.items() if not LAST.match(name)}
    return out

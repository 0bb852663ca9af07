"""Reading the state dicts of Meta, timm and transformers (old and new) as one and the same model.

Every layout is renamed to one canonical spelling (close to transformers'), from which our own ViT
is filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BackboneError
from .registry import BACKBONES
from .spec import ModelShape

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]

HEADS_BY_DIM = {384: 6, 768: 12, 1024: 16, 1280: 20, 1536: 24, 4096: 32}

# Meta's and timm's names -> canonical. `attention.qkv` and `mlp.gate_up` are packed, and split
# further down (gate first, as Meta's w12, timm's packed GLU and transformers' weights_in have it).
_TOP = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "storage_tokens": "embeddings.register_tokens",
    "register_tokens": "embeddings.register_tokens",
    "reg_token": "embeddings.register_tokens",
    "patch_embed.proj": "embeddings.patch_embeddings",
    "norm": "norm",
}
_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.qkv": "attention.qkv",
    "attn.q_proj": "attention.q_proj",
    "attn.k_proj": "attention.k_proj",
    "attn.v_proj": "attention.v_proj",
    "attn.q_bias": "attention.q_proj.bias",
    "attn.k_bias": "attention.k_proj.bias",
    "attn.v_bias": "attention.v_proj.bias",
    "attn.proj": "attention.o_proj",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    "gamma_1": "layer_scale1.lambda1",
    "gamma_2": "layer_scale2.lambda1",
    "mlp.fc1": "mlp.up_proj",
    "mlp.fc2": "mlp.down_proj",
    "mlp.w1": "mlp.gate_proj",
    "mlp.w2": "mlp.up_proj",
    "mlp.w3": "mlp.down_proj",
    "mlp.w12": "mlp.gate_up",
    "mlp.fc1_g": "mlp.gate_proj",
    "mlp.fc1_x": "mlp.up_proj",
}
# transformers' spellings -> canonical, applied in turn.
_HF = [
    (r"^(?:\w+\.)*?(?=(?:embeddings|layer|layernorm|norm)\.)", ""),
    (r"^layernorm\.", "norm."),
    (r"patch_embeddings\.projection\.", "patch_embeddings."),
    (r"attention\.attention\.query\.", "attention.q_proj."),
    (r"attention\.attention\.key\.", "attention.k_proj."),
    (r"attention\.attention\.value\.", "attention.v_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"mlp\.fc1\.", "mlp.up_proj."),
    (r"mlp\.fc2\.", "mlp.down_proj."),
    (r"mlp\.weights_in\.", "mlp.gate_up."),
    (r"mlp\.weights_out\.", "mlp.down_proj."),
]
_PACKED = {"qkv": ("q_proj", "k_proj", "v_proj"), "gate_up": ("gate_proj", "up_proj")}
_IGNORED = re.compile(r"(.*\.)?mask_token$|rope|local_cls_norm\.|head\.|classifier\.|pooler\.")
_LAYER = re.compile(r"layer\.(\d+)\.")


def detect_layout(keys: Iterable[str], where: str = "the file") -> str:
    """Which spelling a state dict uses: "meta", "timm" or "transformers"; raises BackboneError."""
    names = list(keys)
    held = set(names)
    if "cls_token" in held and {"blocks.0.ls1.gamma", "blocks.0.gamma_1"} & held:
        if "blocks.0.gamma_1" in held or "reg_token" in held or "mask_token" not in held:
            return "timm"
        return "meta"
    found = {_rename(name, "transformers") for name in names}
    if {"embeddings.cls_token", "layer.0.layer_scale1.lambda1"} <= found:
        return "transformers"
    raise BackboneError(
        f"{where} is not a DINOv3 or DINOv2 ViT, nor a SAM 2: its tensors are named "
        f"{', '.join(sorted(names)[:3]) or '(none)'}, ...; give a checkpoint of one of these."
    )


def _rename(key: str, layout: str) -> str | None:
    """The canonical name of `key`; None for what is not needed, or is not known."""
    if layout == "transformers":
        for pattern, new in _HF:
            key = re.sub(pattern, new, key)
        return key if re.match(r"(embeddings|layer|norm)\.", key) else None
    match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(.+?)(\.(?:weight|bias|bias_mask))?", key)
    if match is None:
        return None
    block, module, leaf = match.groups()
    new_name = (_TOP if block is None else _BLOCK).get(module)
    if new_name is None:
        return None
    return (f"layer.{block}." if block is not None else "") + new_name + (leaf or "")


def _names(state: State, layout: str, where: str) -> dict[str, str]:
    """Canonical name -> key of `state`, without the ignored; raises on a tensor nobody knows."""
    names: dict[str, str] = {}
    for key in state:
        if _IGNORED.match(key):
            continue
        name = _rename(key, layout)
        if name is None:
            raise BackboneError(
                f"{where} holds a tensor {key!r} that no DINOv3 or DINOv2 ViT has: "
                "give a plain backbone checkpoint."
            )
        names[name] = key
    return names


def infer_config(
    state: State,
    layout: str,
    *,
    num_heads: int | None = None,
    config: Mapping[str, Any] | None = None,
    where: str = "the file",
) -> ModelShape:
    """The model that `state` holds, from its shapes, RoPE periods and config.json (`config`).

    The number of heads comes from the RoPE periods, else from `config`, else from `num_heads`,
    else from the width. Raises BackboneError where that is not enough, or contradicts itself.
    """
    config = config or {}
    names = _names(state, layout, where)

    def shape(name: str) -> tuple[int, ...]:
        if name not in names:
            raise BackboneError(
                f"{where} lacks the tensor {name}: it is incomplete or no DINO ViT."
            )
        return tuple(state[names[name]].shape)

    kernel = shape("embeddings.patch_embeddings.weight")
    if len(kernel) != 4 or kernel[1] != 3 or kernel[2] != kernel[3]:
        raise BackboneError(f"{where} has a patch embedding of shape {kernel}, not (D,3,p,p).")
    dim, patch = kernel[0], kernel[2]
    layers = {int(m.group(1)) for m in map(_LAYER.match, names) if m}
    depth = max(layers, default=-1) + 1
    mlp_dim = shape("layer.0.mlp.down_proj.weight")[-1]
    packed = "layer.0.mlp.gate_up.weight" in names
    gated = packed or "layer.0.mlp.gate_proj.weight" in names
    if not gated:
        gated = shape("layer.0.mlp.up_proj.weight")[0] == 2 * mlp_dim  # timm's packed GLU
    has_registers = "embeddings.register_tokens" in names
    registers = shape("embeddings.register_tokens")[1] if has_registers else 0
    grid = 0
    if "embeddings.position_embeddings" in names:
        count = shape("embeddings.position_embeddings")[1]
        grid = next((g for n in (count - 1, count) if (g := round(n**0.5)) ** 2 == n), 0)
        if grid == 0:
            raise BackboneError(f"{where} has {count} positions, which are no square grid.")
    family = "dinov3" if grid == 0 else "dinov2_with_registers" if registers else "dinov2"

    periods = state.get("rope_embed.periods")
    theta = _number(config, "rope_theta", 100.0, where)
    certain = _heads_from_config(config)
    if periods is not None:
        certain = dim // (4 * int(periods.numel()))
        theta = _rope_base(periods, where)
    if certain is not None and num_heads is not None and certain != num_heads:
        raise BackboneError(f"{where} has {certain} heads, not the {num_heads} of num_heads.")
    heads = certain or num_heads or HEADS_BY_DIM.get(dim)
    if heads is None:
        raise BackboneError(
            f"{where} does not say how many attention heads its width of {dim} has: pass num_heads."
        )
    if heads < 1 or dim % heads or (grid == 0 and (dim // heads) % 4):
        raise BackboneError(f"{where} has width {dim}, which {heads} heads cannot share.")
    eps = _number(config, "layer_norm_eps", 1e-5 if grid == 0 else 1e-6, where)
    return ModelShape(family, patch, depth, dim, heads, mlp_dim, gated, registers, grid, eps, theta)


def _number(config: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float):
        raise BackboneError(
            f"the config.json of {where} has {key} {value!r}, which is no number: "
            "download it again."
        )
    return float(value)


def _heads_from_config(config: Mapping[str, Any]) -> int | None:
    """The heads in a config.json of transformers ("num_attention_heads") or timm (by name)."""
    heads = config.get("num_attention_heads")
    if isinstance(heads, int):
        return heads
    name = config.get("architecture")
    if isinstance(name, str):
        name = name.replace("_qkvb", "")
        for spec in BACKBONES.values():
            if spec.repo is not None and spec.repo.startswith(f"timm/{name}."):
                return spec.heads
    return None


def _rope_base(periods: torch.Tensor, where: str) -> float:
    """The base of RoPE periods base**(i/n), i < n. Releases store them rounded to bfloat16."""
    import torch

    values = periods.to(torch.float32).flatten()
    n = values.numel()
    bases = [100.0] + ([float(values[-1]) ** (n / (n - 1))] if n > 1 else [])
    for base in bases:
        if torch.allclose(values, torch.tensor(base) ** (torch.arange(n) / n), rtol=0.01):
            return float(base)
    raise BackboneError(f"{where} has RoPE periods that no base gives: it is no DINOv3 release.")


def canonical_state(
    state: State, layout: str, block: int, where: str = "the file"
) -> dict[str, torch.Tensor]:
    """The tensors of blocks 1..`block` under canonical names, the same for every layout.

    Packed tensors are split, the class position is added to the class token, and a projection bias
    that is zero in every block is left out. Raises BackboneError on tensors that are not floats.
    """
    out: dict[str, torch.Tensor] = {}
    for name, key in _names(state, layout, where).items():
        match = _LAYER.match(name)
        if match is None or int(match.group(1)) < block:
            if not state[key].is_floating_point():
                raise BackboneError(
                    f"{where} stores {key} as {state[key].dtype}, not as floating point."
                )
            out[name] = state[key]
    for name in [n for n in out if n.endswith(".attention.qkv.bias_mask")]:
        mask, bias = out.pop(name), name.removesuffix("_mask")
        if bias in out:
            out[bias] = _masked(out[bias], mask)
    for name in list(out):
        head, _, leaf = name.rpartition(".")
        base, _, module = head.rpartition(".")
        parts = _PACKED.get(module, ())
        if module == "up_proj" and _is_packed(out, base, name):
            parts = _PACKED["gate_up"]
        if parts:
            for part, piece in zip(parts, out.pop(name).chunk(len(parts)), strict=False):
                out[f"{base}.{part}.{leaf}"] = piece
    _drop_zero_biases(out, block)
    _fold_class_position(out)
    return out


def _is_packed(out: State, base: str, name: str) -> bool:
    """Whether an up projection has the gate in front of it: twice the rows that come down."""
    down = out.get(f"{base}.down_proj.weight")
    return down is not None and out[name].shape[0] == 2 * down.shape[-1]


def _masked(bias: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A qkv bias (3D,) times its mask, which holds 1, 0, 1 (NaN in never initialised copies)."""
    import torch

    if bool(mask.isnan().any()):
        mask = torch.ones_like(mask)
        mask.chunk(3)[1].zero_()
    return torch.where(mask == 0, torch.zeros_like(bias), bias * mask)


def _drop_zero_biases(out: dict[str, torch.Tensor], block: int) -> None:
    import torch

    for part in ("q_proj", "k_proj", "v_proj"):
        names = [f"layer.{i}.attention.{part}.bias" for i in range(block)]
        present = [name for name in names if name in out]
        if not any(bool(out[name].any()) for name in present):
            for name in present:
                del out[name]
        for name in names if any(name in out for name in present) else []:
            out.setdefault(name, torch.zeros_like(out[present[0]]))


def _fold_class_position(out: dict[str, torch.Tensor]) -> None:
    """Add the class position to the class token, as timm's register models have it already."""
    import torch

    name = "embeddings.position_embeddings"
    if name not in out:
        return
    position = out[name].to(torch.float32)
    count = position.shape[1]
    if round((count - 1) ** 0.5) ** 2 == count - 1:
        token = out["embeddings.cls_token"].to(torch.float32)
        out["embeddings.cls_token"] = token + position[:, :1]
        position = position[:, 1:]
    out[name] = torch.cat([torch.zeros_like(position[:, :1]), position], dim=1)


def packed_state(
    canonical: State, wanted: State, where: str = "the file"
) -> dict[str, torch.Tensor]:
    """`canonical` as `wanted`, the state dict of our ViT, has it: projections packed again.

    Raises BackboneError on missing, unexpected or misshapen tensors.
    """
    import torch

    out: dict[str, torch.Tensor] = {}
    missing: list[str] = []
    unused = set(canonical)
    for key, model_value in wanted.items():
        base, _, leaf = key.rpartition(".")
        module, _, last = base.rpartition(".")
        parts = _PACKED.get(last)
        names = [f"{module}.{part}.{leaf}" for part in parts] if parts else [key]
        absent = [name for name in names if name not in canonical]
        if absent and not (last == "qkv" and leaf == "bias"):
            missing.append(absent[0])
            continue
        share = (model_value.shape[0] // len(names), *model_value.shape[1:])
        # A bias is left out where it is zero.
        values = [canonical[n] if n in canonical else torch.zeros(share) for n in names]
        for name, value in zip(names, values, strict=True):
            if value.shape != share:
                raise BackboneError(
                    f"{where} has {name} of shape {tuple(value.shape)} where the model needs "
                    f"{tuple(share)}: it is damaged or of another architecture."
                )
        out[key] = torch.cat(values) if parts else values[0]
        unused.difference_update(names)
    if missing:
        raise BackboneError(
            f"{where} lacks {len(missing)} of the tensors of its model (first: {missing[0]}): "
            "it is incomplete or of another architecture."
        )
    if unused:
        raise BackboneError(
            f"{where} has {len(unused)} tensors too many for its model (first: {min(unused)}): "
            "it is of another architecture."
        )
    return out

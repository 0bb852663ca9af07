"""Tiny random models of every family, written in every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from likewise.backbones.spec import ModelShape

DIM, HEADS, DEPTH = 48, 3, 3
FAMILIES = {
    "dinov3": ModelShape("dinov3", 16, DEPTH, DIM, HEADS, 96, False, 4, 0, 1e-5),
    "dinov3-gated": ModelShape("dinov3", 16, DEPTH, DIM, HEADS, 64, True, 4, 0, 1e-5),
    "dinov2": ModelShape("dinov2", 14, DEPTH, DIM, HEADS, 192, False, 0, 4, 1e-6),
    "dinov2-gated": ModelShape("dinov2", 14, DEPTH, DIM, HEADS, 128, True, 0, 4, 1e-6),
    "dinov2-reg": ModelShape(
        "dinov2_with_registers", 14, DEPTH, DIM, HEADS, 192, False, 4, 4, 1e-6
    ),
}

State = dict[str, torch.Tensor]


def make_parts(shape: ModelShape, biases: bool = True) -> State:
    """Random weights under names of this test; "0.q.weight" is the first block's query."""
    torch.manual_seed(0)
    d, p = shape.dim, shape.patch
    sizes: dict[str, tuple[int, ...]] = {"cls": (1, 1, d), "patch.weight": (d, 3, p, p)}
    sizes |= {"patch.bias": (d,), "norm.weight": (d,), "norm.bias": (d,)}
    if shape.registers:
        sizes["reg"] = (1, shape.registers, d)
    if shape.grid:
        sizes["pos"] = (1, 1 + shape.grid**2, d)
    for i in range(shape.depth):
        linear = {"q": (d, d), "k": (d, d), "v": (d, d), "o": (d, d), "down": (d, shape.mlp_dim)}
        linear |= {"up": (shape.mlp_dim, d)} | ({"gate": (shape.mlp_dim, d)} if shape.gated else {})
        for name, size in linear.items():
            sizes[f"{i}.{name}.weight"] = size
            if (name == "k" and not shape.grid) or (name in "qkv" and not biases):
                continue  # DINOv3 has no key bias
            sizes[f"{i}.{name}.bias"] = size[:1]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1", "ls2"):
            sizes[f"{i}.{name}"] = (d,)
    return {
        name: torch.randn(size) * (0.3 if size[-1] != d else 0.2) for name, size in sizes.items()
    }


def write_layout(parts: State, shape: ModelShape, layout: str) -> State:
    """The same weights under the names, and with the packing, of a layout."""
    return _write_hf(parts, shape, layout) if layout[:2] == "hf" else _write(parts, shape, layout)


def _write(parts: State, shape: ModelShape, layout: str) -> State:
    v3, meta = shape.grid == 0, layout == "meta"
    d = shape.dim
    out = {"cls_token": parts["cls"]}
    out |= {f"patch_embed.proj.{k}": parts[f"patch.{k}"] for k in ("weight", "bias")}
    out |= {f"norm.{k}": parts[f"norm.{k}"] for k in ("weight", "bias")}
    if meta:
        out["mask_token"] = torch.zeros(1, d)
    if shape.registers:
        name = "reg_token" if not meta else "storage_tokens" if v3 else "register_tokens"
        out[name] = parts["reg"]
    if not v3:
        out["pos_embed"] = parts["pos"]
        if shape.registers and not meta:
            out["cls_token"] = parts["cls"] + parts["pos"][:, :1]
            out["pos_embed"] = parts["pos"][:, 1:]
    if v3 and meta:
        n = d // shape.heads // 4
        out["rope_embed.periods"] = (100.0 ** (torch.arange(n) / n)).to(torch.bfloat16)
        out["local_cls_norm.weight"] = torch.ones(d)
    for i in range(shape.depth):
        own = {k.split(".", 1)[1]: v for k, v in parts.items() if k.startswith(f"{i}.")}
        block: State = {"attn.qkv.weight": torch.cat([own[f"{p}.weight"] for p in "qkv"])}
        if "q.bias" in own:
            if v3 and not meta:
                block["attn.q_bias"], block["attn.v_bias"] = own["q.bias"], own["v.bias"]
            else:
                key = own.get("k.bias", torch.full((d,), float("nan")))
                block["attn.qkv.bias"] = torch.cat([own["q.bias"], key, own["v.bias"]])
                if v3:
                    mask = torch.ones(3, d)
                    mask[1] = 0
                    block["attn.qkv.bias_mask"] = mask.flatten()
                    if i == 1:
                        block["attn.qkv.bias_mask"] = torch.full((3 * d,), float("nan"))
        ls = ("ls1.gamma", "ls2.gamma") if meta or not v3 else ("gamma_1", "gamma_2")
        block |= {ls[0]: own["ls1"], ls[1]: own["ls2"]}
        for leaf in ("weight", "bias"):
            block |= {f"norm1.{leaf}": own[f"norm1.{leaf}"], f"norm2.{leaf}": own[f"norm2.{leaf}"]}
            block[f"attn.proj.{leaf}"] = own[f"o.{leaf}"]
            up, down = own[f"up.{leaf}"], own[f"down.{leaf}"]
            if not shape.gated:
                block |= {f"mlp.fc1.{leaf}": up, f"mlp.fc2.{leaf}": down}
            elif v3:
                names = ("w1", "w2", "w3") if meta else ("fc1_g", "fc1_x", "fc2")
                values = (own[f"gate.{leaf}"], up, down)
                block |= {f"mlp.{n}.{leaf}": v for n, v in zip(names, values, strict=True)}
            else:
                names = ("w12", "w3") if meta else ("fc1", "fc2")
                block[f"mlp.{names[0]}.{leaf}"] = torch.cat([own[f"gate.{leaf}"], up])
                block[f"mlp.{names[1]}.{leaf}"] = down
        out |= {f"blocks.{i}.{k}": v for k, v in block.items()}
    return out


def _write_hf(parts: State, shape: ModelShape, layout: str) -> State:
    v3, new = shape.grid == 0, layout == "hf-new"
    e = "embeddings."
    conv = e + ("patch_embeddings." if v3 else "patch_embeddings.projection.")
    norm = "norm." if v3 else "layernorm."
    out = {e + "cls_token": parts["cls"], e + "mask_token": torch.zeros(*([1] * (2 + v3)), DIM)}
    out[e + "mask_token"] = torch.zeros((1, 1, DIM) if v3 else (1, DIM))
    out |= {conv + k: parts[f"patch.{k}"] for k in ("weight", "bias")}
    out |= {norm + k: parts[f"norm.{k}"] for k in ("weight", "bias")}
    if shape.registers:
        out[e + "register_tokens"] = parts["reg"]
    if not v3:
        out[e + "position_embeddings"] = parts["pos"]
    plain = v3 or new
    names = {"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj"}
    names |= {"o": "attention.o_proj", "norm1": "norm1", "norm2": "norm2"}
    if not plain:
        names |= {"q": "attention.attention.query", "k": "attention.attention.key"}
        names |= {"v": "attention.attention.value", "o": "attention.output.dense"}
    gated = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    if v3 or shape.gated:
        names |= gated if plain else {"down": "mlp.weights_out"}
    else:
        names |= {"up": "mlp.fc1", "down": "mlp.fc2"}
    for i in range(shape.depth):
        layer = f"encoder.layer.{i}." if not v3 else f"{'model.' if new else ''}layer.{i}."
        for leaf in ("weight", "bias"):
            for short, long in names.items():
                if f"{i}.{short}.{leaf}" in parts:
                    out[f"{layer}{long}.{leaf}"] = parts[f"{i}.{short}.{leaf}"]
            if shape.gated and not plain:
                pair = [parts[f"{i}.{p}.{leaf}"] for p in ("gate", "up")]
                out[f"{layer}mlp.weights_in.{leaf}"] = torch.cat(pair)
        out |= {f"{layer}layer_scale{n}.lambda1": parts[f"{i}.ls{n}"] for n in (1, 2)}
    return out


def reference(parts: State, shape: ModelShape, pixels: torch.Tensor) -> torch.Tensor:
    """Features (B,h,w,D) of the transformers model itself, strictly loaded and without likewise."""
    if shape.family == "dinov3":
        from transformers import DINOv3ViTConfig as Config
        from transformers import DINOv3ViTModel as Model

        extra: dict[str, Any] = {
            "intermediate_size": shape.mlp_dim,
            "use_gated_mlp": shape.gated,
            "hidden_act": "silu" if shape.gated else "gelu",
            "num_register_tokens": shape.registers,
        }
    elif shape.registers:
        from transformers import Dinov2WithRegistersConfig as Config
        from transformers import Dinov2WithRegistersModel as Model

        extra = {"num_register_tokens": shape.registers}
    else:
        from transformers import Dinov2Config as Config
        from transformers import Dinov2Model as Model

        extra = {"use_swiglu_ffn": shape.gated}
    if shape.grid:
        extra |= {"image_size": shape.grid * shape.patch, "mlp_ratio": 4}
    model = Model(
        Config(
            hidden_size=shape.dim,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            patch_size=shape.patch,
            **extra,
        )
    ).eval()
    for layout in ("hf-new", "hf-old"):
        state = write_layout(parts, shape, layout)
        if set(state) == set(model.state_dict()):
            break
    model.load_state_dict(state)
    with torch.no_grad():
        tokens = model(pixels).last_hidden_state
    h, w = pixels.shape[2] // shape.patch, pixels.shape[3] // shape.patch
    return tokens[:, 1 + shape.registers :].reshape(len(pixels), h, w, shape.dim)


def save(state: State, path: Path) -> Path:
    state = {key: value.contiguous().clone() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def images(shape: ModelShape, h: int = 2, w: int = 5) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, h * shape.patch, w * shape.patch)

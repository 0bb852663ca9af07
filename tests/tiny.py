"""Small random backbones made with our own ViT, as Hugging Face folders of DINOv3."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from likewise.backbones.spec import ModelShape
from likewise.backbones.vit import ViT


def make_backbone(folder: Path, dim: int = 48, heads: int = 3, mlp_dim: int = 96) -> Path:
    """A DINOv3 of two blocks, patch 16 and four registers; always the same weights.

    Matrices keep the variance of what goes through them, so that features tell pictures apart.
    """
    shape = ModelShape("dinov3", 16, 2, dim, heads, mlp_dim, False, 4, 0, 1e-5)
    generator = torch.Generator().manual_seed(0)

    def draw(like: torch.Tensor, std: float | None = None) -> torch.Tensor:
        std = like[0].numel() ** -0.5 if std is None else std
        return torch.empty_like(like).normal_(std=std, generator=generator)

    state: dict[str, torch.Tensor] = {}
    for name, value in ViT(shape, shape.depth).state_dict().items():
        if "token" in name:
            state[name] = draw(value, 0.02)
            if "cls" in name:  # Drawn in transformers' order: the weights that tests were made for.
                state["embeddings.mask_token"] = draw(value, 0.02)
        elif ".qkv." in name:
            q, k, v = (name.replace("qkv", f"{part}_proj") for part in "qkv")
            if value.ndim > 1:
                state |= {part: draw(value[:dim]) for part in (k, v, q)}
            else:
                state |= {part: torch.zeros(dim) for part in (q, v)}  # keys have no bias
        elif value.ndim > 1:
            state[name] = draw(value)
        else:
            state[name] = torch.full_like(value, 0 if "bias" in name else 1)
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    config = {"model_type": "dinov3_vit", "hidden_size": dim, "num_hidden_layers": shape.depth}
    config |= {"num_attention_heads": heads, "intermediate_size": mlp_dim, "patch_size": 16}
    config |= {"num_register_tokens": shape.registers, "layer_norm_eps": shape.eps}
    config |= {"rope_theta": shape.rope_theta, "image_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    return folder

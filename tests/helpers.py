"""Functions that several test files use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.backbones.registry import HieraShape
from likewise.errors import LikewiseError

SAM2 = HieraShape(12, 1, (1, 2, 3, 2), (4, 4, 6, 4), (4,), grid=3, neck=32, fine=(4, 8))
"""A tiny SAM 2: its windows do not divide the grids of small pictures."""


def refusal(call, *args, **kwargs) -> str:
    """The text of the LikewiseError that the call ends in: one line, ending in a full stop."""
    with pytest.raises(LikewiseError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def sam2_config() -> Any:
    """transformers' config of ``SAM2``."""
    from transformers import Sam2Config

    widths = [SAM2.width(stage) for stage in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": SAM2.dim,
        "num_attention_heads": SAM2.heads,
        "blocks_per_stage": list(SAM2.blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [SAM2.heads * 2**stage for stage in range(4)],
        "window_size_per_stage": list(SAM2.windows),
        "window_positional_embedding_background_size": [SAM2.grid] * 2,
        "global_attention_blocks": list(SAM2.whole),
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
        "fpn_hidden_size": SAM2.neck,
    }
    decoder = {"hidden_size": SAM2.neck, "num_attention_heads": 2, "mlp_dim": 8}
    return Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": SAM2.neck, "mask_input_channels": 4},
        mask_decoder_config=decoder | {"iou_head_hidden_dim": 8},
    )


def sam2_model(seed: int = 0) -> Any:
    """transformers' model of ``SAM2`` with random weights."""
    import torch
    from transformers import Sam2Model

    torch.manual_seed(seed)
    model = Sam2Model(sam2_config()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (1.0 if "norm" in name else 0.3))
    return model


def sam2_folder(model: Any, folder: Path, *, vision_only: bool = False) -> Path:
    """The model, or its image encoder alone, as a Hugging Face folder."""
    from safetensors.torch import save_file

    folder.mkdir()
    state, config = model.state_dict(), sam2_config()
    if vision_only:
        state, config = model.vision_encoder.state_dict(), config.vision_config
    save_file({k: v.contiguous().clone() for k, v in state.items()}, folder / "model.safetensors")
    config.to_json_file(folder / "config.json", use_diff=False)
    return folder

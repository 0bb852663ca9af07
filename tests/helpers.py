"""Functions that several test files use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.backbones.spec import HieraShape
from likewise.errors import LikewiseError
from likewise.io.images import Picture, read_picture
from likewise.result import ClassResult, Result

SAM2 = HieraShape(12, 1, (1, 2, 3, 2), (4, 4, 6, 4), (4,), grid=3, neck=32, fine=(4, 8))
"""A tiny SAM 2: its windows do not divide the grids of small pictures."""


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two bool masks, one of them with something in it."""
    return float((a & b).sum() / (a | b).sum())


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


class Columns:
    """Does as a fitted ``Segmenter``, without a backbone: the k-th class is the k-th column.

    Args:
        classes: all there are; as many columns of equal width does every picture have.
        labels: those that are looked for.
        batch: pictures at once; above 1, as on an accelerator, masks are written in a thread.
    """

    keep_tree = False

    def __init__(self, classes: Sequence[str], labels: Sequence[str], batch: int = 1) -> None:
        self.classes, self.labels, self.batch = classes, labels, batch

    def images_at_once(self, count: int) -> int:
        return 1

    def batch_size(self, consensus: bool) -> int:
        return self.batch

    def read(self, image: Path) -> Picture:
        return read_picture(image)

    def segment_batch(self, images: Sequence[Picture], *, consensus: bool) -> list[Result]:
        return [self.segment(image.pixels) for image in images]

    def segment(self, image: np.ndarray) -> Result:
        height, width = image.shape[:2]
        column = np.arange(width) * len(self.classes) // width
        label_map = np.zeros((height, width), np.uint8)
        for number, label in enumerate(self.labels, 1):
            label_map[:, column == self.classes.index(label)] = number
        classes = {
            label: ClassResult(label_map == number, np.float32(label_map == number), 0.9)
            for number, label in enumerate(self.labels, 1)
        }
        scores = np.float32(label_map > 0)
        return Result(label_map > 0, scores, 0.9, None, label_map, classes)


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

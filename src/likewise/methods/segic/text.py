"""Text as meta instruction (SegIC Eq. 4), encoded by a frozen CLIP text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...errors import LikewiseError

if TYPE_CHECKING:
    import torch


TASKS = ("semantic", "instance")
"""Meta instructions without a text encoder: each has a learned embedding in the decoder."""


def prompt(task: str, category: str) -> str:
    """Text for a sample of a task and a category (Algorithm 2)."""
    if task == "instance":
        return "please segment the instances."
    return f"a photo of a {category}."


def text_features(encoder: str, prompts: Sequence[str]) -> torch.Tensor:
    """m = F^t(meta): (n, T) float32 unit rows on the CPU.

    Args:
        encoder: folder or hub name of a CLIP model that transformers reads.
        prompts: n texts.

    Raises:
        LikewiseError: if transformers or the encoder is missing.
    """
    import torch

    tokenizer, model = _load(encoder)
    tokens = tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        features = model(**tokens).text_embeds
    return torch.nn.functional.normalize(features.float(), dim=1).clone()


@lru_cache(maxsize=1)
def _load(encoder: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoTokenizer, CLIPTextModelWithProjection
    except ImportError as error:
        raise LikewiseError(
            "a text encoder needs transformers: pip install transformers."
        ) from error
    try:
        model: Any = CLIPTextModelWithProjection.from_pretrained(encoder)
        return AutoTokenizer.from_pretrained(encoder), model.eval()
    except (OSError, ValueError) as error:
        raise LikewiseError(
            f"{encoder} is no CLIP text encoder that transformers can read: give its folder or "
            "hub name."
        ) from error

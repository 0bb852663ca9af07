"""Linear layers and attention of frozen backbones, as the processor does them fastest."""

from __future__ import annotations

import platform
from functools import cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from ..processor import processor_has

ENTRIES = 1 << 24
"""Weights of attention at a time: 32 MB."""


def linear(x: torch.Tensor, layer: nn.Linear, gelu: bool = False) -> torch.Tensor:
    """``layer(x)`` or its GELU, of (..., D) tokens.

    On x86 with bias and GELU in the same pass. Elsewhere the bias is written before the product and
    GELU reads and writes the result again: an eighth of the time of an encoding in bfloat16.
    """
    if at_once_on_cpu(x) and in_one_pass(x.dtype):
        weights = layer.weight, layer.bias
        kind = "gelu" if gelu else "none"
        found = torch.ops.mkldnn._linear_pointwise(x, *weights, kind, [], "none")
    else:
        found = layer(x)
        found = functional.gelu(found) if gelu else found
    return cast(torch.Tensor, found)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q·kᵀ / √d)·v of (B, heads, N, d) queries and (B, heads, M, d) keys and values.

    Torch's own attention multiplies bfloat16 well only with AMX: with AVX512-BF16, products of
    oneDNN with a softmax between them take a third of its time, in blocks of ENTRIES weights.
    """
    if not (at_once_on_cpu(q) and q.dtype == torch.bfloat16 and products_are_faster()):
        return functional.scaled_dot_product_attention(q, k, v)
    q, k = q * q.shape[-1] ** -0.5, k.transpose(-1, -2)
    rows = max(1, ENTRIES // (q.shape[0] * q.shape[1] * k.shape[-1]))
    return torch.cat([(part @ k).softmax(-1) @ v for part in q.split(rows, dim=-2)], dim=-2)


def at_once_on_cpu(x: torch.Tensor) -> bool:
    """Whether what is done with a tensor is done now, on a CPU, and not traced or compiled."""
    traced = torch._C._is_tracing() or torch.compiler.is_compiling()
    return x.device.type == "cpu" and not traced


def products_are_faster() -> bool:
    """Whether the processor has AVX512-BF16 but no AMX."""
    return "avx512_bf16" in processor_has() and "amx_bf16" not in processor_has()


@cache
def in_one_pass(dtype: torch.dtype) -> bool:
    """Whether this torch and processor have oneDNN's product with what follows it, for a dtype."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    x, weight, bias = (torch.ones(size, dtype=dtype) for size in ((1, 2, 4), (3, 4), (3,)))
    try:
        torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
    except (AttributeError, RuntimeError):  # not built in; no such numbers on this processor
        return False
    return True

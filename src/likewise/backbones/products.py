"""Linear layers of frozen backbones; on x86 with bias and GELU in the same pass as the product."""

from __future__ import annotations

import platform
from functools import cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional


def linear(x: torch.Tensor, layer: nn.Linear, gelu: bool = False) -> torch.Tensor:
    """``layer(x)`` or its GELU, of (..., D) tokens.

    Elsewhere the bias is written before the product and GELU reads and writes the result again:
    an eighth of the time of an encoding in bfloat16.
    """
    traced = torch._C._is_tracing() or torch.compiler.is_compiling()
    if x.device.type == "cpu" and not traced and in_one_pass(x.dtype):
        weights = layer.weight, layer.bias
        kind = "gelu" if gelu else "none"
        found = torch.ops.mkldnn._linear_pointwise(x, *weights, kind, [], "none")
    else:
        found = layer(x)
        found = functional.gelu(found) if gelu else found
    return cast(torch.Tensor, found)


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

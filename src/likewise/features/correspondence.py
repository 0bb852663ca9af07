"""Nearest patches across images, in blocks: memory never grows with N·N·K."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from ..processor import processor_has

if TYPE_CHECKING:
    import torch

BLOCK_ENTRIES = 1 << 24  # 64 MB of float32 similarities at a time
BLOCK_ROWS = 256
"""Rows of similarities at a time, on the CPU."""


def block_rows(columns: int, device: torch.device) -> int:
    """Rows of a product of so many columns to compute at a time; on a CPU what its cores keep near,
    BLOCK_ROWS for each thread of torch."""
    import torch

    rows = max(1, BLOCK_ENTRIES // max(1, columns))
    return min(rows, BLOCK_ROWS * torch.get_num_threads()) if device.type == "cpu" else rows


def nearest(queries: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For every query the most similar key (INSID3 Eq. 6: backward correspondences).

    Args:
        queries: (N, D) float32, unit rows.
        keys: (M, D) float32, unit rows, same device.

    Returns:
        ``(similarity, index)``: (N,) float32 cosine in -1..1 and (N,) int64 into ``keys``.
        Ties go to the lowest index on the CPU.
    """
    import torch

    rows = max(1, BLOCK_ENTRIES // len(keys))
    blocks = [(block @ keys.T).max(dim=1) for block in queries.split(rows)]
    return torch.cat([b.values for b in blocks]), torch.cat([b.indices for b in blocks])


def nearest_k(
    queries: torch.Tensor, keys: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """For every query the ``count`` most similar keys, the best first; all keys if there are fewer.

    Args:
        queries: (N, D) float32, unit rows.
        keys: (M, D) float32, unit rows, same device.
        count: k ≥ 1.

    Returns:
        ``(similarity, index)``: (N, min(k, M)) float32 cosine in -1..1 and int64 into ``keys``.
    """
    import torch

    rows = max(1, BLOCK_ENTRIES // len(keys))
    count = min(count, len(keys))
    blocks = [(block @ keys.T).topk(count, dim=1) for block in queries.split(rows)]
    return torch.cat([b.values for b in blocks]), torch.cat([b.indices for b in blocks])


def scaled_cosines(
    queries: torch.Tensor, keys: torch.Tensor, factor: float, shifts: Iterable[torch.Tensor]
) -> Iterator[torch.Tensor]:
    """``factor`` · cosine + shift of all queries and keys, ``block_rows`` queries at a time.

    Where the processor multiplies bytes well, products are of rows in 8 bits: a ninth of the time,
    and cosines are off by 0.0007 on average, less than those of features in bfloat16.

    Args:
        queries: (N, D) float32, unit rows.
        keys: (M, D) float32, rows of length 1 or less, same device.
        factor: of the cosines.
        shifts: for each block, what is added to it: a number, or (r, M) float32.

    Yields:
        (r, M) float32 of the next r queries; the caller may change it.
    """
    import torch

    rows = block_rows(len(keys), queries.device)
    if queries.device.type != "cpu" or not multiplies_bytes():
        for part, shift in zip(queries.split(rows), shifts, strict=False):
            yield torch.addmm(shift, part, keys.T, alpha=factor)
        return
    (queries, sizes), (keys, key_sizes) = in_bytes(queries), in_bytes(keys)
    key_sizes = key_sizes.T * factor
    for part, size, shift in zip(queries.split(rows), sizes.split(rows), shifts, strict=False):
        yield (torch._int_mm(part, keys.T) * key_sizes).mul_(size).add_(shift)


def in_bytes(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) int8 and (N, 1) float32 whose product is nearly (N, D) float32 rows."""
    import torch

    sizes = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 127
    return (rows / sizes).round_().to(torch.int8), sizes


@cache
def multiplies_bytes() -> bool:
    """Whether this processor (with VNNI or AMX) and this torch multiply bytes faster than float32.

    Without VNNI torch has a loop, or sums of products that can be too large for it.
    """
    import torch

    if {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(processor_has()):
        return False
    extremes = torch.tensor([[127, -127] * 32, [127] * 64], dtype=torch.int8)
    try:
        found = torch._int_mm(extremes, extremes.T)
    except (AttributeError, RuntimeError):  # this torch has it for GPUs only
        return False
    return torch.equal(found.long(), extremes.long() @ extremes.long().T)

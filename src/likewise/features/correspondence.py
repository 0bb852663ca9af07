"""Nearest patches across images, in blocks: memory never grows with N·N·K."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

"""Hiera as SAM 2 uses it for images: four stages of windowed blocks, then a small neck.

Every stage halves the grid and doubles the width. The last block is read through the neck (SAM 2's
``image_embed``), earlier blocks of the third stage as they are: all at 16 px a token. Importing
this file imports torch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from .products import attention, linear
from .spec import HieraShape


class Hiera(nn.Module):
    """The blocks up to the one that is read, the finer maps and, over all blocks, the neck.

    Parameters have the canonical names of ``hiera_layouts.py``.
    """

    def __init__(self, shape: HieraShape, depth: int) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = HieraEmbeddings(shape)
        self.layer = nn.ModuleList(HieraBlock(shape, number) for number in range(depth))
        self.fine = nn.ModuleList(
            nn.Linear(shape.width(stage), width) for stage, width in enumerate(shape.fine)
        )
        self.neck = nn.ModuleList()
        if shape.through_neck(depth):
            self.neck.extend(nn.Linear(shape.width(stage), shape.neck) for stage in (3, 2))
            self.no_memory = nn.Parameter(torch.zeros(shape.neck))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels → (B, N, D) tokens of 16 px, row by row."""
        return self._read(self._stages(pixels)).flatten(1, 2)

    def maps(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The tokens with what is finer: SAM 2's ``image_embed`` and ``high_res_feats`` 1 and 0.

        Args:
            pixels: (B, 3, H, W), normalised.

        Returns:
            (B, H/16, W/16, D), (B, H/8, W/8, 64) and (B, H/4, W/4, 32); the widths of the finer
            ones are 256 where the checkpoint holds no mask decoder.
        """
        stages = self._stages(pixels)
        return self._read(stages), self.fine[1](stages[1]), self.fine[0](stages[0])

    def first_blocks(self, count: int) -> Hiera:
        """The same weights, shared, up to an earlier block."""
        with torch.device("meta"):
            cut = Hiera(self.shape, count)
        state = self.state_dict()
        cut.load_state_dict({key: state[key] for key in cut.state_dict()}, assign=True)
        return cut.eval().requires_grad_(False)

    def _stages(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """(B, h, w, width) at the end of each stage, the last one as far as it is read."""
        x = self.embeddings(pixels)
        ends = []
        for number, block in enumerate(self.layer, 1):
            x = block(x)
            if number in self.shape.ends or number == len(self.layer):
                ends.append(x)
        return ends

    def _read(self, stages: list[torch.Tensor]) -> torch.Tensor:
        """(B, H/16, W/16, D)."""
        if not self.neck:
            return stages[2]
        coarse, x = self.neck[0](stages[3]), self.neck[1](stages[2])
        larger = coarse.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return cast(torch.Tensor, x + larger[:, : x.shape[1], : x.shape[2]] + self.no_memory)


class HieraEmbeddings(nn.Module):
    """Overlapping patches of 4 px and their positions: one for the image, one for the window."""

    def __init__(self, shape: HieraShape) -> None:
        super().__init__()
        side, window = shape.grid, shape.windows[0]
        self.patch_embeddings = nn.Conv2d(3, shape.dim, 7, 4, 3)
        self.position_embeddings = nn.Parameter(torch.zeros(1, shape.dim, side, side))
        self.window_embeddings = nn.Parameter(torch.zeros(1, shape.dim, window, window))
        self._positions: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, H/4, W/4, width)."""
        x = self.patch_embeddings(pixels)
        return (x + self._resized_positions((x.shape[2], x.shape[3]))).permute(0, 2, 3, 1)

    def _resized_positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """(1, width, h, w): the image's resized, the window's repeated; once for each size."""
        if grid not in self._positions:
            whole, window = self.position_embeddings, self.window_embeddings
            rows, columns = (
                functional.interpolate(
                    torch.eye(n, device=whole.device)[None, None], (side, n), mode="bicubic"
                )[0, 0]
                for n, side in zip(whole.shape[2:], grid, strict=True)
            )
            resized = rows @ whole.float() @ columns.T  # a tenth of the time of both at once
            counts = [-(-n // side) for n, side in zip(grid, window.shape[2:], strict=True)]
            tiled = window.tile(1, 1, *counts)[:, :, : grid[0], : grid[1]]
            self._positions[grid] = resized.to(whole.dtype) + tiled
        return self._positions[grid]


class HieraBlock(nn.Module):
    """Attention in windows, or over the whole image, then an MLP.

    The first block of a stage halves the grid on the way and still has the windows of the stage
    before.
    """

    def __init__(self, shape: HieraShape, number: int) -> None:
        super().__init__()
        stage = sum(number >= end for end in shape.ends)
        self.halves = number in shape.ends
        before = stage - self.halves
        width, dim = shape.width(before), shape.width(stage)
        self.window = 0 if number in shape.whole else shape.windows[before]
        self.norm1 = nn.LayerNorm(width, shape.eps)
        if self.halves:
            self.widen = nn.Linear(width, dim)
        self.attention = HieraAttention(width, dim, shape.heads * 2**stage, self.halves)
        self.norm2 = nn.LayerNorm(dim, shape.eps)
        self.up_proj = nn.Linear(dim, 4 * dim)
        self.down_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, h, w, width) → the same, or half of it in h and w (rounded up), twice in width."""
        half = self.up_proj.weight.dtype  # of products; x stays in float32
        y = self.norm1(x).to(half)
        if self.halves:
            x = halved(linear(y, self.widen)).float()
        if self.window:
            counts = [-(-n // self.window) for n in y.shape[1:3]]
            y = together(self.attention(apart(y, self.window)), counts)[:, : x.shape[1]]
            x = x + y[:, :, : x.shape[2]]
        else:
            x = x + self.attention(y)
        y = self.norm2(x).to(half)
        return x + linear(linear(y, self.up_proj, gelu=True), self.down_proj)


class HieraAttention(nn.Module):
    """Self-attention inside each window; queries may be halved first."""

    def __init__(self, width: int, dim: int, heads: int, halves: bool) -> None:
        super().__init__()
        self.heads, self.halves = heads, halves
        self.in_proj = nn.Linear(width, 3 * dim)
        self.o_proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, h, w, width) → (B, h, w, dim), or (B, h/2, w/2, dim)."""
        q, k, v = linear(x, self.in_proj).chunk(3, dim=-1)
        if self.halves:
            q = halved(q)
        split = [t.flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        mixed = attention(*split)
        return linear(mixed.transpose(1, 2).reshape(q.shape), self.o_proj)


def halved(x: torch.Tensor) -> torch.Tensor:
    """(B, h, w, D) → (B, h/2, w/2, D), rounded up: the largest of 2 × 2."""
    pooled = functional.max_pool2d(x.permute(0, 3, 1, 2), 2, ceil_mode=True)
    return pooled.permute(0, 2, 3, 1)


def apart(x: torch.Tensor, side: int) -> torch.Tensor:
    """(B, h, w, D) → (B · windows, side, side, D), with zeros where the last ones stick out."""
    x = functional.pad(x, (0, 0, 0, -x.shape[2] % side, 0, -x.shape[1] % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))
    return x.transpose(2, 3).flatten(0, 2)


def together(windows: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """(B · windows, side, side, D) → (B, rows · side, columns · side, D)."""
    x = windows.unflatten(0, (-1, *counts)).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)

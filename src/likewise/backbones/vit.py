"""DINOv2 and DINOv3 as one plain vision transformer.

The differences are few: DINOv2 adds learnt positions to its patches, DINOv3 turns queries and keys
by theirs (RoPE); some have register tokens, some a gated MLP. Importing this file imports torch.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from .products import attention, linear
from .spec import ModelShape


class ViT(nn.Module):
    """The blocks of a backbone up to the one that is read, with its final norm.

    Parameters have the canonical names of ``layouts.py``, with queries, keys and values packed, and
    gate and up projections too.
    """

    def __init__(self, shape: ModelShape, depth: int) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        self.layer = nn.ModuleList(Block(shape) for _ in range(depth))
        self.norm = nn.LayerNorm(shape.dim, shape.eps)
        self._turns: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) normalised pixels → (B, N, D) patch tokens, row by row."""
        patch = self.shape.patch
        grid = pixels.shape[2] // patch, pixels.shape[3] // patch
        x = self.embeddings(pixels, grid)
        turn = None if self.shape.grid else self._turn(grid, x)
        for block in self.layer:
            x = block(x, turn)
        return cast(torch.Tensor, self.norm(x[:, -grid[0] * grid[1] :]))

    def first_blocks(self, count: int) -> ViT:
        """The same weights, shared, up to an earlier block."""
        with torch.device("meta"):
            cut = ViT(self.shape, count)
        state = self.state_dict()
        cut.load_state_dict({key: state[key] for key in cut.state_dict()}, assign=True)
        return cut.eval().requires_grad_(False)

    def _turn(self, grid: tuple[int, int], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, head width) cosine and sine of every patch's angles, made once for each size."""
        key = grid, x.dtype, x.device
        if key not in self._turns:
            width = self.shape.dim // self.shape.heads
            period = self.shape.rope_theta ** torch.arange(0, 1, 4 / width, device=x.device)
            centres = [(torch.arange(n, device=x.device) + 0.5) / n * 2 - 1 for n in grid]
            places = torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1).flatten(0, 1)
            angles = (2 * math.pi * places[:, :, None] / period).flatten(1).tile(2)
            self._turns[key] = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return self._turns[key]


class Embeddings(nn.Module):
    """Class token, registers and patches, with DINOv2's positions."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embeddings = nn.Conv2d(3, shape.dim, shape.patch, shape.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        if shape.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.dim))
        if shape.grid:
            self.position_embeddings = nn.Parameter(torch.zeros(1, shape.grid**2 + 1, shape.dim))
        self._positions: dict[tuple[int, int], torch.Tensor] = {}

    def forward(self, pixels: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, 3, H, W) → (B, 1 + registers + N, D)."""
        patches = self.patch_embeddings(pixels).flatten(2).transpose(1, 2)
        if self.shape.grid:
            patches = patches + self._resized_positions(grid)
        first = [self.cls_token]  # its own position is added to it when it is loaded
        if self.shape.registers:
            first.append(self.register_tokens)
        return torch.cat([*(t.expand(len(pixels), -1, -1) for t in first), patches], dim=1)

    def _resized_positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """(1, N, D) learnt positions, resized to the grid once for each size."""
        if grid not in self._positions:
            side, stored = self.shape.grid, self.position_embeddings[:, 1:]
            if grid != (side, side):
                square = stored.reshape(1, side, side, -1).permute(0, 3, 1, 2).float()
                # As trained: only the models with registers smooth before they shrink.
                resized = functional.interpolate(
                    square, grid, mode="bicubic", antialias=self.shape.registers > 0
                )
                stored = resized.flatten(2).transpose(1, 2).to(stored.dtype).contiguous()
            self._positions[grid] = stored
        return self._positions[grid]


class Block(nn.Module):
    """Attention, then an MLP, each on normalised tokens and added with its own scale."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.dim, shape.eps)
        self.attention = Attention(shape)
        self.layer_scale1 = LayerScale(shape.dim)
        self.norm2 = nn.LayerNorm(shape.dim, shape.eps)
        self.mlp = MLP(shape)
        self.layer_scale2 = LayerScale(shape.dim)

    def forward(
        self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        """(B, T, D) → (B, T, D)."""
        half = self.attention.qkv.weight.dtype  # of products; x stays in float32
        x = self.layer_scale1(x, self.attention(self.norm1(x).to(half), turn))
        return cast(torch.Tensor, self.layer_scale2(x, self.mlp(self.norm2(x).to(half))))


class Attention(nn.Module):
    """Self-attention with all heads' queries, keys and values from one product."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim)
        self.o_proj = nn.Linear(shape.dim, shape.dim)

    def forward(
        self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor] | None
    ) -> torch.Tensor:
        """(B, T, D) → (B, T, D)."""
        batch, count, width = x.shape
        qkv = linear(x, self.qkv).view(batch, count, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if turn is not None:
            q, k = turned(q, *turn), turned(k, *turn)
        mixed = attention(q, k, v)
        return linear(mixed.transpose(1, 2).reshape(batch, count, width), self.o_proj)


def turned(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """RoPE: (B, heads, T, d) with its last N tokens, the patches, turned by (N, d) angles."""
    first, patches = x.split((x.shape[2] - len(cosine), len(cosine)), dim=2)
    a, b = patches.chunk(2, dim=-1)
    patches = patches * cosine + torch.cat([-b, a], dim=-1) * sine
    return torch.cat([first, patches.to(x.dtype)], dim=2)


class MLP(nn.Module):
    """Two layers with GELU between them or, gated, SiLU of one half times the other."""

    gate_up: nn.Linear
    up_proj: nn.Linear

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gated = shape.gated
        name = "gate_up" if shape.gated else "up_proj"
        self.add_module(name, nn.Linear(shape.dim, shape.mlp_dim * (2 if shape.gated else 1)))
        self.down_proj = nn.Linear(shape.mlp_dim, shape.dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) → (B, T, D)."""
        if self.gated:
            gate, up = linear(x, self.gate_up).chunk(2, dim=-1)
            return linear(functional.silu(gate) * up, self.down_proj)
        return linear(linear(x, self.up_proj, gelu=True), self.down_proj)


class LayerScale(nn.Module):
    """x + y · λ."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(B, T, D) tokens and what to add to them."""
        return torch.addcmul(x, y, self.lambda1)

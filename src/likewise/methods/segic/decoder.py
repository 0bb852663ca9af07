"""The mask decoder of SegIC (§3.3, Algorithm 1): from features and instructions to a mask."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ...errors import LikewiseError
from .instructions import Instructions, grid_points, positional_encoding
from .text import TASKS

INSTRUCTIONS = ("geometric", "visual", "meta", "evidence")
"""The three of the paper, and the log-odds of method ``likewise`` (called evidence in files)."""


@dataclass(frozen=True)
class DecoderShape:
    """Hyperparameters of the network; 5.0 M parameters at D = 768."""

    dim: int
    """D, feature dimension of the backbone."""
    hidden: int = 256
    """Width of queries and image embedding; a multiple of 8 and of ``heads``."""
    layers: int = 3
    heads: int = 8
    points: int = 1
    """k in Topk (Eq. 2): points of each entity."""
    text: int = 0
    """T, dimension of the text encoder; 0: a learned embedding of the task instead."""
    instructions: tuple[str, ...] = INSTRUCTIONS

    def __post_init__(self) -> None:
        if unknown := [i for i in self.instructions if i not in INSTRUCTIONS]:
            raise LikewiseError(
                f"instruction {unknown[0]!r} is unknown; use some of {', '.join(INSTRUCTIONS)}."
            )
        if self.hidden < 8 or self.hidden % 8 or self.heads < 1 or self.hidden % self.heads:
            raise LikewiseError(
                f"a decoder cannot be {self.hidden} wide with {self.heads} heads: hidden must be "
                "a multiple of 8 and of the heads."
            )
        if min(self.layers, self.points) < 1:
            raise LikewiseError("a decoder needs at least 1 layer and 1 point.")


class DecoderAttention(nn.Module):
    """Multi-head attention with residual and LayerNorm: norm(query + attention(query, memory))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        query: torch.Tensor,
        where: torch.Tensor,
        memory: torch.Tensor,
        memory_where: torch.Tensor,
        ignored: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query: (B, Q, C).
            where: (B, Q, C) positional encoding, added to the queries.
            memory: (B, M, C).
            memory_where: (B or 1, M, C) positional encoding, added to the keys but not the values.
            ignored: (B, M) bool, True for padding.

        Returns:
            (B, Q, C).
        """
        found, _ = self.attention(
            query + where,
            memory + memory_where,
            memory,
            key_padding_mask=ignored,
            need_weights=False,
        )
        return self.norm(query + found)


class Layer(nn.Module):
    """One pass of Mask_Decoder in Algorithm 1."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query_self = DecoderAttention(width, heads)
        self.image_to_query = DecoderAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )
        self.norm = nn.LayerNorm(width)
        self.query_to_image = DecoderAttention(width, heads)

    def forward(
        self,
        queries: torch.Tensor,
        places: torch.Tensor,
        ignored: torch.Tensor,
        image: torch.Tensor,
        patches: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update queries (B, Q, C) and image embedding (B, N, C).

        ``places``, ``patches``: their positional encodings; ``ignored``: (B, Q) bool, padding.
        """
        # 1. Self-attention of the queries. 2. Queries attend to the image. 3. MLP.
        # 4. The image attends to the queries.
        queries = self.query_self(queries, places, queries, places, ignored)
        queries = self.image_to_query(queries, places, image, patches)
        queries = self.norm(queries + self.mlp(queries))
        return queries, self.query_to_image(image, patches, queries, places, ignored)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        return normed


class Decoder(nn.Module):
    """D(f, c; q) of Eq. 5: one mask for each target from its features and its instructions."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.hidden
        self.image = nn.Sequential(
            nn.Conv2d(shape.dim, width, 1),
            ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            ChannelNorm(width),
        )
        self.propagated = nn.Sequential(
            nn.Conv2d(4, width // 4, 3, padding=1),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.Conv2d(width // 4, width, 3, padding=1),
        )
        self.query = nn.Parameter(torch.randn(1, width) * 0.02)
        self.point = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.visual = nn.Sequential(nn.Linear(shape.dim, width), nn.GELU(), nn.Linear(width, width))
        self.meta: nn.Module = (
            nn.Linear(shape.text, width) if shape.text else nn.Embedding(len(TASKS), width)
        )
        self.sign = nn.Embedding(2, width)
        self.layers = nn.ModuleList(Layer(width, shape.heads) for _ in range(shape.layers))
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.mask = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width // 8))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor, instructions: Instructions) -> list[torch.Tensor]:
        """Mask logits after every layer (Algorithm 1); the last is the result.

        Args:
            features: (B, N, D) float32, unit rows: f of the targets; N = h·w.
            instructions: of the same B targets, on the same grid.

        Returns:
            For each layer (B, 4h, 4w) float32 logits; above 0 is foreground.
        """
        c, shape = instructions, self.shape
        grid = (c.maps.shape[-2], c.maps.shape[-1])
        # Entries of unit rows are about 1/√D; scaled to about 1 for the initial weights.
        f = (features * shape.dim**0.5).mT.unflatten(2, grid)
        image = self.image(f) + self.propagated(self._dense(c))  # Eq. 7
        patches = positional_encoding(grid_points(grid, features.device), shape.hidden)[None]
        queries, places, ignored = self._queries(c)
        image, logits = image.flatten(2).mT, []
        for layer in self.layers:
            queries, image = layer(queries, places, ignored, image, patches)
            fine = self.upscale(image.mT.unflatten(2, grid))
            weights = self.mask(queries[:, 0])
            logits.append(torch.einsum("bchw,bc->bhw", fine, weights) + self.offset)
        return logits

    def _dense(self, c: Instructions) -> torch.Tensor:
        """(B, 4, h, w) float32 maps that are added to the image embedding.

        Mean propagated mask of positive entities, maximum of that of negative ones, 1 if there is
        a negative entity, and the log-odds.
        """
        wanted = (c.positive & c.present)[:, :, None, None]
        unwanted = (~c.positive & c.present)[:, :, None, None]
        known = unwanted.any(dim=1)
        most = c.maps.masked_fill(~unwanted, -torch.inf).amax(dim=1)
        maps = [
            (c.maps * wanted).sum(dim=1) / wanted.sum(dim=1),
            torch.where(known, most, 0.0),
            known.to(most.dtype).expand_as(most),
        ]
        used = self.shape.instructions
        maps = [m if "geometric" in used else torch.zeros_like(m) for m in maps]
        maps.append(c.log_odds if "evidence" in used else torch.zeros_like(c.log_odds))
        return torch.stack(maps, dim=1)

    def _queries(self, c: Instructions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q' = Concat(q, q^p, q^v, q^m) of Eq. 7.

        Returns:
            (B, Q, C) queries, (B, Q, C) positional encodings and (B, Q) bool, True for padding.
        """
        width, used = self.shape.hidden, self.shape.instructions
        batch, k = len(c.points), c.points.shape[2]
        sign = self.sign(c.positive.long())  # (B, E, width)
        absent = ~c.present
        tokens = [self.query.expand(batch, 1, width)]
        places = [torch.zeros_like(tokens[0])]
        ignored = [absent.new_zeros(batch, 1)]
        if "geometric" in used:
            where = positional_encoding(c.points, width)
            tokens.append((self.point(where) + sign[:, :, None]).flatten(1, 2))
            places.append(where.flatten(1, 2))
            ignored.append(absent[..., None].expand(-1, -1, k).flatten(1))
        if "visual" in used:
            tokens.append(self.visual(c.visual * self.shape.dim**0.5) + sign)
            places.append(torch.zeros_like(sign))
            ignored.append(absent)
        if "meta" in used:
            tokens.append(self.meta(c.meta)[:, None])
            places.append(torch.zeros_like(tokens[0]))
            ignored.append(absent.new_zeros(batch, 1))
        return torch.cat(tokens, 1), torch.cat(places, 1), torch.cat(ignored, 1)

"""Training pairs as tensors (features, masks, patches), and a pool of them on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....backbones.files import cache_folder
from ....errors import LikewiseError
from ....features.patch_features import mask_to_grid
from ....io.files import write_whole
from ....io.hashing import fingerprint
from ....io.prefetch import batched
from ....methods.segic.text import TASKS
from ..data.pairs import NEGATIVES, TrainingPair

if TYPE_CHECKING:
    import torch

    from ....backbones.encoder import Encoder

Draw = Callable[[int, int], TrainingPair]
"""Seed and number → pair, deterministic: ``Mixture.pair``."""
SHARD = 32
"""Pairs in each file of a pool."""
LAYOUT = 1
"""Version of those files; files of other versions are not read."""


@dataclass(frozen=True, eq=False)
class Samples:
    """B pairs of (S, S) pixels and N patches; stored with these tensors."""

    features: torch.Tensor
    """(B, 2, N, D) float16: F of reference and target, unit rows before rounding."""
    masks: torch.Tensor
    """(B, 3, ceil(S²/8)) uint8, packed bits: reference mask, target mask, valid pixels of the
    target."""
    patches: torch.Tensor
    """(B, 2 + NEGATIVES, N) bool: patches of the reference mask, the target mask and the negatives;
    all False for missing ones."""
    tasks: torch.Tensor
    """(B,) int64: index into TASKS."""
    categories: torch.Tensor
    """(B, 64) uint8: name of the class in UTF-8, padded with 0."""

    def __len__(self) -> int:
        return len(self.tasks)

    def names(self) -> list[str]:
        """Names of the B classes."""
        rows = (bytes(row.tolist()) for row in self.categories)
        return [row.rstrip(b"\0").decode("utf-8", errors="ignore") for row in rows]

    def pixels(self) -> torch.Tensor:
        """(B, 3, S, S) bool: ``masks`` unpacked, on the same device."""
        import torch

        places = torch.arange(7, -1, -1, device=self.masks.device, dtype=torch.uint8)
        bits = (self.masks[..., None] >> places & 1).bool().flatten(2)
        side = int(bits.shape[2] ** 0.5)
        return bits[..., : side * side].unflatten(2, (side, side))

    def of(self, rows: Sequence[int]) -> Samples:
        """The pairs of these rows."""
        return Samples(*(getattr(self, f.name)[list(rows)] for f in fields(self)))

    def to(self, device: torch.device) -> Samples:
        """The samples on a device."""
        moved = (getattr(self, f.name).to(device, non_blocking=True) for f in fields(self))
        return Samples(*moved)


def joined(parts: Sequence[Samples]) -> Samples:
    """Concatenation along B."""
    import torch

    return Samples(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Samples)))


def encode_pairs(encoder: Encoder, pairs: Sequence[TrainingPair]) -> Samples:
    """Encode pairs; the tensors are on the CPU.

    Raises:
        LikewiseError: if they do not fit in memory.
    """
    import torch

    images = [image for pair in pairs for image in (pair.reference, pair.target)]
    encoded = [e.features.half().cpu() for e in encoder.encode_many(images)]
    tokens = len(encoded[0])
    masks, patches, names = [], [], np.zeros((len(pairs), 64), np.uint8)
    for row, pair in enumerate(pairs):
        valid = np.ones_like(pair.target_mask) if pair.valid is None else pair.valid
        three = np.stack([pair.reference_mask, pair.target_mask, valid])
        masks.append(np.packbits(three.reshape(3, -1), axis=1))
        entities = [pair.reference_mask, pair.target_mask, *pair.negatives[:NEGATIVES]]
        covered = torch.zeros(2 + NEGATIVES, tokens, dtype=torch.bool)
        for place, mask in enumerate(entities):
            if mask.any():
                covered[place] = mask_to_grid(mask, encoder.grid)
        patches.append(covered)
        name = pair.category.encode()[: names.shape[1]]
        names[row, : len(name)] = np.frombuffer(name, np.uint8)
    return Samples(
        torch.stack(encoded).unflatten(0, (len(pairs), 2)),
        torch.from_numpy(np.stack(masks)),
        torch.stack(patches),
        torch.tensor([TASKS.index(pair.task) for pair in pairs]),
        torch.from_numpy(names),
    )


class SamplePool:
    """Pairs encoded once and cached on disk in shards; a killed process loses at most one shard.

    Args:
        encoder: of the features.
        draw: of the pairs.
        seed: of ``draw``.
        count: number of pairs.
    """

    def __init__(self, encoder: Encoder, draw: Draw, seed: int, count: int) -> None:
        self.encoder, self.draw, self.seed, self.count = encoder, draw, seed, count
        self.folder = cache_folder() / "pairs" / self._key()
        self.shards = range(-(-count // SHARD))
        self._open: dict[int, Any] = {}

    def _key(self) -> str:
        """Hash of all that the pairs depend on; 8 pairs stand for the data and the code."""
        indices = sorted({k * (self.count - 1) // 7 for k in range(8)})
        pairs = (self.draw(self.seed, index) for index in indices)
        seen = [fingerprint(pair) for pair in pairs]
        made = self.encoder.facts | {"rank": None}  # they are debiased later
        return fingerprint(LAYOUT, made, self.seed, self.count, seen)

    def fill(self, rank: int = 0, world: int = 1) -> Iterator[int]:
        """Make missing shards, of every ``world``-th from ``rank``; yields the pairs of each shard.

        Raises:
            LikewiseError: if a pair cannot be drawn or a shard cannot be written.
        """
        from safetensors.torch import save

        for shard in self.shards[rank::world]:
            numbers = range(shard * SHARD, min((shard + 1) * SHARD, self.count))
            path = self._path(shard)
            if not path.is_file():
                self._make_folder()
                parts = []
                for some in batched(numbers, 8):
                    drawn = [self.draw(self.seed, number) for number in some]
                    parts.append(encode_pairs(self.encoder, drawn))
                made = joined(parts)
                tensors = {f.name: getattr(made, f.name) for f in fields(made)}
                write_whole(path, save(tensors))
            yield len(numbers)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LikewiseError(
                f"{self.folder} cannot be made ({error.strerror}): set LIKEWISE_CACHE to a folder "
                "that you may write to."
            ) from error

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def batch(self, numbers: Sequence[int]) -> Samples:
        """The pairs of these numbers; the pool must be filled."""
        return joined([self._one(number) for number in numbers])

    def _one(self, number: int) -> Samples:
        from safetensors import SafetensorError, safe_open

        shard, row = divmod(number, SHARD)
        path = self._path(shard)
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(path, framework="pt")
            file = self._open[shard]
            return Samples(*(file.get_slice(f.name)[row : row + 1] for f in fields(Samples)))
        except (OSError, SafetensorError) as error:
            raise LikewiseError(
                f"{path} cannot be read: remove it and start again, and it is made anew."
            ) from error

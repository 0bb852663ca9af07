"""One training step (SegIC §3.4, Algorithm 2): instructions of a batch, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from ....features.debias import debias
from ....methods.segic.decoder import Decoder
from ....methods.segic.instructions import Entity, instruct
from ....methods.segic.text import TASKS, prompt, text_features
from .losses import mask_loss

if TYPE_CHECKING:
    from ....methods.segic.instructions import Instructions
    from .samples import Samples

REFERENCE, TARGET = 0, 1


@dataclass(frozen=True, eq=False)
class DecoderBatch:
    """Inputs and truth of the decoder; B targets of N patches and (S, S) pixels."""

    features: torch.Tensor
    """(B, N, D) float32, unit rows."""
    instructions: Instructions
    truth: torch.Tensor
    """(B, S, S) bool."""
    valid: torch.Tensor
    """(B, S, S) bool."""


class Mixed(nn.Module):
    """A decoder under autocast to ``dtype``; its logits are float32."""

    def __init__(self, decoder: Decoder, dtype: torch.dtype) -> None:
        super().__init__()
        self.decoder, self.dtype = decoder, dtype

    def forward(self, features: torch.Tensor, instructions: Instructions) -> list[torch.Tensor]:
        on = self.dtype != torch.float32
        with torch.autocast(features.device.type, dtype=self.dtype, enabled=on):
            return [logits.float() for logits in self.decoder(features, instructions)]


def ask(
    model: Mixed,
    samples: Samples,
    basis: torch.Tensor,
    told: torch.Tensor,
    turned: torch.Tensor,
    text: str = "",
) -> DecoderBatch:
    """The decoder's inputs for a batch, with negative entities and context reversion (§3.4).

    Context reversion: the mask predicted in the target is the example, the reference the target.

    Args:
        model: predicts the masks for context reversion.
        samples: B pairs, on the model's device.
        basis: (D, s) float32 positional basis, on the same device.
        told: (B,) bool: pairs whose negative entities are instructions.
        turned: (B,) bool: pairs with context reversion.
        text: text encoder of the meta instruction; see ``Config.text``.
    """
    features = torch.nn.functional.normalize(samples.features.float(), dim=-1)
    debiased = debias(features.flatten(0, 2), basis).view_as(features)
    known, pixels = samples.patches, samples.pixels()
    side = round(features.shape[2] ** 0.5)
    grid, points = (side, side), model.decoder.shape.points
    # No context reversion if the target does not show the class.
    turned = turned & known[:, TARGET].any(dim=1).cpu()
    meta = _meta(samples, text)

    entities = []
    for i in range(len(samples)):
        ways = [(known[i, REFERENCE], True)]
        ways += [(mask, False) for mask in known[i, 2:] if told[i] and mask.any()]
        entities.append(
            [Entity(features[i, REFERENCE], debiased[i, REFERENCE], m, good) for m, good in ways]
        )
    rows = turned.nonzero()[:, 0].tolist()
    if rows:
        asked = [entities[i] for i in rows]
        with torch.no_grad():
            first = instruct(debiased[rows, TARGET], grid, asked, meta[rows], points)
            logits = model(features[rows, TARGET], first)[-1]
        found = covered(logits, grid)
        for i, patches in zip(rows, found, strict=True):
            mask = patches if patches.any() else known[i, TARGET]
            entities[i] = [Entity(features[i, TARGET], debiased[i, TARGET], mask)]
    shown = torch.where(turned, REFERENCE, TARGET).to(features.device)
    each = torch.arange(len(samples), device=features.device)
    return DecoderBatch(
        features[each, shown],
        instruct(debiased[each, shown], grid, entities, meta, points),
        pixels[each, shown],
        # Valid pixels are known for the target; of a reference all are valid.
        pixels[:, 2] | (shown == REFERENCE)[:, None, None],
    )


def covered(logits: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, N) bool: patches of which more than half is foreground in (B, 4h, 4w) logits."""
    share = torch.nn.functional.adaptive_avg_pool2d((logits > 0).float(), grid)
    return share.flatten(1) > 0.5


def task_loss(
    model: nn.Module, task: DecoderBatch, generators: Sequence[torch.Generator], points: int
) -> torch.Tensor:
    """Mean of the mask losses of all layers (deep supervision, as in Mask2Former).

    Args:
        model: a ``Mixed``, or its DistributedDataParallel.
        task: on the model's device.
        generators: of the points of each sample, on the CPU.
        points: K.
    """
    logits: list[torch.Tensor] = model(task.features, task.instructions)
    truth, valid = task.truth.float(), task.valid.float()
    losses = [mask_loss(each, truth, valid, generators, points) for each in logits]
    return torch.stack(losses).mean()


def _meta(samples: Samples, text: str) -> torch.Tensor:
    if not text:
        return samples.tasks
    tasks = [TASKS[number] for number in samples.tasks.tolist()]
    features = [
        _text_feature(text, prompt(*about)) for about in zip(tasks, samples.names(), strict=True)
    ]
    return torch.stack(features).to(samples.tasks.device)


@lru_cache(maxsize=4096)
def _text_feature(encoder: str, words: str) -> torch.Tensor:
    return text_features(encoder, [words])[0]


def ious(logits: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> Sequence[float]:
    """IoU, 0..1, of every mask at the truth's size; 1 if prediction and truth are empty.

    Args:
        logits: (B, h, w).
        truth: (B, H, W) bool.
        valid: (B, H, W) bool.
    """
    size = truth.shape[-2:]
    fine = torch.nn.functional.interpolate(logits[:, None].float(), size=size, mode="bilinear")
    found = (fine[:, 0] > 0) & valid
    inside = (found & truth).sum(dim=(1, 2))
    either = (found | (truth & valid)).sum(dim=(1, 2))
    return torch.where(either > 0, inside / either.clamp_min(1), 1.0).tolist()

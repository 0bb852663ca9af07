"""Nearest-token label transfer: every target patch asks the reference patches most like it.

The plainest baseline (Matcher and many others start from it): no prototype, no clustering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.correspondence import nearest, nearest_k
from ..features.density import known_patches
from ..features.patch_features import PatchFeatures
from . import Abilities, MethodParams, Scores

if TYPE_CHECKING:
    import torch

    from ..features.target_cache import TargetCache
    from ..reference import ReferenceSet


@dataclass(frozen=True)
class NearestParams(MethodParams):
    """How many reference patches vote."""

    method: ClassVar[str] = "nearest"
    neighbours: int = 5
    """Votes for each target patch; 1 is plain label transfer."""

    def __post_init__(self) -> None:
        if self.neighbours < 1 or self.neighbours % 1 != 0:
            raise LikewiseError(
                f"neighbours {self.neighbours} cannot be counted; use a whole number from 1."
            )


Params = NearestParams
VIEWS: tuple[str, ...] = ()
CAN = Abilities()


@dataclass(frozen=True, eq=False)
class NearestModel:
    """The M patches of all references."""

    tokens: torch.Tensor
    """(M, D) float32, unit rows, debiased."""
    masked: torch.Tensor
    """(M,) bool: shows the concept."""
    params: NearestParams


def closeness(patches: torch.Tensor, foreground: torch.Tensor) -> float:
    """How alike the patches found are to the concept: an absolute number, unlike any vote.

    Args:
        patches: (n, D) float32, unit rows; n may be 0.
        foreground: (M, D) float32, unit rows: the concept in the references.

    Returns:
        0..1: mean cosine to the most similar foreground token; 0 when nothing was found.
    """
    if len(patches) == 0:
        return 0.0
    return float(nearest(patches, foreground)[0].mean().clamp(0, 1))


def fit(references: ReferenceSet, params: NearestParams) -> NearestModel:
    """All patches of all references, each with its label."""
    import torch

    parts = [known_patches(s.encoded, s.mask, s.negative) for s in references.shots]
    tokens, masked = (torch.cat(part) for part in zip(*parts, strict=True))
    return NearestModel(tokens, masked, params)


def score(model: NearestModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """The share of masked ones among the nearest reference patches; ``cache`` is not needed."""
    _, index = nearest_k(target.debiased, model.tokens, int(model.params.neighbours))
    votes = model.masked[index].float().mean(dim=1)
    confidence = closeness(target.debiased[votes > 0.5], model.tokens[model.masked])
    return Scores(votes, confidence)

"""k-nearest-neighbour label transfer from reference patches to target patches: a baseline.

A patch's score is the share of masked patches among its k nearest reference patches by cosine of
debiased features.
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
    """k of the nearest neighbours."""

    method: ClassVar[str] = "nearest"
    neighbours: int = 5
    """Reference patches that vote for each target patch, 1 or more."""

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
    """(M,) bool: foreground."""
    params: NearestParams


def closeness(patches: torch.Tensor, foreground: torch.Tensor) -> float:
    """Absolute confidence of methods whose scores are relative votes or ratios.

    Args:
        patches: (n, D) float32, unit rows: foreground of the target; n may be 0.
        foreground: (M, D) float32, unit rows: foreground patches of the references.

    Returns:
        0..1: mean over the patches of the cosine to the most similar foreground patch; 0 if n = 0.
    """
    if len(patches) == 0:
        return 0.0
    return float(nearest(patches, foreground)[0].mean().clamp(0, 1))


def fit(references: ReferenceSet, params: NearestParams) -> NearestModel:
    """Patches of all references with their labels."""
    import torch

    parts = [known_patches(s.encoded, s.mask, s.negative) for s in references.shots]
    tokens, masked = (torch.cat(part) for part in zip(*parts, strict=True))
    return NearestModel(tokens, masked, params)


def score(model: NearestModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """Scores of one target; ``cache`` is not used."""
    _, index = nearest_k(target.debiased, model.tokens, int(model.params.neighbours))
    votes = model.masked[index].float().mean(dim=1)
    confidence = closeness(target.debiased[votes > 0.5], model.tokens[model.masked])
    return Scores(votes, confidence)

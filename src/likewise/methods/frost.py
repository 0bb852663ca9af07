"""FROST (arXiv 2606.31136), from its description: the ratio of two densities on the unit sphere.

Foreground and background are the clouds of reference tokens; a target token belongs to the cloud
whose von-Mises–Fisher kernel density is higher. What the description leaves open is read so:

- a bandwidth h is a width on the sphere, the kernel exp(cos / h²); the scores are h² · log-ratio,
  the difference of two soft-maximum cosines, so that they mean the same at every bandwidth;
- leave-one-out keeps the bandwidth at which the reference's own labels are most probable under
  equal priors. A token is left out together with its mirror image, which would give it away;
- shrinkage 0.95 means 5 % covariance (the mean of the classes') and 95 % identity;
- of the backward vote, the share of masked ones among the 3 nearest tokens weighs what speaks for
  the foreground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import LikewiseError
from ..features.correspondence import nearest_k
from ..features.density import known_patches
from ..features.patch_features import PatchFeatures
from . import Abilities, MethodParams, Scores
from .nearest import closeness

if TYPE_CHECKING:
    import torch

    from ..features.target_cache import TargetCache
    from ..reference import ReferenceSet

BANDWIDTHS = (0.05, 0.1, 0.2, 0.5, 1.0)
_BLOCK_ENTRIES = 1 << 22  # 16 MB of float32 similarities at a time
_LEFT_OUT = 1024  # tokens of each class that are left out in turn; more would not change the choice

# Widths of the propagation's kernels, which the description does not give: 1 - cosine, RGB in 0..1
# and parts of the grid's longer side. On the development episodes a half or the double of each
# changes the mean by under 0.5, but a feature width of 0.1 by -2.2.
_FEATURE_WIDTH, _COLOUR_WIDTH, _DISTANCE_WIDTH = 0.05, 0.1, 0.16


@dataclass(frozen=True)
class FROSTParams(MethodParams):
    """Hyperparameters with the paper's defaults."""

    method: ClassVar[str] = "frost"
    bandwidth: float = 0.0
    """h of both densities; 0: leave-one-out on the references chooses from ``BANDWIDTHS``."""
    shrinkage: float = 0.95
    """Share of the identity in the covariance that whitens; 1 does not whiten."""
    neighbours: int = 3
    """Reference tokens in the backward vote."""
    iterations: int = 10
    """Steps of the propagation; 0 leaves it out."""
    weight: float = 0.7
    """0..1: what a token takes over from its neighbours in each step."""

    def __post_init__(self) -> None:
        for name, lowest, highest in (
            *(("bandwidth", 0, math.inf), ("shrinkage", 0, 1), ("weight", 0, 1)),
            *(("neighbours", 1, math.inf), ("iterations", 0, math.inf)),
        ):
            value = getattr(self, name)
            whole = name not in ("neighbours", "iterations") or value % 1 == 0
            if not (lowest <= value <= highest and math.isfinite(value) and whole):
                raise LikewiseError(f"{name} {value} cannot be used; see the defaults of frost.")


Params = FROSTParams
VIEWS: tuple[str, ...] = ("flip",)
CAN = Abilities()


@dataclass(frozen=True, eq=False)
class FROSTModel:
    """The M tokens of all references and their mirror images."""

    tokens: torch.Tensor
    """(M, D) float32, unit rows, debiased and whitened."""
    masked: torch.Tensor
    """(M,) bool: shows the concept."""
    whitening: torch.Tensor
    """(D, D) float32, symmetric: debiased features times it, normalised, are whitened."""
    bandwidth: float
    foreground: torch.Tensor
    """(F, D) float32: the masked tokens before whitening, for the confidence."""
    params: FROSTParams


@dataclass(frozen=True, eq=False)
class FROSTTrace:
    """Every intermediate of one run. N patches."""

    ratio: torch.Tensor
    """(N,) float32 in -2..2: h² · log-density ratio."""
    votes: torch.Tensor
    """(N,) float32 in 0..1: share of masked ones among the nearest tokens."""
    propagated: torch.Tensor
    """(N,) float32 in -2..2: after vote and propagation."""


def whitening(tokens: torch.Tensor, masked: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """What varies inside foreground and background counts less for telling them apart.

    Args:
        tokens: (M, D) float32.
        masked: (M,) bool.
        shrinkage: 0..1.

    Returns:
        (D, D) float32: the inverse square root of the shrunk within-class covariance, scaled to
        variance 1 on average.
    """
    import torch

    scatters = []
    for part in (masked, ~masked):
        if part.any():
            centred = (tokens[part] - tokens[part].mean(dim=0)).cpu().double()
            scatters.append(centred.T @ centred / len(centred))
    covariance = torch.stack(scatters).mean(dim=0)
    covariance /= covariance.diagonal().mean().clamp(min=1e-12)
    identity = torch.eye(len(covariance), dtype=torch.float64)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance + shrinkage * identity)
    root = vectors * values.clamp(min=1e-6).rsqrt() @ vectors.T
    return root.float().to(tokens.device)


def log_density(similarity: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Log of the mean von-Mises–Fisher kernel exp(cos / h²), its normalisation left out.

    Args:
        similarity: (N, M) cosines to the M tokens of a class; -inf leaves a token out.
        bandwidth: h.

    Returns:
        (N,); -inf where no token is left. A class without tokens is taken to lie at cosine 0.
    """
    if similarity.shape[1] == 0:
        return similarity.new_zeros(len(similarity))
    count = (similarity > -math.inf).sum(dim=1).clamp(min=1)
    return (similarity / bandwidth**2).logsumexp(dim=1) - count.log()


def log_ratio(similarity: torch.Tensor, masked: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """(N,) log of foreground over background density, from (N, M) cosines and (M,) bool."""
    background = log_density(similarity[:, ~masked], bandwidth)
    return log_density(similarity[:, masked], bandwidth) - background


def choose_bandwidth(tokens: torch.Tensor, masked: torch.Tensor, source: torch.Tensor) -> float:
    """The bandwidth under which the references' own labels are most probable, leave-one-out.

    Args:
        tokens: (M, D) float32, unit rows.
        masked: (M,) bool.
        source: (M,) int64: tokens with the same number are views of one another, left out together.

    Returns:
        One of ``BANDWIDTHS``.
    """
    import torch

    fits = [0.0] * len(BANDWIDTHS)
    for part, sign in ((masked, 1), (~masked, -1)):
        if not part.any():
            continue
        rows = part.nonzero().flatten()
        rows = rows[:: math.ceil(len(rows) / _LEFT_OUT)]
        for some in rows.split(_block(len(tokens))):
            similarity = tokens[some] @ tokens.T
            similarity[source[some, None] == source[None]] = -torch.inf
            for i, bandwidth in enumerate(BANDWIDTHS):
                # The only token of its class has a ratio of -inf, at every bandwidth alike.
                right = (sign * log_ratio(similarity, masked, bandwidth)).clamp(-1e4, 1e4)
                probable = torch.nn.functional.logsigmoid(right)
                fits[i] += float(probable.sum()) / len(rows)
    return BANDWIDTHS[max(range(len(fits)), key=fits.__getitem__)]


def propagate(
    target: PatchFeatures, values: torch.Tensor, iterations: int, weight: float
) -> torch.Tensor:
    """Bilateral propagation: neighbours alike in feature, colour and place agree on their values.

    Args:
        target: its ``features``, ``colour`` (not used if None) and ``grid``.
        values: (N,) float32.
        iterations: steps.
        weight: share of the neighbours' mean in each step; the rest is the value given.

    Returns:
        (N,) float32 within the range of ``values``.
    """
    import torch

    h, w = target.grid
    cells = torch.arange(h * w, device=values.device)
    places = torch.stack([cells // w, cells % w], dim=1) / max(h, w)
    logits = (target.features @ target.features.T - 1) / _FEATURE_WIDTH
    logits -= torch.cdist(places, places).square_() / (2 * _DISTANCE_WIDTH**2)
    if target.colour is not None:
        logits -= torch.cdist(target.colour, target.colour).square_() / (2 * _COLOUR_WIDTH**2)
    affinity = logits.softmax(dim=1)
    spread = values
    for _ in range(iterations):
        spread = weight * (affinity @ spread) + (1 - weight) * values
    return spread


def fit(references: ReferenceSet, params: FROSTParams) -> FROSTModel:
    """Both clouds, whitened, and their bandwidth; every reference counts twice, once mirrored."""
    import torch

    parts, sources, first = [], [], 0
    for shot in references.shots:
        h, w = shot.encoded.grid
        cells = torch.arange(first, first + h * w, device=shot.mask.device).reshape(h, w)
        first += h * w
        seen = [(shot.encoded, shot.mask, cells)]
        if "flip" in shot.views:
            seen.append((*shot.views["flip"], cells.flip(1)))
        for encoded, mask, origin in seen:
            parts.append(known_patches(encoded, mask, shot.negative))
            sources.append(origin.flatten()[mask] if shot.negative else origin.flatten())
    plain, masked = (torch.cat(part) for part in zip(*parts, strict=True))
    root = whitening(plain, masked, params.shrinkage)
    tokens = torch.nn.functional.normalize(plain @ root, dim=1)
    bandwidth = params.bandwidth or choose_bandwidth(tokens, masked, torch.cat(sources))
    return FROSTModel(tokens, masked, root, bandwidth, plain[masked], params)


def score(model: FROSTModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """0.5 + h² · log-ratio / 4, after vote and propagation; ``cache`` is not needed.

    The confidence is ``closeness``: a ratio says nothing of a target where neither class is seen.
    """
    import torch

    params, h = model.params, model.bandwidth
    queries = torch.nn.functional.normalize(target.debiased @ model.whitening, dim=1)
    blocks = queries.split(_block(len(model.tokens)))
    ratios = [log_ratio(block @ model.tokens.T, model.masked, h) for block in blocks]
    ratio = torch.cat(ratios) * h**2
    _, index = nearest_k(queries, model.tokens, int(params.neighbours))
    votes = model.masked[index].float().mean(dim=1)
    voted = torch.where(ratio > 0, ratio * votes, ratio)
    propagated = propagate(target, voted, int(params.iterations), params.weight)
    patches = (0.5 + propagated / 4).clamp(0, 1)
    confidence = closeness(target.debiased[patches > 0.5], model.foreground)
    return Scores(patches, confidence, FROSTTrace(ratio, votes, propagated))


def _block(tokens: int) -> int:
    """Rows to compare with that many tokens at a time."""
    return max(1, _BLOCK_ENTRIES // tokens)

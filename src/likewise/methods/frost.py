"""FROST (arXiv 2606.31136), implemented from the paper: the ratio of two densities on the sphere.

A target token is foreground if the von-Mises–Fisher kernel density of the foreground tokens of the
references is higher there than that of the background tokens.

1. Whitening by the within-class covariance of the reference tokens.
2. Density ratio, with a bandwidth chosen by leave-one-out on the references.
3. Backward vote: positive ratios are multiplied by the share of masked tokens among the nearest.
4. Bilateral propagation over tokens of similar feature, colour and position.

Where the paper is not explicit: the kernel of bandwidth h is exp(cos / h²) and the score is
h² · log-ratio, a difference of two soft maxima of cosines, so that its scale does not depend on h.
Leave-one-out takes the h of highest likelihood of the references' labels under equal priors; a
token is left out together with its mirror image, which is nearly equal to it. Shrinkage 0.95 means
5 % covariance (mean of both classes) and 95 % identity.
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
_LEFT_OUT = 1024  # tokens of each class that are left out in turn; more do not change the choice

# Widths of the propagation's kernels, which the paper does not give: in 1 - cosine, in RGB of 0..1
# and in shares of the grid's longer side. On the development episodes half or twice a width changes
# the mean mIoU by less than 0.5, except a feature width of 0.1: -2.2.
_FEATURE_WIDTH, _COLOUR_WIDTH, _DISTANCE_WIDTH = 0.05, 0.1, 0.16


@dataclass(frozen=True)
class FROSTParams(MethodParams):
    """Hyperparameters with the paper's defaults."""

    method: ClassVar[str] = "frost"
    bandwidth: float = 0.0
    """h of both densities; 0: chosen from ``BANDWIDTHS`` by leave-one-out on the references."""
    shrinkage: float = 0.95
    """Share, 0..1, of the identity in the covariance; 1: no whitening."""
    neighbours: int = 3
    """Nearest reference tokens in the backward vote."""
    iterations: int = 10
    """Steps of the propagation; 0: none."""
    weight: float = 0.7
    """Share, 0..1, of the neighbours' mean in each step of the propagation."""

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
    """(M,) bool: foreground."""
    whitening: torch.Tensor
    """(D, D) float32, symmetric: whitened = normalise(debiased @ whitening)."""
    bandwidth: float
    """h, above 0."""
    foreground: torch.Tensor
    """(F, D) float32, unit rows: foreground tokens before whitening, for the confidence."""
    params: FROSTParams


@dataclass(frozen=True, eq=False)
class FROSTTrace:
    """Intermediate results of one target of N patches."""

    ratio: torch.Tensor
    """(N,) float32 in -2..2: h² · log of the density ratio (step 2)."""
    votes: torch.Tensor
    """(N,) float32 in 0..1: share of foreground among the nearest tokens (step 3)."""
    propagated: torch.Tensor
    """(N,) float32 in -2..2: ratio after vote and propagation (step 4)."""


def whitening(tokens: torch.Tensor, masked: torch.Tensor, shrinkage: float) -> torch.Tensor:
    """Inverse square root of the within-class covariance: equalises the variance inside classes.

    Args:
        tokens: (M, D) float32.
        masked: (M,) bool.
        shrinkage: 0..1.

    Returns:
        (D, D) float32, symmetric. The covariance is scaled to mean variance 1 before shrinkage.
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
    """Log of the mean of the von-Mises–Fisher kernel exp(cos / h²), without its constant.

    Args:
        similarity: (N, M) cosines to the M tokens of a class; -inf leaves a token out.
        bandwidth: h.

    Returns:
        (N,) float32 nats; -inf where no token is left. 0 for a class without tokens (M = 0).
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
    """The bandwidth of highest leave-one-out likelihood of the references' labels.

    Args:
        tokens: (M, D) float32, unit rows.
        masked: (M,) bool.
        source: (M,) int64: a token and its mirror image have the same number.

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
                # The only token of its class has a ratio of -inf at every bandwidth.
                right = (sign * log_ratio(similarity, masked, bandwidth)).clamp(-1e4, 1e4)
                probable = torch.nn.functional.logsigmoid(right)
                fits[i] += float(probable.sum()) / len(rows)
    return BANDWIDTHS[max(range(len(fits)), key=fits.__getitem__)]


def propagate(
    target: PatchFeatures, values: torch.Tensor, iterations: int, weight: float
) -> torch.Tensor:
    """Bilateral propagation: x ← weight · A x + (1 - weight) · values, x = values at first.

    A is row-normalised: softmax over tokens of minus the scaled distances in feature, colour (if
    known) and position.

    Args:
        target: its features, colour and grid.
        values: (N,) float32.
        iterations: number of steps.
        weight: 0..1.

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
    """Whitened tokens of all references and their mirror images, and the bandwidth."""
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
    """Scores of one target: 0.5 + ratio / 4 after vote and propagation; ``cache`` is not used.

    The confidence is ``closeness``: the ratio is no measure of presence, since it may be high where
    both densities are low.
    """
    import torch

    params, h = model.params, model.bandwidth
    # 1. Whitening.
    queries = torch.nn.functional.normalize(target.debiased @ model.whitening, dim=1)
    # 2. Density ratio.
    blocks = queries.split(_block(len(model.tokens)))
    ratios = [log_ratio(block @ model.tokens.T, model.masked, h) for block in blocks]
    ratio = torch.cat(ratios) * h**2
    # 3. Backward vote.
    _, index = nearest_k(queries, model.tokens, int(params.neighbours))
    votes = model.masked[index].float().mean(dim=1)
    voted = torch.where(ratio > 0, ratio * votes, ratio)
    # 4. Propagation.
    propagated = propagate(target, voted, int(params.iterations), params.weight)
    patches = (0.5 + propagated / 4).clamp(0, 1)
    confidence = closeness(target.debiased[patches > 0.5], model.foreground)
    return Scores(patches, confidence, FROSTTrace(ratio, votes, propagated))


def _block(tokens: int) -> int:
    """Number of rows whose cosines to so many tokens fit in one block."""
    return max(1, _BLOCK_ENTRIES // tokens)

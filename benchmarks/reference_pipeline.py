"""INSID3 line by line, as its description says the released code runs: the baseline for speed.

Nothing is kept from one target to the next: the reference is encoded again for each, clustering is
scikit-learn's on a full distance matrix, and clusters are judged one after the other in Python.
Its masks are those of `method="insid3"`.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import AgglomerativeClustering
from torch.nn.functional import interpolate, normalize

from likewise.backbones.encoder import Encoder
from likewise.features.patch_features import mask_to_grid


def segment(
    encoder: Encoder, reference: np.ndarray, mask: np.ndarray, target: np.ndarray, tau: float
) -> np.ndarray:
    """(H, W) bool mask of one (H, W, 3) uint8 target."""
    tokens = encoder.tokens(encoder.preprocess([reference, target]))
    return after_encoder(encoder, tokens, mask, target.shape[:2], tau)


def after_encoder(
    encoder: Encoder, tokens: torch.Tensor, mask: np.ndarray, size: tuple[int, int], tau: float
) -> np.ndarray:
    """From the (2, N, D) tokens of reference and target to the (H, W) bool mask."""
    features = normalize(tokens, dim=-1)
    basis = encoder.basis
    debiased = normalize(features - (features @ basis) @ basis.T, dim=-1)
    masked = mask_to_grid(mask, encoder.grid).to(features.device)
    prototype = normalize(debiased[0][masked].mean(0), dim=0)

    similarity = debiased[1] @ prototype
    forward = similarity > 0
    if not forward.any():
        forward[similarity.topk(max(1, len(similarity) // 10)).indices] = True
    across = debiased[1] @ debiased[0].T
    candidates = forward & masked[across.argmax(dim=1)]
    if not candidates.any():
        return np.zeros(size, bool)

    labels = cluster(features[1], tau).to(features.device)
    seed, best = -1, -2.0
    for k in range(int(labels.max()) + 1):
        if (candidates & (labels == k)).any():
            closeness = float(normalize(debiased[1][labels == k].mean(0), dim=0) @ prototype)
            if closeness > best:
                seed, best = k, closeness
    seed_prototype = normalize(features[1][labels == seed].mean(0), dim=0)
    kept = torch.zeros_like(candidates)
    for k in range(int(labels.max()) + 1):
        member = labels == k
        cross = similarity[member].mean()
        intra = normalize(features[1][member].mean(0), dim=0) @ seed_prototype
        area = 1.0 if k == seed else candidates[member].float().mean()
        if k == seed or cross * intra * area > 0.2:
            kept |= member
    patches = kept.float().reshape(1, 1, *encoder.grid)
    fine = (interpolate(patches, encoder.input_size, mode="bilinear") > 0.5).float()
    return (interpolate(fine, size, mode="bilinear")[0, 0] > 0.5).cpu().numpy()


def cluster(features: torch.Tensor, tau: float) -> torch.Tensor:
    """(N,) int64 labels: scikit-learn's average linkage on the distances 1 - cosine."""
    distance = (1 - features @ features.T).clamp(min=0).cpu().numpy()
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - tau
    )
    return torch.from_numpy(model.fit_predict(distance))

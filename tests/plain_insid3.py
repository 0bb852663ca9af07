"""INSID3 once more in plain NumPy: in float64, in no hurry, and without likewise."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

Arrays = dict[str, Any]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def tokens(features: np.ndarray) -> np.ndarray:
    return unit(features.astype(np.float64).reshape(len(features), -1).T)


def axis_weights(n: int, m: int) -> np.ndarray:
    """(m, n) matrix of bilinear resizing from n to m samples, aligned at areas."""
    matrix = np.zeros((m, n))
    for i in range(m):
        x = max((i + 0.5) * n / m - 0.5, 0)
        low = int(x)
        matrix[i, low] += 1 - (x - low)
        matrix[i, min(low + 1, n - 1)] += x - low
    return matrix


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    h, w = values.shape
    return axis_weights(h, size[0]) @ values.astype(float) @ axis_weights(w, size[1]).T


def on_grid(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    (H, W), (h, w) = mask.shape, grid
    patches = bilinear(mask, grid) > 0.5
    if not patches.any():
        patches = mask[np.arange(h)[:, None] * H // h, np.arange(w) * W // w].copy()
    if not patches.any():
        y, x = (int(i.mean()) for i in np.nonzero(mask))
        patches[y * h // H, x * w // W] = True
    return patches.ravel()


def projector(zero: np.ndarray, rank: int) -> np.ndarray:
    F = tokens(zero)
    V = np.linalg.svd(F - F.mean(axis=0))[2][:rank]
    return V.T @ V


def insid3(case: Arrays, P: np.ndarray) -> Arrays:
    """The outputs of a case that holds its inputs; P is the projector on the positions."""
    _, tau, alpha, side = case["params"]
    _, h, w = case["tgt_features"].shape
    N, K = h * w, len(case["ref_features"])
    out_size = tuple(case["out_size"])
    F = tokens(case["tgt_features"])
    T = unit(F - F @ P)
    R = [unit(tokens(f) - tokens(f) @ P) for f in case["ref_features"]]
    G = [on_grid(mask, case["ref_features"].shape[2:]) for mask in case["ref_masks"]]
    prototype = unit(np.mean([r[g].mean(axis=0) for r, g in zip(R, G, strict=True)], axis=0))
    similarity = T @ prototype
    forward = similarity > 0
    if not forward.any():
        forward[np.argsort(-similarity)[: max(1, int(N * 0.1))]] = True
    votes = sum(g[(T @ r.T).argmax(axis=1)].astype(int) for r, g in zip(R, G, strict=True))
    candidates = forward & (votes >= np.ceil(K / 2))
    out = {
        "prototype": prototype.astype(np.float32),
        "candidates": candidates.reshape(h, w),
        "labels": np.full((h, w), -1, np.int16),
        "seed": np.int64(-1),
        "grid_mask": np.zeros((h, w), bool),
        "mask": np.packbits(np.zeros(out_size, bool)),
    }
    if not candidates.any():
        return out

    distances = squareform(np.maximum(1 - F @ F.T, 0), checks=False)
    labels = fcluster(linkage(distances, "average"), 1 - tau, "distance") - 1
    ids = range(labels.max() + 1)
    closeness = [
        unit(T[labels == k].mean(axis=0)) @ prototype if candidates[labels == k].any() else -2
        for k in ids
    ]
    seed = int(np.argmax(closeness))
    original = [unit(F[labels == k].mean(axis=0)) for k in ids]
    keep = np.zeros(N, bool)
    for k in ids:
        inside = labels == k
        area = 1 if k == seed else candidates[inside].mean()
        score = similarity[inside].mean() * (original[seed] @ original[k]) * area
        keep[inside] = k == seed or score > alpha
    input_size = (int(side), int(side)) if h == w else case["ref_masks"].shape[1:]
    large = bilinear(keep.reshape(h, w), input_size) > 0.5
    return out | {
        "labels": labels.reshape(h, w).astype(np.int16),
        "seed": np.int64(seed),
        "grid_mask": keep.reshape(h, w),
        "mask": np.packbits(bilinear(large, out_size) > 0.5),
    }


def matched(case: Arrays, P: np.ndarray) -> np.ndarray:
    """Where the keypoints of a case are in its target; P = 0 for the original features."""
    R, T = (unit(tokens(case[k]) @ (np.eye(len(P)) - P)) for k in ("ref_features", "tgt_features"))
    (_, h, w), (_, th, tw) = case["ref_features"].shape, case["tgt_features"].shape
    (H, W), (TH, TW) = case["ref_size"], case["tgt_size"]
    found = []
    for x, y in case["keypoints"].astype(float):
        column, row = min(round(x * w / W), w - 1), min(round(y * h / H), h - 1)
        similarity = (T @ R[row * w + column]).reshape(th, tw)
        best = np.unravel_index(similarity.argmax(), similarity.shape)
        rows, columns = np.mgrid[:th, :tw]
        window = np.exp(-((rows - best[0]) ** 2 + (columns - best[1]) ** 2) / (2 * 7.0**2))
        weights = np.exp(similarity * window / 0.04)
        weights /= weights.sum()
        found.append(((weights * columns).sum() * TW / tw, (weights * rows).sum() * TH / th))
    return np.array(found, np.float32)

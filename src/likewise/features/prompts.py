"""Log-odds of every patch from what a person points at: a posterior mean given a few points.

The log-odds z of the patches of one image are taken as a Gaussian process. Its mean m is what is
known before: the log-odds of the references, of a box, or a constant where nothing is known. Its
covariance K says which patches change together, a weighted sum of

- a graph of neighbouring patches, joined by exp((cos - 1) / GRAPH_SCALE): (L + GRAPH_SELF·I)⁻¹, L
  its Laplacian, which spreads a point up to the borders of what it is in;
- cosine similarity, exp((cos - 1) / TEMPERATURE): all that looks alike, near or far;
- both similarity and distance, and a narrow term of distance alone.

A point says that z, interpolated bilinearly to its pixel, has its sign by MARGIN nats: z = m + K·a,
with the least a that satisfies this. What is found so says what the thing and the rest look like: m
learns from their densities (``contrast``), and the points are solved again, a few times. A point
whose side is clear already has a = 0: it moves nothing.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from .patch_features import PatchFeatures

Floats = npt.NDArray[np.float64]

MARGIN = 8.0
"""Nats that a point has on its side at least, as far as others do not speak against it."""
NOTHING = -4.0
"""Nats of every patch where nothing is known: half of MARGIN, on the side of the background."""
TRUST = 0.6
"""Share of the log-odds of the references that clicks have to overcome."""
GRAPH_SCALE, GRAPH_SELF = 0.1, 3e-4
TEMPERATURE = 0.6
RADIUS, NARROW = 0.2, 1.2
"""Widths of the distances: in sides of the grid, and in patches."""
WEIGHTS = (0.5, 0.2, 0.3, 0.1)
"""Of graph, similarity, both and distance in K."""
NOISE = 0.01
"""Variance of what a point says: lets points that contradict each other nearly agree."""
CHANGES = 8
"""Most changes of the set of points that pull."""
ROUNDS, LEARN, CONTRAST = 3, 2.0, 6.0
"""Rounds of learning from what was found; the share of its contrast that is added; most nats."""
DENSITY_TEMPERATURE, MOST_COMPARED = 0.1, 2304
"""Of the kernel densities; and how many patches they are made of."""
MOST_COLUMNS = 1024
"""Columns of K that are kept."""


class PromptSolver:
    """Posterior log-odds of the patches of one image; what depends on it alone is made once.

    Args:
        target: its N patches.
    """

    def __init__(self, target: PatchFeatures) -> None:
        self.target = target
        self.features = target.features.float().cpu().numpy()
        h, w = target.grid
        place = np.arange(h * w)
        self.y, self.x = place // w, place % w
        self._columns: dict[int, Floats] = {}
        self._graph = factor(self.features, target.grid)
        # Every second patch, say, where there are many.
        self._some = slice(None, None, -(-len(self.features) // MOST_COMPARED))
        cosines = self.features @ self.features[self._some].T
        cosines -= 1
        cosines /= DENSITY_TEMPERATURE
        self._kernel = np.exp(cosines, out=cosines)
        self._all = self._kernel.sum(axis=1)

    def solve(self, mean: Floats, points: Floats) -> Floats:
        """The log-odds given points.

        Args:
            mean: (N,) nats before.
            points: (n, 3) x, y in pixels of the image (the middle of the first is 0.5) and a sign,
                above 0: the thing.

        Returns:
            (N,) nats; ``mean`` itself without points.
        """
        if len(points) == 0:
            return mean
        sign = np.where(points[:, 2] > 0, 1.0, -1.0)
        where = [self.corners(x, y) for x, y in points[:, :2]]
        columns = self.columns({i for corners in where for i, _ in corners})
        K = np.stack([sum(w * columns[i] for i, w in c) for c in where], axis=1)
        at = np.zeros((len(points), len(mean)))
        for row, corners in zip(at, where, strict=True):
            for i, weight in corners:
                row[i] += weight
        a = pulls(at @ mean, at @ K, sign, MARGIN)
        nats = mean + K @ a
        if a.any():
            for _ in range(ROUNDS):
                learnt = mean + LEARN * self.contrast(nats)
                nats = learnt + K @ pulls(at @ learnt, at @ K, sign, MARGIN)
        return np.asarray(nats)

    def contrast(self, nats: Floats) -> Floats:
        """How much more like the thing than like the rest each patch is, if ``nats`` are right.

        As the default method, and GrabCut with colours: the log of a ratio of kernel densities,
        half of the log of their sizes between them.

        Args:
            nats: (N,) log-odds, which weigh every patch as the thing and as the rest.

        Returns:
            (N,) nats within ±CONTRAST.
        """
        share = 1 / (1 + np.exp(-nats[self._some].clip(-30, 30)))
        thing = self._kernel @ share.astype(np.float32)
        rest = (self._all - thing).clip(0)  # half of the time of a second product
        ratio = np.log(thing + 1e-30) - np.log(rest + 1e-30)
        sizes = np.log1p(share.sum()) - np.log1p((1 - share).sum())
        return (ratio - 0.5 * sizes).clip(-CONTRAST, CONTRAST).astype(np.float64)

    def corners(self, x: float, y: float) -> list[tuple[int, float]]:
        """Up to four patches around a pixel, with the weights of bilinear interpolation."""
        h, w = self.target.grid
        row = min(max(y * h / self.target.size[0] - 0.5, 0), h - 1)
        column = min(max(x * w / self.target.size[1] - 0.5, 0), w - 1)
        top, left = min(int(row), max(h - 2, 0)), min(int(column), max(w - 2, 0))
        down, right = row - top, column - left
        found = [
            (top * w + left, (1 - down) * (1 - right)),
            (top * w + left + 1, (1 - down) * right),
            ((top + 1) * w + left, down * (1 - right)),
            ((top + 1) * w + left + 1, down * right),
        ]
        return [(i, weight) for i, weight in found if weight > 1e-6]

    def columns(self, wanted: Set[int]) -> dict[int, Floats]:
        """(N,) covariance of all patches with each of some; at most MOST_COLUMNS are kept."""
        known, new = self._columns, sorted(wanted - self._columns.keys())
        if new:
            alike = np.exp((self.features @ self.features[new].T - 1) / TEMPERATURE)
            d2 = (self.y[:, None] - self.y[new]) ** 2.0 + (self.x[:, None] - self.x[new]) ** 2.0
            ones = np.zeros((len(d2), len(new)))
            ones[new, np.arange(len(new))] = 1
            spread = self._graph.solve(ones)
            parts = (
                spread / spread[new, np.arange(len(new))],
                alike.astype(np.float64),
                alike * np.exp(-d2 / (2 * RADIUS**2 * len(d2))),
                np.exp(-d2 / (2 * NARROW**2)),
            )
            K = sum(w * p for w, p in zip(WEIGHTS, parts, strict=True))
            known |= dict(zip(new, np.ascontiguousarray(np.transpose(K)), strict=True))
            if len(known) > MOST_COLUMNS:
                self._columns = {}
        return known

    def box(self, box: tuple[float, float, float, float], known: Floats | None) -> Floats:
        """Mean of the process for a box: the background outside; inside what differs from it.

        Args:
            box: left, top, right, bottom in pixels of the image.
            known: (N,) nats that are known before, or None.

        Returns:
            (N,) nats.
        """
        (h, w), (H, W) = self.target.grid, self.target.size
        left, top, right, bottom = box
        # A patch that the box covers by a part belongs to it: a small box has one at least.
        inside = (
            ((self.x + 1) * W / w > left)
            & (self.x * W / w < right)
            & ((self.y + 1) * H / h > top)
            & (self.y * H / h < bottom)
        )
        if known is not None and (known[inside] > 0).any():
            return np.where(inside, known, np.minimum(known, -MARGIN))
        nats = np.where(inside, 0.0, -MARGIN)
        for _ in range(ROUNDS):
            nats = np.where(inside, LEARN * self.contrast(nats), -MARGIN)
        if not (nats > 0).any():  # it looks like all around: then it is the whole box
            nats = np.where(inside, -NOTHING, -MARGIN)
        return nats


def pulls(before: Floats, among: Floats, sign: Floats, margin: float) -> Floats:
    """How much each of n points pulls, so that all have their sign by a margin.

    Those that have it by a quarter of the margin already do not pull, nor those that would pull to
    the other side.

    Args:
        before: (n,) values at the points without any pull.
        among: (n, n) covariances of the points.
        sign: (n,) 1 or -1.
        margin: above 0.

    Returns:
        (n,): the values become ``before + among @ pulls``.
    """
    among = (among + among.T) / 2 + NOISE * np.eye(len(sign))
    active, a = sign * before < margin / 4, np.zeros(len(sign))
    for _ in range(CHANGES):
        a[:] = 0
        wanted = (sign * margin - before)[active]
        a[active] = np.linalg.solve(among[np.ix_(active, active)], wanted)
        short = sign * (before + among @ a) < margin / 4
        changed = np.where(active, a * sign > 0, short)
        if (changed == active).all():
            break
        active = changed
    return a


@dataclass(frozen=True, eq=False)
class Factor:
    """Factors of L + GRAPH_SELF·I of the graph of neighbouring patches."""

    lu: object

    def solve(self, values: Floats) -> Floats:
        """(N, m) of (N, m)."""
        return np.asarray(self.lu.solve(values))  # type: ignore[attr-defined]


def factor(features: npt.NDArray[np.float32], grid: tuple[int, int]) -> Factor:
    """The graph in which each patch has its eight neighbours.

    Args:
        features: (N, D) unit rows.
        grid: (h, w).
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    h, w = grid
    n = np.arange(h * w).reshape(h, w)
    pairs = (
        (n[:, :-1], n[:, 1:], 1.0),
        (n[:-1], n[1:], 1.0),
        (n[:-1, :-1], n[1:, 1:], 0.5**0.5),
        (n[:-1, 1:], n[1:, :-1], 0.5**0.5),
    )
    rows, columns, weights = [], [], []
    for one, other, closeness in pairs:
        i, j = one.ravel(), other.ravel()
        alike = np.exp(((features[i] * features[j]).sum(axis=1) - 1) / GRAPH_SCALE) * closeness
        rows += [i, j]
        columns += [j, i]
        weights += [alike, alike]
    ij = np.concatenate(rows), np.concatenate(columns)
    W = sparse.csc_matrix((np.concatenate(weights).astype(np.float64), ij), shape=(h * w, h * w))
    degree = np.asarray(W.sum(axis=1)).ravel() + GRAPH_SELF
    return Factor(splu((sparse.diags(degree) - W).tocsc(), permc_spec="MMD_AT_PLUS_A"))


def mean_of(scores: torch.Tensor | None, grid: tuple[int, int], nats: float) -> Floats | None:
    """Mean of the process from the scores of a method.

    Args:
        scores: (N,) in 0..1, or of a finer grid; 0.5 is the threshold. None: nothing is known.
        grid: (h, w), h·w = N.
        nats: that stand between the scores 0.5 and 1.

    Returns:
        (N,) nats, or None. Where nothing was found all is as far below 0 as where nothing is known.
    """
    import torch

    if scores is None:
        return None
    values = scores.float().cpu()
    if values.ndim == 2:
        values = torch.nn.functional.adaptive_avg_pool2d(values[None], grid)[0].flatten()
    mean = 2 * nats * TRUST * (values.double().numpy() - 0.5)
    return np.asarray(mean if (mean > 0).any() else mean + NOTHING)

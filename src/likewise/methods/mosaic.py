"""The default method on an image that is read in tiles: one decision for the whole image.

Steps 1 and 2 of ``likewise.py`` look at one tile at a time; their nats are blended on the grid of
the whole image. Seed, threshold and presence are found once, of all tiles together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..features.target_cache import TargetCache
from . import Scores
from .likewise import (
    SEED_TEMPERATURE,
    LikewiseModel,
    Trace,
    compared,
    has_both,
    judged,
    likeness,
    spread,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from ..features.patch_features import PatchFeatures
    from ..features.tiles import Mosaic


@dataclass
class TiledScores:
    """What the tiles of one image say of every class.

    Args:
        models: label → model, of the default method.
        mosaic: with one kind of evidence a class.
    """

    models: Mapping[str, LikewiseModel]
    mosaic: Mosaic
    _coverage: dict[str, torch.Tensor] = field(default_factory=dict)

    def add(
        self,
        tile: tuple[int, int],
        encoded: PatchFeatures,
        shown: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Compare one tile with the references; ``shown`` as in ``Mosaic.add``."""
        import torch

        cache, evidence = TargetCache(encoded, len(self.models)), []
        for label, model in self.models.items():
            smoothed = cache.affinities.smooth(compared(model, cache), model.params.affinity)
            evidence.append(smoothed)
            coverage = cache.match(model.pool, model.params.temperature).coverage
            known = self._coverage.get(label)
            self._coverage[label] = coverage if known is None else torch.maximum(known, coverage)
        self.mosaic.add(tile, encoded.features, evidence, shown)

    def decide(self, debias: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, Scores]:
        """Label → scores; ``patches`` is (h, w) of the plan's grid, and 0 where nothing was seen.

        Args:
            debias: (N, D) float32 features → debiased, of the encoder.
        """
        return {
            label: self._decide(label, model, kind, debias)
            for kind, (label, model) in enumerate(self.models.items())
        }

    def _decide(self, label: str, model: LikewiseModel, kind: int, debias: Any) -> Scores:
        import torch

        seen = torch.from_numpy(self.mosaic.seen)
        smoothed = torch.from_numpy(self.mosaic.evidence(kind))
        if not seen.any():
            return Scores(torch.zeros(seen.shape), 0.0)
        if not has_both(model):
            smoothed = smoothed - smoothed[seen].mean()
        nats = torch.where(seen, smoothed, float("-inf")).flatten()
        share = (nats / SEED_TEMPERATURE).softmax(dim=0).reshape(seen.shape)
        seed = sum(share[band].flatten() @ rows for band, rows in self.mosaic.rows())
        cosines = torch.cat([rows @ seed for _, rows in self.mosaic.rows()]).reshape(seen.shape)
        decided = smoothed.clone()
        decided[seen] += model.params.seed * spread(cosines[seen])

        above = seen & (decided > model.params.threshold)
        best = above if above.any() else seen
        total = torch.zeros(0)
        for band, rows in self.mosaic.rows():
            found = debias(rows[best[band].flatten()].to(model.weights.device)).sum(dim=0).cpu()
            total = found if not len(total) else total + found
        mean = (total / best.sum()).to(model.weights.device)
        similarity = likeness(model, mean, self._coverage[label])
        scores = judged(model.params, Trace(smoothed, smoothed, decided, similarity))
        patches = torch.where(seen, scores.patches, 0.0)
        return Scores(patches, scores.confidence, scores.trace)

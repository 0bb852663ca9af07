"""What a caller gets back for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .methods.insid3 import INSID3Trace


@dataclass(frozen=True, eq=False)
class Result:
    """The segmentation of one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 on the patch grid, before upsampling; above 0.5 is foreground."""
    trace: INSID3Trace
    """Candidates, clusters, seed and cluster scores, for people who want to look inside."""

    @property
    def area(self) -> float:
        """Share of the image that is foreground, 0..1; 0 means that nothing was found."""
        return float(self.mask.mean())

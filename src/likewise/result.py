"""What a caller gets back for one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Result:
    """The segmentation of one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 on the patch grid, before upsampling; above 0.5 is foreground."""
    confidence: float
    """0..1: how sure the method is that the target shows the concept at all."""
    trace: Any = None
    """What the method saw (for INSID3 candidates, clusters, seed, scores), to look inside."""

    @property
    def area(self) -> float:
        """Share of the image that is foreground, 0..1; 0 means that nothing was found."""
        return float(self.mask.mean())

"""What a caller gets back for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .features.clustering import MergeTree
    from .instances import Instance


@dataclass(frozen=True, eq=False)
class ClassResult:
    """What was found of one class in one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size, with its parts; no pixel is in two other classes."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 before the classes compete: on the patch grid, finer of ``segic``."""
    confidence: float
    """0..1: how sure the method is that the target shows the class at all."""
    trace: Any = None
    """What the method saw, to look inside."""
    disputed: bool = False
    """Whether the consensus of a batch found something else, and was not followed."""


@dataclass(frozen=True, eq=False)
class Result:
    """The segmentation of one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size: any of the classes."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 on the patch grid, before upsampling; above 0.5 is foreground.

    With several classes each patch has the score of its best class."""
    confidence: float
    """0..1: how sure the method is that the target shows the concept (the surest class) at all."""
    trace: Any
    """What the method saw (for INSID3 candidates, clusters, seed, scores), of the surest class."""
    label_map: np.ndarray
    """(H, W) uint8 (uint16 for more than 255 classes): 0 unknown, k the k-th of ``labels``;
    a part lies over its whole."""
    classes: Mapping[str, ClassResult]
    """Label → what was found of it, in the order of ``labels``."""
    tree: MergeTree | None = None
    """The clustering of the image's patches, where the segmenter was told to keep it."""
    glimpse: np.ndarray | None = None
    """(h, w, 3) uint8 RGB, the image at most 320 pixels a side: what notebooks draw on."""

    def within(self, valid: np.ndarray | None) -> Result:
        """The same without pixels that are not valid.

        Args:
            valid: (H, W) bool as in ``images.Picture``; None if all are.
        """
        if valid is None:
            return self
        classes = {k: replace(c, mask=c.mask & valid) for k, c in self.classes.items()}
        label_map = np.where(valid, self.label_map, self.label_map.dtype.type(0))
        return replace(self, mask=label_map > 0, label_map=label_map, classes=classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes looked for, in the order in which the references name them."""
        return tuple(self.classes)

    def instances(self, label: str | None = None) -> list[Instance]:
        """The objects of one class, or of all in order; see ``instances.find_objects``.

        Raises:
            LikewiseError: if nobody looked for the label.
        """
        from .errors import LikewiseError
        from .instances import find_objects

        if label is not None and label not in self.classes:
            raise LikewiseError(
                f"the class {label!r} was not looked for; use one of {', '.join(self.labels)}."
            )
        return [
            instance
            for number, (name, c) in enumerate(self.classes.items(), 1)
            if label in (None, name)
            for instance in find_objects(c.mask, c.scores, c.confidence, number, name)
        ]

    @property
    def present(self) -> bool:
        """Whether the target shows any of it."""
        return bool(self.mask.any())

    @property
    def area(self) -> float:
        """Share of the image that is foreground, 0..1; 0 means that nothing was found."""
        return float(self.mask.mean())

    def to_supervision(self, *, min_area: int = 1) -> Any:
        """As ``supervision.Detections``, one for every object; see ``integrations.supervision``.

        Raises:
            LikewiseError: if supervision is not installed.
        """
        from .integrations.supervision import to_detections

        return to_detections(self, min_area=min_area)

    def _repr_png_(self) -> bytes:
        from .integrations.notebook import to_png

        return to_png(self)

    def _repr_html_(self) -> str:
        from .integrations.notebook import to_html

        return to_html(self)

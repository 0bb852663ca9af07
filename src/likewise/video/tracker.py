"""Segment frame after frame: scores of the method, mixed with labels of earlier frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..decision import make_result
from ..errors import LikewiseError
from ..features.patch_features import PatchFeatures
from ..features.target_cache import TargetCache
from ..methods import get_method
from .label_propagation import carry, neighbourhood
from .memory import Known, Memory, Numbers, extend_segmenter

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from ..result import Result
    from ..segmenter import Segmenter

LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Params:
    """What can be tuned."""

    weight: float = 0.4
    """0..1, of labels propagated from other frames; the method's scores have the rest."""
    hard: float = 0.2
    """Scores of a method with a binary result become 0.5 ± this, in 0..0.5."""
    recent: int = 5
    """Last frames that labels are propagated from, besides the annotated ones."""
    radius: float = 0.2
    """Search radius of correspondences, as a share of the picture's sides."""
    neighbours: int = 5
    """Most similar patches of other frames whose labels each patch averages."""
    temperature: float = 0.1
    """Of the softmax over cosines that weights these patches."""
    diverse: int = 3
    """Confident frames, the least similar ones, that become references of the method."""
    every: int = 5
    """Interval, in frames, at which one may become a reference; the method is fitted again."""
    agreement: float = 0.6
    """Minimum IoU of the method's mask and the propagated one in a confident frame."""
    confidence: float = 0.5
    """Minimum confidence of the method in a confident frame."""
    pure: float = 0.95
    """Minimum share of one label in a patch that ``likewise`` takes as a reference."""

    def __post_init__(self) -> None:
        for name in ("weight", "agreement", "confidence", "pure"):
            if not 0 <= getattr(self, name) <= 1:
                raise LikewiseError(f"{name} {getattr(self, name)} is no share; use 0 to 1.")
        if not 0 <= self.hard <= 0.5:
            raise LikewiseError(f"hard {self.hard} is no distance from 0.5; use 0 to 0.5.")
        for name in ("radius", "temperature"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise LikewiseError(f"{name} {getattr(self, name)} must be a number above 0.")
        for name, minimum in (("recent", 0), ("neighbours", 1), ("diverse", 0)):
            if getattr(self, name) < minimum:
                raise LikewiseError(f"{name} {getattr(self, name)} must be {minimum} or more.")
        if self.every < 1:
            raise LikewiseError(f"every {self.every} must be 1 or more.")


def default_params(method: str) -> Params:
    """The best known for a method; a decoder is trained on one reference and gets no more."""
    return Params(weight=0.5, diverse=0) if get_method(method).CAN.decoder else Params()


class Tracker:
    """Goes through frames that follow each other, away from an annotated one.

    Args:
        segmenter: fitted to the annotated frames; its labels are the objects.
        annotated: the same frames.
        params: what can be tuned.
        memory: false looks at every frame alone, as ``Segmenter.segment`` does.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        annotated: Sequence[Known],
        params: Params = Params(),
        memory: bool = True,
    ) -> None:
        self.segmenter, self.params, self.on = segmenter, params, memory
        self._annotated = annotated
        encoder = segmenter.encoder
        reach = max(1, round(params.radius * max(encoder.grid)))
        self._window = neighbourhood(encoder.grid, reach, encoder.device)
        self.begin()

    def begin(self) -> None:
        """Forget everything but the annotated frames."""
        p = self.params
        self._memory = Memory(self._annotated, p.recent, p.diverse)
        self._extended_with: tuple[int, ...] = ()
        self._extended = self.segmenter

    def restore(self, numbers: Numbers, know: Callable[[int], Known]) -> None:
        """Go on from what ``remembered`` said."""
        self.begin()
        self._memory.restore(numbers, know)

    def remembered(self) -> dict[str, list[int]]:
        """The frames that the next step hangs on."""
        return self._memory.numbers()

    def step(
        self, number: int, pixels: npt.NDArray[np.uint8], encoded: PatchFeatures, at: int
    ) -> Result:
        """Segment the next frame; the scores of the result are mixed ones, too.

        Args:
            number: of the frame in the clip.
            pixels: (H, W, 3) uint8 RGB.
            encoded: the same, encoded.
            at: how many steps were made since ``begin``.
        """
        if not self.on:
            return self.segmenter.segment_encoded(pixels, encoded)
        import torch

        p, memory = self.params, self._memory
        self._learn()
        cache = TargetCache(encoded, len(self._extended.models))
        found = self._extended.score_encoded(encoded, cache)
        own = torch.stack([scores.on(encoded.grid) for scores in found.values()])
        carried = carry(
            *(encoded, memory.annotated, memory.recent, self._window),
            *(p.neighbours, p.temperature),
        ).unflatten(1, encoded.grid)
        if own.shape != carried.shape:
            carried = torch.nn.functional.interpolate(
                carried[None], size=own.shape[1:], mode="bilinear"
            )[0]
        if ((own == 0) | (own == 1)).all():
            own = 0.5 + (own - 0.5) * 2 * p.hard
        mixed = (1 - p.weight) * own + p.weight * carried
        # What the method says is not there at all is not: labels are carried from anything.
        gone = ~(own > 0.5).flatten(1).any(dim=1)
        scores = torch.where(gone[:, None, None], own, mixed)
        found = {
            name: replace(f, patches=s) for (name, f), s in zip(found.items(), scores, strict=True)
        }
        size, refiner = self.segmenter.encoder.input_size, self.segmenter.refiner
        result = make_result(pixels, found, cache, size, refiner)
        confidences = [f.confidence for f in found.values()]
        sure = (at + 1) % p.every == 0 and self._is_sure(own, carried, confidences)
        labels = shares(result.label_map, len(found), encoded)
        memory.add(Known(number, encoded, labels), sure)
        return result

    def _is_sure(
        self, own: torch.Tensor, carried: torch.Tensor, confidences: Sequence[float]
    ) -> bool:
        """Whether both ways found about the same of every object that either found."""
        import torch

        there = [(a > 0.5, b > 0.5) for a, b in zip(own, carried, strict=True)]
        seen = [k for k, (a, b) in enumerate(there) if a.any() or b.any()]
        overlaps = [(a & b).sum() / (a | b).sum() for a, b in (there[k] for k in seen)]
        return (
            bool(seen)
            and all(confidences[k] >= self.params.confidence for k in seen)
            and bool(torch.stack(overlaps).min() >= self.params.agreement)
        )

    def _learn(self) -> None:
        """Fit the method to the confident frames too, if they changed."""
        frames = self._memory.diverse
        numbers = tuple(frame.number for frame in frames)
        if numbers != self._extended_with:
            self._extended_with = numbers
            names = self.segmenter.fitted().labels
            found = [(f.encoded, dict(zip(names, f.labels, strict=True))) for f in frames]
            self._extended = extend_segmenter(self.segmenter, found, self.params.pure)


def shares(label_map: LabelMap, count: int, encoded: PatchFeatures) -> torch.Tensor:
    """(K, N) float32 in 0..1: how much of every patch is of the k-th of K objects.

    Args:
        label_map: (H, W).
        count: K.
        encoded: gives the grid and the device.
    """
    import torch

    device = encoded.features.device
    pixels = torch.from_numpy(np.ascontiguousarray(label_map)).to(device)
    masks = torch.stack([pixels == k for k in range(1, count + 1)]).float()
    return torch.nn.functional.interpolate(masks[None], size=encoded.grid, mode="area")[0].flatten(
        1
    )

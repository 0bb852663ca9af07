"""Memory of a clip: annotated frames, the last frames, and a few reliable, dissimilar frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..methods import get_method
from ..reference import EncodedReference, ReferenceSet

if TYPE_CHECKING:
    import torch

    from ..features.patch_features import PatchFeatures
    from ..segmenter import Segmenter

Numbers = Mapping[str, Sequence[int]]
"""Kind, ``recent`` or ``diverse`` → frame numbers; enough to rebuild a memory."""


@dataclass(frozen=True, eq=False)
class Known:
    """One frame with the labels of its patches, annotated or predicted."""

    number: int
    """Of the frame, from 0."""
    encoded: PatchFeatures
    labels: torch.Tensor
    """(K, N) float32 in 0..1: share of each patch that the k-th object covers."""

    def descriptor(self) -> torch.Tensor:
        """(D,) float32, unit length: mean of the objects' debiased features, to compare frames."""
        import torch

        weight = self.labels.sum(dim=0)
        return torch.nn.functional.normalize(weight @ self.encoded.debiased, dim=0)


class Memory:
    """Frames that later frames are segmented from; its size does not depend on the clip's length.

    Args:
        annotated: frames that stay.
        recent: number of last frames to hold.
        diverse: number of reliable frames to hold, those least similar to each other and to the
            annotated ones.
    """

    def __init__(self, annotated: Sequence[Known], recent: int, diverse: int) -> None:
        self.annotated = list(annotated)
        self.recent: list[Known] = []
        self.diverse: list[Known] = []
        self._sizes = recent, diverse

    def add(self, frame: Known, sure: bool) -> None:
        """Add the next frame; ``sure``: reliable enough for ``diverse``."""
        recent, diverse = self._sizes
        self.recent = [*self.recent, frame][-recent:] if recent else []
        if sure:
            self.diverse = self._farthest([*self.diverse, frame], diverse)

    def numbers(self) -> dict[str, list[int]]:
        """The numbers of the recent and diverse frames."""
        kinds = {"recent": self.recent, "diverse": self.diverse}
        return {kind: [frame.number for frame in frames] for kind, frames in kinds.items()}

    def restore(self, numbers: Numbers, know: Callable[[int], Known]) -> None:
        """Rebuild the memory from ``numbers()``; ``know`` makes the frame of a number."""
        frames = {
            number: know(number) for number in sorted({n for k in numbers.values() for n in k})
        }
        self.recent, self.diverse = (
            [frames[number] for number in numbers[kind]] for kind in ("recent", "diverse")
        )

    def _farthest(self, frames: list[Known], count: int) -> list[Known]:
        """At most ``count``; the frame most similar to another or an annotated one is removed."""
        import torch

        if len(frames) <= count:
            return frames
        looks = torch.stack([f.descriptor() for f in (*frames, *self.annotated)]).cpu()
        alike = looks[: len(frames)] @ looks.T
        alike[torch.arange(len(frames)), torch.arange(len(frames))] = -1
        # Of the two most similar frames the later one is removed.
        worst = int(torch.argmax(alike.amax(dim=1) + 1e-6 * torch.arange(len(frames))))
        return [f for k, f in enumerate(frames) if k != worst][-count:] if count else []


def extend_segmenter(
    segmenter: Segmenter,
    frames: Sequence[tuple[PatchFeatures, Mapping[str, torch.Tensor]]],
    pure: float,
) -> Segmenter:
    """A copy of a segmenter, fitted to its references and to further images with predicted labels.

    A method with ``extend`` gets the patches that are covered almost fully or hardly at all; for
    other methods every image becomes a reference.

    Args:
        segmenter: fitted; it is not changed.
        frames: for each image its features and label → (N,) float32 in 0..1, share of each patch
            that the label covers.
        pure: 0.5..1; patches with a share of ``pure`` or more, or 1 - ``pure`` or less, are used.

    Raises:
        LikewiseError: if there is no reference yet.
    """
    method, references = get_method(segmenter.method), segmenter.fitted()
    extend = getattr(method, "extend", None)
    if extend is None:
        shots = [
            EncodedReference(encoded, share > 0.5, label=label)
            for encoded, shares in frames
            for label, share in shares.items()
            if bool((share > 0.5).any())
        ]
        every = ReferenceSet((*references.shots, *shots), references.ranges)
        return copy.copy(segmenter).fit_encoded(every)
    other = copy.copy(segmenter)
    other.models = {}
    for label, model in segmenter.models.items():
        more = []
        for encoded, shares in frames:
            share = shares[label]
            known = (share >= pure) | (share <= 1 - pure)
            more.append((encoded.debiased[known], share[known] > 0.5))
        other.models[label] = extend(model, more)
    return other

"""What is remembered of a clip: annotated frames, the last ones, and a few that were sure."""

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
"""Which frames are remembered as what: all that it takes to build a memory again."""


@dataclass(frozen=True, eq=False)
class Known:
    """One frame whose objects are known, or believed to be."""

    number: int
    encoded: PatchFeatures
    labels: torch.Tensor
    """(K, N) float32 in 0..1: the share of every patch that is of the k-th object."""

    def descriptor(self) -> torch.Tensor:
        """(D,) unit: the mean of the objects' features, to tell frames apart by their looks."""
        import torch

        weight = self.labels.sum(dim=0)
        return torch.nn.functional.normalize(weight @ self.encoded.debiased, dim=0)


class Memory:
    """Bounded, whatever the length of the clip.

    Args:
        annotated: kept for good.
        recent: how many of the last frames are kept, sure or not.
        diverse: how many sure frames that look least like each other and like the annotated.
    """

    def __init__(self, annotated: Sequence[Known], recent: int, diverse: int) -> None:
        self.annotated = list(annotated)
        self.recent: list[Known] = []
        self.diverse: list[Known] = []
        self._sizes = recent, diverse

    def add(self, frame: Known, sure: bool) -> None:
        """The next frame of the pass."""
        recent, diverse = self._sizes
        self.recent = [*self.recent, frame][-recent:] if recent else []
        if sure:
            self.diverse = self._farthest([*self.diverse, frame], diverse)

    def numbers(self) -> dict[str, list[int]]:
        """See ``Numbers``."""
        kinds = {"recent": self.recent, "diverse": self.diverse}
        return {kind: [frame.number for frame in frames] for kind, frames in kinds.items()}

    def restore(self, numbers: Numbers, know: Callable[[int], Known]) -> None:
        """As it was when ``numbers`` was said; ``know`` makes a frame again."""
        frames = {
            number: know(number) for number in sorted({n for k in numbers.values() for n in k})
        }
        self.recent, self.diverse = (
            [frames[number] for number in numbers[kind]] for kind in ("recent", "diverse")
        )

    def _farthest(self, frames: list[Known], count: int) -> list[Known]:
        """At most so many: the one that is most like another, or like an annotated one, goes."""
        import torch

        if len(frames) <= count:
            return frames
        looks = torch.stack([f.descriptor() for f in (*frames, *self.annotated)]).cpu()
        alike = looks[: len(frames)] @ looks.T
        alike[torch.arange(len(frames)), torch.arange(len(frames))] = -1
        # Of two that are most like each other the later one goes.
        worst = int(torch.argmax(alike.amax(dim=1) + 1e-6 * torch.arange(len(frames))))
        return [f for k, f in enumerate(frames) if k != worst][-count:] if count else []


def extend_segmenter(
    segmenter: Segmenter,
    frames: Sequence[tuple[PatchFeatures, Mapping[str, torch.Tensor]]],
    pure: float,
) -> Segmenter:
    """A copy of a segmenter that also knows what was found in further images.

    A method that can ``extend`` its models takes the patches that are of one kind; for others
    every image becomes a reference.

    Args:
        segmenter: fitted; it stays as it is.
        frames: each an image and label → (N,) float32 in 0..1, the share of every patch that
            shows it.
        pure: 0.5..1, the share from which a patch is of one kind.

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

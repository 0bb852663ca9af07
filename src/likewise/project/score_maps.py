"""What a mask was made of: kept beside it, so that sliders need no backbone.

Of each image a small file holds the scores of every class on the patch grid and the clustering of
the patches. The page (web/ui/static/layers.js) and this file do the same arithmetic on them, in the
same order in float64, so that what is seen is what is written; a test holds the two together.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..class_names import wholes_of
from ..io.images import Picture
from ..methods.likewise import SCORE_RANGE

if TYPE_CHECKING:
    from ..features.clustering import MergeTree
    from ..result import Result
    from ..run.outcomes import Segmented

NATS = 2 * SCORE_RANGE
"""Scores of 0 to 1 are so many nats of ``likewise``: the unit of the threshold."""


@dataclass(frozen=True)
class Sliders:
    """What a person can move without segmenting again; 0 leaves masks as they were."""

    threshold: float = 0.0
    """Further nats that a patch needs; above 0 gives smaller masks."""
    granularity: float = 0.0
    """Cosine distance, 0..2, below which patches are merged and share their mean score."""


NEUTRAL = Sliders()


@dataclass(frozen=True, eq=False)
class Layers:
    """Of one image with C classes on a grid of N = h·w patches."""

    labels: tuple[str, ...]
    """Of the C classes, as they were called then."""
    scores: npt.NDArray[np.float32]
    """(C, h, w); above 0.5 is foreground. Of a class that is absent: lower by what its confidence
    lacks to ½, so that the threshold must go down the further, the surer it is absent."""
    confidences: tuple[float, ...]
    """C numbers, 0..1."""
    pairs: npt.NDArray[np.uint32]
    """(N-1, 2) of the merge tree: the two that are merged, patches first, then merges in order."""
    distances: npt.NDArray[np.float32]
    """(N-1,) at which they are, rising."""
    wholes: tuple[int, ...]
    """C numbers, from 0: the class that each is a part of, or -1; see ``class_names.wholes_of``."""
    size: tuple[int, int]
    """(H, W) pixels of the image."""
    input_size: tuple[int, int]
    """(H', W') of the encoder's input."""

    @classmethod
    def of(cls, result: Result, input_size: tuple[int, int]) -> Layers:
        """What to keep of a result that has its tree."""
        assert result.tree is not None
        classes = result.classes.values()
        scores = [
            pooled(c.scores, len(result.tree.merges) + 1)
            - np.float32(0 if (c.scores > 0.5).any() else max(0.0, 0.5 - c.confidence))
            for c in classes
        ]
        size = result.label_map.shape
        return cls(
            result.labels,
            np.stack(scores),
            tuple(c.confidence for c in classes),
            *tree_arrays(result.tree),
            tuple(-1 if k is None else k for k in wholes_of(result.labels)),
            (size[0], size[1]),
            input_size,
        )

    def encode(self, drawn: Sliders) -> bytes:
        """A ``.npz`` file.

        Args:
            drawn: the sliders that the mask beside it is written with.
        """
        file = io.BytesIO()
        np.savez_compressed(
            file,
            labels=np.array(self.labels),
            scores=self.scores,
            confidences=np.array(self.confidences),
            pairs=self.pairs,
            distances=self.distances,
            wholes=np.array(self.wholes, np.int32),
            sizes=np.array([self.size, self.input_size]),
            drawn=np.array([drawn.threshold, drawn.granularity]),
        )
        return file.getvalue()

    def blob(self) -> bytes:
        """For the page: 6 uint32 (C, h, w, H, W, merges), then float32 scores, confidences and
        distances, then uint32 pairs, then int32 wholes; little-endian."""
        tree = self.pairs, self.distances
        return blob(self.scores, self.confidences, *tree, self.wholes, self.size)

    def moved(self, sliders: Sliders) -> npt.NDArray[np.float32]:
        """(C, h, w) scores as the sliders say; above 0.5 is foreground."""
        flat = self.scores.reshape(len(self.scores), -1).astype(np.float64)
        made = int(np.searchsorted(self.distances, np.float32(sliders.granularity)))
        if made:
            labels = clusters(self.pairs[:made], flat.shape[1])
            count = np.maximum(np.bincount(labels), 1)
            flat = np.stack([(np.bincount(labels, row) / count)[labels] for row in flat])
        return (flat - sliders.threshold / NATS).astype(np.float32).reshape(self.scores.shape)

    def shown(self, sliders: Sliders, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """(H, W) what the page draws at any size: 0 nothing, k the k-th class; see layers.js."""
        shown, scores = np.zeros(size, np.uint8), self.moved(sliders)
        # Of the classes that are parts of the same: which is where, and with which score.
        owner: dict[int, npt.NDArray[np.uint8]] = {}
        best: dict[int, npt.NDArray[np.float64]] = {}
        for k in sorted(range(len(scores)), key=lambda k: (self._depth(k), -self.confidences[k])):
            whole, values = self.wholes[k], upsample(scores[k], size)
            owner.setdefault(whole, np.zeros(size, np.uint8))
            won = values > best.setdefault(whole, np.full(size, 0.5))
            if whole >= 0:
                won &= owner[self.wholes[whole]] == whole + 1
            owner[whole][won], best[whole][won] = k + 1, values[won]
        for mine in owner.values():  # parts after their wholes
            shown[mine > 0] = mine[mine > 0]
        return shown

    def _depth(self, k: int) -> int:
        """How many wholes a class is inside of."""
        return 0 if self.wholes[k] < 0 else 1 + self._depth(self.wholes[k])

    def result(
        self,
        sliders: Sliders,
        refiner: str,
        image: Picture | npt.NDArray[np.uint8] | None = None,
    ) -> Result:
        """What the segmenter would have said with these sliders.

        Args:
            sliders: neutral ones give the segmenter's own masks, to the pixel.
            refiner: as for the segmenter.
            image: (H, W, 3) RGB, which only refiners other than ``none`` look at; of a Picture,
                pixels that are not valid are in no mask.
        """
        import torch

        from ..refine import compete_inside, refine
        from ..result import ClassResult, Result

        if image is None:
            image = np.broadcast_to(np.uint8(0), (*self.size, 3))
        picture = image if isinstance(image, Picture) else Picture(image)
        scores = self.moved(sliders)
        tensors = [torch.from_numpy(s) for s in scores]
        masks = [refine(s, picture.pixels, self.input_size, refiner) for s in tensors]
        wholes = [None if k < 0 else k for k in self.wholes]
        label_map, masks = compete_inside(masks, tensors, self.confidences, wholes, self.input_size)
        classes = {
            label: ClassResult(mask, s, confidence)
            for label, mask, s, confidence in zip(
                self.labels, masks, scores, self.confidences, strict=True
            )
        }
        confidence = max(self.confidences)
        found = Result(label_map > 0, scores.max(axis=0), confidence, None, label_map, classes)
        return found.within(picture.valid)


DAMAGE = (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a file that is missing or damaged can raise."""


def read_drawn(path: Path) -> Sliders | None:
    """The sliders that the mask beside layers was written with; None if they are unreadable."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Sliders(*file["drawn"].tolist())
    except DAMAGE:
        return None


@dataclass(frozen=True)
class Keeper:
    """Keeps the layers of each image, and moves its masks as the sliders say."""

    masks: Path
    """Folder of the masks …"""
    folder: Path
    """… and of their layers, which lie in it as their masks in theirs."""
    sliders: Sliders
    refiner: str
    input_size: tuple[int, int]
    """(H', W') of the encoder's input."""

    def __call__(self, done: Segmented) -> tuple[Result, tuple[Path, bytes]]:
        """The result as it is to be written, and the file of its layers."""
        layers, result = Layers.of(done.result, self.input_size), done.result
        if self.sliders != NEUTRAL:
            result = layers.result(self.sliders, self.refiner, done.picture)
        path = layers_path(done.job.mask, self.masks, self.folder)
        return result, (path, layers.encode(self.sliders))


def layers_path(mask: Path, masks: Path, folder: Path) -> Path:
    """Where in ``folder`` the layers of a mask in the folder ``masks`` are."""
    return (folder / mask.relative_to(masks)).with_suffix(".npz")


def read_layers(path: Path) -> tuple[Layers, Sliders] | None:
    """Layers, and what ``read_drawn`` says; None if unreadable.

    What is missing or damaged can be made again.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            height, width = file["scores"].shape[1:]
            layers = Layers(
                tuple(file["labels"].tolist()),
                file["scores"],
                tuple(file["confidences"].tolist()),
                file["pairs"],
                file["distances"],
                tuple(file["wholes"].tolist()),
                *(tuple(size) for size in file["sizes"].tolist()),
            )
            whole = len(layers.pairs) == len(layers.distances) == height * width - 1
            return (layers, Sliders(*file["drawn"].tolist())) if whole else None
    except DAMAGE:
        return None


def pooled(scores: npt.NDArray[np.float32], patches: int) -> npt.NDArray[np.float32]:
    """(h, w) scores of so many patches from (f·h, f·w), the means; of f = 1 as they are."""
    f = math.isqrt(scores.size // patches)
    h, w = scores.shape[0] // f, scores.shape[1] // f
    means: npt.NDArray[np.float32] = scores.reshape(h, f, w, f).mean(axis=(1, 3))
    return means


def tree_arrays(tree: MergeTree) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """``pairs`` and ``distances`` of a merge tree."""
    return tree.merges[:, :2].astype(np.uint32), tree.merges[:, 2].astype(np.float32)


def blob(
    scores: npt.NDArray[np.float32],
    confidences: Sequence[float],
    pairs: npt.NDArray[np.uint32],
    distances: npt.NDArray[np.float32],
    wholes: Sequence[int],
    size: tuple[int, int],
) -> bytes:
    """See ``Layers.blob``; a picture that was only clustered has (0, h, w) scores."""
    parts: list[tuple[str, Any]] = [
        ("<u4", [*scores.shape, *size, len(pairs)]),
        *(("<f4", values) for values in (scores, confidences, distances)),
        ("<u4", pairs),
        ("<i4", wholes),
    ]
    return b"".join(np.ascontiguousarray(values, kind).tobytes() for kind, values in parts)


def clusters(pairs: npt.NDArray[np.uint32], n: int) -> npt.NDArray[np.int64]:
    """(n,) the cluster of every patch, after the first merges: the number of its last merge."""
    top = np.arange(n + len(pairs))
    for k in range(len(pairs) - 1, -1, -1):
        top[pairs[k]] = top[n + k]
    return top[:n]


def upsample(values: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(h, w) → (H, W) bilinear, aligned at pixel areas; along the rows first."""
    (y, below, v), (x, right, u) = (_between(n, m) for n, m in zip(values.shape, size, strict=True))
    rows = values.astype(np.float64)
    rows = rows[:, x] + (rows[:, right] - rows[:, x]) * u
    return np.asarray(rows[y] + (rows[below] - rows[y]) * v[:, None])


def _between(n: int, m: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """For each of m places: the one of n before it, the next, and how far it is on the way."""
    place = np.maximum((np.arange(m) + 0.5) * n / m - 0.5, 0.0)
    before = place.astype(np.int64)
    return before, np.minimum(before + 1, n - 1), place - before

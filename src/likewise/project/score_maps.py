"""Score maps of each image, stored beside its mask, so that sliders move it without the backbone.

One ``.npz`` file an image, in the folder ``layers/`` of the project, has the scores of every class
on the patch grid and the merge tree of the patches (none if the image was read in tiles). The page
(web/ui/static/layers.js) and this file do the same arithmetic on them, in the same order in
float64, so that the masks shown are those written; a test compares the two.
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
from ..features.density import SCORE_RANGE
from ..features.tiles import Plan
from ..io.images import Picture

if TYPE_CHECKING:
    from ..features.clustering import MergeTree
    from ..result import Result
    from ..run.outcomes import SegmentedJob

NATS = 2 * SCORE_RANGE
"""Nats between the scores 0 and 1 of ``likewise``; the threshold is in nats."""


@dataclass(frozen=True)
class Sliders:
    """The settings of the page that need no new segmentation; 0 leaves masks as they were."""

    threshold: float = 0.0
    """Nats added to the threshold; above 0 gives smaller masks."""
    granularity: float = 0.0
    """Cosine distance, 0..2, below which patches are merged and share their mean score."""


NEUTRAL = Sliders()


@dataclass(frozen=True, eq=False)
class ScoreMaps:
    """Scores and merge tree of one image with C classes on a grid of N = h·w patches."""

    labels: tuple[str, ...]
    """Names of the C classes when the image was segmented."""
    scores: npt.NDArray[np.float32]
    """(C, h, w), above 0.5 is foreground. Those of an absent class are lowered by ½ - confidence:
    the lower the confidence, the further down the threshold must go to show it."""
    confidences: tuple[float, ...]
    """C numbers, 0..1."""
    pairs: npt.NDArray[np.uint32]
    """(N-1, 2) of the merge tree: indices of the two merged; 0..N-1 are patches, N+k is merge k."""
    distances: npt.NDArray[np.float32]
    """(N-1,) cosine distances of the merges, ascending."""
    wholes: tuple[int, ...]
    """C indices of the class that each is a part of, or -1; see ``class_names.wholes_of``."""
    size: tuple[int, int]
    """(H, W) pixels of the image."""
    input_size: tuple[int, int]
    """(H', W') of the encoder's input."""
    plan: Plan | None = None
    """Of an image read in tiles; it has no merges, and granularity leaves it as it is."""

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels that the grid covers: of an image read in tiles maybe more than it has."""
        if self.plan is None:
            return self.size
        (h, w), patch = self.plan.grid, self.plan.patch
        return h * patch, w * patch

    @classmethod
    def of(cls, result: Result, input_size: tuple[int, int]) -> ScoreMaps:
        """Score maps of a result that has its merge tree (``keep_tree``) or was read in tiles."""
        tree, classes = result.tree, result.classes.values()
        assert tree is not None or result.plan is not None
        none = np.empty((0, 2), np.uint32), np.empty(0, np.float32)
        scores = [
            (c.scores if tree is None else pooled(c.scores, len(tree.merges) + 1))
            - np.float32(0 if (c.scores > 0.5).any() else max(0.0, 0.5 - c.confidence))
            for c in classes
        ]
        size = result.label_map.shape
        return cls(
            result.labels,
            np.stack(scores),
            tuple(c.confidence for c in classes),
            *(none if tree is None else tree_arrays(tree)),
            tuple(-1 if k is None else k for k in wholes_of(result.labels)),
            (size[0], size[1]),
            input_size,
            result.plan,
        )

    def encode(self, written: Sliders) -> bytes:
        """The content of a ``.npz`` file.

        Args:
            written: the sliders with which the mask on disk is written.
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
            drawn=np.array([written.threshold, written.granularity]),
            tiles=np.array([[p.patch, p.side, p.overlap] for p in (self.plan,) if p]),
        )
        return file.getvalue()

    def blob(self) -> bytes:
        """Binary form for the page, little-endian: 8 uint32 (C, h, w, H, W, merges, ``extent``),
        then float32 scores, confidences and distances, then uint32 pairs, then int32 wholes."""
        tree = self.pairs, self.distances
        return blob(self.scores, self.confidences, *tree, self.wholes, self.size, self.extent)

    def moved(self, sliders: Sliders) -> npt.NDArray[np.float32]:
        """(C, h, w) scores after both sliders; above 0.5 is foreground."""
        flat = self.scores.reshape(len(self.scores), -1).astype(np.float64)
        made = int(np.searchsorted(self.distances, np.float32(sliders.granularity)))
        if made:
            labels = clusters(self.pairs[:made], flat.shape[1])
            count = np.maximum(np.bincount(labels), 1)
            flat = np.stack([(np.bincount(labels, row) / count)[labels] for row in flat])
        return (flat - sliders.threshold / NATS).astype(np.float32).reshape(self.scores.shape)

    def shown(self, sliders: Sliders, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """(H, W) label map as the page (layers.js) draws it: 0 none, k the k-th class."""
        shown, scores = np.zeros(size, np.uint8), self.moved(sliders)
        # Classes compete with those that are parts of the same whole: label and score of the best.
        owner: dict[int, npt.NDArray[np.uint8]] = {}
        best: dict[int, npt.NDArray[np.float64]] = {}
        for k in sorted(range(len(scores)), key=lambda k: (self._depth(k), -self.confidences[k])):
            whole, values = self.wholes[k], upsample(scores[k], size, self._covered)
            owner.setdefault(whole, np.zeros(size, np.uint8))
            won = values > best.setdefault(whole, np.full(size, 0.5))
            if whole >= 0:
                won &= owner[self.wholes[whole]] == whole + 1
            owner[whole][won], best[whole][won] = k + 1, values[won]
        for mine in owner.values():  # parts after their wholes
            shown[mine > 0] = mine[mine > 0]
        return shown

    @property
    def _covered(self) -> tuple[float, float]:
        return self.size[0] / self.extent[0], self.size[1] / self.extent[1]

    def _depth(self, k: int) -> int:
        """Number of wholes around a class: 0 if it is no part."""
        return 0 if self.wholes[k] < 0 else 1 + self._depth(self.wholes[k])

    def result(
        self,
        sliders: Sliders,
        refiner: str,
        image: Picture | npt.NDArray[np.uint8] | None = None,
    ) -> Result:
        """The result with these sliders.

        Args:
            sliders: neutral ones give the segmenter's own masks, to the pixel.
            refiner: as for the segmenter.
            image: (H, W, 3) RGB, not needed for refiner ``none``; invalid pixels of a Picture are
                in no mask.
        """
        import torch

        from ..large.image import tiled_result
        from ..methods import Scores
        from ..refine import compete_inside, refine
        from ..result import ClassResult, Result

        if image is None:
            image = np.broadcast_to(np.uint8(0), (*self.size, 3))
        picture = image if isinstance(image, Picture) else Picture(image)
        scores = self.moved(sliders)
        tensors = [torch.from_numpy(s) for s in scores]
        if self.plan is not None:
            known = zip(self.labels, tensors, self.confidences, strict=True)
            tiled = {label: Scores(s, confidence) for label, s, confidence in known}
            zoom = self.input_size[0] // self.plan.side
            return tiled_result(picture, self.plan, tiled, zoom, refiner)
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


def read_written_sliders(path: Path) -> Sliders | None:
    """The sliders with which the mask of a file of score maps is written; None if unreadable."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Sliders(*file["drawn"].tolist())
    except DAMAGE:
        return None


@dataclass(frozen=True)
class ScoreMapWriter:
    """Applies the sliders to each result of a run and makes the file of its score maps."""

    masks: Path
    """Folder of the masks."""
    folder: Path
    """Folder of the score maps, with the same subfolders as that of the masks."""
    sliders: Sliders
    refiner: str
    input_size: tuple[int, int]
    """(H', W') of the encoder's input."""

    def __call__(self, done: SegmentedJob) -> tuple[Result, tuple[Path, bytes]]:
        """The result with the sliders applied, and path and content of its score maps."""
        score_maps, result = ScoreMaps.of(done.result, self.input_size), done.result
        if self.sliders != NEUTRAL:
            result = score_maps.result(self.sliders, self.refiner, done.picture)
        path = score_maps_path(done.job.mask, self.masks, self.folder)
        return result, (path, score_maps.encode(self.sliders))


def score_maps_path(mask: Path, masks: Path, folder: Path) -> Path:
    """Path in ``folder`` of the score maps of a mask in the folder ``masks``."""
    return (folder / mask.relative_to(masks)).with_suffix(".npz")


def read_score_maps(path: Path) -> tuple[ScoreMaps, Sliders] | None:
    """Score maps and the sliders their mask is written with; None if missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            height, width = file["scores"].shape[1:]
            size, input_size = (tuple(size) for size in file["sizes"].tolist())
            tiles = file["tiles"].tolist() if "tiles" in file else []
            score_maps = ScoreMaps(
                tuple(file["labels"].tolist()),
                file["scores"],
                tuple(file["confidences"].tolist()),
                file["pairs"],
                file["distances"],
                tuple(file["wholes"].tolist()),
                size,
                input_size,
                Plan(size, *tiles[0]) if tiles else None,
            )
            merges = 0 if tiles else height * width - 1
            whole = len(score_maps.pairs) == len(score_maps.distances) == merges
            return (score_maps, Sliders(*file["drawn"].tolist())) if whole else None
    except DAMAGE:
        return None


def pooled(scores: npt.NDArray[np.float32], patches: int) -> npt.NDArray[np.float32]:
    """(h, w) scores from (f·h, f·w): the mean of each block of f × f, h·w = ``patches``."""
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
    extent: tuple[int, int],
) -> bytes:
    """See ``ScoreMaps.blob``; scores are (0, h, w) of an image only clustered, not segmented."""
    parts: list[tuple[str, Any]] = [
        ("<u4", [*scores.shape, *size, len(pairs), *extent]),
        *(("<f4", values) for values in (scores, confidences, distances)),
        ("<u4", pairs),
        ("<i4", wholes),
    ]
    return b"".join(np.ascontiguousarray(values, kind).tobytes() for kind, values in parts)


def clusters(pairs: npt.NDArray[np.uint32], n: int) -> npt.NDArray[np.int64]:
    """(n,) cluster of each of n patches after the merges ``pairs``: the index of its last merge."""
    top = np.arange(n + len(pairs))
    for k in range(len(pairs) - 1, -1, -1):
        top[pairs[k]] = top[n + k]
    return top[:n]


def upsample(
    values: npt.NDArray[np.float32],
    size: tuple[int, int],
    covered: tuple[float, float] = (1.0, 1.0),
) -> npt.NDArray[np.float64]:
    """(h, w) → (H, W) bilinear, aligned at pixel areas; along the rows first.

    Args:
        values: scores.
        size: (H, W).
        covered: share of the grid that it shows, from the first patch on, in each direction.
    """
    (y, below, v), (x, right, u) = map(_between, values.shape, size, covered)
    rows = values.astype(np.float64)
    rows = rows[:, x] + (rows[:, right] - rows[:, x]) * u
    return np.asarray(rows[y] + (rows[below] - rows[y]) * v[:, None])


def _between(
    n: int, m: int, covered: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """Linear interpolation of n samples at m places: index before, index after, weight of after."""
    place = np.maximum((np.arange(m) + 0.5) * (n * covered) / m - 0.5, 0.0)
    before = place.astype(np.int64)
    return before, np.minimum(before + 1, n - 1), place - before

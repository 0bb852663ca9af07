"""Running the episodes of a manifest; the result of each is a small record (JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...io.images import read_image
from ...reference import EncodedReference, Reference, ReferenceSet, encode_references
from ...refine import resize
from .manifest import BenchmarkManifest, Entry, as_marked, as_trial
from .metrics import Counts, contour_f, count
from .reading import read_benchmark_reference, read_marked
from .runner import run_trials
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from ...segmenter import Segmenter

ALPHAS = (0.05, 0.1, 0.15, 0.2)
"""Of PCK: greatest distance of a correct point, as a share of the target box's longer side."""
Record = dict[str, Any]


class BenchmarkTask:
    """Runs episodes of a manifest; encoded references are cached between calls.

    Args:
        segmenter: with refiner ``none``; its references are replaced.
        manifest: the episodes.
        task: ``masks``, ``maps`` or ``points``.
        root: the data root.
        refiner: applied to the scores.
        watch: gets the seconds of the stages.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        manifest: BenchmarkManifest,
        task: str,
        root: Path,
        refiner: str = "none",
        watch: Stopwatch | None = None,
    ) -> None:
        self.segmenter, self.manifest, self.root = segmenter, manifest, root
        self.refiner, self.watch = refiner, watch or Stopwatch()
        self._run = {"masks": self._masks, "maps": self._maps, "points": self._points}[task]
        self._shots: dict[str, tuple[EncodedReference, ...]] = {}
        self._fitted: tuple[str, ...] = ()

    def run(self, numbers: Sequence[int]) -> list[Record]:
        """Records of these episodes, in their order.

        Raises:
            LikewiseError: if a file cannot be used.
        """
        return sorted(self._run(numbers), key=lambda record: int(record["at"]))

    def _masks(self, numbers: Sequence[int]) -> Iterator[Record]:
        trials = [as_trial(self.manifest.entries[n], n, self.root) for n in numbers]
        for outcome in run_trials(self.segmenter, trials, refiner=self.refiner, watch=self.watch):
            yield {
                **_head(outcome.trial.episode.index, self.manifest.entries),
                "own": _pair(outcome.counts),
                "input": _pair(outcome.at_input),
                "edge": _pair(outcome.boundary),
                "empty": outcome.predicted == 0,
            }

    def _maps(self, numbers: Sequence[int]) -> Iterator[Record]:
        from ...refine import compete, refine

        entries = [self.manifest.entries[n] for n in numbers]
        marked = [{k: as_marked(m, self.root) for k, m in e["tgt"].items()} for e in entries]
        with self.watch.stage("read", len(entries)):
            images = [read_image(next(iter(m.values())).image) for m in marked]
        encoded = self.segmenter.encoder.encode_many(images)
        for n, entry, truths, pixels in zip(numbers, entries, marked, images, strict=True):
            target, labels = next(encoded), tuple(truths)
            self._fit(labels)
            with self.watch.stage("score"):
                result = self.segmenter.segment_encoded(pixels, target)
            scores = [self._tensor(result.classes[k].scores) for k in labels]
            size = self.segmenter.encoder.input_size
            with self.watch.stage("refine", 0):
                if entry["score"] == "area":
                    found = _best(np.stack([_full(s, size, pixels) for s in scores]))
                else:
                    masks = [refine(s, pixels, size, self.refiner) for s in scores]
                    sure = [result.classes[k].confidence for k in labels]
                    found = compete(masks, scores, sure, size)
            record = _head(n, self.manifest.entries)
            for number, (label, truth) in enumerate(truths.items(), 1):
                _, there, void = read_marked(truth, pixels, strict=False)
                mask = found == number
                if void is not None:
                    mask = mask & ~void
                counts = count("", label, mask, there)
                if entry["score"] == "area":
                    record.setdefault("areas", {})[label] = _pair(counts)
                else:
                    j = 100.0 if counts.iou is None else counts.iou
                    record.setdefault("objects", {})[label] = [j, contour_f(mask, there)]
            yield record

    def _points(self, numbers: Sequence[int]) -> Iterator[Record]:
        from ...matching import match_encoded

        encoder = self.segmenter.encoder
        for n in numbers:
            entry = self.manifest.entries[n]
            with self.watch.stage("read", 2):
                pair = [read_image(self.root / entry[name]) for name in ("ref", "tgt")]
            first, second = encoder.encode_many(pair)
            with self.watch.stage("score"):
                points = np.asarray(entry["points"], dtype=np.float32)
                found, _ = match_encoded(first, second, points, debiased=True)
            right = correct_keypoints(found, np.asarray(entry["truth"]), entry["side"])
            yield {**_head(n, self.manifest.entries), "points": len(found), "right": right}

    def _fit(self, labels: tuple[str, ...]) -> None:
        """Fit the segmenter to the manifest's references of these labels."""
        from ...methods import get_method

        if labels == self._fitted:
            return
        if self._shots.keys().isdisjoint(labels):  # a new video: drop the cached references
            self._shots.clear()
        views = get_method(self.segmenter.method).VIEWS
        for label in labels:
            if label not in self._shots:
                with self.watch.stage("read"):
                    references = [
                        Reference(
                            *read_benchmark_reference(as_marked(entry, self.root)), label=label
                        )
                        for entry in self.manifest.references[label]
                    ]
                shots = encode_references(self.segmenter.encoder, references, views).shots
                self._shots[label] = shots
        with self.watch.stage("fit"):
            chosen = tuple(shot for label in labels for shot in self._shots[label])
            self.segmenter.fit_encoded(ReferenceSet(chosen))
        self._fitted = labels

    def _tensor(self, scores: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(scores).to(self.segmenter.encoder.device)


def correct_keypoints(found: np.ndarray, truth: np.ndarray, side: float) -> list[int]:
    """For each of ``ALPHAS`` the number of (n, 2) points within alpha·side of the true points."""
    distances = np.linalg.norm(found.astype(np.float64) - truth, axis=1)
    return [int((distances <= alpha * side).sum()) for alpha in ALPHAS]


def _head(number: int, entries: Sequence[Entry]) -> Record:
    entry: Mapping[str, Any] = entries[number]
    head = {"at": number, "set": entry["set"], "unit": entry.get("unit", str(number))}
    return {**head, "cls": entry["cls"]} if "cls" in entry else head


def _pair(counts: Counts) -> list[int]:
    return [counts.intersection, counts.union]


def _full(scores: Any, size: tuple[int, int], pixels: np.ndarray) -> np.ndarray:
    """(h, w) scores → (H, W) float32, resized to the input size first, then to the image."""
    values: np.ndarray = resize(resize(scores, size), pixels.shape[:2]).cpu().numpy()
    return values


def _best(scores: np.ndarray) -> np.ndarray:
    """(H, W) argmax of (C, H, W) scores, counted from 1; 0 where all scores are 0."""
    return np.where(scores.max(axis=0) > 0, scores.argmax(axis=0) + 1, 0)

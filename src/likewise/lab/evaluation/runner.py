"""Running episodes: read, encode, fit, score, refine, count pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import LikewiseError, WriteError, explained_memory
from ...io.encoding import write_image, write_mask
from ...reference import Reference
from ...refine import at_input_size, resize
from .episodes import Episode, MaskedImage, Trial
from .metrics import Counts, boundary, count
from .reading import read_benchmark_reference, read_marked, read_pixels
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from ...segmenter import Segmenter

WINDOW = 8  # targets of a batch


@dataclass(frozen=True)
class TrialOutcome:
    """Result of one trial."""

    trial: Trial
    counts: Counts
    boundary: Counts
    at_input: Counts
    """At the backbone's input size, to which the truth is resized by nearest neighbour, as in the
    papers' code."""
    confidence: float
    predicted: int
    """Foreground pixels of the prediction."""
    true: int
    """Foreground pixels of the truth."""
    mask: Path | None = None
    """File of the predicted mask, if it was written."""


def run_trials(
    segmenter: Segmenter,
    trials: Sequence[Trial],
    *,
    refiner: str = "none",
    watch: Stopwatch | None = None,
    masks: Path | None = None,
    pictures: Path | None = None,
) -> Iterator[TrialOutcome]:
    """Run trials, ordered so that each set of references is fitted once.

    Args:
        segmenter: with refiner ``none``, since refinement is timed separately; its references are
            replaced.
        trials: from ``choose``.
        refiner: applied to the scores.
        watch: gets the seconds of ``read``, ``fit``, ``score`` and ``refine``; encoding is timed
            by a ``TimedEncoder`` with the same stopwatch.
        masks: folder for the predicted masks, see ``result_file``.
        pictures: folder for a picture of each trial.

    Yields:
        The outcome of each trial, in that order.

    Raises:
        LikewiseError: if a file cannot be used, naming the episode.
    """
    import torch

    encoder, watch = segmenter.encoder, watch or Stopwatch()
    ordered = sorted(trials, key=lambda trial: (_sort_key(trial), trial.episode.index))
    fitted: tuple[MaskedImage, ...] = ()
    for start in range(0, len(ordered), WINDOW):
        window = ordered[start : start + WINDOW]
        targets = []
        for trial in window:
            with _explained(trial.episode), watch.stage("read"):
                box = None if trial.target is None else trial.target.box
                targets.append(read_pixels(trial.episode.target, box))
        encoded = encoder.encode_many(targets, WINDOW)
        for trial, pixels in zip(window, targets, strict=True):
            with _explained(trial.episode):
                target = next(encoded)
                if trial.references != fitted:
                    with watch.stage("read", len(trial.references)):
                        references = [_read_reference(r, trial) for r in trial.references]
                    with watch.stage("fit"):
                        segmenter.fit(references)
                    fitted = trial.references
                with watch.stage("read", 0):
                    truth, void = _read_truth(trial, pixels)
                with watch.stage("score"):
                    result = segmenter.segment_encoded(pixels, target)
                scores = torch.from_numpy(result.scores).to(encoder.device)
                with watch.stage("refine", int(refiner != "none")):
                    fine = at_input_size(scores, pixels, encoder.input_size, refiner)
                    mask = result.mask
                    if refiner != "none":
                        mask = (resize(fine, pixels.shape[:2]) > 0.5).cpu().numpy()
                found = Prediction(mask, (fine > 0.5).cpu().numpy(), truth, void, result.confidence)
                outcome = _judge(trial, pixels, found, masks, pictures)
            yield outcome


def result_file(folder: Path, episode: Episode, suffix: str) -> Path:
    """File of a trial's mask or picture: ``<index>_<set><suffix>``."""
    name = re.sub(r"[^\w.-]+", "_", episode.dataset)
    return folder / f"{episode.index:05d}_{name}{suffix}"


@dataclass(frozen=True, eq=False)
class Prediction:
    """Prediction and truth of one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size."""
    at_input: np.ndarray
    """(H', W') bool at the backbone's input size."""
    truth: np.ndarray
    """(H, W) bool."""
    void: np.ndarray | None
    """(H, W) bool, ignored pixels; None: none."""
    confidence: float


def _judge(
    trial: Trial, pixels: np.ndarray, found: Prediction, masks: Path | None, pictures: Path | None
) -> TrialOutcome:
    e, mask, truth = trial.episode, found.mask, found.truth
    small, small_truth = found.at_input, nearest(truth, found.at_input.shape)
    if found.void is not None:
        mask, truth = mask & ~found.void, truth & ~found.void
        counted = ~nearest(found.void, small.shape)
        small, small_truth = small & counted, small_truth & counted
    counts = count(e.dataset, e.cls, mask, truth)
    edges = count(e.dataset, e.cls, boundary(mask), boundary(truth))
    at_input = count(e.dataset, e.cls, small, small_truth)
    file = None if masks is None else result_file(masks, e, ".png")
    if file is not None:
        write_mask(file, found.mask)
    if pictures is not None:
        from .grid import trial_picture

        picture = trial_picture(trial, pixels, found.mask, truth, counts.iou)
        write_image(result_file(pictures, e, ".jpg"), picture)
    areas = int(mask.sum()), int(truth.sum())
    return TrialOutcome(trial, counts, edges, at_input, found.confidence, *areas, file)


def nearest(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool → (H', W') bool by torch's ``nearest``, as in the papers' code."""
    import torch

    values = torch.from_numpy(mask)[None, None].float()
    return (torch.nn.functional.interpolate(values, size=size)[0, 0] > 0.5).numpy()


def _read_reference(marked: MaskedImage, trial: Trial) -> Reference:
    if trial.target is not None:
        return Reference(*read_benchmark_reference(marked))
    return Reference(*read_marked(marked)[:2])


def _read_truth(trial: Trial, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if trial.asked is None:
        return np.zeros(pixels.shape[:2], dtype=bool), None
    return read_marked(trial.asked, pixels, strict=trial.target is None)[1:]


def _sort_key(trial: Trial) -> list[tuple[str, str, int]]:
    return [(str(r.image), str(r.mask), r.value or 0) for r in trial.references]


@contextmanager
def _explained(episode: Episode) -> Iterator[None]:
    """Adds the episode to messages of errors, except of errors of writing."""
    try:
        with explained_memory(str(episode)):
            yield
    except WriteError:
        raise
    except LikewiseError as error:
        text = str(error)
        raise LikewiseError(
            text if text.startswith(str(episode)) else f"{episode}: {text}"
        ) from error

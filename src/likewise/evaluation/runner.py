"""Running episodes: fit once for each set of references, segment, count pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LikewiseError, WriteError, explained_memory
from ..images import read_image, write_image, write_mask
from ..masks import read_mask
from ..reference import Reference
from ..refine import refine
from .episodes import Episode, Marked, Trial
from .metrics import Counts, boundary, count
from .stopwatch import Stopwatch

if TYPE_CHECKING:
    from ..segmenter import Segmenter

WINDOW = 8  # targets that are encoded together


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    trial: Trial
    counts: Counts
    boundary: Counts
    confidence: float
    predicted: int
    """Foreground pixels found."""
    true: int
    """Foreground pixels there are."""
    mask: Path | None = None
    """File of the predicted mask, if it was kept."""


def run_trials(
    segmenter: Segmenter,
    trials: Sequence[Trial],
    *,
    refiner: str = "none",
    watch: Stopwatch | None = None,
    masks: Path | None = None,
    pictures: Path | None = None,
) -> Iterator[Outcome]:
    """Run trials, those of the same references together.

    Args:
        segmenter: with refiner ``none``, so that scoring and refining are timed apart; its
            references are replaced.
        trials: from ``choose``.
        refiner: applied to the scores.
        watch: gets the seconds of ``read``, ``fit``, ``score`` and ``refine``; encoding is timed
            by a ``CachedEncoder`` with the same stopwatch.
        masks: folder for the predicted masks, see ``result_file``.
        pictures: folder for a picture of each trial.

    Yields:
        One outcome a trial, in the order they are done.

    Raises:
        LikewiseError: if a file cannot be used, naming the episode.
    """
    import torch

    encoder, watch = segmenter.encoder, watch or Stopwatch()
    ordered = sorted(trials, key=lambda trial: (_sort_key(trial), trial.episode.index))
    fitted: tuple[Marked, ...] = ()
    for start in range(0, len(ordered), WINDOW):
        window = ordered[start : start + WINDOW]
        targets = []
        for trial in window:
            with _explained(trial.episode), watch.stage("read"):
                targets.append(read_image(trial.episode.target))
        encoded = encoder.encode_many(targets, WINDOW)
        for trial, pixels in zip(window, targets, strict=True):
            with _explained(trial.episode):
                target = next(encoded)
                if trial.references != fitted:
                    with watch.stage("read", len(trial.references)):
                        references = [_read_marked(marked) for marked in trial.references]
                    with watch.stage("fit"):
                        segmenter.fit(references)
                    fitted = trial.references
                with watch.stage("read", 0):
                    truth = _read_truth(trial.episode, pixels)
                with watch.stage("score"):
                    result = segmenter.segment_encoded(pixels, target)
                mask = result.mask
                if refiner != "none":
                    scores = torch.from_numpy(result.scores).to(encoder.device)
                    with watch.stage("refine"):
                        mask = refine(scores, pixels, encoder.input_size, refiner)
                outcome = _judge(trial, pixels, mask, truth, result.confidence, masks, pictures)
            yield outcome


def result_file(folder: Path, episode: Episode, suffix: str) -> Path:
    """Where a trial's mask or picture goes: ``<place in the list>_<set><suffix>``."""
    name = re.sub(r"[^\w.-]+", "_", episode.dataset)
    return folder / f"{episode.index:05d}_{name}{suffix}"


def _judge(
    trial: Trial,
    pixels: np.ndarray,
    mask: np.ndarray,
    truth: np.ndarray,
    confidence: float,
    masks: Path | None,
    pictures: Path | None,
) -> Outcome:
    e = trial.episode
    counts = count(e.dataset, e.cls, mask, truth)
    edges = count(e.dataset, e.cls, boundary(mask), boundary(truth))
    file = None if masks is None else result_file(masks, e, ".png")
    if file is not None:
        write_mask(file, mask)
    if pictures is not None:
        from .grid import trial_picture

        picture = trial_picture(trial, pixels, mask, truth, counts.iou)
        write_image(result_file(pictures, e, ".jpg"), picture)
    return Outcome(trial, counts, edges, confidence, int(mask.sum()), int(truth.sum()), file)


def _read_marked(marked: Marked) -> Reference:
    image = read_image(marked.image)
    return Reference(image, read_mask(marked.mask, size=image.shape[:2], value=marked.value))


def _read_truth(episode: Episode, pixels: np.ndarray) -> np.ndarray:
    if episode.target_mask is None:
        return np.zeros(pixels.shape[:2], dtype=bool)
    return read_mask(episode.target_mask, size=pixels.shape[:2], value=episode.value)


def _sort_key(trial: Trial) -> list[tuple[str, str, int]]:
    return [(str(r.image), str(r.mask), r.value or 0) for r in trial.references]


@contextmanager
def _explained(episode: Episode) -> Iterator[None]:
    """Errors say which episode they are of; a disk that refuses is none of its business."""
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

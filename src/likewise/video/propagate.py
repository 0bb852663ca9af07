"""From annotated frames forwards and backwards to all others, every frame looked at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.prefetch import batched
from ..reference import Reference
from .annotation import Annotations
from .frames import Clip
from .memory import Known, Numbers
from .tracker import LabelMap, Params, Tracker, default_params, shares

if TYPE_CHECKING:
    from ..segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class SegmentedFrame:
    """One frame, segmented."""

    number: int
    label_map: LabelMap
    """(H, W): 0 nothing, k the k-th object."""
    confidences: tuple[float, ...]
    """0..1 of each object, that it is there at all; 1 and 0 where a person said so."""
    remembered: Numbers
    """What the next frame hangs on."""


@dataclass(frozen=True)
class Past:
    """What an earlier run did."""

    count: int
    """How many frames, in the order of ``propagate``."""
    remembered: Numbers
    """Of the last of them."""
    label_map: Callable[[int], LabelMap]
    """The label map of one of them."""


def passes(annotated: Sequence[int], wanted: range) -> list[range]:
    """Runs of frames away from annotated ones, each from the nearest.

    Args:
        annotated: frames, ascending.
        wanted: frames to segment, ascending.

    Returns:
        For each annotated frame, those after and before it that are nearer to it than to others.
    """
    runs = []
    for k, frame in enumerate(annotated):
        low = (annotated[k - 1] + frame) // 2 + 1 if k else wanted.start
        high = (frame + annotated[k + 1]) // 2 if k + 1 < len(annotated) else wanted.stop - 1
        runs.append(_within(wanted, frame + 1, high))
        runs.append(_within(wanted, low, frame - 1)[::-1])
    return [run for run in runs if run]


def _within(numbers: range, low: int, high: int) -> range:
    """Those of low..high."""
    return range(
        numbers.start + max(0, -(-(low - numbers.start) // numbers.step)) * numbers.step,
        min(high + 1, numbers.stop),
        numbers.step,
    )


def order(annotated: Sequence[int], wanted: range) -> list[int]:
    """All frames that are segmented, in the order in which that is done."""
    return [*annotated, *(number for run in passes(annotated, wanted) for number in run)]


def propagate(
    clip: Clip,
    annotations: Annotations,
    segmenter: Segmenter,
    wanted: range | None = None,
    *,
    params: Params | None = None,
    memory: bool = True,
    past: Past | None = None,
) -> Iterator[SegmentedFrame]:
    """Segment a clip.

    Args:
        clip: its frames.
        annotations: which are known.
        segmenter: backbone, method and refiner; its references are replaced.
        wanted: the frames to segment, ascending; all by default. The annotated ones come too.
        params: of the tracker; default ``default_params``.
        memory: false looks at every frame alone.
        past: what need not be done again.

    Yields:
        Each frame, in the ``order``: first those that are annotated.

    Raises:
        LikewiseError: if a frame cannot be read or the method cannot be used.
    """
    annotated = sorted(annotations.frames)
    wanted = range(len(clip)) if wanted is None else wanted
    encoder, names = segmenter.encoder, [str(k) for k, _ in enumerate(annotations.labels, 1)]
    shown = {number: next(clip.read(range(number, number + 1))) for number in annotated}
    segmenter.fit(
        [
            Reference(shown[number], annotations.frames[number] == k, label=name)
            for k, name in enumerate(names, 1)
            for number in annotated
            if (annotations.frames[number] == k).any()
        ]
    )

    def know(number: int, label_map: LabelMap) -> Known:
        pixels = shown.get(number)
        pixels = next(clip.read(range(number, number + 1))) if pixels is None else pixels
        encoded = encoder.encode(pixels)
        return Known(number, encoded, shares(label_map, len(names), encoded))

    known = [know(number, annotations.frames[number]) for number in annotated]
    shown.clear()
    tracker = Tracker(segmenter, known, params or default_params(segmenter.method), memory)
    done = 0 if past is None else past.count
    for frame in known[done:]:
        label_map = annotations.frames[frame.number]
        there = tuple(float((label_map == k).any()) for k in range(1, len(names) + 1))
        yield SegmentedFrame(frame.number, label_map, there, tracker.remembered())
    done = max(0, done - len(known))
    for run in passes(annotated, wanted):
        kept, done = min(done, len(run)), max(0, done - len(run))
        tracker.begin()
        if past is not None and 0 < kept < len(run):
            tracker.restore(past.remembered, lambda n: know(n, past.label_map(n)))
        at = kept
        for batch in batched(clip.read(run[kept:]), encoder.batch_size):
            for pixels, encoded in zip(batch, encoder.encode_many(batch), strict=True):
                found = tracker.step(run[at], pixels, encoded, at)
                yield SegmentedFrame(
                    run[at], found.label_map, found.confidences, tracker.remembered()
                )
                at += 1

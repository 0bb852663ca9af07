"""From annotated frames forwards and backwards to all others, every frame looked at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..io.prefetch import batched
from ..reference import Reference
from ..result import ClassResult, Result
from .annotation import Annotations
from .frames import Clip
from .memory import Known, Numbers
from .tracker import LabelMap, Params, Tracker, default_params, shares
from .video_file import RGB

if TYPE_CHECKING:
    from ..segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class SegmentedFrame:
    """One frame, segmented."""

    number: int
    pixels: RGB
    """(H, W, 3) uint8 of the frame."""
    result: Result
    """Its classes are the objects: "1", "2", ...; of an annotated frame, what a person said."""
    remembered: Numbers
    """What the next frame hangs on."""

    @property
    def label_map(self) -> LabelMap:
        """(H, W) uint8: 0 nothing, k the k-th object."""
        return self.result.label_map

    @property
    def confidences(self) -> tuple[float, ...]:
        """0..1 of each object, that it is there at all; 1 and 0 where a person said so."""
        return tuple(c.confidence for c in self.result.classes.values())


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
        before, at = bisect_left(wanted, low), bisect_left(wanted, frame)
        after, end = bisect_right(wanted, frame), bisect_right(wanted, high)
        runs += [wanted[after:end], wanted[before:at][::-1]]
    return [run for run in runs if run]


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

    def know(number: int, pixels: RGB, label_map: LabelMap) -> Known:
        encoded = encoder.encode(pixels)
        return Known(number, encoded, shares(label_map, len(names), encoded))

    known = [know(number, shown[number], annotations.frames[number]) for number in annotated]
    tracker = Tracker(segmenter, known, params or default_params(segmenter.method), memory)
    done = 0 if past is None else past.count
    for frame in known[done:]:
        result = _as_annotated(annotations.frames[frame.number], names, frame)
        yield SegmentedFrame(frame.number, shown[frame.number], result, tracker.remembered())
    shown.clear()
    done = max(0, done - len(known))
    for run in passes(annotated, wanted):
        kept, done = min(done, len(run)), max(0, done - len(run))
        tracker.begin()
        if past is not None and 0 < kept < len(run):
            tracker.restore(
                past.remembered,
                lambda n: know(n, next(clip.read(range(n, n + 1))), past.label_map(n)),
            )
        at = kept
        for batch in batched(clip.read(run[kept:]), encoder.batch_size):
            for pixels, encoded in zip(batch, encoder.encode_many(batch), strict=True):
                result = tracker.step(run[at], pixels, encoded, at)
                yield SegmentedFrame(run[at], pixels, result, tracker.remembered())
                at += 1


def _as_annotated(label_map: LabelMap, names: Sequence[str], frame: Known) -> Result:
    """What a person said of a frame; its scores are shares of patches."""
    scores = frame.labels.unflatten(1, frame.encoded.grid).cpu().numpy()
    marked = [label_map == k for k in range(1, len(names) + 1)]
    classes = {
        name: ClassResult(mask, share, float(mask.any()))
        for name, mask, share in zip(names, marked, scores, strict=True)
    }
    return Result(label_map > 0, scores.max(axis=0), 1.0, None, label_map, classes)

"""Clips: a few frames annotated, the same objects masked in all others.

Frames (``frames.py``) are read by number; a tracker (``tracker.py``) goes away from every annotated
frame (``propagate.py``) and mixes what the method finds with labels carried along correspondences
(``label_propagation.py``); what it remembers is bounded (``memory.py``), and the masks on disk and
the numbers of the remembered frames are all that it takes to go on (``run.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LikewiseError

if TYPE_CHECKING:
    from ..segmenter import Segmenter
    from .propagate import SegmentedFrame
    from .tracker import Params


def segment_video(
    clip: str | Path,
    masks: Mapping[int, str | Path],
    segmenter: Segmenter | None = None,
    *,
    labels: Sequence[str] = (),
    frames: range | None = None,
    params: Params | None = None,
    memory: bool = True,
) -> Iterator[SegmentedFrame]:
    """Follow the objects of annotated frames through a clip.

    Examples:
        >>> import likewise
        >>> for frame in likewise.segment_video("clip.mp4", {0: "mask.png"}):
        ...     print(frame.number, frame.label_map.shape, frame.confidences)

    Args:
        clip: a video file (needs PyAV, the extra ``video``), or a folder of frames.
        masks: frame, from 0 → mask file: 0 and 255, or a label map of several objects.
        segmenter: backbone, method and refiner; the default ones if None. Its references are
            replaced.
        labels: names of the objects, by ascending values of the masks.
        frames: which to segment, ascending; all by default. The annotated ones come too.
        params: what can be tuned; by default the best known for the method.
        memory: false looks at every frame alone.

    Yields:
        ``number``, ``label_map`` (H, W) uint8 (0 nothing, k the k-th object), ``confidences`` and
        ``remembered`` of each frame: the annotated ones first, then away from each of them.

    Raises:
        LikewiseError: if the clip, a mask or the method cannot be used.
    """
    from ..segmenter import Segmenter
    from .annotation import read_annotations
    from .frames import open_clip, tell_order
    from .propagate import propagate

    if not isinstance(masks, Mapping):
        raise LikewiseError(
            f"masks must say which frame each is of, such as {{0: {str(masks)!r}}}, not be "
            f"{type(masks).__name__}."
        )
    opened = open_clip(clip)
    tell_order(opened, tuple(masks))
    paths = {number: Path(path) for number, path in masks.items()}
    known = read_annotations(paths, opened.size, len(opened), labels)
    return propagate(opened, known, segmenter or Segmenter(), frames, params=params, memory=memory)

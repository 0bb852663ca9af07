"""Volumes: a few slices annotated, the same classes masked in all others.

A volume (``volume.py``) of one of the formats (``files.py``) is cut into slices that are the
frames of a clip (``clip.py``); annotated slices (``annotation.py``) are its key frames, and
``video`` does the rest. What is found goes back into one label volume (``run.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError

if TYPE_CHECKING:
    from ..segmenter import Segmenter
    from ..video.tracker import Params
    from .run import Measured
    from .volume import Values, Volume


@dataclass(frozen=True, eq=False)
class SegmentedVolume:
    """A volume, segmented."""

    volume: Volume
    """With its ``affine`` and ``spacing``."""
    labels: Values
    """(A, B, C) unsigned, on the voxels of the volume: 0 nothing, else the value of a class."""
    classes: Sequence[Measured]
    """Name, value, voxels and millilitres of each."""
    confidences: Mapping[int, tuple[float, ...]]
    """Slice → 0..1 of each class: the method's, that it is there at all."""

    def save(self, path: str | Path) -> None:
        """Write the label volume in the format of the volume. Raises ImageError."""
        from .files import write_labels

        names = {one.value: one.name for one in self.classes}
        write_labels(Path(path), self.volume, self.labels, names)


def segment_volume(
    volume: str | Path | npt.NDArray[np.generic],
    labels: str | Path | npt.NDArray[np.generic],
    segmenter: Segmenter | None = None,
    *,
    slices: Sequence[int] | None = None,
    classes: Sequence[int] = (),
    names: Sequence[str] = (),
    axis: str | None = None,
    window: str | None = None,
    channel: int | None = None,
    params: Params | None = None,
    memory: bool = True,
) -> SegmentedVolume:
    """Segment a volume of which some slices are annotated.

    >>> import likewise
    >>> found = likewise.segment_volume("ct.nii.gz", "labels.nii.gz", slices=[12])
    >>> found.labels.shape, [(one.name, one.ml) for one in found.classes]
    >>> found.save("found.nii.gz")

    Args:
        volume: NIfTI file, TIFF stack, folder of a DICOM series, or an array (A, B, C).
        labels: label volume on the same voxels: NIfTI, TIFF stack, DICOM segmentation or array.
        segmenter: backbone, method and refiner; the default ones if None. Its references are
            replaced.
        slices: those that are fully annotated, from 0; None is all that hold a label.
        classes: values of the labels to look for; all that the slices hold by default.
        names: of the classes, in the order of ``classes`` or by ascending values.
        axis: that slices are along: "0", "1", "2", "axial", "coronal" or "sagittal"; by default
            as they were scanned, else axial.
        window: values that are black and white: "lung", "bone", "soft", "mediastinum", "liver",
            "brain" or "LO,HI"; by default all but the outer 0.5 % of the volume's at each end.
        channel: of a TIFF stack that has several.
        params: what can be tuned; by default the best known for the method.
        memory: false looks at every slice alone.

    Raises:
        LikewiseError: if the volume, the labels or the method cannot be used.
    """
    from ..segmenter import Segmenter
    from ..video.propagate import propagate
    from .annotation import key_slices
    from .clip import Slices
    from .files import check_labels, open_volume, read_label_volume
    from .run import measured, numbered
    from .volume import Volume, aligned, cut_of
    from .windows import find_window

    if isinstance(volume, np.ndarray):
        opened = Volume(Path("the volume array"), volume, "stack")
        if volume.ndim != 3 or volume.dtype.kind not in "biuf":
            raise LikewiseError(
                f"the volume array has the shape {volume.shape} and dtype {volume.dtype}: give "
                "(A, B, C) numbers."
            )
    else:
        opened = open_volume(volume, channel)
    if isinstance(labels, np.ndarray):
        name: object = "the label array"
        known = check_labels(aligned(labels, None, opened, name), name)
    else:
        name = labels
        known = read_label_volume(Path(labels), opened)
    clip = Slices(opened, cut_of(opened, axis), find_window(opened.values, window, opened.path))
    annotations = key_slices(known, clip, name, slices, classes, names)
    found = np.zeros((len(clip), *clip.size), np.uint8)
    confidences = {}
    segmenter = segmenter or Segmenter()
    for frame in propagate(clip, annotations, segmenter, params=params, memory=memory):
        found[frame.number] = frame.label_map
        confidences[frame.number] = frame.confidences
    made = np.ascontiguousarray(clip.cut.volume(numbered(found, annotations)))
    return SegmentedVolume(opened, made, measured(clip, found, annotations), confidences)

"""Segmenting a volume into a folder: slice by slice as a clip, then one label volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..io.draw import RGB, contact_sheet, overlay_labels, with_legend
from ..io.encoding import write_image
from ..run.jobs import check_output_files, check_outputs
from ..video.annotation import Annotations
from ..video.run import ClipRun
from .annotation import check_numbers
from .clip import Slices
from .files import labels_path, write_labels
from .volume import Values

SHOWN = 12
"""Slices in the montage, at most."""


@dataclass(frozen=True)
class Measured:
    """One class of a label volume."""

    name: str
    value: int
    voxels: int
    ml: float | None
    """Millilitres; None if the volume does not say how large a voxel is."""
    slices: tuple[int, int] | None
    """The first and last that hold it; None if none does."""


class VolumeRun:
    """One volume, one folder: a clip's ``masks/`` and ``frames.jsonl``, ``labels``, a montage.

    Args:
        slices: of the volume.
        annotations: which of them are known.
        out: the folder; made if it is not there.
        wanted: slices to segment, ascending; all by default. The annotated ones come too.
        inputs: files that must not be overwritten.

    Raises:
        LikewiseError: if a result would replace an input, or the folder cannot be written to.
    """

    def __init__(
        self,
        slices: Slices,
        annotations: Annotations,
        out: Path,
        wanted: range | None = None,
        inputs: tuple[Path, ...] = (),
    ) -> None:
        self.slices, self.annotations = slices, annotations
        self.clip = ClipRun(slices, annotations, out, wanted, inputs)
        """Segments the slices; going on after a stop is its business."""
        self.labels = labels_path(slices.volume, out)
        self.montage = out / "montage.jpg"
        files = [file for file in (self.labels, self.montage) if file.parent == out]
        results = [(slices.path, file) for file in files]
        check_outputs(out, results, (*slices.files(), *inputs))

    def finish(self) -> list[Measured]:
        """Write the label volume and the montage of all masks, also of those that a person changed.

        Raises:
            LikewiseError: if a mask is missing, or a file cannot be written.
        """
        found = np.zeros((len(self.slices), *self.slices.size), np.uint8)
        for number in self.clip.order:
            found[number] = self.clip.label_map(number)
        names = dict(zip(self.annotations.values, self.annotations.labels, strict=True))
        values = numbered(found, self.annotations)
        volume = self.slices.volume
        write_labels(self.labels, volume, self.slices.cut.volume(values), names)
        given = self.annotations.frames
        picture = montage(self.slices, found, self.annotations, sorted(given))
        write_image(self.montage, picture)
        return measured(self.slices, found, self.annotations)


def write_pictures(slices: Slices, numbers: Sequence[int], out: Path) -> list[Path]:
    """Write slices as PNG, to draw masks on; returns the files.

    Raises:
        LikewiseError: there is no such slice, or a file cannot be written.
    """
    check_numbers(numbers, slices)
    files = [out / f"{slices.name(number)}.png" for number in numbers]
    check_output_files(files, slices.files())
    for number, file in zip(numbers, files, strict=True):
        write_image(file, next(slices.read(range(number, number + 1))))
    return files


def numbered(found: Values, annotations: Annotations) -> Values:
    """(N, H, W) of the values of the label volume, from 0 nothing, k the k-th class."""
    return np.array([0, *annotations.values], np.uint32)[found]


def measured(slices: Slices, found: Values, annotations: Annotations) -> list[Measured]:
    """How large each class is, of (N, H, W) from 0 nothing, k the k-th class."""
    each = slices.volume.voxel_ml
    classes = []
    for k, (name, value) in enumerate(
        zip(annotations.labels, annotations.values, strict=True), start=1
    ):
        counts = (found == k).sum(axis=(1, 2))
        held, voxels = np.flatnonzero(counts), int(counts.sum())
        ends = (int(held[0]), int(held[-1])) if voxels else None
        ml = None if each is None else voxels * each
        classes.append(Measured(name, value, voxels, ml, ends))
    return classes


def montage(slices: Slices, found: Values, annotations: Annotations, given: list[int]) -> RGB:
    """Slices with their masks over them, in rows of four: those given, and others in between."""
    held = np.flatnonzero(found.any(axis=(1, 2)))
    low, high = (int(held[0]), int(held[-1])) if len(held) else (0, len(found) - 1)
    low, high = max(0, low - 1), min(len(found) - 1, high + 1)
    places = np.linspace(low, high, min(SHOWN, high - low + 1)).round().astype(int).tolist()
    for number in given[:SHOWN]:  # each takes the place of the one nearest to it
        nearest = min(
            (k for k, place in enumerate(places) if place not in given or place == number),
            key=lambda k: abs(places[k] - number),
            default=None,
        )
        if nearest is not None:
            places[nearest] = number
    pictures = []
    for number in sorted(set(places)):
        pixels = next(slices.read(range(number, number + 1)))
        picture = overlay_labels(_upright(pixels, slices), _upright(found[number], slices))
        caption = f"slice {number}" + (" (given)" if number in given else "")
        pictures.append((picture, caption))
    rows = [pictures[k : k + 4] for k in range(0, len(pictures), 4)]
    return with_legend(contact_sheet(rows), dict(enumerate(annotations.labels, 1)))


def _upright(pixels: Values, slices: Slices) -> Values:
    """With pixels as high as wide, and at least 240 of them a side."""
    height, width = pixels.shape[0] * slices.stretch, float(pixels.shape[1])
    scale = max(1.0, 240 / min(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    way = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, way))

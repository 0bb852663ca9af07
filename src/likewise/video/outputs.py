"""What is made of the masks of a clip: an overlay video, COCO-video JSON, a strip of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError
from ..io.coco_masks import encode_runs
from ..io.draw import contact_sheet, overlay_labels
from ..io.encoding import write_image
from ..io.files import refused, whole_file
from ..io.opening import why
from .frames import Clip
from .tracker import LabelMap
from .video_file import pyav

Masks = Callable[[int], LabelMap]
"""The label map of a frame."""
SHOWN = 8
"""Pictures of a strip, at most."""


def write_strip(clip: Clip, numbers: Sequence[int], masks: Masks, path: Path) -> None:
    """A few frames with their masks over them, in rows of four.

    Args:
        clip: its frames.
        numbers: those that are segmented, ascending.
        masks: their label maps.
        path: picture to write.

    Raises:
        LikewiseError: if a frame or mask cannot be read, or the picture not be written.
    """
    places = np.linspace(0, len(numbers) - 1, min(SHOWN, len(numbers))).round().astype(int)
    pictures = []
    for number in (numbers[place] for place in places):
        pixels = next(clip.read(range(number, number + 1)))
        picture = overlay_labels(pixels, masks(number))
        pictures.append((picture, f"frame {number}"))
    write_image(path, contact_sheet([pictures[:4], pictures[4:]] if pictures[4:] else [pictures]))


def write_overlay(clip: Clip, numbers: range, masks: Masks, path: Path) -> None:
    """An MP4 of the frames with their masks over them, at the clip's speed.

    Args:
        clip: its frames.
        numbers: those that are shown, ascending.
        masks: their label maps.
        path: file to write. ``path`` is whole at every moment, old or new.

    Raises:
        LikewiseError: if PyAV is not there, or a frame, mask or the file cannot be used.
    """
    av = pyav()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    height, width = (side - side % 2 for side in clip.size)  # colours are stored at half size
    rate = Fraction(clip.rate / numbers.step).limit_denominator(1001)
    try:
        with whole_file(path) as file, av.open(file, "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.bit_rate = max(1_000_000, round(4 * width * height * float(rate) / 10))
            for number, pixels in zip(numbers, clip.read(numbers), strict=True):
                picture = overlay_labels(pixels, masks(number))
                frame = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(picture[:height, :width]), format="rgb24"
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except OSError as error:
        raise refused(path, error) from error
    except av.FFmpegError as error:
        raise ImageError(
            f"{path} cannot be written ({why(error)}): leave it out with --no-overlay."
        ) from error


def write_coco_video(
    clip: Clip, numbers: Sequence[int], masks: Masks, labels: Sequence[str], path: Path
) -> None:
    """COCO-video JSON, the layout of YouTube-VIS; one annotation an object, null where it is not.

    Written piece by piece: only boxes and areas are held in memory.

    Args:
        clip: its frames.
        numbers: those that are listed, ascending.
        masks: their label maps.
        labels: names of the objects, which become the categories.
        path: file to write. ``path`` is whole at every moment, old or new.

    Raises:
        LikewiseError: if a mask cannot be read, or the file not be written.
    """
    height, width = clip.size
    video = {
        "id": 1,
        "file_names": [clip.file_name(number) for number in numbers],
        "width": width,
        "height": height,
        "length": len(numbers),
    }
    categories = [{"id": k, "name": name} for k, name in enumerate(labels, 1)]
    head = {"info": {"description": "exported by likewise"}, "licenses": [], "videos": [video]}
    try:
        with whole_file(path) as file:
            start = json.dumps(head | {"categories": categories})
            file.write(f'{start[:-1]}, "annotations": ['.encode())
            for k in range(1, len(labels) + 1):
                file.write(b"," if k > 1 else b"")
                _write_object(file.write, k, numbers, masks, clip.size)
            file.write(b"]}\n")
    except OSError as error:
        raise refused(path, error) from error


def _write_object(
    write: Callable[[bytes], Any],
    k: int,
    numbers: Sequence[int],
    masks: Masks,
    size: tuple[int, int],
) -> None:
    boxes: list[list[int] | None] = []
    areas: list[int | None] = []
    write(
        f'{{"id": {k}, "video_id": 1, "category_id": {k}, "iscrowd": 0, "height": {size[0]}, '
        f'"width": {size[1]}, "segmentations": ['.encode()
    )
    for place, number in enumerate(numbers):
        mask = masks(number) == k
        area = int(mask.sum())
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        write(b", " if place else b"")
        write(json.dumps(encode_runs(mask, size) if area else None).encode())
        box = (
            [int(v) for v in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)]
            if area
            else None
        )
        boxes.append(box)
        areas.append(area or None)
    write(f'], "bboxes": {json.dumps(boxes)}, "areas": {json.dumps(areas)}}}'.encode())

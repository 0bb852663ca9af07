"""A dataset in one of the formats, image by image, whatever the number of images."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from ..errors import ImageError, LikewiseError, WriteError
from ..instances import Instance
from ..io.encoding import write_image
from ..io.files import make_folder, write_whole
from ..io.images import read_image
from ..io.opening import is_turned
from ..io.pyramid import full_scale
from .annotations import Annotation, find_instances, is_validation, read_bytes

FORMATS = ("coco", "yolo", "voc", "labelme", "qupath", "masks")


@dataclass(frozen=True)
class ExportSettings:
    """How a dataset is written."""

    classes: tuple[str, ...]
    val: float = 0.0
    """About this share of the images is for validation, 0 up to 1."""
    min_area: int = 1
    """Pieces of fewer pixels are left out."""
    simplify: float = 1.0
    """How far polygons may stray from the outline, in pixels, at an IoU of 0.98 or more."""

    def check(self) -> None:
        """Raises LikewiseError for numbers out of range."""
        if not 0 <= self.val < 1:
            raise LikewiseError(f"--val {self.val:g} is no share: give 0 up to 1, such as 0.1.")
        if self.min_area < 1:
            raise LikewiseError(f"--min-area {self.min_area} is no area: give at least 1 pixel.")
        if not 0 <= self.simplify < float("inf"):
            raise LikewiseError(
                f"--simplify {self.simplify:g} is no distance: give 0 (exact) or more pixels."
            )


@dataclass(frozen=True, eq=False)
class DatasetItem:
    """One image on its way into a dataset."""

    annotation: Annotation
    instances: list[Instance]
    split: str
    """train or val."""
    failed: list[str] = field(default_factory=list)
    """Why it is not in the dataset."""

    @contextmanager
    def told(self) -> Iterator[None]:
        """Note in ``failed`` that a file of this image alone cannot be written."""
        try:
            yield
        except WriteError:
            raise
        except ImageError as error:
            self.failed.append(str(error))

    @property
    def name(self) -> str:
        """What its files are called: a relative path without suffix."""
        return self.annotation.name or self.annotation.image.stem


@dataclass
class Summary:
    """What a dataset holds."""

    images: Counter[str] = field(default_factory=Counter)
    """train and val → number."""
    empty: int = 0
    """Images without any instance."""
    instances: Counter[str] = field(default_factory=Counter)
    """Class → number."""
    failed: list[str] = field(default_factory=list)
    """Why images are not in it: a name that is too long, a file that was locked."""


class Writer(Protocol):
    """Interface of the modules that write a format; one may also have ``check(settings)``,

    which raises LikewiseError for settings that the format cannot hold, before anything is written.
    """

    @staticmethod
    def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
        """Write all files below ``out``, those that list the others last.

        Args:
            items: read one at a time, once; a file of one item is written in its ``told``.
            out: an empty folder, or none yet.
            settings: checked.

        Raises:
            LikewiseError: two images of one name.
            WriteError: the disk refuses a file.
        """


def write_dataset(
    annotations: Iterable[Annotation], out: Path, kind: str, settings: ExportSettings
) -> Summary:
    """Write a dataset; each file is whole at every moment, those that list the others come last.

    Args:
        annotations: read one at a time, each with the classes of ``settings``.
        out: folder that is new or empty, see `check_folder`.
        kind: one of `FORMATS`.
        settings: how.

    Raises:
        LikewiseError: an unknown kind, a setting out of range, a folder that is not empty, two
            images of one name, or classes that the format cannot hold.
        WriteError: the disk refuses a file.
    """
    writer = find_writer(kind, settings)
    check_folder(out)
    summary = Summary(Counter(train=0, val=0), 0, Counter(dict.fromkeys(settings.classes, 0)))
    writer.write(_items(annotations, settings, summary), out, settings)
    return summary


def find_writer(kind: str, settings: ExportSettings) -> Writer:
    """The module that writes a format. Raises LikewiseError as `write_dataset` does."""
    if kind == "supervision":
        raise LikewiseError(
            "supervision has no format of its own: give --format coco, and load that with "
            "likewise.integrations.supervision.load, which keeps the scores."
        )
    if kind not in FORMATS:
        raise LikewiseError(f"the format {kind!r} is unknown: give one of {', '.join(FORMATS)}.")
    settings.check()
    writer = importlib.import_module(f".{kind}", __package__)
    if hasattr(writer, "check"):
        writer.check(settings)
    return cast(Writer, writer)


def check_folder(out: Path) -> None:
    """Raises LikewiseError unless ``out`` is new or empty: datasets never mix or overwrite."""
    try:
        used = out.exists() and any(out.iterdir())
    except OSError as error:
        raise LikewiseError(
            f"{out} cannot be a dataset's folder ({error.strerror}): give another --out."
        ) from error
    if used:
        raise LikewiseError(f"the folder {out} is not empty: give a new one as --out.")


def _items(
    annotations: Iterable[Annotation], settings: ExportSettings, summary: Summary
) -> Iterator[DatasetItem]:
    named: dict[str, Path] = {}
    for annotation in annotations:
        image = annotation.image
        name = annotation.name or image.stem
        if name in named:
            raise LikewiseError(
                f"{named[name]} and {image} have the same name: rename one of them."
            )
        named[name] = image
        split = "val" if is_validation(image, settings.val) else "train"
        instances = list(find_instances(annotation, settings.min_area))
        item = DatasetItem(annotation, instances, split)
        yield item
        if item.failed:
            summary.failed += item.failed
            continue
        summary.images[split] += 1
        summary.empty += not instances
        summary.instances.update(i.label for i in instances)


def copy_image(annotation: Annotation, copy: Path) -> None:
    """Copy an image byte for byte; or as it was seen if it is stored turned, or if the file holds
    more than the picture that was chosen of it.

    Many readers of datasets know nothing of EXIF orientation, and the labels are upright.

    Args:
        annotation: of the image.
        copy: the new file, without the suffix.

    Raises:
        ImageError: the image cannot be read.
        WriteError: the copy cannot be written.
    """
    image, choice = annotation.image, annotation.choice
    scale, _ = full_scale(image, annotation.label_map.shape)
    if choice.page is not None or choice.channels or scale != (1, 1):
        write_image(copy.with_name(f"{copy.name}.png"), read_image(choice.of(image)))
    elif is_turned(image):
        known = image.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
        suffix = image.suffix if known else ".png"
        write_image(copy.with_name(f"{copy.name}{suffix}"), read_image(image))
    else:
        write_whole(copy.with_name(f"{copy.name}{image.suffix}"), read_bytes(image))


def file_in(folder: Path, name: str) -> Path:
    """The file of that name in a folder, whose own folder is made. Raises as ``make_folder``."""
    file = folder / name
    make_folder(file.parent)
    return file

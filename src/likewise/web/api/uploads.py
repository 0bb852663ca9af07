"""References that are uploaded: checked, hashed, and read into a segmenter."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import LikewiseError
from ...io.files import write_whole
from ...io.images import read_picture
from ...io.masks import parse_value, read_mask
from ...reference import Reference
from ..errors import RefusedError
from ..limits import ImageBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...segmenter import Segmenter

MOST = 32
"""References in a set: more take long to encode and rarely help."""


@dataclass(frozen=True)
class UploadedReferences:
    """The fields of one request; either ``file`` or ``images`` and ``masks``."""

    images: Sequence[BinaryIO]
    masks: Sequence[BinaryIO]
    labels: Sequence[str]
    values: Sequence[str]
    """What part of a mask is the example, see ``parse_value``."""
    negative: Sequence[BinaryIO]
    file: BinaryIO | None

    def check(self) -> None:
        """Raises LikewiseError if there is too much, too little, or what does not go together."""
        given = [self.images, self.masks, self.labels, self.values, self.negative]
        if self.file is not None and any(given):
            raise LikewiseError("file holds all references: send no images, masks or labels too.")
        if self.file is None and not self.images:
            raise LikewiseError("no reference was sent: send images and masks, or file.")
        for name in ("masks", "labels", "values"):
            count = len(getattr(self, name))
            if count != len(self.images) and (count or name == "masks"):
                raise LikewiseError(
                    f"{len(self.images)} images and {count} {name} were sent: send one of {name} "
                    "for each of images, in the same order."
                )
        if len(self.images) + len(self.negative) > MOST:
            raise RefusedError(413, f"a set has at most {MOST} references: send fewer.")
        for label in self.labels:
            check_label(label)
        for k, value in enumerate(self.values):
            parse_value(value, f"values[{k}]")

    def id(self) -> str:
        """32 hex digits of all that was sent."""
        whole = hashlib.sha256()
        for part in self._parts():
            if isinstance(part, str):
                own = hashlib.sha256(b"text" + part.encode())
            else:
                own = hashlib.sha256(b"file")
                part.seek(0)
                while block := part.read(1 << 20):
                    own.update(block)
                part.seek(0)
            whole.update(own.digest())
        return whole.hexdigest()[:32]

    def _parts(self) -> list[BinaryIO | str]:
        parts: list[BinaryIO | str] = []
        for name, files in (("images", self.images), ("masks", self.masks)):
            parts += [name, *files]
        parts += ["negative", *self.negative, "labels", *self.labels]
        parts += ["values", *self.values]
        return parts if self.file is None else ["file", self.file]

    def work(self, segmenter: Segmenter, max_pixels: int) -> Callable[[], Segmenter]:
        """What is left to do: to fit the segmenter. Of images only the headers are read here.

        Raises:
            LikewiseError: if an image is none, or too large.
        """
        if self.file is not None:
            return partial(_load, segmenter, self.file)
        budget = ImageBudget(max_pixels)
        images, masks, negative = (
            [budget.open(file, f"{name}[{k}]") for k, file in enumerate(getattr(self, name))]
            for name in ("images", "masks", "negative")
        )
        return partial(self._fit, segmenter, images, masks, negative)

    def _fit(
        self, segmenter: Segmenter, images: list[Any], masks: list[Any], negative: list[Any]
    ) -> Segmenter:
        references = []
        for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
            picture = read_picture(image, name=f"images[{k}]")
            value = parse_value(self.values[k], f"values[{k}]") if self.values else None
            size = picture.pixels.shape[0], picture.pixels.shape[1]
            marked = read_mask(mask, size=size, value=value, name=f"masks[{k}]")
            label = self.labels[k] if self.labels else "object"
            references.append(Reference(picture, marked, label=label))
        for k, image in enumerate(negative):
            picture = read_picture(image, name=f"negative[{k}]")
            references.append(Reference(picture, None, negative=True))
        return segmenter.fit(references)


def _load(segmenter: Segmenter, file: BinaryIO) -> Segmenter:
    """A references file; it is on disk for that long only, in a temporary folder."""
    from ...reference_file import read_info

    with tempfile.TemporaryDirectory(prefix="likewise-") as folder:
        path = Path(folder) / "references.safetensors"
        write_whole(path, file.read())
        try:
            info = read_info(path)
            if len(info.shots) > MOST:
                raise RefusedError(413, f"file has {len(info.shots)} references, more than {MOST}.")
            for label in info.classes:
                check_label(label)
            return segmenter.load(path)
        except RefusedError:
            raise
        except LikewiseError as error:
            raise LikewiseError(str(error).replace(str(path), "file")) from error


def check_label(label: object) -> None:
    """Raises LikewiseError unless it is a text that can be shown."""
    if not (isinstance(label, str) and 0 < len(label) <= 100 and label.isprintable()):
        raise LikewiseError("a label must be a text of 1 to 100 characters that can be shown.")

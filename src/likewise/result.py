"""What a caller gets back for one image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import LikewiseError, needs
from .io.draw import class_colour, overlay_labels, preview

if TYPE_CHECKING:
    from .features.clustering import MergeTree
    from .instances import Instance


@dataclass(frozen=True, eq=False)
class ClassResult:
    """What was found of one class in one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size, with its parts; no pixel is in two other classes."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 before the classes compete: on the patch grid, finer of ``segic``."""
    confidence: float
    """0..1: how sure the method is that the target shows the class at all."""
    trace: Any = None
    """What the method saw, to look inside."""
    disputed: bool = False
    """Whether the consensus of a batch found something else, and was not followed."""


@dataclass(frozen=True, eq=False)
class Result:
    """The segmentation of one target."""

    mask: np.ndarray
    """(H, W) bool at the target's own size: any of the classes."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 on the patch grid, before upsampling; above 0.5 is foreground.

    With several classes each patch has the score of its best class."""
    confidence: float
    """0..1: how sure the method is that the target shows the concept (the surest class) at all."""
    trace: Any
    """What the method saw (for INSID3 candidates, clusters, seed, scores), of the surest class."""
    label_map: np.ndarray
    """(H, W) uint8 (uint16 for more than 255 classes): 0 unknown, k the k-th of ``labels``;
    a part lies over its whole."""
    classes: Mapping[str, ClassResult]
    """Label → what was found of it, in the order of ``labels``."""
    tree: MergeTree | None = None
    """The clustering of the image's patches, where the segmenter was told to keep it."""
    preview: np.ndarray | None = None
    """(h, w, 3) uint8 RGB, the image at most 320 pixels a side: what notebooks draw on."""

    def within(self, valid: np.ndarray | None) -> Result:
        """The same without pixels that are not valid.

        Args:
            valid: (H, W) bool as in ``images.Picture``; None if all are.
        """
        if valid is None:
            return self
        classes = {k: replace(c, mask=c.mask & valid) for k, c in self.classes.items()}
        label_map = np.where(valid, self.label_map, self.label_map.dtype.type(0))
        return replace(self, mask=label_map > 0, label_map=label_map, classes=classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes looked for, in the order in which the references name them."""
        return tuple(self.classes)

    def instances(self, label: str | None = None) -> list[Instance]:
        """The objects of one class, or of all in order; see ``instances.find_objects``.

        Raises:
            LikewiseError: if nobody looked for the label.
        """
        from .instances import find_objects

        if label is not None and label not in self.classes:
            raise LikewiseError(
                f"the class {label!r} was not looked for; use one of {', '.join(self.labels)}."
            )
        return [
            instance
            for number, (name, c) in enumerate(self.classes.items(), 1)
            if label in (None, name)
            for instance in find_objects(c.mask, c.scores, c.confidence, number, name)
        ]

    @property
    def present(self) -> bool:
        """Whether the target shows any of it."""
        return bool(self.mask.any())

    @property
    def area(self) -> float:
        """Share of the image that is foreground, 0..1; 0 means that nothing was found."""
        return float(self.mask.mean())

    def to_supervision(self, *, min_area: int = 1) -> Any:
        """As ``supervision.Detections`` (of the package supervision), one for every object.

        Args:
            min_area: smaller objects are left out, in pixels. Each takes H × W bytes of memory.

        Returns:
            Detections of n objects: ``xyxy`` (n, 4) float32, edges of pixels (0 to W and H);
            ``mask`` (n, H, W) bool; ``confidence`` (n,) float32, 0..1, of the object;
            ``class_id`` (n,) int64, the place in ``labels``, from 0; ``data["class_name"]``
            (n,) str.

        Raises:
            LikewiseError: if supervision is not installed.
        """
        with needs("supervision"):
            import supervision
        pieces = [p for p in self.instances() if p.area >= min_area]
        masks = np.zeros((len(pieces), *self.mask.shape), bool)
        boxes = np.zeros((len(pieces), 4), np.float32)
        for mask, box, piece in zip(masks, boxes, pieces, strict=True):
            height, width = piece.mask.shape
            bottom, right = piece.top + height, piece.left + width
            mask[piece.top : bottom, piece.left : right] = piece.mask
            box[:] = piece.left, piece.top, right, bottom
        return supervision.Detections(
            xyxy=boxes,
            mask=masks,
            confidence=np.array([piece.score for piece in pieces], np.float32),
            class_id=np.array([piece.number - 1 for piece in pieces], np.int64),
            data={"class_name": np.array([piece.label for piece in pieces], str)},
        )

    def _repr_png_(self) -> bytes:
        return to_png(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def draw_result(result: Result) -> npt.NDArray[np.uint8]:
    """(h, w, 3) uint8: the classes in their colours over the small picture, or over white."""
    label_map = preview(result.label_map)
    ground = result.preview
    if ground is None:
        ground = np.full((*label_map.shape, 3), 255, np.uint8)
    return overlay_labels(ground, label_map)


def to_png(result: Result) -> bytes:
    """``draw_result`` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(draw_result(result)).save(file, "PNG")
    return file.getvalue()


def to_html(result: Result) -> str:
    """The picture, and for each class its area (share of the image) and confidence."""
    height, width = result.mask.shape
    rows = []
    for number, (label, found) in enumerate(result.classes.items(), 1):
        colour = "#{:02x}{:02x}{:02x}".format(*class_colour(number))
        area = f"{found.mask.mean():.1%} of the image" if found.mask.any() else "not found"
        rows.append(
            f'<div><span style="color:{colour}">&#9632;</span> {escape(label)}: {area}, '
            f"confidence {found.confidence:.2f}</div>"
        )
    picture = base64.b64encode(to_png(result)).decode("ascii")
    return (
        f'<div><img src="data:image/png;base64,{picture}" alt="what was found"/>'
        f"<div>{width} × {height} pixels</div>{''.join(rows)}</div>"
    )

"""What a caller gets back for one image."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import LikewiseError, needs
from .io.draw import class_colour, class_palette, overlay_labels, preview
from .io.encoding import write_label_map, write_mask

if TYPE_CHECKING:
    from .features.clustering import MergeTree
    from .features.tiles import Plan
    from .instances import Instance


@dataclass(frozen=True, eq=False)
class ClassResult:
    """What was found of one class in one image; all of it is of this class alone."""

    mask: np.ndarray
    """(H, W) bool at the image's own size. The masks of several classes do not overlap, but that
    the mask of ``person`` also has the pixels of its part ``person/hair``."""
    scores: np.ndarray
    """(h, w) float32 in 0..1; 0.5 is the threshold. Before the classes compete for pixels and
    before upsampling: on the patch grid, of methods with a decoder on a finer one."""
    confidence: float
    """0..1: how sure the method is that the image shows the class at all."""
    trace: Any = None
    """Intermediate results of the method, such as ``INSID3Trace``."""
    disputed: bool = False
    """Whether the consensus of a batch found something else, and was not followed."""


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in one image.

    ``mask``, ``scores``, ``area`` and ``present`` are merged over all classes; ``confidence`` and
    ``trace`` are those of the class with the highest confidence. What was found of each class for
    itself is in ``classes``. With one class there is no difference.
    """

    mask: np.ndarray
    """(H, W) bool at the image's own size: merged, the pixels of any class."""
    scores: np.ndarray
    """(h, w) float32 in 0..1 on the patch grid, before upsampling; above 0.5 is foreground. Merged:
    of each patch the highest score of any class."""
    confidence: float
    """0..1: how sure the method is that the image shows the class at all; of the surest class."""
    trace: Any
    """Intermediate results of the method (of INSID3 candidates, clusters, seed, scores); of the
    surest class."""
    label_map: np.ndarray
    """(H, W) uint8 (uint16 for more than 255 classes): 0 none, k the k-th of ``labels``; where a
    part and its whole (``person/hair``, ``person``) are, the part."""
    classes: Mapping[str, ClassResult]
    """Label → what was found of this class alone, in the order of ``labels``."""
    tree: MergeTree | None = None
    """The clustering of the image's patches, of no class; with ``Segmenter(keep_tree=True)``. None
    of an image read in tiles."""
    preview: np.ndarray | None = None
    """(h, w, 3) uint8 RGB, the image at most 320 pixels a side: what notebooks draw on."""
    plan: Plan | None = None
    """How the image was read in tiles; None if at once."""

    @classmethod
    def merged(
        cls,
        classes: Mapping[str, ClassResult],
        label_map: np.ndarray,
        image: np.ndarray,
        tree: MergeTree | None = None,
    ) -> Result:
        """Of what was found of each class.

        Args:
            classes: label → what was found of it; scores of one shape.
            label_map: (H, W) as the field.
            image: (H, W, 3) uint8 RGB, for the preview.
            tree: as the field.
        """
        best = max(classes.values(), key=lambda c: c.confidence)
        return cls(
            mask=label_map > 0,
            scores=np.maximum.reduce([c.scores for c in classes.values()]),
            confidence=best.confidence,
            trace=best.trace,
            label_map=label_map,
            classes=classes,
            tree=tree,
            preview=preview(image),
        )

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
        """Whether the image shows any of the classes."""
        return bool(self.mask.any())

    @property
    def area(self) -> float:
        """Share of the image that is in ``mask``, 0..1; 0 means that nothing was found."""
        return float(self.mask.mean())

    def save(self, path: str | Path) -> None:
        """Write what was found as PNG, as ``likewise segment`` does; the file is replaced whole.

        With one class this is the mask, 8 bits, 0 and 255. With several it is the label map, in a
        palette of the classes' colours (16-bit grey for more than 255 classes); readers that want
        the numbers take the index.

        Args:
            path: the file, ending in .png; its folder must exist.

        Raises:
            ImageError: another suffix, or the file cannot be written.
        """
        if len(self.classes) == 1:
            write_mask(path, self.mask)
        else:
            write_label_map(path, self.label_map, class_palette(len(self.classes)))

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
        objects = [i for i in self.instances() if i.area >= min_area]
        masks = np.zeros((len(objects), *self.mask.shape), bool)
        boxes = np.zeros((len(objects), 4), np.float32)
        for mask, box, instance in zip(masks, boxes, objects, strict=True):
            left, top, right, bottom = instance.box_xyxy
            box[:] = left, top, right, bottom
            mask[top:bottom, left:right] = instance.mask
        return supervision.Detections(
            xyxy=boxes,
            mask=masks,
            confidence=np.array([instance.score for instance in objects], np.float32),
            class_id=np.array([instance.number - 1 for instance in objects], np.int64),
            data={"class_name": np.array([instance.label for instance in objects], str)},
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

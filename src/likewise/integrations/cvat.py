"""CVAT: an auto-annotation function out of one references file.

``cvat-cli task auto-annotate`` imports this module and calls ``create``; see docs/bridges.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LikewiseError, needs
from ..export.outlines import outline
from ..refine import DEFAULT_REFINER
from ..segmenter import load
from . import check_outline, find_pieces

if TYPE_CHECKING:
    from PIL import Image

    from ..segmenter import Segmenter

SHAPES = ("mask", "polygon")


def create(
    references: str,
    *,
    shape: str = "mask",
    conf_threshold: float = 0.0,
    min_area: int = 1,
    simplify: float = 1.0,
    backbone: str | None = None,
    refine: str = DEFAULT_REFINER,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
) -> Detector:
    """The function that CVAT's tools run on every frame.

    Args:
        references: what ``likewise references save`` wrote: classes, backbone, method, settings.
        shape: ``mask`` or ``polygon``, one for every object; CVAT may ask for polygons anyway.
        conf_threshold: 0..1, minimum confidence of a class where CVAT gives none. The method's
            own limit (``presence``, 0.5 as a rule) counts as well.
        min_area: leave out connected components of fewer pixels.
        simplify: pixels that polygons may stray, at an IoU of 0.98 or more; 0 is exact.
        backbone: its file or folder, where likewise does not know it by name.
        refine: edges: ``none``, ``guided`` or ``crf``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        offline: never touch the network.

    Raises:
        LikewiseError: in one sentence, if something cannot be used.
    """
    if shape not in SHAPES:
        raise LikewiseError(f"the shape {shape!r} is unknown: give one of {', '.join(SHAPES)}.")
    if not 0 <= conf_threshold <= 1:
        raise LikewiseError(f"conf_threshold {conf_threshold:g} is no confidence: give 0 to 1.")
    check_outline(min_area, simplify)
    with needs("cvat"):
        import cvat_sdk.auto_annotation  # noqa: F401 (before the seconds that a backbone takes)
    segmenter = load(
        references, backbone=backbone, refiner=refine, device=device, dtype=dtype, offline=offline
    )
    return Detector(segmenter, shape, conf_threshold, min_area, simplify)


class Detector:
    """A ``cvat_sdk.auto_annotation.DetectionFunction``."""

    def __init__(
        self,
        segmenter: Segmenter,
        shape: str = "mask",
        conf_threshold: float = 0.0,
        min_area: int = 1,
        simplify: float = 1.0,
    ) -> None:
        from cvat_sdk import auto_annotation

        self.segmenter = segmenter
        self.shape = shape
        self.conf_threshold = conf_threshold
        self.min_area = min_area
        self.simplify = simplify
        self.spec = auto_annotation.DetectionFunctionSpec(
            labels=[
                auto_annotation.label_spec(label, number, type=shape)
                for number, label in enumerate(segmenter.fitted().labels, 1)
            ]
        )

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """The objects in one frame.

        Args:
            context: ``DetectionFunctionContext``; its ``conf_threshold`` and ``conv_mask_to_poly``
                are honoured.
            image: any mode.

        Returns:
            A ``LabeledShapeRequest`` for every object.
        """
        from cvat_sdk import auto_annotation, masks

        result = self.segmenter.segment(image)
        given = context.conf_threshold
        min_confidence = self.conf_threshold if given is None else given
        shapes = []
        for instance in find_pieces(result, self.min_area):
            if result.classes[instance.label].confidence < min_confidence:
                continue
            if self.shape == "polygon" or context.conv_mask_to_poly:
                points = outline(instance, self.simplify).ravel().astype(float).tolist()
                shapes.append(auto_annotation.polygon(instance.number, points))
            else:
                # Encoded as small as it is, then moved to its place: the last four are its corners.
                *runs, _, _, right, bottom = masks.encode_mask(
                    instance.mask, (0, 0, *instance.mask.shape[::-1])
                )
                left, top = instance.left, instance.top
                box = [left, top, right + left, bottom + top]
                shapes.append(auto_annotation.mask(instance.number, runs + box))
        return shapes

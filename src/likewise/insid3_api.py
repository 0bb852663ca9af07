"""``build_insid3``: the released INSID3's programming interface, for code written against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .backbones.encoder import Encoder
from .errors import LikewiseError
from .features.encoded import Encoded
from .images import ImageLike, read_image
from .masks import MaskLike
from .methods.insid3 import INSID3Params
from .reference import Example
from .segmenter import Segmenter, check_keypoints, match_encoded

_REFINERS = {None: "none", "bilinear": "none"}


class INSID3:
    """Made by ``build_insid3``; holds references and one target until they are replaced."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._first: Encoded | None = None
        self._target: tuple[np.ndarray, Encoded] | None = None

    @property
    def _encoder(self) -> Encoder:
        return self._segmenter.encoder

    def set_reference(self, image: ImageLike, mask: MaskLike | None = None) -> None:
        """One example: an image and the mask of the concept; without a mask only for ``match``."""
        if mask is None:
            self._segmenter.references = None
            self._first = self._encoder.encode(read_image(image))
        else:
            self.set_references([(image, mask)])

    def set_references(self, references: Sequence[Example]) -> None:
        """Several examples of the same concept: [(image, mask), ...]."""
        fitted = self._segmenter.fit(references).references
        self._first = fitted.shots[0].encoded if fitted else None

    def set_target(self, image: ImageLike) -> None:
        """The image to segment or to match in; encoded once."""
        pixels = read_image(image)
        self._target = (pixels, self._encoder.encode(pixels))

    def segment(
        self, image: ImageLike | None = None, *, keep_references: bool = True
    ) -> np.ndarray:
        """Mask of the concept in ``image``, or in the target set before.

        Args:
            image: becomes the target; None uses ``set_target``'s.
            keep_references: False forgets references and target afterwards, as the released code
                does after each call.

        Returns:
            (H, W) bool at the target's own size.

        Raises:
            LikewiseError: if there is no reference with a mask, or no target.
        """
        if image is not None:
            self.set_target(image)
        if self._target is None:
            raise LikewiseError("no target yet: call set_target(image) or segment(image).")
        mask = self._segmenter.segment_encoded(*self._target).mask
        if not keep_references:
            self._segmenter.references = self._first = self._target = None
        return mask

    def match(
        self, keypoints: Sequence[Sequence[float]] | np.ndarray, *, debiased: bool = True
    ) -> np.ndarray:
        """Where keypoints of the (first) reference lie in the target.

        Args:
            keypoints: (n, 2) x, y in pixels of the reference.
            debiased: match with debiased features.

        Returns:
            (n, 2) float32 x, y in pixels of the target.

        Raises:
            LikewiseError: if reference or target is missing, or a point lies outside.
        """
        if self._first is None or self._target is None:
            raise LikewiseError("match needs set_reference(image) and set_target(image) first.")
        points = check_keypoints(keypoints, self._first.size)
        return match_encoded(self._first, self._target[1], points, debiased)[0]


def build_insid3(
    backbone: str = "embedded",
    image_size: int | tuple[int, int] | None = None,
    svd_components: int | float | None = None,
    tau: float | None = None,
    merge_threshold: float = INSID3Params.alpha,
    mask_refiner: str | None = "bilinear",
    device: str = "auto",
) -> INSID3:
    """INSID3 with the released code's names.

    Args:
        backbone: ``vits``, ``vitb``, ``vitl``, ``vith``, ``vit7b``, or what ``Segmenter`` takes.
        image_size: side of the square input; the registry's by default (1024 for DINOv3).
        svd_components: rank s of the positional basis; 500/1024 of D by default, since the released
            default of 500 removes the whole space of smaller backbones.
        tau: clustering threshold; the backbone's by default (0.6 for DINOv3).
        merge_threshold: α of the aggregation.
        mask_refiner: ``bilinear`` (or None), ``guided`` or ``crf``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        LikewiseError: in one sentence, if something cannot be used.
    """
    return INSID3(
        Segmenter(
            backbone,
            image_size=image_size,
            svd_components=svd_components,
            method="insid3",
            tau=tau,
            alpha=merge_threshold,
            refiner=_REFINERS.get(mask_refiner, mask_refiner or "none"),
            device=device,
        )
    )

"""The façade: give it examples once, then any number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .backbones.encoder import Encoder
from .errors import LikewiseError
from .images import ImageLike, read_image
from .methods import get_method, make_params
from .methods.keypoints import match_keypoints
from .reference import Example, ReferenceSet, as_references, encode_references
from .refine import check_refiner, refine
from .result import Result

if TYPE_CHECKING:
    from .backbones.loading import Backbone
    from .features.encoded import Encoded


class Segmenter:
    """Segment in every image what is masked in the references, training-free.

    >>> import likewise
    >>> segmenter = likewise.Segmenter()  # the embedded backbone, on the best device there is
    >>> segmenter.fit([("coin.jpg", "coin_mask.png")])  # doctest: +SKIP
    >>> segmenter.segment("more_coins.jpg").mask  # (H, W) bool  # doctest: +SKIP

    Args:
        backbone: ``embedded``, a name from ``likewise backbones``, a checkpoint file or folder, a
            hub name, a loaded Backbone, or an Encoder to share.
        image_size: side of the square the backbone sees, or (H, W); the registry's by default.
        svd_components: rank of the positional basis, int or fraction of D (INSID3 §3.1).
        method: ``likewise``, or ``insid3``, ``foris``, ``frost`` and ``nearest`` to compare with.
        refiner: ``none``, ``guided`` or ``crf``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16`` for the backbone.
        block: 1-based block whose features are read; the last by default.
        offline: never touch the network.
        settings: of the method, fields of its ``Params``, such as ``tau`` of ``insid3``; None
            stands for the default.

    Raises:
        LikewiseError: in one sentence, if something cannot be used.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone | Encoder = "embedded",
        *,
        image_size: int | tuple[int, int] | None = None,
        svd_components: int | float | None = None,
        method: str = "insid3",
        refiner: str = "none",
        device: str = "auto",
        dtype: str = "auto",
        block: int | None = None,
        offline: bool = False,
        **settings: float | None,
    ) -> None:
        check_refiner(refiner)
        if isinstance(backbone, Encoder):
            if (image_size, svd_components, device, dtype, block, offline) != (
                *(None, None, "auto", "auto", None, False),
            ):
                raise LikewiseError("a shared Encoder keeps its own size, rank, device and block.")
        else:
            backbone = Encoder(
                backbone,
                image_size=image_size,
                svd_components=svd_components,
                device=device,
                dtype=dtype,
                block=block,
                offline=offline,
            )
        self.encoder = backbone
        self.refiner = refiner
        self.method = method
        self.params = make_params(method, settings, self.encoder.spec.tau)
        self.references: ReferenceSet | None = None
        self._model: Any = None

    def fit(
        self,
        references: Example | Sequence[Example],
    ) -> Segmenter:
        """Encode the references once; they replace earlier ones and stay until the next ``fit``.

        Args:
            references: one or more ``Reference`` or (image, mask) pairs of the same concept.

        Returns:
            self, so that ``Segmenter().fit(...).segment(...)`` reads well.

        Raises:
            ImageError: if an image or mask cannot be used.
        """
        views = get_method(self.method).VIEWS
        self.references = encode_references(self.encoder, as_references(references), views)
        self._model = get_method(self.method).fit(self.references, self.params)
        return self

    def segment(self, image: ImageLike) -> Result:
        """Segment one image. Raises ImageError if it cannot be read."""
        pixels = read_image(image)
        return self.segment_encoded(pixels, self.encoder.encode(pixels))

    def segment_many(self, images: Iterable[ImageLike]) -> Iterator[Result]:
        """Segment images one after the other; yields one ``Result`` each, in order."""
        for image in images:
            yield self.segment(image)

    def segment_encoded(self, pixels: np.ndarray, target: Encoded) -> Result:
        """Segment an image that is encoded already: (H, W, 3) uint8 RGB and its features.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        if self.references is None:
            raise LikewiseError("no reference yet: give at least one (image, mask) pair first.")
        found = get_method(self.method).score(self._model, target)
        scores = found.patches.reshape(target.grid)
        mask = refine(scores, pixels, self.encoder.input_size, self.refiner)
        return Result(mask, scores.cpu().numpy(), found.confidence, found.trace)

    def match(
        self,
        reference: ImageLike,
        keypoints: Sequence[Sequence[float]] | np.ndarray,
        image: ImageLike,
        *,
        debiased: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find points of one image in another (INSID3 §4.3, semantic correspondence).

        Args:
            reference: the image that the points are of.
            keypoints: (n, 2) x, y in pixels of ``reference``.
            image: the target.
            debiased: match with debiased features, the paper's way.

        Returns:
            ``(points, similarity)``: (n, 2) float32 x, y in pixels of the target, and (n,) float32
            cosine similarity of the best patch, -1..1.

        Raises:
            LikewiseError: if a point is not a pair of numbers inside the reference.
        """
        first, second = self.encoder.encode_many([read_image(reference), read_image(image)])
        points = check_keypoints(keypoints, first.size)
        return match_encoded(first, second, points, debiased)


def match_encoded(
    reference: Encoded, target: Encoded, keypoints: np.ndarray, debiased: bool
) -> tuple[np.ndarray, np.ndarray]:
    """``match_keypoints`` on (n, 2) float32 arrays."""
    import torch

    points, similarity = match_keypoints(
        reference, target, torch.from_numpy(keypoints), debiased=debiased
    )
    return points.cpu().numpy(), similarity.cpu().numpy()


def check_keypoints(
    keypoints: Sequence[Sequence[float]] | np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """(n, 2) float32 of x, y inside an (H, W) image. Raises LikewiseError otherwise."""
    try:
        points = np.asarray(keypoints, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise LikewiseError("keypoints must be numbers: one (x, y) pair for each point.") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise LikewiseError(
            f"keypoints must be (n, 2): one (x, y) pair for each point, not {points.shape}."
        )
    inside = (points >= 0).all(axis=1) & (points <= (size[1], size[0])).all(axis=1)
    if not inside.all():
        x, y = points[~inside][0]
        raise LikewiseError(
            f"keypoint ({x:g}, {y:g}) lies outside its image of {size[1]}x{size[0]} pixels."
        )
    return points

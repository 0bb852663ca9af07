"""The façade: give it examples once, then any number of images."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .backbones.download import sha256_of
from .backbones.encoder import Encoder
from .errors import LikewiseError, note
from .io.draw import glimpse
from .io.images import ImageLike, Picture, read_picture
from .io.prefetch import ahead, batched
from .methods import (
    DEFAULT,
    MethodParams,
    check_consensus,
    check_negatives,
    get_method,
    make_params,
    params_of,
)
from .methods.keypoints import match_keypoints
from .reference import (
    Example,
    ReferenceSet,
    Shot,
    as_references,
    check_classes,
    encode_references,
    wholes_of,
)
from .refine import check_refiner, compete_inside, refine
from .result import ClassResult, Result

if TYPE_CHECKING:
    import torch

    from .backbones.loading import Backbone
    from .features.encoded import Encoded
    from .features.shared import Shared
    from .methods import Scores
    from .tuning import Tuning

MIN_PATCHES = 2
"""Patches that an object must measure to be seen: of the grid's, which covers the whole image."""
CONSENSUS_BATCH = 16
"""Images that lend each other references; more do not help (measured publicly on COCO-20i)."""


class Segmenter:
    """Segment in every image what is masked in the references, training-free.

    >>> import likewise
    >>> segmenter = likewise.Segmenter()  # the embedded backbone, on the best device there is
    >>> segmenter.fit([("coin.jpg", "coin_mask.png")])
    >>> segmenter.segment("more_coins.jpg").mask  # (H, W) bool

    Args:
        backbone: ``embedded``, a name from ``likewise backbones``, a checkpoint file or folder, a
            hub name, a loaded Backbone, or an Encoder to share.
        image_size: side of the square the backbone sees, or (H, W); the registry's by default.
        svd_components: rank of the positional basis, int or fraction of D (INSID3 §3.1).
        method: name of one, with its defaults (``likewise``; or ``insid3``, ``foris``, ``frost``
            and ``nearest`` to compare with), or its settings: ``INSID3Params(tau=0.7)``. ``segic``
            needs a decoder that was trained: ``SegICParams(decoder="decoder.safetensors")``.
        refiner: ``none``, ``guided`` or ``crf``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16`` for the backbone.
        block: 1-based block whose features are read; the last by default.
        offline: never touch the network.
        keep_tree: results keep the clustering of their image (``Result.tree``), to cut it later.

    Raises:
        LikewiseError: in one sentence, if something cannot be used.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone | Encoder = "embedded",
        *,
        image_size: int | tuple[int, int] | None = None,
        svd_components: int | float | None = None,
        method: str | MethodParams = DEFAULT,
        refiner: str = "none",
        device: str = "auto",
        dtype: str = "auto",
        block: int | None = None,
        offline: bool = False,
        keep_tree: bool = False,
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
        self.keep_tree = keep_tree
        self.params = params_of(method, self.encoder.spec.tau)
        if get_method(self.method).CAN.decoder:
            from .methods.segic.files import check_backbone

            check_backbone(self.params.decoder, self.encoder)
        self.references: ReferenceSet | None = None
        self._models: dict[str, Any] = {}

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.params.method)

    def fit(
        self,
        references: Example | Sequence[Example],
    ) -> Segmenter:
        """Encode the references once; they replace earlier ones and stay until the next ``fit``.

        Args:
            references: one or more ``Reference`` or (image, mask) pairs: of one concept, or with
                different ``label``s of several that compete. What the other classes mark is
                negative for a class, where the method knows negatives.

        Returns:
            self, so that ``Segmenter().fit(...).segment(...)`` reads well.

        Raises:
            ImageError: if an image or mask cannot be used.
            LikewiseError: if there are negative references and the method knows none.
        """
        method = get_method(self.method)
        examples = as_references(references)
        check_negatives(self.method, examples)
        return self.learn(encode_references(self.encoder, examples, method.VIEWS))

    def learn(self, encoded: ReferenceSet) -> Segmenter:
        """``fit`` to references that are encoded already; returns self."""
        method = get_method(self.method)
        self._models = {
            label: method.fit(encoded.of(label), self.params) for label in encoded.labels
        }
        self.references = encoded
        return self

    @property
    def fingerprint(self) -> str:
        """32 hex digits of all that masks depend on but the image: see ``run/manifest.py``.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        parts = [
            *(__version__, self.encoder.fingerprint, self.method, self.refiner),
            *(json.dumps(asdict(self.params), sort_keys=True, default=str), *self._models),
            self.fitted().fingerprint,
        ]
        if get_method(self.method).CAN.decoder:
            parts.append(sha256_of(Path(self.params.decoder)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]

    def with_threshold(self, threshold: float) -> Segmenter:
        """The same references with another ``threshold``; nothing is encoded or learnt again.

        Raises:
            LikewiseError: if the method has no threshold, or it is no finite number.
        """
        known = vars(self.params) | {"threshold": threshold}
        other = copy.copy(self)
        other.params = make_params(self.method, known)
        # Methods that have one use it when they score only.
        other._models = {k: replace(m, params=other.params) for k, m in self._models.items()}
        return other

    def only(self, labels: Sequence[str]) -> Segmenter:
        """Looks for some of the classes: those that are known to be in the images.

        Nothing is learnt again: what the others mark still speaks against these.

        Raises:
            LikewiseError: if there is no reference yet, or none of one of ``labels``.
        """
        labels = check_classes(labels, self.fitted().labels)
        other = copy.copy(self)
        other._models = {k: model for k, model in self._models.items() if k in labels}
        return other

    def save_references(self, path: str | Path, *, half: bool = False) -> None:
        """Write the references to one ``.safetensors`` file; see ``reference_file.py``.

        Args:
            path: the file; its folder must exist.
            half: round features to float16: half the size, no longer the same to the last bit.

        Raises:
            LikewiseError: if there is no reference yet, or the file cannot be written.
        """
        from .saved_references import save_references

        save_references(path, self.fitted(), self.encoder, self.method, self.params, half=half)

    def load_references(self, path: str | Path, only: Sequence[str] | None = None) -> Segmenter:
        """As ``fit`` from the pictures, from a file of ``save_references`` instead.

        Backbone, block, input size and rank must be those of the file; method and settings are this
        segmenter's own. ``Segmenter(**read_info(path).options())`` has all of them from the file.

        Args:
            path: the file.
            only: classes to take; None for all. The others are not even negative.

        Returns:
            self.

        Raises:
            LikewiseError: if the file cannot be used, or not with this backbone or method.
        """
        from .saved_references import load_references

        encoded = load_references(path, self.encoder, self.method)
        return self.learn(encoded if only is None else encoded.only(only))

    def tune(
        self,
        references: Example | Sequence[Example],
        *,
        sizes: Sequence[int | tuple[int, int]] | None = None,
        blocks: Sequence[int] | None = None,
    ) -> Tuning:
        """Choose block, input size and setting by leave-one-out on the references; then ``fit``.

        See ``tuning.tune``, whose docstring says what is tried and how far to trust it.
        """
        from .tuning import tune

        return tune(self, references, sizes=sizes, blocks=blocks)

    def segment(self, image: ImageLike) -> Result:
        """Segment one image. Raises ImageError if it cannot be read."""
        picture = self.read(image)
        return self.segment_encoded(picture, self.encoder.encode(picture.pixels))

    def read(self, image: ImageLike, name: str | None = None) -> Picture:
        """An image as the references were read: more than 8 bits are stretched like theirs.

        Args:
            image: what ``read_picture`` takes.
            name: what messages call an image that is no file.

        Raises:
            ImageError: if it cannot be read.
        """
        ranges = self.references.ranges if self.references else None
        return read_picture(image, name=name, stretch=ranges)

    def segment_many(
        self, images: Iterable[ImageLike], *, consensus: bool = False
    ) -> Iterator[Result]:
        """Segment images one after the other; yields one ``Result`` each, in order.

        Args:
            images: any number of them.
            consensus: images that follow each other (16 at a time) become references of each other
                where what was found in them can be trusted; for batches of one concept.

        Raises:
            LikewiseError: if the method has no consensus, or as for ``segment``.
        """
        if consensus:
            check_consensus(self.method)
        return self._segment_batches(images, consensus)

    def _segment_batches(self, images: Iterable[ImageLike], consensus: bool) -> Iterator[Result]:
        size = self.batch_size(consensus)
        for batch in batched(ahead(self.read, images, self.batch_size(False)), size):
            yield from self.segment_batch(batch, consensus=consensus)

    def batch_size(self, consensus: bool) -> int:
        """How many images ``segment_batch`` had best be given at once."""
        return CONSENSUS_BATCH if consensus else self.encoder.batch_size

    def segment_batch(
        self, images: Sequence[np.ndarray | Picture], *, consensus: bool = False
    ) -> list[Result]:
        """Segment images, all in memory at once: (H, W, 3) uint8 RGB, or as ``read`` gives them.

        Raises:
            LikewiseError: if there is no reference yet or the method has no consensus.
        """
        if consensus:
            check_consensus(self.method)
        references = self.fitted()
        encoded = list(self.encoder.encode_many([_pixels(image) for image in images]))
        if not consensus:
            return [self.segment_encoded(*pair) for pair in zip(images, encoded, strict=True)]
        from .features.shared import Shared
        from .methods.consensus import consensus as agree

        count = len(self._models)
        found = [
            agree(references.of(label), model, encoded, classes=count)
            for label, model in self._models.items()
        ]
        return [
            self._decide(image, Shared(target), list(scores))
            for image, target, *scores in zip(images, encoded, *found, strict=True)
        ]

    def segment_encoded(self, image: np.ndarray | Picture, target: Encoded) -> Result:
        """Segment an image that is encoded already, as for ``segment_batch``, from its features.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        from .features.shared import Shared

        shared = Shared(target, len(self._models))
        return self._decide(image, shared, list(self.score_encoded(target, shared).values()))

    def score_encoded(self, target: Encoded, shared: Shared | None = None) -> dict[str, Scores]:
        """What the method says of an image that is encoded already: label → its scores.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        from .features.shared import Shared

        self.fitted()
        shared = shared or Shared(target, len(self._models))
        method = get_method(self.method)
        # What one class worked out of the target alone serves the next.
        return {k: method.score(model, target, shared) for k, model in self._models.items()}

    def with_frames(
        self, frames: Sequence[tuple[Encoded, Mapping[str, torch.Tensor]]], pure: float
    ) -> Segmenter:
        """The same, also taught what was found in further images; this one stays as it is.

        A method that can ``extend`` its models takes the patches that are of one kind; for others
        every image becomes a reference.

        Args:
            frames: each an image and label → (N,) float32 in 0..1, the share of every patch that
                shows it.
            pure: 0.5..1, the share from which a patch is of one kind.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        method, references = get_method(self.method), self.fitted()
        extend = getattr(method, "extend", None)
        if extend is None:
            shots = [
                Shot(encoded, share > 0.5, label=label)
                for encoded, shares in frames
                for label, share in shares.items()
                if bool((share > 0.5).any())
            ]
            taught = ReferenceSet((*references.shots, *shots), references.ranges)
            return copy.copy(self).learn(taught)
        other = copy.copy(self)
        other._models = {}
        for label, model in self._models.items():
            more = []
            for encoded, shares in frames:
                share = shares[label]
                known = (share >= pure) | (share <= 1 - pure)
                more.append((encoded.debiased[known], share[known] > 0.5))
            other._models[label] = extend(model, more)
        return other

    def fitted(self) -> ReferenceSet:
        """The encoded references. Raises LikewiseError if there are none yet."""
        if self.references is None:
            raise LikewiseError("no reference yet: give at least one (image, mask) pair first.")
        return self.references

    def _decide(
        self, image: np.ndarray | Picture, shared: Shared, found: Sequence[Scores]
    ) -> Result:
        """From every class's patch scores to one result; pixels that are not valid are in none."""
        pixels = _pixels(image)
        valid = image.valid if isinstance(image, Picture) else None
        size = self.encoder.input_size
        scores = [f.on(shared.target.grid) for f in found]
        masks = [refine(s, pixels, size, self.refiner) for s in scores]
        confidences, wholes = [f.confidence for f in found], wholes_of(list(self._models))
        label_map, masks = compete_inside(masks, scores, confidences, wholes, size)
        classes = {
            label: ClassResult(mask, s.cpu().numpy(), f.confidence, f.trace, f.disputed)
            for label, mask, s, f in zip(self._models, masks, scores, found, strict=True)
        }
        best = max(classes.values(), key=lambda c: c.confidence)
        highest = np.maximum.reduce([c.scores for c in classes.values()])
        tree = shared.tree if self.keep_tree else None
        result = Result(
            mask=label_map > 0,
            scores=highest,
            confidence=best.confidence,
            trace=best.trace,
            label_map=label_map,
            classes=classes,
            tree=tree,
            glimpse=glimpse(pixels),
        ).within(valid)
        if isinstance(image, Picture) and not result.present:
            self._note_too_small(image, shared.target.grid)
        return result

    def _note_too_small(self, image: Picture, grid: tuple[int, int]) -> None:
        """Say so where nothing was found and objects as in the references could not be seen."""
        side, (H, W) = self.fitted().object_side, image.pixels.shape[:2]
        patch = max(H / grid[0], W / grid[1])
        if side is not None and side < MIN_PATCHES * patch:
            note(
                image.name,
                f"nothing was found, but what measures {side:.0f} pixels, as in the references, is "
                f"too small to be seen in {W} × {H}: cut it into pieces of at most "
                f"{side / MIN_PATCHES * min(grid):.0f} pixels a side.",
            )

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
        first, second = self.encoder.encode_many([self.read(i).pixels for i in (reference, image)])
        points = check_keypoints(keypoints, first.size)
        return match_encoded(first, second, points, debiased)


def _pixels(image: np.ndarray | Picture) -> np.ndarray:
    return image.pixels if isinstance(image, Picture) else image


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
    except (TypeError, ValueError, OverflowError) as error:
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

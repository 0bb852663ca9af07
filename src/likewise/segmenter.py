"""``Segmenter``: fit to references once, then segment any number of images."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .backbones.device import FEW, faster_way, side_by_side
from .backbones.encoder import Encoder
from .class_names import check_classes
from .decision import make_result, note_too_small, pixels_of
from .errors import LikewiseError
from .features.target_cache import TargetCache
from .io.hashing import file_sha256, fingerprint
from .io.images import ImageLike, Picture, read_picture
from .io.prefetch import prefetch_map
from .large.tiles import Tile, Tiles, check_tile
from .methods import (
    DEFAULT,
    MethodParams,
    check_consensus,
    check_negatives,
    get_method,
    make_params,
    params_of,
    usual_dtype,
)
from .reference import Example, ReferenceSet, as_references, encode_references
from .refine import DEFAULT_REFINER, check_refiner
from .result import Result

if TYPE_CHECKING:
    from .backbones.loading import Backbone
    from .features.patch_features import PatchFeatures
    from .methods import Scores

CONSENSUS_BATCH = 16
"""Images of one consensus; more do not help (measured on COCO-20i)."""


class Segmenter:
    """Segment in every image what is masked in the references, training-free.

    Examples:
        >>> import likewise
        >>> segmenter = likewise.Segmenter().fit([("coin.jpg", "coin_mask.png")])
        >>> segmenter.segment("more_coins.jpg").mask  # (H, W) bool

    Args:
        backbone: ``embedded``, a name from ``likewise backbones``, a checkpoint file or folder, a
            hub name, a loaded Backbone, or an Encoder to share.
        image_size: side of the square the backbone sees, or (H, W); the registry's by default.
        svd_components: rank of the positional basis, int or fraction of D (INSID3 §3.1).
        method: name of one, with its defaults (``likewise``; or ``insid3``, ``foris``, ``frost``
            and ``nearest`` to compare with), or its settings: ``INSID3Params(tau=0.7)``. ``segic``
            needs a decoder that was trained: ``SegICParams(decoder="decoder.safetensors")``.
        refiner: ``guided`` (edges follow the image), ``none`` or ``crf``.
        block: 1-based block whose features are read; the last by default.
        device, dtype, runtime, offline: as for ``Encoder``; see ``methods.usual_dtype``.
        keep_tree: results keep the clustering of their image (``Result.tree``), to cut it later.
        tile: ``auto`` reads in tiles what is too large or too fine to be seen at once, ``off``
            nothing, a number of pixels all, with such a side; see ``large.tiles.choose_plan``.

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
        refiner: str = DEFAULT_REFINER,
        device: str = "auto",
        dtype: str = "auto",
        block: int | None = None,
        offline: bool = False,
        runtime: str = "torch",
        keep_tree: bool = False,
        tile: Tile = "auto",
    ) -> None:
        check_refiner(refiner)
        if isinstance(backbone, Encoder):
            own = image_size, svd_components, device, dtype, block, offline, runtime
            if own != (None, None, "auto", "auto", None, False, "torch"):
                raise LikewiseError("a shared Encoder keeps its own size, rank, device and block.")
        else:
            backbone = Encoder(
                backbone,
                image_size=image_size,
                svd_components=svd_components,
                device=device,
                dtype=usual_dtype(dtype, method, backbone, device, runtime),
                block=block,
                offline=offline,
                runtime=runtime,
            )
        self.encoder = backbone
        self.refiner = refiner
        self.keep_tree = keep_tree
        self.params = params_of(method, self.encoder.spec.tau)
        self.tiles = Tiles(check_tile(tile, self.method), self.method)
        if get_method(self.method).CAN.decoder:
            from .methods.segic.files import check_backbone

            check_backbone(self.params.decoder, self.encoder)
        self.references: ReferenceSet | None = None
        self.models: dict[str, Any] = {}
        """Label → model of the method; empty before ``fit``."""

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.params.method)

    def fit(self, references: Example | Sequence[Example]) -> Segmenter:
        """Encode the references once; they replace earlier ones and stay until the next ``fit``.

        Args:
            references: one or more ``Reference`` or (image, mask) pairs: of one concept, or with
                different ``label``s of several that compete. What the other classes mark is
                negative for a class, where the method knows negatives.

        Raises:
            ImageError: if an image or mask cannot be used.
            LikewiseError: if there are negative references and the method knows none.
        """
        examples = as_references(references)
        check_negatives(self.method, examples)
        self.fit_encoded(encode_references(self.encoder, examples, get_method(self.method).VIEWS))
        self.tiles.learn(examples)
        return self

    def with_threshold(self, threshold: float) -> Segmenter:
        """The same references with another ``threshold``; nothing is encoded or learnt again.

        Raises:
            LikewiseError: if the method has no threshold, or it is no finite number.
        """
        known = vars(self.params) | {"threshold": threshold}
        other = copy.copy(self)
        other.params = make_params(self.method, known)
        # ``fit`` of these methods does not use it, only ``score`` does.
        other.models = {k: replace(m, params=other.params) for k, m in self.models.items()}
        return other

    def only(self, labels: Sequence[str]) -> Segmenter:
        """A segmenter for some of the classes: those known to be in the images.

        Nothing is fitted again: references of the other classes stay negative.

        Raises:
            LikewiseError: if there is no reference yet, or none of one of ``labels``.
        """
        labels = check_classes(labels, self.fitted().labels)
        other = copy.copy(self)
        other.models = {k: model for k, model in self.models.items() if k in labels}
        return other

    def segment(self, image: ImageLike) -> Result:
        """Segment one image. Raises ImageError if it cannot be read."""
        return self.segment_batch([self.read(image)])[0]

    def segment_many(
        self, images: Iterable[ImageLike], *, consensus: bool = False
    ) -> Iterator[Result]:
        """Segment images one after the other; yields one ``Result`` each, in order.

        Args:
            images: any number of them; on a CPU several of a list are done at the same time.
            consensus: images that follow each other (16 at a time) become references of each other
                where their masks are reliable; for batches of one concept; no tiles are read.

        Raises:
            LikewiseError: if the method has no consensus, or as for ``segment``.
        """
        if consensus:
            check_consensus(self.method)
        if isinstance(images, str | Path):
            raise LikewiseError(f"give segment_many a list of images, not one path, {images}.")
        return self._segment_batches(images, consensus)

    def _segment_batches(self, images: Iterable[ImageLike], consensus: bool) -> Iterator[Result]:
        count = len(images) if isinstance(images, Sized) else 1  # a camera's come one by one
        workers = 1 if consensus else self.images_at_once(count)
        read = prefetch_map(self.read, images, max(self.batch_size(False), workers))
        segment, size = partial(self.segment_batch, consensus=consensus), self.batch_size(consensus)
        yield from faster_way(segment, read, size, workers)

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the references, with their patch features, to one ``.safetensors`` file.

        ``likewise.load`` makes a segmenter of it; ``reference_file.py`` describes the format.

        Args:
            path: the file, ending in ``.safetensors``; its folder must exist.
            half: round features to float16: half the size, and masks may change by a pixel.

        Raises:
            LikewiseError: if there is no reference yet, or the file cannot be written.
        """
        from .saved_references import save_references

        save_references(path, self.fitted(), self.encoder, self.method, self.params, half=half)

    def load(self, path: str | Path, only: Sequence[str] | None = None) -> Segmenter:
        """``fit`` to the references in a file of ``save``, without their pictures.

        Backbone, block, input size and rank must be those of the file; ``likewise.load`` takes
        them, the method and its settings from it.

        Args:
            path: the file.
            only: classes to take; None for all. The others are not even negative.

        Raises:
            LikewiseError: if the file cannot be used, or not with this backbone or method.
        """
        from .saved_references import load_references

        encoded = load_references(path, self.encoder, self.method)
        return self.fit_encoded(encoded if only is None else encoded.only(only))

    @property
    def fingerprint(self) -> str:
        """32 hex digits of all that masks depend on but the image and the kind of device.

        Raises:
            LikewiseError: if there is no reference yet.
        """
        return fingerprint(self.settings_fingerprint, [*self.models], self.fitted().fingerprint)

    @property
    def settings_fingerprint(self) -> str:
        """As ``fingerprint``, of everything but the references."""
        params = asdict(self.params)
        if get_method(self.method).CAN.decoder:
            params["decoder"] = file_sha256(Path(self.params.decoder))  # not its name
        made_with = __version__, self.encoder.fingerprint
        return fingerprint(*made_with, self.method, params, self.refiner, self.tiles.tile)

    def fit_encoded(self, encoded: ReferenceSet) -> Segmenter:
        """``fit`` to references that are encoded already; returns self."""
        fit = get_method(self.method).fit
        self.models = {label: fit(encoded.of(label), self.params) for label in encoded.labels}
        self.references = encoded
        self.tiles.learn()
        return self

    def read(self, image: ImageLike, name: str | None = None) -> Picture:
        """An image as the references were read: more than 8 bits are stretched like theirs.

        ``name`` is what messages call an image that is no file.

        Raises:
            ImageError: if it cannot be read.
        """
        ranges = self.references.ranges if self.references else None
        return read_picture(image, name=name, stretch=ranges)

    def batch_size(self, consensus: bool) -> int:
        """Number of images to give ``segment_batch`` at once."""
        return CONSENSUS_BATCH if consensus else self.encoder.batch_size

    def images_at_once(self, count: int) -> int:
        """How many of ``count`` images threads may give ``segment_batch`` at the same time."""
        return self.encoder.images_at_once(count)

    def segment_batch(
        self, images: Sequence[np.ndarray | Picture], *, consensus: bool = False
    ) -> list[Result]:
        """Segment images, all in memory at once: (H, W, 3) uint8 RGB, or as ``read`` gives them.

        Raises:
            LikewiseError: if there is no reference yet or the method has no consensus.
        """
        if consensus:
            check_consensus(self.method)
        known = self.encoder, (references := self.fitted()), self.models, self.refiner
        results = {} if consensus else self.tiles.segment(images, *known)
        whole = [image for n, image in enumerate(images) if n not in results]
        encoded = list(self.encoder.encode_many([pixels_of(image) for image in whole]))
        if not consensus:
            pairs, workers = zip(whole, encoded, strict=True), self.images_at_once(FEW * len(whole))
            others = side_by_side(lambda pair: self.segment_encoded(*pair), pairs, workers)
            return [results[n] if n in results else next(others) for n in range(len(images))]
        from .methods.consensus import consensus_of_classes

        found = consensus_of_classes(references, self.models, encoded)
        return [
            self._result(image, TargetCache(target), scores)
            for image, target, scores in zip(images, encoded, found, strict=True)
        ]

    def segment_encoded(self, image: np.ndarray | Picture, target: PatchFeatures) -> Result:
        """As ``segment_batch`` one image that is encoded already, from its features."""
        cache = TargetCache(target, len(self.models))
        return self._result(image, cache, self.score_encoded(target, cache))

    def score_encoded(
        self, target: PatchFeatures, cache: TargetCache | None = None
    ) -> dict[str, Scores]:
        """Scores of an encoded image, label → scores; raises LikewiseError as ``fitted``."""
        self.fitted()
        cache = cache or TargetCache(target, len(self.models))
        method = get_method(self.method)
        return {k: method.score(model, target, cache) for k, model in self.models.items()}

    def fitted(self) -> ReferenceSet:
        """The encoded references. Raises LikewiseError if there are none yet."""
        if self.references is None:
            raise LikewiseError("no reference yet: give at least one (image, mask) pair first.")
        return self.references

    def _result(
        self, image: np.ndarray | Picture, cache: TargetCache, found: dict[str, Scores]
    ) -> Result:
        """From the scores of every class, in the order of ``models``."""
        size = self.encoder.input_size
        result = make_result(image, found, cache, size, self.refiner, keep_tree=self.keep_tree)
        if isinstance(image, Picture) and not result.present:
            note_too_small(image, cache.target.grid, self.fitted().object_side)
        return result


def load(path: str | Path, *, backbone: str | Path | None = None, **options: Any) -> Segmenter:
    """A segmenter that is ready: references, backbone, method and settings of a file.

    Args:
        path: what ``Segmenter.save`` or ``likewise references save`` wrote.
        backbone: file or folder of it, where likewise does not know it by name.
        options: further keywords of ``Segmenter``, such as ``device``; they count instead of the
            file's.

    Raises:
        LikewiseError: if the file cannot be used, or its backbone has no name and none is given.
    """
    from .reference_file import read_info

    given = options if backbone is None else {"backbone": backbone, **options}
    return Segmenter(**read_info(path).options(**given)).load(path)

"""Choosing block, input size and a method's setting by leave-one-out on the user's own shots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .backbones.cut import cut_backbone
from .backbones.encoder import MAX_SIDE, Encoder
from .errors import LikewiseError
from .features.patch_features import PatchFeatures
from .features.target_cache import TargetCache
from .features.views import VIEWS, make_views, same_picture
from .methods import Method, check_negatives, get_method
from .reference import (
    EncodedReference,
    Example,
    Reference,
    ReferenceSet,
    as_references,
    encode_references,
    prompted,
    read_reference,
)
from .refine import refine

if TYPE_CHECKING:
    from .features.clustering import MergeTree
    from .segmenter import Segmenter

GAIN = 0.01
"""Mean IoU that a change must bring: own shots are few, and smaller differences are chance."""
TAU_DISTANCES = (0.5, 0.75, 1.0, 1.25, 1.5)
"""Values of 1 - tau to try, as multiples of the backbone's calibrated one."""
THRESHOLDS = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Values to try for the threshold of likewise and segic, in nats."""
LARGER = 1.4
"""The size tried by default, as a multiple of the present one."""
EARLIER = 0.8
"""The block tried by default, as a share of the depth."""

Size: TypeAlias = "int | tuple[int, int]"


@dataclass(frozen=True)
class Tried:
    """One value that was tried, everything else as chosen before."""

    name: str
    """``block``, ``image_size`` or the setting's name."""
    value: Any
    iou: float
    """Mean leave-one-out IoU, 0..1."""
    taken: bool = False


@dataclass(frozen=True)
class Tuning:
    """What was tried and what was chosen; printing it gives a short table."""

    method: str
    image_size: Size
    block: int
    settings: Mapping[str, float]
    """The tuned setting and its value; empty for a method that has none."""
    decoder: str
    """Of a method that has one (``segic``); empty for the others."""
    tests: int
    """References, or views of them, that were each found from the others."""
    before: float
    """Mean leave-one-out IoU with what the segmenter had, 0..1."""
    after: float
    """The same with what was chosen."""
    tried: tuple[Tried, ...]

    @property
    def flags(self) -> list[str]:
        """Options that make ``likewise segment`` use what was chosen."""
        words = ["--method", self.method, "--block", str(self.block)]
        words += ["--decoder", self.decoder] if self.decoder else []
        if isinstance(self.image_size, int):
            words += ["--image-size", str(self.image_size)]
        for name, value in self.settings.items():
            words += [f"--{name}", f"{value:g}"]
        return words

    def __str__(self) -> str:
        lines = [f"IoU {self.before:.3f} before, {self.after:.3f} after, {self.tests} tests"]
        for t in self.tried:
            value = f"{t.value:g}" if isinstance(t.value, float) else str(t.value)
            lines.append(f"  {t.name:10} {value:>10} {t.iou:.3f}{'  taken' * t.taken}")
        return "\n".join(lines)


def tune(
    segmenter: Segmenter,
    references: Example | Sequence[Example],
    *,
    sizes: Sequence[Size] | None = None,
    blocks: Sequence[int] | None = None,
) -> Tuning:
    """Tune a segmenter on its references and fit it to them.

    With two or more shots of every class each shot is found from the others. Where a class has one
    shot, views of every shot (mirrored, closer, further away, see ``features/views.py``) are found
    from the remaining views, picture and mirror image left out together. IoU is measured on pixels
    at the reference's own size, each class for itself and without a refiner. Block, size and
    setting are chosen one after the other; what the segmenter has stays unless another value gains
    0.01.

    The setting is tau of insid3 and foris and the threshold of likewise and segic. Where a class
    has one shot the threshold is left alone: chosen on views of the same image it did not help on
    the development episodes (mIoU 47.3 to 49.5 against 49.5 without).

    Args:
        segmenter: left as it was if anything fails.
        references: as for ``Segmenter.fit``.
        sizes: input sizes to try besides the present one; by default one about 1.4 times larger.
        blocks: blocks to try besides the present one, at most it; by default the one at 0.8 of the
            depth, and none with the decoder of ``segic``, which knows one.

    Raises:
        LikewiseError: if a reference, size or block cannot be used.
    """
    examples = as_references(references)
    check_negatives(segmenter.method, examples)
    encoder = segmenter.encoder
    examples = [_in_memory(prompted(encoder, reference)) for reference in examples]
    sizes = _larger(encoder) if sizes is None else sizes
    encoders = {_pair(size): encoder.like(encoder.backbone, size, encoder.rank) for size in sizes}
    if get_method(segmenter.method).CAN.decoder:
        if blocks:
            raise LikewiseError("a decoder reads the block it was trained on: try no other blocks.")
        blocks = ()
    blocks = _earlier(encoder) if blocks is None else blocks
    backbones = {block: cut_backbone(encoder.backbone, block) for block in blocks}

    search = _Search(segmenter, examples)
    before = search.iou
    for block, backbone in backbones.items():
        if block != encoder.backbone.block:
            changed = encoder.like(backbone, encoder.input_size, encoder.rank)
            search.consider("block", block, changed)
    search.take()
    for size in encoders:
        if size != encoder.input_size:
            changed = encoder.like(search.encoder.backbone, size, encoder.rank)
            search.consider("image_size", _plain(size), changed)
    search.take()
    name, values = _setting(search.params, encoder.spec.tau, search.by_view)
    for value in values:
        if value != getattr(search.params, name):
            search.consider(name, value, params=replace(search.params, **{name: value}))
    search.take()

    old = segmenter.encoder, segmenter.params
    segmenter.encoder, segmenter.params = search.encoder, search.params
    try:
        segmenter.fit(examples)
    except BaseException:
        segmenter.encoder, segmenter.params = old
        raise
    return Tuning(
        segmenter.method,
        _plain(search.encoder.input_size),
        search.encoder.backbone.block,
        {name: getattr(search.params, name)} if name else {},
        getattr(search.params, "decoder", ""),
        len(search.bench.tests),
        before,
        search.iou,
        tuple(search.tried),
    )


class _Search:
    """The best settings so far, and measured changes of one of them."""

    def __init__(self, segmenter: Segmenter, examples: Sequence[Reference]) -> None:
        labels = [r.label for r in examples if not r.negative]
        self.by_view = any(labels.count(label) < 2 for label in labels)
        self.method, self.examples = get_method(segmenter.method), examples
        self.encoder, self.params = segmenter.encoder, segmenter.params
        self.bench = self._bench(self.encoder)
        self.iou = self.bench.mean_iou(self.params)
        self.tried: list[Tried] = []
        self._best: tuple[float, int, Encoder, Any, Bench] | None = None

    def _bench(self, encoder: Encoder) -> Bench:
        return Bench(encoder, self.examples, self.method, self.by_view)

    def consider(
        self, name: str, value: Any, encoder: Encoder | None = None, params: Any = None
    ) -> None:
        """Measure one change from what is best so far."""
        bench = self.bench if encoder is None else self._bench(encoder)
        params = self.params if params is None else params
        iou = bench.mean_iou(params)
        if iou >= self.iou + GAIN and (self._best is None or iou > self._best[0]):
            self._best = iou, len(self.tried), encoder or self.encoder, params, bench
        self.tried.append(Tried(name, value, iou))

    def take(self) -> None:
        """The best of what was considered since the last time, if it gains enough."""
        if self._best is not None:
            self.iou, row, self.encoder, self.params, self.bench = self._best
            self.tried[row] = replace(self.tried[row], taken=True)
        self._best = None


@dataclass(frozen=True, eq=False)
class Test:
    """An image with its known mask, and the shots to find it from."""

    target: PatchFeatures
    image: np.ndarray
    """(H, W, 3) uint8."""
    mask: np.ndarray
    """(H, W) bool."""
    references: ReferenceSet
    """Of the class of the mask."""


class Bench:
    """All tests of one encoder.

    Args:
        encoder: backbone and input size.
        examples: references in memory.
        method: finds one from the others.
        by_view: views of each reference are left out, not whole references.
    """

    def __init__(
        self, encoder: Encoder, examples: Sequence[Reference], method: Method, by_view: bool
    ) -> None:
        self.encoder, self.method = encoder, method
        names = VIEWS if by_view else method.VIEWS
        shots = encode_references(encoder, examples, names).shots
        self.tests = list(_tests(shots, examples, method.VIEWS, by_view))
        self._trees: dict[int, MergeTree] = {}

    def mean_iou(self, params: Any) -> float:
        """Mean over the tests, 0..1."""
        total = 0.0
        for number, test in enumerate(self.tests):
            model = self.method.fit(test.references, params)
            cache = TargetCache(test.target)
            if number in self._trees:
                cache.tree = self._trees[number]
            found = self.method.score(model, test.target, cache)
            if "tree" in vars(cache):  # it was needed
                self._trees[number] = cache.tree
            mask = refine(found.on(test.target.grid), test.image, self.encoder.input_size)
            total += float((mask & test.mask).sum() / (mask | test.mask).sum())
        return total / len(self.tests)


def _tests(
    shots: Sequence[EncodedReference],
    examples: Sequence[Reference],
    names: Sequence[str],
    by_view: bool,
) -> Iterator[Test]:
    """A test for every positive shot, or for every view of it; ``names`` of views are used."""
    for number, (shot, example) in enumerate(zip(shots, examples, strict=True)):
        if shot.negative:
            continue
        others = [_without(s, (), names) for n, s in enumerate(shots) if n != number]
        image, mask = read_reference(example)
        if not by_view:
            yield Test(shot.encoded, image, mask, ReferenceSet(tuple(others)).of(shot.label))
            continue
        pictures = {"": (image, mask)} | make_views(image, mask, VIEWS)
        for name, (view, marked) in pictures.items():
            rest = ReferenceSet((_without(shot, same_picture(name), names), *others)).of(shot.label)
            yield Test(shot.seen[name][0], view, marked, rest)


def _without(
    shot: EncodedReference, left_out: Sequence[str], names: Sequence[str]
) -> EncodedReference:
    """A shot as the method would have it if some views (``""``: the picture) did not exist."""
    (first, (encoded, mask)), *rest = [(n, v) for n, v in shot.seen.items() if n not in left_out]
    kept = {n: v for n, v in rest if n in names}
    shares = {"": shot.share(first), **{n: shot.share(n) for n in kept}}
    return EncodedReference(encoded, mask, kept, shot.label, shot.negative, shares=shares)


def _in_memory(reference: Reference) -> Reference:
    image, mask = read_reference(reference)
    everything = reference.mask is None
    return replace(reference, image=image, mask=None if everything else mask, mask_value=None)


def _larger(encoder: Encoder) -> list[Size]:
    patch = encoder.spec.patch
    height, width = (max(round(LARGER * s / patch), 1) * patch for s in encoder.input_size)
    return [(height, width)] if max(height, width) <= MAX_SIDE else []


def _earlier(encoder: Encoder) -> list[int]:
    block = max(1, round(EARLIER * encoder.spec.depth))
    return [block] if block <= encoder.backbone.block else []


def _setting(params: Any, tau: float, by_view: bool) -> tuple[str, list[float]]:
    """Name of the setting that is tuned and the values to try; ("", []) where there is none."""
    if hasattr(params, "tau"):
        return "tau", [round(1 - (1 - tau) * share, 4) for share in TAU_DISTANCES]
    if get_method(params.method).CAN.threshold and not by_view:
        return "threshold", list(THRESHOLDS)
    return "", []


def _pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _plain(size: tuple[int, int]) -> Size:
    return size[0] if size[0] == size[1] else size

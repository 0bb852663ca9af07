"""Which images are read in tiles, of what size, and with what references."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import LikewiseError
from ..features.tiles import Plan, plan_tiles
from ..io.images import Picture
from ..io.stretch import Ranges
from ..methods import DEFAULT, get_method
from ..reference import Reference, ReferenceSet, encode_references, prompted, read_reference
from ..result import Result
from .image import Watch, segment_tiles

if TYPE_CHECKING:
    from ..backbones.encoder import Encoder

Tile: TypeAlias = "str | int"
"""``auto``, ``off``, or the side of a tile in pixels."""
MIN_OBJECT = 3.0
"""Patches that an object measures at least if its image is not read in tiles; in proportion fewer
of an encoder that sees less than ``SIDE`` patches a side."""
WANTED = 5.0
"""Patches that an object measures where it is, likewise."""
MAX_MAGNIFIED = 1.5
"""Times that tiles of ``auto`` are magnified at most."""
SIDE = 48
MAX_OBJECT = 16.0
"""Patches of an object above which a reference is not cut out to the scale of the tiles."""
WIDE = 3.0
"""Aspect from which on an image is read in tiles if nothing is known of its objects."""
LARGE = 8
"""And side, in multiples of the encoder's input."""
CROPS = 4, 4
"""Parts of a reference with and without marked pixels, at most, at the scale of the tiles."""


def check_tile(tile: Tile, method: str) -> Tile:
    """The setting, as a number where it is one.

    Args:
        tile: as ``Segmenter`` takes it.
        method: its name.

    Raises:
        LikewiseError: if it is none, or the method cannot read tiles.
    """
    if tile in ("auto", "off"):
        return tile
    try:
        side = int(tile) if isinstance(tile, str) else operator.index(tile)
    except (TypeError, ValueError):
        side = 0
    if side < 1:
        raise LikewiseError(f"tile {tile!r} is unknown; use auto, off, or a side in pixels.")
    if not get_method(method).CAN.tiles:
        raise LikewiseError(f"method {method} reads no tiles; use {DEFAULT}, or tile off.")
    return side


def choose_plan(
    tile: Tile, size: tuple[int, int], encoder: Encoder, references: ReferenceSet
) -> Plan | None:
    """How an image is read in tiles; None if at once, squashed into the encoder's square.

    Args:
        tile: ``auto``, ``off``, or pixels.
        size: (H, W) of the image.
        encoder: its grid is that of a tile.
        references: where they know how many pixels their objects measure, those of the image are
            taken to be as large.

    Raises:
        LikewiseError: if tiles are asked for and the encoder's input is not square.

    ``auto`` reads tiles if the image is larger than what the encoder sees, and an object would be
    under ``MIN_OBJECT`` patches at once. Where its size is unknown, an aspect above ``WIDE`` or a
    very large image decides. Tiles are chosen so that objects measure ``WANTED`` patches, but are
    no larger than the image is wide or high.
    """
    side = encoder.grid[0]
    if tile == "off" or (tile == "auto" and side != encoder.grid[1]):
        return None
    if side != encoder.grid[1]:
        raise LikewiseError("tiles are square: give an image size that is one number, or tile off.")
    shorter, longer = min(size), max(size)
    middle, largest = object_sides(references)
    if isinstance(tile, int):
        return plan_tiles(size, max(1, round(tile / side)), side, largest)
    coarse = min(1.0, side / SIDE)
    shrunk = longer > max(encoder.input_size)
    lost = shrunk and middle < MIN_OBJECT * coarse * longer / side
    large = longer > WIDE * shorter or longer > LARGE * max(encoder.input_size)
    if not (lost if middle else large):
        return None
    patch = round(middle / (WANTED * coarse)) if middle else encoder.spec.patch
    # One row of tiles that are a little larger is worth more than two of the size that is wanted.
    least = max(1, int(encoder.spec.patch / MAX_MAGNIFIED))
    across = -(-shorter // side)
    patch = max(across if patch > 0.8 * across else patch, least)
    plan = plan_tiles(size, patch, side, largest)
    return plan if len(plan.tiles) > 1 else None


def object_sides(references: ReferenceSet) -> tuple[float, float]:
    """Pixels that the objects of the references measure: typically, of the class of the smallest
    ones, and at most; 0 where it is unknown.

    Half of the marked area is in objects that measure no less than the typical one: specks beside
    them do not count.
    """
    typical, largest = [], 0.0
    for sides in references.object_sides.values():
        ordered = np.sort(sides)
        below = np.cumsum(ordered**2)
        typical.append(float(ordered[np.searchsorted(below, below[-1] / 2)]))
        largest = max(largest, float(ordered[-1]))
    return min(typical, default=0.0), largest


def cut_references(
    encoder: Encoder,
    references: Sequence[Reference],
    views: Sequence[str],
    plan: Plan,
    ranges: Ranges,
) -> ReferenceSet:
    """References at the scale of tiles: cut into tiles, of which some with marked pixels are kept.

    Args:
        encoder: of the references and the tiles.
        references: as for ``encode_references``.
        views: as for ``encode_references``.
        plan: of the image; a reference's own has the same patches.
        ranges: see ``ReferenceSet``.

    Raises:
        ImageError: if an image or mask cannot be used.
    """
    parts: list[Reference] = []
    bare: list[bool] = []
    for given in references:
        reference = prompted(encoder, given)
        image, mask = read_reference(reference, ranges)
        size = image.shape[0], image.shape[1]
        own = replace(plan, size=size)
        cuts = []
        for row, column in own.tiles:
            rows, columns = (slice(n * own.patch, n * own.patch + own.tile) for n in (row, column))
            marked = padded(mask[rows, columns], own.tile)
            cuts.append((int(marked.sum()), padded(image[rows, columns], own.tile), marked))
        kept = sorted((c for c in cuts if c[0]), key=lambda c: -c[0])[: CROPS[0]]
        empty = [c for c in cuts if not c[0]]
        if not reference.negative:
            kept += empty[:: -(-len(empty) // CROPS[1]) or 1]
        for area, pixels, marked in kept:
            changed = replace(reference, image=pixels, mask=marked, mask_value=None)
            parts.append(changed if area else replace(changed, mask=None, negative=True))
            bare.append(not area)
    found = encode_references(encoder, parts, views)
    shots = []
    for shot, is_bare, part in zip(found.shots, bare, parts, strict=True):
        if is_bare:  # all of it is what is not marked in a reference, which is less than negative
            none = shot.mask & False
            seen_as = {name: (e, none) for name, (e, _) in shot.views.items()}
            shares = {name: none.float() for name in shot.seen}
            shot = replace(
                shot, mask=none, views=seen_as, shares=shares, label=part.label, negative=False
            )
        shots.append(shot)
    return ReferenceSet(tuple(shots), ranges)


def padded(values: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """(side, side, …): what lacks below and to the right is mirrored."""
    lack = [(0, side - n) for n in values.shape[:2]] + [(0, 0)] * (values.ndim - 2)
    return np.pad(values, lack, mode="symmetric") if any(n for _, n in lack) else values


@dataclass
class Tiles:
    """What a ``Segmenter`` knows of tiles.

    Args:
        tile: the setting, as ``check_tile`` gives it.
        method: name of the method; all but the default see every image at once.
    """

    tile: Tile
    method: str
    examples: Sequence[Reference] = ()
    """What the references were read from; none where only their features are known."""
    watch: Watch = iter
    """Of every image that is read in tiles."""
    _cut: dict[int, ReferenceSet] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def learn(self, examples: Sequence[Reference] = ()) -> None:
        """Forget earlier references; keep new ones."""
        self.examples, self._cut = examples, {}

    def plan(self, size: tuple[int, int], encoder: Encoder, whole: ReferenceSet) -> Plan | None:
        """See ``choose_plan``."""
        if not get_method(self.method).CAN.tiles:
            return None
        return choose_plan(self.tile, size, encoder, whole)

    def models(
        self, plan: Plan, encoder: Encoder, whole: ReferenceSet, models: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Models of references at the scale of the tiles, where their pictures are at hand and show
        objects that are neither too small nor too large there; else ``models`` as they are."""
        middle, _ = object_sides(whole)
        if not self.examples or not MIN_OBJECT <= middle / plan.patch <= MAX_OBJECT:
            return models
        method = get_method(self.method)
        with self._lock:  # once, if images are segmented side by side
            if plan.patch not in self._cut:
                known = self.examples, method.VIEWS, plan, whole.ranges
                self._cut[plan.patch] = cut_references(encoder, *known)
        cut = self._cut[plan.patch]
        return {label: method.fit(cut.of(label), m.params) for label, m in models.items()}

    def segment(
        self,
        images: Sequence[npt.NDArray[np.uint8] | Picture],
        encoder: Encoder,
        whole: ReferenceSet,
        models: Mapping[str, Any],
        refiner: str,
    ) -> dict[int, Result]:
        """Place → result of those of the images that are read in tiles."""
        results = {}
        for n, image in enumerate(images):
            picture = image if isinstance(image, Picture) else Picture(image)
            size = picture.pixels.shape[0], picture.pixels.shape[1]
            if (plan := self.plan(size, encoder, whole)) is not None:
                there = self.models(plan, encoder, whole, models)
                known = encoder, there, refiner
                results[n] = segment_tiles(picture, plan, *known, self.watch)
        return results

"""An image that is read in tiles: decided once as a whole, refined block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ..backbones.device import faster_way
from ..class_names import wholes_of
from ..errors import note
from ..features.tiles import Mosaic, Plan, is_flat
from ..io.images import Picture
from ..methods import Scores
from ..methods.mosaic import TiledScores
from ..refine import compete_inside, refine
from ..result import ClassResult, Result

if TYPE_CHECKING:
    from ..backbones.encoder import Encoder

HALO = 8
"""Patches around a block that its edges are refined with."""
Watch: TypeAlias = "Callable[[Sequence[tuple[int, int]]], Iterable[tuple[int, int]]]"
"""Gives the tiles of an image as they are taken to be read, to show how far it is."""


class ImageSource(Protocol):
    """An image that is read in windows."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def read(self, rows: slice, columns: slice) -> Picture:
        """A window of it, with what is valid there. Raises ImageError if it cannot be read."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A picture as a ``ImageSource``."""

    picture: Picture

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels."""
        return self.picture.pixels.shape[0], self.picture.pixels.shape[1]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.picture.name or "the image"

    def read(self, rows: slice, columns: slice) -> Picture:
        """A window of it."""
        valid = self.picture.valid
        part = None if valid is None else valid[rows, columns]
        return Picture(self.picture.pixels[rows, columns], part)


def read_padded(source: ImageSource, rows: slice, columns: slice) -> Picture:
    """A window that may reach beyond the image below and to the right: mirrored, and not valid."""
    H, W = source.size
    inside = slice(rows.start, min(rows.stop, H)), slice(columns.start, min(columns.stop, W))
    if inside == (rows, columns):
        return source.read(rows, columns)
    part = source.read(*inside)
    lack = [(0, rows.stop - inside[0].stop), (0, columns.stop - inside[1].stop)]
    valid = np.ones(part.pixels.shape[:2], bool) if part.valid is None else part.valid
    return Picture(np.pad(part.pixels, [*lack, (0, 0)], mode="symmetric"), np.pad(valid, lack))


def score_tiles(
    source: ImageSource,
    plan: Plan,
    encoder: Encoder,
    models: Mapping[str, Any],
    tiles: Sequence[tuple[int, int]] | None = None,
    watch: Watch = iter,
) -> dict[str, Scores]:
    """Label → scores on the grid of the plan, decided for the whole image.

    Args:
        source: the image.
        plan: of its tiles.
        encoder: for each of them.
        models: label → model of the default method, at least one.
        tiles: those of the plan to read, in any order; all by default.
        watch: see ``Watch``.

    Raises:
        ImageError: if a window cannot be read.
    """
    found = TiledScores(models, Mosaic(plan, encoder.basis.shape[0], len(models)))
    places = plan.tiles if tiles is None else tiles
    taken: list[tuple[tuple[int, int], npt.NDArray[np.bool_] | None]] = []

    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        for row, column in watch(places):
            window = [slice(n * plan.patch, n * plan.patch + plan.tile) for n in (row, column)]
            picture = read_padded(source, *window)
            if is_flat(picture.pixels, picture.valid):
                continue
            shown: npt.NDArray[np.bool_] | None = None
            if picture.valid is not None:
                by_patch = picture.valid.reshape(plan.side, plan.patch, plan.side, plan.patch)
                shown = np.asarray(by_patch.any(axis=(1, 3)))
            taken.append(((row, column), shown))
            yield picture.pixels

    workers = encoder.images_at_once(len(places))
    if workers > 1:
        seen = faster_way(encoder.encode_many, pictures(), 1, workers)
    else:  # as one: the next ones are resized meanwhile, and not all of them are kept
        seen = encoder.encode_many(pictures())
    for number, encoded in enumerate(seen):
        place, shown = taken[number]
        found.add(place, encoded, shown)
    return found.decide(encoder.debias)


@dataclass(frozen=True, eq=False)
class RefinedBlock:
    """What was found in a part of an image."""

    rows: slice
    columns: slice
    label_map: npt.NDArray[np.unsignedinteger[Any]]
    """(h, w): 0 none, k the k-th class; none where it is not valid."""
    masks: Mapping[str, npt.NDArray[np.bool_]]
    """Label → (h, w)."""


def refine_blocks(
    source: ImageSource,
    plan: Plan,
    found: Mapping[str, Scores],
    zoom: int,
    refiner: str,
    core: int,
) -> Iterator[RefinedBlock]:
    """Decide the pixels of an image block by block; blocks with nothing in them are left out.

    Every block is refined with ``HALO`` patches around it, at the scale its tiles were seen at.

    Args:
        source: the image.
        plan: of its tiles.
        found: of ``score_tiles``.
        zoom: pixels of a patch as the encoder sees it.
        refiner: ``none``, ``guided`` or ``crf``.
        core: side of a block in pixels.

    Raises:
        ImageError: if a window cannot be read.
    """
    (H, W), p = source.size, plan.patch
    labels, wholes = list(found), wholes_of(list(found))
    for top in range(0, H, core):
        for left in range(0, W, core):
            ends = min(top + core, H), min(left + core, W)
            (r0, r1), (c0, c1) = (
                (max(0, a // p - HALO) // 4 * 4, min(n, -(-b // p) + HALO))
                for a, b, n in zip((top, left), ends, plan.grid, strict=True)
            )
            scores = [found[k].patches[r0:r1, c0:c1] for k in labels]
            if not any(bool(s.gt(0.5).any()) for s in scores):
                continue
            picture = read_padded(source, slice(r0 * p, r1 * p), slice(c0 * p, c1 * p))
            seen = ((r1 - r0) * zoom, (c1 - c0) * zoom)
            masks = [refine(s, picture.pixels, seen, refiner) for s in scores]
            confidences = [found[k].confidence for k in labels]
            label_map, masks = compete_inside(masks, scores, confidences, wholes, seen)
            rows, columns = (
                slice(top - r0 * p, ends[0] - r0 * p),
                slice(left - c0 * p, ends[1] - c0 * p),
            )
            if picture.valid is not None:
                label_map = label_map * picture.valid
                masks = [mask & picture.valid for mask in masks]
            yield RefinedBlock(
                slice(top, ends[0]),
                slice(left, ends[1]),
                label_map[rows, columns],
                {k: mask[rows, columns] for k, mask in zip(labels, masks, strict=True)},
            )


def segment_tiles(
    picture: Picture,
    plan: Plan,
    encoder: Encoder,
    models: Mapping[str, Any],
    refiner: str,
    watch: Watch = iter,
) -> Result:
    """A picture in memory, read in tiles; its scores are on the grid of the plan."""
    source = InMemory(picture)
    note_tiles(source, plan)
    found = score_tiles(source, plan, encoder, models, watch=watch)
    return tiled_result(picture, plan, found, encoder.spec.patch, refiner)


def tiled_result(
    picture: Picture, plan: Plan, found: Mapping[str, Scores], zoom: int, refiner: str
) -> Result:
    """The result of scores on the grid of a plan; arguments as of ``refine_blocks``."""
    source = InMemory(picture)
    label_map = np.zeros(source.size, np.uint8 if len(found) < 256 else np.uint16)
    masks = {label: np.zeros(source.size, bool) for label in found}
    for block in refine_blocks(source, plan, found, zoom, refiner, plan.tile):
        label_map[block.rows, block.columns] = block.label_map
        for label, mask in block.masks.items():
            masks[label][block.rows, block.columns] = mask
    classes = {
        k: ClassResult(masks[k], f.patches.numpy(), f.confidence, f.trace) for k, f in found.items()
    }
    return replace(Result.merged(classes, label_map, picture.pixels), plan=plan)


def note_tiles(source: ImageSource, plan: Plan) -> None:
    """Note that an image was read in tiles."""
    H, W = source.size
    note(
        source.name,
        f"read in {len(plan.tiles)} tiles of {plan.tile} pixels, finer than {W} × {H} at once: "
        "--tile off reads it at once.",
    )

"""One slide after the other: labels as OME-TIFF, annotations for QuPath."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError
from ..export.qupath import feature
from ..instances import Instance
from ..io.files import refused, remove_parts, whole_file, write_json
from ..io.hashing import fingerprint
from ..io.text_files import read_json
from ..run.windows import BLOCK, check_reads_windows, decide, plan_of
from ..segmenter import Segmenter
from .pieces import Piece, connected_pieces
from .slide import SUFFIXES, Slide

MADE_OF = "likewise"
"""Field of a GeoJSON file: what it was made of, for ``resume``."""
SAMPLES = 4096
"""Pixels of a piece whose scores are looked at."""


@dataclass(frozen=True)
class SlideOptions:
    """How slides are read, and what is left out."""

    mpp: float | None = None
    """µm a pixel; None: as ``level``."""
    level: int | None = None
    channels: tuple[int, ...] = ()
    min_area: float = 0.0
    """µm²; smaller pieces are in labels, but no annotations."""
    everywhere: bool = False
    """Also read tiles without tissue."""


@dataclass(frozen=True, eq=False)
class SlideResult:
    """What became of one slide."""

    path: Path
    labels: Path
    annotations: Path
    pieces: Mapping[str, int]
    """Class → annotations."""
    tiles: int
    """That were read; 0 if the files were kept."""
    skipped: int
    """Tiles without tissue."""
    mpp: float | None
    """µm a pixel of the labels, where it is known."""


def segment_slides(
    segmenter: Segmenter,
    targets: Iterable[tuple[Path, Path]],
    options: SlideOptions,
    *,
    resume: bool = False,
) -> Iterator[SlideResult | ImageError]:
    """Segment slides; one that cannot be read is yielded as its error.

    Args:
        segmenter: fitted, with the default method.
        targets: (slide, file for its labels) pairs.
        options: for all of them.
        resume: keep what was made of the same.

    Raises:
        LikewiseError: if the method reads no tiles.
    """
    check_reads_windows(segmenter.method, "slides")
    targets = list(targets)
    remove_parts({labels.parent for _, labels in targets})
    for path, labels in targets:
        try:
            yield segment_slide(segmenter, path, labels, options, resume=resume)
        except ImageError as error:
            yield error


def segment_slide(
    segmenter: Segmenter, path: Path, labels: Path, options: SlideOptions, *, resume: bool = False
) -> SlideResult:
    """Segment one slide: an OME-TIFF of labels as it was read, 0 none, k the k-th class; and beside
    it a GeoJSON of connected pieces, in pixels of level 0. Files are written whole, it last.

    Raises:
        ImageError: if it cannot be used, or a file not be written.
    """
    ranges = segmenter.fitted().ranges
    slide = Slide(path, options.mpp, options.level, options.channels, ranges)
    if options.min_area and slide.mpp_full is None:
        raise ImageError(f"{path} does not say how large a pixel is: leave out --min-area.")
    annotations, names = annotations_of(labels), list(segmenter.models)
    stat = path.stat()
    made_of = fingerprint(
        segmenter.fingerprint, str(options), (stat.st_size, stat.st_mtime_ns), names
    )
    mpp = None if slide.mpp is None else slide.mpp[1]
    if resume and labels.exists() and (known := _kept(annotations, made_of)) is not None:
        return SlideResult(path, labels, annotations, known, 0, 0, mpp)
    plan = plan_of(segmenter, slide.size)
    tiles = None if plan is None else plan.tiles
    found = None if options.everywhere else slide.tissue()
    if plan is not None and found is not None:
        tiles = [t for t in plan.tiles if _shows(found, t, plan.patch, plan.tile)]
    decided = decide(segmenter, slide, plan, tiles)
    with tempfile.TemporaryFile() as scratch:
        drawn = np.memmap(scratch, np.uint8, "w+", shape=slide.size)
        for block in decided.blocks:
            drawn[block.rows, block.columns] = block.label_map
        _write_labels(labels, drawn, slide)
        features, counts = list[dict[str, Any]](), dict.fromkeys(names, 0)
        down, along = (n / m for n, m in zip(slide.full, slide.size, strict=True))
        for k, (name, scores) in enumerate(zip(names, decided.scores, strict=True), 1):
            for piece in connected_pieces(drawn, k):
                one = _instance(piece, k, name, scores, decided.cell, decided.confidences[k - 1])
                scale = piece.step * down, piece.step * along
                made = feature(one, f"{path.name} {name} {counts[name]}", slide.mpp_full, scale)
                if made["properties"]["measurements"].get("Area µm^2", 0) >= options.min_area:
                    features.append(made)
                    counts[name] += 1
        del drawn
    content = {"type": "FeatureCollection", "features": features}
    write_json(annotations, content | {MADE_OF: {"made_of": made_of, "pieces": counts}})
    skipped = 0 if plan is None or tiles is None else len(plan.tiles) - len(tiles)
    return SlideResult(path, labels, annotations, counts, decided.tiles, skipped, mpp)


def find_slides(targets: Sequence[str]) -> list[Path]:
    """Files as they are given, and of folders those with the suffix of a slide, by name.

    Raises:
        ImageError: one does not exist, or a folder holds no slides.
    """
    found: dict[Path, None] = {}
    for target in map(Path, targets):
        files = [target]
        if target.is_dir():
            files = sorted(f for f in target.iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ImageError(f"the folder {target} holds no slides ({', '.join(SUFFIXES)}).")
        if not files[0].exists():
            raise ImageError(f"{target} does not exist: check its spelling and folder.")
        found |= dict.fromkeys(f for f in files if not f.name.startswith("."))
    return list(found)


def annotations_of(labels: Path) -> Path:
    """Where the annotations go that belong to labels."""
    return labels.with_name(f"{labels.name.removesuffix('.ome.tif')}.geojson")


def _shows(
    tissue: tuple[npt.NDArray[np.bool_], float], tile: tuple[int, int], patch: int, side: int
) -> bool:
    """Whether a tile has tissue; (row, column) is its first patch."""
    small, step = tissue
    rows, columns = (
        slice(int(n * patch / step), int(np.ceil((n * patch + side) / step))) for n in tile
    )
    return bool(small[rows, columns].any())


def _write_labels(path: Path, labels: npt.NDArray[np.uint8], slide: Slide) -> None:
    """A tiled OME-TIFF with the size of its pixels, where that is known."""
    import tifffile

    (H, W), told = labels.shape, dict[str, Any]()
    if slide.mpp is not None:
        for axis, edge in zip("YX", slide.mpp, strict=True):
            told |= {f"PhysicalSize{axis}": edge, f"PhysicalSize{axis}Unit": "µm"}

    def tiles() -> Iterator[npt.NDArray[np.uint8]]:
        for top in range(0, H, BLOCK):
            for left in range(0, W, BLOCK):
                part = labels[top : top + BLOCK, left : left + BLOCK]
                yield np.pad(part, [(0, BLOCK - n) for n in part.shape])

    try:
        with (
            whole_file(path) as part,
            tifffile.TiffWriter(part, bigtiff=H * W > 2**30, ome=True) as file,
        ):
            file.write(
                tiles(),
                shape=(H, W),
                dtype=np.uint8,
                tile=(BLOCK, BLOCK),
                compression="zlib",
                photometric="minisblack",
                metadata={"axes": "YX", **told},
            )
    except OSError as error:
        raise refused(path, error) from error


def _instance(
    piece: Piece,
    number: int,
    name: str,
    scores: npt.NDArray[np.float32],
    cell: tuple[float, float],
    confidence: float,
) -> Instance:
    """A piece with its score: how far the scores in it are above the threshold on average."""
    rows, columns = np.nonzero(piece.mask)
    some = slice(None, None, max(1, len(rows) // SAMPLES))
    y = ((rows[some] + piece.top + 0.5) * piece.step / cell[0]).astype(int)
    x = ((columns[some] + piece.left + 0.5) * piece.step / cell[1]).astype(int)
    at = scores[y.clip(0, scores.shape[0] - 1), x.clip(0, scores.shape[1] - 1)]
    margin = float(np.maximum(2 * at - 1, 0).mean())
    return Instance(number, name, confidence * margin, piece.left, piece.top, piece.mask)


def _kept(annotations: Path, made_of: str) -> Mapping[str, int] | None:
    """Class → annotations of a file that was made of just this; else None."""
    if not annotations.exists():
        return None
    try:
        known = read_json(annotations).get(MADE_OF, {})
        pieces: Mapping[str, int] = known["pieces"] if known["made_of"] == made_of else {}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None
    return pieces or None

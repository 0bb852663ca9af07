"""The benchmarks that can be run: name, task, source, and the function that reads each.

For each there is a function ``build(root, shots, benchmark)`` that draws its episodes from the
official download below the data root.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....errors import LikewiseError
from ....io.text_files import read_text
from ..manifest import BenchmarkManifest, Entry, source_sha256

INSID3_DATA = "https://github.com/visinf/INSID3/blob/main/docs/data.md"
MATCHER_DATA = "https://github.com/aim-uofa/Matcher/blob/main/datasets/README.md"


@dataclass(frozen=True)
class Benchmark:
    """One row of ``likewise benchmark list``."""

    name: str
    title: str
    task: str
    """``masks``: one class in a target; ``maps``: several that compete; ``points``: keypoints."""
    headline: str
    """The measure that papers report."""
    folder: str
    """Below the data root."""
    needs: tuple[str, ...]
    """Files or folders that must be in ``folder``."""
    where: str
    """Address of the download."""
    build: str = ""
    """``module.function`` of this package that draws its episodes."""

    def missing(self, root: Path) -> list[Path]:
        """The needed files and folders that do not exist below the data root."""
        return [p for p in (root / self.folder / n for n in self.needs) if not p.exists()]


@dataclass(frozen=True)
class Built:
    """Episodes drawn from a benchmark's files."""

    entries: Sequence[Entry]
    protocol: Mapping[str, Any]
    sources: Sequence[Path] = ()
    """Lists and annotations that were read."""
    references: Mapping[str, Sequence[Entry]] = field(default_factory=dict)


MIOU = "mIoU at input size"
VIDEO = "J&F"
_ALL = (
    Benchmark(
        *("coco20i", "COCO-20i", "masks", MIOU, "COCO2014", ("val2014",)),
        where=INSID3_DATA,
        build="folds.coco20i",
    ),
    Benchmark(
        *("lvis92i", "LVIS-92i", "masks", MIOU, "LVIS", ("coco", "lvis_val.pkl")),
        where=INSID3_DATA,
        build="folds.lvis92i",
    ),
    Benchmark(
        *("isic", "ISIC 2018", "masks", MIOU, "ISIC"),
        needs=(
            "ISIC2018_Task1-2_Training_Input",
            "ISIC2018_Task1_Training_GroundTruth",
        ),
        where="https://challenge.isic-archive.com/data/#2018",
        build="folders.isic",
    ),
    Benchmark(
        *("chest", "Chest X-ray", "masks", MIOU, "LungSegmentation", ("CXR_png", "masks")),
        where="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
        build="folders.chest",
    ),
    Benchmark(
        *("isaid5i", "iSAID-5i", "masks", MIOU, "iSAID", ("val/images", "val/semantic_png")),
        where=INSID3_DATA,
        build="folds.isaid5i",
    ),
    Benchmark(
        *("suim", "SUIM", "masks", MIOU, "SUIM", ("images", "masks")),
        where="https://www.kaggle.com/datasets/heyoujue/suim-merged",
        build="folders.suim",
    ),
    Benchmark(
        *("pascal-part", "PASCAL-Part", "masks", MIOU, "Pascal-Part/VOCdevkit/VOC2010"),
        needs=("JPEGImages", "all_obj_part_to_image.json"),
        where=INSID3_DATA,
        build="parts.pascal_part",
    ),
    Benchmark(
        *("paco-part", "PACO-Part", "masks", MIOU, "PACO-Part"),
        needs=("coco", "paco/paco_part_train.pkl", "paco/paco_part_val.pkl"),
        where=INSID3_DATA,
        build="parts.paco_part",
    ),
    Benchmark(
        *("permis", "PerMIS", "masks", MIOU, "PerMIRS", (".",)),
        where="https://github.com/dvirsamuel/PDM",
        build="folders.permis",
    ),
    Benchmark(
        *("fss1000", "FSS-1000", "masks", MIOU, "FSS-1000", ("data", "splits/test.txt")),
        where=MATCHER_DATA,
        build="folders.fss1000",
    ),
    Benchmark(
        *("drive", "DRIVE", "masks", "mIoU", "DRIVE", ("training/images",)),
        where="https://drive.grand-challenge.org",
        build="folders.vessels",
    ),
    Benchmark(
        *("chase", "CHASE_DB1", "masks", "mIoU", "CHASEDB1", ("Image_01L.jpg",)),
        where="https://researchdata.kingston.ac.uk/96/",
        build="folders.vessels",
    ),
    Benchmark(
        *("davis2016", "DAVIS-2016", "maps", VIDEO, "DAVIS", ("JPEGImages/480p",)),
        where="https://davischallenge.org/davis2016/code.html",
        build="maps.davis",
    ),
    Benchmark(
        *("davis2017", "DAVIS-2017", "maps", VIDEO, "DAVIS", ("ImageSets/2017/val.txt",)),
        where="https://davischallenge.org/davis2017/code.html",
        build="maps.davis",
    ),
    Benchmark(
        *("spair", "SPair-71k", "points", "PCK@0.10 per image", "SPair-71k"),
        needs=("Layout/large/test.txt", "PairAnnotation/test", "JPEGImages"),
        where="https://cvlab.postech.ac.kr/research/SPair-71k/",
        build="spair.spair",
    ),
    Benchmark(
        *("ade20k", "ADE20K", "maps", "mIoU", "ADEChallengeData2016"),
        needs=("images/validation", "annotations/validation"),
        where="http://sceneparsing.csail.mit.edu",
        build="maps.semantic",
    ),
    Benchmark(
        *("coco-stuff", "COCO-Stuff", "maps", "mIoU", "cocostuff"),
        needs=("images/val2017", "annotations/val2017"),
        where="https://github.com/nightrome/cocostuff",
        build="maps.semantic",
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {b.name: b for b in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of a name. Raises LikewiseError if there is none."""
    if name not in BENCHMARKS:
        raise LikewiseError(
            f"benchmark {name!r} is unknown; use all, list, merge or one of "
            f"{', '.join(BENCHMARKS)}."
        )
    return BENCHMARKS[name]


def make_manifest(benchmark: Benchmark, root: Path, shots: int) -> BenchmarkManifest:
    """Draw the episodes of a benchmark.

    Raises:
        LikewiseError: if files are missing or a class has too few images.
    """
    missing = benchmark.missing(root)
    if missing:
        raise LikewiseError(
            f"{missing[0]} does not exist: {benchmark.title} is at {benchmark.where}; "
            "docs/benchmarks.md shows how to lay it out below --data-root."
        )
    module, _, function = benchmark.build.partition(".")
    build = getattr(importlib.import_module(f".{module}", __name__), function)
    built: Built = build(root, shots, benchmark)
    return BenchmarkManifest(
        benchmark.name,
        {"seed": 0, "shots": shots, "episodes": len(built.entries), **built.protocol},
        {path.relative_to(root).as_posix(): source_sha256(path) for path in built.sources},
        built.entries,
        built.references,
    )


def read_lines(path: Path) -> list[str]:
    """Non-empty lines of a text file. Raises LikewiseError if it cannot be read."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{path} cannot be read as a list ({error}).") from error
    return [line.strip() for line in lines if line.strip()]


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Files of a folder with one of these suffixes, sorted by name.

    Raises:
        LikewiseError: if there is none.
    """
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes)
    if not found:
        raise LikewiseError(f"{folder} holds no file that ends in {', '.join(suffixes)}.")
    return found

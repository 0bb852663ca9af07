"""The benchmarks that can be run: what each is, where it comes from, and the file that reads it.

A file of this package has a function ``build(root, shots)`` that draws the episodes of a benchmark
from its official download below the data root.
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
    """``masks`` (one concept, one target), ``maps`` (several labels compete), ``points``."""
    headline: str
    """The figure that papers report."""
    folder: str
    """Below the data root."""
    needs: tuple[str, ...]
    """Files or folders in it without which it is not there."""
    where: str
    """Where to get it."""
    module: str = ""

    def missing(self, root: Path) -> list[Path]:
        """What it needs and is not below the data root."""
        return [p for p in (root / self.folder / n for n in self.needs) if not p.exists()]


@dataclass(frozen=True)
class Built:
    """What a file of this package draws."""

    entries: Sequence[Entry]
    protocol: Mapping[str, Any]
    sources: Sequence[Path] = ()
    """Lists and annotations that it was drawn from."""
    references: Mapping[str, Sequence[Entry]] = field(default_factory=dict)


MIOU = "mIoU at input size"
VIDEO = "J&F"
_ALL = (
    Benchmark(
        *("coco20i", "COCO-20i", "masks", MIOU, "COCO2014", ("val2014",)),
        where=INSID3_DATA,
    ),
    Benchmark(
        *("lvis92i", "LVIS-92i", "masks", MIOU, "LVIS", ("coco", "lvis_val.pkl")),
        where=INSID3_DATA,
    ),
    Benchmark(
        *("isic", "ISIC 2018", "masks", MIOU, "ISIC"),
        needs=(
            "ISIC2018_Task1-2_Training_Input",
            "ISIC2018_Task1_Training_GroundTruth",
        ),
        where="https://challenge.isic-archive.com/data/#2018",
    ),
    Benchmark(
        *("chest", "Chest X-ray", "masks", MIOU, "LungSegmentation", ("CXR_png", "masks")),
        where="https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels",
    ),
    Benchmark(
        *("isaid5i", "iSAID-5i", "masks", MIOU, "iSAID", ("val/images", "val/semantic_png")),
        where=INSID3_DATA,
    ),
    Benchmark(
        *("suim", "SUIM", "masks", MIOU, "SUIM", ("images", "masks")),
        where="https://www.kaggle.com/datasets/heyoujue/suim-merged",
    ),
    Benchmark(
        *("pascal-part", "PASCAL-Part", "masks", MIOU, "Pascal-Part/VOCdevkit/VOC2010"),
        needs=("JPEGImages", "all_obj_part_to_image.json"),
        where=INSID3_DATA,
        module="pascal_part",
    ),
    Benchmark(
        *("paco-part", "PACO-Part", "masks", MIOU, "PACO-Part"),
        needs=("coco", "paco/paco_part_train.pkl", "paco/paco_part_val.pkl"),
        where=INSID3_DATA,
        module="paco_part",
    ),
    Benchmark(
        *("permis", "PerMIS", "masks", MIOU, "PerMIRS", (".",)),
        where="https://github.com/dvirsamuel/PDM",
    ),
    Benchmark(
        *("fss1000", "FSS-1000", "masks", MIOU, "FSS-1000", ("data", "splits/test.txt")),
        where=MATCHER_DATA,
    ),
    Benchmark(
        *("drive", "DRIVE", "masks", "mIoU", "DRIVE", ("training/images",)),
        where="https://drive.grand-challenge.org",
        module="vessels",
    ),
    Benchmark(
        *("chase", "CHASE_DB1", "masks", "mIoU", "CHASEDB1", ("Image_01L.jpg",)),
        where="https://researchdata.kingston.ac.uk/96/",
        module="vessels",
    ),
    Benchmark(
        *("davis2016", "DAVIS-2016", "maps", VIDEO, "DAVIS", ("JPEGImages/480p",)),
        where="https://davischallenge.org/davis2016/code.html",
        module="davis",
    ),
    Benchmark(
        *("davis2017", "DAVIS-2017", "maps", VIDEO, "DAVIS", ("ImageSets/2017/val.txt",)),
        where="https://davischallenge.org/davis2017/code.html",
        module="davis",
    ),
    Benchmark(
        *("spair", "SPair-71k", "points", "PCK@0.10 per image", "SPair-71k"),
        needs=("Layout/large/test.txt", "PairAnnotation/test", "JPEGImages"),
        where="https://cvlab.postech.ac.kr/research/SPair-71k/",
    ),
    Benchmark(
        *("ade20k", "ADE20K", "maps", "mIoU", "ADEChallengeData2016"),
        needs=("images/validation", "annotations/validation"),
        where="http://sceneparsing.csail.mit.edu",
        module="semantic",
    ),
    Benchmark(
        *("coco-stuff", "COCO-Stuff", "maps", "mIoU", "cocostuff"),
        needs=("images/val2017", "annotations/val2017"),
        where="https://github.com/nightrome/cocostuff",
        module="semantic",
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = {b.name: b for b in _ALL}


def get_benchmark(name: str) -> Benchmark:
    """Raises LikewiseError unless there is one of that name."""
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
    module = importlib.import_module(f".{benchmark.module or benchmark.name}", __name__)
    built: Built = module.build(root, shots, benchmark)
    return BenchmarkManifest(
        benchmark.name,
        {"seed": 0, "shots": shots, "episodes": len(built.entries), **built.protocol},
        {path.relative_to(root).as_posix(): source_sha256(path) for path in built.sources},
        built.entries,
        built.references,
    )


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not empty. Raises LikewiseError if it cannot be read."""
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{path} cannot be read as a list ({error}).") from error
    return [line.strip() for line in lines if line.strip()]


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files of a folder with one of these suffixes, in order of their names.

    Raises:
        LikewiseError: if there is none.
    """
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes)
    if not found:
        raise LikewiseError(f"{folder} holds no file that ends in {', '.join(suffixes)}.")
    return found

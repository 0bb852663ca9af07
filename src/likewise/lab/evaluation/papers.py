"""Published figures, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INSID3 = "INSID3 (CVPR 2026, arXiv 2603.28480): DINOv3-L, 1024 px, CRF"
INSID3_CODE = "INSID3's released code, README: DINOv3-B, 768 px, rank 20"
FORIS = "FoRIS (arXiv 2609.03384): DINOv3-L"
GF_SAM = "GF-SAM (NeurIPS 2024): last lines of the logs in its repository, mean of the folds"
SEGIC = "SegIC (ECCV 2024), table 1"
SEGIC_STRICT = "SegIC (ECCV 2024), table 2"


@dataclass(frozen=True)
class Published:
    """One figure in points, with one shot."""

    method: str
    measure: str
    source: str
    value: float


# "seen": trained on the classes of the benchmark.
_FIGURES: Mapping[tuple[str, str, str], Mapping[str, float]] = {
    ("INSID3", "mIoU", INSID3): {
        **{"coco20i": 57.6, "lvis92i": 41.8, "isic": 54.4, "chest": 78.8, "isaid5i": 52.1},
        **{"suim": 54.9, "pascal-part": 50.5, "paco-part": 38.7, "permis": 67.0},
    },
    ("FoRIS", "mIoU", FORIS): {
        **{"coco20i": 60.9, "lvis92i": 42.8, "chest": 87.6},
        **{"suim": 59.1, "pascal-part": 55.8, "paco-part": 42.3},
    },
    ("GF-SAM", "mIoU", GF_SAM): {
        **{"coco20i": 58.7, "lvis92i": 35.2, "isic": 48.7, "isaid5i": 47.1},
        **{"pascal-part": 44.5, "paco-part": 36.3, "fss1000": 88.0},
    },
    ("SegIC-L (seen)", "mIoU", SEGIC): {"coco20i": 76.1},
    ("SegIC-G (seen)", "mIoU", SEGIC): {"coco20i": 74.5},
    ("SegIC (strict folds)", "mIoU", SEGIC_STRICT): {"coco20i": 53.6},
    ("SegIC-L", "mIoU", SEGIC): {"fss1000": 86.8, "lvis92i": 44.6},
    ("SegIC-G", "mIoU", SEGIC): {"fss1000": 88.4, "lvis92i": 47.8},
    ("Matcher", "mIoU", SEGIC): {"coco20i": 52.7, "fss1000": 87.0, "lvis92i": 33.0},
    ("SegGPT", "mIoU", SEGIC): {"coco20i": 56.1, "fss1000": 85.6, "lvis92i": 18.6},
    ("PerSAM", "mIoU", SEGIC): {"coco20i": 23.0, "fss1000": 71.2, "lvis92i": 11.5},
    ("PerSAM-F", "mIoU", SEGIC): {"coco20i": 23.5, "fss1000": 75.6, "lvis92i": 12.3},
    ("Painter", "mIoU", SEGIC): {"coco20i": 33.1, "fss1000": 61.7, "lvis92i": 10.5},
    ("SegIC-L", "J&F", SEGIC): {"davis2017": 71.4},
    ("SegIC-G", "J&F", SEGIC): {"davis2017": 73.7},
    ("Matcher", "J&F", SEGIC): {"davis2017": 79.5},
    ("SegGPT", "J&F", SEGIC): {"davis2017": 75.6},
    ("PerSAM", "J&F", SEGIC): {"davis2017": 60.3},
    ("PerSAM-F", "J&F", SEGIC): {"davis2017": 71.9},
    ("Painter", "J&F", SEGIC): {"davis2017": 34.6},
    ("SegIC-L (known classes)", "mIoU", SEGIC): {"ade20k": 55.5},
    ("SegIC-G (known classes)", "mIoU", SEGIC): {"ade20k": 59.0},
    ("DINOv3-B debiased", "PCK@0.05 per image", INSID3_CODE): {"spair": 33.7},
    ("DINOv3-B debiased", "PCK@0.10 per image", INSID3_CODE): {"spair": 52.6},
    ("DINOv3-B debiased", "PCK@0.15 per image", INSID3_CODE): {"spair": 62.5},
    ("DINOv3-B debiased", "PCK@0.20 per image", INSID3_CODE): {"spair": 68.7},
    ("DINOv3-B", "PCK@0.10 per image", INSID3_CODE): {"spair": 46.8},
}


def published(benchmark: str, shots: int) -> list[Published]:
    """The published figures of a benchmark; none if ``shots`` is above 1."""
    return [
        Published(*what, values[benchmark])
        for what, values in _FIGURES.items()
        if benchmark in values and shots == 1
    ]

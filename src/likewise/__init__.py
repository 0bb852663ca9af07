"""likewise: mask one example, get the same thing masked in every other image."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import BackboneError, ImageError, LikewiseError

if TYPE_CHECKING:
    from .integrations.insid3_api import build_insid3
    from .io.planes import Plane
    from .matching import match
    from .methods.foris import FoRISParams
    from .methods.frost import FROSTParams
    from .methods.insid3 import INSID3Params
    from .methods.likewise import LikewiseParams
    from .methods.nearest import NearestParams
    from .methods.segic import SegICParams
    from .quality import validate_mask_quality
    from .reference import Reference
    from .result import Result
    from .run.annotate import AnnotatedImage, annotate_batch
    from .segmenter import Segmenter, load
    from .session import Session
    from .tuning import tune
    from .video import segment_video
    from .vocabulary import read_vocabulary
    from .volume import segment_volume

__version__ = "0.2.0"
__all__ = [
    "AnnotatedImage",
    "BackboneError",
    "FROSTParams",
    "FoRISParams",
    "INSID3Params",
    "ImageError",
    "LikewiseError",
    "LikewiseParams",
    "NearestParams",
    "Plane",
    "Reference",
    "Result",
    "SegICParams",
    "Segmenter",
    "Session",
    "annotate_batch",
    "build_insid3",
    "load",
    "match",
    "read_vocabulary",
    "segment_video",
    "segment_volume",
    "tune",
    "validate_mask_quality",
]

# Loaded on first use, so that `import likewise` stays free of torch.
_LAZY = {
    "AnnotatedImage": "run.annotate",
    "FROSTParams": "methods.frost",
    "FoRISParams": "methods.foris",
    "INSID3Params": "methods.insid3",
    "LikewiseParams": "methods.likewise",
    "NearestParams": "methods.nearest",
    "SegICParams": "methods.segic",
    "Plane": "io.planes",
    "Reference": "reference",
    "Result": "result",
    "Segmenter": "segmenter",
    "Session": "session",
    "annotate_batch": "run.annotate",
    "build_insid3": "integrations.insid3_api",
    "load": "segmenter",
    "match": "matching",
    "read_vocabulary": "vocabulary",
    "segment_video": "video",
    "segment_volume": "volume",
    "tune": "tuning",
    "validate_mask_quality": "quality",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value

"""The only place that hashes: bytes, files, and the facts that a result was made from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def sha256(*chunks: bytes | npt.NDArray[Any]) -> str:
    """64 hex digits of bytes, and of the bytes of arrays, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk if isinstance(chunk, bytes) else np.ascontiguousarray(chunk).data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """64 hex digits of a file. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(*facts: object) -> str:
    """32 hex digits of facts: equal ones have equal digits, whatever order mappings are in.

    Args:
        facts: None, numbers, text, paths, arrays, dataclasses; lists and mappings of them. Give
            what was resolved (``float32``), not what was asked for (``auto``).

    Raises:
        TypeError: for anything else, whose text might say nothing of its content.
    """
    return sha256(json.dumps(facts, sort_keys=True, default=_plain).encode())[:32]


def _plain(fact: object) -> object:
    if isinstance(fact, np.ndarray):
        return {"shape": fact.shape, "dtype": str(fact.dtype), "sha256": sha256(fact)}
    if is_dataclass(fact) and not isinstance(fact, type):
        return asdict(fact)
    if isinstance(fact, Mapping):
        return dict(fact)
    if isinstance(fact, os.PathLike):
        return os.fspath(fact)
    raise TypeError(f"{type(fact).__name__} has no fingerprint")

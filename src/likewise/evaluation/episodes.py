"""Episodes: fixed lists of (class, reference, target) for measuring accuracy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import LikewiseError


@dataclass(frozen=True)
class Episode:
    """Find in ``target`` what ``reference_mask`` marks in ``reference``.

    ``value`` is the value that means foreground in both masks; all others are background.
    """

    dataset: str
    cls: str
    value: int
    reference: Path
    reference_mask: Path
    target: Path
    target_mask: Path


def read_episodes(file: Path, root: Path) -> list[Episode]:
    """Read a JSON list of episodes (fields set, cls, value, ref, ref_mask, tgt, tgt_mask).

    Args:
        file: the list.
        root: folder that its paths are relative to.

    Raises:
        LikewiseError: if the file cannot be read or an episode lacks a field.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return [
            Episode(
                e["set"],
                e["cls"],
                e["value"],
                root / e["ref"],
                root / e["ref_mask"],
                root / e["tgt"],
                root / e["tgt_mask"],
            )
            for e in entries
        ]
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{file} cannot be read as JSON episodes ({error}).") from error
    except (KeyError, TypeError) as error:
        raise LikewiseError(
            f"{file} is no list of episodes (missing {error}): each needs set, cls, value, ref, "
            "ref_mask, tgt and tgt_mask."
        ) from error

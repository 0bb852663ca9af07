"""The states of a job: segmented, encoded, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .file_state import FileState
from .jobs import Job

if TYPE_CHECKING:
    from ..io.images import Picture
    from ..result import Result


@dataclass(frozen=True)
class ClassOutcome:
    """Area, confidence and warnings of one class of one target."""

    label: str
    area: float
    """Share of the image, 0..1."""
    confidence: float
    """0..1."""
    stability_score: float
    """0..1, see ``quality.stability_score``."""
    reasons: tuple[str, ...]
    """Its warnings, see ``quality.mask_warnings``."""


@dataclass(frozen=True)
class Outcome:
    """The result of one job: its mask, or why there is none."""

    target: Path
    mask: Path | None = None
    overlay: Path | None = None
    area: float = 0.0
    """Share of the image that is foreground, 0..1."""
    confidence: float = 0.0
    """0..1: confidence of the method that the target shows the concept."""
    seconds: float = 0.0
    error: str | None = None
    """Why there is no mask; None when there is one."""
    skipped: bool = False
    """There was a mask already, which was kept."""
    by_hand: bool = False
    """It was kept because a person made or changed it."""
    anew: str = ""
    """Why an existing mask was replaced although existing ones were to be kept; else empty."""
    unwritten: tuple[str, ...] = ()
    """Why files beside the mask could not be written, though the mask was."""
    classes: tuple[ClassOutcome, ...] = ()
    """Every class looked for, if masks are checked (``limits``); else empty."""

    @property
    def state(self) -> str:
        """made, kept, by_hand (kept because a person made or changed it) or failed."""
        if self.error is not None:
            return "failed"
        return "by_hand" if self.by_hand else "kept" if self.skipped else "made"


@dataclass(frozen=True, eq=False)
class SegmentedJob:
    """A job that is segmented; its files are not encoded yet."""

    job: Job
    picture: Picture
    result: Result
    seconds: float
    seen: FileState | None = None
    """State of the image file when it was read; None if it was not read."""
    anew: str = ""
    """As of ``Outcome``."""


@dataclass(frozen=True)
class Finished:
    """A job whose files are encoded, maybe on another machine, but not written yet."""

    job: Job
    outcome: Outcome
    files: tuple[tuple[Path, bytes], ...] = ()
    """Path and content of the files to write; the mask last: it marks the target as done."""
    seen: FileState | None = None
    """State of the image file when it was read."""

"""What became of a job: found, written, judged, failed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .file_state import Seen
from .jobs import Job

if TYPE_CHECKING:
    from ..io.images import Picture
    from ..result import Result


@dataclass(frozen=True)
class ClassOutcome:
    """What was found of one class."""

    label: str
    area: float
    """Share of the image, 0..1."""
    confidence: float
    """0..1."""
    steadiness: float
    """0..1: how little it hangs on the threshold, see ``quality.steadiness``."""
    reasons: tuple[str, ...]
    """What speaks against it, see ``quality.verdicts``."""


@dataclass(frozen=True)
class Outcome:
    """What became of one job."""

    target: Path
    mask: Path | None = None
    overlay: Path | None = None
    area: float = 0.0
    """Share of the image that is foreground, 0..1."""
    confidence: float = 0.0
    """0..1: how sure the method is that the target shows the concept."""
    seconds: float = 0.0
    error: str | None = None
    """Why there is no mask; None when there is one."""
    skipped: bool = False
    """The mask was there already and was kept."""
    by_hand: bool = False
    """It was kept because a person made or changed it."""
    anew: str = ""
    """Why a mask that was there was not kept but made anew, where that was asked."""
    unwritten: tuple[str, ...] = ()
    """Why files beside the mask could not be written, though the mask was."""
    classes: tuple[ClassOutcome, ...] = ()
    """Every class looked for, where masks are judged."""

    @property
    def state(self) -> str:
        """made, kept, by_hand (kept, for a person made or changed it) or failed."""
        if self.error is not None:
            return "failed"
        return "by_hand" if self.by_hand else "kept" if self.skipped else "made"


@dataclass(frozen=True, eq=False)
class Segmented:
    """One job between segmenting and encoding."""

    job: Job
    picture: Picture
    result: Result
    seconds: float
    seen: Seen | None = None
    """The picture file as it was read; None if it was not."""
    anew: str = ""
    """As of ``Outcome``."""


@dataclass(frozen=True)
class Finished:
    """One job between encoding, maybe on another machine, and writing."""

    job: Job
    outcome: Outcome
    files: tuple[tuple[Path, bytes], ...] = ()
    """What is still to be written, the mask last: it says that a target is done."""
    seen: Seen | None = None
    """The picture file as it was read."""

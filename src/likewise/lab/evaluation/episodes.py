"""Episodes: fixed lists of (class, reference, target) for measuring accuracy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...io.hashing import file_sha256
from ...io.opening import why
from ...io.text_files import read_json


@dataclass(frozen=True)
class RunLengths:
    """A mask as COCO's compressed run lengths."""

    size: tuple[int, int]
    """(H, W)."""
    counts: str


@dataclass(frozen=True)
class MaskedImage:
    """An image file and its mask, in which ``value`` is foreground (None: see ``read_mask``)."""

    image: Path
    mask: Path | RunLengths
    value: int | None
    min_value: int | None = None
    """Grey value from which a pixel of the mask is foreground; then ``value`` is not used."""
    void: int | None = None
    """Value of pixels that are ignored."""
    box: tuple[int, int, int, int] | None = None
    """Crop of image and mask: left, top, right and bottom in pixels, the last two excluded."""


@dataclass(frozen=True)
class Episode:
    """One reference and one target of a class.

    ``value`` is foreground in both masks; all other values are background.
    """

    dataset: str
    cls: str
    value: int | None
    reference: Path
    reference_mask: Path | RunLengths
    target: Path
    target_mask: Path | RunLengths | None
    """None if ``absent``."""
    absent: bool = False
    """The target does not show the concept: the true mask is empty."""
    index: int = 0
    """From 0 in the list, or in all lists one after the other."""
    id: str = "0"
    """Name in the list; default: its index."""

    def __str__(self) -> str:
        return f"episode {self.id} of {self.dataset}"


@dataclass(frozen=True)
class Trial:
    """An episode with its references; the first is its own."""

    episode: Episode
    references: tuple[MaskedImage, ...]
    target: MaskedImage | None = None
    """How the target is read, if it has a crop or ignored pixels."""

    @property
    def asked(self) -> MaskedImage | None:
        """The target with its true mask; None if the concept is absent."""
        e = self.episode
        if self.target is not None or e.target_mask is None:
            return self.target
        return MaskedImage(e.target, e.target_mask, e.value)


def read_episodes(files: Sequence[Path], root: Path) -> list[Episode]:
    """Read JSON lists of episodes (fields set, cls, value, ref, ref_mask, tgt, tgt_mask).

    Optional are ``id`` and ``absent``: true; an absent episode needs no tgt_mask, and one whose
    tgt_mask is null is absent. Sets and classes of the same name in several lists are one.

    Args:
        files: the lists.
        root: folder that their paths are relative to.

    Raises:
        LikewiseError: if a file cannot be read, holds no episode, or one lacks a field.
    """
    episodes: list[Episode] = []
    for file in files:
        episodes += _read_list(file, root, len(episodes))
    return episodes


_NEEDED = "each needs set, cls, value, ref, ref_mask, tgt and tgt_mask."


def _read_list(file: Path, root: Path, first: int) -> list[Episode]:
    try:
        entries = read_json(file)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise LikewiseError(f"{file} is no list of episodes: {_NEEDED}")
        episodes = [_episode(entry, root, index) for index, entry in enumerate(entries, first)]
    except (OSError, ValueError) as error:
        raise LikewiseError(
            f"{file} cannot be read as JSON episodes ({why(error)}): check its path and content."
        ) from error
    except (KeyError, TypeError) as error:
        raise LikewiseError(
            f"{file} is no list of episodes (missing {error}): {_NEEDED}"
        ) from error
    if not episodes:
        raise LikewiseError(f"{file} holds no episode: there is nothing to measure.")
    return episodes


def _episode(entry: dict[str, Any], root: Path, index: int) -> Episode:
    absent = isinstance(entry, dict) and (
        entry.get("absent") is True or entry.get("tgt_mask", "") is None
    )
    return Episode(
        str(entry["set"]),
        str(entry["cls"]),
        entry["value"],
        root / entry["ref"],
        root / entry["ref_mask"],
        root / entry["tgt"],
        None if absent else root / entry["tgt_mask"],
        absent,
        index,
        str(entry.get("id", index)),
    )


def choose(
    episodes: Sequence[Episode],
    *,
    shots: int = 1,
    only_full_shots: bool = False,
    exclude: Collection[str] = (),
    limit: int | None = None,
) -> list[Trial]:
    """The episodes to run, each with its references.

    Further references are references and targets of other episodes of the same set and class, in
    the order of the list, starting after this episode and wrapping around. The target and images
    already chosen are left out; images are compared by content.

    Args:
        episodes: the whole list.
        shots: references wanted; an episode with fewer gets what there is.
        only_full_shots: leave out episodes with fewer.
        exclude: sets to leave out.
        limit: number of episodes, evenly spaced in the list.

    Raises:
        LikewiseError: if a number is below 1, a set is unknown, a file of a further reference is
            missing, or no episode is left.
    """
    for option, number in (("--shots", shots), ("--limit", limit)):
        if number is not None and number < 1:
            raise LikewiseError(f"{option} {number} leaves nothing to measure: give at least 1.")
    names = sorted({e.dataset for e in episodes})
    for name in exclude:
        if name not in names:
            raise LikewiseError(f"--exclude {name}: the episodes are of {', '.join(names)}.")
    selected = [e for e in episodes if e.dataset not in exclude]
    digest = cache(_digest)
    if only_full_shots and shots > 1:
        selected = [e for e in selected if len(_references(e, episodes, shots, digest)) == shots]
    if not selected:
        raise LikewiseError(
            f"no episode is left to measure: of {len(episodes)} none has {shots} references and "
            "is not excluded."
        )
    if limit is not None and limit < len(selected):
        selected = [selected[i * len(selected) // limit] for i in range(limit)]
    return [Trial(e, _references(e, episodes, shots, digest)) for e in selected]


def _references(
    episode: Episode, episodes: Sequence[Episode], shots: int, digest: Callable[[Path], str]
) -> tuple[MaskedImage, ...]:
    chosen = [MaskedImage(episode.reference, episode.reference_mask, episode.value)]
    if shots == 1:
        return tuple(chosen)

    def content(owner: Episode, path: Path) -> str:
        """Hash of the file: equal for copies."""
        try:
            return digest(path)
        except OSError as error:
            raise _missing(owner, path) from error

    seen = {content(episode, episode.target), content(episode, episode.reference)}
    for step in range(1, len(episodes)):
        other = episodes[(episode.index + step) % len(episodes)]
        if (other.dataset, other.cls) != (episode.dataset, episode.cls):
            continue
        found = [MaskedImage(other.reference, other.reference_mask, other.value)]
        if other.target_mask is not None:
            found.append(MaskedImage(other.target, other.target_mask, other.value))
        for marked in found:
            if len(chosen) < shots and content(other, marked.image) not in seen:
                seen.add(content(other, marked.image))
                chosen.append(marked)
    return tuple(chosen)


def check_files(trials: Sequence[Trial]) -> None:
    """Raises LikewiseError if a file that a trial needs is not there, naming both."""
    for trial in trials:
        episode = trial.episode
        files = [path for r in trial.references for path in (r.image, r.mask)]
        files += [p for p in (episode.target, episode.target_mask) if p is not None]
        for path in files:
            if isinstance(path, Path) and not path.is_file():
                raise _missing(episode, path)


def _digest(path: Path) -> str:
    return file_sha256(path)


def _missing(episode: Episode, path: Path) -> LikewiseError:
    return LikewiseError(
        f"{episode} needs {path}, which does not exist: check the list of episodes and --root."
    )

"""Manifests: the episodes of a benchmark as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...io.files import write_whole
from ...io.hashing import file_sha256, sha256
from ...io.text_files import read_json
from .episodes import Episode, MaskedImage, RunLengths, Trial

FORMAT = 1
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class BenchmarkManifest:
    """The episodes of a benchmark and how they were drawn."""

    benchmark: str
    protocol: Mapping[str, Any]
    """Seed, shots, folds, classes left out: all that the entries depend on besides ``sources``."""
    sources: Mapping[str, str]
    """List or annotation file below the data root → its sha256."""
    entries: Sequence[Entry]
    """One for each episode; the fields depend on the task."""
    references: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    """Label → its references, for tasks in which episodes share them."""
    format: int = FORMAT

    @cached_property
    def digest(self) -> str:
        """64 hex digits of all fields; the order of classes counts, since it breaks ties."""
        return sha256(_dumps(self.fields()).encode())

    def fields(self) -> dict[str, Any]:
        """Name → value, not copied."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def save_manifest(path: Path, manifest: BenchmarkManifest) -> None:
    """Write the file with one line for each episode.

    Raises:
        WriteError: if it cannot be written.
    """
    content = manifest.fields()
    entries = ",\n".join(_dumps(entry) for entry in content.pop("entries"))
    head = json.dumps(content, indent=1)[: -len("\n}")]
    write_whole(path, f'{head},\n "entries": [\n{entries}\n]\n}}\n'.encode())


def load_manifest(path: Path, benchmark: str) -> BenchmarkManifest:
    """Read a file written by ``save_manifest``.

    Raises:
        LikewiseError: if it cannot be read, is no manifest, or is of another benchmark.
    """
    try:
        manifest = BenchmarkManifest(**read_json(path))
        for entry in manifest.entries:
            files_of(entry, manifest.references)
    except (OSError, ValueError) as error:
        raise LikewiseError(f"{path} cannot be read as a JSON manifest ({error}).") from error
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise LikewiseError(
            f"{path} is no manifest of a benchmark: `likewise benchmark` writes one to --out."
        ) from error
    if manifest.format != FORMAT:
        raise LikewiseError(
            f"{path} is a manifest of format {manifest.format}, but this version reads {FORMAT}: "
            "make it again with this version."
        )
    if manifest.benchmark != benchmark:
        raise LikewiseError(f"{path} is a manifest of {manifest.benchmark}, not of {benchmark}.")
    if not manifest.entries:
        raise LikewiseError(f"{path} holds no episode: there is nothing to measure.")
    return manifest


def check_sources(manifest: BenchmarkManifest, root: Path) -> None:
    """Raises LikewiseError if a source exists with another sha256."""
    for name, expected in manifest.sources.items():
        if (root / name).is_file() and source_sha256(root / name) != expected:
            raise LikewiseError(
                f"{root / name} is not the file that the manifest was made from (its sha256 "
                "differs): give the right --data-root, or make a new manifest."
            )


def check_images(manifest: BenchmarkManifest, numbers: Sequence[int], root: Path) -> None:
    """Raises LikewiseError, naming it, for the first missing file of these episodes."""
    needed = (files_of(manifest.entries[n], manifest.references) for n in numbers)
    for name in dict.fromkeys(name for files in needed for name in files):
        if not (root / name).is_file():
            raise LikewiseError(
                f"{root / name} does not exist, but the manifest of {manifest.benchmark} asks for "
                "it: complete the download, or check --data-root."
            )


def files_of(entry: Entry, references: Mapping[str, Sequence[Entry]]) -> list[str]:
    """Paths below the data root that an episode needs.

    Raises:
        KeyError, TypeError, IndexError, AttributeError: if it is no episode of any task.
    """
    _ = entry["set"]
    if "points" in entry:
        _ = entry["cls"], entry["truth"], entry["side"]
        return [entry["ref"], entry["tgt"]]
    if "refs" in entry:
        trial = as_trial(entry, 0, Path())
        marked = [trial.target or trial.references[0], *trial.references]
    else:
        _ = entry["unit"], entry["score"]
        listed = [*entry["tgt"].values(), *(r for k in entry["tgt"] for r in references[k])]
        marked = [as_marked(one, Path()) for one in listed]
    files = [path for m in marked for path in (m.image, m.mask) if isinstance(path, Path)]
    return [path.as_posix() for path in files]


def source_sha256(path: Path) -> str:
    """sha256 of a file in 64 hex digits. Raises LikewiseError if it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise LikewiseError(
            f"{path} cannot be read ({error.strerror}): check --data-root."
        ) from error


def marked_entry(
    image: Path,
    mask: Path | RunLengths,
    root: Path,
    *,
    value: int | None = None,
    min_value: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A ``MaskedImage`` for a manifest: paths relative to the data root, no entry that is None.

    ``min_value`` is called ``least`` in the file.
    """
    place: Any = asdict(mask) if isinstance(mask, RunLengths) else mask.relative_to(root).as_posix()
    entry = {"image": image.relative_to(root).as_posix(), "mask": place, "value": value}
    entry |= {"least": min_value, **more}
    return {name: what for name, what in entry.items() if what is not None}


def as_marked(entry: Entry, root: Path) -> MaskedImage:
    """Inverse of ``marked_entry``."""
    mask, box = entry["mask"], entry.get("box")
    return MaskedImage(
        root / entry["image"],
        RunLengths(tuple(mask["size"]), mask["counts"])
        if isinstance(mask, Mapping)
        else root / mask,
        entry.get("value"),
        entry.get("least"),
        entry.get("void"),
        None if box is None else (box[0], box[1], box[2], box[3]),
    )


def mask_entry(fold: str, cls: str, target: Entry, references: Sequence[Entry]) -> dict[str, Any]:
    """An episode of the task ``masks``."""
    return {"set": fold, "cls": cls, "tgt": target, "refs": list(references)}


def as_trial(entry: Entry, index: int, root: Path) -> Trial:
    """Inverse of ``mask_entry``."""
    target = as_marked(entry["tgt"], root)
    references = tuple(as_marked(r, root) for r in entry["refs"])
    first = references[0]
    episode = Episode(
        entry["set"],
        entry["cls"],
        target.value,
        *(first.image, first.mask, target.image, target.mask),
        index=index,
        id=str(index),
    )
    return Trial(episode, references, target)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))

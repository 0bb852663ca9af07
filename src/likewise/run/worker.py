"""One of many processes that segment a project's files; see ``distributed.py``, which runs them."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import LikewiseError
from ..io.prefetch import batched
from .jobs import Job
from .outcomes import Finished, Outcome
from .runner import Keep, finish_files

if TYPE_CHECKING:
    from ..segmenter import Segmenter

TRIES = 4
"""How often a batch is begun before its images count as failed."""


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("LIKEWISE_")}


@dataclass(frozen=True)
class Recipe:
    """What the driver tells its workers, once."""

    options: Mapping[str, Any]
    """Of the ``Segmenter``; with "cache" its backbone is that of a ``CachedEncoder``."""
    batch: int
    """Images that are segmented together."""
    threads: int
    """CPU threads of torch."""
    numbers: Mapping[str, int]
    """Class → its value in the masks."""
    consensus: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    """Of ``finish_files``, as ``consensus`` and …"""
    keep: Keep | None = None
    """… this."""
    home: Path = field(default_factory=Path.cwd)
    """Folder to work in, where relative paths mean what they mean to the driver."""
    variables: Mapping[str, str] = field(default_factory=_variables)
    """Of the driver's environment, such as the limit of pixels."""
    version: str = __version__


class Attempts:
    """Counts how often each batch was begun; it outlives the workers."""

    def __init__(self) -> None:
        self._counts: Counter[Path] = Counter()

    def begin(self, target: Path) -> int:
        """How often the batch with this first target was begun, now included."""
        self._counts[target] += 1
        return self._counts[target]


class RayWorker:
    """One segmenter, which Ray calls with a task at a time.

    Args:
        recipe: from the driver.
        references: gives the content of a file of ``Segmenter.save``.
        begin: of ``Attempts``.
    """

    def __init__(
        self, recipe: Recipe, references: Callable[[], bytes], begin: Callable[[Path], int]
    ) -> None:
        self._recipe, self._begin = recipe, begin
        self._refusal: LikewiseError | None = None
        os.environ.update(recipe.variables)
        try:
            _check_seen(recipe.home)
            os.chdir(recipe.home)
            if recipe.version != __version__:
                raise LikewiseError(
                    f"{socket.gethostname()} has likewise {__version__}, not {recipe.version} as "
                    "here: install the same on all machines."
                )
            self._segmenter = _segmenter(recipe, references())
        except LikewiseError as error:  # raised here, Ray would print pages around it
            self._refusal = error

    def __call__(self, tasks: Mapping[str, Sequence[bytes]]) -> Iterator[dict[str, list[bytes]]]:
        """Segment the jobs of tasks, batch by batch; done again, it yields the same again.

        Args:
            tasks: "jobs": pickles of ``list[Job]``.

        Yields:
            "finished": the pickle of a ``list[Finished]``, or of a LikewiseError that every other
            image would end in too.
        """
        for task in tasks["jobs"]:
            for jobs in batched(pickle.loads(task), self._recipe.batch):
                yield {"finished": [pickle.dumps(self._finish(jobs))]}

    def _finish(self, jobs: Sequence[Job]) -> list[Finished] | LikewiseError:
        if self._refusal is not None:
            return self._refusal
        try:
            for folder in {job.target.parent for job in jobs}:
                _check_seen(folder)
        except LikewiseError as error:
            return error
        if self._begin(jobs[0].target) > TRIES:
            why = f"was given up after {TRIES} workers died at it"
            mend = "give fewer --ray-workers, or a smaller picture"
            return [
                Finished(job, Outcome(job.target, error=f"{job.target} {why}: {mend}."))
                for job in jobs
            ]
        consensus, limits = self._recipe.consensus, self._recipe.limits
        return list(
            finish_files(
                self._segmenter,
                jobs,
                self._recipe.numbers,
                consensus=consensus,
                limits=limits,
                keep=self._recipe.keep,
            )
        )


def _check_seen(folder: Path) -> None:
    if not folder.is_dir():
        raise LikewiseError(
            f"{socket.gethostname()} does not see the folder {folder}: all machines of the cluster "
            "must see the project and its pictures under the same paths."
        )


def _segmenter(recipe: Recipe, references: bytes) -> Segmenter:
    import torch

    from ..backbones.feature_cache import CachedEncoder
    from ..segmenter import Segmenter

    torch.set_num_threads(recipe.threads)
    options = dict(recipe.options)
    if "cache" in options:
        network = ("backbone", "cache", "image_size", "device", "dtype", "offline")
        options["backbone"] = CachedEncoder(**{name: options.pop(name) for name in network})
    segmenter = Segmenter(**options)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "references.safetensors"
        file.write_bytes(references)
        return segmenter.load(file)

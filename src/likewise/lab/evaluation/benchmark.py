"""Running a benchmark in blocks of episodes: unit of resuming and of shards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import LikewiseError
from ...io.files import make_folder, write_json
from ...io.hashing import file_sha256, fingerprint
from .tasks import BenchmarkTask, Record

BLOCK = 32
"""Episodes of a block. The blocks do not depend on the number of shards, so that images are always
encoded in the same batches and results are equal to the last bit."""


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts of the blocks."""

    index: int = 0
    count: int = 1

    @staticmethod
    def parse(text: str) -> Shard:
        """``i/n`` with i from 0. Raises LikewiseError for anything else."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()) or int(index) >= int(count):
            raise LikewiseError(
                f"--shard {text} is no part of the work: give i/n with i from 0 to n - 1, such as "
                "0/2 and 1/2."
            )
        return Shard(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def choose_numbers(total: int, limit: int | None) -> list[int]:
    """Numbers of the episodes to run: all, or ``limit`` of them, evenly spaced in the list."""
    if limit is None or limit >= total:
        return list(range(total))
    if limit < 1:
        raise LikewiseError(f"--episodes {limit} leaves nothing to measure: give at least 1.")
    return [k * total // limit for k in range(limit)]


def code_digest() -> str:
    """32 hex digits of this package's Python files: a run is not resumed with other code."""
    package = Path(__file__).resolve().parents[2]
    files = sorted(package.rglob("*.py"))
    return fingerprint([(f.relative_to(package).as_posix(), file_sha256(f)) for f in files])


def run_blocks(
    task: BenchmarkTask,
    numbers: Sequence[int],
    folder: Path,
    run: str,
    shard: Shard,
    advance: Callable[[int], None],
) -> tuple[list[Record], float]:
    """Run the blocks of a shard; blocks on disk are read instead.

    Args:
        task: runs the episodes.
        numbers: of the episodes of all shards.
        folder: gets a file for each block.
        run: fingerprint of everything that a result depends on.
        shard: whose blocks to run.
        advance: called with the number of episodes after each block.

    Returns:
        Records of the episodes, and the seconds that all blocks took.

    Raises:
        LikewiseError: if the folder holds blocks of another run, or as for ``BenchmarkTask.run``.
    """
    make_folder(folder)
    blocks = [numbers[k : k + BLOCK] for k in range(0, len(numbers), BLOCK)]
    records: list[Record] = []
    seconds = 0.0
    for place in range(shard.index, len(blocks), shard.count):
        file = folder / f"{place:05d}.json"
        block = _read_block(file, run)
        if block is None:
            start = time.perf_counter()
            found = task.run(blocks[place])
            block = {"run": run, "seconds": time.perf_counter() - start, "records": found}
            write_json(file, block)
        records += block["records"]
        seconds += block["seconds"]
        advance(len(blocks[place]))
    if not records:
        raise LikewiseError(
            f"--shard {shard} has nothing to do: there are {len(blocks)} blocks of {BLOCK} "
            "episodes, so give fewer shards."
        )
    return records, seconds


def _read_block(file: Path, run: str) -> dict[str, Any] | None:
    """A block on disk; None if there is none."""
    if not file.exists():
        return None
    try:
        block: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        other = block["run"] != run
        _ = block["seconds"], block["records"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LikewiseError(f"{file} cannot be read as a block of episodes: delete it.") from error
    if other:
        raise LikewiseError(
            f"{file.parent} holds a run with other settings, episodes or code: give another --out, "
            "or delete that folder."
        )
    return block

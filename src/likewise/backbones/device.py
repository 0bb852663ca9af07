"""Choosing the device to compute on, and how images share the threads of a CPU."""

from __future__ import annotations

import ctypes
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ..errors import BackboneError
from ..io.prefetch import WORKERS, batched, prefetch_map

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")


FEW = 4
"""Images for each worker below which all threads do one image after the other: the last ones would
leave threads idle."""
TRIAL, BETWEEN = 2, 32
"""Items for each worker that ``faster_way`` tries one way, and does the faster way after that."""
_THREAD = threading.local()


def choose_device(device: str = "auto") -> torch.device:
    """``auto``: cuda, else mps, else cpu.

    Raises:
        BackboneError: if the device is unknown or not there.
    """
    import torch

    if device not in ("auto", "cpu", "mps") and not re.fullmatch(r"cuda(:\d+)?", device):
        raise BackboneError(
            f"device {device!r} cannot be used (unknown); use auto, cpu, cuda or mps."
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and torch.backends.mps.is_available():
            device = "mps"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]  # torch can go on for a page
        raise BackboneError(
            f"device {device!r} cannot be used ({reason}); use auto, cpu, cuda or mps."
        ) from error
    return chosen


def keep_memory() -> None:
    """Let the C library keep up to 1 GB that was freed, for all threads, instead of giving it back.

    An encoder's maps are some MB each. glibc takes every one of them from the system and gives it
    back, and with several threads each has its own memory; the page faults of that were a tenth to
    a half of an encoding. Only glibc has this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max, arena_max = -1, -4, -8
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 1 << 30)
        mallopt(arena_max, 1)


def faster_way(
    function: Callable[[list[T]], Iterable[R]], items: Iterable[T], size: int, workers: int
) -> Iterator[R]:
    """What ``function`` makes of every item, in order: of as many as there are workers at once,
    with all threads of torch, or of one item in each worker ``side_by_side``, as is faster now.

    Which is faster depends on the processor's caches (by up to a sixth either way), and beside
    other work on the machine workers take half the time or less. So both are tried on TRIAL items
    for each worker, the faster way does BETWEEN, and so on.

    Args:
        function: of some items that follow each other, one result for each; what it raises is
            raised when their turn comes.
        items: taken as needed; side by side, as many ahead as there are workers.
        size: items at once if there is one worker.
        workers: from ``workers_for``.
    """
    if workers == 1:
        yield from _together(function, items, size)
        return
    source = iter(items)
    while True:
        seconds = []
        for way in (_together, _apart):
            start, done = time.perf_counter(), 0
            for result in way(function, islice(source, TRIAL * workers), workers):
                yield result
                done += 1
            if done < TRIAL * workers:
                return
            seconds.append(time.perf_counter() - start)
        faster = _together if seconds[0] <= seconds[1] else _apart
        yield from faster(function, islice(source, BETWEEN * workers), workers)


def _together(
    function: Callable[[list[T]], Iterable[R]], items: Iterable[T], size: int
) -> Iterator[R]:
    for some in batched(items, size):
        yield from function(some)


def _apart(
    function: Callable[[list[T]], Iterable[R]], items: Iterable[T], workers: int
) -> Iterator[R]:
    for results in side_by_side(function, batched(items, 1), workers):
        yield from results


def side_by_side(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """``function(item)`` of every item, in order, in threads that share torch's own between them.

    Each image has fewer threads, and none of them waits for the slowest at every small step.

    Args:
        function: what it raises is raised when its item's turn comes.
        items: taken one by one, as many ahead as there are workers.
        workers: from ``workers_for``; with one, this is ``map``.
    """
    if workers == 1:
        yield from map(function, items)
        return
    import torch

    threads = torch.get_num_threads()

    def share() -> None:
        torch.set_num_threads(max(1, threads // workers))
        _THREAD.share = 1 / workers

    try:
        yield from prefetch_map(function, items, workers, workers, share)
    finally:
        torch.set_num_threads(threads)  # threads that start later take the number set last


def share_of_threads() -> float:
    """The share of torch's threads that the thread has that asks: less than 1 beside others."""
    return getattr(_THREAD, "share", 1.0)


def workers_for(count: int) -> int:
    """How many of ``count`` images to do side by side on the CPU: one for each of torch's threads,
    or for every second, third, … where there are more than 8; one if there are few images."""
    import torch

    threads = torch.get_num_threads()
    workers = threads // -(-threads // WORKERS)
    return workers if count >= FEW * workers else 1


def memory(device: torch.device) -> float | None:
    """Most GB that were used so far: of the GPU, or of this process; None where nobody tells."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9

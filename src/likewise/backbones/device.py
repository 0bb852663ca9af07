"""Choosing the device to compute on."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import BackboneError
from ..io.prefetch import WORKERS, prefetch_map

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")


FEW = 4
"""Images for each worker below which all threads do one image after the other: the last ones would
leave threads idle."""


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


@cache
def processor_has() -> frozenset[str]:
    """Names of what the processor can do beyond the usual, as Linux lists them; else nothing."""
    with suppress(OSError):
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    return frozenset()


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 (AMX or AVX512-BF16); only Linux tells."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(processor_has())


def keep_memory() -> None:
    """Let the C library keep up to 1 GB that was freed, instead of giving it back at once.

    An encoder's maps are some MB each. glibc takes every one of them from the system and gives it
    back; the page faults of that were a tenth to a half of an encoding. Only glibc has this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 1 << 30)


def side_by_side(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """``function(item)`` of every item, in order, in threads that share torch's own between them.

    On a CPU several images at the same time, each with fewer threads, take less time than one
    after the other: nothing waits for the slowest thread of every small step.

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
    share = partial(torch.set_num_threads, max(1, threads // workers))
    try:
        yield from prefetch_map(function, items, workers, workers, share)
    finally:
        torch.set_num_threads(threads)  # threads that start later take the number set last


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

"""Choosing the device to compute on."""

from __future__ import annotations

import ctypes
import re
import sys
from typing import TYPE_CHECKING

from ..errors import BackboneError

if TYPE_CHECKING:
    import torch


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
    """Let the C library keep up to 1 GB that was freed, instead of giving it back at once.

    An encoder's maps are some MB each. glibc takes every one of them from the system and gives it
    back; the page faults of that were a tenth to a half of an encoding. Only glibc has this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 1 << 30)


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

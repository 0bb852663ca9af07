"""The processes of a training that ``torchrun`` starts, one for each GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")
PATIENCE = timedelta(hours=6)
"""Timeout of collective operations: one process may encode or validate for long."""


@dataclass(frozen=True)
class Processes:
    """Rank of this process and number of processes."""

    rank: int = 0
    count: int = 1
    local: int = 0
    """Rank on this machine."""

    def part(self, batch: int) -> slice:
        """The rows of a batch that this process handles."""
        own = batch // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def device(self, asked: str) -> str:
        """The GPU of this process for "auto" and "cuda", otherwise the device asked for."""
        import torch

        if self.count > 1 and asked in ("auto", "cuda") and torch.cuda.is_available():
            torch.cuda.set_device(self.local)
            return f"cuda:{self.local}"
        return asked

    def wait(self) -> None:
        """Barrier."""
        self.gathered(None)

    def gathered(self, own: T) -> list[T]:
        """The Python objects of all processes, by rank."""
        if self.count == 1:
            return [own]
        from torch import distributed

        found: list[T] = [own] * self.count
        distributed.all_gather_object(found, own)
        return found


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the process group of ``torchrun``, if it started this process."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    import torch
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()

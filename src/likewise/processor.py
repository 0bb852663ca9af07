"""What the processor can do beyond the usual. Only Linux tells."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def processor_has() -> frozenset[str]:
    """Names of what it can do, as in /proc/cpuinfo: ``avx512_vnni``; empty where nobody tells."""
    with suppress(OSError):
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    return frozenset()


def has_bfloat16() -> bool:
    """Whether it multiplies in bfloat16 (AMX or AVX512-BF16)."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(processor_has())

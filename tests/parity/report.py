"""The table that both parity commands end in."""

from __future__ import annotations

from collections.abc import Sequence


def verdict(ok: bool, note: str) -> str:
    """The last column: ok or DIFFERS, with a note where there is one."""
    return ("ok" if ok else "DIFFERS") + (f": {note}" if note else "")


def report(table: Sequence[Sequence[str]], bad: int) -> int:
    """Print a header and rows of text, aligned, and the count; the exit status 0 or 1."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]) - 1)]
    for line in table:
        print("  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[-1]]))
    print(f"{len(table) - 1 - bad} of {len(table) - 1} ok")
    return 1 if bad else 0

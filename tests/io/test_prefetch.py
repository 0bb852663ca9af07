"""Results ahead of their turn: in order, with errors in their place, and never all at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from likewise.io.prefetch import batched, prefetch_map


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
def test_results_come_in_order(depth: int) -> None:
    def late(n: int) -> int:
        time.sleep(0.002 * (7 - n % 7))  # the first of seven is the last to be done
        return n * n

    assert list(prefetch_map(late, range(30), depth)) == [n * n for n in range(30)]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_no_more_is_begun_than_may_wait(depth: int) -> None:
    begun: list[int] = []
    results = prefetch_map(lambda n: begun.append(n) or n, iter(range(20)), depth)
    assert begun == []
    for n in range(10):
        assert next(results) == n
        assert len(begun) <= n + 1 + depth
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 10 + depth


def test_the_next_is_done_meanwhile() -> None:
    done = threading.Event()

    def work(n: int) -> int:
        if n == 1:
            done.set()
        return n

    results = prefetch_map(work, range(3), 1)
    next(results)
    assert done.wait(5)  # nobody asked for it yet


def test_an_error_waits_for_its_turn() -> None:
    def work(n: int) -> float:
        return 1 / (2 - n)

    results = prefetch_map(work, range(5), 3)
    assert [next(results), next(results)] == [0.5, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_of_the_source_is_raised_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield -1
        raise OSError("gone")

    results = prefetch_map(abs, source(), 4)
    assert next(results) == 1
    with pytest.raises(OSError, match="gone"):
        next(results)


def test_batches() -> None:
    assert list(batched(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []

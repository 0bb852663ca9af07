"""Doing the next items in threads while this one is used: reading, decoding, resizing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = min(8, os.cpu_count() or 1)


def prefetch_map(
    function: Callable[[T], R],
    items: Iterable[T],
    depth: int,
    workers: int = WORKERS,
    initializer: Callable[[], None] | None = None,
) -> Iterator[R]:
    """``function(item)`` of every item, in order, begun up to ``depth`` items early.

    Args:
        function: called in threads; what it raises is raised when its item's turn comes.
        items: taken one by one, as there is room; what it raises, Ctrl-C as well, is raised after
            the results of the items before.
        depth: how many results may wait at a time; with 0, each is done before the next is begun.
        workers: threads at most; with one, the calls are made in order.
        initializer: called by each thread when it starts.
    """
    source = iter(items)
    waiting: deque[Future[R]] = deque()
    failure: BaseException | None = None
    with ThreadPoolExecutor(min(workers, WORKERS), initializer=initializer) as pool:
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except BaseException as error:
                    failure = error
                    break
                waiting.append(pool.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items that follow each other."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch

"""One thread does the model's work; in front of it is a queue that may be full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import RefusedError

T = TypeVar("T")


class ModelThread:
    """Runs work in one thread, in the order it comes; of one event loop.

    Args:
        most: work that may wait.
        timeout: seconds, waiting included, after which nobody waits for it any more.
    """

    def __init__(self, most: int, timeout: float) -> None:
        self.most, self.timeout = most, timeout
        self._thread = ThreadPoolExecutor(1, "likewise-model")
        self._given: set[Future[Any]] = set()

    @property
    def waiting(self) -> int:
        """How much work has not begun."""
        return sum(not (f.running() or f.done()) for f in self._given)

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """What ``work()`` returns or raises.

        Args:
            work: called in the thread.
            seconds: that work takes on average, to say when to come back.

        Raises:
            RefusedError: 429, the queue is full; 504, it took too long, and what had
                not begun is dropped.
        """
        waiting = self.waiting
        if waiting >= self.most:
            after = max(1, round(waiting * seconds))
            raise RefusedError(
                429,
                f"{waiting} requests are waiting already: try again in {after} seconds.",
                {"Retry-After": str(after)},
            )
        future = self._thread.submit(work)
        self._given.add(future)
        try:
            # On timeout wait_for cancels, and so takes out of the queue what has not begun.
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except asyncio.TimeoutError as error:
            raise RefusedError(
                504,
                f"not done within {self.timeout:g} seconds: try again when less is waiting, or "
                "send less at once.",
            ) from error
        finally:
            self._given.discard(future)

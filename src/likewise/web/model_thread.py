"""The one thread of a server that uses the model; in front of it is a queue that may be full."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any, TypeVar

from ..errors import LikewiseError
from .errors import RefusedError

T = TypeVar("T")


class ModelThread:
    """Does one piece of work at a time, in the order it comes.

    Args:
        limit: work that may wait.
        timeout: seconds, waiting included, after which nobody waits for an answer any more; None:
            as long as it takes.
    """

    def __init__(self, limit: int, timeout: float | None) -> None:
        self.limit, self.timeout = limit, timeout
        self._executor = ThreadPoolExecutor(1, "likewise-model")
        self._given: set[Future[Any]] = set()
        self._asked: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._answering = False
        self._stopped = False
        self._count, self._seconds = 0, 0.0

    @property
    def waiting(self) -> int:
        """How much work has not begun."""
        return sum(not (f.running() or f.done()) for f in list(self._given))

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """What ``work()`` will return or raise.

        Raises:
            RefusedError: 429, the queue is full.
        """
        self.check_room()
        future = self._noted(Future[T]())
        self._asked.append((future, work))
        self._executor.submit(self._answer)
        return future

    def later(self, work: Callable[[], object]) -> None:
        """Do what nobody waits for, however full the queue; its errors are printed."""
        self._noted(self._executor.submit(self._do, partial(_printed, work)))

    def between(self) -> bool:
        """In the midst of long work that nobody waits for: do first what somebody waits for.

        Returns:
            Whether it was in the midst of such work.
        """
        if self._answering:
            return False
        while self._asked:
            self._answer()
        return True

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work()`` returns or raises, for an event loop.

        Raises:
            RefusedError: as for ``submit``; 504, it took too long, and what had not begun is
                dropped.
        """
        future = self.submit(work)
        try:
            # On timeout wait_for cancels, and so takes out of the queue what has not begun.
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout)
        except asyncio.TimeoutError as error:
            raise self._late() from error

    def call(self, work: Callable[[], T]) -> T:
        """As ``run``, for another thread."""
        future = self.submit(work)
        try:
            return future.result(self.timeout)
        except FutureTimeoutError as error:
            if future.done():  # the work itself says so
                raise
            future.cancel()
            raise self._late() from error

    def check_room(self) -> None:
        """Raises RefusedError 429 if the queue is full."""
        waiting = self.waiting
        if waiting >= self.limit:
            mean = self._seconds / self._count if self._count else 1.0
            after = max(1, round(waiting * mean))
            raise RefusedError(
                429,
                f"{waiting} requests are waiting already: try again in {after} seconds.",
                {"Retry-After": str(after)},
            )

    def stop(self, last: Callable[[], object] = lambda: None) -> None:
        """Refuse what waits and what comes, 503, after the work that runs; ``last`` is still done.

        The thread ends with the program, which waits for it: torch must not be at work then.
        """
        if not self._stopped:
            self._stopped = True
            self._executor.submit(_printed, last)

    def _answer(self) -> None:
        """Do what was asked for first, unless it went in between."""
        if not self._asked:
            return
        future, work = self._asked.popleft()
        if future.set_running_or_notify_cancel():
            self._answering = True
            try:
                future.set_result(self._do(work))
            except BaseException as error:
                future.set_exception(error)
            finally:
                self._answering = False

    def _noted(self, future: Future[T]) -> Future[T]:
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def _do(self, work: Callable[[], T]) -> T:
        if self._stopped:
            raise RefusedError(503, "the server ends: start it again.")
        start = time.perf_counter()
        try:
            return work()
        finally:
            self._count += 1
            self._seconds += time.perf_counter() - start

    def _late(self) -> RefusedError:
        return RefusedError(
            504,
            f"not done within {self.timeout or 0:g} seconds: try again when less is waiting, or "
            "send less at once.",
        )


def _printed(work: Callable[[], object]) -> None:
    try:
        work()
    except LikewiseError as error:
        print(f"likewise: {error}", file=sys.stderr, flush=True)
    except Exception:
        traceback.print_exc()

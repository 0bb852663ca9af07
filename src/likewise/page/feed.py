"""What happens on the server, for pages that listen."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

KEPT = 2000
"""Events that a slow page may be behind before it has to ask for everything again."""
POLL, ALIVE = 0.05, 15.0
"""Seconds between looks, and between signs of life on a silent line."""


class Feed:
    """A numbered list of events; threads add to it, pages read on from where they were."""

    def __init__(self) -> None:
        self._events: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._last = 0
        self.closed = False

    def say(self, kind: str, **values: Any) -> None:
        """Add an event; ``values`` are what JSON can hold."""
        with self._lock:
            self._last += 1
            self._events.append((self._last, json.dumps({"kind": kind, **values})))

    def since(self, number: int) -> list[tuple[int, str]]:
        """Events after the one of that number, oldest first; or that some were lost."""
        with self._lock:
            if self._events and number < self._events[0][0] - 1:
                return [(self._last, json.dumps({"kind": "reload"}))]
            return [event for event in self._events if event[0] > number]

    async def stream(self) -> AsyncIterator[str]:
        """What happens from now on, as server-sent events."""
        last, silent = self._last, 0.0
        yield "retry: 1000\n\n"
        while not self.closed:
            events = self.since(last)
            for number, text in events:
                yield f"data: {text}\n\n"
                last = number
            silent = 0.0 if events else silent + POLL
            if silent > ALIVE:
                yield ": still here\n\n"
                silent = 0.0
            await asyncio.sleep(POLL)

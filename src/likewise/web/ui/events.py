"""What happens on the server, for pages that ask."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from typing import Any

BEHIND = 2000
"""Events that a slow page may be behind before it has to ask for everything again."""


class Events:
    """A numbered list of events; threads add to it, pages ask for those after the last they saw.

    Pages ask again and again (short polling): a browser allows six connections to a host, so
    that a line held open by each tab would shut out the seventh.
    """

    def __init__(self) -> None:
        self.server = uuid.uuid4().hex
        """Tells a page that the server was started anew."""
        self._events: deque[tuple[int, dict[str, Any]]] = deque(maxlen=BEHIND)
        self._lock = threading.Lock()
        self._last = 0

    def add(self, kind: str, **values: Any) -> None:
        """Add an event; ``values`` are what JSON can hold."""
        with self._lock:
            self._last += 1
            self._events.append((self._last, {"kind": kind, **values}))

    def since(self, number: int, server: str) -> dict[str, Any]:
        """Events after the one of that number, oldest first.

        Args:
            number: ``last`` of the answer before.
            server: of the answer before; "" for a page that is new.

        Returns:
            "server", "last", and "events"; one event says "reload" if some are lost.
        """
        with self._lock:
            events = [event for at, event in self._events if at > number]
            lost = bool(self._events) and number < self._events[0][0] - 1
            if server != self.server or lost or number > self._last:
                events = [{"kind": "reload"}]
            return {"server": self.server, "last": self._last, "events": events}

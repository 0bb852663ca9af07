"""One connection of a server: it must ask soon, and no client may take all of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""Connections at a time."""
PER_CLIENT = 64
"""Of one client address."""
HEAD_SECONDS = 5.0
"""In which the whole head of a request must arrive: from the connection on or, where it was kept
alive, from the first byte on."""
LINGER = 1.0
"""Seconds that a refused client has to read why."""


class Connection(H11Protocol):
    """uvicorn's, with limits: 503 for one too many, and none is held without a request."""

    _late: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = _address(self)
        here = sum(_address(other) == address for other in self.connections)
        if len(self.connections) > MOST or here > PER_CLIENT:
            # Closed at once, what the client is sending meanwhile would make it lose the answer.
            self._refused = True
            self.connections.discard(self)
            transport.write(TOO_MANY)
            if transport.can_write_eof():
                transport.write_eof()
            self._late = self.loop.call_later(LINGER, transport.abort)
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._late is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, as JSON."""
        self.transport.write(_answer("400 Bad Request", "this is no HTTP request."))
        self.transport.close()

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _address(connection: Any) -> str:
    """Of the client, without its port."""
    return "" if connection.client is None else connection.client[0]


def _answer(status: str, message: str, *headers: str) -> bytes:
    body = json.dumps({"error": message})
    head = ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([f"HTTP/1.1 {status}", *head, *headers, "", body]).encode()


TOO_MANY = _answer(
    "503 Service Unavailable",
    f"the server has {MOST} connections, or {PER_CLIENT} of your address: close some, or try "
    "again in a few seconds.",
    f"Retry-After: {HEAD_SECONDS:.0f}",
)

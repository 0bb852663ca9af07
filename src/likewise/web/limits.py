"""What a body may be: so many bytes, received within so many seconds, and a form with its end."""

from __future__ import annotations

import asyncio
import time
from email.message import Message as Mail

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import answer

DRAIN = 1.0
"""Seconds in which the rest of a refused body is read: many clients read no answer before."""


class LimitBody:
    """ASGI: 413 for a body that is too large, declared or not, 408 for one that is too slow, and
    400 for a multipart form that ends before its last boundary.

    Args:
        app: what reads the body.
        most: bytes.
        seconds: from the headers to the last byte.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, self.most, self.seconds)

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.whole:
                await body.drain()
                if not body.whole:  # or else the server would go on reading for ever
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        if body.declared > self.most:
            await answer(413, _too_large(self.most))(scope, body.receive, reply)
        else:
            await self.app(scope, body.receive, reply)


def _too_large(most: int) -> str:
    return f"the body has more than {most} bytes: send less at once, or smaller images."


def _boundary(content_type: str) -> str | None:
    """Of a multipart form; None of anything else."""
    mail = Mail()
    mail["content-type"] = content_type
    return mail.get_boundary() if mail.get_content_type() == "multipart/form-data" else None


class _Body:
    def __init__(self, headers: Headers, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._most, self._seconds = receive, most, seconds
        self._end = time.monotonic() + seconds
        self._size = 0
        self.declared = int(headers.get("content-length", 0))
        self.whole = self.declared == 0 and "transfer-encoding" not in headers
        self._asks_first = "expect" in headers  # and sends nothing before it may
        # Starlette takes what came of a form that is cut short.
        boundary = _boundary(headers.get("content-type", ""))
        self._ended, self._tail = boundary is None, b""
        self._last = f"--{boundary}--".encode("latin-1")

    async def receive(self) -> Message:
        """The next part. Raises HTTPException 413, 408 or 400."""
        if self.whole:
            return await self._receive()
        self._asks_first = False
        message = await self._next(self._end - time.monotonic())
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise HTTPException(413, _too_large(self._most))
        if message["type"] == "http.request" and not self._ended:
            seen = self._tail + message.get("body", b"")
            self._ended, self._tail = self._last in seen, seen[-len(self._last) :]
            if self.whole and not self._ended:
                raise HTTPException(
                    400,
                    "the form is cut short: send all of it, with the boundary that ends it.",
                )
        return message

    async def _next(self, seconds: float) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), max(0, seconds))
        except asyncio.TimeoutError as error:
            raise HTTPException(
                408,
                f"the body did not arrive within {self._seconds:g} seconds: send less at once.",
            ) from error
        self.whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on for a moment; nothing is kept."""
        end = time.monotonic() + DRAIN
        while not self.whole and not self._asks_first and (left := end - time.monotonic()) > 0:
            try:
                await self._next(left)
            except HTTPException:
                return

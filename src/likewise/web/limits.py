"""How much may be asked of a server: bytes and seconds of a body, pixels of images, work."""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import dataclass
from email.message import Message as Mail
from typing import BinaryIO

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..io.images import reading_bytes
from ..io.opening import Sent
from .errors import RefusedError, answer

DRAIN = 1.0
"""Seconds in which the rest of a refused body is read: many clients read no answer before."""
BYTES_OF_PIXEL = 3
"""When an image is read."""
TOGETHER = 4
"""All images of a request together may have so many times the pixels of one."""
READING_BYTES = 36
"""Memory that reading them may take, for each pixel that one may have."""


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    max_bytes: int = 32_000_000
    """Of a body."""
    upload_timeout: float = 30.0
    """Seconds for a body to arrive."""
    max_pixels: int = 40_000_000
    """Of an image that is sent or named."""
    queue: int = 32
    """Requests that may wait for the model."""
    timeout: float | None = 60.0
    """Seconds for the model's answer, from the last byte of the request; None: no limit."""
    advice: str = "send less at once, or smaller images"
    """For those whose body is too large."""

    @property
    def patience(self) -> float:
        """Seconds after which every request has been answered."""
        return self.upload_timeout + (self.timeout or 0) + 5


class LimitBody:
    """ASGI: 413 for a body that is too large, declared or not, 408 for one that is too slow, and
    400 for a multipart form that ends before its last boundary.

    Args:
        app: what reads the body.
        limits: its bytes, and seconds from the headers to the last of them.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(Headers(scope=scope), receive, self.limits)

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.whole:
                await body.drain()
                if not body.whole:  # or else the server would go on reading for ever
                    MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        if body.declared > self.limits.max_bytes:
            await answer(413, _too_large(self.limits))(scope, body.receive, reply)
        else:
            await self.app(scope, body.receive, reply)


def _too_large(limits: Limits) -> str:
    return f"the body has more than {limits.max_bytes} bytes: {limits.advice}."


def _boundary(content_type: str) -> str | None:
    """Of a multipart form; None of anything else."""
    mail = Mail()
    mail["content-type"] = content_type
    return mail.get_boundary() if mail.get_content_type() == "multipart/form-data" else None


class _Body:
    def __init__(self, headers: Headers, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._end = time.monotonic() + limits.upload_timeout
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
        if self._size > self._limits.max_bytes:
            raise HTTPException(413, _too_large(self._limits))
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
                f"the body did not arrive within {self._limits.upload_timeout:g} seconds: "
                "send less at once.",
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


class ImageBudget:
    """The images of one request, looked at before anything is decoded.

    Args:
        max_pixels: of an image.
    """

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels, self._sum, self._peak = max_pixels, 0, 0

    def open(self, file: BinaryIO, name: str) -> io.BytesIO:
        """The content of an image file, of which only the header was looked at.

        Args:
            file: what was sent; the limit of a body is one of it too.
            name: of it in messages.

        Raises:
            RefusedError: 413, too many pixels, or too much memory to read all images.
            ImageError: it is no image.
        """
        content = Sent(file.read())
        content.most = self.max_pixels
        (height, width), reading = reading_bytes(content, name)
        pixels = width * height
        if pixels > self.max_pixels:
            raise RefusedError(
                413,
                f"{name} is {width} × {height} = {pixels} pixels, over the limit of "
                f"{self.max_pixels}: shrink it.",
            )
        self._sum += pixels
        together = TOGETHER * self.max_pixels
        if self._sum > together:
            raise RefusedError(
                413, f"the images have more than {together} pixels together: send less."
            )
        # One is read at a time, in more memory than it takes from then on.
        self._peak = max(self._peak, reading)
        needed, limit = BYTES_OF_PIXEL * self._sum + self._peak, READING_BYTES * self.max_pixels
        if needed > limit:
            raise RefusedError(
                413,
                f"the images take {needed / 1e6:.0f} MB to read, over the limit of "
                f"{limit / 1e6:.0f} for a request: send less at once, or 8-bit ones.",
            )
        return content

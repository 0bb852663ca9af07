"""Who may ask: those with the token or, without one, programs on this machine only.

Without a token the server listens on loopback alone. What a browser shows there must still not
reach it: a page of another site sends its Origin, and one whose name was pointed at this machine
(DNS rebinding) sends that name as Host.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import RefusedError, answer

OPEN = ("/v1/health", "/openapi.json")
"""What needs no token."""


class AccessGuard:
    """ASGI: 401 or 403 unless the request may be answered.

    Args:
        app: what answers.
        token: that requests must bear, or None.
        origins: such as ``https://example.org``, whose pages may ask although there is no token.
    """

    def __init__(self, app: ASGIApp, token: str | None, origins: Collection[str] = ()) -> None:
        self.app, self.token, self.origins = app, token, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self.check(scope["path"], Headers(scope=scope))
            except RefusedError as no:
                await answer(no.status, str(no), no.headers)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def check(self, path: str, headers: Headers) -> None:
        """Raises RefusedError if a request for the path may not be answered."""
        if self.token is None:
            if not is_loopback(host_of(f"//{headers.get('host', '')}")):
                raise RefusedError(
                    403, "this server answers as localhost only, not under other names."
                )
            origin = headers.get("origin")
            if origin and origin not in self.origins and not is_loopback(host_of(origin)):
                raise RefusedError(403, "pages of other origins may not ask: see --allow-origin.")
        elif path not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode(), self.token.encode())
            if scheme.lower() != "bearer" or not same:
                raise RefusedError(
                    401,
                    "the token is missing or wrong: send the header Authorization: Bearer TOKEN.",
                    {"WWW-Authenticate": "Bearer"},
                )


def host_of(url: str) -> str:
    """The host in a URL, or '' if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address, without a look at any name server, is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

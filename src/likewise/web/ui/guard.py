"""Who may talk to the page: holders of its token, from itself, under a name of this machine."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class PageGuard:
    """Middleware in front of the page.

    A page of another site can neither read from this server nor make it do anything: its requests
    carry another Origin; names that it points at this machine (DNS rebinding) are unknown Hosts;
    and the token, without which nothing is answered, is in a cookie that browsers keep to this
    site.

    Args:
        app: what is guarded.
        token: secret; ``/?token=...`` sets the cookie.
        host: what the server is bound to; other names are refused, addresses are not: whoever is
            asked by address was not fooled by a name.
        port: makes the cookie's name, since cookies do not tell ports apart.
    """

    def __init__(self, app: App, token: str, host: str, port: int) -> None:
        self.app, self.token, self.host = app, token, host.lower()
        self.cookie = f"likewise-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # nothing here speaks WebSocket
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        enters = self._same(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])
        known = enters or self._same(self._cookie(headers)) or self._same(_bearer(headers))
        if not self._is_here(headers.get("host", "")):
            await _refuse(send, "this name is not known here: open the address that was printed.")
        elif headers.get("origin", own := f"http://{headers['host']}") != own:
            await _refuse(send, "other sites may not ask this server for anything.")
        elif not known:
            await _refuse(send, "open the whole address that likewise ui printed, with its token.")
        else:
            extra = dict(HEADERS)
            if enters:
                flags = "Path=/; HttpOnly; SameSite=Strict"
                extra["set-cookie"] = f"{self.cookie}={self.token}; {flags}"

            async def with_headers(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    more = [(k.encode(), v.encode()) for k, v in extra.items()]
                    message["headers"] = [*message.get("headers", []), *more]
                await send(message)

            await self.app(scope, receive, with_headers)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _cookie(self, headers: dict[str, str]) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""

    def _is_here(self, host: str) -> bool:
        try:
            name = urlsplit(f"http://{host}").hostname or ""
        except ValueError:
            return False
        return name in ("localhost", self.host) or is_address(name)


def is_address(name: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _bearer(headers: dict[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token if kind.lower() == "bearer" else ""


async def _refuse(send: Send, why: str) -> None:
    body = f"likewise: {why}\n".encode()
    start = {"type": "http.response.start", "status": 403}
    await send({**start, "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
    await send({"type": "http.response.body", "body": body})


TOKEN_FILE = ".likewise-token"
"""In the project; only its owner may read it."""


def project_token(folder: Path) -> str:
    """The project's token; a new one if there is none that is secret.

    Args:
        folder: the project.
    """
    path = folder / TOKEN_FILE
    with suppress(OSError, ValueError):
        text = path.read_text("ascii")
        if _is_secret(path) and re.fullmatch(r"[\w-]{32}", text):
            return text
    token = secrets.token_urlsafe(24)
    with suppress(OSError):  # tabs that are open must then be opened anew after a restart
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token)
    return token


def _is_secret(path: Path) -> bool:
    """Whether it is a plain file of ours that nobody else can read."""
    status = path.lstat()
    if os.name == "nt":  # the folder's own rights decide there
        return stat.S_ISREG(status.st_mode)
    mine = status.st_uid == os.getuid()
    return mine and stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077

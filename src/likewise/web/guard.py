"""Who may ask a server, and which of its files a request may name; the same for all services.

Two attacks come from a browser on the machine of a person who may ask. A page of another site sends
requests there: browsers add an Origin header, which names that site. And a site points its own name
at the machine (DNS rebinding): its requests carry that name as Host. A token in the header
``Authorization: Bearer`` excludes both, since no browser adds it by itself.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import LikewiseError
from .errors import RefusedError, refusal

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer."""
ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d+)?")
"""As browsers send it."""
TOKEN_FILE = ".likewise-token"
"""In a project; only its owner may read it."""


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Raises:
        LikewiseError: no header can carry the token, or an origin is none.
    """

    token: str | None = None
    """What requests must bear: as bearer token, password of HTTP basic authentication (with any
    user's name), or cookie."""
    host: str = "127.0.0.1"
    """What the server is bound to."""
    origins: tuple[str, ...] = ()
    """Such as ``https://example.org``: sites whose pages may ask too."""
    open: tuple[str, ...] = ()
    """Paths that need no token."""
    cookie: str | None = None
    """Name of the cookie that ``/?token=...`` sets; None for servers without pages."""

    def __post_init__(self) -> None:
        token = self.token
        if token is not None and not re.fullmatch("[!-~]+", token):
            raise LikewiseError(
                "the token is empty, or holds spaces or characters that no header can carry: use "
                "letters and digits."
            )
        for origin in self.origins:
            if not ORIGIN.fullmatch(origin):
                raise LikewiseError(
                    f"--allow-origin {origin} is no origin: write it like https://example.org, "
                    "without a path and without *."
                )


class Guard:
    """ASGI: 401 or 403 (``printed`` on stderr too) unless a request may be answered.

    It adds HEADERS to every answer.

    Starlette's TrustedHostMiddleware knows no addresses, answers in plain text, and would refuse
    those with a token who reach the server by another name, such as through a proxy.
    """

    def __init__(self, app: ASGIApp, access: Access, *, printed: bool = False) -> None:
        self.app, self.access, self.printed = app, access, printed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        app, added = self.app, dict(HEADERS)
        try:
            headers = Headers(scope=scope)
            given = self._token_by(scope, headers)
            self._check(scope["path"], headers, given)
            if given == "query":
                cookie = f"{self.access.cookie}={self.access.token}"
                added["set-cookie"] = f"{cookie}; Path=/; HttpOnly; SameSite=Strict"
        except RefusedError as no:
            app = refusal(no, printed=self.printed)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        await app(scope, receive, with_headers)

    def _token_by(self, scope: Scope, headers: Headers) -> str:
        """How the token was sent: "bearer", "basic", "query" or "cookie"; "" if it was not."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() in ("bearer", "token") and self._is_token(value.strip()):
            return "bearer"
        if kind.lower() == "basic" and self._is_token(_password(value)):
            return "basic"
        if self.access.cookie is not None:
            query = parse_qs(scope["query_string"].decode("latin-1"))
            if scope["path"] == "/" and self._is_token(query.get("token", [""])[0]):
                return "query"
            cookies = cookie_parser(headers.get("cookie", ""))
            if self._is_token(cookies.get(self.access.cookie, "")):
                return "cookie"
        return ""

    def _is_token(self, given: str) -> bool:
        token = self.access.token
        return token is not None and hmac.compare_digest(given.encode(), token.encode())

    def _check(self, path: str, headers: Headers, given: str) -> None:
        """Raises RefusedError if a request may not be answered."""
        access, host = self.access, headers.get("host", "")
        if access.token is not None and not given:
            if path in access.open:
                return
            how = "send the header Authorization: Bearer TOKEN"
            if access.cookie is not None:
                how = "open the whole address that was printed"
            message = f"the token is missing or wrong: {how}."
            raise RefusedError(401, message, {"WWW-Authenticate": "Bearer"})
        if given == "bearer":
            return
        # Programs send a password under any name of the server, and browsers do not send it on to a
        # name that was pointed here. But they add it, as cookies, to what pages of others ask.
        if given != "basic" and not self._is_own_name(host):
            raise RefusedError(
                403, "this server is not known under this name: ask localhost, or send the token."
            )
        if headers.get("origin", own := f"http://{host}") not in (own, *access.origins):
            raise RefusedError(
                403,
                "pages of other origins may not ask: open this server's own address, or start "
                "likewise serve with --allow-origin.",
            )

    def _is_own_name(self, host: str) -> bool:
        """Whether a Host header can be trusted. Addresses can: no name was pointed elsewhere."""
        name, bound = host_of(f"//{host}"), self.access.host.lower()
        local = is_loopback(name)
        reached_from_elsewhere = self.access.token is not None and not is_loopback(bound)
        return local or (name == bound != "") or (local is False and reached_from_elsewhere)


def _password(value: str) -> str:
    """Of HTTP basic authentication; "" if it is damaged."""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode()
    except (ValueError, binascii.Error):
        return ""


def host_of(url: str) -> str:
    """The host in a URL, or "" if it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool | None:
    """Whether a name or address, without a look at any name server, is this machine's own.

    Returns:
        None of names other than localhost.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return None


def open_below(root: Path | None, path: str, name: str) -> BinaryIO:
    """A file that a request names, opened.

    Args:
        root: resolved; None where the server reads no files.
        path: relative to it.
        name: of the file in messages.

    Raises:
        RefusedError: 403, there is no root; 404, it is no file, or not below the root, by ``..`` or
            by symbolic links.
    """
    if root is None:
        raise RefusedError(403, "this server reads no files of its own: send the image itself.")
    # The same words for all, so that nobody learns what lies elsewhere.
    missing = RefusedError(404, f"{name} is not below --root, or not there: check its path.")
    try:
        file = (root / path).resolve(strict=True)
        if file.is_relative_to(root) and file.is_file():
            return file.open("rb")
    except (OSError, ValueError, RuntimeError) as error:  # also NUL in it, or a ring of links
        raise missing from error
    raise missing


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

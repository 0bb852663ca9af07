"""Who may ask a server: one guard for the API, the page and Label Studio's backend."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from likewise.web.errors import answer
from likewise.web.guard import HEADERS, Access, Guard

LOCAL = Access()
OPEN = Access("sesame", "0.0.0.0", open=("/health",))
PAGE = Access("sesame", cookie="likewise-1")
SHARED = Access("sesame", "0.0.0.0", cookie="likewise-1")
NAMED = Access(host="workstation")
ALLOWED = Access(origins=("https://app.example",))
BEARER = {"authorization": "Bearer sesame"}
BASIC = {"authorization": f"Basic {base64.b64encode(b'me:sesame').decode()}"}
COOKIE = {"cookie": "other=1; likewise-1=sesame"}
STRANGE = {"host": "evil.example", "origin": "https://evil.example"}


def ask(access: Access, path: str = "/x", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers that a guarded server answers."""
    given = {"host": "127.0.0.1:1"} | headers
    place, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "POST",
        "path": place,
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
    }
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(Guard(answer(200, "Fine."), access)(scope, receive, send))  # type: ignore[arg-type]
    return messages[0]["status"], {k.decode(): v.decode() for k, v in messages[0]["headers"]}


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        (LOCAL, {}, 200),
        (LOCAL, {"host": "[::1]:8"}, 200),
        (LOCAL, {"host": "10.0.0.1"}, 403),
        (LOCAL, {"host": "evil.example"}, 403),
        (LOCAL, {"host": ""}, 403),
        (LOCAL, {"origin": "http://127.0.0.1:1"}, 200),
        (LOCAL, {"origin": "http://127.0.0.1:2"}, 403),
        (LOCAL, {"origin": "https://127.0.0.1:1"}, 403),
        (LOCAL, {"origin": ""}, 403),
        (LOCAL, BEARER, 200),  # there is no token: it neither helps nor harms
        (LOCAL, BEARER | STRANGE, 403),
        (NAMED, {"host": "Workstation:8"}, 200),
        (NAMED, {"host": "10.0.0.1"}, 403),
        (ALLOWED, {"origin": "https://app.example"}, 200),
        (ALLOWED, {"origin": "https://app.example", "host": "evil.example"}, 403),
        (OPEN, {}, 401),
        (OPEN, {"authorization": "Bearer "}, 401),
        (OPEN, {"authorization": "Basic sesame"}, 401),
        (OPEN, {"authorization": "sesame"}, 401),
        (OPEN, {"authorization": "Bearer é"}, 401),
        (OPEN, COOKIE, 401),
        (OPEN, {"authorization": "TOKEN sesame"}, 200),
        (OPEN, BEARER | STRANGE, 200),
        (OPEN, BASIC | {"host": "backend:9090"}, 200),
        (OPEN, BASIC | {"host": "backend:9090", "origin": "https://evil.example"}, 403),
        (PAGE, COOKIE, 200),
        (PAGE, COOKIE | {"host": "10.0.0.1"}, 403),
        (PAGE, COOKIE | {"host": "evil.example"}, 403),
        (PAGE, COOKIE | {"host": "evil.example", "origin": "http://evil.example"}, 403),
        (PAGE, COOKIE | {"origin": "https://evil.example"}, 403),
        (PAGE, {"cookie": "likewise-2=sesame"}, 401),
        (SHARED, COOKIE | {"host": "10.0.0.1"}, 200),
        (SHARED, COOKIE | {"host": "evil.example"}, 403),
    ],
)
def test_who_may_ask(access: Access, headers: dict[str, str], status: int) -> None:
    found, answered = ask(access, **headers)
    assert found == status
    assert HEADERS.items() <= answered.items()


def test_paths_and_addresses_with_a_token() -> None:
    assert ask(OPEN, "/health", host="probe.example")[0] == 200
    assert ask(OPEN, "/health/x")[0] == 401
    assert ask(OPEN, "/?token=sesame")[0] == 401  # only a page is opened so
    assert ask(PAGE, "/x?token=sesame")[0] == 401
    assert ask(PAGE, "/?token=sesam")[0] == 401
    status, headers = ask(PAGE, "/?token=sesame")
    assert status == 200
    assert headers["set-cookie"] == "likewise-1=sesame; Path=/; HttpOnly; SameSite=Strict"
    assert ask(PAGE, "/?token=sesame", host="evil.example")[0] == 403

"""A real server on a free port of this machine, and requests of every kind to it."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.segmenter import Segmenter
from likewise.web.api.app import make_app
from likewise.web.guard import Access
from likewise.web.limits import Limits
from likewise.web.serving import bind, make_server

Fields = Sequence[tuple[str, "str | bytes | Path"]]


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The only thing in the body: one sentence."""
        (text,) = self.json.values()
        assert list(self.json) == ["error"]
        assert re.fullmatch(r"[^\n]+\.", text)
        return text


def form(fields: Fields) -> tuple[bytes, str]:
    """A multipart body and its content type; bytes and paths are sent as files."""
    mark, body = uuid.uuid4().hex, b""
    for name, value in fields:
        file = "" if isinstance(value, str) else '; filename="file"'
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        content = value.read_bytes() if isinstance(value, Path) else value
        body += (content.encode() if isinstance(content, str) else content) + b"\r\n"
    return body + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


@dataclass
class Live:
    """A server; every status that it answers must be in its OpenAPI document."""

    port: int
    token: str | None = None
    _paths: dict[str, Any] = field(default_factory=dict)

    def ask(self, method: str, path: str, fields: Fields | None = None, **headers: str) -> Answer:
        """One request; ``content_type`` and the like are headers."""
        body, kind = form(fields) if fields is not None else (None, None)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if kind is not None:
            sent.setdefault("content-type", kind)
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = read_answer(connection.getresponse())
        finally:
            connection.close()
        self.check_documented(method, path, answer)
        return answer

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection over which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        for part in parts:
            connection.sendall(part)
        return connection

    def check_documented(self, method: str, path: str, answer: Answer) -> None:
        if path == "/openapi.json":
            return
        if not self._paths:
            self._paths = self.ask("GET", "/openapi.json").json["paths"]
        for route, methods in self._paths.items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", route)
            if re.fullmatch(pattern, path.partition("?")[0]) and method.lower() in methods:
                responses = methods[method.lower()]["responses"]
                assert str(answer.status) in responses, (method, route, answer)
                if answer.body:
                    kind = answer.headers["content-type"].partition(";")[0]
                    assert kind in responses[str(answer.status)]["content"]

    def metric(self, line: str) -> float:
        """The value of a line of the metrics."""
        lines = self.ask("GET", "/v1/metrics").body.decode().splitlines()
        return next(float(text.split()[-1]) for text in lines if text.startswith(f"{line} "))


def read_answer(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def read_raw(connection: socket.socket) -> Answer:
    """The answer on a raw connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return read_answer(response)


@contextmanager
def serving(make: Callable[[], Segmenter], **settings: Any) -> Iterator[Live]:
    """uvicorn in a thread, as `likewise serve` starts it.

    Args:
        make: a new segmenter.
        settings: of ``Access``, ``Limits`` and ``make_app``.
    """

    def those(kind: type) -> dict[str, Any]:
        return {f.name: settings.pop(f.name) for f in fields(kind) if f.name in settings}

    access, limits = Access(**those(Access)), Limits(**those(Limits))
    listener = bind("127.0.0.1", 0, secret=True)
    listener.listen()
    server = make_server(make_app(make, access, limits, **settings), patience=5)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    port = listener.getsockname()[1]
    thread.start()
    try:
        yield Live(port, access.token)
    finally:
        server.should_exit = True
        thread.join()


NOBODY = "0" * 32


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def head(route: str, *more: str) -> bytes:
    lines = [f"POST /v1/{route} HTTP/1.1", "Host: localhost", *more]
    return "\r\n".join([*lines, "", ""]).encode()

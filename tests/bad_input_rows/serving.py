"""`likewise serve` and `likewise ui`."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from bad_input_rows.rows import row
from scenes import TINY

# --- serving --------------------------------------------------------------------------------------


def serve(*more: str) -> list[str]:
    return ["serve", "--port", "0", *TINY, *more]


@contextmanager
def taken_port() -> Iterator[None]:
    """Port 47321 is listened on."""
    with socket.create_server(("127.0.0.1", 47321)):
        yield


@row("server open to all without a token", 2, r"--host 0\.0\.0\.0 lets other machines in: give a -")
def serve_without_token(_: Path) -> list[str]:
    return serve("--host", "0.0.0.0")


@row(
    "server on a taken port",
    2,
    r"cannot listen on 127\.0\.0\.1 port 47321 \(.*--port",
    fault=taken_port,
)
def serve_on_taken_port(_: Path) -> list[str]:
    return serve("--port", "47321")


@row("server on a port that is none", 2, r"'--port'", usage=True)
def serve_on_no_port(_: Path) -> list[str]:
    return serve("--port", "70000")


@row(
    "server on an unknown address", 2, r"--host no\.such\.invalid is no address of this machine: gi"
)
def serve_nowhere(_: Path) -> list[str]:
    return serve("--host", "no.such.invalid")


@row(
    "server with a root that is none", 2, r"--root nowhere is no folder: give the folder of the im"
)
def serve_missing_root(_: Path) -> list[str]:
    return serve("--root", "nowhere")


@row(
    "server with a token of two words",
    2,
    r"the token is empty, or holds spaces or characters that no h",
)
def serve_odd_token(_: Path) -> list[str]:
    return serve("--token", "two words")


@row(
    "server for an origin that is none", 2, r"--allow-origin example\.org is no origin: write it li"
)
def serve_odd_origin(_: Path) -> list[str]:
    return serve("--allow-origin", "example.org")


@row("server with an unknown method", 2, r"method 'best' is unknown; use one of likewise")
def serve_unknown_method(_: Path) -> list[str]:
    return serve("--method", "best")


@row(
    "server without FastAPI",
    2,
    r"serve needs the package fastapi, which is not installed: pip install 'likewise\[serve\]'",
    fault=lambda: mock.patch.dict(sys.modules, {"fastapi": None}),
)
def serve_without_fastapi(_: Path) -> list[str]:
    return serve()


# --- likewise ui ----------------------------------------------------------------------------------


def page(*more: str, project: str = "work") -> list[str]:
    """Arguments of `likewise ui` that would open nothing."""
    return ["ui", project, "--no-browser", "--port", "0", *more]


@row("ui in a file", 2, r"a\.jpg/likewise\.toml cannot be written \(.*\): give another folder\.")
def page_in_a_file(_: Path) -> list[str]:
    return page(project="a.jpg")


@row("ui of a project of other things", 2, r"work/likewise\.toml: \[page\] colour is unknown; use ")
def page_of_other_things(_: Path) -> list[str]:
    Path("work").mkdir()
    Path("work/likewise.toml").write_text('[page]\ncolour = "red"\n')
    return page()


TAKEN = socket.socket()
"""Keeps its port while the process lives."""


@row(
    "ui at a port that is taken", 2, r"cannot listen on 127\.0\.0\.1 port \d+ \(.*\): give another"
)
def page_at_a_taken_port(_: Path) -> list[str]:
    if TAKEN.getsockname()[1] == 0:
        TAKEN.bind(("127.0.0.1", 0))
        TAKEN.listen()
    return page("--port", str(TAKEN.getsockname()[1]))


@row(
    "ui at an address of another machine",
    2,
    r"cannot listen on 192\.0\.2\.1 port 0 \(.*\): give an",
)
def page_at_a_foreign_address(_: Path) -> list[str]:
    return page("--host", "192.0.2.1")


@row(
    "ui without its extra",
    2,
    r"ui needs the package fastapi, which is not installed: pip install 'likewise\[ui\]'\.",
    fault=lambda: mock.patch.dict(sys.modules, {"fastapi": None}),
)
def page_without_fastapi(_: Path) -> list[str]:
    return page()

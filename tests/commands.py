"""Running commands, and reading what they wrote."""

from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest

from likewise import cli
from scenes import Ran


def done(ran: Ran) -> str:
    """The output of a run that went well, without a word on stderr."""
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def names(folder: str) -> set[str]:
    """What is in a folder of results but for its memory."""
    return {path.name for path in Path(folder).iterdir()} - {"labels.json", "manifest.jsonl"}


def run_on_a_terminal(arguments: list[str]) -> tuple[int, str]:
    """Exit code, and what a person sees on stderr."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(master, 4096):
                shown.append(chunk)
        except OSError:  # the other end was closed
            pass

    reader = threading.Thread(target=read)
    reader.start()

    code = 0
    with (
        io.TextIOWrapper(io.FileIO(slave, "w"), "utf-8", write_through=True) as terminal,
        mock.patch.object(sys, "argv", ["likewise", *arguments]),
        mock.patch.object(sys, "stderr", terminal),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8")),
        mock.patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": "90"}),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    reader.join(timeout=10)
    os.close(master)
    return code, b"".join(shown).decode()

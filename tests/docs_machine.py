"""A machine for the docs' snippets: small backbones, and a `likewise` on PATH that starts at once.

Run as a script it imports torch once and forks itself for every call of the command; the command
(`CLIENT`) hands over its arguments, folder, environment and terminal, and waits for the exit code.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

INPUT = 112  # pixels that backbones see, unless they are told otherwise

CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = sys.argv[1:]
if words[:1] == ["ui"]:
    words += ["--no-browser", "--port", "0"]
if words[:1] == ["serve"]:
    words += ["--port", os.environ["DOCS_PORT"]]
call = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [b"%16d" % len(call)], [0, 1, 2])
server.sendall(call)
sys.exit(int(server.recv(8) or b"1"))
"""

# Nothing is installed: only what is asked for is looked at.
PIP = """#!{python} -IS
import re, sys
assert sys.argv[1] == "install", sys.argv
asked = re.findall(r"likewise\\[(.*?)\\]", " ".join(sys.argv))
unknown = set(",".join(asked).split(",")) - set({extras!r}) - {{""}}
sys.exit(f"likewise has no extra {{unknown}}" if unknown else 0)
"""

# An answer that is an error fails, as in a browser; the port is one that is free here.
CURL = """#!/usr/bin/env bash
exec {curl} --fail-with-body "${{@//localhost:8000/localhost:$DOCS_PORT}}"
"""


@contextlib.contextmanager
def small_backbones(tiny: Path) -> Iterator[None]:
    """Backbones see INPUT pixels; those that would be downloaded are the one in `tiny`."""
    from likewise.backbones import encoder, registry

    real = encoder.load_backbone
    embedded = registry.BACKBONES["embedded"]

    def load(source: Any, **options: Any) -> Any:
        if str(source) not in {*registry.ALIASES, *registry.BACKBONES} - {"embedded"}:
            return real(source, **options)
        found = real(tiny, **options)
        name = registry.get_spec(str(source)).name
        return replace(found, spec=replace(found.spec, name=name, image_size=INPUT))

    small = {"embedded": replace(embedded, image_size=INPUT)}
    with (
        mock.patch.dict(registry.BACKBONES, small),
        mock.patch.object(encoder, "load_backbone", load),
    ):
        yield


@dataclass(frozen=True)
class Machine:
    """Where snippets run."""

    environment: dict[str, str]
    tiny: Path

    def bash(self, code: str, folder: Path) -> subprocess.Popen[str]:
        """Starts a block of shell; it ends at the first command that fails."""
        return subprocess.Popen(
            ["bash", "-eo", "pipefail", "-c", code],
            cwd=folder,
            env=self.environment,
            text=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextlib.contextmanager
def machine(folder: Path, tiny: Path, extras: list[str]) -> Iterator[Machine]:
    """Starts it with its programs in `folder`/bin and its caches in `folder`."""
    programs = folder / "bin"
    programs.mkdir()
    address = str(folder / "socket")
    texts = {
        "likewise": CLIENT.format(python=sys.executable, address=address),
        "pip": PIP.format(python=sys.executable, extras=extras),
        "curl": CURL.format(curl=shutil.which("curl")),
    }
    for name, text in texts.items():
        (programs / name).write_text(text, "utf-8")
        (programs / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    source = Path(__file__).resolve().parents[1] / "src"
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(source),
        "LIKEWISE_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "DOCS_PORT": str(port),
    }
    server = subprocess.Popen([sys.executable, __file__, address, str(tiny)], env=environment)
    try:
        until = time.monotonic() + 120
        while not Path(address).exists():
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the machine of the docs' snippets did not start")
            time.sleep(0.05)
        yield Machine(environment, tiny)
    finally:
        server.terminate()
        server.wait()


def serve(address: str, tiny: Path) -> None:
    """Forks for every call, with all that takes seconds imported already."""
    import torch

    import likewise.cli

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(likewise.__path__, "likewise."):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with small_backbones(tiny), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(16)
        Path(f"{address}.new").rename(address)
        while True:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                answer(caller, likewise.cli.main)
            caller.close()


def answer(caller: socket.socket, main: Any) -> None:
    """Is the command that was called, then ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    length, handles, _, _ = socket.recv_fds(caller, 16, 3)
    call = b""
    while len(call) < int(length):
        call += caller.recv(1 << 16)
    words, folder, environment = json.loads(call)
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["likewise", *words]

    def interrupt() -> None:
        caller.recv(1)  # nothing: the command was interrupted
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller leaves when it has the code
    with contextlib.suppress(OSError):
        caller.sendall(str(int(code)).encode())
    os._exit(int(code))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))

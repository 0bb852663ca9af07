"""How every server of likewise is started: where it listens, what it prints, how it ends."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import webbrowser
from typing import TYPE_CHECKING, Any

from ..errors import LikewiseError

if TYPE_CHECKING:
    import uvicorn


def bind(host: str, port: int, *, secret: bool) -> socket.socket:
    """A socket on that address, not listening yet: taken before a backbone takes its seconds.

    Args:
        host: name or address of this machine.
        port: 0 for a free one.
        secret: whether the server asks for one; without, it must not be open to other machines.

    Raises:
        LikewiseError: the address is unknown or taken, or open to others without a token.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or "0.0.0.0",
            port,
            type=socket.SOCK_STREAM,
            proto=socket.IPPROTO_TCP,
            flags=socket.AI_PASSIVE,
        )[0]
    except (OSError, UnicodeError) as error:
        raise LikewiseError(
            f"--host {host} is no address of this machine: give another."
        ) from error
    if not secret and not ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback:
        raise LikewiseError(
            f"--host {host} lets other machines in: give a --token (or set LIKEWISE_TOKEN), or "
            "listen on 127.0.0.1."
        )
    # With the protocol, or else asyncio leaves TCP_NODELAY off, and every answer on a connection
    # that is kept waits 40 ms.
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise LikewiseError(
            f"cannot listen on {host} port {port} ({error.strerror}): give another --port or "
            "--host."
        ) from error
    return listener


def address_of(listener: socket.socket) -> str:
    """``http://HOST:PORT`` by which this machine reaches it."""
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def make_server(app: Any, patience: float) -> uvicorn.Server:
    """A uvicorn server with the limits of ``connections``.

    Args:
        app: the ASGI application.
        patience: seconds that requests may take to end when the server is stopped.
    """
    import uvicorn

    from .connections import Connection

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(patience),
        )
    )


def serve_app(
    app: Any,
    listener: socket.socket,
    name: str,
    *,
    patience: float,
    path: str = "",
    browser: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C; what was asked by then is still answered.

    Args:
        app: the ASGI application.
        listener: from ``bind``.
        name: of what is served, to be printed with the address.
        patience: see ``make_server``.
        path: of the address that is printed.
        browser: open that address in one.
    """
    server = make_server(app, patience)
    server.config.load()  # seconds, which whoever asks now would wait
    listener.listen()
    address = address_of(listener) + path
    for number in (signal.SIGINT, signal.SIGTERM):  # raised again by uvicorn when all is answered
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"likewise serves {name} on {address} (Ctrl-C stops it)", flush=True)
    if browser:
        webbrowser.open(address)
    server.run(sockets=[listener])

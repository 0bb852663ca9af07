"""``likewise serve``: the HTTP API."""

from __future__ import annotations

import importlib
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from ..errors import LikewiseError
from ..refine import DEFAULT_REFINER
from ..web.listening import address_of, bind, configure
from .app import app
from .options import (
    FeatureOptions,
    RefineOption,
    RuntimeOptions,
    TunedMethodOptions,
    keywords,
    takes_groups,
)

if TYPE_CHECKING:
    import uvicorn


@app.command()
@takes_groups
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar="LIKEWISE_TOKEN", help="What clients must send; needed but on loopback."
        ),
    ] = "",
    root: Annotated[
        Path | None, typer.Option(help="Folder whose images requests may name as path.")
    ] = None,
    allow_origin: Annotated[
        list[str], typer.Option(help="Origin whose web pages may ask; may be repeated.")
    ] = [],  # noqa: B006 (typer copies it)
    keep: Annotated[int, typer.Option(min=1, help="Sets of references kept in memory.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for an answer.")] = 60,
    upload_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for a request to arrive.")
    ] = 30,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request.")] = 32_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image.")] = 40_000_000,
    refine: RefineOption = DEFAULT_REFINER,
    algorithm: TunedMethodOptions,
    network: FeatureOptions,
    machine: RuntimeOptions,
) -> None:
    """Answer over HTTP: send references once, then images (docs/server.md)."""
    from ..refine import check_refiner

    check_installed()
    check_token(token)
    for origin in allow_origin:
        check_origin(origin)
    if root is not None and not root.is_dir():
        raise LikewiseError(f"--root {root} is no folder: give the folder of the images.")
    params = algorithm.params()
    check_refiner(refine)
    listener = bind(host, port, secret=bool(token))

    from ..backbones.encoder import Encoder
    from ..segmenter import Segmenter
    from ..web.api.app import ServerSettings, make_app

    encoder = Encoder(**keywords(network, machine))
    settings = ServerSettings(
        token=token or None,
        origins=tuple(allow_origin),
        root=None if root is None else root.resolve(),
        keep=keep,
        queue=queue,
        timeout=timeout,
        upload_timeout=upload_timeout,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
    )
    served = make_app(lambda: Segmenter(encoder, method=params, refiner=refine), settings)
    _ = encoder.basis  # or else the first request waits for it
    listen(served, listener, encoder.spec.name, timeout + upload_timeout)


def check_installed() -> None:
    """Raises LikewiseError unless what the server needs is there."""
    for name in ("fastapi", "uvicorn", "python_multipart"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise LikewiseError(
                "the server needs FastAPI, uvicorn and python-multipart: "
                "pip install 'likewise[serve]'."
            ) from error


def check_token(token: str) -> None:
    """Raises LikewiseError unless it can be sent in a header; none is fine."""
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise LikewiseError(
            "the token holds spaces or characters that no header can carry: use letters and digits."
        )


def check_origin(origin: str) -> None:
    """Raises LikewiseError unless it is what browsers send as Origin."""
    try:
        parts = urlsplit(origin)
        fine = parts.scheme in ("http", "https") and f"{parts.scheme}://{parts.netloc}" == origin
    except ValueError:
        fine = False
    if not fine or not parts.hostname or "*" in origin:
        raise LikewiseError(
            f"--allow-origin {origin} is no origin: write it like https://example.org, without a "
            "path and without *."
        )


def listen(served: Any, listener: socket.socket, name: str, patience: float) -> None:
    """Serve until SIGTERM or Ctrl-C; what was asked by then is still answered.

    Args:
        served: the ASGI application.
        listener: bound.
        name: of the backbone.
        patience: seconds after which every request has been answered.
    """
    listener.listen()
    print(f"likewise serves {name} on {address_of(listener)} (Ctrl-C stops it)", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # raised again by uvicorn when all is answered
        signal.signal(number, lambda *_: sys.exit(0))
    make_server(served, patience).run(sockets=[listener])


def make_server(served: Any, patience: float) -> uvicorn.Server:
    """A uvicorn server of an ASGI application.

    Args:
        served: the application.
        patience: seconds that requests may take to end when the server is stopped.
    """
    import uvicorn

    return uvicorn.Server(
        configure(
            served,
            loop="asyncio",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=round(patience) + 5,
        )
    )

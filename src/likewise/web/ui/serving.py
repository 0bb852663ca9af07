"""The server of `likewise ui`, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from ..listening import address_of, bind, configure
from .feed import Feed
from .guard import project_token
from .routes import make_app
from .worker import PageWorker
from .workspace import Workspace


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    device: str,
    dtype: str,
    offline: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve the page of a project until Ctrl-C.

    Args:
        folder: the project; made if it is not there.
        host: name or address to bind to.
        port: 0 for a free one.
        device, dtype, offline: as for ``Encoder``.
        ready: called with the address to open, once it can be.

    Raises:
        LikewiseError: the project cannot be used, or the address not be bound to.
    """
    workspace = Workspace(folder)
    listening = bind(host, port, secret=True)
    listening.listen()
    port = listening.getsockname()[1]
    token, feed = project_token(folder), Feed()
    worker = PageWorker(workspace, feed, device=device, dtype=dtype, offline=offline)
    app = make_app(workspace, worker, feed, token, host, port)
    settings = configure(app, timeout_graceful_shutdown=5, lifespan="on")

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            worker.stop()
            super().handle_exit(sig, frame)

    try:
        with listening:
            ready(f"{address_of(listening)}/?token={token}")
            Server(settings).run(sockets=[listening])
    finally:  # torch must not be at work when Python ends
        worker.stop()
        if worker.is_alive():
            worker.join()

"""The HTTP API of ``likewise serve`` as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from ..guard import Access
from ..limits import Limits
from ..model_thread import ModelThread
from ..stack import new_app
from .metrics import CountRequests, Metrics
from .routes import Api
from .store import Store

if TYPE_CHECKING:
    from ...segmenter import Segmenter

OPEN = ("/v1/health", "/openapi.json")
"""What needs no token."""


def make_app(
    make: Callable[[], Segmenter],
    access: Access,
    limits: Limits,
    *,
    root: Path | None = None,
    keep: int = 16,
) -> ASGIApp:
    """The server.

    Args:
        make: a new Segmenter without references; all share one Encoder.
        access: who may ask; anyone for the paths OPEN.
        limits: of requests.
        root: resolved; below it are the files that requests may name.
        keep: sets of references in memory.
    """
    thread = ModelThread(limits.queue, limits.timeout)
    store = Store(keep)
    metrics = Metrics(thread, store)
    app, served = new_app(
        replace(access, open=OPEN),
        limits,
        mend="see /openapi.json",
        stop=thread.stop,
        openapi=True,
    )
    api = Api(make, store, thread, metrics, limits.max_pixels, root)
    api.add_to(app, secured=access.token is not None)
    return CountRequests(served, metrics)

"""The whole server as one ASGI application: routes, and around them who may ask, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from ... import __version__
from ..errors import explain
from ..limits import LimitBody
from .access import AccessGuard
from .metrics import CountRequests, Metrics
from .routes import Api
from .store import Store
from .worker import ModelThread

if TYPE_CHECKING:
    from ...segmenter import Segmenter


@dataclass(frozen=True)
class ServerSettings:
    """What `likewise serve` was told, but for the model."""

    token: str | None = None
    origins: tuple[str, ...] = ()
    """Of pages that may ask from a browser."""
    root: Path | None = None
    """Resolved; below it are the files that requests may name."""
    keep: int = 16
    """Sets of references."""
    queue: int = 32
    """Requests that may wait."""
    timeout: float = 60.0
    """Seconds for an answer, from the last byte of the request."""
    upload_timeout: float = 30.0
    """Seconds for a body to arrive."""
    max_bytes: int = 32_000_000
    """Of a body."""
    max_pixels: int = 40_000_000
    """Of an image."""


def make_app(make: Callable[[], Segmenter], settings: ServerSettings) -> ASGIApp:
    """The server.

    Args:
        make: a new Segmenter without references; all share one Encoder.
        settings: limits and who may ask.
    """
    app = FastAPI(
        title="likewise",
        description="Mask one example, get the same thing masked in every other image.",
        version=__version__,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    explain(app)
    metrics = Metrics()
    worker = ModelThread(settings.queue, settings.timeout)
    api = Api(make, Store(settings.keep), worker, metrics, settings.max_pixels, settings.root)
    api.add_to(app, secured=settings.token is not None)
    inner: ASGIApp = AccessGuard(app, settings.token, settings.origins)
    if settings.origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization"],
        )
    return CountRequests(LimitBody(inner, settings.max_bytes, settings.upload_timeout), metrics)

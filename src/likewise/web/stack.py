"""What is in front of every service: limits of a body, who may ask, errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.params import Depends
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from .. import __version__
from .errors import add_error_handlers
from .guard import Access, Guard
from .limits import LimitBody, Limits


def new_app(
    access: Access,
    limits: Limits,
    *,
    mend: str,
    start: Callable[[], object] = lambda: None,
    stop: Callable[[], object],
    dependencies: Sequence[Depends] = (),
    openapi: bool = False,
    printed: bool = False,
) -> tuple[FastAPI, ASGIApp]:
    """An application without routes yet, whose errors are JSON, and what is to be served.

    That is the application behind ``LimitBody`` and ``Guard``, and CORS if pages of others may ask.

    Args:
        access, limits: of requests.
        mend: see ``add_error_handlers``.
        start: called when the server starts.
        stop: called when it has answered all: ends its ``ModelThread``.
        dependencies: of every route.
        openapi: describe the routes at ``/openapi.json``.
        printed: print refusals on stderr too, where clients hide them from their users.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        start()
        yield
        stop()

    app = FastAPI(
        title="likewise",
        description="Mask one example, get the same thing masked in every other image.",
        version=__version__,
        lifespan=life,
        dependencies=list(dependencies),
        openapi_url="/openapi.json" if openapi else None,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    add_error_handlers(app, mend, printed=printed)
    guarded: ASGIApp = Guard(app, access, printed=printed)
    if access.origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=access.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization"],
        )
    # The outermost: it also reads what is left of a body that the guard refuses.
    return app, LimitBody(guarded, limits)

"""The HTTP side: Label Studio's requests, checked before anything is done with them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Body
from pydantic import Field
from starlette.types import ASGIApp

from ..guard import Access
from ..limits import Limits
from ..stack import new_app
from .backend import Backend

LIMITS = Limits(max_bytes=100_000_000, timeout=100.0, advice="send fewer tasks at once")
"""Label Studio itself waits for 100 s."""
MAX_TASKS = 1000
OPEN = ("/", "/health")
"""What needs no token."""
Tasks = Annotated[list[dict[str, Any]], Body(), Field(max_length=MAX_TASKS)]
Text = Annotated[str, Body()]
Params = Annotated[dict[str, Any] | None, Body()]


def make_app(backend: Backend, access: Access) -> ASGIApp:
    """The server.

    Args:
        backend: what answers.
        access: who may ask; anyone for the paths OPEN.
    """
    # Label Studio asks for no description of the routes, and shows its users the status only: the
    # sentence is for who keeps this server.
    app, served = new_app(
        replace(access, open=OPEN),
        backend.images.limits,
        mend="see docs/bridges.md",
        stop=backend.thread.stop,
        printed=True,
    )

    @app.get("/")
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "likewise"}

    @app.post("/setup")
    def setup(config: Annotated[str, Body(embed=True, alias="schema")]) -> dict[str, str]:
        return {"model_version": backend.setup(config)}

    @app.get("/versions")
    def versions() -> dict[str, list[str]]:
        return {"versions": [backend.version]}

    @app.post("/predict")
    def predict(tasks: Tasks, label_config: Text, params: Params = None) -> dict[str, Any]:
        context = (params or {}).get("context")
        pointed = context.get("result") if isinstance(context, dict) else None
        results = backend.predict(tasks, label_config, pointed)
        return {"results": results, "model_version": backend.version}

    @app.post("/webhook", status_code=201)
    def webhook(event: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
        backend.thread.check_room()
        backend.thread.later(partial(backend.webhook, event))  # Label Studio waits for one second
        return {"status": "ok"}

    return served

"""The HTTP side: Label Studio's requests, checked before anything is done with them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from ...errors import LikewiseError
from ..errors import RefusedError
from ..guard import Access
from ..limits import Limits
from ..stack import new_app, protect
from .backend import Backend

LIMITS = Limits(max_bytes=100_000_000, timeout=100.0, advice="send fewer tasks at once")
"""Label Studio itself waits for 100 s."""
MAX_TASKS = 1000
OPEN = ("/", "/health")
"""What needs no token."""


async def read_json(request: Request) -> dict[str, Any]:
    """The body, a JSON object. Raises RefusedError for anything else."""
    # A web page can send other kinds to this machine without being asked whether it may.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise RefusedError(415, "the body is no JSON: send it as application/json.")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise RefusedError(400, f"the request is no JSON ({error}).") from error
    if not isinstance(body, dict):
        raise RefusedError(400, "the request is no JSON object.")
    return body


Body = Annotated[dict[str, Any], Depends(read_json)]


def make_app(backend: Backend, access: Access) -> ASGIApp:
    """The server.

    Args:
        backend: what answers.
        access: who may ask; anyone for the paths OPEN.
    """
    # Label Studio asks for no description of the routes, and shows its users the status only: the
    # sentence is for who keeps this server.
    app = new_app(mend="see docs/bridges.md", stop=backend.thread.stop, printed=True)

    @app.get("/")
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "likewise"}

    @app.post("/setup")
    def setup(body: Body) -> dict[str, str]:
        return {"model_version": backend.setup(_text(body, "schema"))}

    @app.get("/versions")
    def versions() -> dict[str, list[str]]:
        return {"versions": [backend.version]}

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise LikewiseError("the request has no tasks: send a list of them as `tasks`.")
        if len(tasks) > MAX_TASKS:
            raise LikewiseError(f"the request has {len(tasks)} tasks: send {MAX_TASKS} at most.")
        results = backend.predict(tasks, _text(body, "label_config"))
        return {"results": results, "model_version": backend.version}

    @app.post("/webhook", status_code=201)
    def webhook(body: Body) -> dict[str, str]:
        backend.thread.check_room()
        backend.thread.later(partial(backend.webhook, body))  # Label Studio waits for one second
        return {"status": "ok"}

    return protect(app, replace(access, open=OPEN), backend.images.limits)


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise LikewiseError(f"the request has no labelling configuration: send it as `{field}`.")
    return value

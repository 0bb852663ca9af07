"""The HTTP side: Label Studio's requests, checked before anything is done with them."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from ...errors import LikewiseError
from ..limits import LimitBody
from .backend import Backend
from .images import MAX_BYTES, TIMEOUT

MAX_TASKS = 1000


async def read_json(request: Request) -> dict[str, Any]:
    """The body, a JSON object. Raises HTTPException for anything else, or too much of it."""
    # A web page can send other kinds to this machine without being asked whether it may.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "send application/json")
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError, ClientDisconnect) as error:
        raise HTTPException(400, f"the request is no JSON ({error})") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "the request is no JSON object")
    return body


Body = Annotated[dict[str, Any], Depends(read_json)]


def make_app(backend: Backend, token: str | None = None) -> FastAPI:
    """The application.

    Args:
        backend: what answers.
        token: the password of HTTP basic authentication (any user), or a bearer token, that all
            but ``/`` and ``/health`` ask for; None: nobody is asked.
    """

    def allowed(request: Request) -> None:
        if token is not None and not secrets.compare_digest(_secret(request), token.encode()):
            raise HTTPException(401, "the token is missing or wrong")

    # One at a time: what is deleted must not be learnt after that.
    learner = ThreadPoolExecutor(1)
    # Label Studio asks for none of these pages, and nobody else need see them.
    app = FastAPI(title="likewise", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(LimitBody, most=MAX_BYTES, seconds=TIMEOUT)
    guarded = [Depends(allowed)]

    @app.exception_handler(LikewiseError)
    def refuse(request: Request, error: LikewiseError) -> JSONResponse:
        # Label Studio shows its users the number only; the sentence is here for its keeper.
        print(f"likewise: {error}", file=sys.stderr, flush=True)
        # It may repeat what was sent, which in JSON may be half of a character.
        return JSONResponse({"error": str(error).encode(errors="replace").decode()}, 400)

    @app.get("/")
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP", "model_class": "likewise"}

    @app.post("/setup", dependencies=guarded)
    def setup(body: Body) -> dict[str, str]:
        return {"model_version": backend.setup(_text(body, "schema"))}

    @app.get("/versions", dependencies=guarded)
    def versions() -> dict[str, list[str]]:
        return {"versions": [backend.version]}

    @app.post("/predict", dependencies=guarded)
    def predict(body: Body) -> dict[str, Any]:
        tasks = body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise LikewiseError("the request has no tasks: send a list of them as `tasks`.")
        if len(tasks) > MAX_TASKS:
            raise LikewiseError(f"the request has {len(tasks)} tasks: send {MAX_TASKS} at most.")
        results = backend.predict(tasks, _text(body, "label_config"))
        return {"results": results, "model_version": backend.version}

    @app.post("/webhook", status_code=201, dependencies=guarded)
    def webhook(body: Body) -> dict[str, str]:
        learner.submit(learn, body)  # Label Studio waits for one second
        return {"status": "ok"}

    def learn(event: dict[str, Any]) -> None:
        try:
            backend.webhook(event)
        except LikewiseError as error:
            print(f"likewise: {error}", file=sys.stderr, flush=True)

    return app


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str):
        raise LikewiseError(f"the request has no labelling configuration: send it as `{field}`.")
    return value


def _secret(request: Request) -> bytes:
    """What stands in the Authorization header: a token, or the password after a user's name."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token"):
        return value.encode()
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except (ValueError, binascii.Error):
        return b""

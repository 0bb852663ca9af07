"""Every refusal is JSON: {"error": one sentence}, with a status that says whose fault it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from ..errors import LikewiseError

MEANINGS = {
    400: "The body is no whole multipart form.",
    401: "The token is missing or wrong.",
    403: "Not from this host or origin, or the server reads no files of its own.",
    404: "There is no such set of references, image, or file below the root.",
    408: "The body took too long to arrive.",
    413: "The body has too many bytes, or an image too many pixels.",
    415: "The body is no multipart form.",
    422: "A field is missing, wrong, unknown or sent twice, or a file cannot be used.",
    429: "The queue is full: come back after Retry-After seconds.",
    503: "Too many connections, or too many of one client: come back after Retry-After seconds.",
    504: "It took longer than the server's --timeout.",
}
NO_ROUTE = {
    "Not Found": "there is nothing at this address",
    "Method Not Allowed": "this address does not take that method",
}
"""What Starlette says → what we say."""


class Problem(BaseModel):
    """What is wrong and how to mend it."""

    error: str


class RefusedError(LikewiseError):
    """A request is refused with this status; every other LikewiseError gives 422."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """``responses`` of a route that may end in these."""
    # In full: FastAPI would give a "model" the media type of the route's good answer.
    content = {"application/json": {"schema": Problem.model_json_schema()}}
    responses: dict[int | str, dict[str, Any]] = {
        s: {"description": MEANINGS[s], "content": content} for s in statuses
    }
    seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
    for status in {429, 503} & responses.keys():
        responses[status]["headers"] = {"Retry-After": seconds}
    return responses


def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response to a refused request."""
    # A message may repeat what was sent, or a file's name: half of a character becomes "?".
    text = json.dumps({"error": message.encode(errors="replace").decode()}, ensure_ascii=False)
    return Response(text, status, dict(headers or {}), "application/json")


def refusal(error: LikewiseError, *, printed: bool = False) -> Response:
    """The response to what raised such an error; ``printed`` on stderr too."""
    if printed:
        print(f"likewise: {error}", file=sys.stderr, flush=True)
    if isinstance(error, RefusedError):
        return answer(error.status, str(error), error.headers)
    return answer(422, str(error))


def add_error_handlers(app: FastAPI, mend: str, *, printed: bool = False) -> None:
    """Make every error of the app such a response.

    Args:
        app: the application.
        mend: what to do about a request that the app does not know, as the end of a sentence.
        printed: print refusals on stderr too.
    """

    @app.exception_handler(LikewiseError)
    def refused(_: Request, error: LikewiseError) -> Response:
        return refusal(error, printed=printed)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        known = NO_ROUTE.get(error.detail)
        message = f"{error.detail.rstrip('.')}." if known is None else f"{known}: {mend}."
        headers = error.headers
        if error.status_code == 405:  # Starlette names the methods of one route only
            routes = [r for r in app.routes if isinstance(r, Route)]
            here = [r for r in routes if r.matches(request.scope)[0] is not Match.NONE]
            methods = {method for route in here for method in route.methods or ()}
            headers = {"Allow": ", ".join(sorted(methods or {"GET", "HEAD"}))}
        return answer(error.status_code, message, headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = () if first["type"] == "json_invalid" else first["loc"][1:]
        field = ".".join(map(str, place)) or "body"
        said = " ".join(str(first["msg"]).split()).rstrip(".")
        message = f"{field} is missing or wrong ({said}): {mend}."
        return refusal(RefusedError(422, message), printed=printed)

    @app.exception_handler(Exception)
    def broken(_: Request, error: Exception) -> Response:
        return answer(500, "this is a mistake of likewise: its log says more.")  # uvicorn logs it

"""The page of `likewise ui`: what is answered at which address."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Body, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image

from ..batch.layers import Sliders, read_layers
from ..errors import LikewiseError
from ..export.dataset import FORMATS
from ..images import read_image
from . import datasets, marks
from .feed import Feed
from .guard import Guard
from .worker import Worker
from .workspace import GoneError, Workspace

STATIC = Path(__file__).resolve().parent / "static"
MAX_UPLOAD = 256 * 2**20
"""Bytes of one uploaded file."""
SIDES = (320, 1600)
"""Pictures are sent with at most so many pixels a side."""
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
"""For what is asked for with its version in the address."""


def make_app(
    workspace: Workspace, worker: Worker, feed: Feed, token: str, host: str, port: int
) -> FastAPI:
    """The guarded application; it starts and ends the worker.

    Args:
        workspace: the project.
        worker: not started yet.
        feed: that the worker writes to.
        token, host, port: see ``Guard``.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        feed.closed = True
        worker.stop()

    app = FastAPI(lifespan=life, openapi_url=None)
    _add_errors(app)
    _add_project(app, workspace, worker, feed)
    _add_references(app, workspace, worker)
    _add_targets(app, workspace, worker, feed)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(Guard, token=token, host=host, port=port)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(LikewiseError)
    def explained(_: Request, error: LikewiseError) -> Response:
        return JSONResponse({"error": str(error)}, 404 if isinstance(error, GoneError) else 409)

    @app.exception_handler(RequestValidationError)
    def unclear(_: Request, error: RequestValidationError) -> Response:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        return JSONResponse({"error": f"the request's {where} is wrong: reload the page."}, 422)

    @app.exception_handler(Exception)
    def fault(_: Request, error: Exception) -> Response:
        return JSONResponse({"error": f"likewise failed ({error!r}): please report it."}, 500)


def _add_project(app: FastAPI, workspace: Workspace, worker: Worker, feed: Feed) -> None:
    @app.get("/api/state")
    def state() -> dict[str, Any]:
        return workspace.state() | {
            "work": worker.doing,
            "failed": worker.failed,
            "formats": FORMATS,
        }

    @app.get("/api/events")
    async def events() -> StreamingResponse:
        headers = {"cache-control": "no-store"}
        return StreamingResponse(feed.stream(), media_type="text/event-stream", headers=headers)

    @app.post("/api/example")
    def example() -> dict[str, Any]:
        workspace.add_example()
        return worker.changed()

    @app.post("/api/folders")
    def folder(path: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
        workspace.add_folder(path)
        return worker.changed()

    @app.put("/api/uploads")
    async def upload(request: Request, name: str, reference: bool) -> dict[str, Any]:
        content = await _body(request, name)
        await run_in_threadpool(workspace.upload, name, content, reference)
        return worker.changed()

    @app.put("/api/classes")
    def classes(wanted: Annotated[list[dict[str, str]], Body()]) -> dict[str, Any]:
        workspace.set_classes(wanted)
        return worker.changed()

    @app.put("/api/sliders")
    def sliders(threshold: Annotated[float, Body()], granularity: Annotated[float, Body()]) -> None:
        workspace.set_sliders(Sliders(threshold, granularity))
        worker.wish()

    @app.post("/api/export")
    def export(kind: str, zipped: bool) -> Response:
        worker.settle()
        made = datasets.export(workspace, kind, zipped)
        if isinstance(made, Path):
            return JSONResponse({"path": str(made.resolve())})
        name = {"content-disposition": f'attachment; filename="{kind}.zip"'}
        return Response(made, media_type="application/zip", headers=name)


def _add_references(app: FastAPI, workspace: Workspace, worker: Worker) -> None:
    def path_of(wanted: str) -> Path:
        with workspace.opened() as project:
            return workspace.picture(project, wanted)

    @app.get("/api/references/{wanted}/picture")
    def picture(wanted: str, side: int) -> Response:
        return _jpeg(path_of(wanted), side)

    @app.get("/api/references/{wanted}/regions")
    def regions(wanted: str) -> Response:
        return _binary(worker.regions(path_of(wanted)))

    @app.get("/api/references/{wanted}/painted")
    def painted(wanted: str) -> Response:
        return _raw(marks.read_painted(workspace, path_of(wanted)))

    @app.put("/api/references/{wanted}")
    async def save(request: Request, wanted: str, width: int, height: int) -> dict[str, Any]:
        values = _label_map(await _body(request, "what was painted"), width, height)
        path = await run_in_threadpool(path_of, wanted)
        await run_in_threadpool(marks.save_reference, workspace, path, values)
        return worker.changed()

    @app.delete("/api/references/{wanted}")
    def remove(wanted: str) -> dict[str, Any]:
        marks.remove_reference(workspace, path_of(wanted))
        return worker.changed()


def _add_targets(app: FastAPI, workspace: Workspace, worker: Worker, feed: Feed) -> None:
    def file_of(wanted: str, which: Callable[..., Path]) -> Path:
        with workspace.opened() as project:
            return which(project, workspace.target(project, wanted))

    def told(target: dict[str, Any]) -> dict[str, Any]:
        feed.say("target", target=target)
        if target["state"] == "pending":
            worker.wish()
        return target

    @app.get("/api/targets/{wanted}/picture")
    def picture(wanted: str, side: int) -> Response:
        return _jpeg(file_of(wanted, lambda project, job: job.target), side)

    @app.get("/api/targets/{wanted}/layers")
    def layers(wanted: str) -> Response:
        found = read_layers(file_of(wanted, lambda project, job: project.layers(job.target)))
        if found is None:
            raise GoneError("this image has no result yet: wait for it.")
        return _binary(found[0].blob())

    @app.get("/api/targets/{wanted}/mask")
    def mask(wanted: str) -> Response:
        return _raw(marks.read_mask_of(workspace, wanted))

    @app.put("/api/targets/{wanted}/state")
    def judge(
        wanted: str, state: Annotated[str, Body()], version: Annotated[str, Body()]
    ) -> dict[str, Any]:
        if state not in ("accepted", "rejected", "done"):
            raise LikewiseError(f"{state} is no verdict: reload the page.")
        return told(workspace.judge(wanted, state, version))

    @app.put("/api/targets/{wanted}/mask")
    async def correct(request: Request, wanted: str, width: int, height: int) -> dict[str, Any]:
        values = _label_map(await _body(request, "the mask"), width, height)
        return told(await run_in_threadpool(marks.correct, workspace, wanted, values))

    @app.post("/api/targets/{wanted}/promote")
    def promote(wanted: str) -> dict[str, Any]:
        target = told(marks.promote(workspace, wanted))
        worker.changed()
        return target


async def _body(request: Request, name: str) -> bytes:
    """What was sent; never more than MAX_UPLOAD is taken."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_UPLOAD:
            raise LikewiseError(
                f"{name} is over {MAX_UPLOAD >> 20} MB: add the folder that it is in instead."
            )
    return bytes(content)


def _label_map(content: bytes, width: int, height: int) -> marks.LabelMap:
    if min(width, height) < 1 or len(content) != width * height:
        raise LikewiseError("what was painted came in pieces: try again.")
    return np.frombuffer(content, np.uint8).reshape(height, width)


def _raw(values: marks.LabelMap) -> Response:
    """2 uint32 (height, width), then the bytes."""
    content = np.array(values.shape, "<u4").tobytes() + values.tobytes()
    headers = {"cache-control": "no-store"}  # it changes, and the page keeps it
    return Response(content, media_type="application/octet-stream", headers=headers)


def _binary(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers=FOREVER)


def _jpeg(path: Path, side: int) -> Response:
    """A picture, upright, shrunk to one of SIDES."""
    image = read_image(path)
    large = marks.working_size(image.shape)
    scale = min(1.0, min(max(side, SIDES[0]), SIDES[1]) / max(large))
    size = max(1, round(large[1] * scale)), max(1, round(large[0] * scale))
    data = io.BytesIO()
    shrunk = Image.fromarray(image).resize(size, Image.Resampling.BOX, reducing_gap=2)
    shrunk.save(data, "JPEG", quality=90, subsampling=0)
    return Response(data.getvalue(), media_type="image/jpeg", headers=FOREVER)

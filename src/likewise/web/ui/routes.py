"""The page of `likewise ui`: what is answered at which address."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ...errors import LikewiseError
from ...export.dataset import FORMATS
from ...io.images import read_image
from ...project.score_maps import Sliders, read_score_maps
from . import datasets, marks
from .feed import Feed
from .guard import PageGuard
from .state import GoneError, StaleError
from .worker import PageWorker
from .workspace import Workspace

STATIC = Path(__file__).resolve().parent / "static"
MAX_UPLOAD = 256 * 2**20
"""Bytes of one uploaded file."""
SIDES = (320, 1600)
"""Pictures are sent with at most so many pixels a side."""
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
"""For what is asked for with its version in the address."""


class Strict(BaseModel):
    """A body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ClassBody(Strict):
    """A class of the page."""

    label: str
    colour: str
    number: int | None = None
    """As the page was told; the server knows it."""
    was: str | None = None
    """Its name before, if it is renamed."""


class FolderBody(Strict):
    """A folder, file or pattern of images."""

    path: str


class SlidersBody(Strict):
    """See ``score_maps.Sliders``."""

    threshold: Annotated[float, Field(ge=-1000, le=1000)]
    granularity: Annotated[float, Field(ge=0, le=2)]


class VerdictBody(Strict):
    """What a person says of a target; null takes it back."""

    verdict: Literal["accepted", "rejected"] | None
    version: str
    """Of the target as the person saw it …"""
    sliders: str | None = None
    """… with these sliders."""


class VersionBody(Strict):
    """A target as the person saw it."""

    version: str


def make_app(
    workspace: Workspace, worker: PageWorker, feed: Feed, token: str, host: str, port: int
) -> FastAPI:
    """The guarded application; it starts and ends the worker.

    Args:
        workspace: the project.
        worker: not started yet.
        feed: that the worker writes to.
        token, host, port: see ``PageGuard``.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        worker.stop()

    def same_project(x_likewise_project: Annotated[str | None, Header()] = None) -> None:
        if x_likewise_project not in (None, workspace.id):
            raise LikewiseError("this address shows another project now: reload the page.")

    app = FastAPI(lifespan=life, openapi_url=None, dependencies=[Depends(same_project)])
    _add_errors(app)
    _add_project(app, workspace, worker, feed)
    _add_references(app, workspace, worker)
    _add_targets(app, workspace, worker, feed)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    app.add_middleware(PageGuard, token=token, host=host, port=port)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(LikewiseError)
    def explained(_: Request, error: LikewiseError) -> Response:
        stale = isinstance(error, StaleError)
        status = 404 if isinstance(error, GoneError) else 409
        return _json({"error": str(error), "stale": stale}, status)

    @app.exception_handler(RequestValidationError)
    def unclear(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        wrong = "missing" if first["type"] == "missing" else "wrong"
        return _json({"error": f"the request's {where} is {wrong}: reload the page."}, 422)

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> Response:
        text = f"the request is not understood ({error.detail}): reload the page."
        return _json({"error": text}, error.status_code)

    @app.exception_handler(Exception)
    def fault(_: Request, error: Exception) -> Response:
        return _json({"error": f"likewise failed ({error!r}): please report it."}, 500)


def _add_project(app: FastAPI, workspace: Workspace, worker: PageWorker, feed: Feed) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return _json(
            workspace.state()
            | {"work": worker.doing, "failed": worker.failed, "formats": list(FORMATS)}
        )

    @app.get("/api/events")
    async def events(since: int = 0, server: str = "") -> Response:
        return _json(feed.since(since, server) | {"failed": worker.failed})

    @app.post("/api/example")
    def example() -> Response:
        workspace.add_example()
        return changed()

    @app.post("/api/folders")
    def folder(body: FolderBody) -> Response:
        workspace.add_folder(body.path)
        return changed()

    @app.delete("/api/folders/{wanted}")
    def remove_folder(wanted: str) -> Response:
        workspace.remove_folder(wanted)
        return changed()

    @app.put("/api/uploads")
    async def upload(request: Request, name: str, reference: bool) -> Response:
        content = await _body(request, name)
        await run_in_threadpool(workspace.upload, name, content, reference)
        return changed()

    @app.put("/api/classes")
    def classes(
        wanted: Annotated[list[ClassBody], Body()],
        version: str | None = None,
        erase: bool = False,
    ) -> Response:
        workspace.set_classes([c.model_dump() for c in wanted], version, erase)
        return changed()

    @app.put("/api/sliders")
    def sliders(body: SlidersBody, version: str | None = None) -> Response:
        said = workspace.set_sliders(Sliders(body.threshold, body.granularity), version)
        feed.say("sliders", sliders=said)
        worker.wish()
        return _json(said)

    @app.post("/api/export")
    def export(kind: str, zipped: bool) -> Response:
        worker.settle()
        made, left_out = datasets.export(workspace, kind, zipped)
        if isinstance(made, Path):
            return _json({"path": str(made.resolve()), "left_out": left_out})
        headers = {
            "content-disposition": f'attachment; filename="{kind}.zip"',
            "x-likewise-left-out": json.dumps(left_out),
        }
        return Response(made, media_type="application/zip", headers=headers)

    def changed() -> Response:
        worker.changed()
        return _json({})


def _add_references(app: FastAPI, workspace: Workspace, worker: PageWorker) -> None:
    def path_of(wanted: str) -> Path:
        with workspace.opened() as project:
            return workspace.picture(project, wanted)

    @app.get("/api/references/{wanted}/picture")
    def picture(wanted: str, side: int) -> Response:
        return _jpeg(path_of(wanted), side)

    @app.get("/api/references/{wanted}/regions")
    def regions(wanted: str) -> Response:
        found = worker.regions(path_of(wanted))
        return Response(status_code=202) if found is None else _binary(found)

    @app.get("/api/references/{wanted}/painted")
    def painted(wanted: str) -> Response:
        return _raw(marks.read_painted(workspace, path_of(wanted)))

    @app.put("/api/references/{wanted}")
    async def save(
        request: Request, wanted: str, width: int, height: int, version: str | None = None
    ) -> Response:
        values = _label_map(await _body(request, "what was painted"), width, height)
        path = await run_in_threadpool(path_of, wanted)
        said = await run_in_threadpool(marks.save_reference, workspace, path, values, version)
        worker.changed()
        return _json(said)

    @app.delete("/api/references/{wanted}")
    def remove(wanted: str) -> Response:
        marks.remove_reference(workspace, path_of(wanted))
        worker.changed()
        return _json({})


def _add_targets(app: FastAPI, workspace: Workspace, worker: PageWorker, feed: Feed) -> None:
    def told(target: dict[str, Any]) -> Response:
        feed.say("target", target=target)
        if not target["verdict"] and target["source"] == "model":
            worker.wish()  # it may be out of date by now
        return _json(target)

    @app.get("/api/targets/{wanted}/picture")
    def picture(wanted: str, side: int) -> Response:
        with workspace.opened() as project:
            path = workspace.target(project, wanted).target
        return _jpeg(path, side)

    @app.get("/api/targets/{wanted}/layers")
    def layers(wanted: str) -> Response:
        with workspace.opened() as project:
            job = workspace.target(project, wanted)
            found, numbers = read_score_maps(project.score_maps(job.target)), project.numbers
        if found is None or not numbers.keys() >= set(found[0].labels):
            raise GoneError("this image has no scores (any more): its mask is shown.")
        values = np.array([numbers[label] for label in found[0].labels], "<u4")
        return _binary(found[0].blob() + values.tobytes())

    @app.get("/api/targets/{wanted}/mask")
    def mask(wanted: str, side: Annotated[int, Query(ge=1)] = marks.WORKING) -> Response:
        return _raw(marks.read_mask_of(workspace, wanted, side))

    @app.put("/api/targets/{wanted}/verdict")
    def judge(wanted: str, body: VerdictBody) -> Response:
        return told(workspace.judge(wanted, body.verdict, body.version, body.sliders))

    @app.put("/api/targets/{wanted}/mask")
    async def correct(
        request: Request, wanted: str, width: int, height: int, version: str | None = None
    ) -> Response:
        values = _label_map(await _body(request, "the mask"), width, height)
        return told(await run_in_threadpool(marks.correct, workspace, wanted, values, version))

    @app.post("/api/targets/{wanted}/restore")
    def restore(wanted: str, body: VersionBody) -> Response:
        return told(workspace.restore(wanted, body.version))

    @app.post("/api/targets/{wanted}/promote")
    def promote(wanted: str, body: VersionBody) -> Response:
        answer = told(marks.promote(workspace, wanted, body.version))
        worker.changed()
        return answer

    @app.delete("/api/targets/{wanted}")
    def remove(wanted: str) -> Response:
        workspace.remove_target(wanted)
        worker.changed()
        return _json({})


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


def _json(values: Any, status: int = 200) -> Response:
    """ASCII: names of files may hold what is no Unicode text."""
    content = json.dumps(values, allow_nan=False)
    return Response(content, status, media_type="application/json")


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

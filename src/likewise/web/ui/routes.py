"""The page of `likewise ui`: what is answered at which address."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp

from ...errors import LikewiseError
from ...export.dataset import FORMATS
from ...io.images import read_image
from ...project.score_maps import Sliders, read_score_maps
from ..errors import RefusedError
from ..guard import Access
from ..limits import Limits
from ..stack import new_app
from . import datasets, marks
from .state import GoneError
from .worker import PageWorker
from .workspace import Workspace

STATIC = Path(__file__).resolve().parent / "static"
INSTEAD = "add the folder that the picture is in instead"
LIMITS = Limits(256 * 2**20, 600.0, timeout=None, advice=INSTEAD)
"""Pictures are bounded as those of the commands are: they are the person's own."""
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


def make_app(workspace: Workspace, worker: PageWorker, access: Access) -> ASGIApp:
    """The server; it starts and ends the worker.

    Args:
        workspace: the project.
        worker: not started yet.
        access: who may ask.
    """

    def same_project(x_likewise_project: Annotated[str | None, Header()] = None) -> None:
        if x_likewise_project not in (None, workspace.id):
            raise RefusedError(410, "this address shows another project now: reload the page.")

    app, served = new_app(
        access,
        LIMITS,
        mend="reload the page",
        start=worker.wish,
        stop=worker.stop,
        dependencies=[Depends(same_project)],
    )
    _add_project(app, workspace, worker)
    _add_references(app, workspace, worker)
    _add_targets(app, workspace, worker)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return served


def _add_project(app: FastAPI, workspace: Workspace, worker: PageWorker) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return _json(
            workspace.state()
            | {"work": worker.doing, "failed": worker.failed, "formats": list(FORMATS)}
        )

    @app.get("/api/events")
    async def events(since: int = 0, server: str = "") -> Response:
        return _json(worker.events.since(since, server) | {"failed": worker.failed})

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
        await run_in_threadpool(workspace.upload, name, await request.body(), reference)
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
        worker.events.add("sliders", sliders=said)
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
        values = _label_map(await request.body(), width, height)
        path = await run_in_threadpool(path_of, wanted)
        said = await run_in_threadpool(marks.save_reference, workspace, path, values, version)
        worker.changed()
        return _json(said)

    @app.delete("/api/references/{wanted}")
    def remove(wanted: str) -> Response:
        marks.remove_reference(workspace, path_of(wanted))
        worker.changed()
        return _json({})


def _add_targets(app: FastAPI, workspace: Workspace, worker: PageWorker) -> None:
    def told(target: dict[str, Any]) -> Response:
        worker.events.add("target", target=target)
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
        values = _label_map(await request.body(), width, height)
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


def _label_map(content: bytes, width: int, height: int) -> marks.LabelMap:
    if min(width, height) < 1 or len(content) != width * height:
        raise LikewiseError("what was painted came in pieces: try again.")
    return np.frombuffer(content, np.uint8).reshape(height, width)


def _json(values: Any) -> Response:
    """ASCII: names of files may hold what is no Unicode text."""
    return Response(json.dumps(values, allow_nan=False), media_type="application/json")


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

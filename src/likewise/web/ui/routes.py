"""The page of `likewise ui`: what is answered at which address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Body, Depends, FastAPI, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ...errors import LikewiseError
from ...export.dataset import FORMATS
from ...project.score_maps import Sliders, read_score_maps
from ..errors import RefusedError
from ..guard import Access
from ..limits import Limits
from ..stack import new_app
from . import bundled, datasets, marks
from .bodies import (
    ClassBody,
    ClicksBody,
    FolderBody,
    SlidersBody,
    SwitchBody,
    VerdictBody,
    VerdictsBody,
    VersionBody,
)
from .clicks import Click, Clicks
from .pictures import Levels, Pictures
from .removing import Removals
from .state import GoneError
from .worker import PageWorker
from .workspace import Workspace

STATIC = Path(__file__).resolve().parent / "static"
INSTEAD = "add the folder that the picture is in instead"
LIMITS = Limits(256 * 2**20, 600.0, timeout=None, advice=INSTEAD)
"""Pictures are bounded as those of the commands are: they are the person's own."""
PartQuery = Annotated[list[int] | None, Query(min_length=4, max_length=4)]
"""See ``marks.Part``."""
FOREVER = {"cache-control": "private, max-age=604800, immutable"}
"""For what is asked for with its version in the address."""


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
    pictures, removals = Pictures(), Removals(workspace)
    clicks = Clicks(workspace, worker, pictures)
    _add_project(app, workspace, worker, removals)
    _add_pictures(app, workspace, pictures)
    _add_references(app, workspace, worker, clicks, removals)
    _add_targets(app, workspace, worker, clicks, removals)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return served


def _add_project(
    app: FastAPI, workspace: Workspace, worker: PageWorker, removals: Removals
) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return _json(
            workspace.state()
            | {"work": worker.said, "failed": worker.failed, "formats": list(FORMATS)}
        )

    @app.get("/api/events")
    async def events(since: int = 0, server: str = "") -> Response:
        if server != worker.events.server and not worker.failed:
            worker.wish()  # a page that is new: pictures or likewise.toml may be, too
        return _json(worker.events.since(since, server) | {"failed": worker.failed})

    @app.post("/api/example")
    def example() -> Response:
        bundled.add_example(workspace)
        return changed()

    @app.post("/api/folders")
    def folder(body: FolderBody) -> Response:
        workspace.add_folder(body.path)
        return changed()

    @app.delete("/api/folders/{wanted}")
    def remove_folder(wanted: str) -> Response:
        with removals.noted() as (name, _):
            workspace.remove_folder(wanted)
        worker.changed()
        return _json({"undo": name})

    @app.post("/api/undo/{name}")
    def undo(name: str) -> Response:
        removals.undo(name)
        return changed()

    @app.put("/api/pause")
    def pause(body: SwitchBody) -> Response:
        worker.pause(body.on)
        return _json({})

    @app.post("/api/retry")
    def retry() -> Response:
        worker.wish()  # what failed may work now: a disk has room again
        return _json({})

    @app.put("/api/learn")
    def learn(body: SwitchBody) -> Response:
        workspace.change(learn=body.on)
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
        with removals.noted() as (name, _):
            workspace.set_classes([c.model_dump() for c in wanted], version, erase)
        worker.changed()
        return _json({"undo": name})

    @app.put("/api/sliders")
    def sliders(body: SlidersBody, version: str | None = None) -> Response:
        said = workspace.set_sliders(Sliders(body.threshold, body.granularity), version)
        worker.events.add("sliders", sliders=said)
        worker.wish()
        return _json(said)

    @app.post("/api/export")
    def export(
        kind: str, zipped: bool, judged: bool = False, apart: bool = False, val: float = 0.0
    ) -> Response:
        worker.settle()
        how = datasets.Wish(kind, judged, apart, val)
        made, left_out = datasets.export(workspace, how, zipped)
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


def _add_pictures(app: FastAPI, workspace: Workspace, pictures: Pictures) -> None:
    def levels_of(wanted: str) -> Levels:
        with workspace.opened() as project:
            picture = project.settings.choice.of(workspace.picture(project, wanted))
        return pictures.get(picture)

    @app.get("/api/references/{wanted}/picture")
    def reference(wanted: str, side: int) -> Response:
        return _jpeg(levels_of(wanted).shrunk(side))

    @app.get("/api/targets/{wanted}/picture")
    def target(wanted: str, side: int) -> Response:
        with workspace.opened() as project:
            picture = workspace.target(project, wanted).picture
        return _jpeg(pictures.get(picture).shrunk(side))

    @app.get("/api/pictures/{wanted}/size")
    def size(wanted: str) -> Response:
        height, width = levels_of(wanted).size
        return _json({"width": width, "height": height})

    @app.get("/api/pictures/{wanted}/tile")
    def tile(wanted: str, level: int, x: int, y: int) -> Response:
        return _jpeg(levels_of(wanted).tile(level, x, y))


def _add_references(
    app: FastAPI, workspace: Workspace, worker: PageWorker, clicks: Clicks, removals: Removals
) -> None:
    def path_of(wanted: str) -> Path:
        with workspace.opened() as project:
            return workspace.picture(project, wanted)

    @app.get("/api/references/{wanted}")
    def reference(wanted: str) -> Response:
        with workspace.opened() as project:
            return _json(workspace.picture_state(project, workspace.picture(project, wanted)))

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

    @app.post("/api/references/{wanted}/clicks")
    def clicked(wanted: str, body: ClicksBody) -> Response:
        return _raw(clicks.on_reference(wanted, _clicks(body)))

    @app.delete("/api/references/{wanted}")
    def remove(wanted: str) -> Response:
        with removals.noted() as (name, removal):
            marks.remove_reference(workspace, path_of(wanted), removal)
        worker.changed()
        return _json({"undo": name})


def _add_targets(
    app: FastAPI, workspace: Workspace, worker: PageWorker, clicks: Clicks, removals: Removals
) -> None:
    def told(target: dict[str, Any]) -> Response:
        tell(target)
        return _json(target)

    def tell(*targets: dict[str, Any]) -> None:
        for target in targets:
            worker.events.add("target", target=target)
        back = any(not t["verdict"] and t["source"] == "model" for t in targets)
        if back or workspace.learns:
            worker.wish()  # masks may be out of date by now, or there is something to learn

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
    def mask(
        wanted: str, side: Annotated[int, Query(ge=1)] = marks.WORKING, part: PartQuery = None
    ) -> Response:
        return _raw(marks.read_mask_of(workspace, wanted, side, part))

    @app.post("/api/targets/{wanted}/clicks")
    def clicked(wanted: str, body: ClicksBody) -> Response:
        return _raw(clicks.on_target(wanted, _clicks(body), body.version, body.part))

    @app.put("/api/targets/{wanted}/verdict")
    def judge(wanted: str, body: VerdictBody) -> Response:
        return told(workspace.judge(wanted, body.verdict, body.version, body.sliders))

    @app.put("/api/verdicts")
    def judge_many(body: VerdictsBody) -> Response:
        seen = [(t.id, t.version) for t in body.targets]
        judged, left = workspace.judge_many(seen, body.verdict, body.sliders)
        tell(*judged)
        return _json({"targets": judged, "left": left})

    @app.put("/api/targets/{wanted}/mask")
    async def correct(
        request: Request,
        wanted: str,
        width: int,
        height: int,
        version: str | None = None,
        part: PartQuery = None,
    ) -> Response:
        values = _label_map(await request.body(), width, height)
        seen = wanted, values, version, part
        return told(await run_in_threadpool(marks.correct, workspace, *seen))

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
        with removals.noted() as (name, removal):
            workspace.remove_target(wanted, removal)
        worker.changed()
        return _json({"undo": name})


def _clicks(body: ClicksBody) -> list[Click]:
    return [Click([(x, y) for x, y in c.places], c.positive, c.number, c.box) for c in body.clicks]


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


def _jpeg(content: bytes) -> Response:
    return Response(content, media_type="image/jpeg", headers=FOREVER)

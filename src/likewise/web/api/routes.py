"""The routes of the HTTP API."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, Path, Query, Request, UploadFile
from fastapi.responses import PlainTextResponse, Response
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ... import __version__
from ...errors import LikewiseError, noting
from ...io.images import read_picture
from ...matching import check_keypoints, match
from ..errors import RefusedError, documented
from ..guard import open_below
from ..limits import ImageBudget
from ..model_thread import ModelThread
from .metrics import Metrics
from .prompting import FIELDS, Prompting
from .schemas import (
    ID,
    Absent,
    Health,
    Matched,
    Prompted,
    References,
    ReferencesList,
    Segmented,
    described,
    label_map,
    segmented,
)
from .store import Store, StoredReferences
from .uploads import UploadedReferences

if TYPE_CHECKING:
    from ...segmenter import Segmenter

# ruff: noqa: B006 (FastAPI copies the lists of its forms)
MOST_POINTS = 1000
SENT = (400, 403, 408, 413, 415, 422, 429, 504)
"""How a request with a body may end."""


def takes(*once: str, many: Collection[str] = ()) -> Callable[[Request], Awaitable[None]]:
    """What refuses bodies that are no form, and fields that are unknown or sent twice.

    Args:
        once: fields of the route.
        many: fields that may be repeated.
    """

    async def check(request: Request) -> None:
        kind = request.headers.get("content-type", "")
        if not kind.lower().startswith("multipart/form-data"):
            raise RefusedError(415, "the body is no form: send it as multipart/form-data.")
        sent = [name for name, _ in (await request.form()).multi_items()]
        for name in sent:
            if name not in (*once, *many):
                raise LikewiseError(
                    f"the form has a field that this route does not know: send only "
                    f"{', '.join((*once, *many))}."
                )
            if name in once and sent.count(name) > 1:
                raise LikewiseError(f"{name} was sent more than once: send one.")

    return check


class Api:
    """The routes and what they share; all but ``work`` functions run in one event loop.

    Args:
        make: a new Segmenter without references; all share one Encoder.
        store: of references.
        thread: for everything that uses the model or decodes images, one thing at a time: what
            waits takes no more memory than it has bytes.
        metrics: what to count in.
        max_pixels: of an image.
        root: below it are the files that may be named.
    """

    def __init__(
        self,
        make: Callable[[], Segmenter],
        store: Store,
        thread: ModelThread,
        metrics: Metrics,
        max_pixels: int,
        root: pathlib.Path | None,
    ) -> None:
        self.make, self.store, self.thread, self.metrics = make, store, thread, metrics
        self.max_pixels, self.root = max_pixels, root
        self.bare = make()
        self.prompting = Prompting(self.bare, store, thread, metrics, max_pixels, root)

    def add_to(self, app: FastAPI, *, secured: bool) -> None:
        """All routes, with every status that they may end in."""
        # For the OpenAPI document only: the guard looks at tokens, before a body is read.
        bearer = [Depends(HTTPBearer(auto_error=False))] if secured else []
        door = (401, 403, 503) if secured else (403, 503)

        def add(
            route: str, endpoint: Callable[..., Any], summary: str, *statuses: int, **more: Any
        ) -> None:
            method, path = route.split()
            also = more.pop("responses", {})
            form = more.pop("form", None)
            app.add_api_route(
                f"/v1{path}",
                endpoint,
                methods=[method],
                summary=summary,
                dependencies=bearer if form is None else [*bearer, Depends(form)],
                responses=documented(*statuses, *door) | also,
                **more,
            )

        app.get("/v1/health", summary="Is it there?", responses=documented(403, 503))(self.health)
        text = {"response_class": PlainTextResponse}
        png = {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
        add("GET /metrics", self.get_metrics, "Counts for Prometheus", **text)
        add("GET /references", self.list_references, "List the sets of references")
        add("GET /references/{id}", self.get_references, "What is in a set", 404, 422)
        add(
            "DELETE /references/{id}",
            self.delete_references,
            "Forget a set",
            *(404, 422),
            status_code=204,
            response_model=None,
        )
        add(
            "POST /references",
            self.add_references,
            "Send references, to be encoded once",
            *SENT,
            status_code=201,
            form=takes("file", many=("images", "masks", "labels", "values", "negative")),
        )
        add(
            "POST /segment",
            self.segment,
            "Segment an image",
            *(*SENT, 404),
            response_model=Segmented,
            response_model_exclude_none=True,
            responses={200: png},
            form=takes("reference", "image", "path", "threshold", many=("classes",)),
        )
        add(
            "POST /prompt",
            self.prompting.prompt,
            "Mask what is pointed at in an image",
            *(*SENT, 404),
            response_model=Prompted,
            response_model_exclude_none=True,
            responses={200: png},
            form=takes(*FIELDS),
        )
        add(
            "POST /match",
            self.match,
            "Find points of one image in another",
            *SENT,
            form=takes("reference", "image", "points", "debiased"),
        )

    async def health(self) -> Health:
        """Answers without a token."""
        encoder = self.bare.encoder
        return Health(
            version=__version__,
            backbone=encoder.spec.name,
            image_size=list(encoder.input_size),
            method=self.bare.method,
            device=str(encoder.device),
        )

    async def get_metrics(self) -> PlainTextResponse:
        """Requests by route and status, waiting requests, seconds an image takes."""
        return PlainTextResponse(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def list_references(self) -> ReferencesList:
        """Those that are kept, the one not used for longest first."""
        return ReferencesList(
            references=[described(name, s) for name, s in self.store], most=self.store.most
        )

    async def get_references(self, id: Annotated[str, Path(pattern=ID)]) -> References:
        """Classes and how many references each has."""
        return described(id, self.store.get(id))

    async def delete_references(self, id: Annotated[str, Path(pattern=ID)]) -> None:
        """Its memory is free again."""
        self.store.remove(id)

    async def add_references(
        self,
        images: Annotated[list[UploadFile], File(description="Example images.")] = [],
        masks: Annotated[list[UploadFile], File(description="A mask for each, in order.")] = [],
        labels: Annotated[list[str], Form(description="A class for each; default one.")] = [],
        values: Annotated[
            list[Annotated[str, Field(max_length=20)]],
            Form(description="For each mask what is the example: a value, a colour, or any."),
        ] = [],
        negative: Annotated[list[UploadFile], File(description="Images of what it is not.")] = [],
        file: Annotated[
            UploadFile | Absent, File(description="Instead: a file of `likewise references save`.")
        ] = None,
    ) -> References:
        """Images with masks, or a references file; the same content has the same id."""
        sent = UploadedReferences(
            images=[upload.file for upload in images],
            masks=[upload.file for upload in masks],
            labels=labels,
            values=values,
            negative=[upload.file for upload in negative],
            file=None if file is None else file.file,
        )
        sent.check()
        name = await run_in_threadpool(sent.id)
        if name not in self.store:
            fit = await run_in_threadpool(sent.work, self.make(), self.max_pixels)

            def work() -> StoredReferences:
                with noting() as notes:
                    return StoredReferences(fit(), notes)

            self.store.add(name, await self.thread.run(work))
        return described(name, self.store.get(name))

    async def segment(
        self,
        reference: Annotated[str, Form(pattern=ID, description="Id of the references.")],
        image: Annotated[UploadFile | Absent, File(description="The image.")] = None,
        path: Annotated[
            str | Absent, Form(description="Instead: a file below the server's --root.")
        ] = None,
        classes: Annotated[list[str], Form(description="Which to answer; default all.")] = [],
        threshold: Annotated[
            float | Absent,
            Form(allow_inf_nan=False, description="Above 0 gives smaller masks, below larger."),
        ] = None,
        format: Annotated[
            Literal["rle", "base64", "png"],
            Query(description="Of masks: COCO's run lengths or PNGs in JSON, or one label map."),
        ] = "rle",
    ) -> Any:
        """Every class of the references in one image."""
        segmenter = self.store.get(reference).segmenter
        known = segmenter.references.labels if segmenter.references else ()
        for label in classes:
            if label not in known:
                raise LikewiseError(f"the references have no such class: use {', '.join(known)}.")
        if threshold is not None:
            segmenter = segmenter.with_threshold(threshold)
        if (image is None) == (path is None):
            raise LikewiseError("send either image, the image itself, or path.")
        name = "image" if image is not None else "the file at path"
        with ExitStack() as stack:
            if image is not None:
                source = image.file
            else:
                opened = await run_in_threadpool(open_below, self.root, path or "", name)
                source = stack.enter_context(opened)
            budget = ImageBudget(self.max_pixels)
            picture = await run_in_threadpool(budget.open, source, name)

            def work() -> Segmented | Response:
                start = time.perf_counter()
                with noting() as notes:
                    result = segmenter.segment(segmenter.read(picture, name=name))
                if format == "png":
                    found: Any = Response(
                        label_map(result, classes or known), media_type="image/png"
                    )
                else:
                    as_png = format == "base64"
                    found = segmented(reference, result, classes or known, as_png, notes)
                self.metrics.seconds.observe(time.perf_counter() - start)
                return found

            return await self.thread.run(work)

    async def match(
        self,
        reference: Annotated[UploadFile, File(description="The image that the points are of.")],
        image: Annotated[UploadFile, File(description="The image to find them in.")],
        points: Annotated[
            str,
            Form(description="JSON: [[x, y], ...] in pixels of reference, at most 1000."),
        ],
        debiased: Annotated[bool, Form(description="False to compare.")] = True,
    ) -> Matched:
        """Semantic correspondence."""
        try:
            given = json.loads(points)
        except (ValueError, RecursionError) as error:
            raise LikewiseError(
                "points is no JSON: write it like [[120, 85], [30, 40]]."
            ) from error
        if isinstance(given, list) and len(given) > MOST_POINTS:
            raise RefusedError(413, f"more than {MOST_POINTS} points were sent: send less at once.")
        budget = ImageBudget(self.max_pixels)
        first = await run_in_threadpool(budget.open, reference.file, "reference")
        second = await run_in_threadpool(budget.open, image.file, "image")

        def work() -> Matched:
            with noting() as notes:
                source = read_picture(first, name="reference").pixels
                keypoints = check_keypoints(given, source.shape[:2])
                target = read_picture(second, name="image").pixels
            found, similarity = match(self.bare, source, keypoints, target, debiased=debiased)
            return Matched(points=found.tolist(), similarity=similarity.tolist(), notes=notes)

        return await self.thread.run(work)

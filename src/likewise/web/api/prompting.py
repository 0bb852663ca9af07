"""``POST /v1/prompt``: the mask of what is pointed at in an image, or a mask corrected."""

from __future__ import annotations

import json
import pathlib
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import File, Form, Query, UploadFile
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ...errors import LikewiseError, noting
from ...io.hashing import sha256
from ...io.masks import read_mask
from ...prompts import prompts_of
from ...session import EncodedPicture, Session
from ..encoded_pictures import EncodedPictures
from ..errors import RefusedError
from ..guard import open_below
from ..limits import ImageBudget
from ..model_thread import ModelThread
from .metrics import Metrics
from .schemas import ID, Absent, Prompted, label_map, prompted
from .store import Store
from .uploads import check_label

if TYPE_CHECKING:
    from ...segmenter import Segmenter

FIELDS = ("image", "image_id", "path", "reference", "mask", "label", "points", "box", "scribbles")
EXAMPLES = {"points": "[[120, 85, 1]]", "box": "[40, 30, 200, 180]", "scribbles": "[[[[9, 9]], 1]]"}


class Prompting:
    """The route and the pictures that it keeps; the server keeps nothing of what was prompted.

    Args:
        bare: a Segmenter without references.
        store: of references.
        thread: that uses the model.
        metrics: what to count in.
        max_pixels: of an image, and of all that are kept.
        root: below it are the files that may be named.
    """

    def __init__(
        self,
        bare: Segmenter,
        store: Store,
        thread: ModelThread,
        metrics: Metrics,
        max_pixels: int,
        root: pathlib.Path | None,
    ) -> None:
        self.bare, self.store, self.thread, self.metrics = bare, store, thread, metrics
        self.max_pixels, self.root = max_pixels, root
        self.kept = EncodedPictures(max_pixels)
        """For ``thread`` alone."""

    async def prompt(
        self,
        image: Annotated[UploadFile | Absent, File(description="The image.")] = None,
        image_id: Annotated[
            str | Absent,
            Form(
                pattern=ID, description="Instead: the first 32 digits of the SHA-256 of its file."
            ),
        ] = None,
        path: Annotated[
            str | Absent, Form(description="Instead: a file below the server's --root.")
        ] = None,
        reference: Annotated[
            str | Absent, Form(pattern=ID, description="Id of references: corrects what they find.")
        ] = None,
        mask: Annotated[
            UploadFile | Absent, File(description="Instead of reference: the mask to correct.")
        ] = None,
        label: Annotated[
            str | Absent, Form(description="The class that is meant; needed if there are several.")
        ] = None,
        points: Annotated[
            str | Absent,
            Form(description="JSON: [[x, y, 1], ...] in pixels; 1 is the thing, 0 is not."),
        ] = None,
        box: Annotated[
            str | Absent, Form(description="JSON: [left, top, right, bottom]; all is inside.")
        ] = None,
        scribbles: Annotated[
            str | Absent, Form(description="JSON: [[[[x, y], ...], 1], ...], lines and a sign.")
        ] = None,
        format: Annotated[
            Literal["rle", "base64", "png"], Query(description="Of masks, as of /segment.")
        ] = "rle",
    ) -> Any:
        """All prompts that hold are sent each time; an image that is known costs no encoding."""
        if (image is not None) + (image_id is not None) + (path is not None) != 1:
            raise LikewiseError("send one of image, the image itself, image_id and path.")
        if reference is not None and mask is not None:
            raise LikewiseError("send either reference or mask: one of them is corrected.")
        if label is not None:
            check_label(label)
        segmenter = self.bare if reference is None else self.store.get(reference).segmenter
        sent = {"points": points, "box": box, "scribbles": scribbles}
        asked = {key: _parsed(key, text) for key, text in sent.items() if text is not None}
        name = "the file at path" if path is not None else "image"
        prompts = prompts_of(asked, "image")
        budget = ImageBudget(self.max_pixels)
        content = None
        with ExitStack() as stack:
            source = None if image is None else image.file
            if path is not None:
                opened = await run_in_threadpool(open_below, self.root, path, name)
                source = stack.enter_context(opened)
            if source is not None:
                content = await run_in_threadpool(budget.open, source, name)
                image_id = (await run_in_threadpool(sha256, content.getvalue()))[:32]
        marked = None if mask is None else await run_in_threadpool(budget.open, mask.file, "mask")
        # More than 8 bits are stretched like the references.
        ranges = segmenter.references.ranges if segmenter.references else {}
        key = image_id, tuple(sorted(ranges.items()))

        def work() -> Prompted | Response:
            start = time.perf_counter()
            kept = self.kept.get(key)
            if kept is None:
                if content is None:
                    raise RefusedError(404, "there is no such image any more: send it again.")
                with noting() as found:
                    read = segmenter.read(content, name="image")
                    picture = EncodedPicture(segmenter.encoder, read)
                self.kept.add(key, picture, found)
                kept = picture, found
            picture, assumed = kept
            with noting() as notes:
                before = None
                if marked is not None:
                    before = read_mask(marked, size=picture.solver.target.size, name="mask")
                if not prompts and before is None and reference is None:
                    raise LikewiseError(
                        "nothing is looked for yet in the image, which is kept: send points, a box "
                        "or scribbles, or a reference or mask."
                    )
                session = Session(segmenter, picture, before)
                if prompts:
                    session.prompt(prompts.points, prompts.box, prompts.scribbles, label)
                result = session.result
            if format == "png":
                answer: Any = Response(label_map(result, result.labels), media_type="image/png")
            else:
                as_png, every = format == "base64", [*assumed, *notes]
                answer = prompted(str(image_id), result, as_png, every)
            self.metrics.seconds.observe(time.perf_counter() - start)
            return answer

        return await self.thread.run(work)


def _parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LikewiseError(f"{field} is no JSON: write it like {EXAMPLES[field]}.") from error

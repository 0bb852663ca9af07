"""Masks from clicks, of targets and references, with features that were kept: nothing is encoded.

A click or a line says that pixels are of a class (+) or are not (−), a box that something of it
is inside. The page sends all that hold each time, so that the server knows nothing of undo.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...class_names import is_part
from ...errors import LikewiseError
from ...features.density import SCORE_RANGE
from ...features.prompts import LEARN, MARGIN, NOTHING, ROUNDS, PromptSolver, mean_of
from ...io.planes import Plane
from ...project.corrections import replace_class
from ...project.project import Project
from ...project.score_maps import read_score_maps
from ...prompts import (
    Box,
    Floats,
    Point,
    Prompts,
    changed_pixels,
    log_odds,
    mask_log_odds,
    scores_of,
)
from ...refine import refine
from ...run.file_state import stamp
from . import marks
from .class_list import NEGATIVE, classes
from .pictures import Pictures
from .state import check_version
from .worker import PageWorker
from .workspace import Workspace

KEPT = 4
"""Pictures whose solvers are in memory: those that were clicked on last."""
FINE = 4
"""A line has so many pixels along a patch that the colours around it are compared with."""
NOT_IT = "\0"
"""Stands among the classes for what none of them is."""
Pixel = tuple[int, int]


@dataclass(frozen=True)
class Click:
    """One click, line or box on a picture at working size (see ``marks.working_size``)."""

    places: Sequence[tuple[float, float]]
    """x, y: one of a click, the corners of a line, two opposite ones of a box."""
    positive: bool
    number: int
    """Of the class."""
    box: bool = False


@dataclass(frozen=True, eq=False)
class Clickable:
    """A picture at working size whose features are known."""

    name: str
    solver: PromptSolver
    pixels: np.ndarray
    """(h, w, 3) uint8 RGB."""
    input_size: tuple[int, int]
    decided: dict[object, np.ndarray] = field(default_factory=dict)
    """What the pixels are without clicks, by what is known before them."""

    def known(self, scores: torch.Tensor) -> Floats:
        """(N,) log-odds of (h', w') scores of a class."""
        nats = mean_of(scores.flatten(), self.solver.target.grid, SCORE_RANGE)
        assert nats is not None
        return nats

    def mask(self, nats: Floats, points: Floats | None) -> np.ndarray:
        """(h, w) bool of (N,) log-odds of its patches."""
        scores = scores_of(nats).reshape(self.solver.target.grid)
        return refine(scores, self.pixels, self.input_size, "guided", points)

    def without_clicks(self, nats: Floats) -> np.ndarray:
        """``mask`` of what is known before; the last few are kept."""
        key = nats.tobytes()
        if key not in self.decided:
            if len(self.decided) >= KEPT:
                self.decided.clear()
            self.decided[key] = self.mask(nats, None)
        return self.decided[key]


class Clicks:
    """Answers clicks.

    Args:
        workspace: the project.
        worker: has the encoder.
        pictures: decoded.
    """

    def __init__(self, workspace: Workspace, worker: PageWorker, pictures: Pictures) -> None:
        self.workspace, self.worker, self.pictures = workspace, worker, pictures
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, Clickable] = OrderedDict()

    def on_target(
        self,
        wanted: str,
        clicks: Sequence[Click],
        version: str,
        part: marks.Part | None = None,
    ) -> marks.LabelMap:
        """(h, w) a target's mask at working size, as clicks correct it; nothing is written.

        Args:
            wanted: id of the target.
            clicks: in order; none makes ready for the first.
            version: of the target as the person saw it.
            part: of the picture, that is looked at alone: clicks see small things in it.

        Raises:
            LikewiseError: it has no mask, a click is outside, or nothing says where the thing is.
            StaleError: it is not as the person saw it.
        """
        with self.workspace.opened() as project:
            job = self.workspace.target(project, wanted)
            now = self.workspace.describe(project, job.target)
            if clicks:
                check_version(version, now["version"], f"{job.target.name} was changed")
            whole = marks.last_values(self.workspace, project, job)
            cut = whole[marks.window(part, whole.shape)]
            base = marks.nearest(cut, marks.working_size(cut.shape))
            numbers, known = numbers_of(project), dict[str, torch.Tensor]()
            free = part is None and now["source"] == "model" and not now["verdict"]
            found = read_score_maps(project.score_maps(job.target)) if free else None
            if found is not None and found[0].plan is None:  # on the grid that clicks see
                scores = torch.from_numpy(found[0].moved(project.sliders))
                known = dict(zip(found[0].labels, scores, strict=True))
        if clicks:
            self.worker.hold(job.target)
        else:
            self.worker.release(job.target)
        picture = self._ready(job.picture, part)
        for scores in () if clicks else list(known.values())[:KEPT]:
            picture.without_clicks(picture.known(scores))
        return corrected(picture, base, clicks, numbers, known)

    def on_reference(self, wanted: str, clicks: Sequence[Click]) -> marks.LabelMap:
        """As ``on_target``, of what is painted and saved on a reference picture."""
        with self.workspace.opened() as project:
            path = self.workspace.picture(project, wanted)
            picture, numbers = project.settings.choice.of(path), numbers_of(project)
        base = marks.read_painted(self.workspace, path)
        return corrected(self._ready(picture), base, clicks, numbers, {})

    def _ready(self, picture: Path | Plane, part: marks.Part | None = None) -> Clickable:
        key = picture, stamp(Path(picture)), part and tuple(part)
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = self.worker.thread.call(partial(self._make, picture, part))
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _make(self, source: Path | Plane, part: marks.Part | None) -> Clickable:
        encoder = self.worker.encoder()
        picture = self.pictures.get(source)
        image = picture.level(0)[marks.window(part, picture.size)]
        size = marks.working_size(image.shape)
        target = replace(encoder.encode(np.ascontiguousarray(image)), size=size)
        return Clickable(
            Path(source).name, PromptSolver(target), picture.part(part, size), encoder.input_size
        )


def numbers_of(project: Project) -> dict[str, int]:
    """Class → number: of the page, of masks that are there, and of NOT_IT."""
    page = {c["label"]: c["number"] for c in classes(project)}
    return page | dict(project.manifest.numbers) | {NOT_IT: NEGATIVE}


def corrected(
    picture: Clickable,
    base: marks.LabelMap,
    clicks: Sequence[Click],
    numbers: Mapping[str, int],
    scores: Mapping[str, torch.Tensor],
) -> marks.LabelMap:
    """A label map as clicks change it; where one class is clicked, no other is, but its whole.

    A line that crosses another takes what it crosses.

    Args:
        picture: at working size.
        base: (h, w) before the clicks.
        clicks: in order.
        numbers: class → number.
        scores: class → (h', w') on the patch grid, of which ``base`` was made; of other classes
            the mask itself is what is known.

    Raises:
        LikewiseError: a click is outside or of no class, or nothing says where the thing is.
    """
    labels = {number: label for label, number in numbers.items()}
    if any(c.number not in labels for c in clicks):
        raise LikewiseError("a class that is clicked is no longer there: reload the page.")
    size = base.shape[0], base.shape[1]
    last = dict[Pixel, Click]()
    lines = [(c, _pixels(c, size, picture.name)) for c in clicks if not c.box]
    boxed = [c for c in clicks if c.box]
    for click, pixels in lines:
        last |= dict.fromkeys(pixels, click)
    result = base
    for label in dict.fromkeys(labels[c.number] for c in (*last.values(), *boxed)):
        points = dict[Pixel, int]()
        for pixel, c in last.items():
            of = labels[c.number]
            if of == label:
                points[pixel] = int(c.positive)
            elif c.positive and not is_part(label, of):
                points[pixel] = int(is_part(of, label))
        boxes = [_box(c, size, picture.name) for c in boxed if labels[c.number] == label]
        own = [k for name, k in numbers.items() if name == label or is_part(name, label)]
        before = np.isin(base, own)
        alone = {pixels[0] for _, pixels in lines if len(pixels) == 1}
        found = _class_mask(picture, points, alone, boxes, before, scores.get(label))
        result = replace_class(result, found, label, numbers).astype(np.uint8)
    return result


def _pixels(click: Click, size: tuple[int, int], name: str) -> list[Pixel]:
    """x, y of all pixels that a click or a line marks."""
    line = Prompts(scribbles=[(click.places, 1)]).checked(size, name)
    return [(int(x), int(y)) for x, y, _ in line.pixels()]


def _box(click: Click, size: tuple[int, int], name: str) -> Box:
    (x0, y0), (x1, y1) = click.places[0], click.places[-1]
    box = Prompts(box=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))).checked(size, name).box
    assert box is not None
    return box


def _thinned(
    points: Mapping[Pixel, int], alone: Set[Pixel], height: float, width: float
) -> list[Point]:
    """Of the pixels of lines the last of each side in a cell of that size; ``alone`` stay."""
    height, width = max(height, 1.0), max(width, 1.0)
    kept = dict[object, Point]()
    for (x, y), sign in points.items():
        key = (x, y) if (x, y) in alone else (sign, y // height, x // width)
        kept[key] = x, y, sign
    return list(kept.values())


def _class_mask(
    picture: Clickable,
    points: Mapping[Pixel, int],
    alone: Set[Pixel],
    boxes: Sequence[Box],
    before: np.ndarray,
    scores: torch.Tensor | None,
) -> np.ndarray:
    """(h, w) bool of one class; the grid is coarse: only what the clicks change is taken of it.

    Args:
        picture: at working size.
        points: x, y → 1 or 0.
        alone: those of clicks; the others are on lines.
        boxes: none says anything of what lies outside it.
        before: (h, w) bool.
        scores: (h', w') of which ``before`` was made; None: the mask itself is what is known.
    """
    (height, width), (h, w) = before.shape, picture.solver.target.grid
    known = None
    if scores is not None:
        known = picture.known(scores)
    elif before.any():
        known = mask_log_odds(before, (h, w))
    elif not boxes and not any(points.values()):
        raise LikewiseError(f"click on the thing in {picture.name} first, then on what it is not.")
    anchors = Prompts(_thinned(points, alone, height / h, width / w))
    marked = Prompts(_thinned(points, alone, height / h / FINE, width / w / FINE)).pixels()

    def found_with(mean: Floats | None) -> np.ndarray:
        found = picture.mask(log_odds(picture.solver, anchors, mean), marked)
        if known is None:
            return found
        return changed_pixels(before, picture.without_clicks(known), found, marked)

    found = found_with(known) if points else before
    mean, inside = known, np.zeros(before.shape, bool)
    for box in boxes:
        mean = _boxed(picture.solver, box, mean)
        inside |= Prompts(box=box).allowed((height, width))
    if boxes:
        found = np.where(inside, found_with(mean), found)
    for (x, y), sign in points.items():
        found[y, x] = sign > 0
    return found


def _boxed(solver: PromptSolver, box: Box, known: Floats | None) -> Floats:
    """(N,) nats: in a box what looks like the thing elsewhere and not like the rest.

    Outside it is as known. A patch that the box covers by a part is inside: a small box has one.
    """
    (h, w), (height, width) = solver.target.grid, solver.target.size
    rows, columns = (
        (box[1] * h / height, box[3] * h / height),
        (box[0] * w / width, box[2] * w / width),
    )
    inside = (solver.y + 1 > rows[0]) & (solver.y < rows[1])
    inside &= (solver.x + 1 > columns[0]) & (solver.x < columns[1])
    start = np.full(len(inside), -MARGIN) if known is None else known
    if known is None or not (known[inside] > 0).any():
        start = np.where(inside, 0.0, start)  # nothing of it is found there yet
    nats = start
    for _ in range(ROUNDS):
        nats = np.where(inside, start + LEARN * solver.contrast(nats), start)
    if not (nats[inside] > 0).any():  # it looks like all around: then it is the whole box
        nats = np.where(inside, -NOTHING, start)
    return nats

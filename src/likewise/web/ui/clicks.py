"""Masks from clicks, of targets and references, with features that were kept: nothing is encoded.

A click says that a pixel is of a class (+) or is not (−). The page sends all clicks that hold each
time, so that the server knows nothing of undo.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...class_names import is_part
from ...errors import LikewiseError
from ...features.density import SCORE_RANGE
from ...features.prompts import PromptSolver, mean_of
from ...io.images import read_image
from ...project.corrections import replace_class
from ...project.project import Project
from ...project.score_maps import read_score_maps
from ...prompts import Floats, Prompts, changed_pixels, log_odds, mask_log_odds, scores_of
from ...refine import refine
from ...run.file_state import stamp
from . import marks
from .class_list import NEGATIVE, classes
from .state import check_version
from .worker import PageWorker
from .workspace import Workspace

KEPT = 4
"""Pictures whose solvers are in memory: those that were clicked on last."""
NOT_IT = "\0"
"""Stands among the classes for what none of them is."""


@dataclass(frozen=True)
class Click:
    """One click on a picture at working size (see ``marks.working_size``)."""

    x: float
    y: float
    positive: bool
    number: int
    """Of the class."""


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
    """

    def __init__(self, workspace: Workspace, worker: PageWorker) -> None:
        self.workspace, self.worker = workspace, worker
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, Clickable] = OrderedDict()

    def on_target(self, wanted: str, clicks: Sequence[Click], version: str) -> marks.LabelMap:
        """(h, w) a target's mask at working size, as clicks correct it; nothing is written.

        Args:
            wanted: id of the target.
            clicks: in order; none makes ready for the first.
            version: of the target as the person saw it.

        Raises:
            LikewiseError: it has no mask, a click is outside, or nothing says where the thing is.
            StaleError: it is not as the person saw it.
        """
        with self.workspace.opened() as project:
            job = self.workspace.target(project, wanted)
            now = self.workspace.describe(project, job.target)
            if clicks:
                check_version(version, now["version"], f"{job.target.name} was changed")
            whole = marks.read_values(project, job)
            base = marks.nearest(whole, marks.working_size(whole.shape))
            numbers, known = numbers_of(project), dict[str, torch.Tensor]()
            free = now["source"] == "model" and not now["verdict"]
            found = read_score_maps(project.score_maps(job.target)) if free else None
            if found is not None:
                scores = torch.from_numpy(found[0].moved(project.sliders))
                known = dict(zip(found[0].labels, scores, strict=True))
        if clicks:
            self.worker.hold(job.target)
        else:
            self.worker.release(job.target)
        picture = self._ready(job.target)
        for scores in () if clicks else list(known.values())[:KEPT]:
            picture.without_clicks(picture.known(scores))
        return corrected(picture, base, clicks, numbers, known)

    def on_reference(self, wanted: str, clicks: Sequence[Click]) -> marks.LabelMap:
        """As ``on_target``, of what is painted and saved on a reference picture."""
        with self.workspace.opened() as project:
            path = self.workspace.picture(project, wanted)
            numbers = numbers_of(project)
        base = marks.read_painted(self.workspace, path)
        return corrected(self._ready(path), base, clicks, numbers, {})

    def _ready(self, path: Path) -> Clickable:
        key = path, stamp(path)
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = self.worker.thread.call(partial(self._make, path))
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _make(self, path: Path) -> Clickable:
        encoder = self.worker.encoder()
        image = read_image(path)
        size = marks.working_size(image.shape)
        target = replace(encoder.encode(image), size=size)
        solver = PromptSolver(target)
        if image.shape[:2] != size:
            shrunk = Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX, reducing_gap=2)
            image = np.asarray(shrunk)
        return Clickable(path.name, solver, image, encoder.input_size)


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

    Args:
        picture: at working size.
        base: (h, w) before the clicks.
        clicks: in order; of two on one pixel the later holds.
        numbers: class → number.
        scores: class → (h', w') on the patch grid, of which ``base`` was made; of other classes
            the mask itself is what is known.

    Raises:
        LikewiseError: a click is outside or of no class, or nothing says where the thing is.
    """
    labels = {number: label for label, number in numbers.items()}
    if any(c.number not in labels for c in clicks):
        raise LikewiseError("a class that is clicked is no longer there: reload the page.")
    last = {(int(c.x), int(c.y)): c for c in clicks}
    result = base
    for label in dict.fromkeys(labels[c.number] for c in last.values()):
        points = []
        for c in last.values():
            of = labels[c.number]
            if of == label:
                points.append((c.x, c.y, int(c.positive)))
            elif c.positive and not is_part(label, of):
                points.append((c.x, c.y, int(is_part(of, label))))
        prompts = Prompts(points).checked((base.shape[0], base.shape[1]), picture.name)
        own = [k for name, k in numbers.items() if name == label or is_part(name, label)]
        before = np.isin(base, own)
        found = _class_mask(picture, prompts, before, scores.get(label))
        result = replace_class(result, found, label, numbers).astype(np.uint8)
    return result


def _class_mask(
    picture: Clickable, prompts: Prompts, before: np.ndarray, scores: torch.Tensor | None
) -> np.ndarray:
    """(h, w) bool of one class; the grid is coarse: only what the clicks change is taken of it."""
    grid, points = picture.solver.target.grid, prompts.pixels()
    known = None
    if scores is not None:
        known = picture.known(scores)
    elif before.any():
        known = mask_log_odds(before, grid)
    elif not prompts.positive:
        raise LikewiseError(f"click on the thing in {picture.name} first, then on what it is not.")
    found = picture.mask(log_odds(picture.solver, prompts, known), points)
    if known is not None:
        found = changed_pixels(before, picture.without_clicks(known), found, points)
    return found

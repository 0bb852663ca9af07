"""What the model does for the page: fit, segment and draw what the project lacks."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LikewiseError
from ...features.clustering import average_linkage
from ...features.views import each_view
from ...io.images import read_image
from ...project.learning import Means, learn
from ...project.project import Project
from ...project.redraw import redraw
from ...project.score_maps import blob, tree_arrays
from ...run.file_state import stamp
from ...run.jobs import Job
from ...run.manifest import STALE
from ...segmenter import Segmenter
from ..model_thread import ModelThread
from .events import Events
from .keeping import KeepingEncoder
from .workspace import Workspace

AHEAD = 16
"""Pictures that are encoded before anybody asked."""
HELD = 300.0
"""Seconds after a click in which nothing but the person changes that mask."""
SOON = 0.3
"""Seconds that a page is let wait for the regions of a picture."""


class _OutdatedError(Exception):
    """What is done in many tiles is no longer wanted."""


class PageWorker:
    """Does what is to be done, image by image, until something else is wished.

    Each step is a piece of work of the model's thread, so that what a page asks goes in between.

    Args:
        workspace: the project.
        thread: uses the model.
        machine: of ``Project.encoder_options``.
    """

    def __init__(self, workspace: Workspace, thread: ModelThread, **machine: Any) -> None:
        self.workspace, self.thread, self._machine = workspace, thread, machine
        self.events = Events()
        """Where it says what it does."""
        self._encoder: tuple[object, KeepingEncoder, str] | None = None
        self._fitted: tuple[str, Segmenter] | None = None
        self._wished = self._outdated = False
        """Whether something changed that was not looked at yet; and so much that what is being
        done would be done again."""
        self._steps: Generator[None] = (_ for _ in ())
        self._seen: set[object] = set()
        self._opened: Path | None = None
        self._regions: tuple[object, Future[bytes]] | None = None
        self.doing: dict[str, Any] = {}
        self.paused, self._halted = False, False
        self._means: Means = {}
        self._held: dict[Path, float] = {}
        self.failed = ""
        """Why nothing more is done, for pages that come later."""
        self._say("loading")

    @property
    def idle(self) -> bool:
        """Whether all that was wished is done, or failed."""
        return self.doing["doing"] == "idle" and not self._wished

    @property
    def said(self) -> dict[str, Any]:
        """What it does, for pages."""
        return self.doing | {"paused": self.paused}

    def pause(self, on: bool) -> None:
        """Do nothing after the image in work, or go on; what a person asks for is answered."""
        self.paused = on
        self.events.add("work", **self.said)
        if not on:
            self.thread.later(self._resume)

    def _resume(self) -> None:
        if self._halted and not self.paused:
            self._halted = False
            self._step(self._steps)

    def hold(self, target: Path) -> None:
        """Leave the mask of a target as it is for a while: a person corrects it."""
        self._held[target] = time.monotonic() + HELD

    def release(self, target: Path) -> None:
        """Its mask may be made anew."""
        if self._held.pop(target, None) is not None:
            self.wish()

    def wish(self) -> None:
        """Look again what is to be done: something changed."""
        if not self._wished:
            self._wished = True
            self.thread.later(self._look)

    def changed(self) -> None:
        """References, targets or classes changed: pages ask for everything again."""
        self.events.add("reload")
        self._outdated = True
        self.wish()

    def stop(self) -> None:
        """End soon, after the image in work or the tile."""
        self._outdated = True
        self.thread.stop(lambda: self._steps.close())

    def _look(self) -> None:
        self.failed = ""
        self._say("looking")
        self._wished = self._outdated = False
        self._begin(self._everything())

    def _begin(self, steps: Generator[None]) -> None:
        """Do these steps from now on, instead of those before."""
        self._steps.close()
        self._steps, self._halted = steps, False
        self._step(steps)

    def _step(self, steps: Generator[None]) -> None:
        if steps is not self._steps:
            return
        if self.paused:
            self._halted = True
            return
        try:
            next(steps)
        except (StopIteration, _OutdatedError):
            return
        except LikewiseError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"likewise failed ({error!r}): please report it.")
            raise  # its traceback is printed
        else:
            self.thread.later(partial(self._step, steps))

    def _fail(self, why: str) -> None:
        self.failed = why
        self._say("idle")
        self.events.add("error", text=why)

    def _say(
        self, doing: str, left: int = 0, total: int = 0, seconds: float = 0.0, again: int = 0
    ) -> None:
        """Tell pages what is done: images left of how many, and how many of them have a mask."""
        numbers = {"left": left, "total": total, "seconds": seconds, "again": again}
        self.doing = {"doing": doing, **numbers}
        self.events.add("work", **self.said)

    def _load(self, project: Project) -> tuple[KeepingEncoder, str]:
        wanted = project.settings.backbone, project.settings.image_size
        if self._encoder is None or self._encoder[0] != wanted:
            self._say("loading")
            encoder, key = project.encoder(KeepingEncoder, **self._machine)
            encoder.between = self._between
            self._encoder = wanted, encoder, key
        return self._encoder[1:]

    def _between(self) -> None:
        """Between tiles of an image: answer who asks, and give it up if it is outdated."""
        if self.thread.between() and self._outdated:
            raise _OutdatedError

    def _everything(self) -> Generator[None]:
        yield from self._work()
        self._say("idle")
        yield from self._ahead()

    def _work(self) -> Generator[None]:
        """Segment what the project lacks, then draw what the sliders moved; a step an image."""
        with self.workspace.opened() as project:
            encoder, _ = self._load(project)
            learnt = learn(project, encoder, self._means)
        if learnt:
            self.changed()
            yield
        with self.workspace.opened() as project:
            encoder, backbone = self._load(project)
            if not project.settings.labels or not project.settings.targets:
                return
            jobs = project.jobs()
            run = project.run_key(backbone)
            project.adopt_edited(jobs)
            todo, rows = project.todo(jobs, run), project.facts()
            left = [
                job
                for job in jobs
                if job in todo
                or (
                    _is_free(rows.get(project.key(job), {}))
                    and not project.score_maps(job.target).is_file()
                )
            ]
            # The most doubtful first, as a person looks at them.
            left = project.doubtful_first(left)
            if left:
                segmenter = self._fit(project, encoder, run)
                yield
                project.begin(run, encoder.spec.name, left)
                outcomes = project.annotate(segmenter, left, run, may_write=self._may_write)
                again = {job.target for job in left if todo.get(job) == STALE}
                self._say("segmenting", len(left), len(left), 0.0, len(again))
                busy, start = 0.0, time.monotonic()
                for done, outcome in enumerate(outcomes, 1):
                    busy += time.monotonic() - start
                    self._tell(project, outcome.target)
                    again.discard(outcome.target)
                    rest = len(left) - done
                    seconds = round(rest * busy / done, 1)
                    self._say("segmenting", rest, len(left), seconds, len(again))
                    yield
                    start = time.monotonic()
            for outcome in redraw(project, jobs, self._may_write):
                self._tell(project, outcome.target)
                yield

    def encoder(self) -> KeepingEncoder:
        """The project's encoder, for work on the model's thread."""
        with self.workspace.opened() as project:
            return self._load(project)[0]

    def settle(self) -> None:
        """Wait until all masks that nobody judged are as the sliders say."""

        def settled() -> None:
            with self.workspace.opened() as project:
                for outcome in redraw(project, project.jobs(), self._may_write):
                    self._tell(project, outcome.target)

        self.thread.call(settled)

    def regions(self, picture: Path) -> bytes | None:
        """A picture's clustering as a blob of no classes, see ``score_maps.blob``.

        Returns:
            None while it is not there yet: browsers have few connections, so none is held.

        Raises:
            LikewiseError: the picture or the backbone cannot be used.
        """
        with self.workspace.opened() as project:
            seen = project.settings.choice.of(picture)
        self._opened, key = picture, (seen, stamp(picture))

        def clustered() -> bytes:
            with self.workspace.opened() as project:
                encoder, _ = self._load(project)
            image = read_image(seen)
            encoded = encoder.encode(image)
            tree = tree_arrays(average_linkage(encoded.features))
            nothing = np.empty((0, *encoded.grid), np.float32)
            size = image.shape[0], image.shape[1]
            return blob(nothing, (), *tree, (), size, size)

        asked = self._regions
        if asked is None or asked[0] != key:
            asked = self._regions = key, self.thread.submit(clustered)
            self.thread.later(self._look_ahead)
        try:
            return asked[1].result(SOON)
        except FutureTimeoutError:
            return None
        except LikewiseError:
            self._regions = None  # it is tried again when it is asked for again
            raise

    def _tell(self, project: Project, target: Path) -> None:
        self.events.add("target", target=self.workspace.describe(project, target))

    def _fit(self, project: Project, encoder: KeepingEncoder, run: str) -> Segmenter:
        if self._fitted is None or self._fitted[0] != run:
            self._say("learning")
            self._fitted = run, project.segmenter(encoder).fit(project.references())
        return self._fitted[1]

    @contextmanager
    def _may_write(self, job: Job) -> Iterator[bool]:
        """As ``Project.may_write``, while no person writes."""
        with (
            self.workspace.lock,
            self.workspace.opened() as project,
            project.may_write(job) as free,
        ):
            yield free and self._held.get(job.target, 0.0) < time.monotonic()

    def _look_ahead(self) -> None:
        """Encode first what belongs to a picture that was opened; other work comes before."""
        if self.doing["doing"] == "idle":
            self._begin(self._ahead())

    def _ahead(self) -> Generator[None]:
        """Encode what will be needed first: pictures to paint on as ``fit`` sees them, targets."""
        with self.workspace.opened() as project:
            encoder, _ = self._load(project)
            choice, pictures = project.settings.choice, self.workspace.pictures(project)
            targets = [job.target for job in project.jobs()]
        pictures.sort(key=lambda path: path != self._opened)
        # What makes the first result come soon, then the rest.
        paths = [*pictures[:1], *targets[:4], *pictures[1:], *targets[4:]]
        steps = [(path, ("flip", "far") if path in pictures else ()) for path in paths]
        for path, views in steps[: min(AHEAD, encoder.room // 3)]:
            seen = choice.of(path)
            if (mark := (seen, stamp(path))) not in self._seen:
                with suppress(LikewiseError):  # said when it is used
                    image = read_image(seen)
                    encoder.encode(image)
                    yield
                    everything = np.ones(image.shape[:2], bool)
                    for _, (view, _) in each_view(image, everything, views):
                        encoder.encode(view)
                        yield
                self._seen.add(mark)


def _is_free(row: Mapping[str, Any]) -> bool:
    """Whether the sliders may move a mask: the model's, and not judged."""
    return (row.get("state"), row.get("verdict"), row.get("source")) == ("done", None, "model")

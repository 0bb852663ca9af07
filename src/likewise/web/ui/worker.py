"""The model's thread: it fits, segments and draws what the project lacks; the newest wish wins."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...errors import LikewiseError
from ...features.clustering import average_linkage
from ...features.views import make_views
from ...io.images import read_image
from ...project.project import Project
from ...project.redraw import redraw
from ...project.score_maps import blob, tree_arrays
from ...run.file_state import stamp
from ...run.jobs import Job
from ...run.outcomes import Outcome
from ...segmenter import Segmenter
from .feed import Feed
from .keeping import KeepingEncoder
from .workspace import Workspace

T = TypeVar("T")
AHEAD = 16
"""Pictures that are encoded before anybody asked."""
SOON = 0.3
"""Seconds that a page is let wait for the regions of a picture."""


class PageWorker(threading.Thread):
    """Does what is to be done, image by image, as long as nobody wishes otherwise.

    Args:
        workspace: the project.
        feed: where it says what it does.
        device, dtype, offline: as for ``Encoder``.
    """

    def __init__(
        self, workspace: Workspace, feed: Feed, *, device: str, dtype: str, offline: bool
    ) -> None:
        super().__init__(name="likewise-model", daemon=True)
        self.workspace, self.feed = workspace, feed
        self._device, self._dtype, self._offline = device, dtype, offline
        self._encoder: tuple[object, KeepingEncoder, str] | None = None
        self._fitted: tuple[str, Segmenter] | None = None
        self._wishes = 1
        """How often something changed."""
        self._granted = 0
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._awake = threading.Event()
        self._seen: set[object] = set()
        self._opened: Path | None = None
        self._regions: tuple[object, Future[bytes]] | None = None
        self._ends = False
        self.doing = {"doing": "loading", "left": 0, "total": 0}
        self.failed = ""
        """Why nothing more is done, for pages that come later."""

    def wish(self) -> None:
        """Look again what is to be done: something changed."""
        self._wishes += 1
        self._awake.set()

    def changed(self) -> None:
        """References, targets or classes changed: pages ask for everything again."""
        self.feed.say("reload")
        self.wish()

    def ask(self, function: Callable[[], T]) -> T:
        """What a function says that is called in this thread, between two images."""
        answer = self._soon(function)
        while True:
            try:
                return answer.result(timeout=1)
            except FutureTimeoutError:
                if answer.done():
                    raise
                if self._ends:
                    raise LikewiseError("likewise ui ends: start it again.") from None

    def _soon(self, function: Callable[[], T]) -> Future[T]:
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

        self._asked.put(run)
        self._awake.set()
        return answer

    def stop(self) -> None:
        """End soon, after the image in work."""
        self._ends = True
        self._awake.set()

    def run(self) -> None:
        """Until ``stop``."""
        while True:
            self._awake.clear()
            if self._ends:
                return
            self._answer()
            try:
                wish = self._wishes
                if wish != self._granted:
                    self.failed = ""
                    self._say("looking")
                    self._granted = wish  # also if it fails: only another change can help
                    self._work()
                    self._say("idle")
                for _ in self._ahead():
                    if self._awake.is_set():
                        break
            except LikewiseError as error:
                self._fail(str(error))
            except Exception as error:  # a fault of ours must not end the thread in silence
                self._fail(f"likewise failed ({error!r}): please report it.")
            self._awake.wait()

    def _fail(self, why: str) -> None:
        self.failed = why
        self._say("idle")
        self.feed.say("error", text=why)

    def _say(self, doing: str, left: int = 0, total: int = 0) -> None:
        self.doing = {"doing": doing, "left": left, "total": total}
        self.feed.say("work", **self.doing)

    def _answer(self) -> None:
        while not self._asked.empty():
            self._asked.get()()

    def _stale(self) -> bool:
        return self._ends or self._wishes != self._granted

    def _load(self, project: Project) -> tuple[KeepingEncoder, str]:
        wanted = project.settings.backbone, project.settings.image_size
        if self._encoder is None or self._encoder[0] != wanted:
            self._say("loading")
            encoder, key = project.encoder(
                KeepingEncoder, device=self._device, dtype=self._dtype, offline=self._offline
            )
            self._encoder = wanted, encoder, key
        return self._encoder[1:]

    def _work(self) -> None:
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
            if left:
                segmenter = self._fit(project, encoder, run)
                if self._stale():
                    return
                project.begin(run, encoder.spec.name, left)
                outcomes = project.annotate(segmenter, left, run, may_write=self._may_write)
                self._say("segmenting", len(left), len(left))
                for done, outcome in enumerate(outcomes, 1):
                    self._tell(project, outcome.target)
                    self._say("segmenting", len(left) - done, len(left))
                    self._answer()
                    if self._stale():
                        return
            for outcome in self._redraw(project, jobs):
                self._tell(project, outcome.target)
                self._answer()
                if self._stale():
                    return

    def settle(self) -> None:
        """Wait until all masks that nobody judged are as the sliders say."""

        def settled() -> None:
            with self.workspace.opened() as project:
                for outcome in self._redraw(project, project.jobs()):
                    self._tell(project, outcome.target)

        self.ask(settled)

    def regions(self, picture: Path) -> bytes | None:
        """A picture's clustering as a blob of no classes, see ``score_maps.blob``.

        Returns:
            None while it is not there yet: browsers have few connections, so none is held.

        Raises:
            LikewiseError: the picture or the backbone cannot be used.
        """
        self._opened, key = picture, (picture, stamp(picture))

        def clustered() -> bytes:
            with self.workspace.opened() as project:
                encoder, _ = self._load(project)
            image = read_image(picture)
            encoded = encoder.encode(image)
            tree = tree_arrays(average_linkage(encoded.features))
            nothing = np.empty((0, *encoded.grid), np.float32)
            return blob(nothing, (), *tree, (), (image.shape[0], image.shape[1]))

        if self._regions is None or self._regions[0] != key:
            self._regions = key, self._soon(clustered)
        answer = self._regions[1]
        try:
            return answer.result(timeout=SOON)
        except FutureTimeoutError:
            return None
        except LikewiseError:
            self._regions = None  # it is tried again when it is asked for again
            raise

    def _tell(self, project: Project, target: Path) -> None:
        self.feed.say("target", target=self.workspace.describe(project, target))

    def _redraw(self, project: Project, jobs: Sequence[Job]) -> Iterator[Outcome]:
        return redraw(project, jobs, self._may_write)

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
            yield free

    def _ahead(self) -> Iterator[None]:
        """Encode what will be needed first: pictures to paint on as ``fit`` sees them, targets."""
        with self.workspace.opened() as project:
            encoder, _ = self._load(project)
            pictures = self.workspace.pictures(project)
            targets = [job.target for job in project.jobs()]
        pictures.sort(key=lambda path: path != self._opened)
        # What makes the first result come soon, then the rest.
        paths = [*pictures[:1], *targets[:4], *pictures[1:], *targets[4:]]
        steps = [(path, ("flip", "far") if path in pictures else ()) for path in paths]
        for path, views in steps[: min(AHEAD, encoder.room // 3)]:
            if (mark := (path, stamp(path))) not in self._seen:
                with suppress(LikewiseError):  # said when it is used
                    image = read_image(path)
                    shown = make_views(image, np.ones(image.shape[:2], bool), views)
                    for picture in (image, *(view for view, _ in shown.values())):
                        encoder.encode(picture)
                        yield
                self._seen.add(mark)


def _is_free(row: Mapping[str, Any]) -> bool:
    """Whether the sliders may move a mask: the model's, and not judged."""
    return (row.get("state"), row.get("verdict"), row.get("source")) == ("done", None, "model")

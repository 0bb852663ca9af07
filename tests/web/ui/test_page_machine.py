"""Any order of doings on the page: exports are what it shows, and nothing a person made is lost.

The page's own application is asked without a socket, and a segmenter that knows nothing of pictures
stands for the model: its masks depend on the picture, the class and the references.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

pytest.importorskip("fastapi", reason="the extra ui is not installed")

from likewise.class_names import wholes_of
from likewise.errors import ImageError, InputWarning
from likewise.features.clustering import average_linkage
from likewise.io.images import Picture, read_picture
from likewise.io.masks import read_mask
from likewise.project.project import Project
from likewise.project.score_maps import NEUTRAL, ScoreMaps, Sliders, read_score_maps, tree_arrays
from likewise.project.settings import read_settings
from likewise.result import Result
from likewise.web.guard import Access
from likewise.web.model_thread import ModelThread
from likewise.web.ui.routes import make_app
from likewise.web.ui.worker import PageWorker
from likewise.web.ui.workspace import Workspace

T = TypeVar("T")
SIZE, GRID = (16, 20), 4
NEGATIVE = 255
TREE = average_linkage(torch.nn.functional.normalize(torch.eye(GRID * GRID) + 0.3, dim=1))


def chance(*parts: object) -> np.random.Generator:
    """The same for the same parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


class Painter:
    """As a Segmenter: every class lies somewhere, by chance."""

    keep_tree, refiner = True, "guided"
    encoder = SimpleNamespace(input_size=SIZE)

    def __init__(self, project: Project) -> None:
        self.labels = project.settings.labels
        self.learnt = [
            (r.label, r.negative, b"" if r.mask is None else read_mask(r.mask, size=SIZE).tobytes())
            for r in project.references()
        ]

    def images_at_once(self, count: int) -> int:
        return 1

    def batch_size(self, consensus: bool) -> int:
        return 1

    def read(self, image: Path) -> Picture:
        return read_picture(image)

    def segment_batch(self, images: list[Picture], *, consensus: bool) -> list[Result]:
        return [self.segment(image.pixels) for image in images]

    def segment(self, image: np.ndarray) -> Result:
        chances = [chance(image.tobytes(), label, self.learnt) for label in self.labels]
        scores = np.stack([c.random((GRID, GRID), np.float32) for c in chances])
        wholes = tuple(-1 if k is None else k for k in wholes_of(self.labels))
        sure = tuple(0.9 for _ in self.labels)
        tree = tree_arrays(TREE)
        score_maps = ScoreMaps(self.labels, scores, sure, *tree, wholes, image.shape[:2], SIZE)
        return replace(score_maps.result(NEUTRAL, "guided", image), tree=TREE)


class NoThread(ModelThread):
    """Does what somebody waits for, and nothing of its own accord."""

    def call(self, work: Callable[[], T]) -> T:
        return work()

    def later(self, work: Callable[[], object]) -> None:
        pass


class Hand(PageWorker):
    """A worker that runs when it is told to, and as far as it is told to."""

    def work(self, pictures: int = 10**9) -> None:
        """A run that is stopped after so many pictures.

        One is refused while the disk of an example is away: with fewer examples it finds others.
        """
        with self.workspace.opened() as project:
            marked = [project.folder / r.image for r in project.settings.references]
        away = [path for path in marked if not path.exists()]
        steps = self._work()
        try:
            for _ in islice(steps, pictures + 1):  # the first comes before any
                pass
        except ImageError as error:
            if not any(str(error).startswith(f"{path} does not exist") for path in away):
                raise
        steps.close()

    def _load(self, project: Project) -> Any:
        return SimpleNamespace(spec=SimpleNamespace(name="none")), "none"

    def _fit(self, project: Project, encoder: object, run: str) -> Any:
        return Painter(project)


class Server:
    """The page of a project, asked without a socket."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.workspace = loop, Workspace(folder)
        model = NoThread(32, None)
        self.worker = Hand(self.workspace, model, device="cpu", dtype="auto", offline=True)
        self.app = make_app(self.workspace, self.worker, Access("t"))

    def ask(self, method: str, path: str, body: Any = b"") -> tuple[int, bytes]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        place, _, query = path.partition("?")
        headers = {"host": "127.0.0.1:1", "authorization": "Bearer t"}
        if not isinstance(body, bytes):
            headers["content-type"] = "application/json"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": place,
            "raw_path": place.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
            "client": ("127.0.0.1", 2),
            "server": ("127.0.0.1", 1),
        }
        status, answer = 0, b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Mapping[str, Any]) -> None:
            nonlocal status, answer
            status = message.get("status", status)
            answer += message.get("body", b"")

        self.loop.run_until_complete(self.app(scope, receive, send))
        return status, answer

    def do(self, method: str, path: str, body: Any = b"") -> Any:
        status, answer = self.ask(method, path, body)
        assert status == 200, (method, path, answer)
        return json.loads(answer)

    def refused(self, method: str, path: str, body: Any = b"") -> str:
        status, answer = self.ask(method, path, body)
        assert 400 <= status < 500, (method, path, status, answer)
        return str(json.loads(answer)["error"])

    def state(self) -> Any:
        return self.do("GET", "/api/state")

    def label_map(self, path: str) -> np.ndarray:
        status, answer = self.ask("GET", path)
        assert status == 200, (path, answer)
        height, width = np.frombuffer(answer[:8], "<u4")
        return np.frombuffer(answer[8:], np.uint8).reshape(height, width)


def picture(name: str) -> bytes:
    """A PNG, another one for every name."""
    pixels = chance(name).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def rectangle(number: int, value: int) -> np.ndarray:
    """One of nine small ones."""
    painted = np.zeros(SIZE, np.uint8)
    row, column = divmod(number % 9, 3)
    painted[row * 4 + 1 : row * 4 + 6, column * 5 + 1 : column * 5 + 7] = value
    return painted


which = st.integers(0, 8)


class Page(RuleBasedStateMachine):
    """What a person made: masks, verdicts, examples, classes; checked after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.corrections: dict[str, np.ndarray] = {}
        self.verdicts: dict[str, tuple[str, bytes]] = {}
        self.examples: dict[str, np.ndarray] = {}
        self.numbers: dict[str, int] = {}
        self.uploads = 0

    @initialize()
    def begin(self) -> None:
        for name in ("one", "two"):
            (self.place / name).mkdir()
            for stem in ("a", "b"):
                (self.place / name / f"{stem}.png").write_bytes(picture(name + stem))
        self.server = Server(self.place / "work", self.loop)
        classes = [{"label": name, "colour": "#ff0000"} for name in ("cat", "dog")]
        self.server.do("PUT", "/api/classes", classes)
        self.server.do("PUT", "/api/uploads?name=r.png&reference=true", picture("r"))
        self.server.do("POST", "/api/folders", {"path": str(self.place / "one")})
        self.paint(0, 0, 0)
        self.run()

    def teardown(self) -> None:
        if hasattr(self, "server"):
            self.run()
            self.export()
        self.loop.close()
        shutil.rmtree(self.place)

    # --- what the page says ----------------------------------------------------------------------

    def targets(self, **wanted: Any) -> list[dict[str, Any]]:
        return [
            target
            for target in self.server.state()["targets"]
            if all(target[key] == value for key, value in wanted.items())
        ]

    def chosen(self, number: int, **wanted: Any) -> dict[str, Any] | None:
        found = self.targets(**wanted)
        return found[number % len(found)] if found else None

    def mask(self, target: Mapping[str, Any]) -> np.ndarray:
        return self.server.label_map(f"/api/targets/{target['id']}/mask")

    def shown(self, target: Mapping[str, Any], state: Mapping[str, Any]) -> np.ndarray:
        """What the page draws of a target: a fixed mask, or its scores as the sliders say."""
        if target["verdict"] or target["source"] == "person":
            return self.mask(target)
        status, answer = self.server.ask("GET", f"/api/targets/{target['id']}/layers")
        if status == 404:
            return self.mask(target)
        assert status == 200, answer
        with self.server.workspace.opened() as project:
            job = self.server.workspace.target(project, target["id"])
            found = read_score_maps(project.score_maps(job.target))
        assert found is not None
        sliders = Sliders(state["sliders"]["threshold"], state["sliders"]["granularity"])
        result = found[0].result(sliders, "guided", read_picture(job.target))
        numbers = np.frombuffer(answer[-4 * len(result.labels) :], "<u4")
        return np.array([0, *numbers], np.uint8)[result.label_map]

    # --- what a person does ----------------------------------------------------------------------

    @rule(number=which, value=which)
    def add(self, number: int, value: int) -> None:
        self.uploads += 1
        name = quote(f"{'ab'[number % 2]}.png")
        self.server.do(
            "PUT", f"/api/uploads?name={name}&reference=false", picture(f"u{self.uploads}")
        )

    @rule(number=which)
    def remove_picture(self, number: int) -> None:
        target = self.chosen(number)
        if target is None:
            return
        if target["path"].startswith("images/"):
            self.server.do("DELETE", f"/api/targets/{target['id']}")
            self.corrections.pop(target["path"], None)
            self.verdicts.pop(target["path"], None)
        elif target["state"] != "missing":
            assert "move it out" in self.server.refused("DELETE", f"/api/targets/{target['id']}")

    @rule(name=st.sampled_from(["one", "two"]))
    def add_folder(self, name: str) -> None:
        if (self.place / name).is_dir():
            self.server.do("POST", "/api/folders", {"path": str(self.place / name)})
        else:
            said = self.server.refused("POST", "/api/folders", {"path": str(self.place / name)})
            assert "does not exist" in said

    @rule(number=which)
    def remove_folder(self, number: int) -> None:
        sources = [s for s in self.server.state()["sources"] if s["path"] != "images"]
        if sources:
            self.server.do("DELETE", f"/api/folders/{sources[number % len(sources)]['id']}")

    @rule(name=st.sampled_from(["one", "two"]))
    def unmount(self, name: str) -> None:
        here, away = self.place / name, self.place / f"{name}-away"
        if here.is_dir():
            here.rename(away)
        else:
            away.rename(here)

    @rule(number=which, label=which, more=which)
    def paint(self, number: int, label: int, more: int) -> None:
        state = self.server.state()
        if not state["pictures"]:
            self.server.do("PUT", "/api/uploads?name=r.png&reference=true", picture("r"))
            state = self.server.state()
        found = state["pictures"][number % len(state["pictures"])]
        if found["missing"]:
            return
        values = [*(c["number"] for c in state["classes"]), NEGATIVE]
        painted = rectangle(more, values[label % len(values)])
        if more % 2:
            painted = np.where(
                painted, painted, rectangle(more + 4, values[(label + 1) % len(values)])
            )
        path = f"/api/references/{found['id']}?width={SIZE[1]}&height={SIZE[0]}"
        assert "meanwhile" in self.server.refused("PUT", f"{path}&version=old", painted.tobytes())
        self.server.do("PUT", f"{path}&version={found['version']}", painted.tobytes())
        self.examples[found["id"]] = painted

    @rule(number=which)
    def remove_example(self, number: int) -> None:
        pictures = self.server.state()["pictures"]
        if pictures:
            found = pictures[number % len(pictures)]
            self.server.do("DELETE", f"/api/references/{found['id']}")
            self.examples.pop(found["id"], None)

    @rule()
    def add_class(self) -> None:
        classes = self.server.state()["classes"]
        if len(classes) < 4:
            free = next(n for n in ("emu", "fox", "gnu", "hen", "ibex") if n not in self.numbers)
            added = [*classes, {"label": free, "colour": "#00ff00"}]
            self.server.do("PUT", "/api/classes", added)

    @precondition(lambda self: len(self.numbers) < 5)
    @rule(number=which)
    def rename_class(self, number: int) -> None:
        state = self.server.state()
        classes, names = state["classes"], ("pug", "rat", "yak", "bee", "cod", "eel")
        old = classes[number % len(classes)]["label"]
        free = next((n for n in names if n not in self.numbers), None)
        if free is None:
            return
        body = [
            {"label": free if c["label"] == old else c["label"], "colour": c["colour"]}
            | ({"was": old} if c["label"] == old else {})
            for c in classes
        ]
        assert "meanwhile" in self.server.refused("PUT", "/api/classes?version=old", body)
        path = f"/api/classes?version={state['classes_version']}"
        self.server.do("PUT", path, body)
        self.numbers[free] = self.numbers.pop(old)

    @rule(number=which)
    def remove_class(self, number: int) -> None:
        classes = self.server.state()["classes"]
        if len(classes) > 1:
            gone = classes[number % len(classes)]
            left = [c for c in classes if c is not gone]
            self.server.do("PUT", "/api/classes?erase=true", left)
            for painted in self.examples.values():
                painted[painted == gone["number"]] = 0

    @rule()
    def run(self) -> None:
        self.server.worker.work()

    @rule(pictures=st.integers(0, 2))
    def run_and_stop(self, pictures: int) -> None:
        self.server.worker.work(pictures)

    @rule(number=which, verdict=st.sampled_from(["accepted", "rejected"]))
    def judge(self, number: int, verdict: str) -> None:
        target = self.chosen(number, state="done")
        if target is not None:
            state = self.server.state()
            before = self.shown(target, state)
            path = f"/api/targets/{target['id']}/verdict"
            body = {"verdict": verdict, "version": target["version"]}
            assert "meanwhile" in self.server.refused("PUT", path, {**body, "version": "old"})
            self.server.do("PUT", path, body | {"sliders": state["sliders"]["version"]})
            np.testing.assert_array_equal(self.mask(target), before)
            self.verdicts[target["path"]] = verdict, before.tobytes()

    @rule(number=which)
    def take_back(self, number: int) -> None:
        judged = [t for t in self.targets(state="done") if t["verdict"]]
        if judged:
            target = judged[number % len(judged)]
            body = {"verdict": None, "version": target["version"]}
            self.server.do("PUT", f"/api/targets/{target['id']}/verdict", body)
            self.verdicts.pop(target["path"])

    @rule(number=which, label=which, more=which)
    def correct(self, number: int, label: int, more: int) -> None:
        target = self.chosen(number, state="done")
        if target is not None:
            classes = self.server.state()["classes"]
            painted = self.mask(target).copy()
            added = rectangle(more, classes[label % len(classes)]["number"])
            painted[added > 0] = added[added > 0]
            size = f"width={SIZE[1]}&height={SIZE[0]}"
            path = f"/api/targets/{target['id']}/mask?{size}"
            stale = self.server.refused("PUT", f"{path}&version=old", painted.tobytes())
            assert "meanwhile" in stale
            version = quote(target["version"])
            self.server.do("PUT", f"{path}&version={version}", painted.tobytes())
            self.corrections[target["path"]] = painted
            self.verdicts.pop(target["path"], None)

    @rule(number=which)
    def discard(self, number: int) -> None:
        target = self.chosen(number, state="done", source="person")
        if target is not None:
            body = {"version": target["version"]}
            self.server.do("POST", f"/api/targets/{target['id']}/restore", body)
            self.corrections.pop(target["path"])
            self.verdicts.pop(target["path"], None)

    @rule(number=which)
    def promote(self, number: int) -> None:
        target = self.chosen(number, state="done")
        if target is None:
            return
        painted = self.shown(target, self.server.state())
        numbers = {c["number"] for c in self.server.state()["classes"]}
        path, body = f"/api/targets/{target['id']}/promote", {"version": target["version"]}
        if len(set(np.unique(painted))) < 2 or not set(np.unique(painted)) - {0} <= numbers:
            self.server.refused("POST", path, body)
            return
        self.server.do("POST", path, body)
        self.examples[target["id"]] = painted.copy()
        self.verdicts[target["path"]] = "accepted", painted.tobytes()

    @rule(threshold=st.integers(-9, 9), granularity=st.sampled_from([0, 0.1, 0.6]))
    def slide(self, threshold: int, granularity: float) -> None:
        body = {"threshold": threshold, "granularity": granularity}
        assert "meanwhile" in self.server.refused("PUT", "/api/sliders?version=old", body)
        version = self.server.state()["sliders"]["version"]
        self.server.do("PUT", f"/api/sliders?version={version}", body)

    @rule()
    def restart(self) -> None:
        self.server = Server(self.place / "work", self.loop)

    @rule()
    def export(self) -> None:
        state = self.server.state()
        shown = {
            t["path"]: self.shown(t, state)
            for t in state["targets"]
            if t["state"] == "done" and t["verdict"] != "rejected"
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # of what is not made yet
            status, answer = self.server.ask("POST", "/api/export?kind=masks&zipped=true")
        if not shown:
            assert status == 422, answer
            return
        assert status == 200, answer
        with zipfile.ZipFile(io.BytesIO(answer)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".png")]
            labels = json.loads(archive.read("labels.json"))
            numbers = np.array([0, *(self.numbers[label] for label in labels.values())], np.uint8)
            found = {
                name[:-4]: numbers[np.asarray(Image.open(io.BytesIO(archive.read(name))))]
                for name in names
            }
        assert len(found) == len(shown)
        for path, mask in shown.items():
            place = (self.place / "work" / path).resolve().with_suffix("").as_posix()
            (name,) = (name for name in found if place.endswith(f"/{name}"))
            np.testing.assert_array_equal(found[name], mask)

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "server"):
            return
        state = self.server.state()
        for found in [*state["classes"], *state["former"]]:
            known = self.numbers.setdefault(found["label"], found["number"])
            assert known == found["number"]
        for target in state["targets"]:
            if target["state"] == "missing":
                continue
            key = target["path"]
            if key in self.corrections or key in self.verdicts:
                assert target["state"] == "done"
                assert target["verdict"] == self.verdicts.get(key, (None,))[0]
                assert (target["source"] == "person") == (key in self.corrections)
            if key in self.corrections:
                np.testing.assert_array_equal(self.mask(target), self.corrections[key])
            if key in self.verdicts:
                assert self.mask(target).tobytes() == self.verdicts[key][1]
        for found in state["pictures"]:
            if found["id"] in self.examples and not found["missing"]:
                painted = self.server.label_map(f"/api/references/{found['id']}/painted")
                np.testing.assert_array_equal(painted, self.examples[found["id"]])
        settings = read_settings(self.place / "work", unfinished=True)
        assert set(settings.labels) <= set(self.numbers)


def test_any_order() -> None:
    run_state_machine_as_test(
        Page,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # a shorter failure would take minutes
            suppress_health_check=list(HealthCheck),
        ),
    )

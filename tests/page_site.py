"""A server of the page that runs, and what asks it."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra ui is not installed")
pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.web.guard import Access
from likewise.web.model_thread import ModelThread
from likewise.web.serving import bind, make_server
from likewise.web.ui import routes as page
from likewise.web.ui.worker import PageWorker
from likewise.web.ui.workspace import Workspace

TOKEN = "a-secret-for-tests"


@dataclasses.dataclass
class Site:
    """A server that runs, asked as a browser with its cookie asks."""

    folder: Path
    port: int
    worker: PageWorker

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; header names with _ for -."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"cookie": f"likewise-{self.port}={TOKEN}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body, given["content-type"] = json.dumps(body).encode(), "application/json"
        line.request(method, path, body, given)
        answer = line.getresponse()
        found = answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        line.close()
        return found

    def get(self, path: str) -> bytes:
        status, body, _ = self.ask("GET", path)
        assert status == 200, body
        return body

    def do(self, method: str, path: str, body: Any = None) -> Any:
        status, content, _ = self.ask(method, path, body)
        assert status == 200, content
        return json.loads(content)

    def refused(self, method: str, path: str, body: Any = None) -> str:
        """The sentence with which something is refused."""
        status, content, _ = self.ask(method, path, body)
        assert 400 <= status < 500, content
        text: str = json.loads(content)["error"]
        assert text.endswith(".")
        assert "\n" not in text
        return text

    def state(self) -> Any:
        return self.do("GET", "/api/state")

    def target(self, name: str) -> Any:
        return next(t for t in self.state()["targets"] if t["name"] == name)

    def wait(self) -> Any:
        """Until there is nothing to be done; the state then."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if self.worker.idle:
                return self.state()
            time.sleep(0.02)
        raise AssertionError(f"still {self.worker.doing}")

    def paint(self, name: str, values: np.ndarray) -> None:
        """Save what is painted on a reference picture."""
        wanted = next(p["id"] for p in self.state()["pictures"] if p["name"] == name)
        size = f"width={values.shape[1]}&height={values.shape[0]}"
        self.do("PUT", f"/api/references/{wanted}?{size}", values.tobytes())

    def judge(self, name: str, verdict: str | None) -> Any:
        """Say something of a target as it is now."""
        target = self.target(name)
        body = {"verdict": verdict, "version": target["version"]}
        return self.do("PUT", f"/api/targets/{target['id']}/verdict", body)

    def correct(self, name: str, painted: np.ndarray) -> Any:
        """Save a mask that a person painted."""
        size = f"width={painted.shape[1]}&height={painted.shape[0]}"
        path = f"/api/targets/{self.target(name)['id']}/mask?{size}"
        return self.do("PUT", path, painted.tobytes())

    def mask(self, name: str, query: str = "") -> np.ndarray:
        """As the page gets it."""
        data = self.get(f"/api/targets/{self.target(name)['id']}/mask{query}")
        height, width = np.frombuffer(data[:8], "<u4")
        return np.frombuffer(data[8:], np.uint8).reshape(height, width)


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """The page of a project, in threads of this process."""
    workspace, model = Workspace(folder), ModelThread(32, None)
    worker = PageWorker(workspace, model, device="cpu", dtype="auto", offline=True)
    listening = bind("127.0.0.1", 0, secret=True)
    listening.listen()
    port = listening.getsockname()[1]
    access = Access(TOKEN, cookie=f"likewise-{port}")
    server = make_server(page.make_app(workspace, worker, access), patience=1)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Site(folder, port, worker)
    finally:
        server.should_exit = True
        worker.stop()
        thread.join(20)
        model._executor.shutdown()  # waits for it
        listening.close()


def written(site: Site, name: str) -> np.ndarray:
    return np.asarray(Image.open(site.folder / "masks" / f"{Path(name).stem}.png"))


def box(top: int, left: int, bottom: int, right: int, value: int = 1) -> np.ndarray:
    """(40, 48) a painted rectangle."""
    painted = np.zeros((40, 48), np.uint8)
    painted[top:bottom, left:right] = value
    return painted


def exported(site: Site) -> dict[str, np.ndarray]:
    """Stem → label map of a dataset that the page hands out."""
    status, content, _ = site.ask("POST", "/api/export?kind=masks&zipped=true")
    assert status == 200, content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            Path(name).stem: np.asarray(Image.open(io.BytesIO(archive.read(name))))
            for name in archive.namelist()
            if name.endswith(".png")
        }


TWO = [{"label": "red", "colour": "#ff0000"}, {"label": "dot", "colour": "#00ff00"}]

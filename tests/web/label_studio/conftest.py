"""Fixtures that several files of this folder use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import LikewiseParams, Reference, Segmenter
from scenes import make_scene, sandbox
from studio import LABELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A scene with r.safetensors: two classes."""
    folder = make_scene(tmp_path_factory.mktemp("label_studio") / "scene", tiny)
    with sandbox(folder):
        edge = np.zeros((40, 48), bool)
        edge[:, 36:] = True
        references = [
            Reference("reference.png", "mask.png", label=LABELS[0]),
            Reference("reference.png", edge, label=LABELS[1]),
        ]
        segmenter = Segmenter("tiny", image_size=64, method=LikewiseParams(presence=0.0)).fit(
            references
        )
        segmenter.save("r.safetensors")
    return folder


@pytest.fixture
def scene(folder: Path) -> Iterator[Path]:
    with sandbox(folder):
        yield folder


@pytest.fixture
def studio(scene: Path) -> Iterator[Any]:
    """Label Studio, as far as images go; what it was asked for is in ``asked``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/data/upload/1/away.jpg":
                self.answer(302, b"", {"Location": f"{here.other}/data/upload/1/a.jpg"})
            elif self.headers.get("Authorization") not in ("Token legacy", "Bearer short"):
                self.answer(401, b"{}")
            else:
                self.answer(200, (scene / Path(self.path).name.split("=")[-1]).read_bytes())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            here.asked.append((self.path, body))
            known = body == {"refresh": "a.b.c"}
            self.answer(200 if known else 401, b'{"access": "short"}' if known else b"{}")

        def answer(self, status: int, content: bytes, headers: Any = ()) -> None:
            self.send_response(status)
            for name, value in {**dict(headers), "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    here: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.asked = []
    here.url = f"http://127.0.0.1:{here.server_port}"
    here.other = f"http://localhost:{here.server_port}"
    thread = threading.Thread(target=here.serve_forever)
    thread.start()
    yield here
    here.shutdown()
    thread.join()
    here.server_close()

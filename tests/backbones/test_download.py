"""Downloads against a small local server that answers like the hub's resolve endpoints."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from likewise.backbones import download
from likewise.backbones.registry import BACKBONES
from likewise.backbones.spec import BackboneSpec
from likewise.errors import BackboneError

REPO, COMMIT = "org/tiny", "a" * 40
BODY = bytes(range(256)) * 2000
SPEC = BackboneSpec(
    "tiny", "dinov3", REPO, "model.safetensors", 16, 1, 64, 2, 128, license="the tiny licence"
)


class Hub:
    """What the server answers, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"model.safetensors": BODY}
        self.etags: dict[str, str] = {}
        self.status: int | None = None  # answer everything with this
        self.error_code: str | None = None
        self.cut_once = False  # drop the first GET half-way
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.url = ""

    def etag(self, name: str) -> str:
        return self.etags.get(name, hashlib.sha256(self.files[name]).hexdigest())


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

        def _answer(self, with_body: bool) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            start = f"/{REPO}/resolve/main/"
            name = self.path.removeprefix(start)
            status, code = hub.status, hub.error_code
            if status is None and (not self.path.startswith(start) or name not in hub.files):
                status, code = 404, "EntryNotFound"
            if status is not None:
                self.send_response(status)
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body, first = hub.files[name], 0
            wanted = self.headers.get("Range")
            if wanted and with_body:
                hub.ranges.append(wanted)
                first = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if first else 200)
            self.send_header("ETag", f'"{hub.etag(name)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body) - first))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
            self.end_headers()
            if with_body and hub.cut_once:
                hub.cut_once = False
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                self.close_connection = True
            elif with_body:
                self.wfile.write(body[first:])

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

    return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    yield state
    server.shutdown()
    server.server_close()


def _cache_files(tmp_path: Path) -> list[Path]:
    return [
        p
        for folder in ("blobs", "snapshots")
        for p in (tmp_path / "cache" / "models--org--tiny" / folder).rglob("*")
        if not p.is_dir()
    ]


def test_downloads_once_and_then_needs_no_network(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    path = download.fetch(SPEC, SPEC.filename, progress=False)
    assert path.read_bytes() == BODY
    assert capsys.readouterr().err.count("tiny: the tiny licence") == 1
    asked = len(hub.requests)
    assert download.fetch(SPEC, SPEC.filename) == path
    assert download.fetch(SPEC, SPEC.filename, offline=True) == path
    assert len(hub.requests) == asked
    assert "licence" not in capsys.readouterr().err


def test_progress_is_shown_and_can_be_hidden(
    hub: Hub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # draw the bar though this is no terminal
    hub.files["other.bin"] = b"x" * 100
    download.fetch(REPO, "model.safetensors")
    assert "model.safetensors" in capfd.readouterr().err
    download.fetch(REPO, "other.bin", progress=False)
    assert "other.bin" not in capfd.readouterr().err


def test_an_interrupted_transfer_resumes(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    # huggingface_hub 1 and 2 resume within the call, 0.x in the next call.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_once = True
    try:
        path = download.fetch(REPO, "model.safetensors", progress=False)
    except BackboneError:
        path = download.fetch(REPO, "model.safetensors", progress=False)
    assert path.read_bytes() == BODY
    assert hub.ranges == [f"bytes={len(BODY) // 2}-"]


@pytest.mark.parametrize("known", [False, True], ids=["hub's sha256", "spec's sha256"])
def test_a_wrong_checksum_deletes_the_file(hub: Hub, tmp_path: Path, known: bool) -> None:
    wrong = "0" * 64
    spec = SPEC
    if known:
        spec = BackboneSpec(**{**vars(SPEC), "sha256": wrong})
    else:
        hub.etags["model.safetensors"] = wrong
    with pytest.raises(BackboneError, match=f"sha256 [0-9a-f]{{64}} instead of {wrong}"):
        download.fetch(spec, spec.filename, progress=False)
    assert _cache_files(tmp_path) == []
    hub.etags.clear()
    assert download.fetch(REPO, "model.safetensors", progress=False).read_bytes() == BODY


def test_a_file_with_a_git_etag_has_no_checksum(hub: Hub) -> None:
    hub.files["config.json"] = b"{}"
    hub.etags["config.json"] = "b" * 40
    assert download.fetch(REPO, "config.json", progress=False).read_text() == "{}"


@pytest.mark.parametrize(
    ("status", "code"), [(401, None), (401, "RepoNotFound"), (403, "GatedRepo"), (403, None)]
)
def test_refused(hub: Hub, status: int, code: str | None) -> None:
    hub.status, hub.error_code = status, code
    with pytest.raises(BackboneError, match=r"licence must be accepted at .*hf auth login"):
        download.fetch(SPEC, SPEC.filename)


def test_missing_file(hub: Hub) -> None:
    with pytest.raises(download.MissingFileError, match=r"org/tiny has no file nope\.bin"):
        download.fetch(REPO, "nope.bin")
    hub.files.clear()
    with pytest.raises(download.MissingFileError, match=r"has no file model\.safetensors:"):
        download.fetch_weights(REPO)


def test_server_trouble_names_the_status_and_the_ways_out(hub: Hub) -> None:
    hub.status = 503
    start = time.monotonic()
    with pytest.raises(BackboneError, match=r"status 503.*--backbone PATH.*--backbone embedded"):
        download.fetch(SPEC, SPEC.filename)
    assert time.monotonic() - start < 5


def test_connection_refused_fails_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(BackboneError) as info:
        download.fetch(SPEC, SPEC.filename)
    assert time.monotonic() - start < 5
    message = str(info.value)
    assert "hf download org/tiny model.safetensors" in message
    assert "--backbone embedded" in message
    assert "\n" not in message


def test_a_silent_server_times_out(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setattr(download, "ETAG_TIMEOUT", 0.3)
        with pytest.raises(BackboneError, match="could not be downloaded"):
            download.fetch(SPEC, SPEC.filename)


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackboneError, match=r"switched off.*hf download org/tiny model"):
        download.fetch(SPEC, SPEC.filename, offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match="switched off"):
        download.fetch(SPEC, SPEC.filename)
    assert hub.requests == []


def test_bad_names(hub: Hub) -> None:
    with pytest.raises(BackboneError, match="not a hub name"):
        download.fetch("a/b/c", "x")
    with pytest.raises(BackboneError, match="part of likewise"):
        download.fetch(BACKBONES["embedded"], "x")


def test_sharded_weights(hub: Hub) -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    hub.files = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "one.safetensors": b"1",
        "two.safetensors": b"22",
    }
    path = download.fetch_weights(SPEC, progress=False)
    assert path.name == "model.safetensors.index.json"
    assert (path.parent / "two.safetensors").read_bytes() == b"22"
    asked = len(hub.requests)
    assert download.fetch_weights(SPEC, progress=False) == path
    assert len(hub.requests) == asked


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}'])
def test_bad_index(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(BackboneError, match=r"index\.json"):
        download.shard_names(index)


def test_cached_path_and_verify(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "tiny", SPEC)
    assert download.cached_path("tiny") is None
    with pytest.raises(BackboneError, match="not on this machine"):
        download.verify("tiny")
    path = download.fetch_weights(SPEC, progress=False)
    assert download.cached_path("tiny") == path
    report = download.verify("tiny")
    assert (report.ok, report.path, report.expected) == (True, path, report.sha256)
    path.resolve().write_bytes(b"damaged")
    assert download.verify("tiny").ok is False


def test_a_packaged_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    monkeypatch.setattr(download, "packaged_file", lambda _: file)
    assert download.cached_path("embedded") is None
    file.write_bytes(b"here")
    assert download.cached_path("embedded") == file
    assert download.verify("embedded").ok is None


def test_an_unnamed_failure_is_still_one_sentence(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(BackboneError, match=r"OSError: no space left on device"):
        download.fetch(SPEC, SPEC.filename)

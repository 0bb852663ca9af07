"""Connections to `likewise serve`: slow ones, who may ask, and more than it can do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from likewise import Segmenter
from likewise.backbones.encoder import Encoder
from likewise.web import connections
from likewise.web.guard import host_of, is_loopback
from likewise.web.serving import bind
from live import NOBODY, Answer, Live, form, head, read_raw, serving


class Gated(Segmenter):
    """Segments nothing before the gate opens."""

    gate = threading.Event()
    begun = threading.Event()
    count = 0

    def segment(self, image: Any) -> Any:
        Gated.count += 1
        Gated.begun.set()
        assert Gated.gate.wait(60)
        return super().segment(image)


@pytest.fixture
def gated(encoder: Encoder) -> Iterator[Callable[[], Segmenter]]:
    Gated.gate.clear()
    Gated.begun.clear()
    Gated.count = 0
    yield lambda: Gated(encoder)
    Gated.gate.set()


# --- bodies ---------------------------------------------------------------------------------------

MULTIPART = "Content-Type: multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


def send_for_ever(connection: socket.socket, part: bytes, pause: float = 0) -> None:
    while True:
        connection.sendall(part)
        time.sleep(pause)


# --- connections ----------------------------------------------------------------------------------


def test_answers_do_not_wait_for_more(live: Live):
    """With Nagle's algorithm every answer on a connection that is kept waits 40 ms."""
    with bind("127.0.0.1", 0, secret=True) as listener:
        listener.listen()
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as accepted,
        ):
            assert (
                accepted.proto == socket.IPPROTO_TCP
            )  # what asyncio asks before it switches it off


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few connections, and little time for a head."""
    monkeypatch.setattr(connections, "MOST", 6)
    monkeypatch.setattr(connections, "PER_CLIENT", 3)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)


def connect(server: Live, host: str) -> socket.socket:
    """A connection from another address of this machine."""
    try:
        return socket.create_connection(("127.0.0.1", server.port), 60, source_address=(host, 0))
    except OSError:
        pytest.skip("this machine has no address 127.0.0.2")


HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_silent_connections_lock_nobody_out(encoder: Encoder, brief: None):
    with serving(lambda: Segmenter(encoder)) as server, ExitStack() as stack:

        def ask(host: str) -> Answer:
            with connect(server, host) as connection:
                connection.sendall(HEALTH)
                return read_raw(connection)

        def hold(host: str, count: int) -> list[socket.socket]:
            return [stack.enter_context(connect(server, host)) for _ in range(count)]

        silent = hold("127.0.0.1", 3)
        refused = ask("127.0.0.1")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert "of your address" in refused.error
        assert ask("127.0.0.2").status == 200  # one address takes its own share only
        hold("127.0.0.2", 3)
        assert ask("127.0.0.3").status == 503  # now it is full
        assert silent[0].recv(1) == b""  # closed by the server, for it never asked
        while (answer := ask("127.0.0.1")).status != 200:
            assert answer.status == 503
            time.sleep(0.1)


def test_a_head_that_trickles_in(encoder: Encoder, brief: None):
    """Also the second one of a connection; a slow body is another matter."""
    with serving(lambda: Segmenter(encoder)) as server:
        for before in (b"", HEALTH):
            with server.raw(before) as connection:
                if before:
                    assert read_raw(connection).status == 200
                connection.sendall(b"GET /")
                with pytest.raises(OSError):  # it hangs up on us
                    send_for_ever(connection, b"a", pause=0.05)


def test_what_is_no_http_is_answered_in_json_too(live: Live):
    with live.raw(b"\x16\x03\x01\r\n\r\n") as connection:
        assert read_raw(connection).error == "this is no HTTP request."


def test_a_body_that_is_too_large_is_not_read_to_its_end(live: Live):
    start, part = (b"%x\r\n" % len(x) + x + b"\r\n" for x in (FILE, bytes(100_000)))
    declared = live.raw(head("references", MULTIPART, "Content-Length: 99999999999"), FILE)
    chunked = live.raw(head("references", MULTIPART, "Transfer-Encoding: chunked"), start)
    with chunked, pytest.raises(OSError):  # it hangs up on us
        send_for_ever(chunked, part)
    with declared:
        answer = read_raw(declared)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert declared.recv(1) == b""
    # With less, the answer can be read.
    more = (head("references", MULTIPART, "Transfer-Encoding: chunked"), start, *[part] * 30)
    with live.raw(*more, b"0\r\n\r\n") as chunked:
        answer = read_raw(chunked)
    assert answer.status == 413
    assert "more than 2000000 bytes" in answer.error
    assert live.ask("GET", "/v1/health").status == 200


def test_a_large_upload_is_refused_before_it_is_sent(live: Live):
    more = (MULTIPART, "Content-Length: 9000000", "Expect: 100-continue")
    with live.raw(head("references", *more)) as connection:
        answer = read_raw(connection)
    assert answer.status == 413


def test_a_body_that_trickles_in(encoder: Encoder):
    with serving(lambda: Segmenter(encoder), upload_timeout=0.4) as server:
        connection = server.raw(head("references", MULTIPART, "Content-Length: 100000"), FILE)
        with connection:
            stop = threading.Event()

            def trickle() -> None:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b".")
                    except OSError:
                        return

            thread = threading.Thread(target=trickle)
            thread.start()
            answer = read_raw(connection)
            stop.set()
            thread.join()
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert "0.4 seconds" in answer.error


# --- who may ask ----------------------------------------------------------------------------------


def test_the_token(encoder: Encoder, example: Any):
    with serving(lambda: Segmenter(encoder), token="sesame") as server:
        for wrong in ("", "Bearer", "Bearer ", "Bearer esame", "Bearer sesame2", "Basic sesame"):
            answer = server.ask("GET", "/v1/references", authorization=wrong)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            refused = server.ask("POST", "/v1/references", example, authorization=wrong)
            assert refused.status == 401
        assert server.ask("GET", "/v1/metrics", authorization="").status == 401
        assert server.ask("GET", "/v1/nothing", authorization="").status == 401
        assert server.ask("GET", "/v1/health", authorization="").status == 200
        document = server.ask("GET", "/openapi.json", authorization="").json
        assert document["paths"]["/v1/segment"]["post"]["security"] == [{"HTTPBearer": []}]
        assert "security" not in document["paths"]["/v1/health"]["get"]
        assert server.ask("GET", "/v1/references", authorization="bearer sesame").status == 200
        # Whoever has the token may call the server by any name, from any page.
        strange = {"host": "example.org", "origin": "https://example.org"}
        assert server.ask("GET", "/v1/references", **strange).status == 200


def test_other_names_and_origins_without_a_token(live: Live, known: str, scene: Path):
    fields = [("reference", known), ("image", scene / "a.jpg")]
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "["):
        assert live.ask("GET", "/v1/health", host=host).status == 403
    for host in ("localhost", "LOCALHOST:8000", f"127.0.0.1:{live.port}", "[::1]:8000"):
        assert live.ask("GET", "/v1/health", host=host).status == 200
    own = f"http://127.0.0.1:{live.port}"
    strange = ("https://evil.example", "null", "http://localhost.evil.example", "http://[", "")
    for origin in (*strange, "http://localhost:3000", own.replace("http", "https")):
        assert live.ask("POST", "/v1/segment", fields, origin=origin).status == 403
        assert live.ask("DELETE", f"/v1/references/{known}", origin=origin).status == 403
    answer = live.ask("POST", "/v1/segment", fields, origin=own)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_origin_that_is_allowed(encoder: Encoder):
    page = "https://app.example"
    with serving(lambda: Segmenter(encoder), origins=(page,)) as server:
        answer = server.ask("GET", "/v1/references", origin=page)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page)
        assert server.ask("GET", "/v1/references", origin="https://other.example").status == 403
        headers = {"access_control_request_method": "POST"}
        asked = server.ask("OPTIONS", "/v1/segment", origin=page, **headers)
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, page)


def test_names_of_this_machine():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "10.0.0.1", "localhost.x", "0x7f000001")))
    assert host_of("http://[") == ""


# --- more than it can do --------------------------------------------------------------------------


def test_a_full_queue(gated: Callable[[], Segmenter], example: Any, scene: Path):
    with serving(gated, queue=2) as server, ThreadPoolExecutor(3) as pool:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        asked = [pool.submit(server.ask, "POST", "/v1/segment", fields)]
        assert Gated.begun.wait(60)
        asked += [pool.submit(server.ask, "POST", "/v1/segment", fields) for _ in range(2)]
        while server.metric("likewise_queue_length") < 2:
            time.sleep(0.01)
        for _ in range(3):
            answer = server.ask("POST", "/v1/segment", fields)
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
        assert server.ask("GET", "/v1/health").status == 200
        Gated.gate.set()
        assert [f.result().status for f in asked] == [200] * 3
        name = 'likewise_requests_total{method="POST",route="/v1/segment",status="429"}'
        assert server.metric(name) == 3
        assert server.ask("POST", "/v1/segment", fields).status == 200


def test_a_request_that_takes_too_long(gated: Callable[[], Segmenter], example: Any, scene: Path):
    with serving(gated, timeout=1.0) as server, ThreadPoolExecutor(3) as pool:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        asked = [pool.submit(server.ask, "POST", "/v1/segment", fields) for _ in range(3)]
        assert [f.result().status for f in asked] == [504] * 3
        assert "1 seconds" in asked[0].result().error
        assert server.metric("likewise_queue_length") == 0
        Gated.gate.set()
        assert server.ask("POST", "/v1/segment", fields).status == 200
        assert Gated.count == 2  # the first, and this one: what had not begun was dropped


def test_a_mistake_of_ours_is_an_answer_too(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder)) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        body, kind = form([("reference", known), ("image", scene / "a.jpg")])
        length = f"Content-Length: {len(body)}"
        with (
            mock.patch.object(Segmenter, "segment", side_effect=ZeroDivisionError("secret")),
            server.raw(head("segment", f"Content-Type: {kind}", length), body) as connection,
        ):
            answer = read_raw(connection)
        assert answer.status == 500
        assert "secret" not in answer.error
        fields = [("reference", known), ("image", scene / "a.jpg")]
        assert server.ask("POST", "/v1/segment", fields).status == 200


def test_metrics(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder)) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        for _ in range(2):
            server.ask("POST", "/v1/segment", fields)
        server.ask("GET", f"/v1/references/{NOBODY}")
        server.ask("GET", "/v1/made-up")
        count = "likewise_requests_total{{method={},route={},status={}}}".format
        assert server.metric(count('"POST"', '"/v1/segment"', '"200"')) == 2
        assert server.metric(count('"GET"', '"/v1/references/{id}"', '"404"')) == 1
        assert server.metric(count('"GET"', '"other"', '"404"')) == 1
        assert server.metric("likewise_segment_seconds_count") == 2
        assert server.metric('likewise_segment_seconds_bucket{le="+Inf"}') == 2
        assert server.metric("likewise_segment_seconds_sum") > 0
        text = server.ask("GET", "/v1/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = text.body.decode().splitlines()
        assert all(line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 for line in lines)

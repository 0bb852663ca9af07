"""The one thread of a server that uses the model."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from likewise.errors import LikewiseError
from likewise.web.errors import RefusedError
from likewise.web.model_thread import ModelThread


def refused(thread: ModelThread) -> int:
    with pytest.raises(RefusedError) as error:
        thread.call(lambda: None)
    return error.value.status


def test_work_is_done_in_one_thread_in_its_order() -> None:
    thread, done = ModelThread(32, 60.0), []
    for k in range(5):
        thread.later(lambda k=k: done.append((k, threading.get_ident())))
    assert thread.call(lambda: len(done)) == 5
    assert asyncio.run(thread.run(lambda: [k for k, _ in done])) == [0, 1, 2, 3, 4]
    assert len({ident for _, ident in done} - {threading.get_ident()}) == 1
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)
    with pytest.raises(TimeoutError, match="its own"):
        thread.call(raising(TimeoutError("its own")))


def raising(error: Exception):
    def work() -> None:
        raise error

    return work


def test_a_queue_that_is_full_and_work_that_takes_too_long() -> None:
    thread, gate, begun = ModelThread(1, 0.2), threading.Event(), threading.Event()
    thread.later(lambda: (begun.set(), gate.wait(60)))
    assert begun.wait(60)
    dropped: list[int] = []
    with pytest.raises(RefusedError) as late:
        thread.call(lambda: dropped.append(1))
    assert late.value.status == 504
    thread.later(lambda: None)
    assert refused(thread) == 429
    thread.later(lambda: None)  # what nobody waits for has no limit
    assert thread.waiting == 2
    gate.set()
    while thread.waiting:
        time.sleep(0.01)
    thread.call(lambda: None)
    assert dropped == []


def test_errors_of_what_nobody_waits_for_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    thread = ModelThread(32, None)
    thread.later(raising(LikewiseError("this is wrong.")))
    thread.later(raising(ValueError("a mistake")))
    thread.call(lambda: None)
    first, second = capsys.readouterr().err.split("\n", 1)
    assert first == "likewise: this is wrong."
    assert second.startswith("Traceback")
    assert "a mistake" in second


def test_a_thread_that_is_stopped_refuses_what_waits_and_comes() -> None:
    thread, gate, done = ModelThread(32, None), threading.Event(), []
    thread.later(lambda: gate.wait(60))
    waiting = thread.submit(lambda: done.append("never"))
    thread.stop(lambda: done.append("last"))
    gate.set()
    assert refused(thread) == 503
    assert isinstance(waiting.exception(60), RefusedError)
    assert done == ["last"]


def test_who_waits_goes_between_parts_of_long_work() -> None:
    thread, begun, asked, order = ModelThread(32, None), threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        assert asked.wait(60)
        order.append(thread.between())
        order.append("long")

    thread.later(long)
    assert begun.wait(60)
    first = thread.submit(lambda: order.append(thread.between()))
    thread.submit(lambda: order.append("dropped")).cancel()
    thread.later(lambda: order.append("later"))
    asked.set()
    first.result(60)
    thread.call(lambda: None)
    assert order == [False, True, "long", "later"]

"""Two tabs at once, and a full disk in the loop: nothing is lost, nothing is learnt twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from likewise.project.settings import read_settings
from page_site import Site, box, written
from scenes import full_disk

NAMES = ("a.jpg", "b.jpg", "c.jpg")


def at_once(*doings: Callable[[], Any]) -> list[Any]:
    """What they give, begun together."""
    found: list[Any] = [None] * len(doings)
    start = threading.Barrier(len(doings))

    def one(k: int) -> None:
        start.wait()
        found[k] = doings[k]()

    threads = [threading.Thread(target=one, args=[k]) for k in range(len(doings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def learnt(folder: Path) -> list[str]:
    """Images of the references that were learnt, in order."""
    return [r.image for r in read_settings(folder).references if "learnt" in str(r.mask)]


def test_two_tabs_judge_and_correct_the_same_masks(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    site.do("PUT", "/api/learn", {"on": True})
    site.wait()
    painted = box(5, 7, 20, 30)
    for name in NAMES:
        statuses = [409]
        while 200 not in statuses:  # the loop was faster, or makes it anew at the moment
            target = site.target(name)
            path, version = f"/api/targets/{target['id']}", target["version"]
            save = f"{path}/mask?width=48&height=40&version={version}"
            correct = partial(site.ask, "PUT", save, painted.tobytes())
            verdict = {"verdict": "accepted", "version": version}
            judge = partial(site.ask, "PUT", f"{path}/verdict", verdict)
            answers = at_once(correct, judge, judge)
            statuses = [status for status, *_ in answers]
        # The one that comes first holds; the others are told, and see what is there now.
        assert statuses.count(200) == 1
        told = [body.decode() for status, body, _ in answers if status != 200]
        assert all("meanwhile" in text or "at the moment" in text for text in told)
        now = site.target(name)
        corrected = statuses[0] == 200
        assert (now["source"], now["verdict"]) == (
            ("person", None) if corrected else ("model", "accepted")
        )
        assert (written(site, name) == painted).all() == corrected
        # The correction is saved again, in place of the mask that was accepted.
        if not corrected:
            site.correct(name, painted)
        site.judge(name, "accepted")
    state = site.wait()
    assert {t["status"] for t in state["targets"]} == {"accepted"}
    assert learnt(site.folder) == [f"images/{name}" for name in NAMES]
    made = [t["made"] for t in state["targets"]]
    at_once(site.worker.wish, site.worker.wish, lambda: site.do("POST", "/api/retry"))
    assert [t["made"] for t in site.wait()["targets"]] == made
    assert learnt(site.folder) == [f"images/{name}" for name in NAMES]


def test_two_tabs_switch_and_judge(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    state = site.wait()
    targets = {t["name"]: t for t in state["targets"]}

    def judge(name: str, verdict: str | None) -> Callable[[], Any]:
        body = {"verdict": verdict, "version": targets[name]["version"]}
        return lambda: site.ask("PUT", f"/api/targets/{targets[name]['id']}/verdict", body)

    def switch(on: bool) -> Callable[[], Any]:
        return lambda: site.ask("PUT", "/api/learn", {"on": on})

    answers = at_once(judge("a.jpg", "accepted"), switch(True), judge("b.jpg", "accepted"))
    assert [status for status, *_ in answers] == [200, 200, 200]
    site.wait()
    assert learnt(site.folder) == ["images/a.jpg", "images/b.jpg"]
    targets = {t["name"]: t for t in site.state()["targets"]}
    answers = at_once(switch(True), judge("b.jpg", "rejected"), judge("a.jpg", None))
    assert [status for status, *_ in answers] == [200, 200, 200]
    site.wait()
    assert learnt(site.folder) == []
    assert list((site.folder / "references" / "learnt").iterdir()) == []


def test_a_disk_that_is_full_in_the_loop(site: Site, thing: np.ndarray) -> None:
    """At each moment: one sentence, and all goes on as if nothing had been once there is room."""
    site.paint("reference.png", thing)
    site.wait()
    painted = box(5, 7, 20, 30)
    site.correct("a.jpg", painted)
    site.judge("b.jpg", "accepted")
    site.wait()

    def masks() -> list[bytes]:
        return [(site.folder / "masks" / f"{name[0]}.png").read_bytes() for name in NAMES]

    def turn(on: bool) -> None:
        site.do("PUT", "/api/learn", {"on": on})
        site.wait()

    plain = masks()
    turn(True)
    calm = masks()
    assert learnt(site.folder) == ["images/a.jpg", "images/b.jpg"]
    turn(False)
    assert masks() == plain
    sentences = []
    for room in range(12):
        with full_disk(room):
            status, body, _ = site.ask("PUT", "/api/learn", {"on": True})
            site.wait()
            said = site.worker.failed if status == 200 else str(body)
        assert ("the disk is full: free some space" in said) == (said != "")
        assert "\n" not in said
        sentences.append(said)
        assert site.do("GET", "/api/events")["failed"] == site.worker.failed
        # What a person made is there, and every mask is one that was written whole.
        assert masks()[:2] == plain[:2]
        assert masks()[2] in (plain[2], calm[2])
        assert [site.target(name)["status"] for name in NAMES[:2]] == ["corrected", "accepted"]
        assert learnt(site.folder) in ([], ["images/a.jpg", "images/b.jpg"])
        if status == 200:
            site.do("POST", "/api/retry")
            site.wait()
        else:
            turn(True)
        assert site.worker.failed == ""
        assert masks() == calm
        assert learnt(site.folder) == ["images/a.jpg", "images/b.jpg"]
        assert len(list((site.folder / "references" / "learnt").iterdir())) == 2
        turn(False)
        assert masks() == plain
    assert sentences[0]
    assert not sentences[-1]  # there was room for all


def test_a_correction_on_a_full_disk(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    before, target = written(site, "a.jpg"), site.target("a.jpg")
    path = f"/api/targets/{target['id']}/mask?width=48&height=40"
    painted = box(5, 7, 20, 30)
    for room in range(2):
        with full_disk(room):
            said = site.refused("PUT", path, painted.tobytes())
        assert said.endswith("cannot be written (the disk is full: free some space).")
        np.testing.assert_array_equal(written(site, "a.jpg"), before)
        site.worker.wish()
        site.wait()
        assert site.target("a.jpg")["status"] == "done"  # it is not taken for a person's
    site.correct("a.jpg", painted)
    assert site.target("a.jpg")["status"] == "corrected"

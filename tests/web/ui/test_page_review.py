"""Reviewing: verdicts on several masks, the loop that learns, pause, undo of removals, datasets."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from likewise.project.settings import read_settings
from page_site import TWO, Site, box, exported, written


def test_one_verdict_on_several(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    state = site.wait()
    seen = [{"id": t["id"], "version": t["version"]} for t in state["targets"]]
    seen[1]["version"] = "old"
    said = site.do("PUT", "/api/verdicts", {"verdict": "accepted", "targets": seen})
    assert [t["status"] for t in said["targets"]] == ["accepted", "accepted"]
    assert [text for text in said["left"] if "was changed meanwhile" in text] == said["left"]
    assert len(said["left"]) == 1
    assert [t["status"] for t in site.state()["targets"]] == ["accepted", "done", "accepted"]
    judged = exported(site)
    assert judged.keys() == {"a", "b", "c"}
    status, content, _ = site.ask("POST", "/api/export?kind=masks&zipped=true&judged=true")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert not any("b." in name for name in archive.namelist())


def test_what_is_accepted_is_learnt_and_unlearnt(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    site.correct("a.jpg", box(5, 7, 20, 30))
    site.wait()
    before = site.target("c.jpg")["made"]
    heard = site.do("GET", "/api/events")
    site.do("PUT", "/api/learn", {"on": True})
    state = site.wait()
    query = f"server={heard['server']}&since={heard['last']}"
    events = site.do("GET", f"/api/events?{query}")["events"]
    left = [e["again"] for e in events if e["kind"] == "work" and e["doing"] == "segmenting"]
    assert left == [2, 1, 0]  # masks that would change
    assert state["work"]["again"] == 0
    assert state["learn"]
    assert [(p["name"], p["learnt"]) for p in state["pictures"]] == [
        ("reference.png", False),
        ("a.jpg", True),
    ]
    references = read_settings(site.folder).references
    assert (references[1].image, references[1].value) == ("images/a.jpg", 1)
    copy = site.folder / str(references[1].mask)
    assert copy.read_bytes() == (site.folder / "masks" / "a.png").read_bytes()
    learnt = site.target("c.jpg")["made"]
    assert learnt != before  # the others were done again
    np.testing.assert_array_equal(written(site, "a.jpg"), box(5, 7, 20, 30))
    site.worker.wish()
    site.wait()
    assert site.target("c.jpg")["made"] == learnt  # nothing is learnt twice
    site.judge("a.jpg", "rejected")
    site.wait()
    assert len(read_settings(site.folder).references) == 1
    assert not copy.exists()
    assert site.target("c.jpg")["made"] == before
    site.judge("a.jpg", "accepted")
    site.wait()
    assert len(read_settings(site.folder).references) == 2
    # A removal is undone though the loop has changed what is learnt meanwhile.
    undo = site.do("DELETE", f"/api/targets/{site.target('a.jpg')['id']}")["undo"]
    site.wait()
    assert len(read_settings(site.folder).references) == 1
    site.do("POST", f"/api/undo/{undo}")
    site.wait()
    assert site.target("a.jpg")["status"] == "accepted"
    assert len(read_settings(site.folder).references) == 2
    site.do("PUT", "/api/learn", {"on": False})
    site.wait()
    assert len(read_settings(site.folder).references) == 1


def test_pause(site: Site, thing: np.ndarray) -> None:
    site.wait()
    site.do("PUT", "/api/pause", {"on": True})
    assert site.state()["work"]["paused"]
    site.paint("reference.png", thing)
    site.worker.thread.call(lambda: None)
    assert {t["status"] for t in site.state()["targets"]} == {"pending"}
    site.do("PUT", "/api/pause", {"on": False})
    state = site.wait()
    assert {t["status"] for t in state["targets"]} == {"done"}


def test_removals_are_undone(site: Site, thing: np.ndarray) -> None:
    site.do("PUT", "/api/classes", TWO)
    painted = thing + 2 * box(34, 2, 39, 8)
    site.paint("reference.png", painted)
    site.wait()
    site.judge("a.jpg", "accepted")
    before = site.state()
    reference = before["pictures"][0]["id"]
    first = site.do("DELETE", f"/api/references/{reference}")["undo"]
    assert site.state()["pictures"] == []
    second = site.do("DELETE", f"/api/targets/{before['targets'][0]['id']}")["undo"]
    assert len(site.state()["targets"]) == 2
    assert not (site.folder / "images" / "a.jpg").exists()
    site.do("POST", f"/api/undo/{second}")
    site.do("POST", f"/api/undo/{first}")
    assert "cannot be undone" in site.refused("POST", f"/api/undo/{first}")
    third = site.do("PUT", "/api/classes?erase=true", TWO[:1])["undo"]
    assert site.state()["labels"] == ["red"]
    fourth = site.do("PUT", "/api/classes", [{**TWO[0], "label": "other"}, *TWO])["undo"]
    assert "changed since" in site.refused("POST", f"/api/undo/{third}")
    site.do("POST", f"/api/undo/{fourth}")
    site.do("POST", f"/api/undo/{third}")
    after = site.wait()
    assert after["classes"] == before["classes"]
    assert [p["version"] for p in after["pictures"]] == [p["version"] for p in before["pictures"]]
    assert [t["status"] for t in after["targets"]] == ["accepted", "done", "done"]
    np.testing.assert_array_equal(
        np.frombuffer(site.get(f"/api/references/{reference}/painted")[8:], np.uint8),
        painted.ravel(),
    )


def test_the_example_is_painted_on_any_picture(site: Site) -> None:
    target = site.target("b.jpg")
    path = f"/api/references/{target['id']}"
    assert site.do("GET", path)["labels"] == []
    painted = box(5, 7, 20, 30)
    site.do("PUT", f"{path}?width=48&height=40", painted.tobytes())
    state = site.wait()
    assert [p["name"] for p in state["pictures"]] == ["reference.png", "b.jpg"]
    assert json.loads((site.folder / "masks" / "labels.json").read_text()) == {"1": "object"}
    assert {t["name"] for t in state["targets"]} == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_dataset_is_split_and_touching_things_are_told_apart(
    site: Site, thing: np.ndarray
) -> None:
    site.paint("reference.png", thing)
    site.wait()
    y, x = np.mgrid[:40, :48]
    discs = [(x - cx) ** 2 + (y - 20) ** 2 <= 10**2 for cx in (13, 33)]
    discs[0] |= (abs(y - 20) <= 1) & (abs(x - 23) < 3)  # they touch
    site.correct("a.jpg", (discs[0] | discs[1]).astype(np.uint8))

    def instances(query: str) -> dict[str, int]:
        status, content, _ = site.ask(
            "POST", f"/api/export?kind=coco&zipped=true&judged=true&{query}"
        )
        assert status == 200, content
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [n for n in archive.namelist() if n.endswith(".json")]
            return {n: len(json.loads(archive.read(n))["annotations"]) for n in names}

    assert instances("") == {"annotations.json": 1}
    assert instances("apart=true") == {"annotations.json": 2}
    split = instances("apart=true&val=0.5")
    assert split.keys() == {"train.json", "val.json"}
    assert sum(split.values()) == 2
    assert "no share" in site.refused("POST", "/api/export?kind=coco&zipped=true&val=1")

"""The page's server over HTTP: from a painted reference to a dataset, and who may ask for what."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import sqlite3
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from bad_inputs import make_scene, run, sandbox

pytest.importorskip("fastapi", reason="the extra ui is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.backbones.encoder import Encoder  # noqa: E402
from likewise.batch.layers import Sliders, read_layers  # noqa: E402
from likewise.batch.project import DATABASE, Project  # noqa: E402
from likewise.batch.settings import Settings, read_settings, replace_settings  # noqa: E402
from likewise.listening import bind  # noqa: E402
from likewise.page import page  # noqa: E402
from likewise.page.feed import Feed  # noqa: E402
from likewise.page.worker import Worker  # noqa: E402
from likewise.page.workspace import Workspace  # noqa: E402

TOKEN = "a-secret-for-tests"


@dataclasses.dataclass
class Site:
    """A server that runs, asked as a browser with its cookie asks."""

    folder: Path
    port: int
    worker: Worker

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
            idle = self.worker.doing["doing"] == "idle" and not self.worker._stale()
            if idle:
                return self.state()
            time.sleep(0.02)
        raise AssertionError(f"still {self.worker.doing}")

    def paint(self, name: str, values: np.ndarray) -> None:
        """Save what is painted on a reference picture."""
        wanted = next(p["id"] for p in self.state()["pictures"] if p["name"] == name)
        size = f"width={values.shape[1]}&height={values.shape[0]}"
        self.do("PUT", f"/api/references/{wanted}?{size}", values.tobytes())

    def mask(self, name: str) -> np.ndarray:
        """As the page gets it."""
        data = self.get(f"/api/targets/{self.target(name)['id']}/mask")
        height, width = np.frombuffer(data[:8], "<u4")
        return np.frombuffer(data[8:], np.uint8).reshape(height, width)


@contextmanager
def served(folder: Path) -> Iterator[Site]:
    """The page of a project, in threads of this process."""
    workspace, feed = Workspace(folder), Feed()
    worker = Worker(workspace, feed, device="cpu", dtype="auto", offline=True)
    listening = bind("127.0.0.1", 0, secret=True)
    listening.listen()
    port = listening.getsockname()[1]
    app = page.make_app(workspace, worker, feed, TOKEN, "127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Site(folder, port, worker)
    finally:
        feed.closed = server.should_exit = True
        worker.stop()
        thread.join(20)
        worker.join(20)
        listening.close()


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        replace_settings(folder / "work", Settings((), (), backbone="../tiny", image_size=64))
        yield folder


@pytest.fixture
def site(scene: Path) -> Iterator[Site]:
    """With a reference picture that is not painted yet and the targets a, b and c."""
    with served(scene / "work") as found:
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            found.do(
                "PUT", f"/api/uploads?name={name}&reference=false", (scene / name).read_bytes()
            )
        content = (scene / "reference.png").read_bytes()
        found.do("PUT", "/api/uploads?name=reference.png&reference=true", content)
        yield found


@pytest.fixture
def thing(scene: Path) -> np.ndarray:
    """The mask of the scene's example, as the page paints class 1."""
    return (np.asarray(Image.open(scene / "mask.png")) > 0).astype(np.uint8)


def written(site: Site, name: str) -> np.ndarray:
    return np.asarray(Image.open(site.folder / "masks" / f"{Path(name).stem}.png"))


def test_a_painted_reference_masks_all_targets(site: Site, thing: np.ndarray) -> None:
    assert {t["state"] for t in site.wait()["targets"]} == {"pending"}
    line = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    line.request("GET", "/api/events", headers={"cookie": f"likewise-{site.port}={TOKEN}"})
    events = line.getresponse()
    assert events.getheader("content-type", "").startswith("text/event-stream")
    site.paint("reference.png", thing)
    seen: list[Any] = []
    while not (seen and seen[-1]["kind"] == "work" and seen[-1]["doing"] == "idle"):
        text = events.readline().decode()
        if text.startswith("data: "):
            seen.append(json.loads(text[6:]))
    line.close()
    done = [event["target"]["name"] for event in seen if event["kind"] == "target"]
    assert done == ["a.jpg", "b.jpg", "c.jpg"]
    state = site.state()
    assert {t["state"] for t in state["targets"]} == {"done"}
    assert [t["doubt"] for t in state["targets"]].count(None) == 0
    project = Project(site.folder)
    encoder, _ = project.encoder(Encoder, device="cpu", dtype="auto", offline=True)
    segmenter = project.segmenter(encoder).fit(project.references())
    for target in state["targets"]:
        own = segmenter.segment(site.folder / "images" / target["name"])
        np.testing.assert_array_equal(written(site, target["name"]), own.label_map)
        found = read_layers(site.folder / "layers" / f"{target['name'][0]}.npz")
        assert found is not None
        assert site.get(f"/api/targets/{target['id']}/layers") == found[0].blob()
        header = np.frombuffer(found[0].blob()[:24], "<u4").tolist()
        assert header == [1, 4, 4, 40, 48, 15]
        picture = Image.open(io.BytesIO(site.get(f"/api/targets/{target['id']}/picture?side=320")))
        assert picture.size == (48, 40)
    assert any(written(site, name).any() for name in ("a.jpg", "b.jpg", "c.jpg"))


def test_sliders_are_kept_and_move_what_nobody_judged(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    before = {name: written(site, name) for name in ("a.jpg", "b.jpg", "c.jpg")}
    a = site.target("a.jpg")
    site.do("PUT", f"/api/targets/{a['id']}/state", {"state": "accepted", "version": a["version"]})
    sliders = Sliders(-6.0, 0.05)
    site.do("PUT", "/api/sliders", dataclasses.asdict(sliders))
    state = site.wait()
    assert state["sliders"] == {"threshold": -6.0, "granularity": 0.05}
    np.testing.assert_array_equal(written(site, "a.jpg"), before["a.jpg"])
    for name in ("b.jpg", "c.jpg"):
        found = read_layers(site.folder / "layers" / f"{name[0]}.npz")
        assert found is not None
        assert found[1] == sliders
        moved = found[0].result(sliders, "none").label_map
        np.testing.assert_array_equal(written(site, name), moved)
    assert any((written(site, n) != before[n]).any() for n in ("b.jpg", "c.jpg"))
    # A verdict is on what the sliders show, even if the worker has not come to it.
    site.worker.stop()
    site.worker.join()
    site.do("PUT", "/api/sliders", {"threshold": 0, "granularity": 0})
    b = site.target("b.jpg")
    site.do("PUT", f"/api/targets/{b['id']}/state", {"state": "accepted", "version": b["version"]})
    np.testing.assert_array_equal(written(site, "b.jpg"), before["b.jpg"])


def test_layers_that_are_gone_are_made_again(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    layers = site.folder / "layers" / "b.npz"
    content = layers.read_bytes()
    layers.unlink()
    site.worker.wish()
    site.wait()
    assert read_layers(layers) is not None
    assert len(layers.read_bytes()) == len(content)


def test_verdicts_corrections_and_further_references(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    ids = {t["name"]: t["id"] for t in site.state()["targets"]}
    a, b = site.target("a.jpg"), site.target("b.jpg")
    verdict = {"state": "rejected", "version": a["version"]}
    assert site.do("PUT", f"/api/targets/{ids['a.jpg']}/state", verdict)["state"] == "rejected"
    painted = np.zeros((40, 48), np.uint8)
    painted[5:20, 7:30] = 1
    answer = site.do(
        "PUT", f"/api/targets/{ids['b.jpg']}/mask?width=48&height=40", painted.tobytes()
    )
    assert answer["state"] == "corrected"
    np.testing.assert_array_equal(written(site, "b.jpg"), painted)
    np.testing.assert_array_equal(site.mask("b.jpg"), painted)
    # Judged on another version than that which is there.
    stale = {"state": "accepted", "version": "old"}
    assert "masked anew" in site.refused("PUT", f"/api/targets/{ids['c.jpg']}/state", stale)
    # It becomes a reference: all that nobody judged is made again.
    run_before = site.target("c.jpg")["version"]
    site.do("POST", f"/api/targets/{ids['b.jpg']}/promote")
    state = site.wait()
    assert [p["name"] for p in state["pictures"]] == ["reference.png", "b.jpg"]
    assert site.target("c.jpg")["version"] != run_before
    assert site.target("a.jpg")["version"] == a["version"]
    assert site.target("b.jpg")["state"] == "corrected"
    np.testing.assert_array_equal(written(site, "b.jpg"), painted)
    references = read_settings(site.folder).references
    assert references[1].image == "images/b.jpg"
    assert references[1].mask == "references/b.mask.png"
    # Taken back, its mask is the segmenter's again.
    undo = {"state": "done", "version": b["version"]}
    site.do("PUT", f"/api/targets/{ids['b.jpg']}/state", undo)
    site.wait()
    assert site.target("b.jpg")["state"] == "done"
    assert (written(site, "b.jpg") != painted).any()


def test_a_verdict_holds_while_its_image_is_being_done(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    before, painted = written(site, "c.jpg"), np.zeros((40, 48), np.uint8)
    painted[:3, :3] = 1
    target = site.target("c.jpg")
    claimed = site.worker._claim({"images/c.jpg": "done"})
    with Workspace(site.folder).opened() as project:
        job = next(job for job in project.jobs() if job.target.name == "c.jpg")
    path = f"/api/targets/{target['id']}/mask?width=48&height=40"
    site.do("PUT", path, painted.tobytes())
    with claimed(job) as free:  # a run that began before the correction comes to write
        assert not free
    site.do(
        "PUT", f"/api/targets/{target['id']}/state", {"state": "done", "version": target["version"]}
    )
    site.wait()
    np.testing.assert_array_equal(written(site, "c.jpg"), before)
    with site.worker._claim({"images/c.jpg": "done"})(job) as free:
        assert free
        # … and one that is being written cannot be judged.
        with sqlite3.connect(site.folder / DATABASE) as database:
            (state,) = database.execute(
                "SELECT state FROM images WHERE path = 'images/c.jpg'"
            ).fetchone()
        assert state == "pending"


def test_the_newest_reference_wins(site: Site, thing: np.ndarray) -> None:
    other = np.roll(thing, 7, axis=0)
    site.paint("reference.png", thing)
    site.paint("reference.png", other)
    state = site.wait()
    assert len({t["version"][:32] for t in state["targets"]}) == 1
    project = Project(site.folder)
    _, backbone = project.encoder(Encoder, device="cpu", dtype="auto", offline=True)
    assert state["targets"][0]["version"].startswith(project.run_key(backbone))
    wanted = state["pictures"][0]["id"]
    data = site.get(f"/api/references/{wanted}/painted")
    np.testing.assert_array_equal(np.frombuffer(data[8:], np.uint8).reshape(40, 48), other)


def test_classes_and_what_it_is_not(site: Site, thing: np.ndarray) -> None:
    classes = [{"label": "red", "colour": "#ff0000"}, {"label": "dot", "colour": "#00ff00"}]
    site.do("PUT", "/api/classes", classes)
    painted = thing.copy()
    painted[34:39, 2:8] = 2
    painted[1:4, 40:47] = 255
    site.paint("reference.png", painted)
    state = site.wait()
    assert state["labels"] == ["red", "dot"]
    references = read_settings(site.folder).references
    assert [(r.label, r.value, r.negative) for r in references] == [
        ("red", 1, False),
        ("dot", 2, False),
        ("object", 255, True),
    ]
    wanted = state["pictures"][0]["id"]
    data = site.get(f"/api/references/{wanted}/painted")
    np.testing.assert_array_equal(np.frombuffer(data[8:], np.uint8).reshape(40, 48), painted)
    a = site.target("a.jpg")
    site.do("PUT", f"/api/targets/{a['id']}/state", {"state": "accepted", "version": a["version"]})
    renamed = [{**classes[0], "label": "ruby", "was": "red"}, classes[1]]
    site.do("PUT", "/api/classes", renamed)
    state = site.wait()
    assert state["labels"] == ["ruby", "dot"]
    assert {t["state"] for t in state["targets"]} == {"done", "accepted"}
    labels = json.loads((site.folder / "masks" / "labels.json").read_text())
    assert labels == {"1": "ruby", "2": "dot"}
    twice = [{**classes[0]}, {**classes[1], "label": "red"}]
    assert "name of its own" in site.refused("PUT", "/api/classes", twice)
    assert "still has references" in site.refused("PUT", "/api/classes", renamed[:1])
    site.do("DELETE", f"/api/references/{wanted}")
    assert site.state()["pictures"] == []
    assert read_settings(site.folder, unfinished=True).references == ()
    assert [p.name for p in (site.folder / "references").iterdir()] == []


def test_datasets_and_the_other_commands(site: Site, thing: np.ndarray) -> None:
    assert "no mask to export" in site.refused("POST", "/api/export?kind=coco&zipped=true")
    site.paint("reference.png", thing)
    site.wait()
    site.do("PUT", "/api/sliders", {"threshold": -9, "granularity": 0})
    a = site.target("a.jpg")
    site.do("PUT", f"/api/targets/{a['id']}/state", {"state": "rejected", "version": a["version"]})
    status, content, headers = site.ask("POST", "/api/export?kind=coco&zipped=true")
    assert status == 200
    assert headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        coco = json.loads(archive.read("annotations.json"))
    assert [image["file_name"] for image in coco["images"]] == ["b.jpg", "c.jpg"]
    pixels = sum(annotation["area"] for annotation in coco["annotations"])
    assert pixels == sum((written(site, name) > 0).sum() for name in ("b.jpg", "c.jpg")) > 0
    for kind in site.state()["formats"]:
        out = Path(site.do("POST", f"/api/export?kind={kind}&zipped=false")["path"])
        assert out.parent.samefile(site.folder)
        assert any(out.iterdir())
    assert "unknown" in site.refused("POST", "/api/export?kind=svg&zipped=true")
    listed = run(["review", str(site.folder), "--json"])
    assert [Path(row["path"]).name for row in json.loads(listed.out)] != []
    assert (
        run(["review", str(site.folder), "--accept", str(site.folder / "images/b.jpg")]).code == 0
    )
    assert site.target("b.jpg")["state"] == "accepted"
    assert run(["report", str(site.folder)]).code == 0
    counts = json.loads(run(["annotate", str(site.folder), "--json", "--device", "cpu"]).out)
    assert (counts["done_now"], counts["kept"]) == (0, 3)  # nothing is done twice


def test_nothing_is_lost_when_it_ends(scene: Path, thing: np.ndarray) -> None:
    with served(scene / "work") as site:
        site.do("POST", "/api/folders", {"path": str(scene / "[ab].jpg")})
        site.do(
            "PUT", "/api/uploads?name=r.png&reference=true", (scene / "reference.png").read_bytes()
        )
        site.paint("r.png", thing)
        before = site.wait()
        site.do("PUT", "/api/sliders", {"threshold": 1.5, "granularity": 0.1})
    with served(scene / "work") as site:
        after = site.wait()
        assert after["sliders"] == {"threshold": 1.5, "granularity": 0.1}
        assert [t["version"] for t in after["targets"]] == [t["version"] for t in before["targets"]]
        found = read_layers(site.folder / "layers" / "a.npz")
        assert found is not None
        assert found[1] == Sliders(1.5, 0.1)


def test_what_cannot_be_used_is_said_in_a_sentence(site: Site, scene: Path) -> None:
    upload = "/api/uploads?reference=false&name="
    assert "cannot be read as a picture" in site.refused("PUT", f"{upload}x.jpg", b"no picture")
    assert "no picture by its name" in site.refused("PUT", f"{upload}x.txt", b"text")
    content = (scene / "a.jpg").read_bytes()
    site.do("PUT", f"{upload}{quote('../../a b.jpg')}", content)
    assert (site.folder / "images" / "a_b.jpg").read_bytes() == content
    assert not (scene / "a b.jpg").exists()
    site.do("PUT", f"{upload}a.jpg", content)  # a second a
    assert (site.folder / "images" / "a-2.jpg").is_file()
    assert "does not exist" in site.refused("POST", "/api/folders", {"path": "/nowhere/at all"})
    assert "no folder was named" in site.refused("POST", "/api/folders", {"path": " "})
    twin = scene / "twin"
    twin.mkdir()
    (twin / "a.png").write_bytes((scene / "reference.png").read_bytes())
    assert "would both be written" in site.refused("POST", "/api/folders", {"path": str(twin)})
    assert len(site.state()["targets"]) == 5
    picture = site.state()["pictures"][0]["id"]
    everything = np.ones((40, 48), np.uint8).tobytes()
    path = f"/api/references/{picture}?width=48&height=40"
    assert "all of reference.png is painted" in site.refused("PUT", path, everything)
    assert "in pieces" in site.refused("PUT", path, everything[:50])
    assert "no longer there" in site.refused("PUT", path, bytes([9]) * 40 + bytes(1880))
    short = f"/api/references/{picture}?width=40&height=48"
    assert "does not fit" in site.refused("PUT", short, everything)
    assert "wrong" in site.refused("PUT", f"/api/references/{picture}", everything)
    gone = "/api/targets/0123456789abcdef0123/picture?side=320"
    assert "no longer in the project" in site.refused("GET", gone)
    assert "says no number" in site.refused(
        "PUT", "/api/sliders", {"threshold": float("nan"), "granularity": 0}
    )
    assert "has no mask" in site.refused("GET", f"/api/targets/{site.target('a.jpg')['id']}/mask")


def test_failed_images_are_listed_with_the_reason(
    site: Site, scene: Path, thing: np.ndarray
) -> None:
    (site.folder / "images" / "b.jpg").write_bytes(b"damaged")
    site.paint("reference.png", thing)
    site.wait()
    failed = site.target("b.jpg")
    assert failed["state"] == "failed"
    assert "is not an image" in failed["error"]
    assert {site.target(name)["state"] for name in ("a.jpg", "c.jpg")} == {"done"}
    assert "b.jpg" in site.refused("GET", f"/api/targets/{failed['id']}/picture?side=320")


def test_a_backbone_that_cannot_be_loaded_is_said_to_pages_that_come_later(scene: Path) -> None:
    replace_settings(scene / "work", Settings((), (), backbone="nonesuch"))
    with served(scene / "work") as site:
        site.wait()
        assert "nonesuch" in site.state()["failed"]
        content = (scene / "reference.png").read_bytes()
        site.do("PUT", "/api/uploads?name=r.png&reference=true", content)
        picture = site.state()["pictures"][0]["id"]
        assert "nonesuch" in site.refused("GET", f"/api/references/{picture}/regions")


def test_only_the_page_itself_may_ask(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"http://127.0.0.1:{site.port}"
    allowed = [{}, {"origin": own}, {"cookie": "", "authorization": f"Bearer {TOKEN}"}]
    allowed.append({"host": f"localhost:{site.port}", "origin": f"http://localhost:{site.port}"})
    refused = [
        {"cookie": ""},
        {"cookie": f"likewise-{site.port}=wrong"},
        {"cookie": f"likewise-{site.port + 1}={TOKEN}"},
        {"cookie": "", "authorization": "Bearer wrong"},
        {"host": "evil.example"},
        {"host": f"evil.example:{site.port}", "origin": f"http://evil.example:{site.port}"},
        {"host": "[::1"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": f"http://127.0.0.1:{site.port + 1}"},
    ]
    for headers in allowed:
        assert site.ask("GET", "/api/state", **headers)[0] == 200, headers
        assert site.ask("GET", "/main.js", **headers)[0] == 200, headers
    for headers in refused:
        for method, path in (("GET", "/"), ("GET", "/main.js"), ("POST", "/api/example")):
            assert site.ask(method, path, **headers)[0] == 403, headers
    assert len(site.state()["targets"]) == 3  # no example was loaded
    status, body, headers = site.ask("GET", f"/?token={TOKEN}", cookie="")
    assert status == 200
    assert b"<title>likewise</title>" in body
    assert headers["set-cookie"].startswith(f"likewise-{site.port}={TOKEN};")
    assert "SameSite=Strict" in headers["set-cookie"]
    assert "HttpOnly" in headers["set-cookie"]
    assert "default-src 'self'" in headers["content-security-policy"]
    for path in ("/../page.py", "/%2e%2e/page.py", "/..%2fpage.py", "/static/../../page.py"):
        assert site.ask("GET", path)[0] in (404, 405), path
    monkeypatch.setattr(page, "MAX_UPLOAD", 1000)
    path = "/api/uploads?name=a.jpg&reference=false"
    assert "is over" in site.refused("PUT", path, bytes(2000))


def test_everything_the_page_loads_is_served_from_here() -> None:
    for file in page.STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        outside = [
            line for line in text.splitlines() if "http" in line and "www.w3.org" not in line
        ]
        assert outside == [], file

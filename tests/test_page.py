"""The page's server over HTTP: from a painted reference to a dataset, and who may ask for what."""

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
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bad_inputs import make_scene, run, sandbox

pytest.importorskip("fastapi", reason="the extra ui is not installed")
pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.backbones.encoder import Encoder
from likewise.io.images import read_picture
from likewise.io.masks import nearest
from likewise.project.project import Project
from likewise.project.score_maps import Sliders, read_score_maps
from likewise.project.settings import ProjectSettings, read_settings
from likewise.project.settings_file import replace_settings
from likewise.web.guard import Access, project_token
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
    server = make_server(
        page.make_app(workspace, worker, Access(TOKEN, cookie=f"likewise-{port}")), patience=1
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Site(folder, port, worker)
    finally:
        server.should_exit = True
        worker.stop()
        thread.join(20)
        model._executor.shutdown()
        listening.close()


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        replace_settings(
            folder / "work", ProjectSettings((), (), backbone="../tiny", image_size=64)
        )
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
    heard = site.do("GET", "/api/events")
    assert heard["events"] == [{"kind": "reload"}]  # a page that is new asks for everything
    site.paint("reference.png", thing)
    seen: list[Any] = []
    while not (seen and seen[-1] == {"kind": "work", "doing": "idle", "left": 0, "total": 0}):
        asked = f"/api/events?since={heard['last']}&server={heard['server']}"
        heard = site.do("GET", asked)
        seen += heard["events"]
        time.sleep(0.01)
    done = [event["target"]["name"] for event in seen if event["kind"] == "target"]
    assert done == ["a.jpg", "b.jpg", "c.jpg"]
    state = site.state()
    assert {t["status"] for t in state["targets"]} == {"done"}
    assert [t["doubt"] for t in state["targets"]].count(None) == 0
    project = Project(site.folder)
    encoder, _ = project.encoder(Encoder, device="cpu", dtype="auto", offline=True)
    segmenter = project.segmenter(encoder).fit(project.references())
    for target in state["targets"]:
        own = segmenter.segment(site.folder / "images" / target["name"])
        np.testing.assert_array_equal(written(site, target["name"]), own.label_map)
        found = read_score_maps(site.folder / "layers" / f"{target['name'][0]}.npz")
        assert found is not None
        numbers = np.array([1], "<u4").tobytes()  # of the classes, in masks
        assert site.get(f"/api/targets/{target['id']}/layers") == found[0].blob() + numbers
        header = np.frombuffer(found[0].blob()[:24], "<u4").tolist()
        assert header == [1, 4, 4, 40, 48, 15]
        picture = Image.open(io.BytesIO(site.get(f"/api/targets/{target['id']}/picture?side=320")))
        assert picture.size == (48, 40)
    assert any(written(site, name).any() for name in ("a.jpg", "b.jpg", "c.jpg"))
    small = site.mask("a.jpg", "?side=24")  # what cards show
    np.testing.assert_array_equal(small, nearest(written(site, "a.jpg"), (20, 24)))
    np.testing.assert_array_equal(site.mask("a.jpg", "?side=999"), written(site, "a.jpg"))


def test_sliders_are_kept_and_move_what_nobody_judged(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    before = {name: written(site, name) for name in ("a.jpg", "b.jpg", "c.jpg")}
    site.judge("a.jpg", "accepted")
    sliders = Sliders(-6.0, 0.05)
    said = site.do("PUT", "/api/sliders", dataclasses.asdict(sliders))
    state = site.wait()
    assert state["sliders"] == said
    assert (said["threshold"], said["granularity"]) == (-6.0, 0.05)
    np.testing.assert_array_equal(written(site, "a.jpg"), before["a.jpg"])
    for name in ("b.jpg", "c.jpg"):
        found = read_score_maps(site.folder / "layers" / f"{name[0]}.npz")
        assert found is not None
        assert found[1] == sliders
        picture = read_picture(site.folder / "images" / name)
        moved = found[0].result(sliders, "guided", picture).label_map
        np.testing.assert_array_equal(written(site, name), moved)
    assert any((written(site, n) != before[n]).any() for n in ("b.jpg", "c.jpg"))
    # A verdict is on what the sliders show, even if the worker has not come to it.
    site.worker.stop()
    site.worker.thread._executor.shutdown()  # waits for it
    site.do("PUT", "/api/sliders", {"threshold": 0, "granularity": 0})
    site.judge("b.jpg", "accepted")
    np.testing.assert_array_equal(written(site, "b.jpg"), before["b.jpg"])


def test_layers_that_are_gone_are_made_again(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    score_maps = site.folder / "layers" / "b.npz"
    content = score_maps.read_bytes()
    score_maps.unlink()
    site.worker.wish()
    site.wait()
    assert read_score_maps(score_maps) is not None
    assert len(score_maps.read_bytes()) == len(content)


def box(top: int, left: int, bottom: int, right: int, value: int = 1) -> np.ndarray:
    """(40, 48) a painted rectangle."""
    painted = np.zeros((40, 48), np.uint8)
    painted[top:bottom, left:right] = value
    return painted


def test_verdicts_corrections_and_further_references(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    a, b = site.target("a.jpg"), site.target("b.jpg")
    assert site.judge("a.jpg", "rejected")["status"] == "rejected"
    painted = box(5, 7, 20, 30)
    answer = site.correct("b.jpg", painted)
    assert (answer["status"], answer["source"], answer["verdict"]) == ("corrected", "person", None)
    np.testing.assert_array_equal(written(site, "b.jpg"), painted)
    np.testing.assert_array_equal(site.mask("b.jpg"), painted)
    # It becomes a reference: all that nobody judged or made is made again.
    run_before, now = site.target("c.jpg")["version"], site.target("b.jpg")["version"]
    site.do("POST", f"/api/targets/{b['id']}/promote", {"version": now})
    state = site.wait()
    assert [p["name"] for p in state["pictures"]] == ["reference.png", "b.jpg"]
    assert site.target("c.jpg")["version"] != run_before
    assert site.target("a.jpg")["made"] == a["made"]
    promoted = site.target("b.jpg")
    assert (promoted["verdict"], promoted["source"]) == ("accepted", "person")
    np.testing.assert_array_equal(written(site, "b.jpg"), painted)
    references = read_settings(site.folder).references
    assert references[1].image == "images/b.jpg"
    assert references[1].mask == "references/masks/b.png"


def test_the_verdict_and_the_correction_are_two_things(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    found, painted = written(site, "b.jpg"), box(5, 7, 20, 30)
    site.correct("b.jpg", painted)
    site.judge("b.jpg", "accepted")
    assert site.judge("b.jpg", None)["status"] == "corrected"  # not: the model's
    site.do("PUT", "/api/sliders", {"threshold": -9, "granularity": 0})
    site.paint("reference.png", np.roll(thing, 7, axis=0))
    site.wait()
    np.testing.assert_array_equal(written(site, "b.jpg"), painted)
    np.testing.assert_array_equal(site.mask("b.jpg"), painted)
    np.testing.assert_array_equal(exported(site)["b"], painted)
    site.paint("reference.png", thing)
    site.do("PUT", "/api/sliders", {"threshold": 0, "granularity": 0})
    target = site.target("b.jpg")
    path = f"/api/targets/{target['id']}/restore"
    assert "was changed meanwhile" in site.refused("POST", path, {"version": "old"})
    site.do("POST", path, {"version": target["version"]})
    site.wait()
    assert site.target("b.jpg")["status"] == "done"
    np.testing.assert_array_equal(written(site, "b.jpg"), found)


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


def test_a_verdict_holds_while_its_image_is_being_done(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    with Workspace(site.folder).opened() as project:
        job = next(job for job in project.jobs() if job.target.name == "c.jpg")
    site.correct("c.jpg", box(0, 0, 3, 3))
    with site.worker._may_write(job) as free:  # a run that began before comes to write
        assert not free
    site.judge("a.jpg", "accepted")
    with Workspace(site.folder).opened() as project:
        other = next(job for job in project.jobs() if job.target.name == "a.jpg")
    with site.worker._may_write(other) as free:
        assert not free
    site.judge("a.jpg", None)
    site.wait()
    with site.worker._may_write(other) as free:
        assert free
        # … and one that is being written cannot be judged.
        assert site.target("a.jpg")["state"] == "pending"


def test_the_newest_reference_wins(site: Site, thing: np.ndarray) -> None:
    other = np.roll(thing, 7, axis=0)
    site.paint("reference.png", thing)
    site.paint("reference.png", other)
    state = site.wait()
    assert len({t["made"][:32] for t in state["targets"]}) == 1
    project = Project(site.folder)
    _, backbone = project.encoder(Encoder, device="cpu", dtype="auto", offline=True)
    assert state["targets"][0]["made"].startswith(project.run_key(backbone))
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
    site.judge("a.jpg", "accepted")
    renamed = [{**classes[0], "label": "ruby", "was": "red"}, classes[1]]
    site.do("PUT", "/api/classes", renamed)
    state = site.wait()
    assert state["labels"] == ["ruby", "dot"]
    assert {t["status"] for t in state["targets"]} == {"done", "accepted"}
    labels = json.loads((site.folder / "masks" / "labels.json").read_text())
    assert labels == {"1": "ruby", "2": "dot"}
    twice = [{**classes[0]}, {**classes[1], "label": "red"}]
    assert "name of its own" in site.refused("PUT", "/api/classes", twice)
    assert "still has references" in site.refused("PUT", "/api/classes", renamed[:1])
    site.do("DELETE", f"/api/references/{wanted}")
    assert site.state()["pictures"] == []
    assert read_settings(site.folder, unfinished=True).references == ()
    assert [p.name for p in (site.folder / "references").rglob("*")] == ["masks"]


def test_datasets_and_the_other_commands(site: Site, thing: np.ndarray) -> None:
    assert "no mask to export" in site.refused("POST", "/api/export?kind=coco&zipped=true")
    site.paint("reference.png", thing)
    site.wait()
    site.do("PUT", "/api/sliders", {"threshold": -9, "granularity": 0})
    site.judge("a.jpg", "rejected")
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
    assert site.target("b.jpg")["verdict"] == "accepted"
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
        assert after["sliders"]["threshold"] == 1.5
        assert after["sliders"]["granularity"] == 0.1
        assert [t["version"] for t in after["targets"]] == [t["version"] for t in before["targets"]]
        found = read_score_maps(site.folder / "layers" / "a.npz")
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
    site.do("POST", "/api/folders", {"path": str(twin)})  # a third a
    assert len(site.state()["targets"]) == 6
    picture = site.state()["pictures"][0]["id"]
    everything = np.ones((40, 48), np.uint8).tobytes()
    path = f"/api/references/{picture}?width=48&height=40"
    assert "all of reference.png is painted" in site.refused("PUT", path, everything)
    assert "in pieces" in site.refused("PUT", path, everything[:50])
    assert "no longer there" in site.refused("PUT", path, bytes([9]) * 40 + bytes(1880))
    short = f"/api/references/{picture}?width=40&height=48"
    assert "does not fit" in site.refused("PUT", short, everything)
    assert "missing" in site.refused("PUT", f"/api/references/{picture}", everything)
    gone = "/api/targets/0123456789abcdef0123/picture?side=320"
    assert "not in the project" in site.refused("GET", gone)
    for wrong in (float("nan"), 1e9, "1", None):
        assert "wrong" in site.refused(
            "PUT", "/api/sliders", {"threshold": wrong, "granularity": 0}
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
    replace_settings(scene / "work", ProjectSettings((), (), backbone="nonesuch"))
    with served(scene / "work") as site:
        site.wait()
        assert "nonesuch" in site.state()["failed"]
        content = (scene / "reference.png").read_bytes()
        site.do("PUT", "/api/uploads?name=r.png&reference=true", content)
        picture = site.state()["pictures"][0]["id"]
        assert "nonesuch" in site.refused("GET", f"/api/references/{picture}/regions")


def test_only_the_page_itself_may_ask(site: Site) -> None:
    own = f"http://127.0.0.1:{site.port}"
    allowed = [{}, {"origin": own}, {"cookie": "", "authorization": f"Bearer {TOKEN}"}]
    allowed.append({"host": f"localhost:{site.port}", "origin": f"http://localhost:{site.port}"})
    nameless = [
        {"cookie": ""},
        {"cookie": f"likewise-{site.port}=wrong"},
        {"cookie": f"likewise-{site.port + 1}={TOKEN}"},
        {"cookie": "", "authorization": "Bearer wrong"},
    ]
    refused = [
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
    for headers in (*nameless, *refused):
        for method, path in (("GET", "/"), ("GET", "/main.js"), ("POST", "/api/example")):
            status, body, _ = site.ask(method, path, **headers)
            assert status == (401 if headers in nameless else 403), headers
            assert json.loads(body)["error"].endswith(".")
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
    path = "/api/uploads?name=a.jpg&reference=false"
    line = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    line.putrequest("PUT", path)
    line.putheader("cookie", f"likewise-{site.port}={TOKEN}")
    line.putheader("content-length", str(page.LIMITS.max_bytes + 1))
    line.endheaders()
    refused_body = line.getresponse()
    assert refused_body.status == 413
    assert "add the folder" in json.loads(refused_body.read())["error"]
    line.close()


def test_everything_the_page_loads_is_served_from_here() -> None:
    for file in page.STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        outside = [
            line for line in text.splitlines() if "http" in line and "www.w3.org" not in line
        ]
        assert outside == [], file


TWO = [{"label": "red", "colour": "#ff0000"}, {"label": "dot", "colour": "#00ff00"}]


def test_classes_keep_their_numbers_when_the_first_one_goes(site: Site, thing: np.ndarray) -> None:
    site.do("PUT", "/api/classes", TWO)
    site.do(
        "PUT",
        "/api/uploads?name=second.png&reference=true",
        (site.folder / "references" / "reference.png").read_bytes(),
    )
    site.paint("reference.png", thing)
    site.paint("second.png", box(34, 2, 39, 8, value=2))
    site.wait()
    site.judge("a.jpg", "accepted")
    before = written(site, "a.jpg")
    first = next(p for p in site.state()["pictures"] if p["name"] == "reference.png")
    site.do("DELETE", f"/api/references/{first['id']}")
    state = site.wait()
    assert state["labels"] == ["dot"]
    assert state["failed"] == ""
    assert {t["status"] for t in state["targets"]} == {"accepted", "done"}
    np.testing.assert_array_equal(written(site, "a.jpg"), before)
    assert set(np.unique(written(site, "b.jpg"))) <= {0, 2}
    site.correct("c.jpg", box(1, 1, 9, 9, value=2))  # as the page paints it
    np.testing.assert_array_equal(written(site, "c.jpg"), box(1, 1, 9, 9, value=2))
    labels = json.loads((site.folder / "masks" / "labels.json").read_text())
    assert labels == {"1": "red", "2": "dot"}
    # The layers of b say which class their scores are of.
    data = site.get(f"/api/targets/{site.target('b.jpg')['id']}/layers")
    assert np.frombuffer(data[-4:], "<u4").tolist() == [2]
    # Without its references a class can be removed, and a new one gets a new number.
    renamed = [{**TWO[1], "label": "blue"}, TWO[1]]
    site.do("PUT", "/api/classes", renamed)
    numbers = {c["label"]: c["number"] for c in site.state()["classes"]}
    assert numbers == {"blue": 3, "dot": 2}
    assert site.state()["former"] == [{"label": "red", "colour": "#8a8a8a", "number": 1}]


def test_a_class_is_removed_with_its_references(site: Site, thing: np.ndarray) -> None:
    site.do("PUT", "/api/classes", TWO)
    painted = thing + box(34, 2, 39, 8, value=2)
    site.paint("reference.png", painted)
    site.wait()
    site.judge("a.jpg", "accepted")
    before = written(site, "a.jpg")
    assert "still has references" in site.refused("PUT", "/api/classes", TWO[1:])
    site.do("PUT", "/api/classes?erase=true", TWO[1:])
    state = site.wait()
    assert [c["label"] for c in state["classes"]] == ["dot"]
    wanted = state["pictures"][0]["id"]
    data = site.get(f"/api/references/{wanted}/painted")
    assert set(np.unique(np.frombuffer(data[8:], np.uint8))) == {0, 2}
    np.testing.assert_array_equal(written(site, "a.jpg"), before)
    again = f"/api/references/{wanted}?width=48&height=40"
    said = site.refused("PUT", again, painted.tobytes())
    assert "the class red that is painted is no longer there" in said
    taken = [{**TWO[1], "label": "red", "was": "dot"}]  # masks that were judged show another red
    assert "give dot another name" in site.refused("PUT", "/api/classes", taken)


def test_a_missing_picture_holds_nothing_up(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    site.correct("a.jpg", box(1, 1, 9, 9))
    a, version = site.target("a.jpg"), site.target("a.jpg")["version"]
    content = (site.folder / "images" / "a.jpg").read_bytes()
    (site.folder / "images" / "a.jpg").unlink()
    missing = site.target("a.jpg")
    assert missing["status"] == "missing"
    assert missing["error"].endswith("put it back, or remove it from the project.")
    gone = "is not there any more"
    verdict = {"verdict": "accepted", "version": version}
    assert gone in site.refused("PUT", f"/api/targets/{a['id']}/verdict", verdict)
    assert gone in site.refused("GET", f"/api/targets/{a['id']}/picture?side=320")
    assert gone in site.refused("GET", f"/api/targets/{a['id']}/mask")
    assert set(exported(site)) == {"b", "c"}
    (site.folder / "images" / "a.jpg").write_bytes(content)  # it is put back: nothing was lost
    assert site.target("a.jpg")["status"] == "corrected"
    np.testing.assert_array_equal(exported(site)["a"], box(1, 1, 9, 9))
    (site.folder / "images" / "a.jpg").unlink()
    site.do("DELETE", f"/api/targets/{a['id']}")
    assert [t["name"] for t in site.state()["targets"]] == ["b.jpg", "c.jpg"]
    assert written(site, "a.jpg").any()  # what a person made stays
    # Another picture of that name is another picture.
    site.do("PUT", "/api/uploads?name=a.jpg&reference=false", content)
    assert [t["name"] for t in site.wait()["targets"]] == ["a-2.jpg", "b.jpg", "c.jpg"]
    np.testing.assert_array_equal(written(site, "a.jpg"), box(1, 1, 9, 9))


def test_a_picture_that_is_damaged_is_left_out_and_named(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    site.wait()
    site.judge("a.jpg", "accepted")
    (site.folder / "images" / "a.jpg").write_bytes(b"damaged")
    said = site.do("POST", "/api/export?kind=masks&zipped=false")
    assert len(said["left_out"]) == 1
    assert "a.jpg" in said["left_out"][0]
    assert sorted(p.stem for p in Path(said["path"]).glob("*.png")) == ["b", "c"]


def test_an_unmounted_folder_is_shown_and_can_be_removed(scene: Path, thing: np.ndarray) -> None:
    photos, away = scene / "photos", scene / "away"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (scene / name).rename(photos / name)
    with served(scene / "work") as site:
        site.do("POST", "/api/folders", {"path": str(photos)})
        content = (scene / "reference.png").read_bytes()
        site.do("PUT", "/api/uploads?name=r.png&reference=true", content)
        site.paint("r.png", thing)
        site.wait()
        site.judge("a.jpg", "accepted")
    photos.rename(away)
    for empty in (False, True):  # not there, or there and empty as a mount point is
        if empty:
            photos.mkdir()
        with served(scene / "work") as site:  # it starts
            state = site.wait()
            assert state["failed"] == ""
            (source,) = state["sources"]
            assert str(photos) in source["error"]
            assert {t["name"]: t["status"] for t in state["targets"]} == {
                "a.jpg": "missing",
                "b.jpg": "missing",
            }
            name = "d.jpg" if empty else "c.jpg"
            upload = f"/api/uploads?name={name}&reference=false"
            site.do("PUT", upload, (scene / "c.jpg").read_bytes())
            assert site.wait()["failed"] == ""
            assert site.target(name)["status"] == "done"
            assert set(exported(site)) == {Path(name).stem}
            site.do("DELETE", f"/api/targets/{site.target(name)['id']}")
    photos.rmdir()
    away.rename(photos)
    with served(scene / "work") as site:
        assert site.target("a.jpg")["verdict"] == "accepted"
        (source,) = (s for s in site.state()["sources"] if s["path"] != "images")
        site.do("DELETE", f"/api/folders/{source['id']}")
        assert site.state()["targets"] == []
        assert "no longer in the project" in site.refused("DELETE", f"/api/folders/{source['id']}")
        assert sorted(p.name for p in photos.iterdir()) == ["a.jpg", "b.jpg"]
        site.do("POST", "/api/folders", {"path": str(photos)})
        assert site.target("a.jpg")["verdict"] == "accepted"  # it is back with all of it


def test_the_example_is_copied_whole_or_not_at_all(scene: Path) -> None:
    with served(scene / "work") as site:
        site.do("PUT", "/api/uploads?name=coin_1.png&reference=false", make_png(scene / "a.jpg"))
        mine = (site.folder / "images" / "coin_1.png").read_bytes()
        site.do("POST", "/api/folders", {"path": str(scene / "a.jpg")})
        (scene / "a.jpg").unlink()
        site.do("POST", "/api/example")  # a folder that is missing does not matter
        names = sorted(p.name for p in (site.folder / "images").iterdir())
        assert names == ["board_1.jpg", "board_2.jpg", "coin_1-2.png", "coin_1.png", "coin_2.png"]
        assert (site.folder / "images" / "coin_1.png").read_bytes() == mine
        site.do("POST", "/api/example")  # once more: nothing is copied twice
        assert sorted(p.name for p in (site.folder / "images").iterdir()) == names


def make_png(path: Path) -> bytes:
    data = io.BytesIO()
    Image.open(path).save(data, "PNG")
    return data.getvalue()


def test_only_pictures_are_taken_as_targets(site: Site, scene: Path, thing: np.ndarray) -> None:
    (scene / "notes").write_text("text")
    (scene / "fake.png").write_text("text")
    (scene / "texts").mkdir()
    (scene / "texts" / "notes.txt").write_text("text")
    for path, said in (
        ("/etc/passwd", "is no image by its name"),
        (str(scene / "notes"), "is no image by its name"),
        (str(scene / "fake.png"), "is not an image"),
        (str(scene / "texts"), "no images"),
        (str(scene / "*.txt"), "no images"),
        ("\0", "no path can hold"),
        ("a\ud800b", "no path can hold"),
        ("~nobody-at-all/x", "home"),
        ("x" * 5000, ""),
    ):
        assert said in site.refused("POST", "/api/folders", {"path": path}), path
    assert len(site.state()["targets"]) == 3
    site.paint("reference.png", thing)
    site.wait()
    masks = site.refused("POST", "/api/folders", {"path": str(site.folder / "masks")})
    assert "only 3 pictures that likewise wrote" in masks


def test_two_folders_of_equal_names(site: Site, scene: Path, thing: np.ndarray) -> None:
    for number, folder in enumerate(("cam1", "cam2"), 1):
        (scene / folder).mkdir()
        picture = np.roll(np.asarray(Image.open(scene / "a.jpg")), 5 * number, axis=0)
        Image.fromarray(picture).save(scene / folder / "0001.png")
        site.do("POST", "/api/folders", {"path": str(scene / folder)})
    site.paint("reference.png", thing)
    state = site.wait()
    assert {t["status"] for t in state["targets"]} == {"done"}
    twins = [t for t in state["targets"] if t["name"] == "0001.png"]
    assert len({t["id"] for t in twins}) == 2
    body = {"verdict": "rejected", "version": twins[0]["version"]}
    site.do("PUT", f"/api/targets/{twins[0]['id']}/verdict", body)
    verdicts = {t["path"]: t["verdict"] for t in site.state()["targets"]}
    assert [v for k, v in verdicts.items() if "0001" in k].count("rejected") == 1
    assert len(list((site.folder / "masks").rglob("0001.png"))) == 2


def test_uploads_keep_their_names(site: Site, thing: np.ndarray) -> None:
    content = (site.folder / "references" / "reference.png").read_bytes()
    for name in ("cat.mask.png", "cat.png", "masks.png"):
        site.do("PUT", f"/api/uploads?name={name}&reference=true", content)
    for name in ("cat.mask.png", "cat.png"):
        site.paint(name, thing)
    names = [p["name"] for p in site.state()["pictures"]]
    assert names == ["cat.mask.png", "cat.png", "masks.png", "reference.png"]
    for name in ("cat.mask.png", "cat.png"):
        assert (site.folder / "references" / name).read_bytes() == content
    assert sorted(p.name for p in (site.folder / "references" / "masks").iterdir()) == [
        "cat.mask.png",
        "cat.png",
    ]


def test_painting_only_what_it_is_not_says_so(site: Site, thing: np.ndarray) -> None:
    wanted = site.state()["pictures"][0]
    path = f"/api/references/{wanted['id']}?width=48&height=40&version={wanted['version']}"
    said = site.do("PUT", path, (thing * 255).tobytes())
    assert "now paint an example" in said["note"]
    path = f"/api/references/{wanted['id']}?width=48&height=40"
    assert "now paint" in site.do("PUT", path, bytes([255]) * 48 * 40)["note"]  # all of it
    assert read_settings(site.folder, unfinished=True).references[0].mask is None
    content = (site.folder / "references" / "reference.png").read_bytes()
    site.do("PUT", "/api/uploads?name=second.png&reference=true", content)
    wanted = next(p for p in site.state()["pictures"] if p["name"] == "second.png")
    path = f"/api/references/{wanted['id']}?width=48&height=40"
    assert site.do("PUT", path, thing.tobytes())["note"] == ""
    assert {t["status"] for t in site.wait()["targets"]} == {"done"}


def test_what_another_tab_changed_is_not_overwritten(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    before = site.wait()
    site.paint("reference.png", np.roll(thing, 3, axis=0))
    changed = "meanwhile, here or in another tab: look again."

    def stale(method: str, path: str, body: Any) -> None:
        status, content, _ = site.ask(method, path, body)
        said = json.loads(content)
        assert status == 409
        assert said["error"].endswith(changed)

    picture = before["pictures"][0]
    path = f"/api/references/{picture['id']}?width=48&height=40&version={picture['version']}"
    stale("PUT", path, thing.tobytes())
    site.wait()
    site.do("PUT", "/api/sliders", {"threshold": 1, "granularity": 0})
    path = f"/api/sliders?version={before['sliders']['version']}"
    stale("PUT", path, {"threshold": 2, "granularity": 0})
    assert site.state()["sliders"]["threshold"] == 1
    site.do("PUT", "/api/classes", [*TWO[:1], {"label": "object", "colour": "#0000ff"}])
    stale("PUT", f"/api/classes?version={before['classes_version']}", TWO)
    site.wait()
    b = site.target("b.jpg")
    site.correct("b.jpg", box(1, 1, 9, 9))
    address = f"/api/targets/{b['id']}"
    stale("PUT", f"{address}/verdict", {"verdict": "accepted", "version": b["version"]})
    stale(
        "PUT", f"{address}/mask?width=48&height=40&version={quote(b['version'])}", thing.tobytes()
    )
    stale("POST", f"{address}/promote", {"version": b["version"]})
    np.testing.assert_array_equal(written(site, "b.jpg"), box(1, 1, 9, 9))
    site.judge("a.jpg", "rejected")
    a = site.target("a.jpg")
    site.judge("a.jpg", None)
    body = {"verdict": "accepted", "version": a["version"], "sliders": None}
    stale("PUT", f"/api/targets/{a['id']}/verdict", body)
    c = site.target("c.jpg")
    body = {"verdict": "accepted", "version": c["version"]}
    path = f"/api/targets/{c['id']}/verdict"
    stale("PUT", path, {**body, "sliders": before["sliders"]["version"]})
    site.do("PUT", path, {**body, "sliders": site.state()["sliders"]["version"]})


def test_no_connection_is_held(site: Site) -> None:
    site.wait()
    heard = site.do("GET", "/api/events")
    asked = f"/api/events?since={heard['last']}&server={heard['server']}"
    start = site.do("GET", asked)
    assert start["events"] == []  # at once
    for _ in range(2):
        site.do("PUT", "/api/sliders", {"threshold": 1, "granularity": 0})
    kinds = [event["kind"] for event in site.do("GET", asked)["events"]]
    assert kinds.count("sliders") == 2
    lost = f"/api/events?since={heard['last'] + 10**9}&server={heard['server']}"
    assert site.do("GET", lost)["events"] == [{"kind": "reload"}]
    other = f"/api/events?since={heard['last']}&server=another"
    assert site.do("GET", other)["events"] == [{"kind": "reload"}]


def test_the_token_is_kept_and_stays_secret(tmp_path: Path) -> None:
    token = project_token(tmp_path)
    file = tmp_path / ".likewise-token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert project_token(tmp_path) == token  # tabs of the server before can go on
    file.chmod(0o644)  # others may have read it
    other = project_token(tmp_path)
    assert other != token
    assert file.stat().st_mode & 0o777 == 0o600
    for text in ("", "x", "a b" * 20):
        file.write_text(text)
        assert len(project_token(tmp_path)) == 32
    file.unlink()
    (tmp_path / "elsewhere").write_text(token)
    (tmp_path / "elsewhere").chmod(0o600)
    file.symlink_to(tmp_path / "elsewhere")
    assert project_token(tmp_path) != token


def test_a_tab_of_another_project_is_told(site: Site) -> None:
    own = site.state()["id"]
    assert site.ask("GET", "/api/state", x_likewise_project=own)[0] == 200
    status, content, _ = site.ask("POST", "/api/example", x_likewise_project="other")
    assert status == 410
    assert "shows another project now" in json.loads(content)["error"]


def test_no_json_is_a_fault_of_the_server(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    state = site.wait()
    target, picture = state["targets"][0]["id"], state["pictures"][0]["id"]
    said = site.refused("PUT", "/api/classes", [{"colour": "#ff0000"}])
    assert said == "0.label is missing or wrong (Field required): reload the page."
    routes = [
        ("PUT", "/api/classes"),
        ("PUT", "/api/classes?version=x&erase=maybe"),
        ("PUT", "/api/sliders"),
        ("POST", "/api/folders"),
        ("POST", f"/api/targets/{target}/promote"),
        ("POST", f"/api/targets/{target}/restore"),
        ("PUT", f"/api/targets/{target}/verdict"),
        ("PUT", f"/api/targets/{target}/mask?width=48&height=40"),
        ("PUT", f"/api/targets/{target}/mask?width=99999999999999999999&height=-1"),
        ("PUT", f"/api/references/{picture}?width=48&height=40"),
        ("PUT", "/api/uploads?name=%00%ff.png&reference=false"),
        ("GET", "/api/events?since=x"),
        ("DELETE", "/api/folders/%ff"),
        ("POST", "/api/export?kind=%00&zipped=true"),
        ("GET", "/api/nothing"),
    ]
    texts = st.text(max_size=8) | st.sampled_from(["label", "colour", "#ff0000", "threshold"])
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
    keys = texts | st.sampled_from(["path", "verdict", "version", "granularity", "was"])
    values = st.recursive(
        leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4)
    )

    @settings(max_examples=120, deadline=None, database=None)
    @given(st.sampled_from(routes), values.map(json.dumps) | st.text(max_size=20))
    def ask(route: tuple[str, str], text: str) -> None:
        body = text.encode("utf-8", "surrogatepass")
        status, content, _ = site.ask(*route, body, content_type="application/json")
        assert status < 500, (route, text, content)
        if status >= 400:
            assert json.loads(content)["error"].endswith(".")

    ask()
    assert [c["label"] for c in site.state()["classes"]][:1]

"""The page's server over HTTP: from a painted reference to a dataset."""

from __future__ import annotations

import dataclasses
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from page_site import Site, box, exported, served, written
from scenes import run

pytest.importorskip("fastapi", reason="the extra ui is not installed")
pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.backbones.feature_cache import CachedEncoder
from likewise.io.images import read_picture
from likewise.io.masks import nearest
from likewise.project.project import Project
from likewise.project.score_maps import Sliders, read_score_maps
from likewise.project.settings import read_settings
from likewise.web.ui.workspace import Workspace


def test_a_painted_reference_masks_all_targets(site: Site, thing: np.ndarray) -> None:
    assert {t["state"] for t in site.wait()["targets"]} == {"pending"}
    heard = site.do("GET", "/api/events")
    assert heard["events"] == [{"kind": "reload"}]  # a page that is new asks for everything
    site.paint("reference.png", thing)
    seen: list[Any] = []
    while not (seen and seen[-1].get("doing") == "idle"):
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
    encoder, _ = project.encoder(CachedEncoder, device="cpu", dtype="auto", offline=True)
    segmenter = project.segmenter(encoder).fit(project.references())
    for target in state["targets"]:
        own = segmenter.segment(site.folder / "images" / target["name"])
        np.testing.assert_array_equal(written(site, target["name"]), own.label_map)
        found = read_score_maps(site.folder / "layers" / f"{target['name'][0]}.npz")
        assert found is not None
        numbers = np.array([1], "<u4").tobytes()  # of the classes, in masks
        assert site.get(f"/api/targets/{target['id']}/layers") == found[0].blob() + numbers
        header = np.frombuffer(found[0].blob()[:32], "<u4").tolist()
        assert header == [1, 4, 4, 40, 48, 15, 40, 48]
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
    assert "the server ends" in refusal(site.worker.thread.call, lambda: None)  # all is done
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
    _, backbone = project.encoder(CachedEncoder, device="cpu", dtype="auto", offline=True)
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
    assert sorted(Path(row["path"]).name for row in json.loads(listed.out)) == ["b.jpg", "c.jpg"]
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


def test_another_picture_of_files_with_several_counts_at_once(
    site: Site, scene: Path, thing: np.ndarray
) -> None:
    """`[picture]` in likewise.toml, as all else there, without another start of the server."""
    site.paint("reference.png", thing)
    site.wait()
    pages = [Image.open(scene / name) for name in ("a.jpg", "b.jpg")]
    pages[0].save(scene / "two.tif", save_all=True, append_images=pages[1:])
    site.do("PUT", "/api/uploads?name=two.tif&reference=false", (scene / "two.tif").read_bytes())
    site.wait()

    def seen() -> tuple[str, np.ndarray, bytes, np.ndarray]:
        target = site.target("two.tif")
        base, version = f"/api/targets/{target['id']}", target["version"]
        shown = np.asarray(Image.open(io.BytesIO(site.get(f"{base}/picture?side=320"))))
        body = {"clicks": [{"places": [[20, 20]], "positive": True, "number": 1}]}
        status, clicked, _ = site.ask("POST", f"{base}/clicks", body | {"version": version})
        assert status == 200
        site.ask("POST", f"{base}/clicks", {"clicks": [], "version": version})  # free again
        status = 202
        while status == 202:
            status, regions, _ = site.ask("GET", f"/api/references/{target['id']}/regions")
        return target["changed"], shown, regions + clicked, written(site, "two.tif")

    first = seen()
    with (site.folder / "likewise.toml").open("a") as file:
        file.write("\n[picture]\npage = 1\n")
    assert site.do("GET", "/api/events")["failed"] == ""  # as a page that is reloaded asks
    site.wait()
    second = seen()
    assert first[0] != second[0]  # browsers keep pictures by it
    for page, (_, shown, _, mask) in zip(pages, (first, second), strict=True):
        assert np.abs(shown.astype(int) - np.asarray(page)).mean() < 8  # JPEG
        name = Path(str(page.filename)).name
        np.testing.assert_array_equal(mask, written(site, name))
    assert first[2] != second[2]

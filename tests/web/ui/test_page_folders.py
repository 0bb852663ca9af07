"""The page's classes, references and folders: what goes, what is missing, what is taken."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from page_site import TWO, Site, box, exported, served, written

pytest.importorskip("fastapi", reason="the extra ui is not installed")
pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.project.settings import read_settings


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

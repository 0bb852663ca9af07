"""Who may ask the page's server for what, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from page_site import TOKEN, TWO, Site, box, served, written

pytest.importorskip("fastapi", reason="the extra ui is not installed")
pytest.importorskip("uvicorn", reason="the extra ui is not installed")

from likewise.project.settings import ProjectSettings
from likewise.project.settings_file import replace_settings
from likewise.web.guard import project_token
from likewise.web.ui import routes as page


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
        {"host": "10.0.0.1"},
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
    size = str(page.LIMITS.max_bytes + 1)
    status, body, _ = site.ask("PUT", path, content_length=size)
    assert status == 413
    assert "add the folder" in json.loads(body)["error"]


def test_everything_the_page_loads_is_served_from_here() -> None:
    for file in page.STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        outside = [
            line for line in text.splitlines() if "http" in line and "www.w3.org" not in line
        ]
        assert outside == [], file


def test_what_another_tab_changed_is_not_overwritten(site: Site, thing: np.ndarray) -> None:
    site.paint("reference.png", thing)
    before = site.wait()
    site.paint("reference.png", np.roll(thing, 3, axis=0))
    changed = "meanwhile, here or in another tab: look again."

    def stale(method: str, path: str, body: Any) -> None:
        status, content, _ = site.ask(method, path, body)
        assert status == 409
        assert json.loads(content)["error"].endswith(changed)

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
    opened = site.do("GET", "/api/events")
    site.wait()  # a page that is new lets the worker look again
    heard = site.do("GET", f"/api/events?since={opened['last']}&server={opened['server']}")
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

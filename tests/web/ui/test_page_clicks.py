"""Clicks on targets and references: masks that are corrected, and made, from kept features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from page_site import TWO, Site, box, written


def clicked(site: Site, path: str, *clicks: tuple[float, float, bool, int], **more: Any) -> Any:
    keys = ("x", "y", "positive", "number")
    body = {"clicks": [dict(zip(keys, c, strict=True)) for c in clicks], **more}
    status, data, _ = site.ask("POST", f"{path}/clicks", body)
    assert status == 200, data
    height, width = np.frombuffer(data[:8], "<u4")
    return np.frombuffer(data[8:], np.uint8).reshape(height, width)


def test_clicks_correct_a_target_and_encode_nothing(
    site: Site, thing: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.paint("reference.png", thing)
    site.wait()
    target = site.target("a.jpg")
    path, seen = f"/api/targets/{target['id']}", {"version": target["version"]}
    before = written(site, "a.jpg")
    np.testing.assert_array_equal(clicked(site, path, **seen), before)  # none: made ready
    encoder = site.worker.encoder()
    monkeypatch.setattr(encoder, "encode_many", lambda *_: pytest.fail("encoded"))
    y, x = next(zip(*np.nonzero(before == 0), strict=True))
    added = clicked(site, path, (x + 0.5, y + 0.5, True, 1), **seen)
    assert added[y, x] == 1
    taken = clicked(site, path, (x + 0.5, y + 0.5, True, 1), (x + 0.5, y + 0.5, False, 1), **seen)
    assert taken[y, x] == 0  # of two clicks on a pixel the later holds
    np.testing.assert_array_equal(clicked(site, path, **seen), before)  # undo: a shorter list
    np.testing.assert_array_equal(written(site, "a.jpg"), before)  # nothing is written yet
    site.correct("a.jpg", added)
    np.testing.assert_array_equal(written(site, "a.jpg"), added)
    click = {"x": 1, "y": 1, "positive": True, "number": 1}
    body = {"clicks": [click], **seen}
    assert "was changed meanwhile" in site.refused("POST", f"{path}/clicks", body)
    # A person's mask is corrected further: what is far from the click stays.
    now = {"version": site.target("a.jpg")["version"]}
    again = clicked(site, path, (x + 0.5, y + 0.5, False, 1), **now)
    assert again[y, x] == 0


def test_one_click_makes_a_reference(site: Site, thing: np.ndarray) -> None:
    wanted = site.state()["pictures"][0]["id"]
    path = f"/api/references/{wanted}"
    y, x = (int(k.mean()) for k in np.nonzero(thing))
    made = clicked(site, path, (x, y, True, 1))
    assert made[y, x] == 1
    assert set(np.unique(made)) == {0, 1}
    corner = clicked(site, path, (x, y, True, 1), (1, 1, True, 255))
    assert (corner[y, x], corner[1, 1]) == (1, 255)  # "not it" is clicked as classes are
    click = {"x": 1, "y": 1, "positive": False, "number": 1}
    assert "first" in site.refused("POST", f"{path}/clicks", {"clicks": [click]})
    outside = click | {"x": 48, "positive": True}
    assert "outside" in site.refused("POST", f"{path}/clicks", {"clicks": [outside]})
    unknown = click | {"number": 9}
    assert "no longer there" in site.refused("POST", f"{path}/clicks", {"clicks": [unknown]})
    assert site.ask("POST", f"{path}/clicks", {"clicks": [click] * 501})[0] == 422


def test_clicks_of_several_classes(site: Site) -> None:
    site.do("PUT", "/api/classes", TWO)
    wanted = site.state()["pictures"][0]["id"]
    painted = box(2, 2, 20, 20) + box(25, 25, 38, 44, 2)
    site.paint("reference.png", painted)
    path = f"/api/references/{wanted}"
    np.testing.assert_array_equal(clicked(site, path), painted)
    other = clicked(site, path, (30, 30, True, 1), (5, 5, True, 1))
    assert (other[30, 30], other[5, 5]) == (1, 1)
    both = clicked(site, path, (30, 30, True, 1), (40, 35, True, 2))
    assert (both[30, 30], both[35, 40]) == (1, 2)

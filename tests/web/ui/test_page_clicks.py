"""Clicks on targets and references: masks that are corrected, and made, from kept features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from page_site import TWO, Site, box, written


def mark(
    *places: tuple[float, float], of: int = 1, positive: bool = True, box: bool = False
) -> Any:
    """What the page sends of a click, a line or a box."""
    return {"places": places, "positive": positive, "number": of, "box": box}


def clicked(site: Site, path: str, *clicks: tuple[float, float, bool, int], **more: Any) -> Any:
    marks = [mark((x, y), positive=positive, of=of) for x, y, positive, of in clicks]
    return prompted(site, path, *marks, **more)


def prompted(site: Site, path: str, *marks: Any, **more: Any) -> Any:
    body = {"clicks": marks, **more}
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
    body = {"clicks": [mark((1, 1))], **seen}
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
    click = mark((1, 1), positive=False)
    assert "first" in site.refused("POST", f"{path}/clicks", {"clicks": [click]})
    outside = mark((48, 1))
    assert "outside" in site.refused("POST", f"{path}/clicks", {"clicks": [outside]})
    unknown = click | {"number": 9}
    assert "no longer there" in site.refused("POST", f"{path}/clicks", {"clicks": [unknown]})
    for wrong in ([click] * 501, [mark()], [mark(*[(1, 1)] * 1001)], [{**click, "places": [[1]]}]):
        assert site.ask("POST", f"{path}/clicks", {"clicks": wrong})[0] == 422


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


def test_lines(site: Site, thing: np.ndarray) -> None:
    path = f"/api/references/{site.state()['pictures'][0]['id']}"
    rows, columns = np.nonzero(thing)
    y, left, right = int(rows.mean()), int(columns.min()) + 2, int(columns.max()) - 2
    middle = (left + right) // 2
    line = mark((left, y), (right, y))
    made = prompted(site, path, line)
    assert (made[y, left : right + 1] == 1).all()  # every pixel of it, whatever the scores
    assert (made > 0).sum() > right - left + 1  # and what lies around it and looks alike
    crossed = prompted(site, path, line, mark((middle, 0), (middle, 39), positive=False))
    assert (crossed[:, middle] == 0).all()  # the later one takes what it crosses
    assert (crossed[y, [left, right]] == 1).all()
    again = prompted(site, path, line, mark((middle, 0), (middle, 39), positive=False), line)
    assert (again[y, left : right + 1] == 1).all()


def test_boxes(site: Site, thing: np.ndarray) -> None:
    path = f"/api/references/{site.state()['pictures'][0]['id']}"
    rows, columns = np.nonzero(thing)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    corners = [(int(left), int(bottom)), (int(right), int(top))]  # in any order
    made = prompted(site, path, mark(*corners, box=True))
    assert made[top:bottom, left:right].any()
    outside = made.copy()
    outside[top:bottom, left:right] = 0
    assert not outside.any()
    # A second one adds to the first, and says nothing of what is outside.
    other = mark((0, 0), (6, 6), box=True)
    both = prompted(site, path, mark(*corners, box=True), other)
    np.testing.assert_array_equal(both[top:bottom, left:right], made[top:bottom, left:right])
    assert both[:6, :6].any()
    # Nor does one on a mask that is there.
    painted = box(25, 25, 38, 44)
    site.paint("reference.png", painted)
    added = prompted(site, path, mark((2, 2), (20, 20), box=True))
    np.testing.assert_array_equal(added[20:], painted[20:])
    assert added[2:20, 2:20].any()
    empty = mark((3, 3), (3, 3), box=True)
    assert "holds no pixel" in site.refused("POST", f"{path}/clicks", {"clicks": [empty]})

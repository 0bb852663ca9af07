"""Large images on the page: read in tiles, shown as a pyramid, corrected part by part."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from large_page import SIZE, correct_a_part, make_project, spots
from likewise.features.tiles import plan_tiles
from page_site import Site, served, written
from page_visit import lacking

SHOTS = os.environ.get("LIKEWISE_SHOTS")
"""A folder for pictures of the page, to look at."""


@pytest.fixture
def large(tmp_path: Path, tiny: Path) -> Iterator[Site]:
    """One target that is read in tiles; its mask is made."""
    make_project(tmp_path / "work", tiny)
    with served(tmp_path / "work") as site:
        site.wait()
        yield site


def of(site: Site) -> str:
    return f"/api/targets/{site.target('large.png')['id']}"


def query(*part: int) -> str:
    return "".join(f"&part={value}" for value in part)


def test_tiles_of_levels_are_the_picture(large: Site) -> None:
    target, whole = large.target("large.png"), spots()[0]
    base = f"/api/pictures/{target['id']}"
    height, width = SIZE
    assert large.do("GET", f"{base}/size") == {"width": width, "height": height}

    def tile(level: int, x: int, y: int) -> np.ndarray:
        data = large.get(f"{base}/tile?level={level}&x={x}&y={y}")
        return np.asarray(Image.open(io.BytesIO(data))).astype(int)

    assert tile(0, 0, 0).shape == (512, 512, 3)
    corner = tile(0, width // 512, height // 512)
    there = whole[height // 512 * 512 :, width // 512 * 512 :]
    assert corner.shape == there.shape
    assert np.abs(corner - there).mean() < 4  # JPEG
    half = tile(1, 0, 0)
    means = whole[:1024, :1024].reshape(512, 2, 512, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - means).mean() < 4
    assert tile(2, 0, 0).shape == (height // 4, width // 4, 3)
    for where in ("level=0&x=9&y=0", "level=0&x=0&y=-1", "level=40&x=0&y=0"):
        assert "no such tile" in large.refused("GET", f"{base}/tile?{where}")
    small = Image.open(io.BytesIO(large.get(f"/api/targets/{target['id']}/picture?side=1600")))
    assert max(small.size) == 1600


def test_sliders_move_what_was_read_in_tiles(large: Site) -> None:
    header = np.frombuffer(large.get(f"{of(large)}/layers")[:32], "<u4").tolist()
    assert header[3:6] == [*SIZE, 0]  # no merges
    assert header[6] >= SIZE[0]
    assert header[1] > 4  # patches: more than the encoder sees at once
    before = written(large, "large.png")
    assert 0 < before.mean() < 0.5
    large.do("PUT", "/api/sliders", {"threshold": 2.0, "granularity": 0.0})
    large.wait()
    after = written(large, "large.png")
    assert 0 < (after > 0).sum() < (before > 0).sum()
    large.do("PUT", "/api/sliders", {"threshold": 0.0, "granularity": 0.1})
    large.wait()
    np.testing.assert_array_equal(written(large, "large.png"), before)


def test_a_picture_that_was_replaced_is_not_corrected(large: Site) -> None:
    before, target = written(large, "large.png"), large.target("large.png")
    path = f"{of(large)}/mask?width=40&height=30{query(0, 0, 40, 30)}"
    Image.new("RGB", (60, 50)).save(large.folder / target["path"])
    told = large.refused("PUT", f"{path}&version={target['version']}", bytes(40 * 30))
    assert "large.png was changed" in told
    np.testing.assert_array_equal(written(large, "large.png"), before)


def test_a_picture_that_was_replaced_and_looked_at_again_is_not_corrected(large: Site) -> None:
    """Its mask is of the old size until it is segmented again, which a page that is new starts."""
    before = written(large, "large.png")
    Image.new("RGB", (60, 50)).save(large.folder / large.target("large.png")["path"])
    path = f"{of(large)}/mask?width=40&height=30{query(0, 0, 40, 30)}"
    version = large.target("large.png")["version"]  # as the page was reloaded
    told = large.refused("PUT", f"{path}&version={version}", bytes([1]) * 40 * 30)
    assert "large.png has 60x50 pixels now and its mask 2000x1300: take that back" in told
    np.testing.assert_array_equal(written(large, "large.png"), before)
    large.do("GET", "/api/events")
    large.wait()
    assert written(large, "large.png").shape == (50, 60)
    path = f"{of(large)}/mask?width=60&height=50"
    version = large.target("large.png")["version"]
    large.do("PUT", f"{path}&version={version}", bytes([1]) * 60 * 50)
    assert written(large, "large.png").all()


def test_a_part_is_corrected_at_full_size(large: Site) -> None:
    before, target = written(large, "large.png"), large.target("large.png")
    x, y, width, height = part = (300, 200, 400, 300)
    inside = slice(y, y + height), slice(x, x + width)
    seen = large.mask("large.png", f"?side=1600{query(*part)}")
    np.testing.assert_array_equal(seen, before[inside])
    body: dict[str, Any] = {"clicks": [], "version": target["version"], "part": part}
    status, data, _ = large.ask("POST", f"{of(large)}/clicks", body)
    assert status == 200
    assert np.frombuffer(data[:8], "<u4").tolist() == [height, width]
    click = {"places": [[10.5, 20.5]], "positive": True, "number": 1}
    status, data, _ = large.ask("POST", f"{of(large)}/clicks", body | {"clicks": [click]})
    assert status == 200
    assert np.frombuffer(data[8:], np.uint8).reshape(height, width)[20, 10] == 1
    painted = seen.copy()
    painted[5, 7] = 1 - painted[5, 7]  # one pixel
    path = f"{of(large)}/mask?width={width}&height={height}"
    beyond = query(SIZE[1] - 10, 0, width, height)
    assert "not inside" in large.refused("PUT", path + beyond, painted.tobytes())
    large.do("PUT", path + query(*part), painted.tobytes())
    now = written(large, "large.png")
    assert np.argwhere(now != before).tolist() == [[y + 5, x + 7]]
    # And all of it becomes a reference.
    made = large.do(
        "POST", f"{of(large)}/promote", {"version": large.target("large.png")["version"]}
    )
    assert made["verdict"] == "accepted"
    mask = np.asarray(Image.open(large.folder / "references" / "masks" / "large.png"))
    np.testing.assert_array_equal(mask, now)


def test_tiles_are_given_up_when_the_example_changes(
    large: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = large.worker.encoder()
    encode, done = encoder._encode, list[int]()

    def counted(images: Any, keep: bool) -> Any:
        done.append(len(images))
        if len(done) == 20:
            large.worker.changed()
        return encode(images, keep)

    monkeypatch.setattr(encoder, "_encode", counted)
    painted = spots((720, 720))[1].astype(np.uint8)
    painted[:360] = 0
    large.paint("example.png", painted)
    state = large.wait()
    assert [t["state"] for t in state["targets"]] == ["done"]
    assert large.worker.failed == ""
    tiles = len(plan_tiles(SIZE, 16, 14).tiles)
    assert sum(done) > tiles + 10


def test_a_large_picture_in_a_browser(tmp_path: Path, tiny: Path) -> None:
    if reason := lacking():
        pytest.skip(reason)
    make_project(tmp_path / "work", tiny)
    correct_a_part(tmp_path / "work", Path(SHOTS) if SHOTS else None)

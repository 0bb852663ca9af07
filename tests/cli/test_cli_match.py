"""`likewise match` on a tiny random backbone, and `likewise demo` on the embedded one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from commands import done, names
from likewise import match as match_points
from likewise.segmenter import Segmenter
from scenes import match, no_backbone_needed, run

# --- match ----------------------------------------------------------------------------------------


def test_match_text(scene: Path, segmenter: Segmenter) -> None:
    lines = done(run(match("a.jpg", "b.jpg", more=["--point", "5,30.5"]))).splitlines()
    expected = []
    for target in ("a.jpg", "b.jpg"):
        points, cosines = match_points(segmenter, "reference.png", [(20, 20), (5, 30.5)], target)
        for start, (x, y), cosine in zip(("20,20", "5,30.5"), points, cosines, strict=True):
            expected.append(f"{target}: {start} -> {x:.1f},{y:.1f} (similarity {cosine:.2f})")
    assert lines == expected


def test_match_json(scene: Path, segmenter: Segmenter) -> None:
    reports = {
        debiased: json.loads(done(run(match("a.jpg", more=["--json", *flag]))))
        for debiased, flag in ((True, []), (False, ["--original"]))
    }
    assert reports[True] != reports[False]
    for debiased, report in reports.items():
        points, similarity = match_points(
            segmenter, "reference.png", [(20, 20)], "a.jpg", debiased=debiased
        )
        assert [entry.keys() for entry in report] == [{"target", "points", "similarity"}]
        assert report[0]["target"] == "a.jpg"
        np.testing.assert_allclose(report[0]["points"], points, atol=1e-3)
        np.testing.assert_allclose(report[0]["similarity"], similarity, atol=1e-3)


def test_match_pictures(scene: Path) -> None:
    done(run(match("a.jpg", "b.jpg", more=["--out", "x/y"])))
    assert names("x/y") == {"a_match.jpg", "b_match.jpg"}
    for name in names("x/y"):
        with Image.open(Path("x/y") / name) as picture:
            assert (picture.format, picture.size) == ("JPEG", (2 * 576, 480))


# --- demo -----------------------------------------------------------------------------------------


def test_demo(scene: Path) -> None:
    lines = done(run(["demo", "--out", "look.png"])).splitlines()
    assert lines[-1] == "look at look.png"
    areas = dict(line.split(": ") for line in lines[:-1])
    # The windows of one photograph, the capacitors of two and the coins of two.
    expected = {
        "window_1.jpg": 6,
        "capacitor_1.jpg": 8,
        "capacitor_2.jpg": 20,
        "coin_1.png": 32,
        "coin_2.png": 29,
    }
    assert list(areas) == list(expected)
    for name, percent in expected.items():
        assert areas[name].endswith(" of the picture masked")
        assert abs(int(areas[name].split("%")[0]) - percent) <= 1
    with Image.open("look.png") as picture:
        assert picture.mode == "RGB"
        assert picture.height == 3 * (240 + 22 + 10) + 10
        assert picture.width > 1000


def test_demo_writes_into_the_working_folder_by_default(scene: Path) -> None:
    with no_backbone_needed():
        text = done(run(["demo"]))
    assert text.endswith("look at likewise_demo.png\n")
    assert Path("likewise_demo.png").is_file()

"""`likewise eval-compare` and its pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from evaluated import done, evaluate
from helpers import refusal
from likewise.io.images import read_image
from likewise.lab.evaluation.compare import compare, draw_grid, read_run
from likewise.lab.evaluation.episodes import choose, read_episodes
from likewise.lab.evaluation.grid import CELL, cell, iou_text, trial_picture
from scenes import SIZE, run

# --- comparing ------------------------------------------------------------------------------------


@pytest.fixture
def two(scene: Path) -> tuple[str, str]:
    """Reports of runs that differ, with their masks."""
    for name, tau in (("a", "0.9"), ("b", "-1")):
        done(run(evaluate("--out", f"{name}.json", "--masks", name, "--set", f"tau={tau}")))
    return "a.json", "b.json"


def test_compare(two: tuple[str, str]) -> None:
    a, b = (json.loads(Path(name).read_text()) for name in two)
    result = json.loads(done(run(["eval-compare", *two, "--json"])))
    assert result["difference"] == pytest.approx(b["mean"] - a["mean"]) != 0
    assert result["boundary_difference"] == pytest.approx(b["boundary"] - a["boundary"])
    assert result["sets"].keys() == {"x", "y"}
    for name, row in result["sets"].items():
        assert (row["first"], row["second"]) == (a["sets"][name], b["sets"][name])
        assert row["difference"] == pytest.approx(b["sets"][name] - a["sets"][name])
    low, high = result["interval"]
    assert low <= result["difference"] <= high
    changes = [
        second["iou"] - first["iou"]
        for first, second in zip(a["episodes"], b["episodes"], strict=True)
        if not first["absent"]
    ]
    assert result["episodes"] == len(changes) == 4
    assert result["better"] == sum(c > 0 for c in changes)
    assert result["worse"] == sum(c < 0 for c in changes)
    back = json.loads(done(run(["eval-compare", *reversed(two), "--json"])))
    assert back["difference"] == pytest.approx(-result["difference"])
    assert back["interval"] == pytest.approx([-high, -low])
    text = done(run(["eval-compare", *two]))
    assert "B - A" in text
    assert f"{result['difference']:+.2f}" in text
    assert "a.json: insid3, tau 0.9" in text.splitlines()[0]


def test_one_episode_a_set_has_no_interval(scene: Path) -> None:
    for name, tau in (("a", "0.9"), ("b", "-1")):
        limited = evaluate("--out", f"{name}.json", "--set", f"tau={tau}", "--limit", "1")
        assert "no interval of the mean: each set has one episode" in done(run(limited))
    text = done(run(["eval-compare", "a.json", "b.json"]))
    assert text.count("none: one episode a set") == 2  # of the set, and of the mean


def test_compare_finds_the_same_episodes_in_another_order(two: tuple[str, str]) -> None:
    expected = compare(*(read_run(Path(name)) for name in two))
    report = json.loads(Path("b.json").read_text())
    report["episodes"].reverse()
    Path("b.json").write_text(json.dumps(report))
    again = compare(*(read_run(Path(name)) for name in two))
    assert again == expected


def test_compare_when_a_question_is_asked_twice(two: tuple[str, str]) -> None:
    for name in two:
        report = json.loads(Path(name).read_text())
        report["episodes"].append(report["episodes"][0])
        Path(name).write_text(json.dumps(report))
    assert compare(*(read_run(Path(name)) for name in two))["episodes"] == 5


def test_compare_refuses_other_episodes(two: tuple[str, str]) -> None:
    report = json.loads(Path("b.json").read_text())
    del report["episodes"][1]
    Path("c.json").write_text(json.dumps(report))
    for names, said in ((("a", "c"), "1 are only in the first, 0"), (("c", "a"), "0 .* 1 only")):
        runs = [read_run(Path(f"{name}.json")) for name in names]
        assert re.search(said, refusal(compare, *runs))
    report = json.loads(Path("b.json").read_text())
    report["episodes"][0]["refs"][0]["image"] = "another.png"
    del report["episodes"][1]
    Path("b.json").write_text(json.dumps(report))
    text = refusal(compare, *(read_run(Path(name)) for name in two))
    assert "2 are only in the first, 1 only in the second" in text


def test_the_grid(two: tuple[str, str]) -> None:
    text = done(run(["eval-compare", *two, "--out", "g/grid.png"]))
    assert text.endswith("look at g/grid.png\n")
    a, b = (read_run(Path(name)) for name in two)
    with Image.open("g/grid.png") as picture:
        grid = np.asarray(picture)
    result = compare(a, b)
    rows = result["better"] + result["worse"]
    assert rows > 1
    assert grid.shape == (rows * (CELL[1] + 32) + 10, 4 * (CELL[0] + 10) + 10, 3)
    assert done(run(["eval-compare", *two, "--out", "g/grid.png", "--root", "."])) == text
    # Best first, worst after them: what the rows say is in their order.
    with mock.patch("likewise.lab.evaluation.compare.contact_sheet") as sheet:
        draw_grid(a, b)
    said = [row[1][1] for row in sheet.call_args.args[0]]
    changes = [float(text.split("B - A ")[1]) for text in said]
    better = [c for c in changes if c > 0]
    worse = [c for c in changes if c < 0]
    assert changes == sorted(better, reverse=True) + sorted(worse)
    captions = [row[2][1] + row[3][1] for row in sheet.call_args.args[0]]
    assert all(c.startswith("A: IoU ") and "B: IoU " in c for c in captions)


def test_a_grid_has_six_of_each(two: tuple[str, str]) -> None:
    for name, sign in zip(two, (1, -1), strict=True):
        report = json.loads(Path(name).read_text())
        first = report["episodes"][0]
        report["episodes"] = [first | {"iou": 50 + sign * (i - 9.5)} for i in range(20)]
        Path(name).write_text(json.dumps(report))
    with mock.patch("likewise.lab.evaluation.compare.contact_sheet") as sheet:
        draw_grid(*(read_run(Path(name)) for name in two))
    said = [row[1][1] for row in sheet.call_args.args[0]]
    changes = [float(text.split("B - A ")[1]) for text in said]
    assert changes == [19, 17, 15, 13, 11, 9, -19, -17, -15, -13, -11, -9]


def test_no_grid_of_equal_runs(two: tuple[str, str]) -> None:
    ran = run(["eval-compare", "a.json", "a.json", "--out", "grid.png"])
    assert ran.code == 2
    assert "there is nothing to draw" in ran.err
    assert not Path("grid.png").exists()
    assert "+0.00" in done(run(["eval-compare", "a.json", "a.json"]))


def test_no_grid_of_masks_of_another_size(two: tuple[str, str]) -> None:
    for file in Path("b").iterdir():
        Image.new("L", (9, 9)).save(file)
    ran = run(["eval-compare", *two, "--out", "grid.png"])
    assert ran.code == 2
    assert "has another size than its target" in ran.err


# --- pictures -------------------------------------------------------------------------------------


def test_cells_keep_the_aspect_and_the_captions_fit() -> None:
    picture, text = cell(np.zeros((10, 40, 3), np.uint8), "c" * 80)
    assert picture.shape == (CELL[1], CELL[0], 3)
    dark = (picture < 128).all(axis=2)
    assert (np.ptp(np.nonzero(dark)[0]) + 1, np.ptp(np.nonzero(dark)[1]) + 1) == (80, 320)
    assert text == "c" * 37 + "..."
    assert iou_text(None) == "nothing there or found"


def test_the_picture_of_a_trial(scene: Path) -> None:
    (trial, *_) = choose(read_episodes([Path("e.json")], Path()))
    pixels = read_image("a.jpg")
    mask = np.zeros(SIZE[::-1], bool)
    truth = ~mask
    picture = trial_picture(trial, pixels, mask, truth, 12.3)
    assert picture.shape == (CELL[1] + 42, 3 * (CELL[0] + 10) + 10, 3)

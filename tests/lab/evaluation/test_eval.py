"""`likewise eval` end to end on a tiny random backbone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import likewise
from commands import run_on_a_terminal
from evaluated import OPTIONS, done, evaluate, report_of
from helpers import refusal
from likewise import INSID3Params
from likewise.cli.eval import parse_settings
from likewise.io.files import write_json
from likewise.io.images import read_image
from likewise.lab.evaluation.episodes import choose, read_episodes
from likewise.lab.evaluation.metrics import bootstrap_interval, boundary, count, mean_miou, set_miou
from likewise.lab.evaluation.report import _plain, as_text
from likewise.lab.evaluation.runner import run_trials
from likewise.lab.evaluation.stopwatch import Stopwatch
from likewise.segmenter import Segmenter
from scenes import run


@pytest.mark.parametrize("command", ["eval", "eval-compare", "benchmark"])
def test_help_imports_nothing_heavy(command: str) -> None:
    code = (
        f"import sys; sys.argv = ['likewise', '{command}', '--help']\n"
        "from likewise.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('heavy:', [m for m in ('torch', 'numpy', 'scipy', 'PIL') if m in sys.modules])"
    )
    source = str(Path(likewise.__file__).parents[1])
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8"}
    ran = subprocess.run(words, check=True, capture_output=True, text=True, env=environment)
    assert f"Usage: likewise {command}" in ran.stdout
    assert ran.stdout.endswith("heavy: []\n")


# --- the report -----------------------------------------------------------------------------------


def test_the_report_is_what_the_segmenter_finds(scene: Path) -> None:
    report = report_of("--no-cache", "--set", "tau=0.5", "--set", "alpha=0.1")
    segmenter = Segmenter("tiny", image_size=64, method=INSID3Params(tau=0.5, alpha=0.1))
    counts, edges, areas = [], [], []
    for e in json.loads(Path("e.json").read_text()):
        segmenter.fit((e["ref"], np.asarray(Image.open(e["ref_mask"])) == 3))
        result = segmenter.segment(e["tgt"])
        areas.append(int(result.mask.sum()))
        entry = report["episodes"][len(areas) - 1]
        assert entry["confidence"] == pytest.approx(result.confidence)
        assert entry["predicted"] == areas[-1]
        if not e.get("absent"):
            truth = np.asarray(Image.open(e["tgt_mask"])) == 3
            counts.append(count(e["set"], e["cls"], result.mask, truth))
            edges.append(count(e["set"], e["cls"], boundary(result.mask), boundary(truth)))
            assert (entry["intersection"], entry["union"]) == (
                counts[-1].intersection,
                counts[-1].union,
            )
            assert entry["boundary_intersection"] == edges[-1].intersection
            assert entry["boundary_union"] == edges[-1].union
            assert entry["iou"] == pytest.approx(100 * counts[-1].intersection / counts[-1].union)
            assert entry["area_ratio"] == pytest.approx(areas[-1] / truth.sum())
    assert sum(areas) > 0
    assert report["mean"] == pytest.approx(mean_miou(counts))
    assert report["sets"] == pytest.approx(set_miou(counts))
    assert report["interval"] == pytest.approx(bootstrap_interval(counts))
    assert report["boundary"] == pytest.approx(mean_miou(edges))
    assert report["boundary_sets"] == pytest.approx(set_miou(edges))
    assert report["classes"]["x"].keys() == {"c", "d"}
    ratios = [e["area_ratio"] for e in report["episodes"] if e["set"] == "x"]
    assert report["area_ratio"]["x"] == pytest.approx(sorted(ratios)[1])
    assert report["area_ratio"].keys() == {"x", "y"}
    assert report["empty_rate"] == sum(area == 0 for area in areas[:4]) / 4


def test_the_keys_of_a_report(scene: Path) -> None:
    report = report_of()
    assert report.keys() == {
        *("mean", "interval", "boundary", "sets", "boundary_sets", "classes", "area_ratio"),
        *("empty_rate", "absent", "shots_used", "seconds", "stages", "images", "settings"),
        "episodes",
    }
    assert report["stages"].keys() == {"read", "encode", "cached", "fit", "score", "refine"}
    assert report["stages"]["refine"] > 0
    assert min(report["stages"][name] for name in ("read", "encode", "cached", "fit", "score")) > 0
    assert 0 < sum(s or 0 for s in report["stages"].values()) < report["seconds"]
    assert report["images"]["score"] == 5
    assert report["images"]["fit"] == 2  # four episodes share a reference
    assert report["shots_used"] == {"1": 5}
    settings = report["settings"]
    assert settings.keys() >= {"params", "block", "rank", "versions", "weights", "dtype", "limit"}
    assert (settings["method"], settings["backbone"]) == ("insid3", "tiny")
    assert (settings["refine"], settings["shots"], settings["episodes"]) == ("guided", 1, 5)
    assert settings["input_size"] == [64, 64]
    assert settings["versions"].keys() >= {"likewise", "torch", "numpy", "python"}
    first = report["episodes"][0]
    assert first.keys() == {
        *("index", "id", "set", "cls", "value", "absent", "refs", "tgt", "tgt_mask", "mask"),
        *("intersection", "union", "boundary_intersection", "boundary_union", "iou"),
        *("confidence", "area_ratio", "predicted"),
    }
    assert (first["index"], first["id"], first["set"], first["tgt"]) == (0, "7", "x", "a.jpg")
    assert first["refs"] == [{"image": "reference.png", "mask": "r_mask.png", "value": 3}]
    assert [e["index"] for e in report["episodes"]] == [0, 1, 2, 3, 4]


def test_absent_concepts_are_kept_out_of_the_accuracy(scene: Path) -> None:
    report = report_of()
    entries = report["episodes"]
    assert [e["absent"] for e in entries] == [False, False, False, False, True]
    confidence = [e["confidence"] for e in entries]
    above = sum((c > confidence[4]) + (c == confidence[4]) / 2 for c in confidence[:4])
    assert report["absent"] == {
        "episodes": 1,
        "empty_rate": float(entries[4]["predicted"] == 0),
        "auroc": above / 4,
    }
    assert (entries[4]["intersection"], entries[4]["area_ratio"]) == (0, None)
    assert entries[4]["tgt_mask"] is None
    write_only([4])
    report = report_of()
    assert (
        report["mean"] is report["interval"] is report["boundary"] is report["empty_rate"] is None
    )
    assert report["absent"]["auroc"] is None
    assert "concept absent in 1 more" in done(run(evaluate()))


def write_only(places: list[int]) -> None:
    entries = json.loads(Path("e.json").read_text())
    Path("e.json").write_text(json.dumps([entries[i] for i in places]))


def test_the_table_for_people(scene: Path) -> None:
    text = done(run(evaluate("--out", "r/report.json", "--shots", "2")))
    report = json.loads(Path("r/report.json").read_text())
    assert Path("r/report.json").read_text().endswith("}\n")
    assert text == as_text(report) + "\n"
    for name in "xy":
        line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
        assert line.split()[1:3] == [
            f"{report['sets'][name]:.2f}",
            f"{report['boundary_sets'][name]:.2f}",
        ]
    assert f"mean over 2 sets {report['mean']:14.2f}" in text
    assert "references: " in text
    assert "seconds an image: read " in text
    assert [p.name for p in Path("r").iterdir()] == ["report.json"]


def test_limit_and_exclude(scene: Path) -> None:
    assert [e["index"] for e in report_of("--limit", "2")["episodes"]] == [0, 2]
    assert [e["index"] for e in report_of("--exclude", "x")["episodes"]] == [1, 4]


def test_shots(scene: Path) -> None:
    report = report_of("--shots", "3")
    shown = [[r["image"] for r in e["refs"]] for e in report["episodes"]]
    assert shown[0] == ["reference.png", "b.jpg", "c.jpg"]
    assert shown[3] == ["b.jpg", "reference.png", "a.jpg"]
    assert shown[2] == ["reference.png"]  # the only image of its class, and its target too
    assert report["shots_used"] == {"3": 2, "1": 2, "2": 1}
    segmenter = Segmenter("tiny", image_size=64, method="insid3")
    segmenter.fit(
        [
            (i, np.asarray(Image.open(m)) == 3)
            for i, m in zip(shown[0], ("r_mask.png", "b_mask.png", "c_mask.png"), strict=True)
        ]
    )
    assert report["episodes"][0]["predicted"] == int(segmenter.segment("a.jpg").mask.sum())
    full = report_of("--shots", "3", "--only-full-shots")
    assert [e["index"] for e in full["episodes"]] == [0, 3]


def test_relative_to_another_root(scene: Path) -> None:
    Path("lists").mkdir()
    Path("e.json").rename("lists/e.json")
    words = ["eval", "-e", "lists/e.json", "--root", ".", *OPTIONS, "--json"]
    assert json.loads(done(run(words)))["settings"]["root"] == str(scene)


@pytest.mark.parametrize("refiner", ["none", "guided"])
def test_masks_are_those_of_the_segmenter_also_where_refined(scene: Path, refiner: str) -> None:
    more = ["--no-cache", "--refine", refiner, "--masks", "m", "--pictures", "p", "--out", "r.json"]
    done(run(evaluate(*more)))
    names = ["00000_x", "00001_y", "00002_x", "00003_x", "00004_y"]
    assert sorted(p.name for p in Path("m").iterdir()) == [f"{n}.png" for n in names]
    assert sorted(p.name for p in Path("p").iterdir()) == [f"{n}.jpg" for n in names]
    report = json.loads(Path("r.json").read_text())
    assert [e["mask"] for e in report["episodes"]] == [f"m/{n}.png" for n in names]
    assert (report["stages"]["refine"] is None) == (refiner == "none")
    segmenter = Segmenter("tiny", image_size=64, method="insid3", refiner=refiner)
    segmenter.fit(("reference.png", np.asarray(Image.open("r_mask.png")) == 3))
    found = 0
    for place, target in [(0, "a.jpg"), (1, "b.jpg"), (2, "reference.png")]:
        expected = segmenter.segment(target).mask
        found += expected.sum()
        np.testing.assert_array_equal(read_image(f"m/{names[place]}.png")[..., 0] > 0, expected)
    assert found


def test_a_set_with_an_odd_name(scene: Path) -> None:
    text = Path("e.json").read_text().replace('"set": "x"', '"set": "../x y"')
    Path("e.json").write_text(text)
    done(run(evaluate("--masks", "m")))
    assert {p.name for p in Path("m").iterdir()} >= {"00000_.._x_y.png", "00001_y.png"}


def test_a_damaged_image_ends_the_run_and_names_its_episode(scene: Path) -> None:
    Path("b.jpg").write_bytes(b"")
    ran = run(evaluate())
    assert ran.code == 2
    assert ran.err.startswith("likewise: episode 1 of y: b.jpg is empty (0 bytes)")
    assert ran.err.count("\n") == 1


def test_a_full_disk_is_said_as_it_is(scene: Path) -> None:
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        ran = run(evaluate("--out", "r.json"))
        assert ran.err.startswith(
            "likewise: r.json cannot be written (the disk is full: free some space)"
        )
        ran = run(evaluate("--masks", "m"))
        assert ran.err.startswith("likewise: m/00003_x.png cannot be written")
    assert not list(scene.rglob(".likewise-*"))
    assert not Path("r.json").exists()


def test_numbers_that_json_does_not_know() -> None:
    values = {"a": np.float32(0.5), "b": float("nan"), 3: (np.int64(2), float("inf"), Path("p"))}
    assert _plain(values) == {"a": 0.5, "b": None, "3": [2, None, "p"]}
    assert _plain({"on": np.True_, "off": None}) == {"on": True, "off": None}


def test_an_old_report_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    write_json(file, {"a": 1})
    assert file.read_text() == '{\n  "a": 1\n}\n'
    with mock.patch("os.fsync", side_effect=OSError(28, "full")):
        refusal(write_json, file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_settings_are_numbers_and_truth_values() -> None:
    given = ["a=1", "b = -0.5", "c=true", "d=False", "e=1e-3"]
    settings = parse_settings(given)
    assert settings == {"a": 1, "b": -0.5, "c": True, "d": False, "e": 0.001}
    assert [type(v) for v in settings.values()] == [int, float, bool, bool, float]
    for text in ("tau", "tau=", "=3", "tau=high", "t au=3"):
        assert "is no name=value" in refusal(parse_settings, [text])


# --- running --------------------------------------------------------------------------------------


def test_fits_once_for_the_same_references(scene: Path) -> None:
    trials = choose(read_episodes([Path("e.json")], Path()))
    segmenter = Segmenter("tiny", image_size=64, method="insid3")
    with mock.patch.object(Segmenter, "fit", autospec=True, side_effect=Segmenter.fit) as fit:
        outcomes = list(run_trials(segmenter, trials))
    assert fit.call_count == 2
    assert sorted(o.trial.episode.index for o in outcomes) == [0, 1, 2, 3, 4]


def test_a_terminal_shows_progress(scene: Path) -> None:
    code, shown = run_on_a_terminal(evaluate())
    assert code == 0
    assert "5/5" in shown


def test_a_stopwatch_counts_what_is_inside_a_stage_once() -> None:
    times = iter([0.0, 1.0, 4.0, 6.0, 10.0, 13.0])
    watch = Stopwatch()
    with mock.patch("time.perf_counter", side_effect=times):
        with watch.stage("outer"), watch.stage("inner", 2):
            pass
        with watch.stage("outer"):
            pass
    assert watch.seconds == {"inner": 3.0, "outer": (6.0 - 3.0) + 3.0}
    assert (watch.per_image("outer"), watch.per_image("inner")) == (3.0, 1.5)
    assert watch.per_image("never") is None

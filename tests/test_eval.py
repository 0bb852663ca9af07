"""`likewise eval` and `likewise eval-compare` end to end on a tiny random backbone."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import likewise
from bad_inputs import SIZE, Ran, make_scene, run, sandbox
from helpers import refusal
from likewise import INSID3Params
from likewise.backbones.encoder import Encoder
from likewise.cli.eval import parse_settings
from likewise.io.files import write_json
from likewise.io.images import read_image
from likewise.lab.evaluation.cache import CachedEncoder
from likewise.lab.evaluation.compare import compare, draw_grid, read_run
from likewise.lab.evaluation.episodes import choose, read_episodes
from likewise.lab.evaluation.grid import CELL, cell, iou_text, trial_picture
from likewise.lab.evaluation.metrics import bootstrap_interval, boundary, count, mean_miou, set_miou
from likewise.lab.evaluation.report import _plain, as_text
from likewise.lab.evaluation.runner import run_trials
from likewise.lab.evaluation.stopwatch import Stopwatch
from likewise.segmenter import Segmenter
from test_cli import run_on_a_terminal

OPTIONS = ["--backbone", "tiny", "--size", "64", "--method", "insid3"]


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder, with e.json: five episodes of two sets, the last of them absent."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        write_episodes()
        yield folder


def write_episodes() -> None:
    with Image.open("mask.png") as image:
        marked = np.asarray(image)
    for shift, name in enumerate("abc", start=1):
        Image.fromarray(np.roll(marked, 12 * shift, axis=1) // 255 * 3).save(f"{name}_mask.png")
    Image.fromarray(marked // 255 * 3).save("r_mask.png")
    first = {"value": 3, "ref": "reference.png", "ref_mask": "r_mask.png"}
    entries = [
        {"set": "x", "cls": "c", **first, "tgt": "a.jpg", "tgt_mask": "a_mask.png", "id": 7},
        {"set": "y", "cls": "c", **first, "tgt": "b.jpg", "tgt_mask": "b_mask.png"},
        {"set": "x", "cls": "d", **first, "tgt": "reference.png", "tgt_mask": "r_mask.png"},
        {"set": "x", "cls": "c", **first, "tgt": "c.jpg", "tgt_mask": "c_mask.png"},
        {"set": "y", "cls": "c", **first, "tgt": "c.jpg", "absent": True},
    ]
    entries[3] |= {"ref": "b.jpg", "ref_mask": "b_mask.png"}
    Path("e.json").write_text(json.dumps(entries))


def evaluate(*more: str) -> list[str]:
    return ["eval", "--episodes", "e.json", *OPTIONS, *more]


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def report_of(*more: str) -> dict[str, Any]:
    return json.loads(done(run(evaluate("--json", *more))))


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in report.items() if k not in ("seconds", "stages", "images", "settings")}


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


# --- the report ---------------------------------------------------------------------------------


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


# --- the cache of features ----------------------------------------------------------------------


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(count)]


def files() -> list[Path]:
    return sorted(Path(".cache/features").rglob("*.safetensors"))


def assert_same(ones: list[Any], others: list[Any]) -> None:
    for one, other in zip(ones, others, strict=True):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_cold_and_warm_are_the_same(scene: Path) -> None:
    images = pictures()
    cold, warm = (CachedEncoder("tiny", image_size=64) for _ in range(2))
    first = list(cold.encode_many([*images, images[0]], batch_size=2))
    assert len(files()) == 3
    assert load_file(files()[0])["features"].dtype == torch.float16
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=AssertionError):
        second = list(warm.encode_many([*images, images[0]], batch_size=3))
    assert_same(first, second)
    assert (cold.watch.images["encode"], cold.watch.images["cached"]) == (3, 1)
    assert (warm.watch.images.get("encode", 0), warm.watch.images["cached"]) == (0, 4)
    plain = list(Encoder("tiny", image_size=64).encode_many([*images, images[0]]))
    for one, other in zip(first, plain, strict=True):
        torch.testing.assert_close(one.features, other.features, atol=1e-3, rtol=0)
        torch.testing.assert_close(one.debiased, other.debiased, atol=2e-3, rtol=0)
        assert torch.equal(one.colour, other.colour)
        assert (one.size, one.grid) == (other.size, other.grid)


def test_without_the_cache_nothing_is_rounded_or_written(scene: Path) -> None:
    encoder = CachedEncoder("tiny", image_size=64, keep=False)
    plain = Encoder("tiny", image_size=64)
    assert_same(list(encoder.encode_many(pictures())), list(plain.encode_many(pictures())))
    assert files() == []
    assert encoder.watch.images == {"encode": 3}


def test_hits_and_misses_keep_their_order(scene: Path) -> None:
    images = pictures(5)
    expected = list(CachedEncoder("tiny", image_size=64).encode_many(images))
    for place in (1, 3):
        key = CachedEncoder("tiny", image_size=64).key(images[place])
        next(p for p in files() if p.stem == key).unlink()
    mixed = list(CachedEncoder("tiny", image_size=64).encode_many(images))
    assert [e.size for e in mixed] == [i.shape[:2] for i in images]
    for one, other in zip(mixed, expected, strict=True):
        torch.testing.assert_close(one.features, other.features, atol=1e-3, rtol=0)


@pytest.mark.parametrize("damage", ["torn", "empty", "other shape", "no features"])
def test_a_bad_file_is_made_again(scene: Path, damage: str) -> None:
    (image,) = pictures(1)
    expected = CachedEncoder("tiny", image_size=64).encode(image)
    (file,) = files()
    whole = file.read_bytes()
    if damage == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other shape":
        save_file({"features": torch.zeros(2, 48).half()}, file)
    else:
        save_file({"colour": torch.zeros(16, 3)}, file)
    assert_same([CachedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(scene: Path) -> None:
    (image,) = pictures(1)
    expected = CachedEncoder("tiny", image_size=64).encode(image)
    (file,) = files()
    file.unlink()
    with mock.patch.object(Path, "replace", side_effect=OSError(28, "full")):
        assert_same([CachedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert not any(file.parent.iterdir())
    file.parent.rmdir()
    file.parent.write_text("no folder")
    assert_same([CachedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert files() == []


def test_the_key_depends_on_all_that_features_depend_on(scene: Path) -> None:
    (image,) = pictures(1)
    encoder = CachedEncoder("tiny", image_size=64)
    assert encoder.key(image) == CachedEncoder("tiny", image_size=64, svd_components=5).key(image)
    assert encoder.key(image) == encoder.key(image.copy(order="F"))
    keys = {
        encoder.key(image),
        encoder.key(image.reshape(50, 40, 3)),
        encoder.key(image[:, ::-1]),
        CachedEncoder("tiny", image_size=48).key(image),
        CachedEncoder("tiny", image_size=(48, 64)).key(image),
        CachedEncoder("tiny", image_size=64, block=1).key(image),
        CachedEncoder("tiny", image_size=64, dtype="bfloat16").key(image),
    }
    really = Encoder.preprocess  # another way of resizing, say
    with mock.patch.object(Encoder, "preprocess", lambda *given: really(*given) + 1e-6):
        keys.add(CachedEncoder("tiny", image_size=64).key(image))
    backbone = encoder.backbone
    for change in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}):
        spec = dataclasses.replace(backbone.spec, **change)
        other = CachedEncoder(dataclasses.replace(backbone, spec=spec), image_size=64)
        keys.add(other.key(image))
    other = CachedEncoder(dataclasses.replace(backbone, identity="other"), image_size=64)
    keys.add(other.key(image))
    assert len(keys) == 11


def test_a_second_run_computes_no_features_and_finds_the_same(scene: Path) -> None:
    cold = report_of("--shots", "2")
    assert cold["images"]["encode"] == len(files()) == 4
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=AssertionError):
        warm = report_of("--shots", "2")
    assert timeless(cold) == timeless(warm)
    assert warm["images"]["encode"] == 0
    other = report_of("--shots", "2", "--svd-components", "3")
    assert (other["images"]["encode"], other["settings"]["rank"]) == (0, 3)


# --- running ------------------------------------------------------------------------------------


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


# --- comparing ----------------------------------------------------------------------------------


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


# --- pictures -----------------------------------------------------------------------------------


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

"""``likewise benchmark --quick``: an estimate beside the papers' figures, and what all costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from likewise.lab.evaluation import benchmark_run
from likewise.lab.evaluation.benchmark_report import duration, estimate
from replicas import REPLICAS
from scenes import run, sandbox

WORDS = ["benchmark", "coco20i", "--backbone", "tiny", "--size", "64", "--method", "insid3"]


def refused(words: list[str]) -> str:
    """What the command line says when nothing was started."""
    done = run(words)
    assert (done.code, done.out) == (2, "")
    return done.err


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    (tmp_path / "tiny").symlink_to(tiny)
    with sandbox(tmp_path):
        yield tmp_path


def test_quick_is_an_estimate_with_its_cost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    REPLICAS["coco20i"](folder / "data")
    monkeypatch.setattr(benchmark_run, "QUICK", 4)
    done = run([*WORDS, "--quick"])
    assert (done.code, done.err) == (0, "")
    report = json.loads((folder / "benchmark/coco20i/report.json").read_text("utf-8"))
    assert report["episodes"] == 4 < report["total"]
    assert {r["set"] for r in report["records"]} == {f"fold{k}" for k in range(4)}
    assert "NOT THE PROTOCOL: 4 of" in done.out
    assert "Estimate: mIoU at input size" in done.out
    assert "INSID3 57.6 is " in done.out
    assert f"All {report['total']} episodes would take" in done.out


def test_quick_and_episodes_are_one_thing(folder: Path) -> None:
    assert "give one of the two" in refused([*WORDS, "--quick", "--episodes", "3"])


def made(**changed: Any) -> dict[str, Any]:
    report: dict[str, Any] = {
        "numbers": list(range(200)),
        "total": 4000,
        "episodes": 200,
        "seconds": 60.0,
        "headline": "mIoU at input size",
        "mean": {"mIoU at input size": 55.0},
        "interval": {"mIoU at input size": [51.0, 59.0]},
        "papers": [
            {"method": "INSID3", "measure": "mIoU", "value": 57.6},
            {"method": "SegIC", "measure": "mIoU", "value": 76.1},
            {"method": "PerSAM", "measure": "mIoU", "value": 23.0},
            {"method": "other", "measure": "J&F", "value": 1.0},
        ],
    }
    return report | changed


def test_papers_are_placed_by_the_interval() -> None:
    figure, cost = estimate(made())
    assert "55.0, 95 % interval 51.0 to 59.0" in figure
    assert "INSID3 57.6 is in it, SegIC 76.1 is above it, PerSAM 23.0 is below it" in figure
    assert "other" not in figure
    assert "All 4000 episodes would take 20 min" in cost


@pytest.mark.parametrize("changed", [{"total": 200}, {"episodes": 100}, {"seconds": 0.0}])
def test_whole_runs_and_shards_are_no_estimates(changed: dict[str, Any]) -> None:
    assert estimate(made(**changed)) == []


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (5, 90, 7199, 7200)] == ["1 min", "2 min", "120 min", "2.0 h"]

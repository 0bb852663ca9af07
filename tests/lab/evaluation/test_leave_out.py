"""`likewise eval-folds`: what is chosen on some sets is judged on the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import done
from likewise.lab.evaluation.compare import EvaluationReport, read_run
from likewise.lab.evaluation.leave_out import folds_of, leave_sets_out
from likewise.lab.evaluation.metrics import Counts, interval_over_sets
from scenes import run

SETS = [f"set{n}" for n in range(6)]


def report(folder: Path, name: str, points: dict[str, int]) -> Path:
    """Four episodes a set, each with that IoU in points."""
    entries = [
        {
            "set": dataset,
            "cls": "c",
            "refs": [{"image": "r", "mask": "m", "value": 1}],
            "tgt": f"{dataset}{number}",
            "intersection": iou,
            "union": 100,
            "boundary_intersection": 0,
            "boundary_union": 1,
            "absent": False,
            "mask": None,
        }
        for dataset, iou in points.items()
        for number in range(4)
    ]
    file = folder / name
    file.write_text(json.dumps({"settings": {"method": "x"}, "episodes": entries}))
    return file


def runs(folder: Path, *points: dict[str, int]) -> list[EvaluationReport]:
    return [read_run(report(folder, f"{n}.json", p)) for n, p in enumerate(points)]


def test_folds_are_even_and_fixed() -> None:
    folds = folds_of(SETS, 3)
    assert sorted(folds.values()) == [0, 0, 1, 1, 2, 2]
    assert folds == folds_of(SETS[::-1], 3)


def test_a_gain_on_one_set_does_not_count_there(tmp_path: Path) -> None:
    """One set alone makes the second run the best of all; without it the first one is."""
    lucky = SETS[0]
    base = dict.fromkeys(SETS, 50)
    other = dict.fromkeys(SETS, 49) | {lucky: 90}
    result = leave_sets_out(runs(tmp_path, base, other), len(SETS))
    assert result["runs"][1]["difference"] == pytest.approx((40 - 5) / 6)
    # Judged on the lucky set: the first, 50. Judged on any other: the second was chosen, 49.
    assert result["sets"][lucky]["left_out"] == 50
    assert [row["left_out"] for name, row in result["sets"].items() if name != lucky] == [49] * 5
    assert result["difference"] == pytest.approx(-5 / 6)


def test_a_gain_everywhere_counts_everywhere(tmp_path: Path) -> None:
    base, better = dict.fromkeys(SETS, 50), dict.fromkeys(SETS, 53)
    result = leave_sets_out(runs(tmp_path, base, better), 3)
    assert result["difference"] == pytest.approx(3)
    assert result["interval"] == pytest.approx([3, 3])
    assert {Path(name).name for name in result["chosen"]} == {"1.json"}


def test_the_interval_draws_sets() -> None:
    """Equal episodes within a set: all that varies is which sets are drawn."""
    a = [Counts(s, "c", 50, 100) for s in SETS for _ in range(4)]
    b = [Counts(s, "c", 50 + 6 * (s == SETS[0]), 100) for s in SETS for _ in range(4)]
    low, high = interval_over_sets(a, b)
    assert low == 0  # the only set with a gain is often not drawn at all
    assert 2 <= high <= 4  # the mean is 1


def test_the_command(tmp_path: Path) -> None:
    a = report(tmp_path, "a.json", dict.fromkeys(SETS, 50))
    b = report(tmp_path, "b.json", dict.fromkeys(SETS, 52))
    text = done(run(["eval-folds", str(a), str(b), "--folds", "2"]))
    assert "+2.00, +2.00 to +2.00" in text
    result = json.loads(done(run(["eval-folds", str(a), str(b), "--folds", "2", "--json"])))
    assert result["left_out"] == pytest.approx(52)
    for arguments, said in (
        ([str(a)], "at least two"),
        ([str(a), str(b), "--folds", "9"], "from 2 to 6"),
        ([str(a), str(tmp_path / "none.json")], "cannot be read"),
    ):
        ran = run(["eval-folds", *arguments])
        assert (ran.code, said in ran.err) == (2, True), ran.err

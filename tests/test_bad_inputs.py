"""Every row of bad_inputs.py: its message, its exit code, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs import ROWS, Row, judge, table
from scenes import make_scene


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_bad_input(case: Row, tmp_path: Path, tiny: Path) -> None:
    verdict = judge(case, make_scene(tmp_path / "scene", tiny))
    assert verdict.wrong == []


def test_every_row_is_there_once() -> None:
    assert len(ROWS) >= 35
    assert len({case.name for case in ROWS}) == len({case.what for case in ROWS}) == len(ROWS)


def test_the_table_is_aligned() -> None:
    lines = table([("input", "message", "", "x"), ("a|b", "longer than that", "1", "")]).split("\n")
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("|-------|")
    assert lines[2].startswith(r"| a\|b  |")

"""benchmarks/clicks.py and labelling.py: which episodes of a list they take."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from evaluated import OPTIONS

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def click(monkeypatch: pytest.MonkeyPatch, episodes: str) -> None:
    words = [episodes, ".", "--limit", "0", "--clicks", "1", "--start", "nothing", "--json"]
    monkeypatch.setattr(sys, "argv", ["clicks.py", *words, *OPTIONS[:4]])
    runpy.run_path(str(BENCHMARKS / "clicks.py"), run_name="__main__")


def test_targets_without_the_concept_are_not_clicked_at(
    scene: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    click(monkeypatch, "e.json")
    assert json.loads(capsys.readouterr().out)["episodes"] == 4
    Path("none.json").write_text(json.dumps(json.loads(Path("e.json").read_text())[-1:]))
    with pytest.raises(SystemExit):
        click(monkeypatch, "none.json")
    assert "no episode shows its concept" in capsys.readouterr().err


def test_targets_without_the_concept_are_not_labelled(scene: Path) -> None:
    entries = json.loads(Path("e.json").read_text())
    more = [{"set": "x", "ref": f"{k}.jpg", "ref_mask": f"{k}_mask.png"} for k in range(11)]
    entries += [entries[0] | one for one in more]
    entries += [entries[0] | {"ref": "z.jpg", "tgt": "none.jpg", "tgt_mask": None}]
    Path("e.json").write_text(json.dumps(entries))
    found = runpy.run_path(str(BENCHMARKS / "labelling.py"))["folders"]([Path("e.json")], Path())
    names = {image.name for image, _ in found["x", 3]}
    assert {"a.jpg", "10.jpg"} <= names
    assert not {"z.jpg", "none.jpg"} & names

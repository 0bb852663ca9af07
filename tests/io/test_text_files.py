"""Text that other programs wrote: encodings, and one spelling of names."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import refusal
from likewise.io.text_files import normal, read_json, read_text
from likewise.lab.evaluation.compare import read_run
from likewise.lab.evaluation.episodes import read_episodes
from likewise.project.settings import read_settings

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\ufeff\ufffe")))
def test_text_is_the_same_in_every_encoding(tmp_path: Path, text: str) -> None:
    for encoding in ENCODINGS:
        (tmp_path / "a.txt").write_bytes(text.encode(encoding))
        assert read_text(tmp_path / "a.txt") == text
        (tmp_path / "a.json").write_bytes(json.dumps(text, ensure_ascii=False).encode(encoding))
        assert read_json(tmp_path / "a.json") == text
    assert normal(unicodedata.normalize("NFD", text)) == normal(text)


def test_what_is_no_text(tmp_path: Path) -> None:
    for content in ("münze".encode("latin-1"), b"\xff\xfea", b"\xff\xfe\x00\xd8"):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ValueError, match="neither UTF-8 nor UTF-16"):
            read_json(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settings_and_episodes(tmp_path: Path, encoding: str) -> None:
    label = unicodedata.normalize("NFD", "münze")
    reference = f'[[reference]]\r\nimage = "a.png"\r\nmask = "m.png"\r\nlabel = "{label}"\r\n'
    text = f'targets = ["münzen"]\r\n{reference}'
    (tmp_path / "likewise.toml").write_bytes(text.encode(encoding))
    found = read_settings(tmp_path)
    assert found.targets == ("münzen",)
    assert found.labels == (unicodedata.normalize("NFC", label),)
    entry = {"set": "s", "cls": "münze", "value": 1, "ref": "a", "ref_mask": "b", "tgt": "c"}
    episodes = json.dumps([{**entry, "tgt_mask": "d"}], ensure_ascii=False)
    (tmp_path / "e.json").write_bytes(episodes.encode(encoding))
    assert [e.cls for e in read_episodes([tmp_path / "e.json"], tmp_path)] == ["münze"]


def test_a_project_and_a_report_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "likewise.toml").write_bytes('targets = ["münzen"]'.encode("latin-1"))
    text = refusal(read_settings, tmp_path)
    assert "likewise.toml is no TOML (it is neither UTF-8 nor UTF-16 text)" in text
    (tmp_path / "r.json").write_bytes('"münze"'.encode("latin-1"))
    assert "it is neither UTF-8 nor UTF-16" in refusal(read_run, tmp_path / "r.json")

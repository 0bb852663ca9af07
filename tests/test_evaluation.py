"""Episodes and mIoU against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import refusal
from likewise.evaluation.episodes import read_episodes
from likewise.evaluation.metrics import Counts, bootstrap_interval, count, mean_miou, set_miou

ENTRY = {
    "set": "s",
    "cls": "c",
    "value": 3,
    "ref": "r.jpg",
    "ref_mask": "r.png",
    "tgt": "t.jpg",
    "tgt_mask": "t.png",
}


def test_episodes_are_read_relative_to_the_root(tmp_path):
    (tmp_path / "e.json").write_text(json.dumps([ENTRY]))
    (episode,) = read_episodes(tmp_path / "e.json", tmp_path / "data")
    assert (episode.dataset, episode.cls, episode.value) == ("s", "c", 3)
    assert episode.reference_mask == tmp_path / "data" / "r.png"
    assert episode.target == tmp_path / "data" / "t.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read as JSON"), ("[{}]", "missing 'set'"), ("[1]", "is no list of episodes")],
)
def test_bad_episode_files(tmp_path, text, message):
    (tmp_path / "e.json").write_text(text)
    text = refusal(read_episodes, tmp_path / "e.json", tmp_path)
    assert "e.json" in text
    assert message in text


def test_missing_episode_file(tmp_path):
    assert "none.json" in refusal(read_episodes, tmp_path / "none.json", tmp_path)


def test_count():
    a, b = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    a[0], b[:, :2] = True, True
    assert count("s", "c", a, b) == Counts("s", "c", 2, 6)


def test_miou_sums_per_class_before_averaging():
    counts = [
        Counts("one", "a", 1, 2),
        Counts("one", "a", 3, 8),  # class a: 4 of 10
        Counts("one", "b", 5, 5),
        Counts("two", "a", 0, 7),
        Counts("two", "b", 0, 0),  # nothing to find, nothing found: no division by zero
    ]
    assert set_miou(counts) == pytest.approx({"one": 70.0, "two": 0.0})
    assert mean_miou(counts) == pytest.approx(35.0)


def test_interval_is_reproducible_and_holds_the_mean():
    rng = np.random.default_rng(0)
    counts = [Counts("s", "c", int(i), 100) for i in rng.integers(20, 80, size=40)]
    low, high = bootstrap_interval(counts, rounds=200)
    assert low < mean_miou(counts) < high
    assert (low, high) == bootstrap_interval(counts, rounds=200)
    assert bootstrap_interval([Counts("s", "c", 1, 4)], rounds=10) == (25.0, 25.0)

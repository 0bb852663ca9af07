"""Episodes and mIoU against numbers worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from helpers import refusal
from likewise.lab.evaluation.episodes import check_files, choose, read_episodes
from likewise.lab.evaluation.metrics import (
    Counts,
    auroc,
    bootstrap_interval,
    boundary,
    class_ious,
    count,
    mean_miou,
    paired_intervals,
    set_miou,
)

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
    (episode,) = read_episodes([tmp_path / "e.json"], tmp_path / "data")
    assert (episode.dataset, episode.cls, episode.value) == ("s", "c", 3)
    assert episode.reference_mask == tmp_path / "data" / "r.png"
    assert episode.target == tmp_path / "data" / "t.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[{}]", "missing 'set'"),
        ("[1]", "is no list of episodes: each needs set"),
        ("{}", "is no list of episodes: each needs set"),
        ("[]", "holds no episode"),
        ('{"mean": 1}', "is no list of episodes"),
        ("3", "is no list of episodes"),
    ],
)
def test_bad_episode_files(tmp_path, text, message):
    (tmp_path / "e.json").write_text(text)
    text = refusal(read_episodes, [tmp_path / "e.json"], tmp_path)
    assert "e.json" in text
    assert message in text


def test_missing_episode_file(tmp_path):
    assert "none.json" in refusal(read_episodes, [tmp_path / "none.json"], tmp_path)


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


# --- boundaries ---------------------------------------------------------------------------------


def boundary_by_hand(mask: np.ndarray, depth: int) -> np.ndarray:
    """Pixels from which a king of chess reaches the background or leaves the image in ``depth``."""
    height, width = mask.shape
    band = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        for row in range(y - depth, y + depth + 1):
            for column in range(x - depth, x + depth + 1):
                inside = 0 <= row < height and 0 <= column < width
                band[y, x] |= not inside or not mask[row, column]
    return band


@pytest.mark.parametrize("dilation", [0.001, 0.02, 0.03, 0.1])
@pytest.mark.parametrize("shape", [(31, 43), (60, 20)])
def test_boundary_against_a_second_formulation(shape, dilation):
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, bool)
    mask[5:25, 0:18] = True  # touches an edge of the image
    mask[rng.integers(0, shape[0], 6), rng.integers(0, shape[1], 6)] ^= True  # holes and specks
    depth = max(1, round(dilation * math.hypot(*shape)))
    np.testing.assert_array_equal(boundary(mask, dilation), boundary_by_hand(mask, depth))


def test_boundary_of_nothing_and_of_everything():
    assert not boundary(np.zeros((9, 9), bool)).any()
    band = boundary(np.ones((9, 12), bool), 0.02)
    assert band.sum() == 9 * 12 - 7 * 10  # the edge of the image is a boundary


def test_boundary_is_two_hundredths_of_the_diagonal_by_default():
    assert boundary(np.ones((300, 400), bool)).sum() == 300 * 400 - 280 * 380


# --- classes, pairs, ranks ----------------------------------------------------------------------


def test_ious_of_classes():
    counts = [Counts("s", "a", 1, 2), Counts("s", "a", 3, 8), Counts("t", "b", 0, 0)]
    assert class_ious(counts) == {"s": {"a": 40.0}, "t": {"b": 0.0}}
    assert [c.iou for c in counts] == [50.0, 37.5, None]


def test_paired_intervals_by_hand():
    # Two episodes: a resample takes 0 + 0, 0 + 1 or 1 + 1, so there are three differences.
    a = [Counts("s", "c", 10, 100), Counts("s", "c", 50, 100)]
    b = [Counts("s", "c", 40, 100), Counts("s", "c", 40, 100)]
    interval, sets = paired_intervals(a, b, rounds=200)
    assert interval == sets["s"] == (-10.0, 30.0)
    shifted = [Counts("s", "c", c.intersection + 7, 100) for c in a]
    # The same episodes in both: what is hard in one is hard in the other, and leaves no doubt.
    assert paired_intervals(a, shifted, rounds=50)[0] == pytest.approx((7.0, 7.0))
    assert paired_intervals(shifted, a, rounds=50)[0] == pytest.approx((-7.0, -7.0))


def test_paired_intervals_resample_within_sets_and_average_over_them():
    a = [Counts("s", "c", 10, 100), Counts("t", "c", 10, 100), Counts("t", "c", 10, 100)]
    b = [Counts("s", "c", 30, 100), Counts("t", "c", 20, 100), Counts("t", "c", 20, 100)]
    interval, sets = paired_intervals(a, b, rounds=50)
    assert sets["s"] == pytest.approx((20.0, 20.0))
    assert sets["t"] == pytest.approx((10.0, 10.0))
    assert interval == pytest.approx((15.0, 15.0))


def test_auroc_by_hand():
    # Of 6 pairs: 0.9 beats all three, 0.4 beats 0.1, ties with 0.4 and loses to 0.5.
    assert auroc([0.9, 0.4], [0.1, 0.4, 0.5]) == pytest.approx((3 + 1 + 0.5) / 6)
    assert auroc([1.0], [0.0]) == 1.0
    assert auroc([0.3, 0.3], [0.3]) == 0.5
    assert auroc([], [0.5]) is None
    assert auroc([0.5], []) is None


# --- which episodes, which references -----------------------------------------------------------


def episode_list(folder, entries):
    """Files of their own content for every image and mask; entries may leave out fields."""
    listed = []
    for entry in entries:
        entry = ENTRY | {"ref_mask": f"m_{entry['ref']}", "tgt_mask": f"m_{entry['tgt']}"} | entry
        for name in filter(None, (entry[k] for k in ("ref", "ref_mask", "tgt", "tgt_mask"))):
            file = folder / name
            if not file.exists():
                file.write_text(name)
        listed.append(entry)
    (folder / "e.json").write_text(json.dumps(listed))
    return read_episodes([folder / "e.json"], folder)


def shown(trial):
    return [r.image.name for r in trial.references]


def test_further_references_never_show_the_target(tmp_path):
    episodes = episode_list(
        tmp_path,
        [
            {"ref": "a", "tgt": "b", "value": 1},
            {"ref": "c", "tgt": "b", "value": 2},
            {"ref": "b", "tgt": "d", "value": 3},
            {"ref": "a", "tgt": "d", "cls": "other"},
            {"ref": "a", "tgt": "e", "set": "other"},
        ],
    )
    trials = choose(episodes, shots=9)
    assert shown(trials[0]) == ["a", "c", "d"]  # b is the target, e is of another set
    assert shown(trials[1]) == ["c", "d", "a"]  # on from its own place, and around
    assert shown(trials[2]) == ["b", "a", "c"]
    assert shown(trials[3]) == ["a"]
    # Every reference has the mask and the value of the episode it comes from.
    assert [(r.mask.name, r.value) for r in trials[0].references] == [
        ("m_a", 1),
        ("m_c", 2),
        ("m_d", 3),
    ]
    assert [shown(t) for t in choose(episodes, shots=2)][:3] == [["a", "c"], ["c", "d"], ["b", "a"]]
    assert [shown(t) for t in choose(episodes)][:3] == [["a"], ["c"], ["b"]]


def test_further_references_are_no_copies(tmp_path):
    (tmp_path / "b").write_text("the target")
    (tmp_path / "copy_of_b").write_text("the target")
    (tmp_path / "copy_of_a").write_text("a")
    entries = [{"ref": "a", "tgt": "b"}, {"ref": "copy_of_a", "tgt": "copy_of_b"}]
    entries += [{"ref": "c", "tgt": "d"}, {"ref": "c", "tgt": "e"}]
    assert shown(choose(episode_list(tmp_path, entries), shots=9)[0]) == ["a", "c", "d", "e"]


def test_absent_targets_are_no_references(tmp_path):
    entries = [{"ref": "a", "tgt": "b"}, {"ref": "c", "tgt": "d", "absent": True}]
    entries += [{"ref": "e", "tgt": "f", "tgt_mask": None}]
    episodes = episode_list(tmp_path, entries)
    assert [e.absent for e in episodes] == [False, True, True]
    assert [e.target_mask is None for e in episodes] == [False, True, True]
    assert shown(choose(episodes, shots=4)[0]) == ["a", "c", "e"]


def test_only_full_shots_exclude_and_limit(tmp_path):
    episodes = episode_list(
        tmp_path,
        [{"ref": "a", "tgt": "b"}, {"ref": "c", "tgt": "d"}, {"ref": "x", "tgt": "y", "set": "t"}],
    )

    def places(**options):
        return [t.episode.index for t in choose(episodes, **options)]

    assert places(shots=3) == [0, 1, 2]
    assert places(shots=3, only_full_shots=True) == [0, 1]
    assert places(exclude=["s"]) == [2]
    assert places(limit=2) == [0, 1]
    assert places(limit=5) == [0, 1, 2]
    # Neither takes away what further references are chosen from.
    (trial,) = choose(episodes, shots=3, limit=1)
    assert shown(trial) == ["a", "c", "d"]


def test_a_limit_takes_from_the_whole_list(tmp_path):
    episodes = episode_list(tmp_path, [{"ref": "a", "tgt": f"t{i}"} for i in range(10)])
    assert [t.episode.index for t in choose(episodes, limit=4)] == [0, 2, 5, 7]


def test_choices_that_leave_nothing(tmp_path):
    episodes = episode_list(tmp_path, [{"ref": "a", "tgt": "b"}])
    assert "--shots 0" in refusal(choose, episodes, shots=0)
    assert "--limit -1" in refusal(choose, episodes, limit=-1)
    assert "no episode is left" in refusal(choose, episodes, exclude=["s"])
    assert "no episode is left" in refusal(choose, episodes, shots=2, only_full_shots=True)
    assert "the episodes are of s" in refusal(choose, episodes, exclude=["S"])


def test_missing_files_are_named_with_their_episode(tmp_path):
    entries = [{"ref": "a", "tgt": "b"}, {"ref": "c", "tgt": "d", "id": "second"}]
    episodes = episode_list(tmp_path, entries)
    check_files(choose(episodes))
    (tmp_path / "m_d").unlink()
    text = refusal(check_files, choose(episodes))
    assert text.startswith(f"episode second of s needs {tmp_path / 'm_d'}, which does not exist")
    (tmp_path / "d").unlink()
    assert "episode second of s" in refusal(choose, episodes, shots=2)

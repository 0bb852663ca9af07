"""Projects: a person's work is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import Columns, refusal
from likewise.project.corrections import replace_class
from likewise.project.project import Project
from painted_project import (
    CLASSES,
    SIZE,
    annotate,
    columns,
    exported,
    mask,
    paint,
    project,
    shown,
    statuses,
    store,
)
from scenes import run


@pytest.mark.parametrize("form", ["255", "label", "1", "rgb", "rgba", "16"])
def test_a_correction_of_one_class_keeps_the_others(scene: Path, form: str) -> None:
    project("ball", "box")
    annotate()
    right = np.zeros(SIZE, np.uint8)
    right[:2, 1:4] = 255
    store(right, form)
    assert run(["correct", "w", "A/a0.png", "own.png", "--label", "box"]).code == 0
    expected = np.zeros(SIZE, np.uint8)
    expected[:, :2] = 1  # ball
    expected[right > 0] = 2
    np.testing.assert_array_equal(mask(), expected)
    assert statuses() == {"a0": "corrected", "a1": "done"}
    project("box", "ball", "person")
    annotate()
    np.testing.assert_array_equal(mask(), expected)
    assert shown("a1") == columns("ball", "box", "person")


def test_one_class_of_a_label_map_that_shows_several(scene: Path) -> None:
    project("ball", "box")
    annotate()
    own = np.zeros(SIZE, np.uint8)
    own[0], own[1] = 1, 2
    Image.fromarray(own).save("own.png")
    assert run(["correct", "w", "A/a0.png", "own.png", "--label", "box"]).code == 0
    assert (mask()[1] == 2).all()
    assert mask()[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    Image.fromarray(own * 3).save("own.png")
    ran = run(["correct", "w", "A/a0.png", "own.png", "--label", "box"])
    assert (ran.code, "holds the values 3, 6, and box is 2: give a mask of box" in ran.err) == (
        2,
        1,
    )


def test_parts_lie_over_their_wholes() -> None:
    numbers = {"person": 1, "person/hair": 2, "dog": 3}
    before = np.array([[1, 2, 2, 3, 0, 1]])
    person = np.array([[0, 1, 0, 1, 1, 1]], bool)
    after = replace_class(before, person, "person", numbers)
    assert after.tolist() == [[0, 2, 0, 1, 1, 1]]  # hair stays inside the person, and only there
    hair = np.array([[1, 0, 1, 0, 1, 0]], bool)
    after = replace_class(before, hair, "person/hair", numbers)
    assert after.tolist() == [[2, 1, 2, 3, 2, 1]]  # below hair is the person
    dog = np.array([[0, 1, 0, 0, 0, 0]], bool)
    assert replace_class(before, dog, "dog", numbers).tolist() == [[1, 3, 2, 0, 0, 1]]


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_a_mask_that_was_changed_by_hand_is_kept_and_said_once(scene: Path, mode: str) -> None:
    project("ball", "box")
    annotate()
    mine = np.zeros(SIZE, np.uint8)
    mine[3] = 2
    image = Image.fromarray(mine.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
    image.save("w/masks/a0.png", compress_level=1)
    project("person")
    ran = annotate()
    assert ran.err.count("w/masks/a0.png: it was changed without likewise, and is kept") == 1
    np.testing.assert_array_equal(mask(), mine)
    assert statuses() == {"a0": "corrected", "a1": "done"}
    assert annotate().err == ""
    assert exported() == {"a0.png": {"box"}, "a1.png": {"person"}}
    ran = annotate("--overwrite")
    assert "1 made anew: made by a person" in ran.out
    assert shown("a0") == columns("person")
    assert statuses() == {"a0": "done", "a1": "done"}


def test_overwrite_leaves_what_was_accepted(scene: Path) -> None:
    project("ball")
    annotate()
    Image.fromarray(np.eye(*SIZE, dtype=np.uint8)).save("w/masks/a0.png")
    run(["review", "w", "--accept", "A/a0.png"])
    annotate("--overwrite")
    np.testing.assert_array_equal(mask(), np.eye(*SIZE, dtype=np.uint8))


def test_an_older_mask_that_is_put_back_is_a_persons(scene: Path) -> None:
    project("ball", "box")
    annotate()
    backup = Path("w/masks/a0.png").read_bytes()
    project("ball")
    annotate()
    Path("w/masks/a0.png").write_bytes(backup)
    project("box")
    assert "is kept as yours" in annotate().err
    assert shown("a0") == columns("ball", "box")


def test_black_and_white_by_hand_in_a_project_of_one_class(scene: Path) -> None:
    project("box")
    annotate()
    Image.fromarray(np.eye(*SIZE) > 0).save("w/masks/a0.png")
    annotate()
    np.testing.assert_array_equal(mask() == 1, np.eye(*SIZE) > 0)
    assert exported()["a0.png"] == {"box"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((3, 4), np.uint8), "has 4x3 pixels and its image 8x6"),
        (np.full(SIZE, 77, np.uint8), "holds the value 77, and the project has 1 ball, 2 box"),
    ],
)
def test_a_mask_by_hand_that_says_nothing_is_named_and_kept(
    scene: Path, values: np.ndarray, why: str
) -> None:
    project("ball", "box")
    annotate()
    Image.fromarray(values).save("w/masks/a0.png")
    project("box", "ball")
    for _ in range(2):  # until it is mended
        assert why in annotate().err
        np.testing.assert_array_equal(mask(), values)
    run(["review", "w", "--reject", "A/a0.png"])
    annotate()
    assert statuses()["a0"] == "rejected"
    run(["review", "w", "--undo", "A/a0.png"])
    ran = run(["export", "w", "--format", "coco", "--out", "d"])
    assert (ran.code, why in ran.err) == (1, True)


def test_a_correction_is_taken_back_and_stays_until_then(scene: Path) -> None:
    project("ball")
    annotate()
    store(np.full(SIZE, 255, np.uint8), "255")
    run(["correct", "w", "A/a0.png", "own.png"])
    assert run(["review", "w", "--undo", "A/a0.png"]).code == 0
    assert statuses()["a0"] == "pending"
    assert mask().all()
    annotate()
    assert shown() == columns("ball")
    assert statuses()["a0"] == "done"


def test_what_was_said_of_a_picture_that_changed_is_kept_and_told(scene: Path) -> None:
    project("ball")
    annotate()
    run(["review", "w", "--accept", "A/a0.png"])
    paint("A/a0.png", 7)
    paint("A/a1.png", 8)
    ran = run(["export", "w", "--format", "coco", "--out", "x"])
    assert "A/a0.png: it was changed after its mask was made: look whether" in ran.err
    assert "A/a1.png: it was changed after its mask was made: left out; annotate again" in ran.err
    assert len(json.loads(Path("x/annotations.json").read_text())["images"]) == 1
    assert "1 made anew: picture changed" in annotate().out
    run(["review", "w", "--accept", "A/a0.png"])  # looked at
    assert run(["export", "w", "--format", "coco", "--out", "y"]).err == ""
    run(["review", "w", "--undo", "A/a0.png"])
    assert "1 made anew: picture changed" in annotate().out


def test_masks_of_the_size_before_a_picture_was_replaced_are_refused(scene: Path) -> None:
    project("ball", "box")
    annotate()
    before, entry = mask(), Path("w/masks/manifest.jsonl").read_bytes()
    Image.fromarray(np.full((9, 12, 3), 70, np.uint8)).save("A/a0.png")
    work = Project(Path("w"))
    told = refusal(work.correct, Path("A/a0.png"), np.ones(SIZE, np.uint8))
    assert told.startswith("A/a0.png has 12x9 pixels now and its mask 8x6: take that back")
    work.close()
    Image.fromarray(np.eye(9, 12) > 0).save("own.png")  # fits the picture, not its other classes
    ran = run(["correct", "w", "A/a0.png", "own.png", "--label", "ball"])
    assert (ran.code, "A/a0.png has 12x9 pixels now and its mask 8x6" in ran.err) == (2, True)
    np.testing.assert_array_equal(mask(), before)
    assert Path("w/masks/manifest.jsonl").read_bytes() == entry
    assert statuses()["a0"] == "done"
    assert "1 made anew: picture changed" in annotate().out
    run(["correct", "w", "A/a0.png", "own.png", "--label", "ball"])
    assert (mask().shape, statuses()["a0"]) == ((9, 12), "corrected")


def test_a_mask_deleted_by_hand_is_made_anew(scene: Path) -> None:
    project("ball")
    annotate()
    run(["review", "w", "--accept", "A/a0.png", "--reject", "A/a1.png"])
    Path("w/masks/a0.png").unlink()
    Path("w/masks/a1.png").unlink()
    assert "1 made anew: mask deleted" in annotate().out
    assert statuses() == {"a0": "done", "a1": "rejected"}


def test_a_verdict_during_a_run_is_kept(scene: Path) -> None:
    project("ball", "box")
    annotate()
    project("box")
    work, other = Project(Path("w")), Project(Path("w"))
    run_key = work.run_key("columns")
    todo = list(work.todo(work.jobs(), run_key))
    work.begin(run_key, "columns", todo)
    segmenter: Any = Columns(CLASSES, ["box"])
    outcomes = work.annotate(segmenter, todo, run_key)
    next(outcomes)
    other.judge([Path("A/a1.png")], "accepted")
    (outcome,) = outcomes
    assert outcome.skipped
    assert shown("a1") == columns("ball", "box")
    assert statuses() == {"a0": "done", "a1": "accepted"}
    work.close()
    other.close()

"""Projects: numbers of classes are for ever."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np

from helpers import refusal
from likewise.project.project import Project
from painted_project import annotate, columns, exported, mask, project, shown
from scenes import run


def test_reordered_classes_keep_their_numbers(scene: Path) -> None:
    project("ball", "box")
    annotate()
    before = mask()
    project("box", "ball")
    ran = annotate()
    assert "2 made anew: settings or references changed" in ran.out
    np.testing.assert_array_equal(mask(), before)
    assert shown() == columns("ball", "box")


def test_a_class_in_front_interrupted_and_exported(scene: Path) -> None:
    project("ball", "box")
    annotate()
    project("person", "ball", "box")
    annotate("--limit", "1")
    assert shown("a0") == columns("ball", "box", "person")
    assert shown("a1") == columns("ball", "box")
    ran = run(["export", "w", "--format", "coco", "--out", "x"])
    assert "1 of 2 masks are of other settings or references than now: annotate again." in ran.err
    assert exported() == {"a0.png": {"ball", "box", "person"}, "a1.png": {"ball", "box"}}


def test_a_class_that_leaves_keeps_its_number_and_a_persons_masks(scene: Path) -> None:
    project("ball", "box")
    annotate()
    run(["review", "w", "--accept", "A/a1.png"])
    project("box", "person")
    annotate()
    assert shown("a0") == columns("box", "person")
    assert shown("a1") == columns("ball", "box")
    assert exported() == {"a0.png": {"box", "person"}, "a1.png": {"ball", "box"}}
    project("ball", "box")
    annotate()
    assert json.loads(Path("w/masks/labels.json").read_text()) == {
        "1": "ball", "2": "box", "3": "person"
    }  # fmt: skip
    assert shown("a0") == columns("ball", "box")


def test_a_class_that_no_mask_shows_any_more_is_not_exported(scene: Path) -> None:
    project("ball", "box")
    annotate()
    project("box")
    annotate()
    exported()
    found = json.loads(Path("d/annotations.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in found["categories"]] == ["box"]


def test_a_class_renamed_by_hand_is_another(scene: Path) -> None:
    project("ball", "box")
    annotate()
    run(["review", "w", "--accept", "A/a1.png"])
    project("person", "box")  # "ball" is called "person" now, says the person
    annotate()
    assert shown("a0") == columns("box", "person")
    assert shown("a1") == columns("ball", "box")


def test_renaming_keeps_numbers_and_refuses_to_merge(scene: Path) -> None:
    project("ball", "box")
    annotate()
    opened = Project(Path("w"))
    opened.rename_classes({"ball": "box", "box": "ball"})  # each other's
    assert opened.numbers == {"box": 1, "ball": 2}
    assert {label for _, label, _, area in opened.class_rows() if area} == {"ball", "box"}
    opened.rename_classes({"box": "globe"})
    assert opened.manifest.numbers == {"globe": 1, "ball": 2}
    assert "show another class called ball" in refusal(opened.rename_classes, {"globe": "ball"})
    opened.close()


def test_numbers_that_a_person_swaps_in_labels_json(scene: Path) -> None:
    project("ball", "box")
    annotate()
    run(["review", "w", "--accept", "A/a1.png"])
    Path("w/masks/labels.json").write_text('{"1": "box", "2": "ball"}')  # they say what 1 is
    annotate()
    assert shown("a0") == columns("ball", "box")
    assert [shown("a1")[0], shown("a1")[2]] == ["box", "ball"]


def test_names_of_classes_are_compared_in_one_spelling(scene: Path) -> None:
    project(unicodedata.normalize("NFD", "Bär"))
    opened = Project(Path("w"))
    opened.manifest.allot([unicodedata.normalize("NFC", "Bär")], label_maps=True)
    assert opened.numbers == {unicodedata.normalize("NFC", "Bär"): 1}
    opened.close()

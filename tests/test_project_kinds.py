"""Projects: numbers of classes are for ever, a person's work is kept, present targets count."""

from __future__ import annotations

import json
import shutil
import sqlite3
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bad_inputs import Ran, run, sandbox
from helpers import Columns, refusal
from likewise.errors import InputWarning
from likewise.project.corrections import replace_class
from likewise.project.database import DATABASE
from likewise.project.project import Project
from likewise.project.score_maps import Sliders
from likewise.project.settings import CONFIG, ProjectReference, ProjectSettings, read_settings
from likewise.project.settings_file import replace_settings

CLASSES = ("ball", "box", "person", "person/hair")
SIZE = 6, 8


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A and B of two pictures each, and projects that find a class in each column (``Columns``)."""

    def encoder(project: Project, kind: Any, **where: Any) -> tuple[Any, str]:
        return SimpleNamespace(spec=SimpleNamespace(name="columns")), "columns"

    def segmenter(project: Project, encoder: Any) -> Any:
        found = Columns(CLASSES, project.settings.labels)
        return SimpleNamespace(fit=lambda references: found)

    monkeypatch.setattr(Project, "encoder", encoder)
    monkeypatch.setattr(Project, "segmenter", segmenter)
    with sandbox(tmp_path):
        for number, name in enumerate(("A/a0.png", "A/a1.png", "B/b0.png", "B/b1.png")):
            paint(name, number)
        paint("ref.png", 9)
        Image.fromarray(np.tile(np.repeat(np.arange(4, dtype=np.uint8), 2), (6, 1))).save("m.png")
        yield tmp_path


def paint(name: str, grey: int) -> None:
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((*SIZE, 3), 20 * grey, np.uint8)).save(name)


def project(*labels: str, targets: tuple[str, ...] = ("A",), name: str = "w") -> None:
    """Write likewise.toml as a person would."""
    lines = [f"targets = {json.dumps([f'../{target}' for target in targets])}"]
    for label in labels:
        lines += ["[[reference]]", 'image = "../ref.png"', 'mask = "../m.png"', "value = 1"]
        lines += [f'label = "{label}"']
    Path(name).mkdir(exist_ok=True)
    Path(name, CONFIG).write_text("\n".join(lines), encoding="utf-8")


def annotate(*more: str, code: int = 0) -> Ran:
    ran = run(["annotate", "w", *more])
    assert ran.code == code, ran.err
    return ran


def mask(name: str = "a0") -> np.ndarray:
    with Image.open(f"w/masks/{name}.png") as image:
        return np.asarray(image)


def shown(name: str = "a0") -> list[str]:
    """What a mask shows in its first row, by labels.json."""
    numbers = json.loads(Path("w/masks/labels.json").read_text(encoding="utf-8"))
    return [numbers.get(str(k), "") for k in mask(name)[0]]


def exported(out: str = "d") -> dict[str, set[str]]:
    """Picture → classes of its annotations."""
    shutil.rmtree(out, ignore_errors=True)
    ran = run(["export", "w", "--format", "coco", "--out", out])
    assert ran.code == 0, ran.err
    found = json.loads(Path(out, "annotations.json").read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in found["categories"]}
    images = {image["id"]: Path(image["file_name"]).name for image in found["images"]}
    classes: dict[str, set[str]] = {name: set() for name in images.values()}
    for entry in found["annotations"]:
        classes[images[entry["image_id"]]].add(names[entry["category_id"]])
    return classes


def statuses() -> dict[str, str]:
    opened = Project(Path("w"))
    found = {Path(path).stem: status for path, status in opened.states().items()}
    opened.close()
    return found


def columns(*labels: str) -> list[str]:
    return [label if label in labels else "" for label in CLASSES for _ in range(2)]


# --- 1: numbers of classes --------------------------------------------------------------------


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


# --- 2: a person's work ------------------------------------------------------------------------


def store(values: np.ndarray, form: str) -> None:
    """``values`` of 0 and 255 as own.png, in a form that people have."""
    marked = values > 0
    if form == "label":
        image = Image.fromarray(np.uint8(marked * 7))
    elif form == "1":
        image = Image.fromarray(marked)
    elif form == "rgb":
        image = Image.fromarray(np.repeat(values[..., None], 3, axis=2))
    elif form == "rgba":
        image = Image.fromarray(np.dstack([np.full((*SIZE, 3), 90, np.uint8), values]))
    elif form == "16":
        image = Image.fromarray(np.uint16(marked * 255))
    else:
        image = Image.fromarray(values)
    image.save("own.png")


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


# --- targets -----------------------------------------------------------------------------------


def test_only_present_targets_count_and_come_back_with_their_verdicts(scene: Path) -> None:
    project("ball", targets=("A", "B"))
    annotate()
    run(["review", "w", "--reject", "B/b0.png", "--accept", "B/b1.png"])
    project("ball", targets=("A/a1.png",))
    assert annotate().out == "0 of 1 images annotated in w, 1 kept\n"
    assert statuses() == {"a1": "done"}
    assert set(exported()) == {"a1.png"}
    assert len(json.loads(run(["review", "w", "--json"]).out)) == 1
    assert run(["report", "w"]).code == 0
    assert "b1.png" not in Path("w/report.html").read_text(encoding="utf-8")
    ran = run(["review", "w", "--accept", "A/a0.png"])
    assert (ran.code, "is no target of w now: add it" in ran.err) == (2, True)
    project("ball", targets=("B",))
    annotate()
    assert statuses() == {"b0": "rejected", "b1": "accepted"}
    assert set(exported()) == {"b1.png"}


def test_a_deleted_picture_is_named_once_and_left_out(scene: Path) -> None:
    project("ball", targets=("A", "B/*.png"))
    annotate()
    Path("A/a0.png").unlink()
    Path("B/b0.png").unlink()
    ran = run(["export", "w", "--format", "coco", "--out", "d1"])
    assert ran.code == 0
    assert ran.err.count("it is gone, and left out; its mask stays.") == 2
    assert run(["export", "w", "--format", "coco", "--out", "d2"]).err == ""
    assert set(exported()) == {"a1.png", "b1.png"}
    paint("A/a0.png", 0)
    assert annotate().out == "0 of 3 images annotated in w, 3 kept\n"


def test_a_picture_that_is_named_alone_and_gone(scene: Path) -> None:
    project("ball", targets=("A/a0.png", "B"))
    annotate()
    Path("A/a0.png").unlink()
    assert "A/a0.png: it is gone, and left out: take it out of targets" in annotate().err
    assert set(exported()) == {"b0.png", "b1.png"}
    opened = Project(Path("w"))
    with pytest.warns(InputWarning):
        assert opened.missing() == [Path("A/a0.png")]
    opened.close()


def test_a_folder_that_is_gone_is_one_sentence(scene: Path) -> None:
    project("ball", targets=("A", "B"))
    annotate()
    shutil.move("B", "elsewhere")
    for words in (["annotate", "w"], ["export", "w", "--format", "coco", "--out", "d"]):
        ran = run(words)
        assert (ran.code, ran.err) == (
            2,
            "likewise: B is not there: connect the disk that it is on, or take it out of targets "
            "in w/likewise.toml.\n",
        )
    shutil.move("elsewhere", "B")
    assert len(exported()) == 4


def test_equal_names_in_two_folders(scene: Path) -> None:
    for number, name in enumerate(("nest/cam1/0001.png", "nest/cam2/0001.png")):
        paint(name, number)
    project("ball", targets=("nest/cam1", "nest/cam2"))
    assert annotate().out == "2 of 2 images annotated in w\n"
    assert Path("w/masks/cam1/0001.png").is_file()
    run(["review", "w", "--reject", "nest/cam2/0001.png"])
    opened = Project(Path("w"))
    assert opened.score_maps(Path("nest/cam1/0001.png")) == Path("w/layers/cam1/0001.npz")
    assert [mask for _, mask, _ in opened.finished()] == [Path("w/masks/cam1/0001.png")]
    opened.close()


def test_a_picture_of_the_same_name_later_takes_no_place(scene: Path) -> None:
    project("ball")
    annotate()
    store(np.full(SIZE, 255, np.uint8), "255")
    run(["correct", "w", "A/a0.png", "own.png"])
    paint("B/a0.png", 5)
    project("ball", targets=("B",))
    annotate()
    assert mask("a0").all()
    project("ball", targets=("A", "B"))
    annotate()
    assert mask("a0").all()
    opened = Project(Path("w"))
    assert len({opened.mask(job.target) for job in opened.jobs()}) == 5
    opened.close()


def test_two_pictures_of_one_folder_and_stem_are_refused_without_out(scene: Path) -> None:
    Image.new("RGB", (8, 6)).save("A/a0.jpg")
    project("ball")
    ran = run(["annotate", "w"])
    assert ran.code == 2
    assert "would both be written to w/masks/a0.png" in ran.err
    assert "--out" not in ran.err


def test_one_bad_file_stops_nothing(scene: Path) -> None:
    Path("A/a0.png").write_bytes(b"no picture")
    project("ball")
    ran = annotate(code=1)
    assert ran.out == "1 of 2 images annotated in w, 1 failed\n"
    assert "A/a0.png" in ran.err
    assert statuses() == {"a0": "failed", "a1": "done"}
    before = "0 of 2 images annotated in w, 1 kept, 1 failed before (--retry tries again)\n"
    assert annotate(code=1).out == before
    left = run(["export", "w", "--format", "coco", "--out", "d"]).err
    assert "1 of 2 targets failed, and are left out: likewise review says why." in left
    assert run(["annotate", "w", "--dry-run"]).code == 0


@pytest.mark.parametrize("lost", [False, True])
def test_moved_pictures_keep_what_a_person_did(scene: Path, lost: bool) -> None:
    project("ball", "box")
    annotate()
    with Image.open("w/masks/a1.png") as image:
        Image.fromarray(np.full(image.size[::-1], 2, np.uint8)).save("mine.png")
    assert run(["correct", "w", "A/a0.png", "mine.png"]).code == 0
    run(["review", "w", "--accept", "A/a1.png"])
    shutil.move("A", "moved")
    project("ball", "box", targets=("moved",))
    if lost:  # what the database knew of it
        Path("w", DATABASE).unlink()
    ran = annotate()
    assert (mask() == 2).all()
    assert statuses() == {"a0": "corrected", "a1": "done" if lost else "accepted"}
    assert ("is kept as yours" in ran.err) is lost


def test_a_corrected_mask_outlives_its_picture_in_another_format(scene: Path) -> None:
    project("ball", "box")
    annotate()
    Image.fromarray(np.full(SIZE, 2, np.uint8)).save("mine.png")
    run(["correct", "w", "A/a0.png", "mine.png"])
    with Image.open("A/a0.png") as image:
        image.save("A/a0.jpg")
    Path("A/a0.png").unlink()
    assert "is kept as yours" in annotate().err
    assert (mask() == 2).all()


def test_a_changed_picture_of_an_accepted_mask_is_told_when_annotating(scene: Path) -> None:
    project("ball")
    annotate()
    run(["review", "w", "--accept", "A/a0.png"])
    paint("A/a0.png", 7)
    assert "A/a0.png: it was changed after its mask was made: look whether" in annotate().err


def test_nothing_to_export_is_refused(scene: Path) -> None:
    project("ball")
    ran = run(["export", "w", "--format", "coco", "--out", "d"])
    assert ran.code == 2
    assert "w has no finished masks to export: run likewise annotate w" in ran.err
    assert not Path("d").exists()


def test_init_refuses_pictures_of_one_stem(scene: Path) -> None:
    Image.new("RGB", (8, 6)).save("A/a0.jpg")
    words = ["init", "new", "-r", "ref.png", "-m", "m.png", "--mask-value", "1", "-t", "A"]
    ran = run(words)
    assert ran.code == 2
    assert "would both be written to new/masks/a0.png" in ran.err
    assert not Path("new").exists()


# --- settings and databases of others ----------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_with_a_byte_order_mark(scene: Path, encoding: str) -> None:
    project("Bär")
    path = Path("w", CONFIG)
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert read_settings(Path("w")).labels == ("Bär",)


WRITTEN = """# mine
method = 'insid3'   # literal
targets = [
    "../A", # the first
    "../B",
]

[[reference]] # of balls
mask = "m.png"
image = "r.png" # a picture

# and now boxes
[[reference]]
image = "r.png"
mask = "m2.png"
label = "box"

# the end of references

[quality]
# a limit
min_confidence = 0.50
"""


def test_settings_are_edited_in_place(tmp_path: Path) -> None:
    path = tmp_path / CONFIG
    path.write_text(WRITTEN, encoding="utf-8")
    before = read_settings(tmp_path)
    replace_settings(tmp_path, before)
    assert path.read_text(encoding="utf-8") == WRITTEN
    ball, box = before.references
    new = ProjectReference("n.png", "n_mask.png", 3, "owl")
    after = ProjectSettings(
        **asdict(before) | {
            "targets": ("../B", "../C"),
            "references": (ProjectReference(ball.image, ball.mask, label="ball"), box, new),
            "page": {"threshold": 2.0},
        }
    )  # fmt: skip
    replace_settings(tmp_path, after)
    assert read_settings(tmp_path) == after
    text = path.read_text(encoding="utf-8")
    for line in WRITTEN.splitlines():
        assert '"../A"' in line or line in text
    assert text.index("# the end of references") > text.index('label = "owl"')
    replace_settings(tmp_path, before)
    assert read_settings(tmp_path) == before
    path.write_bytes(WRITTEN.replace("\n", "\r\n").encode())
    replace_settings(tmp_path, after)
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b"")


MARKED = st.builds(
    ProjectReference,
    st.sampled_from(["r.png", "s.png"]),
    st.sampled_from(["m.png", "n.png"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from(["ball", "box", "object"]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    wanted=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
            st.lists(MARKED, max_size=4).map(tuple),
            st.sampled_from([None, 224]),
            st.dictionaries(st.sampled_from(["threshold", "granularity"]), st.floats(0, 1)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_settings_come_back_however_they_are_edited(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("edited")
    (folder / CONFIG).write_text(WRITTEN, encoding="utf-8")
    for targets, references, size, page in wanted:
        changed = ProjectSettings(targets, references, "insid3", image_size=size, page=page)
        replace_settings(folder, changed)
        assert read_settings(folder, unfinished=True) == changed
        assert "# mine" in (folder / CONFIG).read_text(encoding="utf-8")
        assert "# the end of references" in (folder / CONFIG).read_text(encoding="utf-8")


OLD = """
CREATE TABLE images (
    path TEXT PRIMARY KEY, bytes INTEGER, changed INTEGER, hash TEXT, state TEXT NOT NULL,
    error TEXT, run TEXT, seconds REAL, confidence REAL, area REAL, doubt REAL, reasons TEXT
);
CREATE INDEX by_doubt ON images (doubt);
CREATE TABLE classes (
    path TEXT, label TEXT, confidence REAL, area REAL, reasons TEXT, PRIMARY KEY (path, label)
);
CREATE TABLE runs (
    run TEXT PRIMARY KEY, started TEXT, version TEXT, backbone TEXT, settings TEXT
);
PRAGMA user_version = 1;
"""


def test_a_project_of_likewise_0_1_0(scene: Path) -> None:
    """Its database has no verdicts, its masks no manifest, and some are of another order."""
    for number in range(2, 7):
        paint(f"A/a{number}.png", number)
    project("ball", "box")
    Path("w/masks").mkdir()
    Path("w/masks/labels.json").write_text('{"1": "ball", "2": "box"}')
    states = ["done", "accepted", "rejected", "corrected", "done", "failed", "done"]
    with sqlite3.connect(Path("w", DATABASE)) as database:
        database.executescript(OLD)
        for name, labels in (("new", ["ball", "box"]), ("old", ["box", "ball"])):
            references = [asdict(ProjectReference("r", "m", label=label)) for label in labels]
            database.execute(
                "INSERT INTO runs VALUES (?, '', '0.1.0', 'b', ?)",
                (name, json.dumps({"references": references})),
            )
        for number, state in enumerate(states):
            database.execute(
                "INSERT INTO images (path, state, run, area) VALUES (?, ?, ?, ?)",
                (f"../A/a{number}.png", state, "old" if number == 4 else "new", 0.25),
            )
            values = np.zeros(SIZE, np.uint8)
            values[:, : 6 if number == 6 else 2] = 1
            Image.fromarray(values).save(f"w/masks/a{number}.png")
    database.close()
    before = {path.name: path.read_bytes() for path in Path("w/masks").glob("*.png")}
    assert statuses() == {
        "a0": "done", "a1": "accepted", "a2": "rejected", "a3": "corrected",
        "a4": "pending",  # its numbers were of another order
        "a5": "failed", "a6": "done",
    }  # fmt: skip
    ran = annotate()
    assert ran.err.count("a6.png: it was changed without likewise, and is kept as yours") == 1
    after = {path.name: path.read_bytes() for path in Path("w/masks").glob("*.png")}
    # What a person made stays to the byte, and so does what nothing is known of.
    assert {name for name in before if before[name] != after[name]} == {"a0.png", "a4.png"}
    assert mask("a6").tolist() == values.tolist()
    assert statuses()["a6"] == "corrected"
    assert shown("a4") == columns("ball", "box")


def test_a_migration_that_fails_leaves_the_database_as_it_was(scene: Path) -> None:
    project("ball")
    with sqlite3.connect(Path("w", DATABASE)) as database:
        database.executescript(OLD + "ALTER TABLE runs ADD COLUMN wish TEXT;")  # in its way
    database.close()
    assert "duplicate column name" in refusal(Project, Path("w"))
    with sqlite3.connect(Path("w", DATABASE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in database.execute("PRAGMA table_info(images)")]
        assert "verdict" not in columns
    database.close()


def test_sliders_belong_to_no_run(scene: Path) -> None:
    project("ball")
    opened = Project(Path("w"))
    key = opened.run_key("columns")
    replace_settings(Path("w"), ProjectSettings(**asdict(opened.settings) | {
        "references": opened.settings.references, "page": {"threshold": 1.0}
    }))  # fmt: skip
    again = Project(Path("w"))
    assert again.sliders == Sliders(1.0)
    assert again.run_key("columns") == key
    assert again.run_key("other weights") != key
    opened.close()
    again.close()

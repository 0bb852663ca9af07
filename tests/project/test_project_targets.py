"""Projects: present targets count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.errors import InputWarning
from likewise.project.database import DATABASE
from likewise.project.project import Project
from painted_project import SIZE, annotate, exported, mask, paint, project, statuses, store
from scenes import run


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

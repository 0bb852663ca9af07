"""YOLO: which pixels, which class, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annotated import BOX, OTHER, SIZE, YOLO_BOX, YOLO_OTHER, drawn, read, write
from helpers import refusal
from likewise.io.annotations.reader import read_annotated


def test_yolo(tmp_path: Path) -> None:
    file = write(tmp_path, f"0 {YOLO_BOX}\n\n2 {YOLO_OTHER}\n", "a.txt")
    for label, value, expected in (
        ("0", None, BOX),
        ("2", None, OTHER),
        ("coin", 0, BOX),
        ("object", 2, OTHER),
    ):
        mask, notes = read(file, label, value)
        np.testing.assert_array_equal(mask, drawn(expected))
        assert not notes
    assert "marks 0, 2 in " in refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    scored = write(tmp_path, f"0 {YOLO_BOX} 0.93\n", "a.txt")
    np.testing.assert_array_equal(read(scored)[0], drawn(BOX))


def test_yolo_boxes(tmp_path: Path) -> None:
    for score in ("", " 0.9"):
        file = write(tmp_path, f"0 {20 / 60} {15 / 40} {20 / 60} {20 / 40}{score}", "a.TXT")
        mask, notes = read(file)
        np.testing.assert_array_equal(mask, drawn(BOX))
        assert notes == ["there is no outline of line 1: the box is taken."]


def test_yolo_poses_are_boxes(tmp_path: Path) -> None:
    write(tmp_path, "names: [coin]\nkpt_shape: [3, 2]\n", "data.yaml")
    pose = f"0 {20 / 60} {15 / 40} {20 / 60} {20 / 40} 0.3 0.3 0.4 0.4 0.5 0.5"
    mask, notes = read(write(tmp_path, pose, "a.txt"), "coin")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert notes == ["there is no outline of line 1: the box is taken."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels/classes.txt", "coin\ndog\n"),
        ("labels/data.yaml", "nc: 2\nnames: [coin, dog]\n"),
        ("data.yaml", "names:\n  0: coin\n  1: dog\n"),
        ("dataset.yaml", "names: {1: dog, 0: coin}\n"),
        ("obj.names", "coin\r\ndog\r\n"),
        ("../data.yaml", "names: ['coin', 'dog']\n"),
    ],
)
def test_yolo_classes_are_named_beside_or_above(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "set" / "labels").mkdir(parents=True)
    write(tmp_path / "set", text, name)
    file = write(tmp_path / "set" / "labels", f"0 {YOLO_BOX}\n1 {YOLO_OTHER}\n", "a.txt")
    for label, value, expected in (("coin", None, BOX), ("dog", None, OTHER), ("1", None, OTHER)):
        np.testing.assert_array_equal(read(file, label, value)[0], drawn(expected))
    text = refusal(read_annotated, file, tmp_path / "a.png", SIZE, "cat")
    assert "marks no cat in " in text
    assert "only coin, dog" in text


def test_yolo_with_classes_that_cannot_be_read(tmp_path: Path) -> None:
    file = write(tmp_path, f"0 {YOLO_BOX}", "a.txt")
    for text in ("names: [", "nothing: 1", "names: 5", "names: {a: b}"):
        write(tmp_path, text, "data.yaml")
        said = refusal(read_annotated, file, tmp_path / "a.png", SIZE)
        assert "data.yaml does not name its classes: mend or remove that" in said


def test_damaged_lines_of_yolo(tmp_path: Path) -> None:
    bad = [
        "0 0.1 0.2",
        "0 0.1 0.2 0.3 0.4 0.5 nan",
        "0 100 50 300 50 300 250",
        "coin 0.1 0.2 0.3 0.4",
        "-1 0.1 0.2 0.3 0.4",
        "1e999 0.1 0.2 0.3 0.4",
    ]
    file = write(tmp_path, "\n".join([*bad, f"0 {YOLO_BOX}"]), "a.txt")
    mask, notes = read(file, "0")
    np.testing.assert_array_equal(mask, drawn(BOX))
    assert all(f"line {k} (" in notes[0] for k in range(1, len(bad) + 1))
    assert "not shares from 0 to 1" in notes[0]
    for text in ("one two\nthree", "1 2 3 4 5 6 7 8 ship 0"):  # a caption, and DOTA
        file = write(tmp_path, text if "ship" not in text else f"x {text}", "a.txt")
        assert "is no YOLO text" in refusal(read_annotated, file, tmp_path / "a.png", SIZE)
    file = write(tmp_path, "\n", "a.txt")
    assert "marks nothing in" in refusal(read_annotated, file, tmp_path / "a.png", SIZE)

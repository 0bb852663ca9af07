"""``likewise segment`` into folders that are used again: what it says, with a painted model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from likewise.reference import Reference
from likewise.run.manifest import LABELS
from painted import CLASSES, Painted, meaning, paint, truth
from scenes import Ran, run, sandbox


class Fitted(Painted):
    """Knows the classes of its references."""

    fingerprint = "x"
    encoder = SimpleNamespace(spec=SimpleNamespace(name="painted"), runtime="torch")

    def __init__(self, **options: object) -> None:
        super().__init__([])
        self.fingerprint = str(options.get("method"))

    def fit(self, references: Sequence[Reference]) -> Fitted:
        self.labels = list(dict.fromkeys(r.label for r in references))
        self.fingerprint += " ".join(self.labels)
        return self


@pytest.fixture(autouse=True)
def scene(tmp_path: Path) -> Iterator[Path]:
    """The working folder: r.png, mask.png; A/ and B/ of two pictures each; nest/."""
    with sandbox(tmp_path), mock.patch("likewise.segmenter.Segmenter", Fitted):
        paint(Path("r.png"), CLASSES)
        Image.fromarray(np.eye(8, 10).astype(np.uint8) * 255).save("mask.png")
        names = ("A/a0.png", "A/a1.png", "B/b0.png", "B/b1.png", "nest/cam1/1.png")
        for seed, name in enumerate((*names, "nest/cam2/1.png")):
            paint(Path(name), CLASSES, seed)
        yield tmp_path


def segment(labels: str, *words: str, out: str = "m") -> Ran:
    for_each = ("-r", "r.png", "-m", "mask.png", "--label")
    references = [word for label in labels.split() for word in (*for_each, label)]
    return run(["segment", *words, "--out", out, *references])


def means(place: str, image: str, labels: str) -> bool:
    found, painted = meaning(Path("m", place), Path("m")), truth(Path(image), labels.split())
    return found.tolist() == painted.tolist()


def test_two_runs_of_other_classes_export_as_they_were_found() -> None:
    assert segment("ball box", "A").code == 0
    assert segment("apple box ball", "B", "--resume").code == 0
    assert json.loads(Path("m", LABELS).read_text()) == {"1": "ball", "2": "box", "3": "apple"}
    ran = run(["export", "m", "-i", "A", "-i", "B", "-f", "coco", "-o", "d", "--json"])
    assert (ran.code, ran.err) == (0, "")
    dataset = json.loads(Path("d/annotations.json").read_text())
    named = {c["id"]: c["name"] for c in dataset["categories"]}
    areas = {
        i["file_name"]: {
            name: sum(
                a["area"]
                for a in dataset["annotations"]
                if (a["image_id"], named[a["category_id"]]) == (i["id"], name)
            )
            for name in named.values()
        }
        for i in dataset["images"]
    }
    for name, found in areas.items():
        labels = ["ball", "box"] if name.startswith("A/") else ["apple", "ball", "box"]
        painted = truth(Path(name), labels)
        assert found == {label: (painted == label).sum() for label in named.values()}


def test_what_was_kept_and_why(scene: Path) -> None:
    assert segment("ball", "A") == Ran(0, "2 of 2 masks written to m\n", "")
    Path("m/a0.png").write_bytes(b"by hand")
    ran = segment("ball", "A")
    kept = "1 kept, changed by hand: a0.png; --overwrite replaces it\n"
    assert ran == Ran(0, f"1 of 2 masks written to m\n{kept}", "")
    ran = segment("ball", "A", "--resume", "--threshold", "1")
    anew = "1 made anew: settings or references changed\n"
    assert ran.out == f"1 of 2 masks written to m, 0 kept\n{anew}{kept}"
    report = json.loads(segment("ball", "A", "--resume", "--json").out)
    assert [t["state"] for t in report["targets"]] == ["by_hand", "made"]
    assert (report["written"], report["kept"], report["by_hand"]) == (1, 1, 1)
    assert Path("m/a0.png").read_bytes() == b"by hand"
    assert segment("ball", "A", "--overwrite").out == "2 of 2 masks written to m\n"
    assert means("a0.png", "A/a0.png", "ball")


def test_many_are_named_a_few_times() -> None:
    for number in range(5):
        Path("m").mkdir(exist_ok=True)
        Path(f"m/x{number}.png").write_bytes(b"")
        paint(Path(f"C/x{number}.png"), CLASSES)
    ran = segment("ball", "C")
    assert ran.out.endswith(
        "5 kept, changed by hand: x0.png, x1.png, x2.png, ...; --overwrite replaces them\n"
    )


def test_one_class_then_many_and_back() -> None:
    for labels, place in (("ball", "A"), ("box ball", "B"), ("box", "nest/**/*.png")):
        assert segment(labels, place).code == 0
    assert json.loads(Path("m", LABELS).read_text()) == {"1": "box", "255": "ball"}
    assert means("a1.png", "A/a1.png", "ball")
    assert means("b1.png", "B/b1.png", "ball box")
    assert means("cam2/1.png", "nest/cam2/1.png", "box")


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "labelme", "masks"])
def test_equal_names_from_pictures_to_a_dataset(kind: str) -> None:
    ran = segment("ball box", "nest/**/*.png", "--instances", "--overlay")
    assert ran == Ran(0, "2 of 2 masks written to m\n", "")
    found = {path.relative_to("m").as_posix() for path in Path("m").rglob("*") if path.is_file()}
    files = ("1.png", "1_overlay.jpg", "1.instances.json")
    assert found == {f"cam{k}/{name}" for k in (1, 2) for name in files} | {LABELS} | {
        "manifest.jsonl"
    }
    ran = run(["export", "m", "-i", "nest/**/*.png", "-f", kind, "-o", "d"])
    assert (ran.code, ran.err) == (0, "")
    below = {
        "coco": set(),
        "yolo": {"labels/train/cam1/1.txt", "images/train/cam1/1.png"},
        "voc": {"SegmentationClass/cam2/1.png", "JPEGImages/cam2/1.png"},
        "labelme": {"cam1/1.json", "cam2/1.json"},
        "masks": {"cam1/1.png", "cam2/1.png"},
    }[kind]
    assert all(Path("d", name).is_file() for name in below)


@pytest.mark.parametrize("content", ["{", '{"1": "a", "2": "a"}'])
def test_damaged_labels_stop_before_anything_starts(content: str) -> None:
    Path("m").mkdir()
    Path("m", LABELS).write_text(content)
    for ran in (segment("ball", "A"), run(["export", "m", "-i", "A", "-f", "coco", "-o", "d"])):
        assert ran.code == 2
        assert ran.err.startswith(f"likewise: {Path('m', LABELS)} cannot be used (")
        assert ran.err.count("\n") == 1
    assert os.listdir("m") == [LABELS]  # noqa: PTH208


def test_masks_and_overlays_are_no_targets() -> None:
    with Image.open("A/a0.png") as image:
        Path("J").mkdir()
        image.save("J/x.jpg")
    for _ in range(2):
        ran = segment("ball", "J", "--overlay", out="J")
        assert ran.out.startswith("1 of 1 masks written to J")
    assert "J: left out: 2 pictures that likewise wrote: x.png, x_overlay.jpg." in ran.err
    assert segment("ball", "J/*").out.startswith("1 of 1 masks written to m")


def test_numbers_that_a_person_changed_are_made_anew() -> None:
    assert segment("ball box", "A").code == 0
    Path("m", LABELS).write_text('{"1": "box", "2": "ball"}')
    ran = segment("ball box", "A", "--resume")
    assert "2 made anew: settings or references changed" in ran.out
    assert means("a0.png", "A/a0.png", "ball box")


def test_a_manifest_of_another_program_is_not_written_to() -> None:
    Path("m").mkdir()
    theirs = '{"audio": "x.wav"}\n'
    Path("m/manifest.jsonl").write_text(theirs)
    ran = segment("ball", "A")
    assert (ran.code, ran.out) == (2, "")
    assert "m/manifest.jsonl is of another program or version of likewise: move it away" in ran.err
    assert Path("m/manifest.jsonl").read_text() == theirs


def test_a_manifest_of_a_newer_likewise_is_not_written_to() -> None:
    assert segment("ball", "A").code == 0
    manifest = Path("m/manifest.jsonl")
    text = manifest.read_text().replace('"image":', '"depth": 3, "image":')
    manifest.write_text(text)
    ran = segment("ball", "A", "--resume")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("another program or version of likewise: move it away") == 1
    assert manifest.read_text() == text

"""likewise export: the summary, the split, whole files, and every refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from label_maps import HAND_MADE, RING, annotation, exported
from likewise.export.annotations import (
    ImageMaskPair,
    Names,
    find_instances,
    find_pairs,
    is_validation,
    read_annotation,
    read_classes,
    read_scores,
)
from likewise.export.dataset import FORMATS, ExportSettings, find_writer, write_dataset
from likewise.io.encoding import write_label_map, write_mask
from scenes import Ran, full_disk, run

# --- a finished run -------------------------------------------------------------------------------


def test_the_summary(finished: Path) -> None:
    report = exported(finished, "coco")
    everything = [i for m in HAND_MADE.values() for i in find_instances(annotation(m))]
    assert report == {
        "format": "coco",
        "out": str(finished / "coco"),
        "finished": True,
        "images": {"train": len(HAND_MADE), "val": 0},
        "instances": {
            "cat": sum(i.number == 1 for i in everything),
            'dog: "big"': sum(i.number == 2 for i in everything),
        },
        "empty": 1,
        "failed": 0,
        "not_reached": 0,
        "without_mask": 1,
    }


def test_the_summary_in_words(finished: Path) -> None:
    words = ["export", f"{finished}/found", "-i", f"{finished}/images", "-f", "yolo"]
    ran = run([*words, "-o", f"{finished}/out", "--val", "0.5"])
    assert ran.code == 0
    pattern = r"17 images with \d+ instances written to .*out, [1-9]\d* of them for validation, "
    assert re.fullmatch(pattern + r"1 of them empty, 1 without a mask\n", ran.out)


# --- the split ------------------------------------------------------------------------------------


def test_the_split_is_by_content(tmp_path: Path) -> None:
    files = []
    for number in range(400):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(b"image %d" % number)
    chosen = [is_validation(f, 0.25) for f in files]
    assert 70 < sum(chosen) < 130
    assert chosen == [is_validation(f, 0.25) for f in files]
    copy = tmp_path / "another name.png"
    for file, validation in zip(files[:40], chosen, strict=False):
        copy.write_bytes(file.read_bytes())
        assert is_validation(copy, 0.25) == validation
    # More for validation keeps those that are there, so nothing moves from there to training.
    assert all(is_validation(f, 0.5) for f, v in zip(files, chosen, strict=True) if v)
    assert not any(is_validation(f, 0) for f in files)
    # The rule itself, so that no release moves images: sha256 as a share of its range.
    copy.write_bytes(b"")  # e3b0c442...
    assert is_validation(copy, 0.8895)
    assert not is_validation(copy, 0.8894)


# --- all formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_inputs_stay_and_nothing_is_half_written(finished: Path, kind: str) -> None:
    (finished / "found" / "labels.json").write_text('{"1": "cat", "2": "dog"}')
    before = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    with full_disk(whole=0):
        ran = attempt(finished, "--format", kind, "--json")
    assert ran.code == 1
    assert "the disk is full" in ran.err
    report = json.loads(ran.out)
    assert (report["finished"], report["failed"]) == (False, 0)
    assert not [p for p in (finished / "out").rglob("*") if p.is_file()]
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_files_again(finished: Path, kind: str) -> None:
    (finished / "found" / "labels.json").write_text('{"1": "cat", "2": "dog"}')
    exported(finished, kind, "--val", "0.3")
    first = {p.relative_to(finished / kind): p for p in (finished / kind).rglob("*")}
    (finished / kind).rename(finished / "first")
    exported(finished, kind, "--val", "0.3")
    assert first.keys() == {p.relative_to(finished / kind) for p in (finished / kind).rglob("*")}
    for name in first:
        if (finished / kind / name).is_file():
            assert (finished / kind / name).read_bytes() == (finished / "first" / name).read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_no_images_at_all(tmp_path: Path, kind: str) -> None:
    summary = write_dataset([], tmp_path / "out", kind, ExportSettings(("x",)))
    assert dict(summary.images) == {"train": 0, "val": 0}


def test_masks_of_one_class(tmp_path: Path) -> None:
    for name, mask in {"a": RING > 0, "b": RING < 0, "c": RING < 9}.items():
        Image.new("L", RING.shape[::-1]).save(tmp_path / f"{name}.jpg")
        (tmp_path / "found").mkdir(exist_ok=True)
        write_mask(tmp_path / "found" / f"{name}.png", mask)
    ran = attempt(tmp_path, images=f"{tmp_path}/*.jpg")
    assert (ran.code, ran.err) == (0, "")
    dataset = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert dataset["categories"] == [{"id": 1, "name": "object", "supercategory": ""}]
    areas = [(a["image_id"], a["area"]) for a in dataset["annotations"]]
    assert areas == [(1, 18), (1, 2), (3, 56)]


# --- what goes wrong ------------------------------------------------------------------------------


def attempt(folder: Path, *more: str, images: str = "") -> Ran:
    words = ["export", f"{folder}/found", "--images", images or f"{folder}/images"]
    return run([*words, "--format", "coco", "--out", f"{folder}/out", *more])


def test_a_bad_mask_ends_nothing(finished: Path) -> None:
    (finished / "found" / "03 a line.png").write_bytes(b"broken")
    ran = attempt(finished, "--json")
    assert ran.code == 1
    assert ran.err.startswith("likewise: ")
    assert "03 a line.png is not an image" in ran.err
    report = json.loads(ran.out)
    assert (report["failed"], report["images"]["train"]) == (1, len(HAND_MADE) - 1)
    assert report["finished"]
    ran = attempt(finished, "--out", f"{finished}/again")
    assert ran.out.startswith("16 images with ")
    assert "1 failed" in ran.out


def two_images(folder: Path) -> None:
    Image.new("L", (5, 3)).save(folder / "images" / "03 a line.jpg")


def not_empty(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "something").touch()


def a_file_for_out(folder: Path) -> None:
    (folder / "out").touch()


def no_masks(folder: Path) -> None:
    for file in (folder / "found").iterdir():
        file.unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


LABELS = "found/labels.json"
XY = Names(("x", "y"), {1: 1, 2: 2})
LONE = Names(("x",), {1: 1, 255: 1}, lone=True)


@pytest.mark.parametrize(
    ("spoil", "more", "words"),
    [
        (None, ["--format", "pascal"], "the format 'pascal' is unknown: give one of coco, yolo"),
        (None, ["--val", "1"], "--val 1 is no share: give 0 up to 1"),
        (None, ["--val", "-0.1"], "--val -0.1 is no share"),
        (None, ["--val", "nan"], "--val nan is no share"),
        (None, ["--min-area", "0"], "--min-area 0 is no area: give at least 1"),
        (None, ["--simplify", "-1"], "--simplify -1 is no distance: give 0"),
        (None, ["--simplify", "inf"], "--simplify inf is no distance"),
        (None, ["--format", "voc"], "the class 'dog: \"big\"' cannot stand in VOC's labelmap.txt"),
        (None, ["--label", "cat"], "labels.json names the labels already: leave out --label"),
        (None, ["--scores", "nowhere.json"], "nowhere.json holds no scores (No such file"),
        (None, ["--images", "nowhere"], "nowhere does not exist: check its spelling"),
        (two_images, [], "would both have the mask"),
        (not_empty, [], "out is not empty: give a new one as --out"),
        (a_file_for_out, [], "out cannot be a dataset's folder (Not a directory): give another"),
        (no_masks, [], "found holds no masks (.png): give the folder that"),
        (write(LABELS, "{"), [], "labels.json cannot be used ("),
        (write(LABELS, "{}"), [], "labels.json names no labels: delete it, or name some"),
        (write(LABELS, "[]"), [], "labels.json cannot be used ("),
        (write(LABELS, '{"0": "a"}'), [], "labels.json cannot be used (a number is not within 1"),
        (write(LABELS, '{"1": "a", "01": "b"}'), [], "labels.json cannot be used (it names a"),
        (write(LABELS, '{"1": "a", "2": "a"}'), [], "labels.json cannot be used (it names a label"),
        (write(LABELS, '{"1": "a", "2": 3}'), [], "labels.json cannot be used ("),
    ],
)
def test_refusals(
    finished: Path, spoil: Callable[[Path], None] | None, more: list[str], words: str
) -> None:
    if spoil:
        spoil(finished)
    before = sorted(finished.rglob("*"))
    ran = attempt(finished, *more)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("likewise: ")
    assert ran.err.endswith(".\n")
    assert ran.err.count("\n") == 1
    assert words in ran.err
    assert sorted(finished.rglob("*")) == before  # not even a folder was made


def test_missing_masks(tmp_path: Path) -> None:
    assert "nowhere cannot be listed (No such" in refusal(find_pairs, tmp_path / "nowhere", [])


def test_masks_that_are_their_own_images(finished: Path) -> None:
    text = refusal(find_pairs, finished / "found", sorted((finished / "found").glob("*.png")))
    assert "would be its own image: give the images" in text


@pytest.mark.parametrize(
    ("pixels", "names", "words"),
    [
        (np.eye(4) * 3, XY, "holds the value 3, which labels.json does not name: add its name"),
        (np.eye(4) * 2 + 1, LONE, "holds several labels, and no labels.json beside it names"),
        (np.eye(4)[..., None] * [1, 9, 200] + [60, 0, 0], LONE, "is a colour picture"),
        (np.zeros((4, 5)), XY, "is 5 × 4 pixels, but"),
        (np.zeros((8, 8)), LONE, "is 8 × 8 pixels, but"),
    ],
)
def test_masks_that_cannot_be_used(
    tmp_path: Path, pixels: np.ndarray, names: Names, words: str
) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.jpg")
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    pair = ImageMaskPair(tmp_path / "a.jpg", tmp_path / "a.png")
    text = refusal(read_annotation, pair, names)
    assert text.startswith(f"{tmp_path / 'a.png'} {words}")


def test_damaged_images_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    text = refusal(read_annotation, ImageMaskPair(tmp_path / "a.jpg", tmp_path / "a.png"), LONE)
    assert "a.jpg is empty" in text


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"targets": [{}]}', '{"targets": [{"mask": "a", "skipped": false}]}']
)
def test_files_without_scores(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert "run.json holds no scores (" in refusal(read_scores, tmp_path / "run.json")


def test_many_classes(tmp_path: Path) -> None:
    names = {str(k): f"c{k}" for k in range(1, 301)}
    (tmp_path / "labels.json").write_text(json.dumps(names))
    named = read_classes(tmp_path, None)
    assert (len(named.classes), named.lone) == (300, False)
    write_label_map(tmp_path / "a.png", np.array([[0, 300]], np.uint16), [])
    Image.new("L", (2, 1)).save(tmp_path / "a.jpg")
    read = read_annotation(ImageMaskPair(tmp_path / "a.jpg", tmp_path / "a.png"), named)
    np.testing.assert_array_equal(read.label_map, [[0, 300]])
    assert [i.label for i in find_instances(read)] == ["c300"]
    text = refusal(find_writer, "voc", ExportSettings(named.classes))
    assert text == "VOC masks hold at most 254 classes, not 300: give another --format."


def test_two_images_of_one_name(tmp_path: Path) -> None:
    twice = [annotation(RING), annotation(RING)]
    text = refusal(write_dataset, twice, tmp_path / "out", "coco", ExportSettings(("class 1",)))
    assert text == "image.png and image.png have the same name: rename one of them."

"""Export of folders of masks: which mask is of which image and class; all formats read back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import refusal
from likewise.errors import InputWarning
from likewise.export.annotations import ImageMaskPair, find_pairs, read_annotation, read_classes
from likewise.export.dataset import FORMATS, ExportSettings, write_dataset
from likewise.instances import draw
from likewise.io.annotations.reader import read_annotated
from likewise.io.coco_masks import fill_polygon
from likewise.io.encoding import write_label_map, write_mask
from likewise.io.masks import read_label_map
from likewise.run.manifest import LABELS, MANIFEST, Manifest
from painted import CLASSES, annotate, meaning, paint, truth
from scenes import run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "m"


def shots(folder: Path, *names: str) -> list[Path]:
    for seed, name in enumerate(names):
        paint(folder / name, CLASSES, seed)
    return [folder / name for name in names]


def paired(out: Path, images: Sequence[Path]) -> dict[str, str]:
    """Name of the image in the dataset → the place of its mask, without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {p.name: p.mask.relative_to(out).as_posix() for p in find_pairs(out, images)}


def said(out: Path, images: Sequence[Path]) -> str:
    """The only note of a pairing."""
    with pytest.warns(InputWarning) as caught:
        find_pairs(out, images)
    assert len(caught) == 1
    return str(caught[0].message)


# --- which mask is of which image ---------------------------------------------------------------


def test_by_the_manifest(tmp_path: Path, out: Path) -> None:
    first, second = shots(tmp_path / "nest", "cam1/1.png", "cam2/1.png")
    list(annotate(out, [first], ["ball"]))
    list(annotate(out, [second], ["ball"]))
    assert paired(out, [first, second]) == {"cam1/1": "1.png", "cam2/1": "cam2/1.png"}
    note = said(out, [second])
    assert note == f"{out / '1.png'}: its image is not among --images: left out."


def test_by_the_end_of_the_path(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "nest", "cam1/1.png", "cam2/1.png", "cam2/2.png")
    list(annotate(out, images, ["ball"]))
    (out / MANIFEST).unlink()
    expected = {"cam1/1": "cam1/1.png", "cam2/1": "cam2/1.png", "cam2/2": "cam2/2.png"}
    assert paired(out, images) == expected
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(out / "cam1" / "1.png", flat / "1.png")
    text = refusal(find_pairs, flat, images)
    assert text.startswith(f"{images[0]} and {images[1]} would both have the mask {flat / '1.png'}")


def test_by_the_name(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "im", "1.png", "2.png")
    list(annotate(out, images, ["ball"]))
    moved = tmp_path / "elsewhere" / "m"
    shutil.copytree(out, moved)
    assert paired(moved, images) == {"1": "1.png", "2": "2.png"}
    (tmp_path / "im").rename(tmp_path / "renamed")
    images = [tmp_path / "renamed" / image.name for image in images]
    assert paired(out, images) == {"1": "1.png", "2": "2.png"}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_either_spelling(tmp_path: Path, out: Path, form: str) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    (image,) = shots(tmp_path / "im", unicodedata.normalize(form, "münze.jpg"))
    out.mkdir()
    write_mask(out / unicodedata.normalize(other, "münze.png"), np.eye(8, 10) > 0)
    assert len(find_pairs(out, [image])) == 1
    ran = run(["export", str(out), "-i", str(image), "-f", "coco", "-o", str(tmp_path / "d")])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("1 images with 1 instances")


def test_an_image_that_is_gone_is_named_and_left_out(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "im", "1.png", "2.png")
    list(annotate(out, images, ["ball"]))
    images[0].unlink()
    words = ["export", str(out), "-i", str(tmp_path / "im"), "-f", "coco", "--json"]
    ran = run([*words, "-o", str(tmp_path / "d")])
    assert ran.code == 0
    assert ran.err == f"likewise: note: {out / '1.png'}: its image is gone: left out.\n"
    report = json.loads(ran.out)
    assert report["notes"] == [
        {"source": str(out / "1.png"), "what": "its image is gone: left out."}
    ]
    assert report["images"] == {"train": 1, "val": 0}
    images[1].unlink()
    assert "has no image of the same name" in refusal(find_pairs, out, shots(tmp_path, "3.png"))


def test_a_mask_without_an_image(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "im", "1.png")
    list(annotate(out, images, ["ball"]))
    write_mask(out / "2.png", np.eye(8, 10) > 0)
    assert "2.png: has no image of the same name among --images: left out." in said(out, images)


def test_another_image_of_the_name_is_not_taken_in_silence(tmp_path: Path, out: Path) -> None:
    (image,) = shots(tmp_path / "im", "1.png")
    list(annotate(out, [image], ["ball"]))
    other = tmp_path / "other" / "1.png"
    paint(other, CLASSES, 9)
    assert "among --images" in refusal(find_pairs, out, [other])  # its own image is there
    image.unlink()
    assert said(out, [other]) == f"{other}: taken for the image of its name that is gone."


def test_an_image_that_changed_after_its_mask(tmp_path: Path, out: Path) -> None:
    (image,) = shots(tmp_path / "im", "1.png")
    list(annotate(out, [image], ["ball"]))
    image.touch()
    assert paired(out, [image]) == {"1": "1.png"}
    paint(image, CLASSES, 9)
    assert said(out, [image]) == f"{image}: it was changed after its mask was made."


def test_the_newer_of_two_masks(tmp_path: Path, out: Path) -> None:
    (image,) = shots(tmp_path / "im", "1.png")
    list(annotate(out, [image], ["ball"]))
    Manifest(out).write(out / "1_mask.png", (out / "1.png").read_bytes(), image, "another")
    assert said(out, [image]) == f"{out / '1.png'}: its image has a newer mask: left out."


def test_two_masks_that_may_be_of_one_image(tmp_path: Path, out: Path) -> None:
    (image,) = shots(tmp_path / "im", "1.png")
    for place in ("x", "y"):
        (out / place).mkdir(parents=True)
        write_mask(out / place / "1.png", np.eye(8, 10) > 0)
    assert "would both be of" in refusal(find_pairs, out, [image])


def test_a_folder_of_masks_in_another_is_not_of_it(tmp_path: Path, out: Path) -> None:
    (image,) = shots(tmp_path / "im", "1.png")
    list(annotate(out / "masks", [image], ["ball", "box"]))
    assert "holds no masks (.png)" in refusal(find_pairs, out, [image])
    list(annotate(out, [image], ["cat"]))
    assert paired(out, [image]) == {"1": "1.png"}


@pytest.mark.parametrize("kind", ["labelme", "yolo"])
def test_a_name_too_long_for_the_dataset_stops_no_other(
    tmp_path: Path, out: Path, kind: str
) -> None:
    long = f"{'x' * 251}.png"
    images = shots(tmp_path / "im", long, "y.png")
    list(annotate(out, images, ["ball"]))
    words = ["export", str(out), "-i", str(tmp_path / "im"), "-f", kind, "--json"]
    ran = run([*words, "-o", str(tmp_path / "d")])
    report = json.loads(ran.out)
    if kind == "yolo":
        assert (ran.code, report["failed"], report["images"]["train"]) == (0, 0, 2)
    else:
        assert (ran.code, report["failed"], report["images"]["train"]) == (1, 1, 1)
        assert ran.err.endswith("(File name too long): give its picture a shorter name.\n")
        assert [path.name for path in (tmp_path / "d").iterdir()] == ["y.json"]


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_a_name_that_a_format_cannot_hold_stops_no_other(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "im", "two\nlines.png", "y.png")
    list(annotate(out, images, ["ball"]))
    words = ["export", str(out), "-i", str(tmp_path / "im"), "-f", "voc"]
    ran = run([*words, "-o", str(tmp_path / "d")])
    assert ran.code == 1
    assert "has a line break in its name, and VOC lists a name a line: rename it." in ran.err
    assert (tmp_path / "d/ImageSets/Segmentation/train.txt").read_text() == "y\n"
    assert [path.name for path in (tmp_path / "d/JPEGImages").iterdir()] == ["y.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "masks", "labelme", "qupath"])
def test_a_file_name_that_is_no_utf8(tmp_path: Path, out: Path, kind: str) -> None:
    images = shots(tmp_path / "im", os.fsdecode(b"m\xfcnze.png"))
    list(annotate(out, images, ["ball"]))
    words = ["export", str(out), "-i", str(tmp_path / "im"), "-f", kind]
    assert run([*words, "-o", str(tmp_path / "d")]).code == 0


# --- which value is of which class --------------------------------------------------------------


def one(tmp_path: Path, out: Path, values: np.ndarray, labels: str | None) -> ImageMaskPair:
    image = tmp_path / "1.png"
    Image.new("RGB", values.shape[::-1]).save(image)
    out.mkdir()
    write_label_map(out / "1.png", values.astype(np.uint8), [(k, 0, k) for k in range(256)])
    if labels is not None:
        (out / LABELS).write_text(labels)
    return ImageMaskPair(image, out / "1.png")


VALUES = np.array([[0, 2, 7], [255, 0, 2]])


def test_values_with_gaps(tmp_path: Path, out: Path) -> None:
    pair = one(tmp_path, out, VALUES, '{"7": "b", "2": "a", "255": "c", "9": "none"}')
    names = read_classes(out, None)
    assert names.classes == ("a", "b", "none", "c")
    found = read_annotation(pair, names)
    np.testing.assert_array_equal(found.label_map, [[0, 1, 2], [4, 0, 1]])


def test_a_value_without_a_name(tmp_path: Path, out: Path) -> None:
    pair = one(tmp_path, out, VALUES, '{"2": "a", "255": "c"}')
    text = refusal(read_annotation, pair, read_classes(out, None))
    assert text.startswith(f"{pair.mask} holds the value 7, which labels.json does not name")


@pytest.mark.parametrize("labels", [None, '{"255": "coin"}'])
@pytest.mark.parametrize("value", [1, 7, 255])
@pytest.mark.parametrize("label", [None, "thing"])
def test_any_two_values_of_one_class(
    tmp_path: Path, out: Path, labels: str | None, value: int, label: str | None
) -> None:
    pair = one(tmp_path, out, np.eye(3) * value, labels)
    names = read_classes(out, label)
    assert names.classes == (label or ("object" if labels is None else "coin"),)
    np.testing.assert_array_equal(read_annotation(pair, names).label_map, np.eye(3))


def test_the_label_renames_the_only_class(tmp_path: Path, out: Path) -> None:
    pair = one(tmp_path, out, np.eye(3) * 4, '{"4": "coin"}')
    names = read_classes(out, "thing")
    np.testing.assert_array_equal(read_annotation(pair, names).label_map, np.eye(3))
    (out / LABELS).write_text('{"4": "coin", "5": "nut"}')
    assert "names the labels already: leave out --label" in refusal(read_classes, out, "thing")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_other_programs(tmp_path: Path, out: Path, encoding: str) -> None:
    images = shots(tmp_path / "nest", "cam1/1.png", "cam2/1.png")
    list(annotate(out, images, ["münze"]))
    (out / LABELS).write_text('{"255": "münze"}', encoding=encoding)
    targets = [
        {"mask": f"m/{place}/1.png", "confidence": score, "skipped": False}
        for place, score in (("cam1", 0.25), ("cam2", 0.75))
    ]
    report = tmp_path / "run.json"
    report.write_text(json.dumps({"out": "m", "targets": targets}), encoding=encoding)
    words = ["export", str(out), "-i", f"{tmp_path}/nest/**/*.png", "-f", "coco"]
    ran = run([*words, "--scores", str(report), "-o", str(tmp_path / "d")])
    assert (ran.code, ran.err) == (0, "")
    dataset = json.loads((tmp_path / "d" / "annotations.json").read_text())
    assert [c["name"] for c in dataset["categories"]] == ["münze"]
    scores = {(a["image_id"], a["score"]) for a in dataset["annotations"]}
    assert scores == {(1, 0.25), (2, 0.75)}


# --- read back ----------------------------------------------------------------------------------

NAMES = ("a0.png", "cam1/x.png", "cam2/x.png")
Drawn = dict[str, dict[str, np.ndarray]]
"""Name of an image → class → (H, W) bool; classes that are not there are left out."""


def by_class(names: np.ndarray) -> dict[str, np.ndarray]:
    return {name: names == name for name in set(names.ravel().tolist()) - {""}}


def numbered(values: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    return {classes[k - 1]: values == k for k in np.unique(values).tolist() if k}


def drawn(polygons: list[tuple[str, np.ndarray]], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, points in polygons:
        fill_polygon(found.setdefault(name, np.zeros(shape, bool)), points.ravel())
    return found


def from_coco(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    from pycocotools.coco import COCO

    from likewise.integrations.supervision import load

    with redirect_stdout(StringIO()):
        coco = COCO(str(d / "annotations.json"))
    found: Drawn = {}
    names = [entry["file_name"] for entry in coco.imgs.values()]
    roots = (images, images / "cam1", images / "cam2")
    root = next(r for r in roots if all((r / name).is_file() for name in names))
    detections = load(d / "annotations.json", root)
    for entry in coco.imgs.values():
        path = root / entry["file_name"]
        each = found.setdefault(path.relative_to(images).with_suffix("").as_posix(), {})
        for a in coco.loadAnns(coco.getAnnIds(entry["id"])):
            name = coco.cats[a["category_id"]]["name"]
            each[name] = each.get(name, False) | coco.annToMask(a).astype(bool)
        for name, mask in each.items():
            own = read_annotated(d / "annotations.json", path, mask.shape, name)
            np.testing.assert_array_equal(own, mask)
        seen = detections.annotations[str(path)]
        for k, name in enumerate(detections.classes):
            theirs = seen.mask[seen.class_id == k].any(axis=0) if len(seen) else np.zeros(1, bool)
            assert theirs.sum() == each.get(name, np.zeros(1)).sum()
    return found


def from_yolo(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    found: Drawn = {}
    for file in (d / "labels" / "train").rglob("*.txt"):
        name = file.relative_to(d / "labels" / "train").with_suffix("").as_posix()
        with Image.open(d / "images" / "train" / f"{name}.png") as image:  # as trainers look
            width, height = image.size
        polygons = []
        for line in file.read_text().splitlines():
            k, *numbers = line.split()
            points = np.array(numbers, float).reshape(-1, 2) * [width, height]
            polygons.append((classes[int(k)], np.rint(points)))
        found[name] = drawn(polygons, (height, width))
    return found


def from_voc(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    listed = (d / "ImageSets" / "Segmentation" / "train.txt").read_text().splitlines()
    assert all((d / "JPEGImages" / f"{name}.png").is_file() for name in listed)
    found = {}
    for name in listed:
        with Image.open(d / "SegmentationClass" / f"{name}.png") as mask:
            found[name] = numbered(np.asarray(mask), classes)
    return found


def from_labelme(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    found = {}
    for file in d.rglob("*.json"):
        content = json.loads(file.read_text())
        image = file.parent / content["imagePath"]
        name = file.relative_to(d).with_suffix("").as_posix()
        place = image.resolve().relative_to(images.resolve()).with_suffix("").as_posix()
        assert name in (place, image.stem)
        polygons = [(s["label"], np.array(s["points"])) for s in content["shapes"]]
        shape = content["imageHeight"], content["imageWidth"]
        found[name] = drawn(polygons, shape)
        for label, mask in found[name].items():
            np.testing.assert_array_equal(read_annotated(file, image, shape, label), mask)
    return found


def from_qupath(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    found: Drawn = {}
    for file in d.rglob("*.geojson"):
        name = file.relative_to(d).with_suffix("").as_posix()
        (image,) = (p for p in images.rglob(f"{file.stem}.png") if name in p.as_posix())
        with Image.open(image) as picture:
            shape = picture.height, picture.width
        marked = found.setdefault(name, {})
        for feature in json.loads(file.read_text())["features"]:
            geometry = feature["geometry"]
            several = geometry["type"] == "MultiPolygon"
            mask = marked.setdefault(
                feature["properties"]["classification"]["name"], np.zeros(shape, bool)
            )
            for polygon in geometry["coordinates"] if several else [geometry["coordinates"]]:
                filled = np.zeros(shape, bool)
                for ring in polygon:
                    one = np.zeros(shape, bool)
                    fill_polygon(one, np.array(ring[:-1]).ravel())
                    filled ^= one
                mask |= filled
    return found


def from_masks(d: Path, images: Path, classes: Sequence[str]) -> Drawn:
    labels = json.loads((d / LABELS).read_text())
    assert list(labels.values()) == list(classes)
    found = {}
    for file in d.rglob("*.png"):
        with Image.open(file) as mask:
            values = np.asarray(mask)
        found[file.relative_to(d).with_suffix("").as_posix()] = numbered(values, classes)
        again = by_class(meaning(file, d))
        if len(classes) > 1:
            assert {k: m.tolist() for k, m in again.items()} == {
                k: m.tolist() for k, m in numbered(values, classes).items()
            }
    return found


READERS: dict[str, Callable[[Path, Path, Sequence[str]], Drawn]] = {
    "coco": from_coco,
    "yolo": from_yolo,
    "voc": from_voc,
    "labelme": from_labelme,
    "qupath": from_qupath,
    "masks": from_masks,
}
SOME = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    runs=st.lists(st.tuples(SOME, st.sets(st.integers(0, 2), min_size=1)), min_size=1, max_size=3),
    instances=st.booleans(),
    by_hand=st.none() | st.integers(0, 2),
)
def test_every_format_holds_what_the_masks_mean(
    runs: list[tuple[list[str], set[int]]], instances: bool, by_hand: int | None
) -> None:
    pytest.importorskip("pycocotools.coco")
    pytest.importorskip("supervision")
    assert READERS.keys() == set(FORMATS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images, out = shots(root / "im", *NAMES), root / "m"
        for labels, chosen in runs:
            list(annotate(out, [images[k] for k in chosen], labels, instances=instances))
        manifest = Manifest(out)
        if by_hand is not None and (mask := manifest.mask_of(images[by_hand])) is not None:
            values = read_label_map(mask)
            write_label_map(mask, values[::-1].astype(np.uint8), [(k, k, 9) for k in range(256)])
        names = read_classes(out, None)
        pairs = find_pairs(out, images)
        expected = {
            pair.image.relative_to(root / "im").with_suffix("").as_posix(): by_class(
                meaning(pair.mask, out)
            )
            for pair in pairs
        }
        known = [image for image in images if manifest.mask_of(image) is not None]
        assert [pair.image for pair in pairs] == known
        for kind, read in READERS.items():
            annotations = (read_annotation(pair, names) for pair in pairs)
            write_dataset(annotations, root / kind, kind, ExportSettings(names.classes, simplify=0))
            found = read(root / kind, root / "im", names.classes)
            # Flat names where no stem is there twice.
            if {pair.name for pair in pairs} != expected.keys():
                found = {
                    next(n for n in expected if n.split("/")[-1] == name.split("/")[-1]): masks
                    for name, masks in found.items()
                }
            assert found.keys() == expected.keys(), kind
            for name, masks in expected.items():
                assert found[name].keys() == masks.keys(), (kind, name)
                for label, mask in masks.items():
                    np.testing.assert_array_equal(found[name][label], mask, err_msg=kind)


def test_instances_of_changed_numbers(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "im", "1.png")
    list(annotate(out, images, ["ball"]))
    list(annotate(out, images, ["box", "ball"], instances=True))
    names = read_classes(out, None)
    (pair,) = find_pairs(out, images)
    found = read_annotation(pair, names)
    assert found.instances is not None
    np.testing.assert_array_equal(draw(found.instances, found.label_map.shape), found.label_map)
    by_name = {i.label for i in found.instances}
    assert by_name == {"ball", "box"}
    for k, name in enumerate(names.classes, 1):
        np.testing.assert_array_equal(
            found.label_map == k, truth(images[0], ["ball", "box"]) == name
        )

"""likewise export: instances, outlines, each format read back by other means, and every refusal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bad_inputs import Ran, full_disk, run
from helpers import refusal
from likewise.export.annotations import (
    Annotation,
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
from likewise.export.outlines import MIN_IOU, outline
from likewise.export.voc import voc_colour
from likewise.instances import Instance, draw
from likewise.io.coco_masks import encode_runs
from likewise.io.draw import class_colour
from likewise.io.encoding import write_label_map, write_mask
from likewise.io.images import read_image
from likewise.io.masks import read_mask

BENCH = Path(__file__).resolve().parents[2] / "shared" / "bench"

# --- masks worth exporting ----------------------------------------------------------------------


def picture(*rows: str) -> np.ndarray:
    """(H, W) uint8 from text: a digit is a class, a dot is nothing."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.uint8)


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


RING = picture("........", ".111111.", ".1....1.", ".1.11.1.", ".1....1.", ".111111.", "........")
HAND_MADE = {
    "one pixel": picture("...", ".1.", "..."),
    "one pixel image": picture("1"),
    "full": picture("11", "11", "11"),
    "a line": picture(".....", "11111", "....."),
    "a corner of the image": picture("11..", "1...", "...."),
    "a diagonal": picture("1..", ".1.", "..1"),
    "an island in a hole": RING,
    "holes that touch at a corner": picture("11111", "1.111", "11.11", "111.1", "11111"),
    "a hole beside a pinch": picture("111.", "1.1.", "11.1", "..11"),
    "holes in a row": picture("1111111", "1.1.1.1", "1111111", "1.111.1", "1111111"),
    "a frame": np.pad(np.zeros((5, 9), np.uint8), 1, constant_values=1),
    "checkers": (np.indices((7, 9)).sum(axis=0) % 2).astype(np.uint8),
    "two classes": picture("11222", "11222", "..1.2"),
    "a disc": disc(90, 120, 40.2, 55.7, 30.0).astype(np.uint8),
    "a disc with holes": (
        disc(200, 240, 100, 110, 90) & ~disc(200, 240, 80, 90, 25) & ~disc(200, 240, 130, 140, 30)
    ).astype(np.uint8),
    "noise": (np.random.default_rng(0).random((40, 50)) < 0.6).astype(np.uint8),
    "nothing": np.zeros((6, 5), np.uint8),
}
hand_made = pytest.mark.parametrize("label_map", HAND_MADE.values(), ids=HAND_MADE.keys())


def annotation(label_map: np.ndarray, scores: dict[str, float] | None = None) -> Annotation:
    classes = tuple(f"class {k}" for k in range(1, max(1, int(label_map.max())) + 1))
    return Annotation(Path("image.png"), label_map, classes, scores or {})


def alone(instance: Instance, like: np.ndarray) -> np.ndarray:
    return draw([instance], like.shape) > 0


def rasterised(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centre a polygon holds, by Pillow, which fills what an outline touches.

    Drawn eight times as large, so that no outline along pixel edges reaches a centre.
    """
    canvas = Image.new("1", (8 * shape[1], 8 * shape[0]))
    ImageDraw.Draw(canvas).polygon([(8 * x, 8 * y) for x, y in points.tolist()], 1)
    return np.asarray(canvas)[4::8, 4::8]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def real_masks() -> list[np.ndarray]:
    """Two masks of each set of the bench, (H, W) uint8 of 0 and 1."""
    if not BENCH.is_dir():
        pytest.skip("the bench (../shared/bench) is not beside this checkout")
    masks = []
    chosen: dict[str, int] = {}
    for entry in json.loads((BENCH / "episodes_dev.json").read_text()):
        chosen[entry["set"]] = chosen.get(entry["set"], 0) + 1
        if chosen[entry["set"]] <= 2:
            masks.append(read_mask(BENCH / entry["ref_mask"], value=entry["value"]))
    assert len(masks) >= 20
    return [mask.astype(np.uint8) for mask in masks]


# --- instances ----------------------------------------------------------------------------------


@hand_made
def test_instances_are_the_whole_mask(label_map: np.ndarray) -> None:
    instances = list(find_instances(annotation(label_map)))
    np.testing.assert_array_equal(draw(instances, label_map.shape), label_map)
    assert sum(i.area for i in instances) == (label_map > 0).sum()
    for i in instances:  # cut out as small as it goes
        assert i.mask.any(axis=0)[[0, -1]].all()
        assert i.mask.any(axis=1)[[0, -1]].all()


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    assert len(list(find_instances(annotation(HAND_MADE["a diagonal"])))) == 1
    assert len(list(find_instances(annotation(picture("1.1", "...", "1.1"))))) == 4


def test_an_instance_knows_its_class_score_and_place() -> None:
    label_map = picture("1..", "..2", "..2")
    one, two = find_instances(annotation(label_map, {"class 2": 0.25}))
    assert (one.number, one.label, one.score, one.left, one.top, one.area) == (
        *(1, "class 1", 1.0, 0, 0, 1),
    )
    assert (two.number, two.label, two.score, two.left, two.top, two.area) == (
        *(2, "class 2", 0.25, 2, 1, 2),
    )


def test_a_whole_has_the_pixels_of_its_parts() -> None:
    label_map = picture("1122", ".133")
    named = Annotation(Path("image.png"), label_map, ("cat/ear", "cat", "cats"), {})
    found = {i.label: int(i.area) for i in find_instances(named)}
    assert found == {"cat/ear": 3, "cat": 5, "cats": 2}
    drawn = draw(list(find_instances(named)), label_map.shape)
    np.testing.assert_array_equal(drawn, label_map)


def test_specks_are_left_out() -> None:
    found = annotation(picture("11.1", "11..", "...1"))
    assert [i.area for i in find_instances(found, 1)] == [4, 1, 1]
    assert [i.area for i in find_instances(found, 2)] == [4]
    assert [i.area for i in find_instances(found, 4)] == [4]
    assert not list(find_instances(found, 5))


# --- outlines -----------------------------------------------------------------------------------


@hand_made
def test_exact_outlines(label_map: np.ndarray) -> None:
    for i in find_instances(annotation(label_map)):
        expected, points = alone(i, label_map), outline(i)
        np.testing.assert_array_equal(rasterised(points, label_map.shape), expected)
        entry = {"segmentation": [points.ravel().tolist()]}
        if 0 < expected.sum() < expected.size:
            np.testing.assert_array_equal(read_mask(entry, size=label_map.shape), expected)


@hand_made
def test_simplified_outlines(label_map: np.ndarray) -> None:
    for i in find_instances(annotation(label_map)):
        for tolerance in (0.5, 1.0, 3.0, 1000.0):
            points = outline(i, tolerance)
            assert iou(rasterised(points, label_map.shape), alone(i, label_map)) >= MIN_IOU
            assert len(points) <= len(outline(i))


def test_simple_shapes_have_few_points() -> None:
    square = next(find_instances(annotation(np.pad(np.ones((50, 70), np.uint8), 9))))
    corners = {(9, 9), (79, 9), (79, 59), (9, 59)}
    assert {tuple(p) for p in outline(square).tolist()} == corners
    assert {tuple(p) for p in outline(square, 1).tolist()} == corners
    round_one = next(find_instances(annotation(HAND_MADE["a disc"])))
    assert len(outline(round_one, 1)) < len(outline(round_one)) / 3


def test_one_pixel_by_hand() -> None:
    one = next(find_instances(annotation(HAND_MADE["one pixel"])))
    assert sorted(outline(one).tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_random_outlines_are_exact() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        label_map = (rng.random(rng.integers(1, 25, 2)) < rng.random()).astype(np.uint8)
        for i in find_instances(annotation(label_map)):
            drawn = rasterised(outline(i), label_map.shape)
            np.testing.assert_array_equal(drawn, alone(i, label_map))


# --- run lengths --------------------------------------------------------------------------------


@hand_made
def test_run_lengths_are_those_of_pycocotools(label_map: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    for i in find_instances(annotation(label_map)):
        whole = np.asfortranarray(alone(i, label_map).astype(np.uint8))
        entry = encode_runs(i.mask, label_map.shape, i.top, i.left)
        theirs = coco.encode(whole)
        assert entry == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    empty = encode_runs(np.zeros((2, 3), bool), (4, 5))
    np.testing.assert_array_equal(coco.decode(empty), np.zeros((4, 5)))


# --- a finished run -----------------------------------------------------------------------------


STEMS = {f"{k:02} {name}": m for k, (name, m) in enumerate(HAND_MADE.items())}
"""Stem of each image → its label map."""


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """images/ and masks/ of two classes, with labels.json; one image is stored turned."""
    rng = np.random.default_rng(0)
    for folder in ("images", "found"):
        (tmp_path / folder).mkdir()
    colours = [(0, 0, 0), class_colour(1), class_colour(2)]
    for stem, label_map in STEMS.items():
        rgb = rng.integers(0, 256, (*label_map.shape, 3), dtype=np.uint8)
        image = Image.fromarray(rgb)
        if stem == "13 a disc":
            exif = Image.Exif()
            exif[0x0112] = 6  # turn by 90 degrees to the right to show it
            image.transpose(Image.Transpose.ROTATE_90).save(
                tmp_path / "images" / f"{stem}.png", exif=exif
            )
            np.testing.assert_array_equal(read_image(tmp_path / "images" / f"{stem}.png"), rgb)
        else:
            image.save(tmp_path / "images" / f"{stem}.png")
        write_label_map(tmp_path / "found" / f"{stem}.png", label_map, colours)
    (tmp_path / "found" / "labels.json").write_text('{"1": "cat", "2": "dog: \\"big\\""}')
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "without.png")
    return tmp_path


def exported(folder: Path, kind: str, *more: str) -> dict[str, Any]:
    """The summary of a run that is right."""
    words = ["export", f"{folder}/found", "--images", f"{folder}/images", "--format", kind]
    ran = run([*words, "--out", f"{folder}/{kind}", "--json", *more])
    assert (ran.code, ran.err) == (0, "")
    return dict(json.loads(ran.out))


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


# --- COCO ---------------------------------------------------------------------------------------


def evaluate(file: Path) -> float:
    """AP of segments, of a COCO file as its own detections."""
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):
        truth = coco.COCO(str(file))
        found = truth.loadRes(json.loads(file.read_text())["annotations"])
        judge = COCOeval(truth, found, "segm")
        judge.params.maxDets = [1, 10, 1000]  # the noise has more than 100 pieces
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, -1]
    return float(precision[precision > -1].mean())


def test_coco_is_its_own_best_detection(finished: Path) -> None:
    exported(finished, "coco")
    assert evaluate(finished / "coco" / "annotations.json") == 1.0


def test_coco_read_by_pycocotools(finished: Path) -> None:
    pycoco = pytest.importorskip("pycocotools.coco")
    exported(finished, "coco")
    with redirect_stdout(StringIO()):
        coco = pycoco.COCO(str(finished / "coco" / "annotations.json"))
    assert [c["name"] for c in coco.loadCats([1, 2])] == ["cat", 'dog: "big"']
    expected = STEMS
    assert len(coco.imgs) == len(expected)
    for entry in coco.imgs.values():
        assert (finished / "images" / entry["file_name"]).is_file()
        label_map = expected[Path(entry["file_name"]).stem]
        assert (entry["height"], entry["width"]) == label_map.shape
        drawn = np.zeros_like(label_map)
        for a in coco.loadAnns(coco.getAnnIds(entry["id"])):
            mask = coco.annToMask(a).astype(bool)
            assert not drawn[mask].any()
            drawn[mask] = a["category_id"]
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (a["bbox"], a["area"], a["iscrowd"]) == (box, mask.sum(), 0)
            assert a["score"] == 1
        np.testing.assert_array_equal(drawn, label_map)


def test_coco_scores_come_from_the_run(finished: Path) -> None:
    targets = [
        {"mask": "elsewhere/03 a line.png", "confidence": 0.75, "skipped": False},
        {"mask": "masks/04 a corner of the image.png", "confidence": 0.0, "skipped": True},
        {"mask": None, "confidence": 0.0, "skipped": False},
    ]
    (finished / "run.json").write_text(json.dumps({"targets": targets}))
    exported(finished, "coco", "--scores", f"{finished}/run.json")
    dataset = json.loads((finished / "coco" / "annotations.json").read_text())
    names = {i["id"]: i["file_name"] for i in dataset["images"]}
    scores = {names[a["image_id"]]: a["score"] for a in dataset["annotations"]}
    assert scores.pop("03 a line.png") == 0.75
    assert set(scores.values()) == {1.0}


def test_coco_of_several_folders(tmp_path: Path) -> None:
    for place in ("a", "b/c"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("L", (3, 3), 9).save(tmp_path / place / f"{place[0]}.png")
    maps = [
        Annotation(tmp_path / name, HAND_MADE["one pixel"], ("x",), {})
        for name in ("a/a.png", "a/../b/c/b.png")
    ]
    write_dataset(maps, tmp_path / "out", "coco", ExportSettings(("x",)))
    dataset = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [i["file_name"] for i in dataset["images"]] == ["a/a.png", "b/c/b.png"]


# --- YOLO ---------------------------------------------------------------------------------------


def read_yolo(file: Path, shape: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """(class, mask) a line, drawn by Pillow."""
    found = []
    for line in file.read_text().splitlines():
        number, *shares = line.split()
        points = np.array(shares, dtype=float).reshape(-1, 2)
        assert len(points) >= 3
        assert points.min() >= 0
        assert points.max() <= 1
        corners = np.rint(points * [shape[1], shape[0]] * 1000) / 1000
        found.append((int(number), rasterised(corners, shape)))
    return found


@pytest.mark.parametrize("simplify", ["0", "1"])
def test_yolo_read_back(finished: Path, simplify: str) -> None:
    exported(finished, "yolo", "--simplify", simplify)
    for stem, label_map in STEMS.items():
        drawn = read_yolo(finished / "yolo" / "labels" / "train" / f"{stem}.txt", label_map.shape)
        instances = list(find_instances(annotation(label_map)))
        assert [number + 1 for number, _ in drawn] == [i.number for i in instances]
        for (_, mask), i in zip(drawn, instances, strict=True):
            expected = alone(i, label_map)
            assert iou(mask, expected) >= (1.0 if simplify == "0" else MIN_IOU)


def test_real_masks_survive_yolo_and_coco(tmp_path: Path) -> None:
    masks = real_masks()
    annotations = []
    for number, label_map in enumerate(masks):
        path = tmp_path / f"{number}.png"
        Image.new("L", label_map.shape[::-1]).save(path)
        annotations.append(Annotation(path, label_map, ("thing",), {}))
    settings = ExportSettings(("thing",))
    write_dataset(annotations, tmp_path / "yolo", "yolo", settings)
    write_dataset(annotations, tmp_path / "coco", "coco", settings)
    worst = 1.0
    for a in annotations:
        file = tmp_path / "yolo" / "labels" / "train" / f"{a.image.stem}.txt"
        drawn = [mask for _, mask in read_yolo(file, a.label_map.shape)]
        for mask, i in zip(drawn, find_instances(a), strict=True):
            worst = min(worst, iou(mask, alone(i, a.label_map)))
        assert iou(np.any(drawn, axis=0), a.label_map > 0) >= MIN_IOU
    assert worst >= MIN_IOU
    assert evaluate(tmp_path / "coco" / "annotations.json") == 1.0


def test_yolo_tree(finished: Path) -> None:
    report = exported(finished, "yolo", "--val", "0.4")
    out = finished / "yolo"
    images = {s: sorted(p.stem for p in (out / "images" / s).iterdir()) for s in ("train", "val")}
    labels = {s: sorted(p.stem for p in (out / "labels" / s).iterdir()) for s in ("train", "val")}
    assert images == labels
    assert {s: len(names) for s, names in images.items()} == report["images"]
    assert min(report["images"].values()) > 0
    assert sorted(images["train"] + images["val"]) == sorted(STEMS)
    assert (out / "data.yaml").read_text().splitlines() == [
        "train: images/train",
        "val: images/val",
        "names:",
        '  0: "cat"',
        '  1: "dog: \\"big\\""',
    ]


def test_yolo_without_validation_validates_on_all(finished: Path) -> None:
    exported(finished, "yolo")
    assert "val: images/train" in (finished / "yolo" / "data.yaml").read_text()


def test_copies_are_the_images_but_upright(finished: Path) -> None:
    exported(finished, "yolo")
    for stem in STEMS:
        image = finished / "images" / f"{stem}.png"
        copy = finished / "yolo" / "images" / "train" / image.name
        np.testing.assert_array_equal(read_image(copy), read_image(image))
        with Image.open(copy) as raw:  # by a reader that knows nothing of EXIF
            np.testing.assert_array_equal(np.asarray(raw), read_image(image))
        assert (copy.read_bytes() == image.read_bytes()) == (stem != "13 a disc")


# --- VOC ----------------------------------------------------------------------------------------


def test_voc_read_back(finished: Path) -> None:
    # VOC cannot hold a colon in a name.
    (finished / "found" / "labels.json").write_text('{"1": "cat", "2": "big dog"}')
    report = exported(finished, "voc", "--val", "0.4")
    out = finished / "voc"
    for stem, label_map in STEMS.items():
        with Image.open(out / "SegmentationClass" / f"{stem}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
            np.testing.assert_array_equal(np.asarray(mask), label_map)
        assert (out / "JPEGImages" / f"{stem}.png").is_file()
    listed = {
        s: (out / "ImageSets" / "Segmentation" / f"{s}.txt").read_text().splitlines()
        for s in ("train", "val")
    }
    assert {s: len(names) for s, names in listed.items()} == report["images"]
    assert sorted(listed["train"] + listed["val"]) == sorted(STEMS)
    assert (out / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions",
        "background:0,0,0::",
        "cat:128,0,0::",
        "big dog:0,128,0::",
    ]


def test_voc_leaves_specks_out(finished: Path) -> None:
    (finished / "found" / "labels.json").write_text('{"1": "cat", "2": "dog"}')
    exported(finished, "voc", "--min-area", "2")
    with Image.open(finished / "voc" / "SegmentationClass" / "12 two classes.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), picture("11222", "11222", "..1.2"))
    with Image.open(finished / "voc" / "SegmentationClass" / "00 one pixel.png") as mask:
        assert not np.asarray(mask).any()


def test_label_maps_read_back(finished: Path) -> None:
    words = ["export", f"{finished}/found", "--images", f"{finished}/images", "--format", "masks"]
    ran = run([*words, "--out", f"{finished}/maps", "--val", "0.4"])
    assert (ran.code, ran.err) == (0, "")
    written = {p.stem: p for p in (finished / "maps").glob("*/*.png")}
    assert {p.parent.name for p in written.values()} == {"train", "val"}
    assert set(written) == set(STEMS)
    for stem, label_map in STEMS.items():
        with Image.open(written[stem]) as mask:
            np.testing.assert_array_equal(np.asarray(mask), label_map)
            assert mask.getpalette()[3:9] == [*class_colour(1), *class_colour(2)]
    labels = json.loads((finished / "maps" / "labels.json").read_text())
    assert labels == {"1": "cat", "2": 'dog: "big"'}


def test_supervision_has_no_format_of_its_own(finished: Path) -> None:
    words = ["export", f"{finished}/found", "--images", f"{finished}/images"]
    ran = run([*words, "--format", "supervision", "-o", f"{finished}/x"])
    assert ran.code == 2
    assert "give --format coco, and load that with" in ran.err


def test_the_palette_of_voc() -> None:
    known = {1: (128, 0, 0), 5: (128, 0, 128), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {k: voc_colour(k) for k in known} == known
    assert voc_colour(255) == (224, 224, 192)
    assert len({voc_colour(k) for k in range(256)}) == 256


# --- Labelme ------------------------------------------------------------------------------------


def test_labelme_read_back(finished: Path) -> None:
    exported(finished, "labelme", "--simplify", "0", "--val", "0.4")
    files = {p.stem: p for p in (finished / "labelme").rglob("*.json")}
    assert files.keys() == STEMS.keys()
    assert {p.parent.name for p in files.values()} == {"train", "val"}
    for stem, label_map in STEMS.items():
        content = json.loads(files[stem].read_text())
        assert (content["imageHeight"], content["imageWidth"]) == label_map.shape
        image = files[stem].parent / content["imagePath"]
        assert image.resolve() == (finished / "images" / f"{stem}.png").resolve()
        drawn = np.zeros_like(label_map)
        for shape in content["shapes"]:
            assert shape["shape_type"] == "polygon"
            assert shape["description"] == "score 1.000"
            mask = rasterised(np.array(shape["points"]), label_map.shape)
            drawn[mask] = {"cat": 1, 'dog: "big"': 2}[shape["label"]]
        np.testing.assert_array_equal(drawn, label_map)


# --- the split ----------------------------------------------------------------------------------


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


# --- all formats --------------------------------------------------------------------------------


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


# --- what goes wrong ----------------------------------------------------------------------------


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


def rename_image(folder: Path) -> None:
    (folder / "images" / "03 a line.png").rename(folder / "images" / "other.png")


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

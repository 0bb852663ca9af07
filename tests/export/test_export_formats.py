"""Each format of likewise export, read back by other means."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers import iou
from label_maps import HAND_MADE, STEMS, alone, annotation, exported, picture, rasterised
from likewise.export.annotations import Annotation, find_instances
from likewise.export.dataset import ExportSettings, write_dataset
from likewise.export.outlines import MIN_IOU
from likewise.export.voc import voc_colour
from likewise.io.draw import class_colour
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from scenes import run

BENCH = Path(__file__).resolve().parents[3] / "shared" / "bench"


# --- masks worth exporting ------------------------------------------------------------------------


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


# --- COCO -----------------------------------------------------------------------------------------


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


# --- YOLO -----------------------------------------------------------------------------------------


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


# --- VOC ------------------------------------------------------------------------------------------


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


# --- Labelme --------------------------------------------------------------------------------------


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


# --- QuPath ---------------------------------------------------------------------------------------


def test_qupath_measures_in_microns(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "found").mkdir()
    mask = np.zeros((20, 30), np.uint8)
    mask[2:8, 3:9], mask[4, 5] = 255, 0
    edges = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 2.0, "axes": "YX"}
    for name, how in (("a", {"ome": True, "metadata": edges}), ("b", {})):
        tifffile.imwrite(tmp_path / "images" / f"{name}.tif", mask, **how)
        Image.fromarray(mask).save(tmp_path / "found" / f"{name}.png")
    exported(tmp_path, "qupath")
    measured = {}
    for name in "ab":
        content = json.loads((tmp_path / "qupath" / f"{name}.geojson").read_text())
        (feature,) = content["features"]
        outer, hole = feature["geometry"]["coordinates"]
        assert outer[0] == outer[-1]
        assert sorted(hole[1:]) == [[5, 4], [5, 5], [6, 4], [6, 5]]
        assert feature["properties"]["classification"]["name"] == "object"
        measured[name] = feature["properties"]["measurements"]
    assert measured["a"] == {"score": 1.0, "Area px^2": 35, "Area µm^2": 35.0}
    assert measured["b"] == {"score": 1.0, "Area px^2": 35}

"""Training pairs of SegIC from folders, COCO and mixtures; a seed says it all."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.lab.segic.data.augment import PADDING
from likewise.lab.segic.data.coco import Coco
from likewise.lab.segic.data.compose import Photos
from likewise.lab.segic.data.folders import read_folder, read_sets
from likewise.lab.segic.data.marked import Augmentation, ReadCache
from likewise.lab.segic.data.pairs import Mixture, Source, TrainingPair, grid
from likewise.lab.segic.data.stamps import Stamps
from pairs import GREEN, GREY, RED, SIZE, agree, check, is_red, seeded, write_stamps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools

BENCH = Path(__file__).parents[4] / "shared" / "bench"

PLAIN = Augmentation(stretched=0, colour=0, flip=0, wear=0)


def same(a: TrainingPair, b: TrainingPair) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(astuple(a), astuple(b), strict=True))


# --- folders of pictures and label maps -----------------------------------------------------------


def write_folder(folder: Path, count: int = 4, size: tuple[int, int] = (60, 90)) -> Path:
    """Value 1 is red, 2 is green (two pieces), 9 does not count."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(count):
        labels = np.zeros(size, np.uint8)
        labels[10 + n : 35 + n, 20:50] = 1
        labels[5:20, 60:75] = 2
        labels[30:45, 60:75] = 2
        labels[:, :5] = 9
        image = np.full((*size, 3), GREY, np.uint8)
        image[labels == 1], image[labels == 2] = RED, GREEN
        Image.fromarray(image).save(folder / "images" / f"{n}.png")
        Image.fromarray(labels).save(folder / "masks" / f"{n}.png")
    return folder


def open_folder(folder: Path, **options):
    options = {"ignored": (9,), "augmentation": PLAIN, **options}
    return read_folder(folder / "images", folder / "masks", **options)


def test_a_class_is_found_in_another_picture(tmp_path: Path) -> None:
    source = open_folder(write_folder(tmp_path / "set"), names={1: "red", 2: "green"})
    assert (source.name, len(source), list(source.classes)) == ("set", 4, ["green", "red"])
    for seed in range(30):
        pair = source.sample(seeded(seed), SIZE)
        check(pair, SIZE)
        assert pair.task == "semantic"
        for image, mask in ((pair.reference, pair.reference_mask), (pair.target, pair.target_mask)):
            red = is_red(image)
            assert agree(mask, red if pair.category == "red" else mask & ~red) > 0.7
        assert (pair.target == PADDING).all(axis=2)[pair.valid].sum() == 0
        assert pair.target_mask[pair.valid].sum() == pair.target_mask.sum()


def test_the_two_pictures_of_a_pair_differ(tmp_path: Path) -> None:
    source = open_folder(
        write_folder(tmp_path / "set", 2), augmentation=replace(PLAIN, scales=(1, 1))
    )
    for seed in range(10):
        pair = source.sample(seeded(seed), 90)
        tops = []
        for image in (pair.reference, pair.target):
            picture = image[(image != PADDING).all(axis=2).any(axis=1)]
            tops.append(int(is_red(picture).any(axis=1).argmax()))
        assert sorted(tops) == [10, 11]  # where red begins in picture 0 and in picture 1


def test_pieces_of_a_value_are_objects(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    pieces, values = (open_folder(folder, entities=e) for e in ("components", "values"))
    whole_areas, halves = [], []
    for seed in range(40):
        for source, areas in ((values, whole_areas), (pieces, halves)):
            pair = source.sample(seeded(seed), SIZE)
            check(pair, SIZE)
            assert pair.task == "instance"
            if pair.category == "2":
                areas.append(pair.reference_mask.sum())
    assert max(halves) < max(whole_areas)
    others = [pieces.sample(seeded(s), SIZE) for s in range(20)]
    assert max(len(p.negatives) for p in others) == 2


def test_a_folder_can_leave_the_class_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    for n in (2, 3):
        path = folder / "masks" / f"{n}.png"
        labels = np.asarray(Image.open(path)).copy()
        labels[labels == 2] = 0
        labels[5:8, 60:63] = 2  # too little of it to ask for, and not nothing
        Image.fromarray(labels).save(path)
        image = np.full((*labels.shape, 3), GREY, np.uint8)
        image[labels == 2] = GREEN
        Image.fromarray(image).save(folder / "images" / f"{n}.png")
    source = open_folder(folder, absent=1)
    pairs = [source.sample(seeded(s), SIZE) for s in range(30)]
    assert all(not p.target_mask.any() for p in pairs if p.category == "2")
    specks = [(p.target[..., 1] > 180) & p.valid for p in pairs if p.category == "2"]
    assert not any(speck.any() for speck in specks)
    assert all(p.target_mask.any() for p in pairs if p.category == "1")  # no picture is without


def test_every_subfolder_can_have_its_own_classes(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        for video in ("a", "b"):
            (tmp_path / part / video).mkdir(parents=True)
    write_folder(tmp_path / "set")
    for n in range(4):
        for part in ("images", "masks"):
            path = tmp_path / part / "ab"[n % 2] / f"{n}.png"
            (tmp_path / "set" / part / f"{n}.png").rename(path)
    assert list(open_folder(tmp_path, by_folder=True).classes) == ["a/1", "a/2", "b/1", "b/2"]
    assert list(open_folder(tmp_path).classes) == ["1", "2"]


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no picture" in refusal(read_folder, tmp_path / "empty", tmp_path)
    folder = write_folder(tmp_path / "set")
    assert "'masks' are unknown" in refusal(open_folder, folder, entities="masks")
    assert "no class of" in refusal(open_folder, folder, background=(0, 1, 2))
    assert "are called a" in refusal(open_folder, folder, names={1: "a", 2: "a"})
    Image.new("L", (40, 90), 1).save(folder / "masks" / "0.png")
    labels = np.zeros((90, 40), np.uint8)
    labels[:30] = 1
    Image.fromarray(labels).save(folder / "masks" / "0.png")
    source = open_folder(folder)
    text = refusal(lambda: [source.sample(seeded(s), SIZE) for s in range(30)])
    assert "40 × 90 pixels, but" in text
    (folder / "masks" / "0.png").write_bytes(b"no picture")
    assert "0.png" in refusal(open_folder, folder)
    (folder / "masks" / "0.png").unlink()
    assert "0.png has no mask" in refusal(open_folder, folder)


def test_real_sets() -> None:
    if not BENCH.is_dir():
        pytest.skip("the bench (../shared/bench) is not beside this checkout")
    file = BENCH / "episodes_dev.json"
    assert "has no set 'cats'" in refusal(read_sets, file, BENCH, ["cats"])
    sources = read_sets(file, BENCH, ["fss1000_samples", "personal_objects", "suim_samples"])
    assert [len(s.classes) for s in sources] == [1, 3, 4]
    for source in sources:
        for seed in range(4):
            pair = source.sample(seeded(seed), 140)
            check(pair, 140)
            assert pair.target_mask.any()


# --- COCO -----------------------------------------------------------------------------------------


def write_coco(folder: Path) -> Path:
    """Of 3 pictures each: a red cat, a green dog, a dog that is a speck, a crowd of dogs."""
    folder.mkdir()
    images, annotations = [], []
    for n in range(3):
        image = np.full((60, 90, 3), GREY, np.uint8)
        image[10:40, 10 + n : 40 + n], image[20:50, 50:70] = RED, GREEN
        image[2:4, 80:82] = GREEN
        Image.fromarray(image).save(folder / f"{n}.png")
        images.append({"id": n, "file_name": f"{n}.png", "height": 60, "width": 90})
        for category, (left, top, right, bottom) in (
            (1, (10 + n, 10, 40 + n, 40)),
            (2, (50, 20, 70, 50)),
            (2, (80, 2, 82, 4)),
        ):
            outline = [left, top, right, top, right, bottom, left, bottom]
            annotations.append(
                {
                    "image_id": n,
                    "category_id": category,
                    "segmentation": [outline],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                }
            )
        runs = [60 * 85, 60 * 5]  # the last five columns
        annotations.append(
            {
                "image_id": n,
                "category_id": 2,
                "segmentation": {"size": [60, 90], "counts": runs},
                "area": 300,
                "iscrowd": 1,
            }
        )
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder


def open_coco(folder: Path, **options) -> Coco:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    return Coco(folder / "coco.json", folder, augmentation=PLAIN, **options)


def test_a_class_of_coco(tmp_path: Path) -> None:
    source = open_coco(write_coco(tmp_path / "set"))
    assert (source.name, len(source), list(source.classes)) == ("coco", 3, ["cat", "dog"])
    specks = 0
    for seed in range(20):
        pair = source.sample(seeded(seed), 180)
        check(pair, 180)
        assert pair.task == "semantic"
        green = (pair.target[..., 1] > 170) & (pair.target[..., 0] < 90)
        wanted = is_red(pair.target) if pair.category == "cat" else green
        assert agree(pair.target_mask, wanted) > 0.8
        assert len(pair.negatives) <= 1
        specks += bool(pair.category == "dog" and green[:, 120:].any())
    assert specks


def test_crowds_do_not_count(tmp_path: Path) -> None:
    source = open_coco(write_coco(tmp_path / "set"))
    source._augmentation = replace(PLAIN, scales=(1, 1))
    pair = source.sample(seeded(1), 90)
    rows = np.flatnonzero(pair.valid.any(axis=1))
    assert len(rows) == 60
    assert np.array_equal(np.flatnonzero(pair.valid.any(axis=0)), np.arange(85))


def test_an_object_of_coco(tmp_path: Path) -> None:
    source = open_coco(write_coco(tmp_path / "set"), objects=True, categories=["cat"])
    for seed in range(10):
        pair = source.sample(seeded(seed), 120)
        check(pair, 120)
        assert (pair.task, pair.category) == ("instance", "cat")
        assert agree(pair.target_mask, is_red(pair.target)) > 0.8


def test_objects_that_lie_over_one_another(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set")
    content = json.loads((folder / "coco.json").read_text())
    for entry in content["annotations"]:
        if entry["category_id"] == 2 and not entry["iscrowd"]:
            entry["segmentation"] = [[5, 5, 80, 5, 80, 55, 5, 55]]  # the cat is on it
    (folder / "coco.json").write_text(json.dumps(content))
    for source in (open_coco(folder), open_coco(folder, objects=True)):
        pairs = [source.sample(seeded(seed), 120) for seed in range(10)]
        for pair in pairs:
            check(pair, 120)
        assert any(len(p.negatives) for p in pairs if p.category == "cat")


def test_lvis_gives_addresses_and_marks_some_classes_partly(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set")
    content = json.loads((folder / "coco.json").read_text())
    for entry in content["images"]:
        entry["coco_url"] = f"http://images/train/{entry.pop('file_name')}"
        entry["not_exhaustive_category_ids"] = [2]
    (folder / "coco.json").write_text(json.dumps(content))
    source = open_coco(folder)
    assert list(source.classes) == ["cat"]
    check(source.sample(seeded(), 60), 60)
    assert list(open_coco(folder, objects=True).classes) == ["cat", "dog"]


def test_coco_can_leave_the_class_out(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set")
    content = json.loads((folder / "coco.json").read_text())
    content["annotations"] = [
        a for a in content["annotations"] if (a["image_id"], a["category_id"]) != (0, 2)
    ]
    (folder / "coco.json").write_text(json.dumps(content))
    source = open_coco(folder, absent=1, categories=["dog"])
    pairs = [source.sample(seeded(seed), 60) for seed in range(6)]
    assert all(not p.target_mask.any() and p.reference_mask.any() for p in pairs)


def test_bad_coco(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set")
    assert "has no category 'cow'" in refusal(open_coco, folder, categories=["cow"])
    Image.new("RGB", (80, 60)).save(folder / "0.png")
    source = open_coco(folder)
    text = refusal(lambda: [source.sample(seeded(s), 60) for s in range(20)])
    assert "is 80 × 60 pixels, but" in text
    content = json.loads((folder / "coco.json").read_text())
    for entry in content["annotations"]:
        entry["segmentation"] = {"size": [60, 90], "counts": [7]}
    (folder / "coco.json").write_text(json.dumps(content))
    Image.new("RGB", (90, 60)).save(folder / "0.png")
    refusal(open_coco(folder).sample, seeded(), 60)
    (folder / "coco.json").write_text(json.dumps({"images": []}))
    assert "is no COCO JSON" in refusal(open_coco, folder)
    (folder / "coco.json").write_text("{")
    assert "cannot be used" in refusal(open_coco, folder)
    (folder / "coco.json").unlink()
    assert "cannot be used" in refusal(open_coco, folder)


# --- sources together -----------------------------------------------------------------------------


def make_mixture(folder: Path, photos: Photos) -> Mixture:
    sources: list[Source] = [
        Stamps(write_stamps(folder / "stamps"), photos, length=10),
        open_folder(write_folder(folder / "set"), augmentation=Augmentation(wear=0.5)),
        open_folder(folder / "set", entities="components"),
    ]
    return Mixture(sources, SIZE)


def test_a_seed_and_an_index_say_it_all(tmp_path: Path, photos: Photos) -> None:
    mixture = make_mixture(tmp_path, photos)
    assert len(mixture) == 18
    first = [mixture.pair(3, index) for index in range(12)]
    for index in (11, 4, 0):  # in any order, whatever was drawn and kept in between
        assert same(mixture.pair(3, index), first[index])
    copy = pickle.loads(pickle.dumps(mixture))
    assert same(copy.pair(3, 5), first[5])
    assert not same(mixture.pair(4, 5), first[5])
    assert not same(first[4], first[5])
    assert {p.task for p in first} == {"semantic", "instance"}


def test_another_process_draws_the_same(tmp_path: Path, photos: Photos) -> None:
    mixture = make_mixture(tmp_path, photos)
    (tmp_path / "mixture").write_bytes(pickle.dumps(mixture))
    code = (
        "import pickle, sys, hashlib; from pathlib import Path; from dataclasses import astuple;"
        "m = pickle.loads(Path(sys.argv[1]).read_bytes());"
        "h = hashlib.sha256();"
        "pairs = [m.pair(1, i) for i in range(6)];"
        "[h.update(bytes(p)) for pair in pairs for p in astuple(pair) if not isinstance(p, str)];"
        "print(h.hexdigest(), 'torch' in sys.modules)"
    )
    source = Path(__file__).parents[3] / "src"
    done = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "mixture")],
            env={"PYTHONPATH": str(source), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert done[0] == done[1]
    assert done[0][1] == "False"  # workers need no torch


def test_weights_are_shares(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    sources = [open_folder(folder, names={1: name}, background=(0, 2)) for name in ("a", "b")]
    even, mostly = (Mixture(sources, 32, w) for w in (None, (9, 1)))
    for mixture, share in ((even, 0.5), (mostly, 0.9)):
        drawn = [mixture.pair(0, index).category for index in range(150)]
        assert abs(drawn.count("a") / 150 - share) < 0.12


def test_bad_mixtures(tmp_path: Path, photos: Photos) -> None:
    assert "nothing to train on" in refusal(Mixture, [], SIZE)
    source = open_folder(write_folder(tmp_path / "set"))
    for weights in ((1, 2), (0,), (float("nan"),)):
        assert "weights" in refusal(Mixture, [source], SIZE, weights)
    (tmp_path / "empty").mkdir()
    assert "holds no cut-outs" in refusal(Stamps, tmp_path / "empty", photos)
    assert "of 0 classes" in refusal(Stamps, tmp_path / "photos", photos)
    assert "does not exist" in refusal(Photos, [tmp_path / "nowhere"])
    assert "no picture in" in refusal(Photos, [tmp_path / "empty"])
    assert "no picture in no folder" in refusal(Photos, [])
    (write_stamps(tmp_path / "stamps") / "broken.png").write_bytes(b"no picture")
    assert "broken.png" in refusal(Stamps, tmp_path / "stamps", photos)


def test_the_grid_shows_pairs(tmp_path: Path, photos: Photos) -> None:
    mixture = make_mixture(tmp_path, photos)
    sheet = grid([mixture.pair(0, index) for index in range(3)], height=100)
    assert sheet.shape == (3 * 132 + 10, 4 * 110 + 10, 3)
    assert sheet.dtype == np.uint8


def test_what_was_read_last_is_kept() -> None:
    read = []

    def numbers(key: int) -> tuple[np.ndarray, ...]:
        read.append(key)
        return (np.full(100, key, np.uint8),)

    kept = ReadCache(numbers, limit=250)
    for key in (1, 2, 1, 3, 1, 2):
        assert kept(key)[0][0] == key
    assert read == [1, 2, 3, 2]  # 2 went when 3 came, for 1 had been used since
    assert partial(kept, 9)()[0].nbytes == 100

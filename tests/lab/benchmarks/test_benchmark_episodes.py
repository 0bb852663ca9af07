"""Episodes of benchmarks: those of the released code, and which references they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import refusal
from likewise.lab.evaluation.datasets.pickles import read_pickle
from likewise.lab.evaluation.manifest import BenchmarkManifest
from replicas import drawn

# --- the same episodes as the released code -------------------------------------------------------


def choice(items: Any) -> Any:
    """As the released code draws."""
    return np.random.choice(items, 1, replace=False)[0]


def asked_of(manifest: BenchmarkManifest, fold: str) -> list[tuple[str, str]]:
    entries = [e for e in manifest.entries if e["set"] == fold]
    return [(Path(e["tgt"]["image"]).name, Path(e["refs"][0]["image"]).name) for e in entries]


@pytest.mark.parametrize("fold", range(4))
def test_coco_episodes_are_those_of_the_released_code(fold: int, tmp_path: Path) -> None:
    manifest = drawn("coco20i", tmp_path)
    np.random.seed(0)
    listed = read_pickle(tmp_path / f"COCO2014/splits/val/fold{fold}.pkl")
    for entry in [e for e in manifest.entries if e["set"] == f"fold{fold}"]:
        cls = choice([fold + 4 * v for v in range(20)])
        target = choice(listed[cls])
        reference = target
        while reference == target:
            reference = choice(listed[cls])
        assert (entry["cls"], entry["tgt"]["value"]) == (str(cls), cls + 1)
        assert entry["tgt"]["image"] == f"COCO2014/{target}"
        assert entry["refs"][0]["image"] == f"COCO2014/{reference}"


def test_isic_and_suim_episodes_are_those_of_the_released_code(tmp_path: Path) -> None:
    for name, fold, kinds in (("isic", "ISIC*Input", "123"), ("suim", "masks", None)):
        manifest = drawn(name, tmp_path)
        base = next((tmp_path / name.upper()).glob(fold))
        kinds = kinds or ["FV", "HD", "PF", "RI", "RO", "SR", "WR"]
        pools = [
            sorted(p.stem for p in (base / k).iterdir() if "none" not in p.name) for k in kinds
        ]
        np.random.seed(0)
        expected = []
        for number in range(len(manifest.entries)):
            pool = pools[number % len(pools)]
            target = reference = choice(pool)
            while reference == target:
                reference = choice(pool)
            expected.append((f"{target}.jpg", f"{reference}.jpg"))
        assert len(expected) == (600 if name == "isic" else 21)
        assert asked_of(manifest, "all") == expected


def test_pascal_part_episodes_are_those_of_the_released_code(tmp_path: Path) -> None:
    """A second formulation of its loops: a drawn object without the part is drawn again."""
    manifest = drawn("pascal-part", tmp_path)
    base = tmp_path / "Pascal-Part/VOCdevkit/VOC2010"
    listed = json.loads((base / "all_obj_part_to_image.json").read_text())
    np.random.seed(0)

    def usable(images: list[str], part: str, without: str | None) -> tuple[str, dict[str, Any]]:
        while True:
            image = choice(images)
            if image == without:
                continue
            file = base / "Annotations_Part_json_merged_part_classes" / f"{image}.json"
            thing = choice(json.loads(file.read_text())["object"])
            if any(p["name"] == part for p in thing["parts"]):
                return str(image), thing["bndbox"]

    images = listed["indoor"]["object"]["indoor thing"]["part"]
    entries = [e for e in manifest.entries if e["set"] == "indoor"]
    for entry in entries:
        part = entry["cls"].partition("+")[2]
        target, box = usable(images[part]["val"], part, None)
        reference, _ = usable(images[part]["val"], part, target)
        assert Path(entry["tgt"]["image"]).stem == target
        assert entry["tgt"]["box"] == [*box.values()] or entry["tgt"]["box"] == tuple(box.values())
        assert Path(entry["refs"][0]["image"]).stem == reference
    assert len(entries) == 9


def test_lvis_and_isaid_episodes_are_those_of_the_released_code(tmp_path: Path) -> None:
    manifest = drawn("lvis92i", tmp_path)
    listed = read_pickle(tmp_path / "LVIS/lvis_val.pkl")
    kept = [c for c in listed if len(listed[c]) > 1]
    for fold in range(10):
        np.random.seed(0)
        expected = []
        for _ in range(3):
            pool = list(listed[kept[fold]])
            target = reference = choice(pool)
            while reference == target:
                reference = choice(pool)
            expected.append((Path(target).name, Path(reference).name))
        assert asked_of(manifest, f"fold{fold}") == expected
    manifest = drawn("isaid5i", tmp_path)
    lines = (tmp_path / "iSAID/splits/val/fold0.txt").read_text().split()
    np.random.seed(0)
    expected = []
    for line in lines:
        pool = [other.split("__")[0] for other in lines if other[-2:] == line[-2:]]
        target = reference = line.split("__")[0]
        while reference == target:
            reference = choice(pool)
        expected.append((f"{target}.png", f"{reference}.png"))
    assert asked_of(manifest, "fold0") == expected


def test_paco_episodes_are_those_of_the_released_code(tmp_path: Path) -> None:
    """Image, one of its two objects with the part, reference, one of its two objects."""
    manifest = drawn("paco-part", tmp_path)
    listed = read_pickle(tmp_path / "PACO-Part/paco/paco_part_val.pkl")
    order = list(read_pickle(tmp_path / "PACO-Part/paco/paco_part_train.pkl")["cid2img"])
    classes = [c for c in order[1::4] if len(listed["cid2img"][c]) > 2]
    entries = [e for e in manifest.entries if e["set"] == "fold1"]
    assert len(entries) == 12
    np.random.seed(0)
    for entry in entries:
        cls = choice(classes)
        pool = [next(iter(image)) for image in listed["cid2img"][cls][:3]]
        things = {k: [a for a in listed["img2anno"][k] if a["category_id"] == cls] for k in pool}
        target = choice(pool)
        first = choice([a["obj_ann_id"] for a in things[target]])
        reference = target
        while reference == target:
            reference = choice(pool)
        second = choice([a["obj_ann_id"] for a in things[reference]])
        for marked, image, thing in (
            (entry["tgt"], target, first),
            (entry["refs"][0], reference, second),
        ):
            left, top, width, height = things[image][thing - 1]["obj_bbox"]
            assert Path(marked["image"]).stem == f"{image:012}"
            box = int(left), int(top), int(left + width), int(top + height)
            assert tuple(marked["box"]) == box


# --- references -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isic", "isaid5i", "coco20i", "lvis92i", "fss1000", "paco-part"])
def test_references_are_never_the_target_and_never_twice(name: str, tmp_path: Path) -> None:
    manifest = drawn(name, tmp_path, shots=2)
    for entry in manifest.entries:
        images = [r["image"] for r in entry["refs"]]
        assert len(set(images)) == 2
        assert entry["tgt"]["image"] not in images


def test_a_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    text = refusal(drawn, "suim", tmp_path, shots=3)
    assert text.startswith("SUIM: class FV has 3 images, but a target and 3 references need 4")
    assert "class zebra has 9 images" not in refusal(drawn, "fss1000", tmp_path, shots=10)
    assert "one reference a video" in refusal(drawn, "davis2017", tmp_path, shots=2)

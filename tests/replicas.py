"""Tiny data sets in the layouts of the official downloads, drawn by NumPy."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.lab.evaluation.datasets import get_benchmark, make_manifest
from likewise.lab.evaluation.manifest import BenchmarkManifest

SIZE = (40, 48)  # height, width
Box = tuple[int, int, int, int]


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def boxes(seed: int = 0) -> Iterator[Box]:
    """Left, top, right, bottom of patch-sized things, never twice the same in a row."""
    rng = np.random.default_rng(seed)
    while True:
        left, top = int(rng.integers(0, 24)), int(rng.integers(0, 18))
        yield left, top, left + 20, top + 18


def picture(box: Box, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) noise with a red thing in the box."""
    image = np.random.default_rng(box[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = (210, 40, 30)
    return image


def mask(box: Box, value: int = 255, size: tuple[int, int] = SIZE) -> np.ndarray:
    marked = np.zeros(size, np.uint8)
    marked[box[1] : box[3], box[0] : box[2]] = value
    return marked


def polygon(box: Box) -> list[list[float]]:
    left, top, right, bottom = box
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(marked: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(marked > 0).astype(np.uint8))
    return {"size": found["size"], "counts": found["counts"].decode("ascii")}


def coco20i(root: Path) -> None:
    """Three images a fold, each with all its twenty classes in a grid of 4 by 5."""
    folder, images = root / "COCO2014", {}
    for fold in range(4):
        for number in range(3):
            name = f"val2014/COCO_val2014_{fold}{number}.jpg"
            cells = np.roll(np.arange(20), number).reshape(4, 5) * 4 + fold + 1
            labels = np.kron(cells, np.ones((10, 10))).astype(np.uint8)
            save(folder / name, np.repeat(labels[..., None] * 3, 3, axis=2))
            save((folder / "annotations" / name).with_suffix(".png"), labels)
            images.setdefault(fold, []).append(name)
        listed = {c: images[fold] if c % 4 == fold else [] for c in range(80)}
        dump(folder / "splits" / "val" / f"fold{fold}.pkl", listed)


def coco_instances(root: Path) -> None:
    """Eight categories; two images show all of them, in two things each."""
    folder, annotations, images = root / "COCO2014", [], []
    for number, box in zip((5, 9), boxes(), strict=False):
        save(folder / "val2014" / f"COCO_val2014_{number}.jpg", picture(box))
        height, width = SIZE
        name = f"COCO_val2014_{number}.jpg"
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for category in range(11, 19):
            for part in (box, (0, 0, 6, 5)):
                one = {"image_id": number, "category_id": category, "iscrowd": 0, "area": 9}
                shape = {"segmentation": polygon(part), "bbox": [0, 0, 1, 1]}
                annotations.append({"id": len(annotations) + 1, **one, **shape})
    categories = [{"id": c, "name": f"thing {c}"} for c in range(11, 19)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write(folder / "annotations" / "instances_val2014.json", content)


def lvis92i(root: Path) -> None:
    """Eleven classes of three images, and one of a single image, which cannot be asked for."""
    folder, listed = root / "LVIS", {}
    for cls, box in zip(range(1, 13), boxes(), strict=False):
        for number in range(1 if cls == 4 else 3):
            moved = tuple(np.add(box, (number, number, number, number)))
            name = f"val2017/{cls:06}{number:06}.jpg"
            save(folder / "coco" / name, picture(moved))
            shape = polygon(moved) if number else runs(mask(moved))
            two = [{"segmentation": shape}, {"segmentation": polygon((0, 0, 5, 4))}]
            listed.setdefault(cls, {})[name] = {"annotations": two}
    dump(folder / "lvis_val.pkl", listed)


def isic(root: Path) -> None:
    folder = root / "ISIC"
    for number, box in zip(range(9), boxes(), strict=False):
        name = f"ISIC_{number:07}"
        kind = str(number % 3 + 1)
        save(folder / "ISIC2018_Task1-2_Training_Input" / kind / f"{name}.jpg", picture(box))
        truth = folder / "ISIC2018_Task1_Training_GroundTruth"
        save(truth / f"{name}_segmentation.png", mask(box))


def chest(root: Path) -> None:
    folder = root / "LungSegmentation"
    for number, box in zip(range(4), boxes(), strict=False):
        china = number % 2 == 0
        name = f"{'CHNCXR' if china else 'MCUCXR'}_{number:04}_0"
        save(folder / "CXR_png" / f"{name}.png", picture(box)[..., 0])
        save(folder / "masks" / f"{name}{'_mask' * china}.png", mask(box))
    save(folder / "CXR_png" / "CHNCXR_0099_1.png", picture((0, 0, 9, 9)))  # without a mask


def isaid5i(root: Path) -> None:
    """Class 1 and 2 in fold 0, 6 and 11 in the others; a strip of each mask is void."""
    folder = root / "iSAID"
    lines: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for number, box in zip(range(12), boxes(), strict=False):
        cls = (1, 2, 6, 11)[number % 4]
        name = f"P{number:04}_0_256_0_256"
        labels = mask(box, cls)
        labels[:3] = 255
        save(folder / "val" / "images" / f"{name}.png", picture(box))
        save(folder / "val" / "semantic_png" / f"{name}_instance_color_RGB.png", labels)
        lines[(cls - 1) // 5].append(f"{name}__{cls:02}")
    for fold, listed in lines.items():
        write(folder / "splits" / "val" / f"fold{fold}.txt", "\n".join(listed) + "\n")


def suim(root: Path) -> None:
    folder = root / "SUIM"
    for place, cls in enumerate(("FV", "HD", "PF", "RI", "RO", "SR", "WR")):
        for number, box in zip(range(3), boxes(place), strict=False):
            save(folder / "images" / f"{cls}_{number}.jpg", picture(box))
            save(folder / "masks" / cls / f"{cls}_{number}.bmp", mask(box))
        save(folder / "masks" / cls / "a_none.bmp", np.zeros(SIZE, np.uint8))


def pascal_part(root: Path) -> None:
    """Two parts in each group; one image has two objects, another an object without the part."""
    folder = root / "Pascal-Part" / "VOCdevkit" / "VOC2010"
    groups: dict[str, Any] = {}
    for place, group in enumerate(("animals", "indoor", "person", "vehicles")):
        name, numbers = f"{group} thing", []
        for number, box in zip(range(4), boxes(place), strict=False):
            numbers.append(f"2008_{place}{number}")
            save(folder / "JPEGImages" / f"{numbers[-1]}.jpg", picture(box))
            objects = [_voc_object(name, box, ("head", "tail"))]
            if number == 0:
                objects.append(_voc_object(name, (0, 0, 12, 12), ("head", "tail")))
            if number == 1:
                objects.insert(0, _voc_object(name, (0, 0, 12, 12), ()))
            kind = "Annotations_Part_json_merged_part_classes"
            write(folder / kind / f"{numbers[-1]}.json", {"object": objects})
        parts = {p: {"train": ["x"], "val": numbers} for p in ("head", "tail")}
        parts["nose"] = {"train": [], "val": numbers[:1]}
        groups[group] = {"object": {name: {"part": parts}}}
    write(folder / "all_obj_part_to_image.json", groups)


def _voc_object(name: str, box: Box, parts: tuple[str, ...]) -> dict[str, Any]:
    left, top, right, bottom = box
    where = {"head": (left, top, right, top + 6), "tail": (left, bottom - 6, right, bottom)}
    bounds = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
    found = [{"name": p, "mask": [runs(mask(where[p]))]} for p in parts]
    return {"name": name, "bndbox": bounds, "parts": found}


def paco_part(root: Path) -> None:
    """Eight classes of three images, the first listed twice; the fifth has too few."""
    folder = root / "PACO-Part"
    images: dict[int, list[dict[int, str]]] = {}
    annotations: dict[int, list[dict[str, Any]]] = {}
    for cls in range(8):
        for number, box in zip(range(1 if cls == 4 else 3), boxes(cls), strict=False):
            key = 100 * cls + number
            name = f"val2017/{key:012}.jpg"
            save(folder / "coco" / name, picture(box))
            images.setdefault(cls, []).append({key: f"datasets/coco/{name}"})
            annotations[key] = [_paco_part(cls, 1, box), _paco_part(cls, 2, (1, 1, 12, 13))]
            annotations[key].append(_paco_part(cls + 50, 1, box))
        images[cls].append(images[cls][0])
    dump(folder / "paco" / "paco_part_val.pkl", {"cid2img": images, "img2anno": annotations})
    dump(folder / "paco" / "paco_part_train.pkl", {"cid2img": {c: [] for c in reversed(images)}})


def _paco_part(cls: int, thing: int, box: Box) -> dict[str, Any]:
    left, top, right, bottom = box
    bounds = [left + 0.5, top + 0.0, right - left, bottom - top]
    shape = polygon((left, top, right, top + 7))
    return {"category_id": cls, "obj_ann_id": thing, "obj_bbox": bounds, "segmentation": shape}


def permis(root: Path) -> None:
    for video, start in zip(("4", "17"), (0, 5), strict=True):
        masks = []
        for frame, box in zip(range(3), boxes(start), strict=False):
            save(root / "PerMIRS" / video / f"{frame}.jpg", picture(box))
            masks.append({7: mask(box, 1).astype(bool), 9: np.zeros(SIZE, bool)})
        with (root / "PerMIRS" / video / "masks.npz.npy").open("wb") as file:
            np.save(file, np.array(masks, dtype=object), allow_pickle=True)


def fss1000(root: Path) -> None:
    for place, cls in enumerate(("zebra", "ab_wheel")):
        folder = root / "FSS-1000" / "data" / cls
        for number, box in zip(range(1, 11), boxes(place), strict=False):
            save(folder / f"{number}.jpg", picture(box))
            save(folder / f"{number}.png", np.repeat(mask(box)[..., None], 3, axis=2))
    write(root / "FSS-1000" / "splits" / "test.txt", "zebra\nab_wheel\n")


def drive(root: Path) -> None:
    folder = root / "DRIVE" / "training"
    for number, box in zip(range(21, 25), boxes(), strict=False):
        save(folder / "images" / f"{number}_training.tif", picture(box))
        save(folder / "1st_manual" / f"{number}_manual1.gif", mask(box))


def chase(root: Path) -> None:
    for name, box in zip(("01L", "01R", "02L"), boxes(), strict=False):
        save(root / "CHASEDB1" / f"Image_{name}.jpg", picture(box))
        for reader in ("1stHO", "2ndHO"):
            save(root / "CHASEDB1" / f"Image_{name}_{reader}.png", mask(box) > 0)


def davis(root: Path) -> None:
    """Two videos of five frames: one object, and two of which one is gone in the fourth frame."""
    folder = root / "DAVIS"
    for place, (video, count) in enumerate((("bear", 1), ("dogs", 2))):
        for frame, box in zip(range(5), boxes(place), strict=False):
            labels = mask(box, 1)
            if count == 2 and frame != 3:
                labels[:8, :8] = 2
            image = Image.fromarray(labels)
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            save(folder / "JPEGImages" / "480p" / video / f"{frame:05}.jpg", picture(box))
            path = folder / "Annotations" / "480p" / video / f"{frame:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    for year in ("2016", "2017"):
        write(folder / "ImageSets" / year / "val.txt", "bear\ndogs\n")


def spair(root: Path) -> None:
    folder, lines = root / "SPair-71k", []
    for number, (first, second) in enumerate(((0, 1), (1, 2), (2, 0))):
        cls = "cat" if number else "bus"
        pair = f"{number:06}-2008_{first}-2008_{second}:{cls}"
        lines.append(pair)
        for name in (first, second):
            save(folder / "JPEGImages" / cls / f"2008_{name}.jpg", picture((name, 4, 30, 30)))
        content = {"src_kps": [[8, 9], [30, 20]], "trg_kps": [[8, 9], [30, 20]]}
        content |= {"trg_bndbox": [2, 4, 32, 24], "category": cls}
        write(folder / "PairAnnotation" / "test" / f"{pair}.json", content)
    write(folder / "Layout" / "large" / "test.txt", "\n".join(lines) + "\n")


def _semantic(folder: Path, splits: tuple[str, str], classes: tuple[int, int], void: int) -> None:
    for split, count in zip(splits, (4, 3), strict=True):
        for number, box in zip(range(count), boxes(count), strict=False):
            labels = np.full(SIZE, classes[0], np.uint8)
            labels[box[1] : box[3], box[0] : box[2]] = classes[1]
            labels[:2] = void
            if split == splits[1] and number == 0:
                labels[30:, :3] = 77  # a class that no training image has
            save(folder / "images" / split / f"{number:08}.jpg", picture(box))
            save(folder / "annotations" / split / f"{number:08}.png", labels)


def ade20k(root: Path) -> None:
    _semantic(root / "ADEChallengeData2016", ("training", "validation"), (3, 150), 0)


def coco_stuff(root: Path) -> None:
    _semantic(root / "cocostuff", ("train2017", "val2017"), (0, 91), 255)


REPLICAS: dict[str, Callable[[Path], None]] = {
    **{"coco20i": coco20i, "lvis92i": lvis92i, "isic": isic, "chest": chest},
    **{"isaid5i": isaid5i, "suim": suim, "pascal-part": pascal_part, "paco-part": paco_part},
    **{"permis": permis, "fss1000": fss1000, "drive": drive, "chase": chase},
    **{"davis2016": davis, "davis2017": davis, "spair": spair},
    **{"ade20k": ade20k, "coco-stuff": coco_stuff},
}


FEWER = {"folds.LVIS_EPISODES": 3, "parts.PACO_EPISODES": 12, "folds.COCO_EPISODES": 15}
"""Episodes a fold, where the protocol's many would only take time."""


def drawn(name: str, root: Path, shots: int = 1) -> BenchmarkManifest:
    REPLICAS[name](root)
    return make_manifest(get_benchmark(name), root, shots)

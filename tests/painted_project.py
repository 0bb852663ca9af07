"""A project of painted pictures, and what its masks and exports show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from likewise.project.project import Project
from likewise.project.settings import CONFIG
from scenes import Ran, run

CLASSES = ("ball", "box", "person", "person/hair")
SIZE = 6, 8


def paint(name: str, grey: int) -> None:
    Path(name).parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((*SIZE, 3), 20 * grey, np.uint8)).save(name)


def project(*labels: str, targets: tuple[str, ...] = ("A",), name: str = "w") -> None:
    """Write likewise.toml as a person would."""
    lines = [f"targets = {json.dumps([f'../{target}' for target in targets])}"]
    for label in labels:
        lines += ["[[reference]]", 'image = "../ref.png"', 'mask = "../m.png"', "value = 1"]
        lines += [f'label = "{label}"']
    Path(name).mkdir(exist_ok=True)
    Path(name, CONFIG).write_text("\n".join(lines), encoding="utf-8")


def annotate(*more: str, code: int = 0) -> Ran:
    ran = run(["annotate", "w", *more])
    assert ran.code == code, ran.err
    return ran


def mask(name: str = "a0") -> np.ndarray:
    with Image.open(f"w/masks/{name}.png") as image:
        return np.asarray(image)


def shown(name: str = "a0") -> list[str]:
    """What a mask shows in its first row, by labels.json."""
    numbers = json.loads(Path("w/masks/labels.json").read_text(encoding="utf-8"))
    return [numbers.get(str(k), "") for k in mask(name)[0]]


def exported(out: str = "d") -> dict[str, set[str]]:
    """Picture → classes of its annotations."""
    shutil.rmtree(out, ignore_errors=True)
    ran = run(["export", "w", "--format", "coco", "--out", out])
    assert ran.code == 0, ran.err
    found = json.loads(Path(out, "annotations.json").read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in found["categories"]}
    images = {image["id"]: Path(image["file_name"]).name for image in found["images"]}
    classes: dict[str, set[str]] = {name: set() for name in images.values()}
    for entry in found["annotations"]:
        classes[images[entry["image_id"]]].add(names[entry["category_id"]])
    return classes


def statuses() -> dict[str, str]:
    opened = Project(Path("w"))
    found = {Path(path).stem: status for path, status in opened.states().items()}
    opened.close()
    return found


def columns(*labels: str) -> list[str]:
    return [label if label in labels else "" for label in CLASSES for _ in range(2)]


def store(values: np.ndarray, form: str) -> None:
    """``values`` of 0 and 255 as own.png, in a form that people have."""
    marked = values > 0
    if form == "label":
        image = Image.fromarray(np.uint8(marked * 7))
    elif form == "1":
        image = Image.fromarray(marked)
    elif form == "rgb":
        image = Image.fromarray(np.repeat(values[..., None], 3, axis=2))
    elif form == "rgba":
        image = Image.fromarray(np.dstack([np.full((*SIZE, 3), 90, np.uint8), values]))
    elif form == "16":
        image = Image.fromarray(np.uint16(marked * 255))
    else:
        image = Image.fromarray(values)
    image.save("own.png")

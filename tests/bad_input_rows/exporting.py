"""`likewise export`, and annotation files of other tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bad_input_rows.rows import row
from scenes import segment


def export(*more: str, kind: str = "coco", images: str = "a.jpg") -> list[str]:
    """As `segment`, for a folder masks/ with the mask of a.jpg."""
    Path("masks").mkdir()
    shutil.copy("mask.png", "masks/a.png")
    return ["export", "masks", "--images", images, "--format", kind, "--out", "out", *more]


@row(
    "unknown format",
    2,
    r"the format 'mot' is unknown: give one of coco, yolo, voc, labelme, qupath, masks\.",
)
def export_format(_: Path) -> list[str]:
    return export(kind="mot")


@row("all images for validation", 2, r"--val 1 is no share: give 0 up to 1, such as 0\.1\.")
def export_val(_: Path) -> list[str]:
    return export("--val", "1")


@row("a mask without its image", 2, r"masks.a\.png has no image of the same name among --images")
def export_without_image(_: Path) -> list[str]:
    return export(images="b.jpg")


@row("a folder of masks without masks", 2, r"tiny holds no masks \(\.png\): give the folder that")
def export_no_masks(_: Path) -> list[str]:
    return ["export", "tiny", *export()[2:]]


@row("a dataset into a used folder", 2, r"the folder tiny is not empty: give a new one as --out\.")
def export_used_folder(_: Path) -> list[str]:
    return export("--out", "tiny")


@row("a class name that VOC cannot hold", 2, r"the class 'a:b' cannot stand in VOC's labelmap\.txt")
def export_voc_name(_: Path) -> list[str]:
    return export("--label", "a:b", kind="voc")


@row(
    "scores that are none",
    2,
    r"mask\.png holds no scores \(.*\): give what likewise segment --json",
)
def export_scores(_: Path) -> list[str]:
    return export("--scores", "mask.png")


@row(
    "instances that are none",
    1,
    r"masks.a\.instances\.json holds no instances \(.*\): delete it to export the pieces of the ",
    masks="annotations.json",
)
def export_instances(_: Path) -> list[str]:
    words = export()
    Path("masks/a.instances.json").write_text('{"instances": [{"class": 1}]}')
    return words


@row("annotations of another image", 2, r"m\.json cannot be used \(it lists no image called refer")
def annotations_of_another(_: Path) -> list[str]:
    Path("m.json").write_text('{"images": [], "annotations": [], "categories": []}')
    return segment(mask="m.json")


@row(
    "annotations of several classes", 2, r"m\.json marks cat, dog in reference\.png: say which is "
)
def annotations_of_several(_: Path) -> list[str]:
    shapes = [{"label": name, "points": [[1, 1], [9, 1], [9, 9]]} for name in ("cat", "dog")]
    Path("m.json").write_text(json.dumps({"shapes": shapes}))
    return segment(mask="m.json")


@row(
    "annotations of points only", 2, r"m\.json marks no area of the example in .* \(a point has no"
)
def annotations_of_points(_: Path) -> list[str]:
    shape = {"label": "cat", "shape_type": "point", "points": [[5, 5]]}
    Path("m.json").write_text(json.dumps({"shapes": [shape]}))
    return segment(mask="m.json")


@row(
    "Label Studio's own JSON", 2, r"m\.json is Label Studio's own JSON, which is not read: export "
)
def annotations_of_label_studio(_: Path) -> list[str]:
    Path("m.json").write_text('[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]')
    return segment(mask="m.json")


@row(
    "a table of annotations", 2, r"m\.csv is of a kind \(\.csv\) that is not read: give a mask as P"
)
def annotations_in_a_table(_: Path) -> list[str]:
    Path("m.csv").write_text("a.jpg,5,5,9,9,cat")
    return segment(mask="m.csv")


@row("a caption instead of YOLO", 2, r"m\.txt cannot be used \(it is no YOLO text: a line there is")
def annotations_of_words(_: Path) -> list[str]:
    Path("m.txt").write_text("a red box on a noisy ground")
    return segment(mask="m.txt")


@row("XML that grows", 2, r"m\.xml cannot be used \(it declares entities\): mend it, or give ")
def annotations_that_grow(_: Path) -> list[str]:
    Path("m.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>')
    return segment(mask="m.xml")


@row(
    "annotations in Latin-1", 2, r"m\.json cannot be used \(it is neither UTF-8 nor UTF-16 text\): "
)
def annotations_in_latin_1(_: Path) -> list[str]:
    Path("m.json").write_bytes('{"shapes": [{"label": "münze"}]}'.encode("latin-1"))
    return segment(mask="m.json")

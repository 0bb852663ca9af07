"""Targets and outputs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

from PIL import Image

from bad_input_rows.rows import row
from scenes import (
    SIZE,
    cut,
    full_disk,
    no_backbone_needed,
    no_permission,
    run,
    second_target,
    segment,
    write_bomb,
)

# --- targets --------------------------------------------------------------------------------------


@row("text file named .jpg as target", 1, r"b\.jpg is not an image that can be read", masks="a.png")
def text_as_target(_: Path) -> list[str]:
    Path("b.jpg").write_text("a list of things to do")
    return segment("a.jpg", "b.jpg")


@row("zero-byte target", 1, r"b\.jpg is empty \(0 bytes\): copy or download", masks="a.png c.png")
def zero_byte_target(_: Path) -> list[str]:
    Path("b.jpg").write_bytes(b"")
    return segment("a.jpg", "b.jpg", "c.jpg")


@row(
    "truncated JPEG among targets",
    1,
    r"b\.jpg is cut short or damaged \(.*\): copy or download it again",
    masks="a.png c.png",
    process=True,
)
def truncated_jpeg_target(_: Path) -> list[str]:
    cut("b.jpg")
    return segment("a.jpg", "b.jpg", "c.jpg")


@row("truncated PNG as target", 1, r"cut\.png is cut short or damaged \(.*\): copy or download")
def truncated_png_target(_: Path) -> list[str]:
    shutil.copy("reference.png", "cut.png")
    cut("cut.png")
    return segment("cut.png")


@row("PNG target cut in its header", 1, r"cut\.png has a damaged header \(.*\): copy or download")
def png_cut_in_the_header(_: Path) -> list[str]:
    shutil.copy("reference.png", "cut.png")
    cut("cut.png", 0.005)
    return segment("cut.png")


@row(
    "target without read permission",
    1,
    r"b\.jpg may not be read: give yourself read permission",
    masks="a.png",
    fault=lambda: no_permission("b.jpg"),
)
def unreadable_target(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg")


@row(
    "decompression bomb among targets",
    1,
    r"bomb\.png is 60000 × 60000 = .*LIKEWISE_MAX_PIXELS",
    masks="a.png",
)
def bomb_as_target(_: Path) -> list[str]:
    write_bomb("bomb.png")
    return segment("bomb.png", "a.jpg")


@row("camera raw as target", 1, r"raw\.nef cannot be read \(camera raw: develop it to JPEG")
def raw_target(_: Path) -> list[str]:
    Image.new("L", SIZE).save("raw.nef", "TIFF")
    return segment("raw.nef")


@row(
    "mask value that is none", 2, r"--mask-value: 'cell' is no value of a mask: give a number such"
)
def mask_value_that_is_none(_: Path) -> list[str]:
    return segment(more=["--mask-value", "cell"])


@row(
    "colour that the mask lacks", 2, r"mask\.png does not hold the colour #00ff00, only #000000, #"
)
def colour_that_the_mask_lacks(_: Path) -> list[str]:
    return segment(more=["--mask-value", "#00ff00"])


@row("missing target", 2, r"nowhere\.jpg does not exist: check its spelling")
def missing_target(_: Path) -> list[str]:
    return segment("a.jpg", "nowhere.jpg")


@row("target folder without images", 2, r"the folder tiny holds no images \(.*\).*: check its path")
def folder_without_images(_: Path) -> list[str]:
    return segment("tiny")


@row("pattern that matches nothing", 2, r"shots/\*\.jpg matches no images \(.*\): check the patt")
def pattern_without_match(_: Path) -> list[str]:
    return segment("shots/*.jpg")


@row("two targets of one name", 2, r"a\.jpg and a\.bmp would both be written to out.a\.png: rename")
def two_targets_of_one_name(_: Path) -> list[str]:
    Image.open("a.jpg").save("a.bmp")
    return segment("a.jpg", "a.bmp")


@row(
    "pixel limit that is no number",
    2,
    r"the variable LIKEWISE_MAX_PIXELS is 'lots': set it to a number",
    fault=lambda: mock.patch.dict(os.environ, {"LIKEWISE_MAX_PIXELS": "lots"}),
)
def bad_pixel_limit(_: Path) -> list[str]:
    return segment()


@row(
    "target wider than a JPEG overlay can be",
    1,
    r"out.wide_overlay\.jpg cannot be written \(.*\): 66000 × 2 pixels",
    masks="a.png a_overlay.jpg wide.png",
)
def target_too_wide_for_its_overlay(_: Path) -> list[str]:
    Image.new("RGB", (66000, 2)).save("wide.png")
    return segment("wide.png", "a.jpg", more=["--overlay"])


@row(
    "target whose overlay has too long a name",
    1,
    r"out.x+_overlay\.jpg cannot be written \(.*\): give its picture a shorter name\.",
    masks=f"a.png a_overlay.jpg {'x' * 246}.png",
)
def target_of_a_long_name(_: Path) -> list[str]:
    shutil.copy("a.jpg", f"{'x' * 246}.jpg")
    return segment(f"{'x' * 246}.jpg", "a.jpg", more=["--overlay"])


# --- outputs --------------------------------------------------------------------------------------


@row(
    "output folder is a file", 2, r"the folder mask\.png cannot be written to \(.*\): give another"
)
def output_is_a_file(_: Path) -> list[str]:
    return segment(out="mask.png")


@row(
    "output folder below a file", 2, r"the folder mask\.png.x cannot be written to \(.*\): give an"
)
def output_below_a_file(_: Path) -> list[str]:
    return segment(out=str(Path("mask.png/x")))


@row(
    "output folder below /proc",
    2,
    r"the folder /proc/masks cannot be written to \(.*\): give another --out",
    when=Path("/proc/self").exists(),
)
def output_below_proc(_: Path) -> list[str]:
    return segment(out="/proc/masks")


@row(
    "--out is the folder of PNG targets", 2, r"the result of reference\.png would overwrite referen"
)
def output_over_target(_: Path) -> list[str]:
    return segment("reference.png", out=".")


@row(
    "--overlay over a reference", 2, r"the result of a\.jpg would overwrite a_overlay\.jpg: give an"
)
def overlay_over_reference(_: Path) -> list[str]:
    shutil.copy("b.jpg", "a_overlay.jpg")
    return segment(reference="a_overlay.jpg", out=".", more=["--overlay"])


def _resume_finishes(*more: str) -> None:
    earlier = Path("out/a.png").read_bytes()
    ran = run(segment("a.jpg", "b.jpg", "c.jpg", more=["--resume", *more]))
    assert (ran.code, ran.err) == (0, ""), ran
    assert ran.out == "2 of 3 masks written to out, 1 kept\n"
    assert Path("out/a.png").read_bytes() == earlier
    assert {p.name for p in Path("out").glob("*.png")} == {"a.png", "b.png", "c.png"}


@row(
    "disk full at the second mask",
    1,
    r"out.b\.png cannot be written \(the disk is full: free some space\)\.",
    masks="a.png",
    fault=lambda: full_disk(4),
    then=_resume_finishes,
)
def disk_full(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg", "c.jpg")


@row(
    "disk full at the second mask of a batch",
    1,
    r"out.b\.png cannot be written \(the disk is full: free some space\)\.",
    masks="a.png",
    fault=lambda: full_disk(4),
    then=lambda: _resume_finishes("--consensus"),
)
def disk_full_in_a_batch(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg", "c.jpg", more=["--consensus"])


@row(
    "zero bytes as a target of a batch",
    1,
    r"b\.jpg is empty \(0 bytes\): copy or download it again\.",
    masks="a.png c.png",
)
def zero_byte_target_in_a_batch(_: Path) -> list[str]:
    Path("b.jpg").write_bytes(b"")
    return segment("a.jpg", "b.jpg", "c.jpg", more=["--consensus"])


@row(
    "Ctrl-C at the second target",
    1,
    r"stopped by Ctrl-C: finished masks are whole, --resume goes on",
    masks="a.png",
    fault=lambda: second_target(KeyboardInterrupt),
    then=_resume_finishes,
)
def ctrl_c(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg", "c.jpg")


@row(
    "demo picture of unknown kind",
    2,
    r"demo\.txt has no known suffix: name it with one of \.png",
    fault=no_backbone_needed,
)
def demo_of_unknown_kind(_: Path) -> list[str]:
    return ["demo", "--out", "demo.txt"]


@row(
    "demo picture below a file",
    2,
    r"the folder reference\.png cannot be written to \(.*\): give another --out",
    fault=no_backbone_needed,
)
def demo_below_a_file(_: Path) -> list[str]:
    return ["demo", "--out", str(Path("reference.png/demo.png"))]

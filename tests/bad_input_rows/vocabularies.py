"""Folders of named references, and references in a file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from bad_input_rows.rows import row
from scenes import TINY, cut, full_disk, keep

# --- a folder of named references -----------------------------------------------------------------


def vocabulary(*more: str) -> list[str]:
    """A run with a vocabulary v/ of the class cat, right unless something is spoilt before."""
    Path("v/cat").mkdir(parents=True, exist_ok=True)
    shutil.copy("reference.png", "v/cat/x.png")
    shutil.copy("mask.png", "v/cat/x_mask.png")
    return ["segment", "a.jpg", "--vocabulary", "v", "--out", "out", *TINY, *more]


@row("missing vocabulary", 2, r"the vocabulary nowhere is no folder: give one that holds a folder")
def missing_vocabulary(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--vocabulary", "nowhere", "--out", "out", *TINY]


@row("vocabulary without a class", 2, r"the vocabulary v has no class: make a folder in it for ea")
def vocabulary_without_a_class(_: Path) -> list[str]:
    Path("v").mkdir()
    return ["segment", "a.jpg", "--vocabulary", "v", "--out", "out", *TINY]


@row(
    "vocabulary with an empty class", 2, r"the folder v.dog holds no image: add one \(with its mas"
)
def vocabulary_with_an_empty_class(_: Path) -> list[str]:
    Path("v/dog").mkdir(parents=True)
    return vocabulary()


@row(
    "vocabulary without a mask", 2, r"v.cat.y\.jpg has no mask: put y_mask\.png, or Labelme's y\.j"
)
def vocabulary_without_a_mask(_: Path) -> list[str]:
    words = vocabulary()
    shutil.copy("b.jpg", "v/cat/y.jpg")
    return words


@row(
    "vocabulary with two masks",
    2,
    r"v.cat.x\.png has 2 masks \(x_mask\.png, x\.png\): keep one, an",
)
def vocabulary_with_two_masks(_: Path) -> list[str]:
    words = vocabulary()
    Path("v/cat/masks").mkdir()
    shutil.copy("mask.png", "v/cat/masks/x.png")
    return words


@row(
    "vocabulary with a mask alone",
    2,
    r"the mask v.cat.masks.y\.png has no image beside it: add y\.",
)
def vocabulary_with_a_mask_alone(_: Path) -> list[str]:
    words = vocabulary()
    Path("v/cat/masks").mkdir()
    shutil.copy("mask.png", "v/cat/masks/y.png")
    return words


@row(
    "vocabulary with a mask of another size", 2, r"v.cat.x_mask\.png is 40 × 48 pixels, but its ima"
)
def vocabulary_with_a_mask_of_another_size(_: Path) -> list[str]:
    words = vocabulary()
    Image.open("mask.png").transpose(Image.Transpose.ROTATE_90).save("v/cat/x_mask.png")
    return words


@row(
    "image beside the classes", 2, r"v.b\.jpg lies beside the class folders of the vocabulary: put"
)
def image_beside_the_classes(_: Path) -> list[str]:
    words = vocabulary()
    shutil.copy("b.jpg", "v/b.jpg")
    return words


@row(
    "vocabulary with negatives in a class",
    2,
    r"v.cat.negatives is the name of no class: masks belo",
)
def negatives_in_a_class(_: Path) -> list[str]:
    Path("v/cat/negatives").mkdir(parents=True)
    return vocabulary()


@row(
    "vocabulary and a reference", 2, r"--vocabulary v holds all references: leave --reference, --ma"
)
def vocabulary_and_a_reference(_: Path) -> list[str]:
    return vocabulary("--reference", "reference.png", "--mask", "mask.png")


@row(
    "vocabulary and a references file", 2, r"--references r\.safetensors and --vocabulary v are two"
)
def vocabulary_and_a_file(_: Path) -> list[str]:
    return vocabulary("--references", "r.safetensors")


@row(
    "--only of a class that is not there", 2, r"the vocabulary v has no class 'dog': give a name of"
)
def only_an_unknown_class(_: Path) -> list[str]:
    return vocabulary("--only", "dog")


@row(
    "--only of a class that the file lacks", 2, r"there is no reference of the class 'dog': use som"
)
def only_what_the_file_lacks(_: Path) -> list[str]:
    keep()
    return segment_kept("--only", "dog")


@row(
    "--only without a vocabulary", 2, r"--only chooses classes of --vocabulary or --references: add"
)
def only_without_a_vocabulary(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--only", "cat", "--out", "out", *TINY]


# --- references in a file -------------------------------------------------------------------------


def segment_kept(*more: str) -> list[str]:
    return ["segment", "a.jpg", "--references", "r.safetensors", "--out", "out", *TINY, *more]


@row("missing references file", 2, r"r\.safetensors does not exist: check its spelling\.")
def missing_references_file(_: Path) -> list[str]:
    return segment_kept()


@row(
    "references file and a reference", 2, r"--references r\.safetensors holds all references: leav"
)
def references_twice(_: Path) -> list[str]:
    keep()
    return segment_kept("--reference", "reference.png", "--mask", "mask.png")


@row(
    "references file that is a picture", 2, r"a\.jpg is no whole references file \(.*: copy it agai"
)
def references_picture(_: Path) -> list[str]:
    return segment_kept("--references", "a.jpg")


@row("references file that is a folder", 2, r"tiny is a folder: give the references file itself\.")
def references_folder(_: Path) -> list[str]:
    return ["references", "show", "tiny"]


@row(
    "weights for a references file", 2, r".*model\.safetensors holds tensors, but no references: g"
)
def references_weights(_: Path) -> list[str]:
    return segment_kept("--references", str(Path("tiny/model.safetensors")))


@row("references file cut short", 2, r"r\.safetensors is no whole references file \(.*: copy it ag")
def references_cut(_: Path) -> list[str]:
    cut(str(keep()))
    return segment_kept()


@row("references file with a changed byte", 2, r"r\.safetensors is damaged: its content is not wha")
def references_changed(_: Path) -> list[str]:
    data = bytearray(keep().read_bytes())
    data[-1] ^= 1
    Path("r.safetensors").write_bytes(data)
    return segment_kept()


@row(
    "references file made to mislead", 2, r"r\.safetensors is no usable references file \(its part"
)
def references_forged(_: Path) -> list[str]:
    """Its digest is right: whoever writes a file can compute it."""
    from likewise import saved_references
    from likewise.reference_file import digest_of as digest

    def spoilt(facts: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
        tensors["shot.0.mask.plain"] = np.zeros(3, bool)
        return digest(facts, tensors)

    with mock.patch.object(saved_references, "digest_of", spoilt):
        keep()
    return segment_kept()


@row(
    "references file of a newer likewise", 2, r"r\.safetensors was written by a newer likewise \(f"
)
def references_newer(_: Path) -> list[str]:
    data = keep().read_bytes()
    assert data.count(b'\\"format\\": 3,') == 1
    Path("r.safetensors").write_bytes(data.replace(b'\\"format\\": 3,', b'\\"format\\": 9,'))
    return ["references", "show", "r.safetensors"]


@row(
    "references of a backbone without a name",
    2,
    r"r\.safetensors was made with tiny, which likewise does not know by name: give its file",
)
def references_unnamed(_: Path) -> list[str]:
    keep()
    return ["segment", "a.jpg", "--references", "r.safetensors", "--out", "out"]


@row(
    "references of another backbone",
    2,
    r"r\.safetensors was made with tiny at 64 px .*, not with embedded at 80 px .*: give --b",
)
def references_other_backbone(_: Path) -> list[str]:
    keep()
    return segment_kept("--backbone", "embedded", "--image-size", "80", "--block", "4")


@row(
    "references of another size, block and rank",
    2,
    r"r\.safetensors was made at 64 px from block 2 at rank 23, not at 96 px from block 1 at rank "
    r"5: give --image-size 64 --block 2 --svd-components 23\.",
)
def references_other_size(_: Path) -> list[str]:
    keep()
    return segment_kept("--image-size", "96", "--block", "1", "--svd-components", "5")


@row(
    "references without views", 2, r"r\.safetensors was saved for method insid3, without the views"
)
def references_without_views(_: Path) -> list[str]:
    keep(method="insid3")
    return segment_kept("--method", "likewise")


@row("references to a picture's name", 2, r"r\.png cannot hold references: name it with \.safetens")
def references_to_a_picture(_: Path) -> list[str]:
    files = ["--reference", "reference.png", "--mask", "mask.png"]
    return ["references", "save", *files, *TINY, "--out", "r.png"]


@row(
    "references on a full disk",
    2,
    r"r\.safetensors cannot be written \(",
    fault=lambda: full_disk(0),
)
def references_on_a_full_disk(_: Path) -> list[str]:
    keep()
    files = ["--reference", "b.jpg", "--mask", "mask.png"]
    return ["references", "save", *files, *TINY, "--out", "r.safetensors"]


@row(
    "references drawn to no picture", 2, r"look\.xyz has no known suffix: name it with one of \.png"
)
def references_drawn_to_no_picture(_: Path) -> list[str]:
    keep()
    return ["references", "show", "r.safetensors", "--picture", "look.xyz"]

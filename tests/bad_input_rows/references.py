"""References, masks, and training on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from bad_input_rows.rows import row
from scenes import SIZE, TINY, cut, grey, no_permission, segment, write_bomb

# --- references and masks -------------------------------------------------------------------------


@row("missing reference file", 2, r"nowhere\.png does not exist: check its spelling")
def missing_reference(_: Path) -> list[str]:
    return segment(reference="nowhere.png")


@row("missing mask file", 2, r"nowhere\.png does not exist: check its spelling", process=True)
def missing_mask(_: Path) -> list[str]:
    return segment(mask="nowhere.png")


def prompted(*more: str) -> list[str]:
    return ["segment", "a.jpg", "-o", "out", "-r", "reference.png", *TINY, *more]


@row("a point outside the image", 2, r"the point \(900, 3\) lies outside reference\.png, which has")
def point_outside(_: Path) -> list[str]:
    return prompted("--points", "900,3,1")


@row("a point without a sign", 2, r"--points 5,5 is not X,Y,1 or X,Y,0: give 3 numbers with commas")
def point_without_sign(_: Path) -> list[str]:
    return prompted("--points", "5,5")


@row("only negative points", 2, r"no prompt of reference\.png says where the thing is: add a pos")
def only_negative_points(_: Path) -> list[str]:
    return prompted("--points", "5,5,0")


@row(
    "a pixel that is both", 2, r"the pixel \(5, 5\) of reference\.png is marked as the thing and as"
)
def contradicting_points(_: Path) -> list[str]:
    return prompted("--points", "5,5,1", "--points", "5,5,0")


@row(
    "an empty box", 2, r"the box in reference\.png holds no pixel of its \d+ × \d+: give left, top"
)
def empty_box(_: Path) -> list[str]:
    return prompted("--box", "9,9,9,20")


@row("points of two references", 2, r"--points and --box are of one --reference, but 2 were given")
def points_of_two(_: Path) -> list[str]:
    return prompted("-r", "a.jpg", "--points", "5,5,1")


@row("two references, one mask", 2, r"2 --reference and 1 --mask were given: give one --mask for")
def mask_count(_: Path) -> list[str]:
    return segment(more=["--reference", "a.jpg"])


@row("two references, one label", 2, r"2 --reference and 1 --label were given: give one --label f")
def label_count(_: Path) -> list[str]:
    more = ["--reference", "a.jpg", "--mask", "mask.png", "--label", "thing"]
    return segment(more=more)


@row("two values, one reference", 2, r"1 --reference and 2 --mask-value were given: give one --mas")
def mask_value_count(_: Path) -> list[str]:
    return segment(more=["--mask-value", "1", "--mask-value", "2"])


@row(
    "negative mask without its image", 2, r"0 --negative and 1 --negative-mask were given: give one"
)
def negative_mask_count(_: Path) -> list[str]:
    return segment(more=["--negative-mask", "mask.png"])


# --- training -------------------------------------------------------------------------------------


def training(extra: str = "", **changes: str | None) -> list[str]:
    """As `segment`, for a training on the scene's picture; None leaves a key out."""
    for folder, name in (("images", "reference.png"), ("masks", "mask.png")):
        Path(folder).mkdir(exist_ok=True)
        shutil.copy(name, Path(folder) / "a.png")
    top = {"out": '"run"', "steps": "1", "batch": "2", "points": "50"} | changes
    lines = [f"{key} = {value}" for key, value in top.items() if value is not None]
    lines += ['[backbone]\nname = "tiny"\nimage_size = 64\n[decoder]\nhidden = 16']
    lines += ['[[data]]\nkind = "folder"\nimages = "images"\nmasks = "masks"']
    lines += ['entities = "values"', extra]
    Path("train.toml").write_text("\n".join(lines))
    return ["segic", "train", "train.toml"]


@row(
    "training without a config", 2, r"train\.toml cannot be read \(No such file or directory\): giv"
)
def training_missing(_: Path) -> list[str]:
    return ["segic", "train", "train.toml"]


@row("training with a misspelled key", 2, r"train\.toml: stepps is unknown; use out, data, seed")
def training_key(_: Path) -> list[str]:
    return training(stepps="3")


@row("training without a folder", 2, r"train\.toml names no folder for the decoder: write out = ")
def training_out(_: Path) -> list[str]:
    return training(out=None)


@row("training into a file", 2, r"the folder mask\.png cannot be written to \(File exists\): give")
def training_into_file(_: Path) -> list[str]:
    return training(out='"mask.png"')


@row(
    "training on unknown data",
    2,
    r"train\.toml: \[\[data\]\] 2: kind 'web' is unknown; use one of st",
)
def training_kind(_: Path) -> list[str]:
    return training('[[data]]\nkind = "web"')


@row(
    "training on a missing folder",
    2,
    r"train\.toml: \[\[data\]\] 2: nowhere holds no picture: give th",
)
def training_folder(_: Path) -> list[str]:
    return training('[[data]]\nkind = "folder"\nimages = "nowhere"\nmasks = "masks"')


@row(
    "validation on a missing list",
    2,
    r"e\.json cannot be read as JSON episodes \(No such file or d",
)
def training_validation(_: Path) -> list[str]:
    return training('[validation]\nepisodes = "e.json"')


@row(
    "a checkpoint that is none",
    2,
    r"run/checkpoint\.pt cannot be read as a checkpoint: remove it to",
)
def training_checkpoint(_: Path) -> list[str]:
    Path("run").mkdir()
    Path("run/checkpoint.pt").write_bytes(b"PK nothing")
    return training()


@row("a picture of pairs of an unknown format", 2, r"pairs\.gif")
def training_show(_: Path) -> list[str]:
    training()
    return ["segic", "show", "train.toml", "--out", "pairs.gif"]


@row("tune with two references, one mask", 2, r"2 --reference and 1 --mask were given: give one")
def tune_mask_count(_: Path) -> list[str]:
    files = ["--reference", "reference.png", "--reference", "a.jpg", "--mask", "mask.png"]
    return ["tune", *files, *TINY]


@row("tune with a negative for a method that knows none", 2, r"method insid3 knows no negative r")
def tune_negative_for_insid3(_: Path) -> list[str]:
    files = ["--reference", "reference.png", "--mask", "mask.png", "--negative", "b.jpg"]
    return ["tune", *files, *TINY, "--method", "insid3"]


@row("missing negative image", 2, r"nowhere\.png does not exist: check its spelling")
def missing_negative(_: Path) -> list[str]:
    return segment(more=["--negative", "nowhere.png"])


@row(
    "negative for a method that knows none",
    2,
    r"method insid3 knows no negative references; use likewise\.",
)
def negative_for_insid3(_: Path) -> list[str]:
    return segment(more=["--negative", "b.jpg", "--method", "insid3"])


@row("unknown method", 2, r"method 'insid4' is unknown; use one of likewise, insid3")
def segment_unknown_method(_: Path) -> list[str]:
    return segment(more=["--method", "insid4"])


@row(
    "segic without a decoder", 2, r"method segic needs a decoder: give --decoder FILE\.safetensors"
)
def segic_alone(_: Path) -> list[str]:
    return segment(more=["--method", "segic"])


@row(
    "missing decoder", 2, r"nowhere\.safetensors cannot be read \(No such file or directory\): give"
)
def missing_decoder(_: Path) -> list[str]:
    return segment(more=["--method", "segic", "--decoder", "nowhere.safetensors"])


@row("decoder that is a picture", 2, r"a\.jpg is no whole decoder of `likewise segic train`: train")
def decoder_picture(_: Path) -> list[str]:
    return segment(more=["--method", "segic", "--decoder", "a.jpg"])


@row("project with a missing decoder", 2, r"nowhere\.safetensors cannot be read")
def project_missing_decoder(_: Path) -> list[str]:
    words = [
        "init",
        "p",
        "--reference",
        "reference.png",
        "--mask",
        "mask.png",
        "--targets",
        "a.jpg",
    ]
    return [*words, "--method", "segic", "--decoder", "nowhere.safetensors"]


@row("decoder for another method", 2, r"method likewise has no setting decoder; it has temperature")
def decoder_of_likewise(_: Path) -> list[str]:
    return segment(more=["--decoder", "a.jpg"])


@row(
    "decoder of another backbone", 2, r"d\.safetensors was trained on block 2 of other at rank 8, n"
)
def foreign_decoder(_: Path) -> list[str]:
    from likewise.methods.segic.decoder import Decoder, DecoderShape
    from likewise.methods.segic.files import Trained, save_decoder

    trained = Trained("other", 2, "another", 8, (32, 32))
    save_decoder(Path("d.safetensors"), Decoder(DecoderShape(dim=32, hidden=16, heads=2)), trained)
    return segment(more=["--method", "segic", "--decoder", "d.safetensors"])


@row("threshold of a method that has none", 2, r"method nearest has no setting threshold; it has")
def threshold_of_nearest(_: Path) -> list[str]:
    return segment(more=["--method", "nearest", "--threshold", "1"])


@row("damaged labels.json", 2, r"other.labels\.json cannot be used \(.*\): it must name the la")
def damaged_labels(_: Path) -> list[str]:
    Path("other").mkdir()
    Path("other/labels.json").write_text('{"1": "cat", "2": "do')
    return segment(out="other")


@row("labels.json over an input", 2, r"the result of tiny.keep.labels\.json would overwrite ")
def labels_over_an_input(_: Path) -> list[str]:
    Path("tiny/keep").mkdir()
    shutil.copy("b.jpg", "tiny/keep/labels.json")
    more = ["--reference", "tiny/keep/labels.json", "--mask", "mask.png"]
    return segment(out="tiny/keep", more=[*more, "--label", "dog", "--label", "cat"])


@row("mask of another shape", 2, r"mask\.png is 40 × 48 pixels, but its image is 48 × 40: draw")
def mask_of_another_shape(_: Path) -> list[str]:
    Image.open("mask.png").transpose(Image.Transpose.ROTATE_90).save("mask.png")
    return segment()


@row("empty mask", 2, r"mask\.png marks nothing: mark the pixels")
def empty_mask(_: Path) -> list[str]:
    grey("mask.png", np.zeros(SIZE[::-1]))
    return segment()


@row("full mask", 2, r"mask\.png marks the whole image: mark the pixels")
def full_mask(_: Path) -> list[str]:
    grey("mask.png", np.full(SIZE[::-1], 255))
    return segment()


@row(
    "label map without --mask-value",
    2,
    r"mask\.png is a label map with the values 0, 1, 2: .*--mask-",
)
def label_map(_: Path) -> list[str]:
    grey("mask.png", np.indices(SIZE[::-1])[1] // 16)
    return segment()


@row("--mask-value that does not occur", 2, r"mask\.png does not hold the value 7, only 0, 1, 2:")
def absent_mask_value(_: Path) -> list[str]:
    grey("mask.png", np.indices(SIZE[::-1])[1] // 16)
    return segment(more=["--mask-value", "7"])


@row("colour mask", 2, r"mask\.png is a colour picture of #.*save it as greyscale")
def colour_mask(_: Path) -> list[str]:
    shutil.copy("reference.png", "mask.png")
    return segment()


@row("text file named .jpg as reference", 2, r"notes\.jpg is not an image that can be read")
def text_as_reference(_: Path) -> list[str]:
    Path("notes.jpg").write_text("a list of things to do")
    return segment(reference="notes.jpg")


@row("zero-byte reference", 2, r"reference\.png is empty \(0 bytes\): copy or download it again")
def zero_byte_reference(_: Path) -> list[str]:
    Path("reference.png").write_bytes(b"")
    return segment()


@row("truncated JPEG as reference", 2, r"b\.jpg is cut short or damaged \(.*\): copy or download")
def truncated_jpeg_reference(_: Path) -> list[str]:
    cut("b.jpg")
    return segment(reference="b.jpg")


@row("folder as reference", 2, r"tiny is a folder: give one file in it")
def folder_as_reference(_: Path) -> list[str]:
    return segment(reference="tiny")


@row("folder as mask", 2, r"tiny is a folder: give one file in it")
def folder_as_mask(_: Path) -> list[str]:
    return segment(mask="tiny")


@row(
    "reference without read permission",
    2,
    r"reference\.png may not be read: give yourself read permission",
    fault=lambda: no_permission("reference.png"),
)
def unreadable_reference(_: Path) -> list[str]:
    return segment()


@row("decompression bomb as reference", 2, r"bomb\.png is 60000 × 60000 = .*over the limit of")
def bomb_as_reference(_: Path) -> list[str]:
    write_bomb("bomb.png")
    return segment(reference="bomb.png")


@row("float TIFF with infinity as mask", 2, r"mask\.tif holds NaN or infinity: replace")
def infinite_mask(_: Path) -> list[str]:
    values = np.asarray(Image.open("mask.png"), dtype=np.float32) / 255
    values[0, 0] = np.inf
    Image.fromarray(values).save("mask.tif")
    return segment(mask="mask.tif")

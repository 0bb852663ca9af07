"""What people get wrong: for each input the message, the exit code, and that nothing is lost.

``python tests/bad_inputs.py`` prints the table; test_bad_inputs.py runs the same rows in pytest.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import json
import os
import pickle
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

SIZE = (48, 40)  # width, height of every picture of a scene
_TRACEBACK = "Traceback"
LONGEST = 700  # characters of a message that a person still reads
UNREACHABLE = "http://127.0.0.1:9"

# --- running likewise ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Ran:
    """How one run ended."""

    code: int
    out: str
    err: str


def run(arguments: Sequence[str] | Callable[[], object], *, encoding: str = "utf-8") -> Ran:
    """The command line in this process, or a callable behind the command line's error handling.

    Warnings are printed the way Python does outside of pytest.
    """
    cli = importlib.import_module("likewise.cli")
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    app, words = (arguments, []) if callable(arguments) else (cli.app, arguments)
    with (
        mock.patch.object(sys, "argv", ["likewise", *words]),
        mock.patch.object(cli, "app", app),
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        for quiet in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", quiet)
        warnings.showwarning = _print_warning
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    return Ran(code, *texts)


def _print_warning(message: Any, category: Any, filename: str, lineno: int, *_: object) -> None:
    print(warnings.formatwarning(message, category, filename, lineno), file=sys.stderr)


def run_process(arguments: Sequence[str]) -> Ran:
    """The command line in a fresh process."""
    import likewise

    start = "import sys; from likewise.cli import main; sys.argv[0] = 'likewise'; main()"
    source = str(Path(likewise.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", start, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def sandbox(folder: Path) -> Iterator[None]:
    """Work in the folder, with the caches below it and no network but this machine."""
    from huggingface_hub import constants

    home, hub = Path.cwd(), str(folder / ".hf" / "hub")
    variables = {
        "LIKEWISE_CACHE": str(folder / ".cache"),
        "HF_HOME": str(folder / ".hf"),
        "HF_HUB_CACHE": hub,
        "HF_ENDPOINT": UNREACHABLE,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    with (
        mock.patch.dict(os.environ, variables),
        mock.patch.object(constants, "HF_HUB_CACHE", hub),
        # Tiny backbones have 4 × 4 patches, in which everything is too small.
        mock.patch("likewise.decision.MIN_PATCHES", 0),
        mock.patch.object(constants, "HF_HUB_OFFLINE", False),
        mock.patch.object(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True),
    ):
        for name in ("LIKEWISE_MAX_PIXELS", "HF_HUB_OFFLINE"):
            os.environ.pop(name, None)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(home)


@contextmanager
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from more, and lose much where other processes are busy too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- one good example, to be spoilt -------------------------------------------------------------


def make_tiny(folder: Path) -> Path:
    """A random DINOv3 in the Hugging Face layout: width 48, 2 blocks, patch 16."""
    import torch
    from safetensors.torch import save_file
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    torch.manual_seed(0)
    config = DINOv3ViTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        patch_size=16,
        image_size=64,
        num_register_tokens=4,
    )
    folder.mkdir()
    state = DINOv3ViTModel(config).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    config.to_json_file(folder / "config.json", use_diff=False)
    return folder


def make_scene(folder: Path, tiny: Path) -> Path:
    """reference.png with mask.png, the targets a.jpg, b.jpg and c.jpg, and the backbone tiny/."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    ground[8:30, 10:32] = (210, 40, 30)
    Image.fromarray(ground).save(folder / "reference.png")
    marked = np.zeros(ground.shape[:2], np.uint8)
    marked[8:30, 10:32] = 255
    Image.fromarray(marked).save(folder / "mask.png")
    for shift, name in enumerate(("a.jpg", "b.jpg", "c.jpg"), start=1):
        # By whole patches, so that the example is found again.
        Image.fromarray(np.roll(ground, 12 * shift, axis=1)).save(folder / name)
    shutil.copytree(tiny, folder / "tiny")
    return folder


TINY = ["--backbone", "tiny", "--image-size", "64"]


def segment(
    *targets: str,
    reference: str = "reference.png",
    mask: str = "mask.png",
    out: str = "out",
    more: Sequence[str] = (),
) -> list[str]:
    """Arguments for a run that is right unless something is replaced; later options win."""
    files = ["--reference", reference, "--mask", mask, "--out", out]
    return ["segment", *(targets or ("a.jpg",)), *files, *TINY, *more]


def match(*targets: str, point: str = "20,20", more: Sequence[str] = ()) -> list[str]:
    """As `segment`, for one point."""
    words = ["--reference", "reference.png", "--point", point]
    return ["match", *(targets or ("a.jpg",)), *words, *TINY, *more]


def evaluate(*more: str, **changes: Any) -> list[str]:
    """As `segment`, for a list of one episode in which fields can be replaced or (None) missed."""
    entry = {"set": "s", "cls": "c", "value": 255, "ref": "reference.png", "ref_mask": "mask.png"}
    entry |= {"tgt": "a.jpg", "tgt_mask": "mask.png"} | changes
    Path("e.json").write_text(json.dumps([{k: v for k, v in entry.items() if v is not None}]))
    return ["eval", "--episodes", "e.json", *TINY, "--method", "insid3", *more]


def report(name: str, **changes: Any) -> str:
    """A report of one episode, as `likewise eval` writes it."""
    entry = {"set": "s", "cls": "c", "refs": [], "tgt": "a.jpg", "absent": False, "mask": None}
    entry |= {"intersection": 1, "union": 2, "boundary_intersection": 1, "boundary_union": 2}
    episode = entry | {"iou": 50.0, "id": "0"} | changes
    Path(name).write_text(json.dumps({"settings": {"method": "insid3"}, "episodes": [episode]}))
    return name


def benchmark(name: str = "permis", *more: str) -> list[str]:
    """As `segment`, for two videos of the benchmark PerMIS (or another replica) in data/."""
    from replicas import REPLICAS

    if name in REPLICAS and not Path("data").exists():
        REPLICAS[name](Path("data"))
    words = ["--data-root", "data", "--out", "results", *TINY, "--method", "insid3"]
    return ["benchmark", name, *words, *more]


def part(name: str, *numbers: int, run: str = "1") -> str:
    """A report of `likewise benchmark` with some of three episodes."""
    same = {"benchmark": "permis", "run": run, "numbers": [0, 1, 2], "shards": ["0/2"]}
    records = [{"at": n, "set": "all", "unit": str(n)} for n in numbers]
    Path(name).write_text(
        json.dumps({**same, "machines": [{}], "seconds": 1.0, "records": records})
    )
    return name


def cut(path: str, share: float = 0.5) -> None:
    """Keep the first part of a file."""
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: int(len(whole) * share)])


def grey(path: str, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).save(path)


def write_bomb(path: str) -> None:
    """A PNG of a few bytes that says it has 60000 × 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)


def edit_config(**changes: Any) -> None:
    file = Path("tiny/config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cache_weights(repo: str) -> Path:
    """Where the Hugging Face cache of the sandbox looks for the weights of a repository."""
    folder = Path(".hf/hub") / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    return folder / "snapshots" / ("0" * 40) / "model.safetensors"


class Booby:
    """Makes a folder called EXECUTED where it is unpickled carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("EXECUTED",)


# --- things that go wrong while it runs ----------------------------------------------------------


@contextmanager
def full_disk(whole: int) -> Iterator[None]:
    """The disk is full after so many files."""
    synced = []

    def fsync(file: int) -> None:
        synced.append(file)
        if len(synced) > whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with mock.patch("os.fsync", fsync):
        yield


@contextmanager
def no_permission(name: str) -> Iterator[None]:
    """A file that may not be read, also for the user who may read everything."""
    really = Path.open

    def opened(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return really(self, *args, **kwargs)

    with mock.patch.object(Path, "open", opened):
        yield


@contextmanager
def second_target(error: Callable[[], BaseException]) -> Iterator[None]:
    """The second target ends in an exception that is none of likewise's own."""
    from likewise.segmenter import Segmenter

    really, seen = Segmenter.segment_batch, []

    def segment_or_not(self: Segmenter, images: Any, **options: Any) -> Any:
        seen.extend(images)
        if len(seen) == 2:
            raise error()
        return really(self, images, **options)

    with mock.patch.object(Segmenter, "segment_batch", segment_or_not):
        yield


def out_of_memory() -> BaseException:
    import torch

    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@contextmanager
def small_memory() -> Iterator[None]:
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=out_of_memory()):
        yield


@contextmanager
def offline_by_variable() -> Iterator[None]:
    from huggingface_hub import constants

    with mock.patch.object(constants, "HF_HUB_OFFLINE", True):
        yield


@contextmanager
def no_backbone_needed() -> Iterator[None]:
    """A Segmenter that is there at once and finds nothing."""
    from likewise.io.images import read_picture

    class Stub:
        fingerprint = "stub"

        def __init__(self, *_: object, **__: object) -> None: ...

        def fit(self, _: object) -> Stub:
            return self

        def batch_size(self, consensus: bool) -> int:
            return 1

        def read(self, image: Any) -> Any:
            return read_picture(image)

        def segment(self, image: Any) -> Any:
            mask = np.zeros(read_picture(image).pixels.shape[:2], bool)
            return SimpleNamespace(mask=mask, area=0.0, confidence=0.0)

        def segment_batch(self, images: Any, *, consensus: bool) -> Any:
            return [self.segment(image) for image in images]

    with mock.patch("likewise.segmenter.Segmenter", Stub):
        yield


# --- the rows -----------------------------------------------------------------------------------

Prepare = Callable[[Path], "list[str] | Callable[[], object]"]


@dataclass(frozen=True)
class Row:
    """One bad input; `prepare` and the run have the scene as working folder."""

    name: str
    what: str
    prepare: Prepare
    code: int
    message: str
    """Pattern of the message behind "likewise: "."""
    masks: frozenset[str] = frozenset()
    """What lies in out/ afterwards, all of it whole."""
    fault: Callable[[], AbstractContextManager[None]] = nullcontext
    then: Callable[[], None] | None = None
    process: bool = False
    usage: bool = False
    """Refused by typer, with a box of several lines."""


ROWS: list[Row] = []


def row(
    what: str, code: int, message: str, *, masks: str = "", when: bool = True, **extra: Any
) -> Callable[[Prepare], Prepare]:
    """Put a function that prepares a bad input into the table."""

    def add(prepare: Prepare) -> Prepare:
        if when:
            kept = frozenset(masks.split())
            name = prepare.__name__
            ROWS.append(Row(name, what, prepare, code, message, kept, **extra))
        return prepare

    return add


# references and masks


@row("missing reference file", 2, r"nowhere\.png does not exist: check its spelling")
def missing_reference(_: Path) -> list[str]:
    return segment(reference="nowhere.png")


@row("missing mask file", 2, r"nowhere\.png does not exist: check its spelling", process=True)
def missing_mask(_: Path) -> list[str]:
    return segment(mask="nowhere.png")


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


# training


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
    r"e\.json cannot be read as JSON episodes \(\[Errno 2\] No su",
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


# targets


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


# outputs


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
    fault=lambda: full_disk(5),
    then=_resume_finishes,
)
def disk_full(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg", "c.jpg")


@row(
    "disk full at the second mask of a batch",
    1,
    r"out.b\.png cannot be written \(the disk is full: free some space\)\.",
    masks="a.png",
    fault=lambda: full_disk(5),
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


# backbones


@row("misspelt backbone", 2, r"'vitl-16' is not a backbone likewise knows: did you mean vitl, ")
def misspelt_backbone(_: Path) -> list[str]:
    return segment(more=["--backbone", "vitl-16"])


@row(
    "backbone name like no other",
    2,
    r"'xyzzy' is not a .*: known are dinov3-vits16, .*, embedded-vits14;",
)
def unknown_backbone(_: Path) -> list[str]:
    return segment(more=["--backbone", "xyzzy"])


@row(
    "unknown hub name, no network",
    2,
    r"org/none/config\.json could not be downloaded \(.*\): .*--backbone embedded",
)
def hub_out_of_reach(_: Path) -> list[str]:
    return segment(more=["--backbone", "org/none"])


@row(
    "unknown hub name, HF_HUB_OFFLINE",
    2,
    r"org/none/config\.json is not in the cache and downloading is switched off: .*embedded",
    fault=offline_by_variable,
)
def hub_switched_off(_: Path) -> list[str]:
    return segment(more=["--backbone", "org/none"])


@row(
    "--offline, backbone not downloaded",
    2,
    r"timm/vit_small_patch16_dinov3\S+ is not in the cache and downloading is switched off: .*embe",
)
def offline_without_cache(_: Path) -> list[str]:
    return segment(more=["--backbone", "vits", "--offline"])


@row("missing checkpoint", 2, r"nowhere\.pth does not exist: give the path of a weights file")
def missing_checkpoint(_: Path) -> list[str]:
    return segment(more=["--backbone", "nowhere.pth"])


@row("checkpoint of another kind", 2, r"notes\.txt is no weights file: give a \.safetensors, \.pth")
def checkpoint_of_another_kind(_: Path) -> list[str]:
    Path("notes.txt").write_text("a list of things to do")
    return segment(more=["--backbone", "notes.txt"])


@row(
    "safetensors cut short",
    2,
    r"tiny.model\.safetensors is not a complete safetensors file \(.*\):",
)
def safetensors_cut_short(_: Path) -> list[str]:
    cut("tiny/model.safetensors")
    return segment()


@row("garbage .pth", 2, r"garbage\.pth cannot be read as plain tensors \(.*\): it is damaged, or")
def garbage_checkpoint(_: Path) -> list[str]:
    Path("garbage.pth").write_bytes(b"garbage" * 100)
    return segment(more=["--backbone", "garbage.pth"])


@row("zero-byte .safetensors", 2, r"tiny.model\.safetensors is empty: copy or download it again")
def zero_byte_safetensors(_: Path) -> list[str]:
    Path("tiny/model.safetensors").write_bytes(b"")
    return segment()


@row("zero-byte .pth", 2, r"none\.pth is empty: copy or download it again")
def zero_byte_pickle(_: Path) -> list[str]:
    Path("none.pth").write_bytes(b"")
    return segment(more=["--backbone", "none.pth"])


def _resnet() -> dict[str, Any]:
    import torch

    return {"conv1.weight": torch.ones(8, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(8, 8, 3, 3)}


@row(
    "ResNet .safetensors",
    2,
    r"resnet\.safetensors is not a DINOv3 or DINOv2 ViT, nor a SAM 2: .* conv1\.weight",
)
def resnet_safetensors(_: Path) -> list[str]:
    from safetensors.torch import save_file

    save_file(_resnet(), "resnet.safetensors")
    return segment(more=["--backbone", "resnet.safetensors"])


@row(
    "ResNet .pth", 2, r"resnet\.pth is not a DINOv3 or DINOv2 ViT, nor a SAM 2: .* conv1\.weight, "
)
def resnet_pickle(_: Path) -> list[str]:
    import torch

    torch.save(_resnet(), "resnet.pth")
    return segment(more=["--backbone", "resnet.pth"])


@row("checkpoint that lacks a tensor", 2, r"tiny.model\.safetensors lacks the tensor .*: it is inc")
def incomplete_checkpoint(_: Path) -> list[str]:
    from safetensors.torch import load_file, save_file

    state = load_file("tiny/model.safetensors")
    del state[next(k for k in state if "down_proj.weight" in k)]
    save_file(state, "tiny/model.safetensors")
    return segment()


def _never_executed(load: Callable[[], object]) -> Callable[[], None]:
    def check() -> None:
        assert not Path("EXECUTED").exists()
        load()  # and the trap does work
        assert Path("EXECUTED").exists()

    return check


def _load_booby_zip() -> None:
    import torch

    torch.load("booby.pth", weights_only=False)


@row(
    ".pth whose loading runs code",
    2,
    r"booby\.pth cannot be read as plain tensors .*Python objects, which likewise never executes",
    then=_never_executed(_load_booby_zip),
)
def booby_trap(_: Path) -> list[str]:
    import torch

    torch.save({"cls_token": Booby()}, "booby.pth")
    return segment(more=["--backbone", "booby.pth"])


@row(
    "plain pickle whose loading runs code",
    2,
    r"booby\.pt cannot be read as plain tensors .*Python objects, which likewise never executes",
    then=_never_executed(lambda: pickle.loads(Path("booby.pt").read_bytes())),
)
def booby_trap_in_a_plain_pickle(_: Path) -> list[str]:
    Path("booby.pt").write_bytes(pickle.dumps({"cls_token": Booby()}))
    return segment(more=["--backbone", "booby.pt"])


@row(
    "a whole pickled model", 2, r"model\.pth cannot be read as plain tensors .*save its state dict"
)
def pickled_module(_: Path) -> list[str]:
    import torch

    torch.save(torch.nn.Linear(2, 2), "model.pth")
    return segment(more=["--backbone", "model.pth"])


@row("folder without config.json", 2, r"weights has no config\.json: give a Hugging Face folder")
def folder_without_config(_: Path) -> list[str]:
    Path("weights").mkdir()
    return segment(more=["--backbone", "weights"])


@row("folder without weights", 2, r"tiny has no weights: none of model\.safetensors, ")
def folder_without_weights(_: Path) -> list[str]:
    Path("tiny/model.safetensors").unlink()
    return segment()


@row("folder of another model", 2, r"tiny is a 'bert' model, not one of dinov3_vit, dinov2")
def folder_of_another_model(_: Path) -> list[str]:
    edit_config(model_type="bert")
    return segment()


@row("config.json that is no JSON", 2, r"tiny.config\.json is not readable JSON: download it again")
def config_cut_short(_: Path) -> list[str]:
    cut("tiny/config.json")
    return segment()


@row(
    "config.json with null for a number",
    2,
    r"the config\.json of tiny.* has layer_norm_eps None, which is no number",
)
def config_with_null(_: Path) -> list[str]:
    edit_config(layer_norm_eps=None)
    return segment()


@row(
    "missing shard",
    2,
    r"tiny.two\.safetensors is missing, which model\.safetensors\.index\.json li",
)
def missing_shard(_: Path) -> list[str]:
    Path("tiny/model.safetensors").rename("tiny/one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    Path("tiny/model.safetensors.index.json").write_text(json.dumps(index))
    return segment()


@row(
    "downloaded backbone cut short", 2, r"\S+model\.safetensors is not a complete safetensors file"
)
def cached_weights_cut_short(_: Path) -> list[str]:
    from likewise.backbones.registry import get_spec

    weights = cache_weights(get_spec("vits").repo)
    shutil.copy("tiny/model.safetensors", weights)
    cut(str(weights))
    return segment(more=["--backbone", "vits"])


@row(
    "downloaded backbone is another",
    2,
    r"\S+model\.safetensors does not hold dinov3-vits16 but another model, of width 48 and 2 bl",
)
def cached_weights_of_another(_: Path) -> list[str]:
    from likewise.backbones.registry import get_spec

    shutil.copy("tiny/model.safetensors", cache_weights(get_spec("vits").repo))
    return segment(more=["--backbone", "vits"])


@row(
    "`backbones info` of an unknown",
    2,
    r"'vitx' is not a backbone likewise knows: did you mean vit",
)
def info_of_unknown(_: Path) -> list[str]:
    return ["backbones", "info", "vitx"]


@row(
    "`backbones verify`, not downloaded", 2, r"dinov3-vits16 is not on this machine yet, .*download"
)
def verify_what_is_not_here(_: Path) -> list[str]:
    return ["backbones", "verify", "vits"]


@row(
    "`backbones download`, no network", 2, r"timm/\S+ could not be downloaded \(.*\): .*hf download"
)
def download_without_network(_: Path) -> list[str]:
    return ["backbones", "download", "vits"]


@row(
    "`backbones verify`, installed without weights",
    2,
    r"likewise was installed without embedded/\S+: install it again",
    fault=lambda: mock.patch(
        "likewise.backbones.download.packaged_file", return_value=Path("none")
    ),
)
def verify_without_the_embedded_file(_: Path) -> list[str]:
    return ["backbones", "verify", "embedded"]


# options


@row("image size off the patch", 2, r"image size 60 does not suit tiny: .* 16, such as 48 or 64\.")
def image_size_off_the_patch(_: Path) -> list[str]:
    return segment(more=["--image-size", "60"])


@row("image size 0", 2, r"image size 0 does not suit tiny: .* 16, such as 16 or 32")
def image_size_zero(_: Path) -> list[str]:
    return segment(more=["--image-size", "0"])


@row("block out of range", 2, r"block 3 of tiny does not exist: use 1 to 2\.")
def block_out_of_range(_: Path) -> list[str]:
    return segment(more=["--block", "3"])


@row("unknown device", 2, r"device 'gpu' cannot be used \(.*\); use auto, cpu, cuda or mps\.")
def unknown_device(_: Path) -> list[str]:
    return segment(more=["--device", "gpu"])


@row(
    "device of another machine",
    2,
    r"device 'mps' cannot be used .*use auto, cpu",
    when=sys.platform != "darwin",
)
def device_of_another_machine(_: Path) -> list[str]:
    return segment(more=["--device", "mps"])


@row("device without memory", 2, r"device 'meta' cannot be used .*use auto, cpu, cuda or mps\.")
def device_without_memory(_: Path) -> list[str]:
    return segment(more=["--device", "meta"])


@row("unknown dtype", 2, r"dtype 'int8' is unknown; use one of auto, float32, bfloat16, float16\.")
def unknown_dtype(_: Path) -> list[str]:
    return segment(more=["--dtype", "int8"])


@row("unknown refiner", 2, r"refiner 'sharp' is unknown; use one of none, guided, crf\.")
def unknown_refiner(_: Path) -> list[str]:
    return segment(more=["--refine", "sharp"])


@row("tau out of range", 2, r"tau 1\.5 is no cosine similarity; use a number from -1 to 1\.")
def tau_out_of_range(_: Path) -> list[str]:
    return segment(more=["--method", "insid3", "--tau", "1.5"])


@row("alpha nan", 2, r"alpha nan .*number")
def alpha_not_a_number(_: Path) -> list[str]:
    return segment(more=["--method", "insid3", "--alpha", "nan"])


@row(
    "tau for the default method",
    2,
    r"method likewise has no setting tau; it has temperature, linear, ridge, affinity, seed, ",
)
def tau_of_the_default(_: Path) -> list[str]:
    return segment(more=["--tau", "0.5"])


@row("alpha for the default method", 2, r"method likewise has no setting alpha; it has temperatu")
def alpha_of_the_default(_: Path) -> list[str]:
    return segment(more=["--alpha", "0.3"])


@row("threshold nan", 2, r"linear, seed and threshold must be finite numbers of nats\.")
def threshold_not_a_number(_: Path) -> list[str]:
    return segment(more=["--threshold", "nan"])


@row("tau that is no number", 2, r"'--tau'", usage=True)
def tau_no_number(_: Path) -> list[str]:
    return segment(more=["--tau", "high"])


@row(
    "svd_components of D",
    2,
    r"tiny: svd_components=48 is rank 48, .* need a rank from 0 to 47 \(or",
)
def rank_of_the_dimension(_: Path) -> list[str]:
    return segment(more=["--svd-components", "48"])


@row("svd_components inf", 2, r"tiny: svd_components=inf .*rank from 0 to 47")
def rank_infinite(_: Path) -> list[str]:
    return segment(more=["--svd-components", "inf"])


@row("svd_components nan", 2, r"tiny: svd_components=nan .*rank from 0 to 47")
def rank_not_a_number(_: Path) -> list[str]:
    return segment(more=["--svd-components", "nan"])


@row("image size beyond the memory", 2, r".*memory.*--image-size", fault=small_memory)
def too_little_memory(_: Path) -> list[str]:
    return segment()


@row(
    "memory gone at the second target",
    1,
    r".*memory",
    masks="a.png",
    fault=lambda: second_target(out_of_memory),
)
def memory_gone_later(_: Path) -> list[str]:
    return segment("a.jpg", "b.jpg")


@row("missing option", 2, r"Missing option '--out'", usage=True, process=True)
def missing_option(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--reference", "reference.png", "--mask", "mask.png"]


@row("no reference", 2, r"no reference given: give --reference and --mask, or a file with --refer")
def no_reference(_: Path) -> list[str]:
    return ["segment", "a.jpg", "--out", "out"]


@row("unknown option", 2, r"No such option: --mask-colour", usage=True)
def unknown_option(_: Path) -> list[str]:
    return segment(more=["--mask-colour", "red"])


@row("unknown command", 2, r"No such command 'segmnt'", usage=True)
def unknown_command(_: Path) -> list[str]:
    return ["segmnt", "a.jpg"]


# a folder of named references


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


# references in a file


def keep(**options: Any) -> Path:
    """A file of references, as `likewise references save` writes it."""
    from likewise import Segmenter

    segmenter = Segmenter("tiny", **{"image_size": 64, **options}).fit(
        ("reference.png", "mask.png")
    )
    segmenter.save("r.safetensors")
    return Path("r.safetensors")


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


# match


@row("--point of no numbers", 2, r"--point takes X,Y, such as --point 120,85 \(.*'left'\)")
def point_of_no_numbers(_: Path) -> list[str]:
    return match(point="left,top")


@row("--point of one number", 2, r".*one \(x, y\) pair for each point")
def point_of_one_number(_: Path) -> list[str]:
    return match(point="20")


@row("one --point of two with one number", 2, r".*one \(x, y\) pair for each point")
def points_of_unequal_length(_: Path) -> list[str]:
    return match(more=["--point", "20"])


@row("--point outside the image", 2, r"keypoint \(49, 10\) lies outside its image of 48x40 pixels")
def point_outside(_: Path) -> list[str]:
    return match(point="49,10")


@row("match with a missing target", 2, r"nowhere\.jpg does not exist: check its spelling")
def match_missing_target(_: Path) -> list[str]:
    return match("a.jpg", "nowhere.jpg", more=["--out", "out"])


@row("match with --out below a file", 2, r".*mask\.png.x cannot be written")
def match_output_below_a_file(_: Path) -> list[str]:
    return match(more=["--out", str(Path("mask.png/x"))])


@row(
    "match of two targets of one name",
    2,
    r"a\.jpg and a\.bmp would both be written to out.a_ma",
)
def match_two_targets_of_one_name(_: Path) -> list[str]:
    Image.open("a.jpg").save("a.bmp")
    return match("a.jpg", "a.bmp", more=["--out", "out"])


@row(
    "match picture over another target", 2, r".*would overwrite .*a_match\.jpg: give another --out"
)
def match_over_a_target(_: Path) -> list[str]:
    shutil.copy("b.jpg", "a_match.jpg")
    return match("a.jpg", "a_match.jpg", more=["--out", "."])


# eval


@row(
    "missing list of episodes", 2, r"nowhere\.json cannot be read as JSON episodes \(.*No such file"
)
def missing_episodes(_: Path) -> list[str]:
    return evaluate("--episodes", "nowhere.json")


@row("list of episodes that is no JSON", 2, r"a\.jpg cannot be read as JSON episodes \(")
def episodes_no_json(_: Path) -> list[str]:
    return evaluate("--episodes", "a.jpg")


@row("episode without a target", 2, r"e\.json is no list of episodes \(missing 'tgt'\): each needs")
def episode_without_target(_: Path) -> list[str]:
    return evaluate(tgt=None)


@row("episode without its target's mask", 2, r"e\.json is no list .*\(missing 'tgt_mask'\)")
def episode_without_target_mask(_: Path) -> list[str]:
    return evaluate(tgt_mask=None)


@row("empty list of episodes", 2, r"e\.json holds no episode: there is nothing to measure")
def no_episodes(_: Path) -> list[str]:
    words = evaluate()
    Path("e.json").write_text("[]")
    return words


@row(
    "missing image of an episode",
    2,
    r"episode 0 of s needs nowhere\.jpg, which does not exist: check the list of episodes and",
)
def missing_image_of_an_episode(_: Path) -> list[str]:
    return evaluate(tgt="nowhere.jpg")


@row("wrong --root", 2, r"episode 0 of s needs tiny.reference\.png, which does not exist")
def wrong_root(_: Path) -> list[str]:
    return evaluate("--root", "tiny")


@row(
    "mask of an episode without its value",
    2,
    r"episode 0 of s: mask\.png does not hold the value 9",
)
def episode_without_its_value(_: Path) -> list[str]:
    return evaluate(value=9)


@row("eval with --shots 0", 2, r"--shots 0 leaves nothing to measure: give at least 1\.")
def no_shots(_: Path) -> list[str]:
    return evaluate("--shots", "0")


@row("eval with --limit 0", 2, r"--limit 0 leaves nothing to measure: give at least 1\.")
def limit_of_nothing(_: Path) -> list[str]:
    return evaluate("--limit", "0")


@row("eval without any full shots", 2, r"no episode is left to measure: of 1 none has 3 references")
def too_few_references(_: Path) -> list[str]:
    return evaluate("--shots", "3", "--only-full-shots")


@row("eval excluding an unknown set", 2, r"--exclude t: the episodes are of s\.")
def exclude_of_unknown(_: Path) -> list[str]:
    return evaluate("--exclude", "t")


@row("eval with an unknown method", 2, r"method 'insid4' is unknown; use one of likewise, insid3")
def unknown_method(_: Path) -> list[str]:
    return evaluate("--method", "insid4")


@row("eval with an unknown refiner", 2, r"refiner 'sharp' is unknown; use one of none, guided, crf")
def eval_unknown_refiner(_: Path) -> list[str]:
    return evaluate("--refine", "sharp")


@row("eval with an unknown setting", 2, r"method insid3 has no setting beta; it has tau, alpha\.")
def unknown_setting(_: Path) -> list[str]:
    return evaluate("--set", "beta=1")


@row("eval with an option as a setting", 2, r"method insid3 has no setting backbone; it has tau")
def option_as_setting(_: Path) -> list[str]:
    return evaluate("--set", "backbone=1")


@row("eval with a setting that is no number", 2, r"--set tau=high is no name=value: give a number")
def setting_no_number(_: Path) -> list[str]:
    return evaluate("--set", "tau=high")


@row("eval with a setting out of range", 2, r"tau 3 is no cosine similarity; use a number from -1")
def setting_out_of_range(_: Path) -> list[str]:
    return evaluate("--set", "tau=3")


@row("report over the list of episodes", 2, r".*would overwrite e\.json: give another --out")
def report_over_the_episodes(_: Path) -> list[str]:
    return evaluate("--out", "e.json")


@row("predicted masks over an image", 2, r".*would overwrite m.00000_s\.png: give another --masks")
def masks_over_an_image(_: Path) -> list[str]:
    Path("m").mkdir()
    shutil.copy("reference.png", "m/00000_s.png")
    return evaluate("--masks", "m", ref="m/00000_s.png")


@row("predicted masks below a file", 2, r"the folder mask\.png.m cannot be .*give another --masks")
def masks_below_a_file(_: Path) -> list[str]:
    return evaluate("--masks", str(Path("mask.png/m")))


@row(
    "comparing with a missing report", 2, r"nowhere\.json cannot be read as a JSON report \(.*No su"
)
def missing_report(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), "nowhere.json"]


@row(
    "comparing with no report", 2, r"e\.json is no report of `likewise eval`: write one with --out"
)
def no_report(_: Path) -> list[str]:
    evaluate()
    return ["eval-compare", report("a.json"), "e.json"]


@row(
    "comparing reports of other episodes",
    2,
    r"a\.json and b\.json are not of the same episodes and references: 1 are only in the first, 1",
)
def other_episodes(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json", tgt="b.jpg")]


@row("comparing what is absent", 2, r"a\.json and b\.json hold no episode to compare mIoU on\.")
def nothing_to_compare(_: Path) -> list[str]:
    return ["eval-compare", report("a.json", absent=True), report("b.json", absent=True)]


@row(
    "grid without masks", 2, r"a\.json has no masks to draw: run `likewise eval` again with --masks"
)
def grid_without_masks(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json", iou=60.0), "--out", "grid.png"]


@row("grid in an unknown format", 2, r"grid\.xyz has no known suffix: name it with one of \.png")
def grid_in_an_unknown_format(_: Path) -> list[str]:
    return ["eval-compare", report("a.json"), report("b.json"), "--out", "grid.xyz"]


# benchmark


@row(
    "unknown benchmark", 2, r"benchmark 'imagenet' is unknown; use all, list, merge or one of coco"
)
def unknown_benchmark(_: Path) -> list[str]:
    return benchmark("imagenet")


@row(
    "benchmark that is not there",
    2,
    r"data/COCO2014/val2014 does not exist: COCO-20i is at https://\S+; docs/benchmarks\.md shows",
    when=os.sep == "/",
)
def benchmark_not_there(_: Path) -> list[str]:
    return ["benchmark", "coco20i", "--data-root", "data", "--out", "results"]


@row("no benchmark at all", 2, r"tiny holds none of the benchmarks: `likewise benchmark list` says")
def no_benchmark(_: Path) -> list[str]:
    return ["benchmark", "all", "--data-root", "tiny", "--out", "results"]


@row("benchmark with --shots 0", 2, r"--shots 0 leaves nothing to find by: give at least 1\.")
def benchmark_without_shots(_: Path) -> list[str]:
    return benchmark("permis", "--shots", "0")


@row(
    "benchmark with too few images",
    2,
    r"SUIM: class FV has 3 images, but a target and 5 references need 6: give a smaller --shots",
)
def benchmark_with_too_few(_: Path) -> list[str]:
    return benchmark("suim", "--shots", "5")


@row("several shots of a video", 2, r"PerMIS has one reference a video: leave out --shots\.")
def shots_of_a_video(_: Path) -> list[str]:
    return benchmark("permis", "--shots", "2")


@row("benchmark with --episodes 0", 2, r"--episodes 0 leaves nothing to measure: give at least 1\.")
def benchmark_of_nothing(_: Path) -> list[str]:
    return benchmark("permis", "--episodes", "0")


@row(
    "shard that is none", 2, r"--shard 2/2 is no part of the work: give i/n with i from 0 to n - 1"
)
def no_shard(_: Path) -> list[str]:
    return benchmark("permis", "--shard", "2/2")


@row(
    "more shards than work", 2, r"--shard 1/2 has nothing to do: there are 1 blocks of 32 episodes"
)
def empty_shard(_: Path) -> list[str]:
    return benchmark("permis", "--shard", "1/2")


@row(
    "unknown ablation",
    2,
    r"ablation 'colour' is unknown; use one of debias, rank, tau, alpha, foris",
)
def unknown_ablation(_: Path) -> list[str]:
    return benchmark("permis", "--ablation", "colour")


@row("ablation of one shard", 2, r"--ablation cannot be sharded: run its variants one by one\.")
def sharded_ablation(_: Path) -> list[str]:
    return benchmark("permis", "--ablation", "debias", "--shard", "0/2")


@row("missing manifest", 2, r"nowhere\.json cannot be read as a JSON manifest \(.*No such file")
def missing_manifest(_: Path) -> list[str]:
    return benchmark("permis", "--manifest", "nowhere.json")


@row(
    "manifest that is none",
    2,
    r"m\.json is no manifest of a benchmark: `likewise benchmark` writes",
)
def no_manifest(_: Path) -> list[str]:
    Path("m.json").write_text('{"episodes": []}')
    return benchmark("permis", "--manifest", "m.json")


@row("manifest with a broken episode", 2, r"m\.json is no manifest of a benchmark")
def broken_manifest(_: Path) -> list[str]:
    content: dict[str, Any] = {"benchmark": "permis", "protocol": {"shots": 1}, "sources": {}}
    Path("m.json").write_text(json.dumps({**content, "entries": [{"set": "all", "refs": []}]}))
    return benchmark("permis", "--manifest", "m.json")


@row("manifest of another benchmark", 2, r"m\.json is a manifest of suim, not of permis\.")
def manifest_of_another(_: Path) -> list[str]:
    content = {"benchmark": "suim", "protocol": {"shots": 1}, "sources": {}, "entries": []}
    Path("m.json").write_text(json.dumps(content))
    return benchmark("permis", "--manifest", "m.json")


@row(
    "one manifest for all benchmarks", 2, r"--manifest is of one benchmark: name it instead of all"
)
def manifest_for_all(_: Path) -> list[str]:
    return ["benchmark", "all", "--data-root", "data", "--manifest", "m.json"]


@row(
    "benchmark with a missing image",
    2,
    r"data.PerMIRS.4.2\.jpg does not exist, but the manifest of permis asks for it: complete the",
)
def benchmark_with_a_missing_image(_: Path) -> list[str]:
    words = benchmark()
    Path("data/PerMIRS/4/2.jpg").unlink()
    return words


@row(
    "pickled list that runs a program",
    2,
    r"data.LVIS.lvis_val\.pkl is not read: .*can run any program",
)
def list_that_runs_a_program(_: Path) -> list[str]:
    words = benchmark("lvis92i")
    Path("data/LVIS/lvis_val.pkl").write_bytes(pickle.dumps({1: Booby()}))
    return words


@row(
    "half of a pickled list",
    2,
    r"data.LVIS.lvis_val\.pkl is not read: it is damaged or no plain list",
)
def half_a_list(_: Path) -> list[str]:
    words = benchmark("lvis92i")
    cut("data/LVIS/lvis_val.pkl")
    return words


@row("half of an array of masks", 2, r"data.PerMIRS.17.masks\.npz\.npy is not read: it is damaged")
def half_an_array(_: Path) -> list[str]:
    words = benchmark()
    cut("data/PerMIRS/17/masks.npz.npy")
    return words


@row("benchmark into a file", 2, r"the folder mask\.png.permis cannot be written to \(")
def benchmark_into_a_file(_: Path) -> list[str]:
    return [*benchmark(), "--out", "mask.png"]


@row("merging nothing", 2, r"merge needs reports: give report-i-of-n\.json of every shard\.")
def merging_nothing(_: Path) -> list[str]:
    return ["benchmark", "merge"]


@row("merging what is no report", 2, r"tiny.config\.json is no report of `likewise benchmark`")
def merging_no_report(_: Path) -> list[str]:
    return ["benchmark", "merge", "tiny/config.json"]


@row(
    "merging different runs", 2, r"b\.json is of another run than a\.json: merge shards of the same"
)
def merging_different_runs(_: Path) -> list[str]:
    return ["benchmark", "merge", part("a.json", 0), part("b.json", 1, 2, run="2")]


@row(
    "merging too few shards",
    2,
    r"of the run's 3 episodes the reports lack 2 and hold 1 twice: give",
)
def merging_too_few(_: Path) -> list[str]:
    return ["benchmark", "merge", part("a.json", 0), part("b.json", 0)]


@row(
    "report for a benchmark that is run",
    2,
    r"a\.json: reports are for `likewise benchmark merge`\.",
)
def report_for_a_run(_: Path) -> list[str]:
    return ["benchmark", "permis", "a.json"]


# only from Python


def _segmenter() -> Any:
    from likewise import Segmenter

    return Segmenter("tiny", image_size=64)


def _nearest() -> Any:
    from likewise import Segmenter

    return Segmenter("tiny", image_size=64, method="nearest")


@row(
    "Python: segment before fit",
    2,
    r"no reference yet: give at least one \(image, mask\) pair first",
)
def segment_before_fit(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().segment("a.jpg")


@row(
    "Python: consensus of a method that has none",
    2,
    r"method nearest has no consensus; use likewise\.",
)
def consensus_of_nearest(_: Path) -> Callable[[], object]:
    return lambda: list(
        _nearest().fit(("reference.png", "mask.png")).segment_many(["a.jpg"], consensus=True)
    )


@row("Python: fit of nothing", 2, r"no reference given: pass at least one \(image, mask\) pair")
def fit_of_nothing(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit([])


@row(
    "Python: mask array of another shape", 2, r"the mask array is 8 × 8 pixels, but its image is 48"
)
def mask_array_of_another_shape(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit(("reference.png", np.eye(8, dtype=bool)))


@row(
    "Python: a number for an image",
    2,
    r"a float was given where an image or mask is needed: give a",
)
def number_for_an_image(_: Path) -> Callable[[], object]:
    return lambda: _segmenter().fit((3.5, "mask.png"))


@row(
    "Python: malformed COCO entry", 2, r"the mask annotation is not a usable COCO mask \(.*\): give"
)
def malformed_coco(_: Path) -> Callable[[], object]:
    entry = {"size": [40, 48], "counts": [1, 3]}
    return lambda: _segmenter().fit(("reference.png", entry))


@row(
    "Python: keypoints that are no pairs",
    2,
    r"keypoints must be \(n, 2\): one \(x, y\) pair for each",
)
def keypoints_no_pairs(_: Path) -> Callable[[], object]:
    import likewise

    return lambda: likewise.match(_segmenter(), "reference.png", [1, 2, 3], "a.jpg")


# --- serving Label Studio ------------------------------------------------------------------------

SERVING = all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "httpx"))


def label_studio(*more: str) -> list[str]:
    keep()
    return ["label-studio", "r.safetensors", "--backbone", "tiny", *more]


@row("Label Studio: missing references", 2, r"r\.safetensors does not exist", when=SERVING)
def label_studio_missing(_: Path) -> list[str]:
    return ["label-studio", "r.safetensors"]


@row("Label Studio: open to all", 2, r"--host 0\.0\.0\.0 lets other machines in: give a --token")
def label_studio_open(_: Path) -> list[str]:
    return label_studio("--host", "0.0.0.0")


@row("Label Studio: no address", 2, r"localhost:8080 is no address of Label Studio", when=SERVING)
def label_studio_address(_: Path) -> list[str]:
    return label_studio("--label-studio", "localhost:8080")


@row("Label Studio: root that is a file", 2, r"a\.jpg is no folder: give the one", when=SERVING)
def label_studio_root(_: Path) -> list[str]:
    return label_studio("--root", "a.jpg")


@row("Label Studio: no such port", 2, r"'--port'", usage=True)
def label_studio_port(_: Path) -> list[str]:
    return label_studio("--port", "70000")


@row("Label Studio: learn from fewer than none", 2, r"learn -1 is no number of", when=SERVING)
def label_studio_learn(_: Path) -> list[str]:
    return label_studio("--learn", "-1", "--port", "0")


@row(
    "Label Studio: package missing",
    2,
    r"label-studio needs the package uvicorn, which is not installed: pip install 'likewise\[label",
    fault=lambda: mock.patch.dict("sys.modules", {"uvicorn": None}),
)
def label_studio_extra(_: Path) -> list[str]:
    return label_studio()


# --- clips ---------------------------------------------------------------------------------------


def video(*more: str, clip: str = "clip", mask: str = "mask.png") -> list[str]:
    """As `segment`, for a folder clip/ of four frames."""
    if clip == "clip":
        Path("clip").mkdir()
        for k, name in enumerate(("reference.png", "a.jpg", "b.jpg", "c.jpg")):
            shutil.copy(name, f"clip/{k}{Path(name).suffix}")
    files = [clip, "--mask", mask, "--out", "out"]
    return ["video", *files, *TINY, "--no-overlay", *more]


def film(path: str, *, codec: str = "mpeg4", **options: str) -> str:
    """A video of 20 frames, or a second of sound."""
    import av

    pixels = np.asarray(Image.open("reference.png").convert("RGB"))
    with av.open(path, "w", options=options) as container:
        if codec == "pcm_s16le":
            sound = container.add_stream(codec, rate=8000)
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            wave.sample_rate = 8000
            container.mux([*sound.encode(wave), *sound.encode()])
            return path
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for k in range(20):
            moved = np.ascontiguousarray(np.roll(pixels, k, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return path


@row("clip that is not there", 2, r"nowhere\.mp4 does not exist: check its spelling")
def video_missing(_: Path) -> list[str]:
    return video(clip="nowhere.mp4")


@row("clip that is text", 2, r"notes\.txt is no video")
def video_text(_: Path) -> list[str]:
    Path("notes.txt").write_text("Nothing to see here.\n" * 40)
    return video(clip="notes.txt")


@row(
    "clip that is one picture", 2, r"a\.jpg is no video \(.*\): give a video file or a folder of f"
)
def video_picture(_: Path) -> list[str]:
    return video(clip="a.jpg")


@row("clip that is only sound", 2, r"a\.wav holds no pictures, only sound: give a video")
def video_sound(_: Path) -> list[str]:
    return video(clip=film("a.wav", codec="pcm_s16le"))


@row("video cut short, its index lost", 2, r"a\.mp4 is no video that can be read \(Invalid data")
def video_cut(_: Path) -> list[str]:
    cut(film("a.mp4"))
    return video(clip="a.mp4")


@row("video cut short behind its index", 2, r"a\.mp4 is cut short: it says 20 frames and holds ")
def video_cut_late(_: Path) -> list[str]:
    cut(film("a.mp4", movflags="faststart"), 0.6)
    return video(clip="a.mp4")


@row("frames of two sizes", 2, r"clip/2\.jpg is 20 × 30 pixels, but 0\.png is 48 × 40: the frames")
def video_sizes(_: Path) -> list[str]:
    words = video()
    Image.new("RGB", (20, 30)).save("clip/2.jpg")
    return words


@row("two frames of one name", 2, r"clip/1\.jpg and clip/1\.png would share a mask's name")
def video_stems(_: Path) -> list[str]:
    words = video()
    shutil.copy("reference.png", "clip/1.png")
    return words


@row("mask of another size than the clip", 2, r"other\.png is 30 × 30 pixels, but its image is 48")
def video_mask_size(_: Path) -> list[str]:
    grey("other.png", np.eye(30) * 255)
    return video(mask="other.png")


@row("empty mask of a frame", 2, r"empty\.png marks nothing: mark the objects in it\.")
def video_empty_mask(_: Path) -> list[str]:
    grey("empty.png", np.zeros((40, 48)))
    return video(mask="empty.png")


@row(
    "photograph for a mask of a frame",
    2,
    r"photo\.png holds 199 values all over, which is no mask: ",
)
def video_photo_mask(_: Path) -> list[str]:
    grey("photo.png", np.arange(40 * 48).reshape(40, 48) % 200)
    return video(mask="photo.png")


@row("annotated frame beyond the clip", 2, r"the clip has no frame 4: its frames are 0 to 3\.")
def video_beyond(_: Path) -> list[str]:
    return video("--reference-frame", "4")


@row("two annotated frames, one mask", 2, r"2 --reference-frame and 1 --mask were given: give one")
def video_count(_: Path) -> list[str]:
    return video("--reference-frame", "0", "--reference-frame", "2")


@row("a frame annotated twice", 2, r"a --reference-frame was given twice: give one label map for")
def video_twice(_: Path) -> list[str]:
    return video(*["--reference-frame", "1"] * 2, "--mask", "mask.png")


@row(
    "one object, two labels", 2, r"the masks hold 1 objects \(values 255\) and 2 --label were given"
)
def video_labels(_: Path) -> list[str]:
    return video("--label", "one", "--label", "two")


@row("frames beyond the clip", 2, r"clip has no frames 2 to 9: its frames are 0 to 3\.")
def video_range(_: Path) -> list[str]:
    return video("--from", "2", "--to", "9")


@row("masks over the clip", 2, r"the result of out/masks would overwrite out/masks/0\.png: give an",
     masks="masks")  # fmt: skip
def video_over_input(_: Path) -> list[str]:
    words = video()
    Path("out").mkdir()
    Path("clip").rename("out/masks")
    return [words[0], "out/masks", *words[2:]]


@row(
    "video without PyAV",
    2,
    r"video files need PyAV, which is not installed: pip install 'likewise\[video\]', or give a",
    fault=lambda: mock.patch.dict(sys.modules, {"av": None}),
)
def video_without_av(_: Path) -> list[str]:
    Path("a.mp4").write_bytes(b"something")
    return video(clip="a.mp4")


@row(
    "overlay without PyAV",
    2,
    r"overlay\.mp4 needs PyAV, which is not installed: pip install 'likewise\[video\]', or leave",
    fault=lambda: mock.patch.dict(sys.modules, {"av": None}),
)
def video_overlay_without_av(_: Path) -> list[str]:
    return [word for word in video() if word != "--no-overlay"]


@row("damaged frame", 1, r"clip/2\.jpg is cut short or damaged", masks="frames.jsonl masks")
def video_damaged_frame(_: Path) -> list[str]:
    words = video()
    cut("clip/2.jpg", 0.7)
    return words


@row("clip gone on with other settings", 2, r"the masks in out were not made with this clip, these",
     masks="frames.jsonl masks strip.jpg video.json")  # fmt: skip
def video_other_settings(_: Path) -> list[str]:
    words = video()
    assert run(words).code == 0
    return [*words, "--no-memory", "--resume"]


# --- exporting ----------------------------------------------------------------------------------


def export(*more: str, kind: str = "coco", images: str = "a.jpg") -> list[str]:
    """As `segment`, for a folder masks/ with the mask of a.jpg."""
    Path("masks").mkdir()
    shutil.copy("mask.png", "masks/a.png")
    return ["export", "masks", "--images", images, "--format", kind, "--out", "out", *more]


@row(
    "unknown format",
    2,
    r"the format 'mot' is unknown: give one of coco, yolo, voc, labelme, masks\.",
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


# --- serving ------------------------------------------------------------------------------------


def serve(*more: str) -> list[str]:
    return ["serve", "--port", "0", *TINY, *more]


@contextmanager
def taken_port() -> Iterator[None]:
    """Port 47321 is listened on."""
    with socket.create_server(("127.0.0.1", 47321)):
        yield


@row("server open to all without a token", 2, r"--host 0\.0\.0\.0 lets other machines in: give a -")
def serve_without_token(_: Path) -> list[str]:
    return serve("--host", "0.0.0.0")


@row(
    "server on a taken port",
    2,
    r"cannot listen on 127\.0\.0\.1 port 47321 \(.*--port",
    fault=taken_port,
)
def serve_on_taken_port(_: Path) -> list[str]:
    return serve("--port", "47321")


@row("server on a port that is none", 2, r"'--port'", usage=True)
def serve_on_no_port(_: Path) -> list[str]:
    return serve("--port", "70000")


@row(
    "server on an unknown address", 2, r"--host no\.such\.invalid is no address of this machine: gi"
)
def serve_nowhere(_: Path) -> list[str]:
    return serve("--host", "no.such.invalid")


@row(
    "server with a root that is none", 2, r"--root nowhere is no folder: give the folder of the im"
)
def serve_missing_root(_: Path) -> list[str]:
    return serve("--root", "nowhere")


@row(
    "server with a token of two words", 2, r"the token holds spaces or characters that no header c"
)
def serve_odd_token(_: Path) -> list[str]:
    return serve("--token", "two words")


@row(
    "server for an origin that is none", 2, r"--allow-origin example\.org is no origin: write it li"
)
def serve_odd_origin(_: Path) -> list[str]:
    return serve("--allow-origin", "example.org")


@row("server with an unknown method", 2, r"method 'best' is unknown; use one of likewise")
def serve_unknown_method(_: Path) -> list[str]:
    return serve("--method", "best")


@row(
    "server without FastAPI",
    2,
    r"the server needs FastAPI, uvicorn and python-multipart: pip install 'likewise\[serve\]'",
    fault=lambda: mock.patch.dict(sys.modules, {"fastapi": None}),
)
def serve_without_fastapi(_: Path) -> list[str]:
    return serve()


# --- likewise ui -------------------------------------------------------------------------------


def page(*more: str, project: str = "work") -> list[str]:
    """Arguments of `likewise ui` that would open nothing."""
    return ["ui", project, "--no-browser", "--port", "0", *more]


@row("ui in a file", 2, r"a\.jpg/likewise\.toml cannot be written \(.*\): give another folder\.")
def page_in_a_file(_: Path) -> list[str]:
    return page(project="a.jpg")


@row("ui of a project of other things", 2, r"work/likewise\.toml: \[page\] colour is unknown; use ")
def page_of_other_things(_: Path) -> list[str]:
    Path("work").mkdir()
    Path("work/likewise.toml").write_text('[page]\ncolour = "red"\n')
    return page()


TAKEN = socket.socket()
"""Keeps its port while the process lives."""


@row(
    "ui at a port that is taken", 2, r"cannot listen on 127\.0\.0\.1 port \d+ \(.*\): give another"
)
def page_at_a_taken_port(_: Path) -> list[str]:
    if TAKEN.getsockname()[1] == 0:
        TAKEN.bind(("127.0.0.1", 0))
        TAKEN.listen()
    return page("--port", str(TAKEN.getsockname()[1]))


@row(
    "ui at an address of another machine",
    2,
    r"cannot listen on 192\.0\.2\.1 port 0 \(.*\): give an",
)
def page_at_a_foreign_address(_: Path) -> list[str]:
    return page("--host", "192.0.2.1")


@contextmanager
def no_fastapi() -> Iterator[None]:
    really = importlib.util.find_spec

    def found(name: str, *rest: Any) -> Any:
        return None if name == "fastapi" else really(name, *rest)

    with mock.patch("importlib.util.find_spec", found):
        yield


@row(
    "ui without its extra",
    2,
    r"likewise ui needs fastapi, which is not installed: pip install 'likewise\[ui\]'\.",
    fault=no_fastapi,
)
def page_without_fastapi(_: Path) -> list[str]:
    return page()


# --- on Ray -------------------------------------------------------------------------------------


@contextmanager
def no_ray() -> Iterator[None]:
    with mock.patch("likewise.run.distributed.find_spec", return_value=None):
        yield


@row("Ray is not installed", 2, r"--ray needs Ray, .* pip install 'likewise\[ray\]'", fault=no_ray)
def ray_not_installed(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "local"]


@row("an address that is none of Ray", 2, r"'here' is no address of Ray: give local, auto or HOST")
def ray_address(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "here"]


@row("Ray through its client", 2, r"Ray Data cannot work through ray://h:1: start likewise on a ma")
def ray_client(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "ray://h:1"]


@row("workers of no Ray", 2, r"--ray-workers needs --ray: give --ray local to start Ray here")
def ray_workers_alone(_: Path) -> list[str]:
    return ["annotate", "work", "--ray-workers", "2"]


# --- judging ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of one row."""

    ran: Ran
    message: str
    lost: list[str]
    """Files that were there before and are not as they were."""
    wrong: list[str]
    """Everything that is not as expected."""


def judge(case: Row, scene: Path) -> Verdict:
    """Prepare and run one row in a fresh scene."""
    wrong: list[str] = []
    with sandbox(scene):
        arguments = case.prepare(scene)
        before = _contents(scene)
        with case.fault():
            if case.process:
                assert not callable(arguments)
                ran = run_process(arguments)
            else:
                ran = run(arguments)
        after = _contents(scene)
        lost = [str(p.relative_to(scene)) for p in before if after.get(p) != before[p]]
        if lost:
            wrong.append(f"not as before: {', '.join(lost)}")
        wrong += _wrong_output(case, ran) + _wrong_files(case, scene)
        if case.then is not None:
            try:
                case.then()
            except Exception as error:
                wrong.append(f"afterwards: {error!r}")
    return Verdict(ran, _message(case, ran), lost, wrong)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _lines(ran: Ran) -> list[str]:
    """What was said on stderr, without notes."""
    return [line for line in ran.err.splitlines() if not line.startswith("likewise: note: ")]


def _message(case: Row, ran: Ran) -> str:
    lines = _lines(ran)
    if _TRACEBACK in ran.err:
        return f"(traceback) {lines[-1]}"
    if case.usage:  # a box drawn around the sentence
        return " ".join(
            " ".join(line.strip("│ ") for line in lines if line.startswith("│")).split()
        )
    return " ".join(lines) or "(nothing)"


def _wrong_output(case: Row, ran: Ran) -> list[str]:
    wrong = []
    if ran.code != case.code:
        wrong.append(f"exit code {ran.code}, not {case.code}")
    message = _message(case, ran)
    if _TRACEBACK in ran.out + ran.err:
        wrong.append(message)
    elif case.usage:
        if not re.search(case.message, message):
            wrong.append(f"no {case.message!r} in {message!r}")
    else:
        if not re.fullmatch(r"likewise: [^\n]+\.", "\n".join(_lines(ran))):
            wrong.append(f"not one line 'likewise: ... .' but {ran.err!r}")
        if not re.match(f"likewise: {case.message}", message):
            wrong.append(f"no {case.message!r} at the start of {message!r}")
        if len(message) > LONGEST:
            wrong.append(f"a message of {len(message)} characters")
    what = r"\d+ (of \d+ masks|images with \d+ instances)"
    summary = what + r" written to out(, \d+ [a-z ]+)+\n" if case.code == 1 else ""
    if not re.fullmatch(summary, ran.out):
        wrong.append(f"on stdout {ran.out!r}")
    return wrong


def _wrong_files(case: Row, scene: Path) -> list[str]:
    wrong = [f"{p.name} was left over" for p in scene.rglob(".likewise-*")]
    memory = ("labels.json", "manifest.jsonl")
    found = {p.name for p in Path("out").glob("*") if p.name not in memory}
    if found != case.masks:
        wrong.append(f"out/ holds {sorted(found)}, not {sorted(case.masks)}")
    for name in sorted(n for n in found if n.endswith(".png")):
        with Image.open(Path("out") / name) as image:
            values = set(np.unique(np.asarray(image)).tolist())
            if image.mode != "L" or image.size not in (SIZE, (66000, 2)) or not values <= {0, 255}:
                wrong.append(f"{name} is {image.mode} {image.size} of {values}")
    return wrong


def table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """A Markdown table with its columns padded to one width."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def main() -> int:
    """Print the table; 1 if a row is not as expected."""
    lines = [("input", "message printed", "exit code", "nothing lost")]
    wrong = []
    with tempfile.TemporaryDirectory() as folder, one_thread():
        base = Path(folder).resolve()
        tiny = make_tiny(base / "tiny")
        for case in ROWS:
            scene = make_scene(base / case.name, tiny)
            verdict = judge(case, scene)
            message = verdict.message.replace(str(scene) + os.sep, "")
            lines.append(
                (case.what, message, str(verdict.ran.code), "no" if verdict.lost else "yes")
            )
            wrong += [f"{case.name}: {reason}" for reason in verdict.wrong]
    print(table(lines))
    if wrong:
        print("\nNot as expected:", *wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

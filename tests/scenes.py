"""A scene: a folder with one good example, `likewise` run in it, and what can be spoilt."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import io
import os
import shutil
import struct
import subprocess
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

SIZE = (48, 40)  # width, height of every picture of a scene

UNREACHABLE = "http://127.0.0.1:9"


# --- running likewise -----------------------------------------------------------------------------


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


# --- one good example, to be spoilt ---------------------------------------------------------------


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


class Booby:
    """Makes a folder called EXECUTED where it is unpickled carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("EXECUTED",)


# --- things that go wrong while it runs -----------------------------------------------------------


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
def no_backbone_needed() -> Iterator[None]:
    """A Segmenter that is there at once and finds nothing."""
    from likewise.io.images import read_picture

    class Stub:
        fingerprint = "stub"
        encoder = SimpleNamespace(runtime="torch")

        def __init__(self, *_: object, **__: object) -> None: ...

        def fit(self, _: object) -> Stub:
            return self

        def images_at_once(self, count: int) -> int:
            return 1

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


# --- references in a file -------------------------------------------------------------------------


def keep(**options: Any) -> Path:
    """A file of references, as `likewise references save` writes it."""
    from likewise import Segmenter

    segmenter = Segmenter("tiny", **{"image_size": 64, **options}).fit(
        ("reference.png", "mask.png")
    )
    segmenter.save("r.safetensors")
    return Path("r.safetensors")

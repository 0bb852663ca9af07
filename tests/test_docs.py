"""Every snippet of the docs is run as a reader would run it: copied, in a folder with its files.

The blocks of a page run one after the other in one folder, Python blocks in one namespace. A block
in ``bash`` or ``python`` is run unless an HTML comment on the line before it says otherwise:

    <!-- not run: REASON -->        listed below, in NOT_RUN
    <!-- run in the background -->  a server: it is started, and stopped after the page
    <!-- file: NAME -->             JSON or TOML: written to NAME before the page's blocks are run

What is different from a reader's machine: the backbones are small, ``pip`` installs nothing (it
looks whether the extra exists), and servers listen on a port that is free. A folder ``DIR`` stands
for a new one in each block, and ``TARGETS...`` for pictures. See docs_machine.py.
"""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from docs_machine import Machine, machine, small_backbones
from tiny import make_backbone

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL, DATA, TEXT = "bash", ("json", "toml"), "text"
LONGEST = 1200  # seconds of one block, before it is taken to hang, on however busy a machine

# All that is not run, and why: (page, reason) → number of blocks.
NOT_RUN = {
    ("README.md", "needs the package index"): 2,
    ("CONTRIBUTING.md", "needs the package index"): 2,
    ("annotate.md", "needs Ray"): 1,
    ("backbones.md", "needs a hub"): 1,
    ("benchmarks.md", "needs the data sets"): 2,
    ("bridges.md", "needs a CVAT server"): 1,
    ("bridges.md", "needs a Label Studio server"): 1,
    ("large.md", "needs rasters"): 1,
    ("large.md", "needs slides"): 2,
    ("segic.md", "needs several GPUs"): 1,
    ("speed.md", "needs an extra"): 1,
    ("install.md", "needs the package index"): 1,
    ("speed.md", "takes minutes, and the whole machine"): 1,
    ("verify.md", "looks at full size"): 1,
    ("verify.md", "needs a hub"): 1,
    ("verify.md", "needs the data sets"): 2,
}
OPTIONAL = {"supervision"}
"""Packages that the extra ``test`` leaves out: where they are absent, snippets cannot run."""

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(
        not (shutil.which("bash") and shutil.which("curl") and hasattr(os, "fork")),
        reason="readers have bash and curl, and their machine forks",
    ),
]


# --- reading the pages --------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    line: int
    language: str
    code: str
    note: str
    """What the comment before it says; may be empty."""

    @property
    def reason(self) -> str | None:
        """Why it is not run."""
        return self.note.removeprefix("not run: ") if self.note.startswith("not run: ") else None


BLOCK = re.compile(
    r"(?:^<!-- (?P<note>.*?) -->\n)?^```(?P<language>\S*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = [
        Block(
            text.count("\n", 0, match.start("code")),
            match["language"],
            match["code"],
            match["note"] or "",
        )
        for match in BLOCK.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), page
    return found


def test_every_block_is_run_or_said_not_to_be() -> None:
    skipped: Counter[tuple[str, str]] = Counter()
    for page in PAGES:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            assert block.language in ("python", SHELL, TEXT, *DATA), where
            if block.reason is not None:
                skipped[page.name, block.reason] += 1
            elif block.note and block.note != "run in the background":
                assert block.note.startswith("file: "), f"{where}: {block.note}"
                assert block.language in DATA, where
    assert dict(skipped) == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_data_is_well_formed(page: Path) -> None:
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)


# --- the reader's folder ------------------------------------------------------------------------

HEIGHT, WIDTH = 224, 256


def picture(seed: int, marked: np.ndarray | None = None) -> Image.Image:
    """Red, with a yellow and a green part, where `marked`; bluish noise elsewhere."""
    noise = np.random.default_rng(seed).normal(0, 10, (HEIGHT, WIDTH, 3))
    pixels = noise + np.array([40, 60, 150])
    if marked is not None:
        colours = np.array([(0, 0, 0), (200, 50, 40), (190, 180, 50), (40, 160, 60)])
        pixels = np.where(marked[..., None] > 0, colours[marked] + noise / 2, pixels)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def thing(x: int, y: int) -> np.ndarray:
    """(HEIGHT, WIDTH) of 0 and, in a disc around x, y: 1, and its parts 2 and 3."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    disc = ((rows - y) ** 2 + (columns - x) ** 2 < 52**2).astype(np.uint8)
    disc[(disc > 0) & (rows < y - 18)] = 2
    disc[(disc > 0) & (rows > y + 18)] = 3
    return disc


PLACES = [(100, 90), (160, 110), (90, 130), (170, 90)]


def save(folder: Path, image: str, mask: str | None = None, place: int = 0) -> None:
    """A picture of the thing, and a mask of 0 and 255."""
    marked = thing(*PLACES[place % len(PLACES)])
    for name in filter(None, (image, mask)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    picture(place, marked).save(folder / image, quality=95)
    if mask is not None:
        Image.fromarray((marked > 0).astype(np.uint8) * 255).save(folder / mask)


def make_world(folder: Path) -> None:
    """The files that the pages speak of, under the names that they use."""
    pairs = [
        ("cat.jpg", "cat_mask.png"),
        ("cat.jpg", "cat.png"),
        ("R.jpg", "M.png"),
        ("reference.jpg", "reference_mask.png"),
        ("ref1.jpg", "mask1.png"),
        ("a.jpg", "a_mask.png"),
        ("cell.jpg", "cell_mask.png"),
        ("coin.jpg", "coin_mask.png"),
    ]
    for pair in pairs:
        save(folder, *pair)
    for pair in (("R2.jpg", "M2.png"), ("ref2.jpg", "mask2.png"), ("b.jpg", "b_mask.png")):
        save(folder, *pair, place=1)
    for place, name in enumerate(("another", "target", "ref", "T", "more_coins"), 1):
        save(folder, f"{name}.jpg", place=place)
    for place in range(4):
        for name in ("photos/{}.jpg", "slides/{}.jpg", "TARGETS.../{}.jpg"):
            save(folder, name.format("abcd"[place]), place=place)
        save(folder, f"IMAGES/{place}.jpg", f"MASKS/{place}.png", place)
    save(folder, "photos/another.jpg", place=1)
    picture(9).save(folder / "wall.jpg")
    # label maps: the part with a 2 is 3 in them, the other 5
    values = np.array([0, 1, 3, 5], np.uint8)
    for name in ("face", "labels"):
        picture(0, thing(*PLACES[0])).save(folder / f"{name}.jpg", quality=95)
    for name in ("parts", "labels"):
        Image.fromarray(values[thing(*PLACES[0])]).save(folder / f"{name}.png")
    for place, name in enumerate(("cat1", "cat2")):
        save(folder, f"data/{name}.jpg", place=place)
        Image.fromarray(values[thing(*PLACES[place])]).save(folder / f"data/{name}.png")
    picture(9).save(folder / "data/empty_sofa.jpg")
    for name in ("vocabulary", "things"):
        save(folder, f"{name}/cat/tom.jpg", f"{name}/cat/tom.png")
        save(folder, f"{name}/person/b.jpg", f"{name}/person/masks/b.png", 1)
        (folder / name / "negatives").mkdir()
        picture(8).save(folder / name / "negatives/wall.jpg")
    # COCO of cat.jpg
    turns, (x, y) = np.linspace(0, 6, 24), PLACES[0]
    outline = np.stack([x + 52 * np.cos(turns), y + 52 * np.sin(turns)], axis=1).ravel().tolist()
    coco = {
        "images": [{"id": 1, "file_name": "cat.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [outline]}],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    make_clip(folder)
    make_scan(folder)
    make_training(folder)


FRAMES = 21


def make_clip(folder: Path) -> None:
    """clip.mp4, where the thing moves to the right, frames/, and masks of its first and last."""
    import av

    (folder / "frames").mkdir()
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(FRAMES):
            pixels = np.asarray(picture(k, thing(70 + 4 * k, 110)))
            Image.fromarray(pixels).save(folder / "frames" / f"{k:05d}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    for name, frame in (("mask", 0), ("m", 0), ("start", 0), ("turned", FRAMES - 1)):
        marked = (thing(70 + 4 * frame, 110) > 0).astype(np.uint8) * 255
        Image.fromarray(marked).save(folder / f"{name}.png")


def make_scan(folder: Path) -> None:
    """ct.nii.gz, a disc that grows, and labels.nii.gz, where slice 12 is annotated."""
    import nibabel

    rows, columns, slices = np.mgrid[:48, :40, :14]
    disc = (rows - 24) ** 2 + (columns - 18) ** 2 < (6 + slices / 2) ** 2
    noise = np.random.default_rng(0).normal(0, 20, disc.shape)
    given = np.where(slices == 12, disc, 0).astype(np.uint8)
    for name, array in (("ct", (disc * 150 + noise).astype(np.int16)), ("labels", given)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")


TRAINING = """
out = "trained"
pairs = 4
steps = 2
batch = 2
points = 64
[decoder]
hidden = 32
layers = 1
heads = 2
[validation]
pairs = 2
every = 2
[[data]]
kind = "folder"
images = "IMAGES"
masks = "MASKS"
"""


def make_training(folder: Path) -> None:
    (folder / "train.toml").write_text(TRAINING)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, on which small backbones are also there for Python."""
    folder = tmp_path_factory.mktemp("docs")
    tiny = make_backbone(folder / "tiny")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = sorted(project["optional-dependencies"])
    with machine(folder, tiny, extras) as running, small_backbones(tiny):
        yield running


@pytest.fixture(scope="module")
def world(reader: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, made once; every page gets a copy."""
    folder = tmp_path_factory.mktemp("world") / "files"
    folder.mkdir()
    make_world(folder)
    # A decoder that segic's page uses before it says how to train one.
    code = "likewise segic train train.toml && mkdir run && cp trained/decoder.safetensors run"
    run_bash(reader, Block(0, SHELL, code, ""), folder, "the decoder")
    shutil.rmtree(folder / "trained")
    return folder


@pytest.fixture
def here(world: Path, reader: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files as the working folder."""
    folder = tmp_path / "reader"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LIKEWISE_CACHE", reader.environment["LIKEWISE_CACHE"])
    return folder


# --- running them -------------------------------------------------------------------------------


def run_bash(reader: Machine, block: Block, folder: Path, where: str) -> None:
    shutil.rmtree(folder / "DIR", ignore_errors=True)
    process = reader.bash(block.code, folder)
    try:
        out, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        pytest.fail(f"{where} does not end:\n{block.code}\n{out}")
    assert process.returncode == 0, f"{where}\n{block.code}\n{out}"
    assert "Traceback" not in out, f"{where}\n{block.code}\n{out}"


@dataclass
class Background:
    """A block that serves until it is interrupted."""

    process: subprocess.Popen[str]
    where: str

    def wait_for_address(self) -> None:
        """Until it has printed where it listens."""
        assert self.process.stdout is not None
        printed, until = "", time.monotonic() + LONGEST
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while "http://" not in printed:
                assert time.monotonic() < until, f"{self.where} does not serve: {printed}"
                if ready.select(1):
                    more = os.read(self.process.stdout.fileno(), 4096).decode()
                    printed += more
                    assert more, f"{self.where} ended: {printed}"

    def stop(self) -> None:
        """As Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


def run_python(code: str, names: dict[str, Any], where: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, where, "exec"), names)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in OPTIONAL:
            pytest.skip(f"{where} needs {error.name}, which is not installed")
        raise AssertionError(f"{where}: {type(error).__name__}: {error}\n{code}") from error


RUN = [page for page in PAGES if any(b.language in ("python", SHELL) for b in blocks(page))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_snippets_of_a_page_run(page: Path, here: Path, reader: Machine) -> None:
    found = blocks(page)
    for block in found:
        if block.note.startswith("file: "):
            (here / block.note.removeprefix("file: ")).write_text(block.code, "utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    running: list[Background] = []
    try:
        for block in found:
            where = f"{page.name}:{block.line}"
            if block.reason is not None:
                continue
            if block.language == "python":
                run_python(block.code, names, where)
            elif block.note == "run in the background":
                running.append(Background(reader.bash(block.code, here), where))
                running[-1].wait_for_address()
            elif block.language == SHELL:
                run_bash(reader, block, here, where)
    finally:
        for server in running:
            server.stop()


def examples() -> list[Any]:
    """The examples (>>>) of every docstring, one by one."""
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        text = file.read_text("utf-8")
        if ">>> " not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                lines = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
                name = f"{file.name}:{getattr(node, 'name', 'module')}"
                if lines:
                    found.append(pytest.param(name, [line.source for line in lines], id=name))
    return found


@pytest.mark.parametrize(("name", "lines"), examples())
def test_the_examples_of_docstrings_run(name: str, lines: list[str], here: Path) -> None:
    assert not [line for line in lines if "doctest:" in line]
    run_python("".join(lines), {}, name)

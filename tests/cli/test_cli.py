"""The command line: what it imports, its help, its progress bar and its notes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

import likewise
from commands import done, run_on_a_terminal
from likewise.cli.console import notes
from likewise.errors import InputWarning, LikewiseError
from scenes import SIZE, Ran, run, run_process, segment

HEAVY = ("torch", "transformers", "safetensors", "huggingface_hub", "numpy", "scipy", "PIL")


# --- starting up ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        "import likewise",
        "import likewise.cli",
        "likewise --help",
        "likewise --version",
        "likewise segment --help",
    ],
)
def test_starting_up_imports_nothing_heavy(start: str) -> None:
    code = start
    if start.startswith("likewise"):
        words = start.split()
        code = (
            f"import sys; sys.argv = {words}\nfrom likewise.cli import main\n"
            "try: main()\nexcept SystemExit as end: assert not end.code"
        )
    code += f"\nimport sys; print('heavy:', [m for m in {HEAVY} if m in sys.modules])"
    source = str(Path(likewise.__file__).parents[1])
    output = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": "utf-8"},
    ).stdout
    assert output.endswith("heavy: []\n")
    assert ("Usage: likewise" in output) == ("--help" in start)


def test_wrong_files_are_refused_before_torch_is_imported(scene: Path) -> None:
    Image.new("L", SIZE).save("mask.png")
    code = (
        f"import sys; sys.argv = {['likewise', *segment()]}\nfrom likewise.cli import main\n"
        "try: main()\nfinally: print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    source = str(Path(likewise.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert (ran.returncode, ran.stdout) == (2, "[]\n")
    assert ran.stderr.startswith("likewise: mask.png marks nothing")


def test_version() -> None:
    assert done(run(["--version"])) == f"likewise {likewise.__version__}\n"


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    ran = run(["--help"])
    assert ran.code == 0
    for word in (
        "segment",
        "match",
        "tune",
        "references",
        "backbones",
        "doctor",
        "demo",
        "Exit codes",
    ):
        assert word in ran.out


# --- the progress bar -----------------------------------------------------------------------------


def test_a_terminal_shows_progress_and_failures(scene: Path) -> None:
    Path("b.jpg").write_bytes(b"")
    code, shown = run_on_a_terminal(segment("a.jpg", "b.jpg", "c.jpg"))
    assert code == 1
    assert "3/3" in shown
    assert "likewise: b.jpg is empty (0 bytes): copy or download it again." in shown


def test_one_target_needs_no_progress_bar(scene: Path) -> None:
    assert run_on_a_terminal(segment("a.jpg")) == (0, "")


def test_a_terminal_shows_tiles(scene: Path) -> None:
    """Of one image alone, and below the count of images."""
    tiled = "--method", "likewise", "--tile", "24"
    code, shown = run_on_a_terminal(segment("a.jpg", *tiled))
    assert (code, "0/6" in shown, "tiles" in shown, "segment" in shown) == (0, True, True, False)
    code, shown = run_on_a_terminal(segment("a.jpg", "b.jpg", *tiled))
    assert (code, "0/6" in shown, "2/2" in shown) == (0, True, True)


def test_a_pipe_shows_no_progress(scene: Path) -> None:
    ran = run_process(segment("a.jpg", "b.jpg"))
    assert (ran.code, ran.out, ran.err) == (0, "2 of 2 masks written to out\n", "")


# --- notes ----------------------------------------------------------------------------------------


def test_notes_of_a_kind_are_counted() -> None:
    def app() -> None:
        for number in range(5):
            warnings.warn(InputWarning(f"{number}.png", "it is taken for grey."), stacklevel=1)
            warnings.warn(InputWarning("0.png", "it is taken for grey."), stacklevel=1)
        warnings.warn(InputWarning("a.png", "its alpha was left out."), stacklevel=1)
        print(json.dumps(notes()))

    ran = run(app)
    assert ran.err.splitlines() == [
        *(f"likewise: note: {n}.png: it is taken for grey." for n in range(3)),
        "likewise: note: a.png: its alpha was left out.",
        "likewise: note: and 2 more: it is taken for grey.",
    ]
    listed = json.loads(ran.out)["notes"]
    assert listed[0] == {"source": "0.png", "what": "it is taken for grey."}
    assert len(listed) == 6
    assert run(lambda: print(notes())) == Ran(0, "{}\n", "")  # of that run only


def test_notes_with_other_numbers_are_of_a_kind() -> None:
    def app() -> None:
        for number in range(5):
            what = f"its values {number} to 300 were stretched to 8 bits."
            warnings.warn(InputWarning(f"{number}.png", what), stacklevel=1)

    more = "and 2 more, with other numbers: its values 0 to 300 were stretched to 8 bits."
    assert run(app).err.splitlines()[-1] == f"likewise: note: {more}"


def test_notes_come_before_an_error_and_others_as_ever() -> None:
    def app() -> None:
        warnings.warn(InputWarning("a.png", "this."), stacklevel=1)
        warnings.warn("a library's", UserWarning, stacklevel=1)
        raise LikewiseError("that.")

    ran = run(app)
    assert ran.code == 2
    lines = ran.err.splitlines()
    assert lines[0] == "likewise: note: a.png: this."
    assert "UserWarning: a library's" in ran.err
    assert lines[-1] == "likewise: that."

"""The loop that learns: accepted and corrected masks are references, and none after a retreat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import likewise
from likewise.project.learning import MOST, diverse
from likewise.project.project import Project
from likewise.project.settings import ProjectReference, read_settings
from scenes import make_scene, run, sandbox


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """A project `work` with six different targets, annotated; one accepted, one corrected."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        Path("in").mkdir()
        with Image.open("a.jpg") as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        for number in range(6):
            shift = np.random.default_rng(number).integers(0, 60, (3,))
            Image.fromarray((pixels + shift).clip(0, 255).astype(np.uint8)).save(f"in/{number}.png")
        words = ["-r", "reference.png", "-m", "mask.png", "-t", "in", "-b", "tiny"]
        assert run(["init", "work", *words, "--image-size", "64"]).code == 0
        annotate()
        assert run(["review", "work", "--accept", "in/0.png"]).code == 0
        Image.fromarray(np.eye(40, 48, dtype=np.uint8) * 255).save("own.png")
        assert run(["correct", "work", "in/1.png", "own.png"]).code == 0
        yield folder


def annotate() -> str:
    ran = run(["annotate", "work"])
    assert ran.code == 0, ran.err
    return ran.out


def switch(on: bool) -> None:
    path = Path("work/likewise.toml")
    text = path.read_text("utf-8")
    path.write_text(text.replace(f"learn = {str(not on).lower()}", f"learn = {str(on).lower()}"))


def learnt() -> list[ProjectReference]:
    return list(read_settings(Path("work")).references[1:])


def masks() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("work/masks").glob("*.png")}


def test_learnt_and_unlearnt(scene: Path) -> None:
    before = masks()
    assert annotate() == "0 of 6 images annotated in work, 6 kept\n"
    assert learnt() == []
    switch(True)
    assert run(["annotate", "work", "--dry-run"]).code == 0
    assert learnt() == []
    assert "4 of 6 images annotated in work, 2 kept" in annotate()
    assert [r.image for r in learnt()] == ["../in/0.png", "../in/1.png"]
    assert {r.value for r in learnt()} == {1}
    for reference, name in zip(learnt(), ("0.png", "1.png"), strict=True):
        assert Path("work", str(reference.mask)).read_bytes() == before[name]
    after = masks()
    assert {name for name in after if after[name] == before[name]} >= {"0.png", "1.png"}
    assert annotate() == "0 of 6 images annotated in work, 6 kept\n"  # nothing is learnt twice
    assert run(["review", "work", "--undo", "in/0.png"]).code == 0
    annotate()
    assert [r.image for r in learnt()] == ["../in/1.png"]
    assert len(list(Path("work/references/learnt").iterdir())) == 1
    switch(False)
    annotate()
    assert learnt() == []
    assert masks() == before
    assert list(Path("work/references/learnt").iterdir()) == []


def test_a_changed_correction_is_learnt_instead(scene: Path) -> None:
    switch(True)
    annotate()
    Image.fromarray(np.eye(40, 48, 5, dtype=np.uint8) * 255).save("own.png")
    assert run(["correct", "work", "in/1.png", "own.png"]).code == 0
    annotate()
    assert [r.image for r in learnt()] == ["../in/0.png", "../in/1.png"]
    assert Path("work", str(learnt()[1].mask)).read_bytes() == masks()["1.png"]
    assert len(list(Path("work/references/learnt").iterdir())) == 2


def test_the_most_doubtful_are_done_first(scene: Path) -> None:
    switch(True)
    work = Project(Path("work"))
    doubts = dict.fromkeys(("../in/3.png", "../in/5.png"), 9.0)
    for key, doubt in doubts.items():
        work.database.set(key, {"doubt": doubt})
    names = [job.target.name for job in work.doubtful_first(work.jobs())]
    work.close()
    assert names[:2] == ["3.png", "5.png"]


KILL = """
import os, signal
from likewise.cli import main
from likewise.project import learning, runs
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def after(function):
    return lambda *given, **more: (function(*given, **more), killed())
"""
MOMENTS = {
    "before a copy": "learning.write_whole = killed",
    "after a copy": "learning.write_whole = after(learning.write_whole)",
    "before the settings": "learning.replace_settings = killed",
    "after the settings": "learning.replace_settings = after(learning.replace_settings)",
    "in a mask": "runs.ProjectRuns.record = killed",
    "after a mask": "runs.ProjectRuns.record = after(runs.ProjectRuns.record)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_at_any_moment(scene: Path) -> None:
    """kill -9: what a person made stays, nothing is learnt twice, and the end is the same."""
    source = str(Path(likewise.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    own = {name: masks()[name] for name in ("0.png", "1.png")}
    switch(True)
    for moment, code in MOMENTS.items():
        words = [sys.executable, "-c", f"{KILL}{code}\nmain()", "annotate", "work"]
        assert subprocess.run(words, env=env, check=False).returncode == -signal.SIGKILL, moment
        assert {name: masks()[name] for name in own} == own
        images = [r.image for r in learnt()]
        assert images in ([], ["../in/0.png", "../in/1.png"])
        statuses = Project(Path("work")).states()
        assert (statuses["../in/0.png"], statuses["../in/1.png"]) == ("accepted", "corrected")
    annotate()
    wild, references = masks(), learnt()
    assert len(references) == 2
    assert len(list(Path("work/references/learnt").iterdir())) == 2
    switch(False)
    annotate()
    switch(True)
    annotate()
    assert (masks(), learnt()) == (wild, references)


def test_a_diverse_few() -> None:
    angles = [0.0] * 20 + [0.2 * k for k in (*range(-7, 0), *range(1, 9))]

    def mean(angle: float) -> np.ndarray:
        return np.array([np.cos(angle), np.sin(angle)], np.float32)

    chosen = diverse(angles, mean)
    assert len(chosen) == MOST
    assert sorted(chosen) == sorted([0.0, *angles[20:]])
    assert diverse(angles[:MOST], mean) == angles[:MOST]

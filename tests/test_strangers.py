"""What a stranger meets: the notebook, the site's pages, workflows, completion, Windows."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image

from scenes import run_process

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").glob("*.py")]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"


# --- the notebook ---------------------------------------------------------------------------------


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(notebook, timeout=1200, resources=folder).execute()
    texts = [
        output["data"]["text/plain"]
        for cell in done.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    iou = next(float(m[1]) for t in texts if (m := re.match(r"'IoU (\d\.\d+)'", t)))
    assert iou > 0.8
    assert any(t.startswith("(False, 0.") for t in texts)  # absent
    assert any("board.safetensors" in t and "True" in t for t in texts)


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_moving_camera_makes_its_clip(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    script = ROOT / "examples" / "moving_camera.py"
    subprocess.run([sys.executable, script, "work"], cwd=tmp_path, env=environment(), check=True)
    with av.open(str(tmp_path / "work" / "clip.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 48
    with Image.open(tmp_path / "work" / "mask.png") as mask:
        assert mask.size == (320, 240)


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


# --- the site -------------------------------------------------------------------------------------


def pages(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        for item in nav:
            yield from pages(item)
    elif isinstance(nav, dict):
        for item in nav.values():
            yield from pages(item)


def test_every_page_is_in_the_navigation_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = sorted(pages(yaml.safe_load(text)["nav"]))
    assert listed == sorted(set(listed))
    assert {p.name for p in (ROOT / "docs").glob("*.md")} <= set(listed)


def test_the_gallery_is_small_and_every_picture_is_shown() -> None:
    folder = ROOT / "docs" / "gallery"
    page = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    pictures = sorted(folder.glob("*.jpg"))
    assert len(pictures) >= 12
    assert sorted(set(re.findall(r"gallery/(\w+\.jpg)", page))) == [p.name for p in pictures]
    for picture in pictures:
        assert picture.stat().st_size <= 60_000, picture.name
        with Image.open(picture) as image:
            assert image.width <= 2000


# --- workflows and templates ----------------------------------------------------------------------


def test_workflows_and_templates_are_yaml() -> None:
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff"]
    assert len(files) >= 6
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text("utf-8")), dict), file


def test_the_matrix_is_what_the_package_says() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert tested["python"] == re.findall(r"Python :: (3\.\d+)", project)
    assert f'requires-python = ">={tested["python"][0]}"' in project
    assert {name.split("-")[0] for name in tested["os"]} == {"ubuntu", "macos", "windows"}


def test_the_citation_is_of_this_version() -> None:
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text("utf-8")


# --- completion -----------------------------------------------------------------------------------


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LIKEWISE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "likewise verif")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run_process([]).out.split() == ["verify"]


# --- Windows, by looking --------------------------------------------------------------------------

ABSENT = {"fcntl", "grp", "pwd", "resource", "termios", "pty", "syslog"}
"""Modules that Windows lacks: to be imported inside functions, behind a test of the system."""
CALLS = {"fork", "killpg", "setsid", "getuid", "geteuid", "mkfifo", "sched_getaffinity", "chown"}
"""Functions that it lacks."""


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_nothing_needs_what_windows_lacks(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 10))
    for node in tree.body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not ABSENT & set(names), f"{file.name}:{node.lineno}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            assert node.value not in ("fork", "forkserver"), f"{file.name}:{node.lineno}"
        if isinstance(node, ast.FunctionDef) and not asks_for_the_system(node):
            used = {ast.unparse(n) for n in ast.walk(node) if isinstance(n, ast.Attribute)}
            assert not used & {f"os.{call}" for call in CALLS}, f"{file.name}:{node.name}"


def asks_for_the_system(function: ast.FunctionDef) -> bool:
    text = ast.unparse(function)
    return "os.name" in text or "sys.platform" in text


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_text_files_say_their_encoding(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = {k.arg for k in node.keywords}
        where = f"{file.name}:{node.lineno}"
        if name == "read_text" and isinstance(node.func, ast.Attribute):
            assert node.args or "encoding" in given, where
        if name == "write_text":
            assert len(node.args) > 1 or "encoding" in given, where
        other = getattr(getattr(node.func, "value", None), "id", "") == "rasterio"
        if name in ("open", "fdopen") and "format" not in given and not other:  # (PyAV's, Pillow's)
            modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
            modes += [k.value.value for k in node.keywords if k.arg == "mode"]  # type: ignore[attr-defined]
            if any(isinstance(m, str) and re.fullmatch(r"[rwax]\+?t?", m) for m in modes):
                assert "encoding" in given, where


# --- the container --------------------------------------------------------------------------------


def test_the_container_is_unprivileged_and_asks_for_its_health() -> None:
    """Docker is not asked: only what the file says."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    user = re.search(r"^USER (\w+)$", text, re.MULTILINE)
    assert user is not None
    assert user[1] != "root"
    assert "HEALTHCHECK" in text
    health = re.search(r"http://127\.0\.0\.1:8000(/[\w/]+)", text)
    assert health is not None
    assert f'"{health[1]}"' in (ROOT / "src/likewise/web/api/routes.py").read_text("utf-8")
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split())

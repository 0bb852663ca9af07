"""The package and its tests keep their layout: one way, without circles, in short files."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent / "src"
LAYERS = (
    *("errors", "processor", "io", "features", "backbones", "refine", "instances", "quality"),
    *("class_names", "prompts", "reference", "vocabulary", "methods", "result", "reference_file"),
    *("saved_references", "decision", "large", "segmenter", "session", "agreement", "matching"),
    *("tuning", "example", "run", "project", "export", "geo", "slide", "video"),
    *("volume", "integrations", "web", "lab", "__init__", "cli", "__main__"),
)
"""Packages and modules at the top of likewise: each imports only those before it."""
LONGEST = 350
LONGER: set[str] = set()
"""Files with more lines than LONGEST. Shorten one and take it off; never add one."""
FILES = sorted((SOURCE / "likewise").rglob("*.py"))


def name_of(file: Path) -> str:
    """``likewise.io.masks``; a package is its ``__init__``."""
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts)


NAMES = {name_of(file) for file in FILES}


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports: also inside functions, and for type checkers alone.

    The version of the package is no import of ``likewise.__init__``, which is loaded before all.
    """
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from filter(None, (module(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(SOURCE).parts[: -node.level] if node.level else ()
            start = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                if (start, alias.name) != ("likewise", "__version__"):
                    yield from filter(None, [module(f"{start}.{alias.name}") or module(start)])


def module(name: str) -> str | None:
    """The file of likewise that a dotted name stands for, as ``name_of``; None for others."""
    return next((n for n in (name, f"{name}.__init__") if n in NAMES), None)


def layer(name: str) -> int:
    return LAYERS.index(name.split(".")[1])


def test_imports_run_one_way() -> None:
    upward = [
        f"{name_of(file)} imports {other}"
        for file in FILES
        for other in imports(file)
        if layer(other) > layer(name_of(file))
    ]
    assert upward == []


def test_no_file_imports_itself_through_others() -> None:
    arrows = {name_of(file): set(imports(file)) - {name_of(file)} for file in FILES}
    while free := [name for name, others in arrows.items() if not others & arrows.keys()]:
        for name in free:
            del arrows[name]
    assert arrows == {}  # all of these are in a circle, or import one that is


def test_files_are_short() -> None:
    long = {
        file.relative_to(SOURCE / "likewise").as_posix()
        for file in FILES
        if len(file.read_text("utf-8").splitlines()) > LONGEST
    }
    assert long == LONGER


def test_test_files_are_short() -> None:
    files = TESTS.rglob("*.py")
    assert [f.name for f in files if len(f.read_text("utf-8").splitlines()) > 600] == []


def test_test_files_have_different_names() -> None:
    """They are imported by their bare names; see pytest's import mode "prepend"."""
    names = sorted(file.name for file in TESTS.rglob("test_*.py"))
    assert names == sorted(set(names))


def test_folders_of_tests_are_those_of_the_package() -> None:
    package = {folder.name for folder in (SOURCE / "likewise").iterdir() if folder.is_dir()}
    tests = {file.relative_to(TESTS).parts[0] for file in TESTS.glob("*/**/test_*.py")}
    assert tests - package == {"segmenter"}  # a file of the package, with several of tests


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []

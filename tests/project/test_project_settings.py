"""Projects: settings that a person edits, and databases of older versions."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import refusal
from likewise.project.database import DATABASE
from likewise.project.project import Project
from likewise.project.score_maps import Sliders
from likewise.project.settings import CONFIG, ProjectReference, ProjectSettings, read_settings
from likewise.project.settings_file import replace_settings
from painted_project import SIZE, annotate, columns, mask, paint, project, shown, statuses


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_with_a_byte_order_mark(scene: Path, encoding: str) -> None:
    project("Bär")
    path = Path("w", CONFIG)
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert read_settings(Path("w")).labels == ("Bär",)


WRITTEN = """# mine
method = 'insid3'   # literal
targets = [
    "../A", # the first
    "../B",
]

[[reference]] # of balls
mask = "m.png"
image = "r.png" # a picture

# and now boxes
[[reference]]
image = "r.png"
mask = "m2.png"
label = "box"

# the end of references

[quality]
# a limit
min_confidence = 0.50
"""


def test_settings_are_edited_in_place(tmp_path: Path) -> None:
    path = tmp_path / CONFIG
    path.write_text(WRITTEN, encoding="utf-8")
    before = read_settings(tmp_path)
    replace_settings(tmp_path, before)
    assert path.read_text(encoding="utf-8") == WRITTEN
    ball, box = before.references
    new = ProjectReference("n.png", "n_mask.png", 3, "owl")
    after = ProjectSettings(
        **asdict(before) | {
            "targets": ("../B", "../C"),
            "references": (ProjectReference(ball.image, ball.mask, label="ball"), box, new),
            "page": {"threshold": 2.0},
        }
    )  # fmt: skip
    replace_settings(tmp_path, after)
    assert read_settings(tmp_path) == after
    text = path.read_text(encoding="utf-8")
    for line in WRITTEN.splitlines():
        assert '"../A"' in line or line in text
    assert text.index("# the end of references") > text.index('label = "owl"')
    replace_settings(tmp_path, before)
    assert read_settings(tmp_path) == before
    path.write_bytes(WRITTEN.replace("\n", "\r\n").encode())
    replace_settings(tmp_path, after)
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b"")


MARKED = st.builds(
    ProjectReference,
    st.sampled_from(["r.png", "s.png"]),
    st.sampled_from(["m.png", "n.png"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from(["ball", "box", "object"]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    wanted=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
            st.lists(MARKED, max_size=4).map(tuple),
            st.sampled_from([None, 224]),
            st.dictionaries(st.sampled_from(["threshold", "granularity"]), st.floats(0, 1)),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_settings_come_back_however_they_are_edited(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("edited")
    (folder / CONFIG).write_text(WRITTEN, encoding="utf-8")
    for targets, references, size, page in wanted:
        changed = ProjectSettings(targets, references, "insid3", image_size=size, page=page)
        replace_settings(folder, changed)
        assert read_settings(folder, unfinished=True) == changed
        assert "# mine" in (folder / CONFIG).read_text(encoding="utf-8")
        assert "# the end of references" in (folder / CONFIG).read_text(encoding="utf-8")


OLD = """
CREATE TABLE images (
    path TEXT PRIMARY KEY, bytes INTEGER, changed INTEGER, hash TEXT, state TEXT NOT NULL,
    error TEXT, run TEXT, seconds REAL, confidence REAL, area REAL, doubt REAL, reasons TEXT
);
CREATE INDEX by_doubt ON images (doubt);
CREATE TABLE classes (
    path TEXT, label TEXT, confidence REAL, area REAL, reasons TEXT, PRIMARY KEY (path, label)
);
CREATE TABLE runs (
    run TEXT PRIMARY KEY, started TEXT, version TEXT, backbone TEXT, settings TEXT
);
PRAGMA user_version = 1;
"""


def test_a_project_of_likewise_0_1_0(scene: Path) -> None:
    """Its database has no verdicts, its masks no manifest, and some are of another order."""
    for number in range(2, 7):
        paint(f"A/a{number}.png", number)
    project("ball", "box")
    Path("w/masks").mkdir()
    Path("w/masks/labels.json").write_text('{"1": "ball", "2": "box"}')
    states = ["done", "accepted", "rejected", "corrected", "done", "failed", "done"]
    with sqlite3.connect(Path("w", DATABASE)) as database:
        database.executescript(OLD)
        for name, labels in (("new", ["ball", "box"]), ("old", ["box", "ball"])):
            references = [asdict(ProjectReference("r", "m", label=label)) for label in labels]
            database.execute(
                "INSERT INTO runs VALUES (?, '', '0.1.0', 'b', ?)",
                (name, json.dumps({"references": references})),
            )
        for number, state in enumerate(states):
            database.execute(
                "INSERT INTO images (path, state, run, area) VALUES (?, ?, ?, ?)",
                (f"../A/a{number}.png", state, "old" if number == 4 else "new", 0.25),
            )
            values = np.zeros(SIZE, np.uint8)
            values[:, : 6 if number == 6 else 2] = 1
            Image.fromarray(values).save(f"w/masks/a{number}.png")
    database.close()
    before = {path.name: path.read_bytes() for path in Path("w/masks").glob("*.png")}
    assert statuses() == {
        "a0": "done", "a1": "accepted", "a2": "rejected", "a3": "corrected",
        "a4": "pending",  # its numbers were of another order
        "a5": "failed", "a6": "done",
    }  # fmt: skip
    ran = annotate()
    assert ran.err.count("a6.png: it was changed without likewise, and is kept as yours") == 1
    after = {path.name: path.read_bytes() for path in Path("w/masks").glob("*.png")}
    # What a person made stays to the byte, and so does what nothing is known of.
    assert {name for name in before if before[name] != after[name]} == {"a0.png", "a4.png"}
    assert mask("a6").tolist() == values.tolist()
    assert statuses()["a6"] == "corrected"
    assert shown("a4") == columns("ball", "box")


def test_a_migration_that_fails_leaves_the_database_as_it_was(scene: Path) -> None:
    project("ball")
    with sqlite3.connect(Path("w", DATABASE)) as database:
        database.executescript(OLD + "ALTER TABLE runs ADD COLUMN wish TEXT;")  # in its way
    database.close()
    assert "duplicate column name" in refusal(Project, Path("w"))
    with sqlite3.connect(Path("w", DATABASE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in database.execute("PRAGMA table_info(images)")]
        assert "verdict" not in columns
    database.close()


def test_sliders_belong_to_no_run(scene: Path) -> None:
    project("ball")
    opened = Project(Path("w"))
    key = opened.run_key("columns")
    replace_settings(Path("w"), ProjectSettings(**asdict(opened.settings) | {
        "references": opened.settings.references, "page": {"threshold": 1.0}
    }))  # fmt: skip
    again = Project(Path("w"))
    assert again.sliders == Sliders(1.0)
    assert again.run_key("columns") == key
    assert again.run_key("other weights") != key
    opened.close()
    again.close()


def test_settings_are_parsed_once_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / CONFIG
    path.write_text(WRITTEN, encoding="utf-8")
    with mock.patch.object(tomlkit, "parse", wraps=tomlkit.parse) as parse:
        assert read_settings(tmp_path) == read_settings(tmp_path)
        assert parse.call_count == 1
        path.write_text(WRITTEN.replace("0.50", "0.75"), encoding="utf-8")
        os.utime(path, ns=(1, 1))
        assert read_settings(tmp_path).quality == {"min_confidence": 0.75}
        assert parse.call_count == 2

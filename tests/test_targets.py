"""targets.py against real folders: order, duplicates, patterns, refusals."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from helpers import refusal
from likewise.batch.targets import find_images


@pytest.fixture
def shots(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", "c.webp", ".hidden.png", "notes.txt", "sub/d.tiff", "sub/e.md"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "shots" / "folder.png").mkdir()
    return tmp_path / "shots"


def test_find_in_a_folder(shots):
    assert find_images([shots]) == [shots / "a.png", shots / "b.JPG", shots / "c.webp"]
    assert find_images(str(shots)) == find_images([shots])


def test_find_files_and_order(shots):
    targets = [shots / "notes.txt", str(shots / "c.webp"), shots]
    names = [path.name for path in find_images(targets)]
    assert names == ["notes.txt", "c.webp", "a.png", "b.JPG"]


def test_find_drops_duplicates(shots, monkeypatch):
    monkeypatch.chdir(shots)
    twice = ["a.png", "./a.png", "sub/../a.png", shots / "a.png", "."]
    assert [path.name for path in find_images(twice)] == ["a.png", "b.JPG", "c.webp"]


def test_find_by_pattern(shots, monkeypatch):
    monkeypatch.chdir(shots.parent)
    assert find_images(["shots/*.[pw]*"]) == [Path("shots/a.png"), Path("shots/c.webp")]
    everything = find_images([shots / "**" / "*"])
    names = ["a.png", "b.JPG", "c.webp", "d.tiff"]
    assert [path.name for path in everything] == names
    assert [path.name for path in find_images(["**"])] == names


def test_find_file_with_brackets_in_its_name(shots):
    odd = shots / "shot [1].png"
    odd.write_bytes(b"")
    assert find_images([odd]) == [odd]


def test_find_nothing(shots, tmp_path):
    (tmp_path / "empty").mkdir()
    assert find_images([]) == []
    text = refusal(find_images, [shots / "missing.png"])
    assert text.startswith(f"{shots / 'missing.png'} does not exist")
    for target in (tmp_path / "empty", shots / "*.txt", shots / "*.nothing"):
        text = refusal(find_images, [shots, target])
        assert str(target) in text
        assert ".jpg" in text
        assert ".webp" in text


def test_find_in_a_folder_without_permission(shots, monkeypatch):
    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    text = refusal(find_images, [shots])
    assert text.startswith(f"{shots} cannot be listed (Permission denied)")

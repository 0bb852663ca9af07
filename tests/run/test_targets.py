"""targets.py against real folders: order, duplicates, patterns, refusals."""

from __future__ import annotations

import errno
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.formats import HEIF, IMAGE_SUFFIXES
from likewise.io.images import read_image
from likewise.run.targets import find_images

WRITTEN_ELSEWHERE = (*HEIF, ".jpx", ".mpo")
"""Suffixes that Pillow reads, but does not write from one picture."""


@pytest.fixture
def shots(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", "c.webp", ".hidden.png", "notes.txt", "sub/d.tiff", "sub/e.md"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "shots" / "folder.png").mkdir()
    return tmp_path / "shots"


def notes_of(call, *args) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*args)
    return [str(w.message) for w in caught if w.category is InputWarning]


def test_nothing_of_a_folder_is_passed_over_in_silence(shots):
    for name in ("c.jfif", "d.JPE", "e.avif", "f.jp2", "g.ppm", "h.mpo", "o.pgm", "p.pnm"):
        (shots / name).write_bytes(b"")
    for name in ("j.CR2", "k.dcm", "l.nii.gz", "q.part", "._a.png", ".DS_Store"):
        (shots / name).write_bytes(b"")
    (shots / "m.jpg").symlink_to(shots / "gone.jpg")
    found = {path.name for path in find_images(shots)}
    assert found >= {"c.jfif", "d.JPE", "e.avif", "f.jp2", "g.ppm", "h.mpo", "o.pgm", "p.pnm"}
    assert not found & {"j.CR2", "k.dcm", "l.nii.gz", "m.jpg", "q.part", ".hidden.png"}
    (text,) = notes_of(find_images, shots)  # one for a folder
    assert text.startswith(
        f"{shots}: left out: 4 pictures that cannot be read: j.CR2 (camera raw: "
    )
    assert "k.dcm (DICOM: " in text
    assert "l.nii.gz (a medical volume: " in text
    assert "m.jpg (a broken link)" in text
    assert "; 2 files that are no pictures: notes.txt, q.part" in text
    assert "; 1 hidden picture: .hidden.png" in text
    assert text.endswith("; 1 subfolder with pictures: sub.")
    assert "._a.png" not in text


def test_a_folder_of_pictures_alone_says_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    (tmp_path / "masks" / "labels.json").write_text("{}")
    assert notes_of(find_images, tmp_path) == []


def test_many_left_out_are_counted(tmp_path):
    for k in range(9):
        (tmp_path / f"{k}.dcm").write_bytes(b"")
    text = refusal(find_images, tmp_path)
    assert "only 9 pictures that cannot be read" in text
    assert "and 4 more" in text
    (tmp_path / "a.png").write_bytes(b"")
    assert "9 pictures that cannot be read" in notes_of(find_images, tmp_path)[0]


def test_a_broken_link_as_target(tmp_path):
    (tmp_path / "m.jpg").symlink_to(tmp_path / "gone.jpg")
    assert "is a broken link" in refusal(find_images, tmp_path / "m.jpg")


@pytest.mark.parametrize("suffix", [s for s in IMAGE_SUFFIXES if s not in WRITTEN_ELSEWHERE])
def test_every_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix.upper()}"
    kind = Image.registered_extensions().get(suffix, "JPEG" if suffix == ".jif" else "PNG")
    mode = "1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB"
    image = Image.radial_gradient("L").resize((40, 30)).convert(mode)
    image.save(path, kind)
    assert find_images(tmp_path) == [path]
    wanted = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(read_image(path) - wanted).mean() < 6


def test_heic(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    path = tmp_path / "a.heic"
    heif.from_pillow(image).save(path, quality=90)
    assert np.abs(read_image(path).astype(int) - np.asarray(image)).mean() < 6
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "registered_extensions", dict)
    assert "pip install 'likewise[heic]'" in refusal(read_image, path)


@pytest.mark.parametrize(
    ("name", "help"), [("a.CR2", "darktable"), ("b.dcm", "likewise volume"), ("c.mha", "3D Slicer")]
)
def test_files_of_other_programs_given_by_name(tmp_path, name, help):
    Image.new("L", (4, 3)).save(tmp_path / name, "TIFF")  # as camera raw is within
    text = refusal(read_image, tmp_path / name)
    assert text.startswith(f"{tmp_path / name} cannot be read")
    assert help in text


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

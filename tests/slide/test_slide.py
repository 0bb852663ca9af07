"""Pyramids of microscopes: read at a size of pixel, labels and annotations of level 0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from commands import run_on_a_terminal
from helpers import refusal
from likewise import Segmenter
from likewise.errors import ImageError
from likewise.slide.marks import read_marks, read_slide_reference
from likewise.slide.pieces import connected_pieces
from likewise.slide.run import SlideOptions, find_slides, segment_slide, segment_slides
from likewise.slide.slide import Slide
from scenes import run
from slides import SIZE, SPOTS, halved, picture, truth, write_marks, write_ome, write_svs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_svs(folder / "a.svs", picture())
    write_ome(folder / "b.ome.tif", picture()[:, ::-1])
    write_marks(folder / "a.geojson", SPOTS)
    return folder


@pytest.fixture(scope="module")
def segmenter(tiny: Path, place: Path) -> Segmenter:
    fitted = Segmenter(tiny, image_size=224, tile=112)
    marks = place / "a.geojson"
    return fitted.fit([read_slide_reference(place / "a.svs", marks, label="spot", mpp=2.0)])


def test_windows_of_all_levels_and_between(place: Path) -> None:
    pixels = picture()
    for path, shown in ((place / "a.svs", pixels), (place / "b.ome.tif", pixels[:, ::-1])):
        slide = Slide(path)
        assert (slide.size, slide.mpp) == (SIZE, (0.5, 0.5))
        found = slide.read(slice(200, 600), slice(250, 801)).pixels
        np.testing.assert_array_equal(found, shown[200:600, 250:801])
        slide = Slide(path, level=1)
        assert (slide.size, slide.mpp) == ((512, 768), (1.0, 1.0))
        half = slide.read(slice(100, 300), slice(0, 768)).pixels
        np.testing.assert_array_equal(half, halved(shown)[100:300])
        slide = Slide(path, mpp=1.5)
        assert slide.size == (341, 512)
        whole = slide.read(slice(0, 341), slice(0, 512)).pixels
        part = slide.read(slice(50, 150), slice(70, 300)).pixels
        assert np.abs(part.astype(int) - whole[50:150, 70:300]).max() <= 1
        there = np.abs(whole.astype(int) - shown[1::3, 1::3][:341, :512]).mean()
        assert there < 8  # noise, and edges by a third of a pixel


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", None])
def test_compressed_tiles(tmp_path: Path, compression: str | None) -> None:
    path = write_svs(tmp_path / "a.svs", picture(), compression)
    found = Slide(path).read(slice(300, 700), slice(200, 900)).pixels
    assert np.abs(found.astype(int) - picture()[300:700, 200:900]).mean() < 6


def test_channels_of_fluorescence_are_stretched(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(100, 4000, (4, 600, 700)).astype(np.uint16)
    path = tmp_path / "f.ome.tif"
    axes = {"axes": "CYX"}
    tifffile.imwrite(
        path, values, tile=(128, 128), metadata=axes, photometric="minisblack", ome=True
    )
    slide = Slide(path, channels=[3, 0, 1])
    found = slide.read(slice(130, 400), slice(10, 300)).pixels
    for k, channel in enumerate((3, 0, 1)):
        shown = values[channel, 130:400, 10:300]
        assert np.corrcoef(found[..., k].ravel(), shown.ravel())[0, 1] > 0.99
    assert slide.tissue() is None
    assert "channels 0 to 3: --channel 4" in refusal(Slide, path, channels=[4])
    assert "does not say how large a pixel is" in refusal(Slide, path, mpp=1.0)


def test_labels_and_annotations(segmenter: Segmenter, place: Path, tmp_path: Path) -> None:
    """Glass is not looked at, and annotations lie on the pixels of level 0."""
    labels = tmp_path / "b.ome.tif"
    options = SlideOptions(mpp=2.0)
    found = segment_slide(segmenter, place / "b.ome.tif", labels, options)
    assert found.skipped > 0
    assert found.pieces == {"spot": 3}
    with tifffile.TiffFile(labels) as tiff:
        assert tiff.is_ome
        assert 'PhysicalSizeX="2.0"' in tiff.ome_metadata
        mask = tiff.asarray() > 0
    expected = truth()[:, ::-1]
    assert mask.shape == (256, 384)
    assert (mask & expected[2::4, 2::4]).sum() / (mask | expected[2::4, 2::4]).sum() > 0.9
    content = json.loads((tmp_path / "b.geojson").read_text("utf-8"))
    areas = [f["properties"]["measurements"]["Area µm^2"] for f in content["features"]]
    spots = [h * w * 0.25 for _, _, h, w in SPOTS]
    assert sorted(areas) == pytest.approx(sorted(spots), rel=0.15)
    marked = read_slide_reference(place / "b.ome.tif", tmp_path / "b.geojson", label="spot")
    drawn = np.asarray(marked.mask)
    assert (drawn & expected).sum() / (drawn | expected).sum() > 0.9
    again = segment_slide(segmenter, place / "b.ome.tif", labels, options, resume=True)
    assert (again.tiles, again.pieces) == (0, {"spot": 3})
    other = segment_slide(
        segmenter, place / "b.ome.tif", labels, SlideOptions(mpp=2.0, min_area=2500), resume=True
    )
    assert other.tiles > 0
    assert other.pieces == {"spot": 1}


def test_pieces_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy import ndimage

    monkeypatch.setattr("likewise.slide.pieces.ROWS", 16)
    rng = np.random.default_rng(1)
    labels = (ndimage.gaussian_filter(rng.random((200, 150)), 2) > 0.5).astype(np.uint8)
    drawn = np.zeros_like(labels, dtype=int)
    pieces = list(connected_pieces(labels, 1))
    for k, piece in enumerate(pieces, 1):
        h, w = piece.mask.shape
        assert piece.step == 1
        drawn[piece.top : piece.top + h, piece.left : piece.left + w][piece.mask] += k
    whole, count = ndimage.label(labels, np.ones((3, 3)))
    assert len(pieces) == count
    assert (
        len(set(zip(drawn[labels > 0].tolist(), whole[labels > 0].tolist(), strict=True))) == count
    )
    monkeypatch.setattr("likewise.slide.pieces.TRACED", 32)
    coarse = [piece for piece in connected_pieces(labels, 1) if piece.step > 1]
    assert coarse
    assert all(max(piece.mask.shape) <= 33 for piece in coarse)


def test_what_cannot_be_used(segmenter: Segmenter, place: Path, tmp_path: Path) -> None:
    assert "levels 0 to 2: --level 5 is none of them" in refusal(Slide, place / "a.svs", level=5)
    (tmp_path / "a.svs").write_bytes((place / "a.svs").read_bytes()[:300_000])
    pairs = [(tmp_path / "a.svs", tmp_path / "a.ome.tif")]
    (found,) = segment_slides(segmenter, pairs, SlideOptions(mpp=2.0))
    assert isinstance(found, ImageError)
    assert "cannot be read as a slide" in str(found)
    assert not list(tmp_path.glob("*.ome.tif"))
    assert "marks no area of cell, only of spot" in refusal(read_marks, place / "a.geojson", "cell")
    (tmp_path / "x.geojson").write_text("[1]", "utf-8")
    assert "no GeoJSON of annotations" in refusal(read_marks, tmp_path / "x.geojson")
    (tmp_path / "x.geojson").write_text('{"type":', "utf-8")
    assert "no GeoJSON of annotations" in refusal(read_marks, tmp_path / "x.geojson")
    assert "cannot be read (No such file" in refusal(read_marks, tmp_path / "none.geojson")
    coarse = refusal(read_slide_reference, place / "a.svs", place / "a.geojson", mpp=900.0)
    assert "marks no pixel" in coarse
    assert "--mpp" in coarse
    (tmp_path / "empty").mkdir()
    assert "holds no slides" in refusal(find_slides, [str(tmp_path / "empty")])
    assert find_slides([str(place)]) == [place / "a.svs", place / "b.ome.tif"]


def test_the_command(tiny: Path, place: Path, tmp_path: Path) -> None:
    words = ["-b", str(tiny), "--image-size", "224", "--tile", "112", "--mpp", "2"]
    example = ["-r", str(place / "a.svs"), "-m", str(place / "a.geojson"), "--label", "spot"]
    ran = run(["slide", str(place / "b.ome.tif"), "-o", str(tmp_path / "out"), *example, *words])
    assert ran.code == 0, ran.err
    assert "3 spot" in ran.out
    assert "tiles without tissue skipped" in ran.out
    target, out = str(place / "b.ome.tif"), tmp_path / "out"
    again = run(["slide", target, "-o", str(out), *example, *words, "--resume"])
    assert again.out.startswith(f"0 of 1 slides written to {out}, 1 kept")
    (out / "b.geojson").write_text('{"cut', "utf-8")
    again = run(["slide", target, "-o", str(out), *example, *words, "--resume", "--json"])
    (made,) = json.loads(again.out)["targets"]
    assert made["target"] == target
    assert made["tiles"] > 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"b.ome.tif", "b.geojson"}
    _, shown = run_on_a_terminal(["slide", target, "-o", str(out), *example, *words])
    assert f"0/{made['tiles']}" in shown
    wrong = run(["slide", str(place / "b.ome.tif"), "-o", "out", *example, "--mpp", "0"])
    assert wrong.code == 2
    assert "µm above 0" in wrong.err

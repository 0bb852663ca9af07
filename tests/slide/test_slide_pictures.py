"""Slides where pictures are read: at a level, at µm a pixel, or at what is within the limit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from commands import done
from helpers import refusal
from likewise import Plane, Segmenter, match, read_vocabulary
from likewise.backbones.encoder import Encoder
from likewise.errors import noting
from likewise.io.images import read_image, read_picture, reading_bytes
from likewise.io.opening import Sent
from likewise.io.planes import Choice
from likewise.project.project import Project
from likewise.project.settings import read_settings
from likewise.run.manifest import Manifest
from likewise.web.ui.marks import read_painted
from likewise.web.ui.workspace import Workspace
from live import serving
from scenes import TINY, run, sandbox
from slides import SIZE, SPOTS, halved, picture, truth, write_marks, write_ome, write_svs


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """a.svs and b.ome.tif (mirrored) of three levels, 0.5 µm a pixel, and marks.geojson of a."""
    (tmp_path / "tiny").symlink_to(tiny)
    with sandbox(tmp_path):
        write_svs(Path("a.svs"), picture())
        write_ome(Path("b.ome.tif"), picture()[:, ::-1])
        write_marks(Path("marks.geojson"), SPOTS)
        yield tmp_path


def segment(*more: str) -> list[str]:
    files = ["a.svs", "b.ome.tif", "-r", "a.svs", "-m", "marks.geojson"]
    return ["segment", *files, "--out", "out", *TINY, "--tile", "off", *more]


def mask_of(path: str) -> np.ndarray:
    with Image.open(path) as mask:
        return np.array(mask) > 0


def read(name: str, **choice: float) -> tuple[np.ndarray, list[str]]:
    with noting() as notes:
        pixels = read_image(Plane(name, **choice) if choice else name)
    return pixels, notes


def test_levels_and_sizes_of_pixel(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pixels in (("a.svs", picture()), ("b.ome.tif", picture()[:, ::-1])):
        found, notes = read(name)
        np.testing.assert_array_equal(found, pixels)
        assert notes == [f"{name}: level 0 was taken, of 0 to 2: 1536 × 1024 pixels."]
        half = halved(pixels)
        for choice in ({"level": 1}, {"mpp": 1.0}):
            found, notes = read(name, **choice)
            np.testing.assert_array_equal(found, half)
            assert notes == []
        found, _ = read(name, mpp=1.5)
        assert found.shape == (341, 512, 3)
        assert np.abs(found.astype(int) - pixels[1::3, 1::3][:341, :512]).mean() < 8
        blue, _ = read(name, channels=(2,), level=1)
        np.testing.assert_array_equal(blue[..., 0], half[..., 2])
        assert "has the levels 0 to 2: --level 3 is none of them" in refusal(read, name, level=3)

        monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "400000")
        found, notes = read(name)
        np.testing.assert_array_equal(found, half)
        assert notes == [f"{name}: level 1 was taken, of 0 to 2: 768 × 512 pixels."]
        for choice in ({"level": 0}, {"mpp": 0.7}):
            assert "over the limit of 400000: --level 1 fits (768 × 512)" in refusal(
                read, name, **choice
            )
        monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "9000")
        assert "limit of 9000: give it to likewise slide, or" in refusal(read, name)
        assert read(name, mpp=20.0)[0].shape == (26, 38, 3)
        monkeypatch.delenv("LIKEWISE_MAX_PIXELS")
    assert "--level stands instead of it" in refusal(Plane, "a.svs", mpp=1.0, level=1)
    assert "a number of µm above 0" in refusal(Choice, mpp=-1.0)


def test_what_has_one_size_is_read_as_it_is(scene: Path) -> None:
    Image.fromarray(picture()).save("a.png")
    tifffile.imwrite("plain.tif", picture(), photometric="rgb")
    for name in ("a.png", "plain.tif"):
        for choice in ({"mpp": 2.0}, {"level": 1}):
            found, notes = read(name, **choice)
            np.testing.assert_array_equal(found, picture())
            assert notes == [
                f"{name}: it has no other level or size of pixel, and was read as it is."
            ]
        assert read(name, level=0)[1] == []
    told = {f"PhysicalSize{axis}": 0.5 for axis in "XY"}  # one level, and it says how large
    tifffile.imwrite("one.ome.tif", picture(), photometric="rgb", metadata={"axes": "YXS", **told})
    found, notes = read("one.ome.tif", mpp=1.0)
    assert (found.shape, notes) == ((512, 768, 3), [])
    assert np.abs(found.astype(int) - halved(picture())).mean() < 3


def test_planes_and_wide_values_of_pyramids(scene: Path) -> None:
    """Z and C in pages of their own: --page and --channel count as in other files."""
    values = np.random.default_rng(0).integers(100, 4000, (2, 3, 600, 700)).astype(np.uint16)
    how = {"tile": (128, 128), "photometric": "minisblack"}
    with tifffile.TiffWriter("f.ome.tif", ome=True) as tiff:
        tiff.write(values, subifds=1, metadata={"axes": "ZCYX"}, **how)
        tiff.write(values[..., ::2, ::2], subfiletype=1, **how)
    found, notes = read("f.ome.tif", page=1, channels=(2, 0, 1), level=1)
    for k, channel in enumerate((2, 0, 1)):
        shown = values[1, channel, ::2, ::2]
        assert np.corrcoef(found[..., k].ravel(), shown.ravel())[0, 1] > 0.99
    assert not any("taken" in note for note in notes)
    found, notes = read("f.ome.tif", level=1)
    assert "f.ome.tif: page 0 was taken, of 0 to 5." in notes
    assert np.corrcoef(found[..., 0].ravel(), values[0, 0, ::2, ::2].ravel())[0, 1] > 0.99
    assert "has pages 0 to 5: --page 6" in refusal(read, "f.ome.tif", page=6, level=1)


def test_segment_writes_masks_of_the_level(scene: Path) -> None:
    assert done(run(segment("--level", "2"))) == "2 of 2 masks written to out\n"
    with noting():
        reference = Plane("a.svs", level=2), truth()[2::4, 2::4]
        segmenter = Segmenter("tiny", image_size=64, tile="off").fit(reference)
        for mask, file in (("a.png", "a.svs"), ("b.ome.png", "b.ome.tif")):
            expected = segmenter.segment(Plane(file, level=2)).mask
            np.testing.assert_array_equal(mask_of(f"out/{mask}"), expected)
    entry = Manifest(Path("out")).entry_of(Path("out/a.png"))
    assert entry is not None
    assert entry.choice == Choice(level=2)
    assert run(segment("--level", "2", "--resume")).out.endswith("2 kept\n")
    again = run(segment("--mpp", "3", "--resume")).out
    assert again.startswith("2 of 2 masks written to out, 0 kept")
    assert mask_of("out/a.png").shape == (171, 256)


def test_folders_of_slides(scene: Path) -> None:
    found = run(["segment", ".", *segment("--level", "2")[3:]])
    assert found.out == "2 of 2 masks written to out\n"


def save_masks(out: Path, file: str, mask: np.ndarray, choice: Choice) -> None:
    manifest, picture = Manifest(out), Path(file)
    manifest.allot(["spot"], label_maps=False)
    place = out / f"{picture.stem}.png"
    Image.fromarray(mask.astype(np.uint8) * 255).save("m.png")
    manifest.write(place, Path("m.png").read_bytes(), choice.of(picture), "")
    Path("m.png").unlink()


@pytest.mark.parametrize("choice", [Choice(level=1), Choice(mpp=1.0), Choice()])
def test_exports(scene: Path, choice: Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    """For QuPath in pixels of level 0; other formats have the picture as it was read."""
    if choice == Choice():
        monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "400000")
    save_masks(Path("out"), "a.svs", truth()[::2, ::2], choice)
    save_masks(Path("out"), "b.ome.tif", truth()[::2, ::-2], choice)
    for kind in ("qupath", "coco", "yolo", "voc", "labelme"):
        found = run(["export", "out", "-i", "a.svs", "-i", "b.ome.tif", "-f", kind, "-o", kind])
        assert found.out.startswith("2 images with 6 instances written")
    for name, mirrored in (("a", False), ("b.ome", True)):
        features = json.loads(Path(f"qupath/{name}.geojson").read_text("utf-8"))["features"]
        boxes = set()
        for one in features:
            ring = np.array(one["geometry"]["coordinates"][0])
            (left, top), (right, bottom) = ring.min(0), ring.max(0)
            left, right = (SIZE[1] - right, SIZE[1] - left) if mirrored else (left, right)
            boxes.add((top, left, bottom - top, right - left))
            area = one["properties"]["measurements"]
            assert area["Area µm^2"] == area["Area px^2"] / 4
        assert boxes == set(SPOTS)
    listed = json.loads(Path("coco/annotations.json").read_text("utf-8"))["images"]
    assert {(i["file_name"], i["height"], i["width"]) for i in listed} == {
        ("a.svs", 512, 768),
        ("b.ome.tif", 512, 768),
    }
    for file in ("yolo/images/train/a.png", "voc/JPEGImages/a.png"):
        np.testing.assert_array_equal(read_image(file), halved(picture()))
    assert json.loads(Path("labelme/a.json").read_text("utf-8"))["imageHeight"] == 512


def test_level_0_is_copied_as_it_is(scene: Path) -> None:
    save_masks(Path("out"), "a.svs", truth(), Choice())
    done(run(["export", "out", "-i", "a.svs", "-f", "yolo", "-o", "yolo"]))
    assert Path("yolo/images/train/a.svs").read_bytes() == Path("a.svs").read_bytes()


def test_a_mask_of_another_size_is_refused(scene: Path) -> None:
    save_masks(Path("out"), "a.svs", truth()[::2, ::2], Choice(level=2))
    found = run(["export", "out", "-i", "a.svs", "-f", "coco", "-o", "coco"])
    assert "a.png is 768 × 512 pixels, but a.svs is 384 × 256" in found.err


def test_projects(scene: Path) -> None:
    files = ["-r", "a.svs", "-m", "marks.geojson", "--label", "spot", "-t", "*.svs", "-t", "*.tif"]
    done(run(["init", "work", *files, *TINY, "--level", "2"]))
    assert read_settings(Path("work")).choice == Choice(level=2)
    toml = Path("work/likewise.toml")
    toml.write_text(toml.read_text("utf-8").replace('tile = "auto"', 'tile = "off"'), "utf-8")
    assert "2 of 2 images annotated" in done(run(["annotate", "work"]))
    assert "2 kept" in done(run(["annotate", "work"]))
    project = Project(Path("work"))
    (job,) = (job for job in project.jobs() if job.target.name == "a.svs")
    assert mask_of(str(job.mask)).shape == (256, 384)
    project.correct(job.target, truth()[2::4, 2::4].astype(np.uint8))
    project.close()
    done(run(["report", "work"]))
    done(run(["export", "work", "-f", "qupath", "-o", "qupath"]))
    features = json.loads(Path("qupath/a.geojson").read_text("utf-8"))["features"]
    corners = [np.array(f["geometry"]["coordinates"][0]).min(0).tolist() for f in features]
    assert sorted(corners) == sorted([left, top] for top, left, _, _ in SPOTS)

    toml.write_text(toml.read_text("utf-8").replace("\nlevel = 2", "\nmpp = 1.0"), "utf-8")
    assert "1 of 2 images annotated" in done(run(["annotate", "work"]))  # not the corrected one
    assert mask_of("work/masks/b.ome.png").shape == (512, 768)
    project = Project(Path("work"))
    assert "1024" not in refusal(
        project.read_correction, Path("b.ome.tif"), Path("work/masks/a.png")
    )
    project.close()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("colour = 1", "[picture] colour is unknown; use mpp, level, page, channel"),
        ("level = -1", "[picture] counts pages, levels and one or three channels from 0"),
        ("channel = [0, 1]", "one or three channels from 0: write such as channel = [2, 1, 0]"),
        ('channel = ["red"]', "one or three channels from 0"),
        ("mpp = inf", "[picture] mpp is a number of µm above 0"),
        ("mpp = 0", "[picture] mpp is a number of µm above 0"),
        ("mpp = 2\nlevel = 1", "level stands instead of it"),
    ],
)
def test_pictures_that_nobody_understands(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "likewise.toml").write_text(f'targets = ["in"]\n[picture]\n{table}\n', "utf-8")
    assert words in refusal(read_settings, tmp_path, unfinished=True)


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("s.ome.tif", "channel = [3]", "has channels 0 to 2: channel = [3] in [picture] of"),
        ("s.ome.tif", "page = 6", "has pages 0 to 5: page = 6 in [picture] of likewise.toml is"),
        ("a.svs", "level = 3", "has the levels 0 to 2: level = 3 in [picture] of likewise.toml is"),
        ("a.tif", "mpp = 2.0", "give level instead of mpp = 2.0 in [picture] of likewise.toml."),
        ("a.tif", "level = 0", "limit of 100000: level = 1 in [picture] of likewise.toml fits"),
        ("two.tif", "page = 1", "and page = 1 in [picture] of likewise.toml is none of the first"),
    ],
)
def test_messages_name_the_key_of_a_project(
    scene: Path, monkeypatch: pytest.MonkeyPatch, name: str, table: str, words: str
) -> None:
    """Not an option, which nobody gave."""
    stack = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 48), dtype=np.uint8)
    tifffile.imwrite("s.ome.tif", stack, metadata={"axes": "ZCYX"}, photometric="minisblack")
    with tifffile.TiffWriter("a.tif") as file:
        for step in (1, 2):
            pixels = np.ascontiguousarray(picture()[:300:step, :400:step])
            file.write(pixels, photometric="rgb", tile=(128, 128), subfiletype=int(step > 1))
    with tifffile.TiffWriter("two.tif") as file:
        file.write(stack[0, 0])
        file.write(stack[0, 0, :20])
    Path("work").mkdir()
    toml = f'targets = ["../{name}"]\n[picture]\n{table}\n'
    Path("work/likewise.toml").write_text(toml, "utf-8")
    monkeypatch.setenv("LIKEWISE_MAX_PIXELS", "100000")
    project = Project(Path("work"), unfinished=True)
    (job,) = project.jobs()
    told = refusal(read_picture, job.picture)
    project.close()
    assert words in told
    assert "--" not in told
    assert told.endswith(".")


def test_vocabularies_and_points(scene: Path) -> None:
    folder = Path("v/spot")
    folder.mkdir(parents=True)
    Path("a.svs").rename(folder / "a.svs")
    Path("marks.geojson").rename(folder / "a.geojson")
    (reference,) = read_vocabulary("v", choice=Choice(level=2))
    assert isinstance(reference.image, Plane)
    assert np.shape(reference.mask) == (256, 384)
    words = ["segment", "b.ome.tif", "--vocabulary", "v", "--out", "out", *TINY, "--level", "2"]
    done(run([*words, "--tile", "off"]))
    assert mask_of("out/b.ome.png").shape == (256, 384)
    done(run(["references", "save", "--vocabulary", "v", "--out", "v.safetensors", *words[6:]]))
    words = ["match", "b.ome.tif", "-r", "b.ome.tif", "--point", "100,60", "--json", *words[6:]]
    (found,) = json.loads(done(run(words)))
    plane = Plane("b.ome.tif", level=2)
    points, _ = match(Segmenter("tiny", image_size=64), plane, [(100, 60)], plane)
    np.testing.assert_allclose(found["points"], points, atol=1e-3)
    assert "outside its image of 384x256" in run([*words[:5], "400,60", *words[6:]]).err


def test_a_server_reads_what_is_within_its_limit(scene: Path) -> None:
    encoder = Encoder("tiny", image_size=64, device="cpu")
    with serving(lambda: Segmenter(encoder), root=scene.resolve(), max_pixels=120_000) as server:
        Image.fromarray(truth()[2::4, 2::4]).save("mask.png")
        files = [("images", Path("a.svs")), ("masks", Path("mask.png"))]
        sent = server.ask("POST", "/v1/references", files)
        note = "level 2 was taken, of 0 to 2: 384 × 256 pixels."
        assert sent.json["notes"] == [f"images[0]: {note}"]
        fields = [("reference", sent.json["id"]), ("path", "b.ome.tif")]
        found = server.ask("POST", "/v1/segment", fields).json
        assert (found["width"], found["height"]) == (384, 256)
        assert found["notes"][0] == f"the file at path: {note}"


def test_the_page_shows_annotations_of_qupath(scene: Path) -> None:
    """At the level that the project reads."""
    files = ["-r", "a.svs", "-m", "marks.geojson", "--label", "spot", "-t", "*.tif"]
    done(run(["init", "work", *files, *TINY, "--level", "2"]))
    painted = read_painted(Workspace(Path("work")), Path("a.svs").absolute())
    np.testing.assert_array_equal(painted > 0, truth()[2::4, 2::4])


def test_overviews_of_a_raster_have_their_masks(scene: Path) -> None:
    hidden = np.zeros(SIZE, bool)
    hidden[:400, 500:] = True
    with tifffile.TiffWriter("g.tif") as file:
        for step in (1, 2, 4):
            small = int(step > 1)
            pixels = np.ascontiguousarray(picture()[::step, ::step])
            file.write(pixels, photometric="rgb", tile=(256, 256), subfiletype=small)
            file.write(~hidden[::step, ::step], subfiletype=4 + small)
    with noting() as notes:
        whole = read_picture("g.tif")
        half = read_picture(Plane("g.tif", level=1))
    assert notes == []
    np.testing.assert_array_equal(whole.valid, ~hidden)
    np.testing.assert_array_equal(half.valid, ~hidden[::2, ::2])
    shown = ~hidden[::2, ::2]
    np.testing.assert_array_equal(half.pixels[shown], picture()[::2, ::2][shown])


def test_a_garbled_size_of_pixel_is_none(scene: Path) -> None:
    for told in ("MPP = 0", "MPP = 0.5.2"):
        with tifffile.TiffWriter("g.svs") as file:
            for step in (1, 1, 2):  # the second is the thumbnail
                pixels = np.ascontiguousarray(picture()[::step, ::step])
                text = f"Aperio Image Library v12.0\n1536x1024|{told}"
                how = {"photometric": "rgb", "description": text, "metadata": None}
                file.write(pixels, tile=(256, 256), **how)
        assert "does not say how large a pixel is" in refusal(read, "g.svs", mpp=1.0)
        assert read("g.svs", level=1)[0].shape == (512, 768, 3)


def test_numbers_of_colours_are_read_as_they_are(scene: Path) -> None:
    """A level of them would show other colours; so they count as one size, also of a server."""
    values, colours = truth().astype(np.uint8), np.zeros((3, 256), np.uint16)
    colours[0, 1] = 65535
    with tifffile.TiffWriter("p.tif") as file:
        for step in (1, 2):
            pixels, small = np.ascontiguousarray(values[::step, ::step]), int(step > 1)
            how = {"photometric": "palette", "colormap": colours, "subfiletype": small}
            file.write(pixels, tile=(256, 256), **how)
    found, notes = read("p.tif", level=1)
    np.testing.assert_array_equal(found[..., 0] > 0, truth())
    assert notes == ["p.tif: it has no other level or size of pixel, and was read as it is."]
    content = Sent(Path("p.tif").read_bytes())
    content.most = 400_000
    assert reading_bytes(content, "image")[0] == SIZE
    content = Sent(Path("a.svs").read_bytes())
    content.most = 400_000
    assert reading_bytes(content, "image")[0] == (512, 768)

"""A folder of named references: what counts as what, what cannot be used, and what is found."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import likewise
from helpers import refusal
from likewise import Reference, Segmenter, read_vocabulary
from likewise.errors import InputWarning
from likewise.io.draw import class_colour, with_legend
from likewise.reference import read_reference
from likewise.run.targets import IMAGE_SUFFIXES
from scenes import SIZE, TINY, make_scene, run, sandbox

EXAMPLE = Path(likewise.__file__).parent / "example"


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder: reference.png, mask.png, a.jpg, b.jpg, c.jpg, tiny/."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        yield folder


def put(path: str, marked: bool | None = None) -> Path:
    """A picture, its mask, or (None) the picture cut out."""
    file = Path("v") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.open("mask.png")
    image = Image.open("reference.png").convert("RGB")
    if marked is None:
        image.putalpha(mask)
    (mask if marked else image).save(file)
    return file


def labelme(path: str, label: str) -> None:
    shape = {"label": label, "points": [[10, 8], [32, 30]], "shape_type": "rectangle"}
    content = {"shapes": [shape], "imageHeight": SIZE[1], "imageWidth": SIZE[0]}
    (Path("v") / path).write_text(json.dumps(content))


def test_every_way_to_put_a_mask(scene: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    for picture, mask in (
        ("traffic light/x.jpg", "traffic light/x.png"),
        (f"{decomposed}/x.png", f"{decomposed}/x_mask.png"),
        ("person/x.jpg", "person/masks/x.png"),
        ("person/y.png", "person/masks/y_mask.png"),
        ("person/hair/x.webp", "person/hair/x.png"),
        ("negatives/z.png", "negatives/z_mask.png"),
        ("animal/кошка/1.jpg", "animal/кошка/1_mask.png"),
    ):
        put(picture, False)
        put(mask, True)
    put("cut out/x.png")
    put("drawn/hand/x.jpg", False)
    labelme("drawn/hand/x.json", "hand")
    put("negatives/all.jpg", False)
    (Path("v") / ".DS_Store").write_bytes(b"0")
    (Path("v") / "person" / "notes.txt").write_text("whose?")

    references = read_vocabulary("v")
    labels = [(r.label, r.negative) for r in references]
    assert labels == [
        ("animal/кошка", False),  # a folder of folders is no class
        ("café", False),
        ("cut out", False),
        ("drawn/hand", False),
        ("person", False),
        ("person", False),
        ("person/hair", False),
        ("traffic light", False),
        ("object", True),
        ("object", True),
    ]
    assert all(isinstance(r.image, Path) for r in references)  # they may be many
    truth = np.asarray(Image.open("mask.png")) > 0
    for reference in references:
        _, mask = read_reference(reference)
        whole = reference.image == Path("v/negatives/all.jpg")
        np.testing.assert_array_equal(mask, np.ones_like(truth) if whole else truth)
    some = read_vocabulary("v", only=[decomposed, "person/hair"])
    assert [r.label for r in some] == ["café", "person/hair", "object", "object"]


def test_what_cannot_be_used(scene: Path) -> None:
    assert "is no folder" in refusal(read_vocabulary, "v")
    Path("v").mkdir()
    assert "v has no class: make a folder" in refusal(read_vocabulary, "v")
    Path("v/cat").mkdir()
    assert "cat holds no image: add one" in refusal(read_vocabulary, "v")
    put("cat/x.jpg", False)
    assert "x.jpg has no mask: put x_mask.png, or Labelme's x.json" in refusal(read_vocabulary, "v")
    put("cat/x.png", True)
    put("cat/x_mask.png", True)
    assert "x.jpg has 2 masks (x_mask.png, x.png): keep one" in refusal(read_vocabulary, "v")
    Path("v/cat/x_mask.png").unlink()
    put("cat/masks/y.png", True)
    assert "y.png has no image beside it: add y.jpg" in refusal(read_vocabulary, "v")
    Path("v/cat/masks/y.png").unlink()
    assert len(read_vocabulary("v")) == 1
    assert "has no class 'dog'" in refusal(read_vocabulary, "v", only=["dog"])
    Image.new("L", (10, 40), 255).save("v/cat/x.png")
    assert "x.png is 10 × 40 pixels, but its image is 48 × 40" in refusal(read_vocabulary, "v")
    put("cat/x.png", True)
    put("x.jpg", False)
    assert "x.jpg lies beside the class folders" in refusal(read_vocabulary, "v")
    Path("v/x.jpg").unlink()
    Path("v/cat/negatives").mkdir()
    assert "negatives is the name of no class" in refusal(read_vocabulary, "v")
    Path("v/cat/negatives").rmdir()
    Path("v/cat/x.png").unlink()
    labelme("cat/x.json", "dog")
    assert "marks no cat in" in refusal(read_vocabulary, "v")
    opaque = Image.open("reference.png").convert("RGBA")
    Path("v/cat/x.json").unlink()
    Path("v/cat/x.jpg").unlink()
    opaque.save("v/cat/x.png")  # an alpha channel that says nothing is no mask
    assert "x.png has no mask" in refusal(read_vocabulary, "v")


def make_example(folder: Path) -> Path:
    """A vocabulary of the bundled pictures."""
    for name, picture in (("chess board", "board_reference.jpg"), ("coin", "coin_reference.png")):
        (folder / name).mkdir(parents=True)
        stem, suffix = picture.split(".")
        for source, target in ((picture, f"x.{suffix}"), (f"{stem}_mask.png", "x_mask.png")):
            (folder / name / target).write_bytes((EXAMPLE / source).read_bytes())
    return folder


def test_each_picture_gets_its_own_name(tmp_path: Path) -> None:
    segmenter = Segmenter(image_size=224).fit(read_vocabulary(make_example(tmp_path / "v")))
    board = segmenter.segment(EXAMPLE / "board_1.jpg")
    coins = segmenter.segment(EXAMPLE / "coin_1.png")
    assert board.labels == ("chess board", "coin")
    assert (board.label_map == 1).mean() > 0.15
    assert (board.label_map == 2).mean() < 0.02
    assert (coins.label_map == 2).mean() > 0.15
    assert (coins.label_map == 1).mean() < 0.02
    # What is known to be there is all that is looked for, and nothing is learnt again.
    few = segmenter.only(["coin"])
    assert few.segment(EXAMPLE / "coin_1.png").labels == ("coin",)
    assert segmenter.segment(EXAMPLE / "coin_1.png").labels == board.labels
    assert "there is no reference of the class 'cat': use some of chess board, coin." in refusal(
        segmenter.only, ["cat"]
    )
    assert "no class was chosen" in refusal(segmenter.only, [])


def test_a_class_that_is_nowhere_is_absent_without_a_further_look(tmp_path: Path) -> None:
    """Among several classes, one without a patch above the threshold has no confidence."""
    segmenter = Segmenter(image_size=224).fit(read_vocabulary(make_example(tmp_path / "v")))
    segmenter = segmenter.with_threshold(6.0)
    nowhere = 0
    for name in ("board_1.jpg", "coin_1.png"):
        found = segmenter.segment(EXAMPLE / name)
        for number, (label, result) in enumerate(found.classes.items(), 1):
            alone = segmenter.only([label]).segment(EXAMPLE / name)
            if (result.trace.decided > 6).any():
                assert result.confidence == alone.confidence
                assert result.confidence > 0
            else:
                assert result.confidence == 0
                assert not (found.label_map == number).any()
                assert not alone.mask.any()
                nowhere += 1
    assert 0 < nowhere < 4


def mask_of(name: str) -> Path:
    return EXAMPLE / f"{name}_reference_mask.png"


def test_segment_with_a_vocabulary(scene: Path) -> None:
    for name in ("thing", "edge", "third"):
        put(f"{name}/x.png", False)
        put(f"{name}/x_mask.png", True)
    corner = np.zeros(SIZE[::-1], np.uint8)
    corner[:, 36:] = 255
    Image.fromarray(corner).save("v/edge/x_mask.png")
    words = ["a.jpg", "reference.png", "--vocabulary", "v", *TINY]
    ran = run(["segment", *words, "--out", "out", "--only", "thing", "--only", "edge", "--json"])
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert report["labels"] == {"1": "edge", "2": "thing"}
    assert report["references"] == 2
    assert json.loads(Path("out/labels.json").read_text()) == report["labels"]
    segmenter = Segmenter("tiny", image_size=64)
    expected = segmenter.fit(
        [
            Reference("reference.png", corner, label="edge"),
            Reference("reference.png", "mask.png", label="thing"),
        ]
    ).segment("a.jpg")
    np.testing.assert_array_equal(np.asarray(Image.open("out/a.png")), expected.label_map)
    # Encoded once, they give the same, also a part of them.
    save = ["references", "save", "--vocabulary", "v", "--out", "v.safetensors", *TINY]
    assert run(save).code == 0
    again = ["segment", "a.jpg", "reference.png", "--references", "v.safetensors", "--backbone"]
    ran = run([*again, "tiny", "--out", "kept", "--only", "edge", "--only", "thing"])
    assert ran.code == 0, ran.err
    for name in ("a.png", "reference.png", "labels.json"):
        assert Path("kept", name).read_bytes() == Path("out", name).read_bytes()


def test_the_legend_names_what_is_there() -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    assert with_legend(picture, {}) is picture
    seen = with_legend(picture, {2: "coin", 7: "chess board"})
    np.testing.assert_array_equal(seen[:200], picture)
    strip = seen[200:].reshape(-1, 3)
    for k in (2, 7):
        assert (strip == class_colour(k)).all(axis=1).sum() == 12**2  # its square
    assert not (strip == class_colour(1)).all(axis=1).any()
    long = dict.fromkeys(range(1, 9), "a long name " * 3)  # one below the other, not cut
    assert len(with_legend(picture, long)) > len(with_legend(picture, {1: "a"})) + 7 * 11


def test_names_in_both_spellings(scene: Path) -> None:
    for one, other in (("NFC", "NFD"), ("NFD", "NFC")):
        picture, mask = (unicodedata.normalize(form, "münze") for form in (one, other))
        put(f"{one}/{picture}.jpg", False)
        put(f"{one}/{mask}_mask.png", True)
        put(f"{one} beside/{picture}.jpg", False)
        put(f"{one} beside/{mask}.png", True)
        put(f"{one} in masks/{picture}.jpg", False)
        put(f"{one} in masks/masks/{mask}.png", True)
    assert len(read_vocabulary("v")) == 6
    for name in ("café", unicodedata.normalize("NFD", "café")):
        assert Reference("a.png", "m.png", label=name).label == "café"


def test_every_kind_of_image_may_have_a_mask(scene: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        file = put(f"coin/{suffix[1:]}.png", False)
        file.rename(file.with_suffix(suffix.upper()))  # the content tells, and any case will do
        put(f"coin/{suffix[1:]}_mask.png", True)
    assert len(read_vocabulary("v")) == len(IMAGE_SUFFIXES)


def test_what_lies_beside_an_image(scene: Path) -> None:
    put("coin/a.jpg", False)
    mask = put("coin/a.png", True)
    ((_, found),) = map(read_reference, read_vocabulary("v"))
    np.testing.assert_array_equal(found, np.asarray(Image.open("mask.png")) > 0)
    # An image of its own is not taken for a mask.
    Image.open("reference.png").save(mask)
    text = refusal(read_vocabulary, "v")
    assert "coin/a.png is " in text.replace("\\", "/")
    assert "beside a.jpg it is taken to be its mask, so give it another name" in text
    mask.unlink()
    # A kind of image that is not read, with its mask.
    Path("v/coin/a.jpg").rename("v/coin/a.xcf")
    put("coin/a_mask.png", True)
    text = refusal(read_vocabulary, "v")
    assert "a.xcf is of no kind of image that is read, and a_mask.png seems to be its" in text
    Path("v/coin/a.xcf").unlink()
    for name in ("a.jpg", "a.webp"):
        put(f"coin/{name}", False)
    text = refusal(read_vocabulary, "v")
    assert "a_mask.png belongs to 2 images (a.jpg, a.webp): give them different names" in text


def test_annotations_of_every_kind_beside_images(scene: Path) -> None:
    share = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"
    shape = '<polygon label="coin" points="10,8;32,8;32,30;10,30"/>'
    for name in ("x", "y", "z"):
        put(f"coin/{name}.jpg", False)
    labelme("coin/x.JSON", "coin")
    Path("v/coin/y.txt").write_text(share)
    Path("v/coin/z.xml").write_text(
        f'<annotations><image name="z.jpg" width="48" height="40">{shape}</image></annotations>'
    )
    Path("v/coin/classes.txt").write_text("coin\n")
    Path("v/coin/masks").mkdir()
    Path("v/coin/masks/labels.json").write_text('{"255": "coin"}')
    with pytest.warns(InputWarning) as notes:
        references = read_vocabulary("v")
    assert len(references) == 3
    said = [str(note.message) for note in notes]
    assert len(said) == 2
    assert all("belongs to no image beside it and is passed over." in text for text in said)

"""References in a file: the same results as from the pictures, and what cannot be used."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from helpers import refusal
from likewise import INSID3Params, NearestParams, Reference, SegICParams, Segmenter
from likewise.backbones.cut import cut_backbone
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import load_backbone
from likewise.io.images import read_image
from likewise.methods import METHODS, get_method
from likewise.methods.segic.decoder import Decoder, DecoderShape
from likewise.methods.segic.files import Trained, save_decoder
from likewise.reference import THUMBNAIL, thumbnail
from likewise.reference_file import ENTRY, FORMAT, digest_of, read_info, read_thumbnails
from likewise.result import Result
from scenes import SIZE, TINY, Ran, full_disk, make_scene, run, sandbox, segment

FILE = "r.safetensors"


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder: reference.png, mask.png, a.jpg, b.jpg, c.jpg, tiny/."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        yield folder


def build(**options: Any) -> Segmenter:
    return Segmenter("tiny", **{"image_size": 64, **options})


def with_decoder(method: str) -> dict[str, Any]:
    """The method, and what it cannot do without."""
    if method != "segic":
        return {"method": method}
    torch.manual_seed(0)
    encoder = build().encoder
    decoder = Decoder(DecoderShape(dim=encoder.spec.dim, hidden=16, layers=1, heads=2))
    save_decoder(Path("d.safetensors"), decoder, Trained.by(encoder))
    return {"method": SegICParams("d.safetensors")}


def corner() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[:, 36:] = True
    return mask


def examples(negative: bool) -> list[Reference]:
    """Two classes in one picture, a second shot of the first, and what it is not."""
    found = [
        Reference("reference.png", "mask.png", label="thing"),
        Reference("reference.png", corner(), label="edge"),
        Reference("b.jpg", np.roll(read_image("mask.png")[..., 0] > 0, 24, axis=1), label="thing"),
    ]
    return [*found, Reference("c.jpg", None, negative=True)] if negative else found


def assert_same(one: Result, other: Result) -> None:
    """To the last bit, class by class."""
    np.testing.assert_array_equal(one.label_map, other.label_map)
    assert one.label_map.any()
    assert one.labels == other.labels
    for label in one.labels:
        np.testing.assert_array_equal(one.classes[label].scores, other.classes[label].scores)
        assert one.classes[label].confidence == other.classes[label].confidence


def done(ran: Ran) -> str:
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def saved(**options: Any) -> Segmenter:
    segmenter = build(**options).fit(("reference.png", "mask.png"))
    segmenter.save(FILE)
    return segmenter


def rewrite(*, sealed: bool = True, **changes: Any) -> None:
    """Change what the file says of itself, as if it had been written so."""
    from safetensors import safe_open

    with safe_open(FILE, framework="np") as file:
        facts = json.loads(file.metadata()[ENTRY])
    tensors, facts = load_file(FILE), facts | changes
    if sealed:
        facts["digest"] = digest_of({k: v for k, v in facts.items() if k != "digest"}, tensors)
    save_file(tensors, FILE, {ENTRY: json.dumps(facts)})


# --- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_results_are_those_of_the_pictures(scene: Path, method: str) -> None:
    options = with_decoder(method)
    fitted = build(**options).fit(examples(get_method(method).CAN.negatives))
    fitted.save(FILE)
    assert read_info(FILE).settings == vars(fitted.params)
    with mock.patch("likewise.reference.read_picture", side_effect=AssertionError):
        fresh = build(**options)
        with mock.patch.object(Encoder, "tokens", side_effect=AssertionError("encoded again")):
            loaded = fresh.load(FILE)
    assert loaded is fresh
    assert loaded.references is not None
    assert loaded.references.labels == ("thing", "edge")
    for name in ("a.jpg", "reference.png"):
        assert_same(loaded.segment(name), fitted.segment(name))


def test_consensus_and_refinement_after_loading(scene: Path) -> None:
    fitted = build(refiner="guided").fit(examples(negative=True))
    fitted.save(FILE)
    loaded = build(refiner="guided").load(FILE)
    targets = ["a.jpg", "b.jpg"]
    for one, other in zip(
        fitted.segment_many(targets, consensus=True),
        loaded.segment_many(targets, consensus=True),
        strict=True,
    ):
        assert_same(one, other)


def test_everything_is_in_one_file_of_plain_numbers(scene: Path) -> None:
    segmenter = build().fit(examples(negative=True))
    segmenter.save(FILE)
    no = mock.Mock(side_effect=AssertionError("unpickled"))
    with (
        mock.patch.object(torch, "load", no),
        mock.patch.object(pickle, "loads", no),
        mock.patch.object(pickle, "Unpickler", no),
    ):
        build().load(FILE)
    tensors, info = load_file(FILE), read_info(FILE)
    # Two classes are marked in one picture: it is there once, as is its mirror image.
    one, two, *_ = (s["pictures"] for s in info.shots)
    assert one == two
    assert one.keys() == {"plain", "flip"}
    distinct = {t.tobytes() for name, t in tensors.items() if "features" in name}
    assert len(distinct) == len(info.pictures) == sum("features" in name for name in tensors)
    assert {t.dtype.name for t in tensors.values()} == {"float32", "bool", "uint8"}
    assert tensors["picture.0.features"].shape == (16, 48)
    assert info.pictures[0] == SIZE[::-1]
    assert (info.classes, info.negatives) == ({"thing": 2, "edge": 1}, 1)
    assert (info.backbone, info.block, info.image_size, info.rank) == ("tiny", 2, (64, 64), 23)
    assert (info.method, info.settings["presence"], info.half) == ("likewise", 0.5, False)
    for shown, reference in zip(read_thumbnails(FILE), examples(negative=True), strict=True):
        assert shown is not None
        np.testing.assert_array_equal(shown[0], read_image(reference.image))
        marked = np.ones(SIZE[::-1], bool) if reference.mask is None else reference.mask
        marked = marked if isinstance(marked, np.ndarray) else read_image(marked)[..., 0] > 0
        np.testing.assert_array_equal(shown[1], marked)


def test_the_same_references_make_the_same_file(scene: Path) -> None:
    segmenter = saved()
    whole = Path(FILE).read_bytes()
    segmenter.save("again.safetensors")
    build().load(FILE).save("copy.safetensors")
    assert Path("again.safetensors").read_bytes() == Path("copy.safetensors").read_bytes() == whole


def test_half_is_half_the_size_and_nearly_the_same(scene: Path) -> None:
    fitted = build(image_size=256).fit(("reference.png", "mask.png"))
    sizes = {}
    for half in (True, False):
        fitted.save(FILE, half=half)
        sizes[half] = Path(FILE).stat().st_size
    assert 0.5 < sizes[True] / sizes[False] < 0.6
    fitted.save(FILE, half=True)
    one, other = (build(image_size=256).load(FILE) for _ in range(2))
    assert_same(one.segment("a.jpg"), other.segment("a.jpg"))
    exact, rounded = fitted.segment("a.jpg"), one.segment("a.jpg")
    moved = np.abs(exact.scores - rounded.scores)
    # Of a random backbone some patches lie near ties, which fall otherwise on some processors.
    assert 0 < np.quantile(moved, 0.9) < 1e-3
    assert moved.max() < 0.05
    assert (exact.mask != rounded.mask).sum() <= 2
    assert one.references is not None
    norms = one.references.shots[0].encoded.features.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(256))


def test_another_method_takes_the_views_that_it_wants(scene: Path) -> None:
    saved()
    for method in ("insid3", "nearest"):
        loaded = build(method=method).load(FILE)
        assert loaded.references is not None
        assert [s.views for s in loaded.references.shots] == [{}]
        fitted = build(method=method).fit(("reference.png", "mask.png"))
        assert_same(loaded.segment("a.jpg"), fitted.segment("a.jpg"))


def test_a_segmenter_like_the_one_that_saved(scene: Path) -> None:
    fitted = saved(method=INSID3Params(tau=0.7), svd_components=5, block=1)
    options = read_info(FILE).options(backbone="tiny")
    assert options == {
        **{"backbone": "tiny", "image_size": 64, "svd_components": 5, "block": 1},
        **{"method": INSID3Params(tau=0.7, alpha=0.2), "dtype": "float32"},
    }
    loaded = Segmenter(**options).load(FILE)
    assert_same(loaded.segment("a.jpg"), fitted.segment("a.jpg"))
    changed = read_info(FILE).options(backbone="tiny", method="nearest")
    assert changed == {**options, "method": NearestParams()}
    other = read_info(FILE).options({"alpha": 0.4}, backbone="tiny")
    assert other == {**options, "method": INSID3Params(tau=0.7, alpha=0.4)}
    own = read_info(FILE).options(backbone="tiny", method=INSID3Params(alpha=0.1))
    assert own == {**options, "method": INSID3Params(alpha=0.1)}


def test_a_cut_backbone_is_that_block_loaded(scene: Path) -> None:
    cut, loaded = cut_backbone(load_backbone("tiny"), 1), load_backbone("tiny", block=1)
    assert cut.identity == loaded.identity
    segmenter = Segmenter(Encoder(cut, image_size=64)).fit(("reference.png", "mask.png"))
    segmenter.save(FILE)
    result = build(block=1).load(FILE).segment("a.jpg")
    assert_same(result, segmenter.segment("a.jpg"))


def test_thumbnails_are_small_and_keep_thin_things() -> None:
    image, mask = np.zeros((1000, 3000, 3), np.uint8), np.zeros((1000, 3000), bool)
    mask[500] = True
    small, marked = thumbnail(image, mask)
    assert small.shape == (*marked.shape, 3) == (85, THUMBNAIL, 3)
    assert marked.any(axis=0).all()
    assert marked.sum() <= 2 * THUMBNAIL


# --- what cannot be used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 96}, "at 64 px, not at 96 px: give --image-size 64."),
        ({"image_size": (64, 96)}, "at 64 px, not at (64, 96) px: give --image-size 64."),
        ({"block": 1}, "from block 2, not from block 1: give --block 2."),
        ({"svd_components": 5}, "at rank 23, not at rank 5: give --svd-components 23."),
        (
            {"image_size": 32, "block": 1, "svd_components": 5},
            "at 64 px from block 2 at rank 23, not at 32 px from block 1 at rank 5: "
            "give --image-size 64 --block 2 --svd-components 23.",
        ),
    ],
)
def test_another_encoder(scene: Path, options: dict[str, Any], words: str) -> None:
    saved()
    text = refusal(build(**options).load, FILE)
    assert text == f"{FILE} was made {words}"


def test_another_backbone(scene: Path) -> None:
    saved()
    embedded = Segmenter(image_size=80)
    assert refusal(embedded.load, FILE) == (
        f"{FILE} was made with tiny at 64 px from block 2 at rank 23, "
        "not with embedded at 80 px from block 10 at rank 20: "
        "give --backbone PATH/tiny --image-size 64 --block 2 --svd-components 23."
    )
    rewrite(backbone="dinov3-vitl16", image_size=[1024, 1024], block=24, rank=500)
    assert refusal(embedded.load, FILE) == (
        f"{FILE} was made with dinov3-vitl16 at 1024 px, not with embedded at 80 px: "
        "give --backbone dinov3-vitl16 --image-size 1024."  # the rest is its default
    )
    rewrite(format=2, backbone="embedded+tiny")
    assert read_info(FILE).backbone == "embedded-vits14+tiny"  # as it is called since format 3
    saved()
    rewrite(backbone="called otherwise")
    build().load(FILE)  # weights count, not names
    rewrite(backbone="dinov3-vitl16", image_size=[64, 96], weights="0")
    text = refusal(Segmenter("tiny", image_size=64).load, FILE)
    assert text == (
        f"{FILE} was made with dinov3-vitl16 at (64, 96) px, not with tiny at 64 px: "
        "give --backbone dinov3-vitl16 image_size=(64, 96) in Python."
    )
    for change in ({"weights": "0"}, {"mean": [0.5, 0.5, 0.5]}):
        saved()
        rewrite(**change)
        assert refusal(build().load, FILE) == (
            f"{FILE} was made with other weights that are called tiny too: "
            "give the file that they are in as --backbone."
        )


def test_the_options_of_another_backbone(scene: Path) -> None:
    saved()
    assert "tiny, which likewise does not know by name" in refusal(read_info(FILE).options)
    rewrite(backbone="dinov3-vitl16")
    info = read_info(FILE)
    assert info.options()["backbone"] == "dinov3-vitl16"
    for name in ("vitl", "tiny", Path("embedded")):
        assert info.options(backbone=name)["backbone"] == name
    for name in ("embedded", "vits"):
        text = refusal(info.options, backbone=name)
        assert text.endswith("give --backbone dinov3-vitl16.")


def test_a_method_that_lacks_something(scene: Path) -> None:
    saved(method="insid3")
    assert refusal(build().load, FILE) == (
        f"{FILE} was saved for method insid3, without the views that likewise needs: "
        "give --method insid3, or save it again with --method likewise."
    )
    build().fit(examples(negative=True)).save(FILE)
    text = refusal(build(method="insid3").load, FILE)
    assert text.startswith("method insid3 knows no negative references")


def flip(at: float) -> None:
    """Change one bit of the file."""
    data = bytearray(Path(FILE).read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    Path(FILE).write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[], object], str]] = {
    "cut": (lambda: Path(FILE).write_bytes(Path(FILE).read_bytes()[:-1]), "is no whole references"),
    "start": (lambda: Path(FILE).write_bytes(Path(FILE).read_bytes()[:99]), "is no whole referenc"),
    "empty": (lambda: Path(FILE).write_bytes(b""), "is no whole references file ("),
    "foreign": (lambda: Path(FILE).write_bytes(Path("a.jpg").read_bytes()), "is no whole referenc"),
    "weights": (
        lambda: Path(FILE).write_bytes(Path("tiny/model.safetensors").read_bytes()),
        "holds tensors, but no references: give a file that `likewise references save` wrote.",
    ),
    "bit": (lambda: flip(0.99), "is damaged: its content is not what was written; copy it again"),
    "middle": (lambda: flip(0.5), "is damaged: its content is not what was written; copy it again"),
    "edited": (
        lambda: rewrite(sealed=False, half=True),
        "is damaged: its content is not what was writt",
    ),
    "newer": (
        lambda: rewrite(format=FORMAT + 1),
        "was written by a newer likewise (format 4, this one reads up to 3): update likewise",
    ),
    "newer still": (lambda: rewrite(format=9, more=1), "was written by a newer likewise (format 9"),
    "more": (lambda: rewrite(more=1), "is damaged: its content is not"),
    "odd": (lambda: rewrite(format="x"), "is damaged: its content is not"),
    "no JSON": (lambda: save_file(load_file(FILE), FILE, {ENTRY: "{"}), "is damaged: its content"),
    "a list": (lambda: save_file(load_file(FILE), FILE, {ENTRY: "[]"}), "is damaged: its content"),
    "missing": (lambda: Path(FILE).unlink(), "does not exist: check its spelling."),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(scene: Path, name: str) -> None:
    segmenter = saved(method="nearest")
    before = segmenter.segment("a.jpg")
    damage, words = DAMAGE[name]
    damage()
    text = refusal(segmenter.load, FILE)
    assert text.startswith(f"{FILE} {words}")
    assert_same(segmenter.segment("a.jpg"), before)  # it keeps what it has


def test_what_cannot_be_written(scene: Path) -> None:
    assert "no reference yet" in refusal(build().save, FILE)
    segmenter = saved(method="nearest")
    whole = Path(FILE).read_bytes()
    assert refusal(segmenter.save, "r.png") == (
        "r.png cannot hold references: name it with .safetensors."
    )
    assert "cannot be written (" in refusal(segmenter.save, "nowhere/r.safetensors")
    with full_disk(0):
        assert "the disk is full" in refusal(segmenter.save, FILE)
    assert Path(FILE).read_bytes() == whole
    assert not list(scene.glob(".likewise-*"))


# --- the command line ----------------------------------------------------------------------------

FILES = ["--reference", "reference.png", "--mask", "mask.png"]


def test_save_show_and_segment(scene: Path) -> None:
    more = ["--threshold", "0.5", "--negative", "c.jpg"]
    done(run(segment("a.jpg", "b.jpg", out="pictures", more=more)))
    text = done(run(["references", "save", *FILES, *more, *TINY, "--out", FILE]))
    assert done(run(["references", "show", FILE])) == text
    shown = dict(line.split(maxsplit=1) for line in text.replace("input size", "size").splitlines())
    size = Path(FILE).stat().st_size
    assert shown["file"].startswith(f"{FILE} ({size / 1e6:.1f} MB, likewise ")
    assert shown["class"] == "object: 1 reference"
    expected = {"negatives": "1", "backbone": "tiny", "block": "2", "size": "64x64 px"}
    expected |= {"rank": "23", "dtype": "float32", "method": "likewise", "threshold": "0.5"}
    assert expected.items() <= shown.items()
    # Size, method and threshold are the file's; the pictures are not needed.
    for name in ("reference.png", "mask.png", "c.jpg"):
        Path(name).unlink()
    words = ["segment", "a.jpg", "b.jpg", "--references", FILE, "--backbone", "tiny", "--json"]
    report = json.loads(done(run([*words, "--out", "file"])))
    assert (report["references"], report["written"]) == (2, 2)
    masks = {n: [Path(d, n).read_bytes() for d in ("pictures", "file")] for n in ("a.png", "b.png")}
    assert all(one == other for one, other in masks.values())
    done(run([*words, "--out", "changed", "--threshold", "9"]))
    areas = [int((np.asarray(Image.open(f"{d}/a.png")) > 0).sum()) for d in ("file", "changed")]
    assert areas[0] > areas[1] == 0  # a threshold that no patch reaches


def test_several_labels(scene: Path) -> None:
    Image.fromarray(corner()).save("corner.png")
    more = ["-r", "reference.png", "-m", "corner.png", "--label", "thing", "--label", "edge"]
    done(run(segment("a.jpg", out="pictures", more=more)))
    done(run(["references", "save", *FILES, *more, *TINY, "-o", FILE, "--half"]))
    done(run(["segment", "a.jpg", "--references", FILE, *TINY, "--out", "file"]))
    assert json.loads(Path("file/labels.json").read_text()) == {"1": "thing", "2": "edge"}
    assert Path("file/a.png").read_bytes() == Path("pictures/a.png").read_bytes()
    report = json.loads(done(run(["references", "show", FILE, "--json"])))
    assert report["classes"] == {"thing": 1, "edge": 1}
    assert (report["half"], report["bytes"]) == (True, Path(FILE).stat().st_size)


def test_picture(scene: Path) -> None:
    build().fit([*examples(negative=True), *examples(negative=True)]).save(FILE)
    done(run(["references", "show", FILE, "--picture", "look.png"]))
    sheet = read_image("look.png")
    assert sheet.shape == (2 * (240 + 22 + 10) + 10, 4 * (288 + 10) + 10, 3)
    first, second = sheet[32:272, 10:298], sheet[32:272, 308:596]
    assert not np.array_equal(first, second)  # one picture, two masks


@pytest.mark.parametrize("method", ["likewise", "insid3"])
def test_the_default_backbone_needs_no_option(scene: Path, method: str) -> None:
    small = ["--image-size", "64", "--method", method]
    done(run(["references", "save", *FILES, *small, "-o", FILE]))
    done(run(["segment", "a.jpg", "--references", FILE, "--out", "file"]))
    done(run(["segment", "a.jpg", *FILES, *small, "--out", "pictures"]))
    assert Path("file/a.png").read_bytes() == Path("pictures/a.png").read_bytes()

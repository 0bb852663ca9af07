"""Choosing settings by leave-one-out, on a tiny random backbone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

import likewise.tuning as module
from helpers import refusal
from likewise import Reference, Segmenter, tune
from likewise.backbones.cut import cut_backbone
from likewise.backbones.encoder import Encoder
from likewise.backbones.feature_cache import CachedEncoder, FeatureCache
from likewise.backbones.loading import load_backbone
from likewise.methods import make_params
from likewise.reference import encode_references
from likewise.refine import refine
from likewise.tuning import GAIN, Bench, Tried, Tuning
from scenes import TINY, make_scene, run, sandbox

SHAPE, SIDE = (96, 128), 128
Box = tuple[int, int, int, int]
BOXES: list[Box] = [(24, 16, 72, 64), (12, 64, 60, 112), (48, 32, 96, 96)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))


def inside(box: Box) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def shot(box: Box, seed: int = 0, **more: Any) -> Reference:
    """Red in a box on blue."""
    pixels = np.where(inside(box)[..., None], (220, 60, 30), (20, 50, 200))
    noise = np.random.default_rng(seed).normal(size=pixels.shape) * 8
    return Reference((pixels + noise).clip(0, 255).astype(np.uint8), inside(box), **more)


def shots(count: int) -> list[Reference]:
    return [shot(box, seed) for seed, box in enumerate(BOXES[:count])]


def build(
    tiny: Path, method: str = "insid3", size: int = SIDE, rank: int | None = None, **settings: Any
) -> Segmenter:
    return Segmenter(
        tiny,
        image_size=size,
        device="cpu",
        method=make_params(method, settings),
        svd_components=rank,
        refiner="none",  # as tune measures
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_tau_that_is_wrong_is_mended(tiny: Path, count: int) -> None:
    segmenter = build(tiny, tau=-1.0)  # all of it is one cluster
    encoder = segmenter.encoder
    tuning = tune(segmenter, shots(count), sizes=[], blocks=[])
    assert tuning.after > tuning.before + 0.3
    assert segmenter.params.tau == tuning.settings["tau"] > 0
    (taken,) = [t for t in tuning.tried if t.taken]
    assert (taken.name, taken.value, taken.iou) == ("tau", segmenter.params.tau, tuning.after)
    assert taken.iou == max(t.iou for t in tuning.tried)
    assert segmenter.encoder is encoder
    assert tuning.tests == (5 if count == 1 else count)
    assert segmenter.references is not None
    assert len(segmenter.references) == count  # it is fitted
    assert segmenter.references.shots[0].views == {}  # as the method wants it
    fresh = build(tiny, tau=segmenter.params.tau).fit(shots(count))
    target = shot(BOXES[1], seed=9).image
    np.testing.assert_array_equal(segmenter.segment(target).mask, fresh.segment(target).mask)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("method", ["nearest", "likewise"])
def test_a_size_that_is_too_small_is_mended(tiny: Path, method: str, count: int) -> None:
    segmenter = build(tiny, method, size=32, rank=7)
    tuning = tune(segmenter, shots(count), sizes=[SIDE], blocks=[])
    assert tuning.after > tuning.before + 0.05
    assert (tuning.image_size, segmenter.encoder.input_size) == (SIDE, (SIDE, SIDE))
    assert segmenter.encoder.rank == 7
    assert tuning.tried[0] == Tried("image_size", SIDE, tuning.tried[0].iou, taken=True)
    assert segmenter.references is not None
    assert segmenter.references.shots[0].encoded.grid == (8, 8)
    assert segmenter.segment(shot(BOXES[1], seed=9).image).present


def test_a_threshold_is_tuned_with_two_shots_and_left_alone_with_one(tiny: Path) -> None:
    segmenter = build(tiny, "likewise", threshold=1000.0)
    tuning = tune(segmenter, shots(1), sizes=[], blocks=[])
    assert (tuning.settings, tuning.tried, segmenter.params.threshold) == ({}, (), 1000.0)
    tuning = tune(segmenter, shots(2), sizes=[], blocks=[])
    assert tuning.settings["threshold"] == segmenter.params.threshold < 9
    assert tuning.after > tuning.before
    mixed = [shot(BOXES[0], label="a"), shot(BOXES[1], label="a"), shot(BOXES[2], label="b")]
    assert tune(build(tiny, "likewise"), mixed, sizes=[], blocks=[]).settings == {}


def test_iou_is_what_the_segmenter_reaches(tiny: Path) -> None:
    """With two shots: fit to one, segment the other, count pixels."""
    for method in ("insid3", "likewise"):
        segmenter = build(tiny, method, size=64)
        first, second = shots(2)
        ious = []
        for known, target in ((first, second), (second, first)):
            mask = segmenter.fit(known).segment(target.image).mask
            truth = np.asarray(target.mask)
            ious.append((mask & truth).sum() / (mask | truth).sum())
        tuning = tune(segmenter, [first, second], sizes=[], blocks=[])
        assert tuning.before == pytest.approx(np.mean(ious))


def test_views_are_found_from_the_others(tiny: Path) -> None:
    """Picture and mirror image never together with what is to be found."""
    encoder = Encoder(tiny, image_size=64, device="cpu")
    negative = shot(BOXES[2], negative=True)
    method = module.get_method("likewise")
    tests = Bench(encoder, [shot(BOXES[0]), negative], method, by_view=True).tests
    one = encode_references(encoder, [shot(BOXES[0])], ("flip", "tight", "middle", "far")).shots[0]
    seen = {"": one.encoded, **{name: view[0] for name, view in one.views.items()}}

    def name_of(encoded: Any) -> str:
        same = [n for n, e in seen.items() if torch.allclose(e.features, encoded.features)]
        assert len(same) == 1
        return same[0]

    kept = {}
    for test in tests:
        found, wrong = test.references.shots
        assert wrong.negative
        assert not found.negative
        shown = [found.encoded, *(view[0] for view in found.views.values())]
        kept[name_of(test.target)] = {name_of(e) for e in shown}
        assert test.image.shape[:2] == test.mask.shape == test.target.size
    assert kept == {
        "": {"tight"},  # the first that shows something else
        "flip": {"tight"},
        "tight": {"", "flip"},
        "middle": {"", "flip"},
        "far": {"", "flip"},
    }
    for test in Bench(encoder, [shot(BOXES[0])], module.get_method("insid3"), True).tests:
        assert not test.references.shots[0].views  # INSID3 knows the one picture only


def test_classes_are_each_found_from_the_others(tiny: Path) -> None:
    encoder = Encoder(tiny, image_size=64, device="cpu")
    given = [replace(s, label=name) for name, s in zip("abab", shots(2) * 2, strict=True)]
    tests = Bench(encoder, given, module.get_method("nearest"), by_view=False).tests
    assert [[s.negative for s in t.references.shots] for t in tests] == [
        [True, False, True],
        [True, True, False],
        [False, True, True],
        [True, False, True],
    ]


def test_what_is_tried_by_default(tiny: Path) -> None:
    tuning = tune(build(tiny, size=64), shots(2))
    tried = [(t.name, t.value) for t in tuning.tried]
    assert ("image_size", 96) in tried  # 1.4 · 64 = 89.6, to a multiple of 16
    assert [v for n, v in tried if n == "tau"] == [0.8, 0.7, 0.5, 0.4]
    assert all(n != "block" for n, _ in tried)  # 0.8 of two blocks is the last
    with mock.patch.object(module, "EARLIER", 0.5):
        tuning = tune(build(tiny, size=64), shots(2), sizes=[])
    assert tuning.tried[0].name == "block"
    assert tuning.tried[0].value == 1


def test_small_gains_change_nothing(tiny: Path) -> None:
    segmenter = build(tiny, "nearest", size=64)
    encoder = segmenter.encoder
    results = [0.5, 0.5 + GAIN / 2, 0.4]
    with mock.patch.object(Bench, "mean_iou", side_effect=results):
        tuning = tune(segmenter, shots(2), sizes=[96], blocks=[1])
    assert (tuning.before, tuning.after) == (0.5, 0.5)
    assert not any(t.taken for t in tuning.tried)
    assert segmenter.encoder is encoder
    results = [0.5, 0.52, 0.525, 0.54]
    with mock.patch.object(Bench, "mean_iou", side_effect=results):
        tuning = tune(segmenter, shots(2), sizes=[96, 128], blocks=[1])
    assert [t.taken for t in tuning.tried] == [True, False, True]
    assert (tuning.block, tuning.image_size, tuning.after) == (1, 128, 0.54)
    assert (segmenter.encoder.backbone.block, segmenter.encoder.input_size) == (1, (128, 128))
    assert tuning.flags == ["--method", "nearest", "--block", "1", "--image-size", "128"]
    assert str(tuning).splitlines() == [
        "IoU 0.500 before, 0.540 after, 2 tests",
        "  block               1 0.520  taken",
        "  image_size         96 0.525",
        "  image_size        128 0.540  taken",
    ]


def test_a_cut_backbone_shares_its_weights(tiny: Path) -> None:
    whole = load_backbone(tiny)
    cut, loaded = cut_backbone(whole, 1), load_backbone(tiny, block=1)
    image = np.asarray(shot(BOXES[0]).image)
    features = [Encoder(b, image_size=64).encode(image).debiased for b in (cut, loaded, whole)]
    assert torch.equal(features[0], features[1])
    assert not torch.allclose(features[0], features[2])
    addresses = {p.data_ptr() for p in whole.model.parameters()}
    assert {p.data_ptr() for p in cut.model.parameters()} < addresses
    assert cut_backbone(whole, 2) is whole
    assert len({cut.identity, whole.identity}) == 2


def test_what_cannot_be_tuned(tiny: Path) -> None:
    segmenter = build(tiny, size=64).fit(shots(1))
    before = segmenter.encoder, segmenter.params, segmenter.references
    for block in (0, 3):
        text = refusal(tune, segmenter, shots(2), blocks=[block])
        assert text == f"block {block} cannot be tried: tiny is loaded up to block 2, use 1 to 2."
    assert "image size 100 does not suit" in refusal(tune, segmenter, shots(2), sizes=[100])
    assert refusal(tune, segmenter, []).startswith("no reference given")
    words = "method insid3 knows no negative references; use likewise."
    assert refusal(tune, segmenter, [*shots(2), shot(BOXES[2], negative=True)]) == words
    only = [shot(BOXES[2], negative=True)]
    assert "only negative" in refusal(tune, build(tiny, "nearest", size=64), only)
    with (
        mock.patch.object(Segmenter, "fit", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        tune(segmenter, shots(2), sizes=[96], blocks=[])
    assert (segmenter.encoder, segmenter.params, segmenter.references) == before


def test_iou_is_measured_at_the_references_own_size(tiny: Path) -> None:
    sizes = []

    def spy(scores: Any, image: Any, size: Any, *more: Any) -> Any:
        sizes.append(image.shape[:2])
        return refine(scores, image, size, *more)

    with mock.patch.object(module, "refine", spy):
        tune(build(tiny, "nearest", size=64), shots(2), sizes=[96], blocks=[])
    assert set(sizes) == {SHAPE}


def test_the_command(tmp_path: Path, tiny: Path) -> None:
    words = ["tune", "-r", "reference.png", "-m", "mask.png", "--method", "insid3", *TINY]
    words += ["-r", "a.jpg", "-m", "mask.png"]
    with sandbox(make_scene(tmp_path / "scene", tiny)):
        encoder = CachedEncoder("tiny", image_size=64, cache=FeatureCache(Path("kept")))
        expected: Tuning = tune(
            Segmenter(encoder, method="insid3"),
            [("reference.png", "mask.png"), ("a.jpg", "mask.png")],
        )
        ran = run(words)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == f"{expected}\ngive likewise segment: {' '.join(expected.flags)}\n"
        report = json.loads(run([*words, "--json"]).out)
        assert report["flags"] == expected.flags
        assert report["after"] == expected.after
        assert report["tried"][0].keys() == {"name", "value", "iou", "taken"}
        out = ["--out", "out", *report["flags"], "-b", "tiny"]
        ran = run(["segment", "b.jpg", *words[1:5], *out])
        assert (ran.code, ran.err) == (0, "")


def test_the_command_takes_a_picture_of_files_with_several(tmp_path: Path, tiny: Path) -> None:
    with sandbox(make_scene(tmp_path / "scene", tiny)):
        for name in ("reference.png", "a.jpg"):
            page = Image.open(name)
            first = Image.effect_noise(page.size, 90).convert("RGB")
            first.save(f"{name}.tif", save_all=True, append_images=[page])
        words = ["tune", "-m", "mask.png", "-m", "mask.png", "--method", "insid3", *TINY, "--json"]
        plain = run([*words, "-r", "reference.png", "-r", "a.jpg"])
        files = ["-r", "reference.png.tif", "-r", "a.jpg.tif"]
        assert run([*words, *files, "--page", "1"]) == plain
        assert json.loads(run([*words, *files]).out)["tried"] != json.loads(plain.out)["tried"]
        assert (
            "has pages 0 to 1: --page 2 is none of them."
            in run([*words, *files, "--page", "2"]).err
        )

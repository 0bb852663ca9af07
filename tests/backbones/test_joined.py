"""Joined backbones: A+B as one encoder, for methods, references files, caches and training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import iou, refusal, sam2_folder, sam2_model
from likewise import Segmenter, tune
from likewise.backbones.cut import cut_backbone
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import Backbone, join, load_backbone
from likewise.backbones.registry import BACKBONES, find_spec, split_names
from likewise.features.patch_features import resampled
from likewise.lab.evaluation.cache import TimedEncoder
from likewise.lab.segic.training.config import BackboneSettings, Config
from likewise.lab.segic.training.processes import Processes
from likewise.lab.segic.training.train import open_encoder
from likewise.reference_file import read_info
from likewise.web.ui.keeping import KeepingEncoder

SIDE = 64


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sam2_folder(sam2_model(), tmp_path_factory.mktemp("backbone") / "sam2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def both(tiny: Path, sam2: Path) -> list[Backbone]:
    """A DINOv3 and a SAM 2 that sees the image at twice its size."""
    small, large = load_backbone(tiny), load_backbone(sam2)
    return [small, replace(large, spec=replace(large.spec, image_size=2048, svd_components=3))]


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a red square, and its mask."""
    image, mask = picture(seed), np.zeros((50, 70), dtype=bool)
    mask[10:35, 20 + seed : 50 + seed] = True
    image[mask] = (210, 40, 30)
    return image, mask


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_cosines_are_the_weighted_mean_of_the_parts(
    both: list[Backbone], weights: tuple[float, float]
) -> None:
    joined = Encoder(join(both, weights), image_size=SIDE, svd_components=5)
    assert [part.input_size for part in joined.parts] == [(64, 64), (128, 128)]
    assert [part.rank for part in joined.parts] == [5, 3]
    assert (joined.grid, joined.input_size, joined.rank) == ((4, 4), (64, 64), 5)
    found = joined.encode(picture())
    first, second = (part.encode(picture()) for part in joined.parts)
    assert (found.size, found.grid, found.features.shape) == ((50, 70), (4, 4), (16, 48 + 32))
    assert torch.equal(found.colour, first.colour)
    share = weights[0] / sum(weights)
    coarse = resampled(second.features, second.grid, (4, 4))
    cosines = [F @ F.T for F in (first.features, coarse)]
    wanted = share * cosines[0] + (1 - share) * cosines[1]
    torch.testing.assert_close(found.features @ found.features.T, wanted, atol=1e-5, rtol=0)
    left = torch.nn.functional.normalize(
        coarse - coarse @ joined.parts[1].basis @ joined.parts[1].basis.T, dim=1
    )
    cosines = [F @ F.T for F in (first.debiased, left)]
    wanted = share * cosines[0] + (1 - share) * cosines[1]
    torch.testing.assert_close(found.debiased @ found.debiased.T, wanted, atol=1e-5, rtol=0)
    assert joined.basis.shape == (48 + 32, 5 + 3)
    torch.testing.assert_close(joined.basis.T @ joined.basis, torch.eye(8), atol=1e-5, rtol=0)
    assert (found.debiased @ joined.basis).abs().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    wanted=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_resampling_keeps_lengths_and_what_is_the_same_everywhere(
    grid: tuple[int, int], wanted: tuple[int, int]
) -> None:
    unit = torch.nn.functional.normalize(torch.rand(grid[0] * grid[1], 5), dim=1)
    other = resampled(unit, grid, wanted)
    assert other.shape == (wanted[0] * wanted[1], 5)
    torch.testing.assert_close(other.norm(dim=1), torch.ones(len(other)))
    same = resampled(unit[:1].expand(len(unit), -1), grid, wanted)
    torch.testing.assert_close(same, unit[:1].expand(len(same), -1))


def test_names_and_paths(tiny: Path, sam2: Path, tmp_path: Path) -> None:
    joined = load_backbone(f"{tiny}+{sam2}")
    assert (joined.spec.name, joined.spec.family) == ("tiny+sam2", "joined")
    assert (joined.spec.dim, joined.spec.tau) == (80, 0.7)
    assert [part.spec.name for part in joined.parts] == ["tiny", "sam2"]
    assert load_backbone(f"{tiny}+{sam2}", block=1).block == 1
    three = load_backbone(f"{tiny} + {sam2} + {tiny}")
    assert (len(three.parts), three.spec.dim) == (3, 128)
    shutil.copytree(tiny, tmp_path / "a+b")
    assert load_backbone(str(tmp_path / "a+b")).parts == ()
    spec = find_spec("embedded+sam2-hiera-tiny")
    assert spec is not None
    assert (spec.name, spec.dim, spec.image_size) == ("embedded+sam2-hiera-t", 640, 768)
    assert find_spec("embedded+zzz") is None
    assert split_names("vitl+sam2-hiera-l") == ["vitl", "sam2-hiera-l"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("embedded+", "'embedded+' does not join backbones: give two or three"),
        ("a+b+c+d", "'a+b+c+d' does not join backbones"),
        ("embedded+sam2-hiera-x", "'sam2-hiera-x' is not a backbone likewise knows: did you mean"),
        ("embedded+/no/where.pt", "/no/where.pt does not exist"),
    ],
)
def test_what_cannot_be_joined(source: str, words: str) -> None:
    assert words in refusal(load_backbone, source)


def test_the_fingerprint_knows_all_that_features_depend_on(both: list[Backbone]) -> None:
    first, second = both
    changed = [{"image_size": 1024}, {"svd_components": 4}, {"mean": (0.1, 0.2, 0.3)}]
    joined = [
        join(both),
        join(both[::-1]),
        join(both, (2, 1)),
        join([first, cut_backbone(second, 5)]),
        join([cut_backbone(first, 1), second]),
        join([first, second, second]),
        *(join([first, replace(second, spec=replace(second.spec, **c))]) for c in changed),
    ]
    prints = [Encoder(b, image_size=SIDE, svd_components=3).fingerprint for b in (*both, *joined)]
    prints.append(Encoder(joined[0], image_size=128, svd_components=3).fingerprint)
    prints.append(Encoder(joined[0], image_size=SIDE, svd_components=2).fingerprint)
    assert len(set(prints)) == len(prints) == 13
    assert len({b.identity for b in joined}) == len(joined)
    again = Encoder(join(both, (2, 2)), image_size=SIDE, svd_components=3)
    assert again.fingerprint == prints[2]  # only the ratio of weights counts


@pytest.mark.parametrize("method", ["likewise", "insid3", "foris", "frost", "nearest"])
def test_methods_and_references_files(both: list[Backbone], tmp_path: Path, method: str) -> None:
    segmenter = Segmenter(join(both), image_size=SIDE, svd_components=3, method=method)
    segmenter.fit(scene())
    result = segmenter.segment(scene(1)[0])
    assert iou(result.mask, scene(1)[1]) > 0.9
    file = tmp_path / "references.safetensors"
    segmenter.save(file)
    info = read_info(file)
    assert (info.backbone, info.rank, info.image_size) == ("tiny+sam2", 3, (SIDE, SIDE))
    fresh = Segmenter(join(both), image_size=SIDE, svd_components=3, method=method)
    loaded = fresh.load(file).segment(scene(1)[0])
    np.testing.assert_array_equal(loaded.scores, result.scores)
    other = replace(both[1], spec=replace(both[1].spec, svd_components=2))
    fresh = Segmenter(join([both[0], other]), image_size=SIDE, svd_components=3, method=method)
    assert "other weights that are called tiny+sam2 too" in refusal(fresh.load, file)


def test_a_references_file_names_its_joined_backbones(
    both: list[Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backbone in both:
        monkeypatch.setitem(BACKBONES, backbone.spec.name, backbone.spec)
    segmenter = Segmenter(join(both), image_size=SIDE, svd_components=3).fit(scene())
    file = tmp_path / "references.safetensors"
    segmenter.save(file)
    options = read_info(file).options()
    assert (options["backbone"], options["image_size"]) == ("tiny+sam2", SIDE)
    assert "not with tiny" in refusal(read_info(file).options, backbone="tiny")
    single = Segmenter(both[0], image_size=SIDE, svd_components=3)
    assert "give --backbone tiny+sam2." in refusal(single.load, file)


def test_each_part_keeps_its_own_features(both: list[Backbone], tmp_path: Path) -> None:
    def cached(backbone: Backbone) -> TimedEncoder:
        return TimedEncoder(backbone, image_size=SIDE, svd_components=3)

    images = [picture(0), picture(1), picture(0)]
    list(cached(both[0]).encode_many(images))
    cold, warm = cached(join(both)), cached(join(both, (2, 1)))
    first = list(cold.encode_many(images))
    assert cold.watch.images == {"encode": 2, "cached": 0}
    assert len(list((tmp_path / "cache" / "features").rglob("*.safetensors"))) == 4
    list(warm.encode_many(images))
    assert warm.watch.images == {"encode": 0, "cached": 2}
    again = list(cached(join(both)).encode_many(images))
    plain = list(Encoder(join(both), image_size=SIDE, svd_components=3).encode_many(images))
    kept = KeepingEncoder(join(both), image_size=SIDE, svd_components=3).encode_many(images)
    for one, same, other, remembered in zip(first, again, plain, kept, strict=True):
        assert torch.equal(one.debiased, same.debiased)
        torch.testing.assert_close(one.debiased, other.debiased, atol=2e-3, rtol=0)
        torch.testing.assert_close(remembered.debiased, other.debiased, atol=1e-6, rtol=0)


def test_a_block_is_cut_from_the_first(both: list[Backbone], tiny: Path) -> None:
    cut = cut_backbone(join(both), 1)
    assert (cut.block, cut.identity) == (1, join([load_backbone(tiny, block=1), both[1]]).identity)


def test_tuning_changes_the_size_of_all(both: list[Backbone]) -> None:
    segmenter = Segmenter(join(both), image_size=SIDE, svd_components=3)
    tuning = tune(segmenter, [scene(), scene(2)], sizes=[96], blocks=[1])
    assert {t.name for t in tuning.tried} >= {"image_size", "block"}
    assert len(segmenter.encoder.parts) == 2


def test_no_decoder_is_trained_on_joined_backbones(tiny: Path, sam2: Path, tmp_path: Path) -> None:
    told = BackboneSettings(name=f"{tiny}+{sam2}", image_size=SIDE, rank=3.0)
    config = Config(tmp_path / "c.toml", "out", (), backbone=told, device="cpu")
    assert "joins several: a decoder is trained on one" in refusal(
        open_encoder, config, Processes()
    )

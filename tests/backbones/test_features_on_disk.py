"""Features that projects and `likewise tune` keep on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from helpers import refusal
from likewise.backbones.encoder import Encoder
from likewise.backbones.feature_cache import CachedEncoder, FeatureCache
from likewise.project.settings import size_in_bytes
from scenes import make_scene, run, sandbox

NO_ENCODING = mock.patch(
    "likewise.backbones.encoder.patch_tokens", side_effect=AssertionError("it is encoded again")
)


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        yield folder


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(count)]


def encoder(cache: FeatureCache | None) -> CachedEncoder:
    return CachedEncoder("tiny", image_size=64, cache=cache)


def test_what_was_not_used_for_longest_is_deleted(scene: Path) -> None:
    images, cache = pictures(6), FeatureCache(Path("kept"))
    encoder(cache).encode(images[0])
    _, one = cache.size()
    small = FeatureCache(Path("kept"), int(4.5 * one))
    bounded = encoder(small)
    paths = [small.path(bounded.key(image)) for image in images]
    for number, image in enumerate(images[:4]):
        bounded.encode(image)
        os.utime(paths[number], (number, number))
    bounded.encode(images[0])  # used now, so that 1 is the oldest
    assert [path.is_file() for path in paths] == [True, True, True, True, False, False]
    bounded.encode(images[4])
    assert [path.is_file() for path in paths] == [True, False, True, True, True, False]
    bounded.encode(images[5])
    assert [path.is_file() for path in paths] == [True, False, False, True, True, True]
    assert small.size()[1] <= small.limit
    encoder(small).encode(images[1])
    assert [path.is_file() for path in paths] == [True, True, False, False, True, True]


def test_masks_do_not_depend_on_what_is_kept(scene: Path) -> None:
    (image,) = pictures(1)
    none, some = encoder(FeatureCache(Path("no"), 0)), encoder(FeatureCache(Path("some")))
    first, second, third = none.encode(image), some.encode(image), some.encode(image)
    for other in (second, third):
        assert torch.equal(first.features, other.features)
        assert torch.equal(first.debiased, other.debiased)
    assert not Path("no").exists()
    plain = Encoder("tiny", image_size=64).encode(image)
    assert torch.equal(encoder(None).encode(image).features, plain.features)


def test_a_second_pass_of_a_project_encodes_nothing(scene: Path) -> None:
    words = ["-r", "reference.png", "-m", "mask.png", "-t", "a.jpg", "-b", "tiny"]
    assert run(["init", "work", *words, "--image-size", "64"]).code == 0
    assert run(["annotate", "work", "--no-cache"]).code == 0
    assert not Path("work/features").exists()
    mask = Path("work/masks/a.png").read_bytes()
    Path("work/masks/a.png").unlink()
    assert run(["annotate", "work"]).code == 0
    assert len(list(Path("work/features").glob("??/*.safetensors"))) == 3  # and mirrored
    assert Path("work/masks/a.png").read_bytes() == mask
    said = "Features of 3 pictures and views are kept: 0.0 MB of 2 GB."
    assert said in run(["review", "work"]).out
    assert run(["report", "work"]).code == 0
    assert said in Path("work/report.html").read_text("utf-8")
    Path("work/masks/a.png").unlink()
    with NO_ENCODING:
        assert run(["annotate", "work"]).code == 0
    assert Path("work/masks/a.png").read_bytes() == mask
    settings = Path("work/likewise.toml")
    settings.write_text(settings.read_text("utf-8").replace('"2 GB"', "0"), "utf-8")
    Path("work/masks/a.png").unlink()
    with NO_ENCODING:  # nothing is read either
        assert "encoded again" in run(["annotate", "work"]).err
    settings.write_text(
        settings.read_text("utf-8").replace("cache = 0", 'cache = "a lot"'), "utf-8"
    )
    assert 'feature_cache is "a lot", which is no size' in run(["annotate", "work"]).err


def test_tune_encodes_once(scene: Path) -> None:
    words = ["tune", "-r", "reference.png", "-m", "mask.png", "-b", "tiny", "--image-size", "64"]
    first = run([*words, "--json"])
    assert first.code == 0, first.err
    with NO_ENCODING:
        assert run([*words, "--json"]).out == first.out
    with NO_ENCODING:
        assert "it is encoded again" in run([*words, "--no-cache"]).err


@pytest.mark.parametrize(
    ("text", "size"),
    [(0, 0), (5, 5), ("2 GB", 2 * 10**9), ("1.5mb", 1_500_000), ("7 B", 7), ("3kB", 3000)],
)
def test_sizes(text: int | str, size: int) -> None:
    assert size_in_bytes(text, Path("likewise.toml")) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", -1, "2 GiB", "many"])
def test_no_sizes(text: int | str) -> None:
    assert "which is no size" in refusal(size_in_bytes, text, Path("likewise.toml"))

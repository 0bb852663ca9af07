"""The cache of features of `likewise eval`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evaluated import report_of
from likewise.backbones.encoder import Encoder
from likewise.lab.evaluation.cache import TimedEncoder


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in report.items() if k not in ("seconds", "stages", "images", "settings")}


def pictures(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8) for i in range(count)]


def files() -> list[Path]:
    return sorted(Path(".cache/features").rglob("*.safetensors"))


def assert_same(ones: list[Any], others: list[Any]) -> None:
    for one, other in zip(ones, others, strict=True):
        for field in dataclasses.fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            same = torch.equal if isinstance(a, torch.Tensor) else np.array_equal
            assert same(a, b), field.name


def test_cold_and_warm_are_the_same(scene: Path) -> None:
    images = pictures()
    cold, warm = (TimedEncoder("tiny", image_size=64) for _ in range(2))
    first = list(cold.encode_many([*images, images[0]], batch_size=2))
    assert len(files()) == 3
    assert load_file(files()[0])["features"].dtype == torch.float16
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=AssertionError):
        second = list(warm.encode_many([*images, images[0]], batch_size=3))
    assert_same(first, second)
    assert (cold.watch.images["encode"], cold.watch.images["cached"]) == (3, 1)
    assert (warm.watch.images.get("encode", 0), warm.watch.images["cached"]) == (0, 4)
    plain = list(Encoder("tiny", image_size=64).encode_many([*images, images[0]]))
    for one, other in zip(first, plain, strict=True):
        torch.testing.assert_close(one.features, other.features, atol=1e-3, rtol=0)
        torch.testing.assert_close(one.debiased, other.debiased, atol=2e-3, rtol=0)
        assert torch.equal(one.colour, other.colour)
        assert (one.size, one.grid) == (other.size, other.grid)


def test_without_the_cache_nothing_is_rounded_or_written(scene: Path) -> None:
    encoder = TimedEncoder("tiny", image_size=64, keep=False)
    plain = Encoder("tiny", image_size=64)
    assert_same(list(encoder.encode_many(pictures())), list(plain.encode_many(pictures())))
    assert files() == []
    assert encoder.watch.images == {"encode": 3}


def test_hits_and_misses_keep_their_order(scene: Path) -> None:
    images = pictures(5)
    expected = list(TimedEncoder("tiny", image_size=64).encode_many(images))
    for place in (1, 3):
        key = TimedEncoder("tiny", image_size=64).key(images[place])
        next(p for p in files() if p.stem == key).unlink()
    mixed = list(TimedEncoder("tiny", image_size=64).encode_many(images))
    assert [e.size for e in mixed] == [i.shape[:2] for i in images]
    for one, other in zip(mixed, expected, strict=True):
        torch.testing.assert_close(one.features, other.features, atol=1e-3, rtol=0)


@pytest.mark.parametrize("damage", ["torn", "empty", "other shape", "no features"])
def test_a_bad_file_is_made_again(scene: Path, damage: str) -> None:
    (image,) = pictures(1)
    expected = TimedEncoder("tiny", image_size=64).encode(image)
    (file,) = files()
    whole = file.read_bytes()
    if damage == "torn":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other shape":
        save_file({"features": torch.zeros(2, 48).half()}, file)
    else:
        save_file({"colour": torch.zeros(16, 3)}, file)
    assert_same([TimedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(scene: Path) -> None:
    (image,) = pictures(1)
    expected = TimedEncoder("tiny", image_size=64).encode(image)
    (file,) = files()
    file.unlink()
    with mock.patch.object(Path, "replace", side_effect=OSError(28, "full")):
        assert_same([TimedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert not any(file.parent.iterdir())
    file.parent.rmdir()
    file.parent.write_text("no folder")
    assert_same([TimedEncoder("tiny", image_size=64).encode(image)], [expected])
    assert files() == []


def test_the_key_depends_on_all_that_features_depend_on(scene: Path) -> None:
    (image,) = pictures(1)
    encoder = TimedEncoder("tiny", image_size=64)
    assert encoder.key(image) == TimedEncoder("tiny", image_size=64, svd_components=5).key(image)
    assert encoder.key(image) == encoder.key(image.copy(order="F"))
    keys = {
        encoder.key(image),
        encoder.key(image.reshape(50, 40, 3)),
        encoder.key(image[:, ::-1]),
        TimedEncoder("tiny", image_size=48).key(image),
        TimedEncoder("tiny", image_size=(48, 64)).key(image),
        TimedEncoder("tiny", image_size=64, block=1).key(image),
        TimedEncoder("tiny", image_size=64, dtype="bfloat16").key(image),
    }
    really = Encoder.preprocess  # another way of resizing, say
    with mock.patch.object(Encoder, "preprocess", lambda *given: really(*given) + 1e-6):
        keys.add(TimedEncoder("tiny", image_size=64).key(image))
    backbone = encoder.backbone
    for change in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.1, 0.2, 0.3)}):
        spec = dataclasses.replace(backbone.spec, **change)
        other = TimedEncoder(dataclasses.replace(backbone, spec=spec), image_size=64)
        keys.add(other.key(image))
    other = TimedEncoder(dataclasses.replace(backbone, identity="other"), image_size=64)
    keys.add(other.key(image))
    assert len(keys) == 11


def test_a_second_run_computes_no_features_and_finds_the_same(scene: Path) -> None:
    cold = report_of("--shots", "2")
    assert cold["images"]["encode"] == len(files()) == 4
    with mock.patch("likewise.backbones.encoder.patch_tokens", side_effect=AssertionError):
        warm = report_of("--shots", "2")
    assert timeless(cold) == timeless(warm)
    assert warm["images"]["encode"] == 0
    other = report_of("--shots", "2", "--svd-components", "3")
    assert (other["images"]["encode"], other["settings"]["rank"]) == (0, 3)

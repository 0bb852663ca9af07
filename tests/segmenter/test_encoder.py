"""Encoder on a tiny random model: features, batches, and the basis with its cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from boxes import DIM, LEFT, LOW, RANK, RIGHT, SIDE, inside, pair, picture
from helpers import iou, refusal
from likewise import INSID3Params, LikewiseParams, Segmenter, build_insid3
from likewise.backbones import encoder as encoder_module
from likewise.backbones.device import choose_device
from likewise.backbones.encoder import Encoder
from likewise.backbones.files import cache_folder
from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.features.debias import positional_basis
from likewise.processor import has_bfloat16, processor_has

# --- the encoder ----------------------------------------------------------------------------------


def test_what_the_encoder_gives(encoder: Encoder) -> None:
    found = encoder.encode(picture(LEFT, (75, 140)))
    assert (encoder.grid, encoder.input_size, encoder.rank) == ((8, 8), (SIDE, SIDE), RANK)
    assert (found.grid, found.size) == ((8, 8), (75, 140))
    for features in (found.features, found.debiased):
        assert features.shape == (64, DIM)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features.norm(dim=1), torch.ones(64))
    assert (found.debiased @ encoder.basis).abs().max() < 1e-5
    assert not torch.allclose(found.features, found.debiased, atol=0.01)


def test_pixels_are_resized_and_normalised(encoder: Encoder) -> None:
    image = picture(LEFT, (75, 140))
    (pixels,) = encoder.preprocess([image])
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    expected = (np.asarray(small) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    np.testing.assert_allclose(pixels.numpy(), np.moveaxis(expected, 2, 0), atol=1e-5)


def test_features_are_the_models(encoder: Encoder, tiny: Path) -> None:
    from transformers import DINOv3ViTModel

    model: Any = DINOv3ViTModel.from_pretrained(tiny)
    pixels = encoder.preprocess([picture(LEFT), picture(LOW)])
    with torch.inference_mode():
        tokens = model.eval()(pixels).last_hidden_state[:, 5:]  # after the class and 4 registers
    torch.testing.assert_close(encoder.tokens(pixels), tokens, atol=1e-4, rtol=1e-4)
    unit = torch.nn.functional.normalize(tokens[0], dim=1)
    torch.testing.assert_close(encoder.encode(picture(LEFT)).features, unit, atol=1e-4, rtol=0)


def test_batches_give_what_single_images_give(encoder: Encoder, encoded: list[int]) -> None:
    shapes = [(96, 128), (50, 60), (128, 128), (200, 31), (96, 128), (64, 64), (33, 90)]
    images = [picture((10, 10, 30, 30), shape, seed) for seed, shape in enumerate(shapes)]
    assert encoder.basis is encoder.basis
    assert encoded == [1]
    single = [encoder.encode(image) for image in images]
    for size in (1, 3, 7, 20):
        encoded.clear()
        found = list(encoder.encode_many(images, batch_size=size))
        assert encoded == [min(size, 7 - start) for start in range(0, 7, size)]
        assert [f.size for f in found] == shapes
        for one, other in zip(found, single, strict=True):
            torch.testing.assert_close(one.features, other.features, atol=1e-5, rtol=0)
            torch.testing.assert_close(one.debiased, other.debiased, atol=1e-5, rtol=0)
    assert list(encoder.encode_many([])) == []


def test_inputs_that_are_not_square(tiny: Path) -> None:
    encoder = Encoder(tiny, image_size=(96, 160), device="cpu")
    assert encoder.grid == (6, 10)
    assert encoder.preprocess([picture(LEFT)]).shape == (1, 3, 96, 160)
    assert encoder.encode(picture(LEFT)).features.shape == (60, DIM)
    box, shape = (20, 30, 50, 80), (60, 100)
    result = Segmenter(encoder).fit(pair()).segment(picture(box, shape))
    assert result.scores.shape == (6, 10)
    assert result.mask.shape == shape
    assert iou(result.mask, inside(box, shape)) > 0.6


def test_bfloat16_is_close_to_float32(tiny: Path) -> None:
    # Of the black image's tokens only the leading directions stand out from bfloat16's rounding.
    settings: dict[str, Any] = {"image_size": SIDE, "device": "cpu", "svd_components": 3}
    full, half = Encoder(tiny, **settings), Encoder(tiny, dtype="bfloat16", **settings)
    assert half.backbone.dtype == torch.bfloat16
    one, other = full.encode(picture(LEFT)), half.encode(picture(LEFT))
    for a, b in ((one.features, other.features), (one.debiased, other.debiased)):
        assert a.dtype == b.dtype == torch.float32
        assert (a * b).sum(dim=1).min() > 0.99
        assert not torch.equal(a, b)
    masks = [Segmenter(e).fit(pair()).segment(picture(RIGHT)).mask for e in (full, half)]
    assert iou(*masks) > 0.9


def test_a_loaded_backbone_and_another_block(tiny: Path, encoder: Encoder) -> None:
    image = picture(LEFT)
    shared = Encoder(load_backbone(tiny), image_size=SIDE, device="cpu")
    assert torch.equal(shared.encode(image).debiased, encoder.encode(image).debiased)
    first = Encoder(tiny, image_size=SIDE, device="cpu", block=1)
    cut = encoder.backbone.model
    cut.layer = cut.layer[:1]
    torch.testing.assert_close(first.encode(image).features, encoder.encode(image).features)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"dtype": "bfloat16"}, "the loaded tiny has dtype float32, not bfloat16: load it so."),
        ({"block": 1}, "the loaded tiny has block 2, not 1: load it so."),
        ({"device": "tpu"}, "device 'tpu' cannot be used"),
    ],
)
def test_a_loaded_backbone_keeps_what_it_was_loaded_with(
    tiny: Path, asked: dict[str, Any], words: str
) -> None:
    loaded = load_backbone(tiny)
    Encoder(loaded, dtype="float32", device="cpu", block=2)
    assert words in refusal(Encoder, loaded, **asked)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            100,
            "image size 100 does not suit tiny: it must be a multiple of its patch, 16, such as ",
        ),
        (100, "such as 96 or 112."),
        ((128, 100), "image size (128, 100) does not suit"),
        ((120, 128), "such as 112 or 128."),
        (8, "such as 16 or 32."),
        (-16, "must be a multiple of its patch, 16"),
        (0, "image size 0 does not suit"),
        ((0, 32), "must be a multiple of its patch, 16"),
        (8208, "image size 8208 is beyond what a backbone can see at once: give at most 8192."),
    ],
)
def test_sizes_that_do_not_suit(tiny: Path, size: int | tuple[int, int], words: str) -> None:
    assert words in refusal(Encoder, tiny, image_size=size, device="cpu")
    assert words in refusal(Segmenter, tiny, image_size=size, device="cpu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "float8"}, "dtype 'float8' is unknown; use one of auto, float32, bfloat16, "),
        ({"device": "tpu"}, "device 'tpu' cannot be used ("),
        ({"device": "meta"}, "device 'meta' cannot be used ("),
        ({"device": "cuda:99"}, "use auto, cpu, cuda or mps."),
        ({"svd_components": 48}, "svd_components=48 is rank 48, but features of dimension 48"),
        ({"svd_components": -3}, "need a rank from 0 to 47"),
        ({"svd_components": 1.0}, "tiny: svd_components=1.0 is rank 48"),
        ({"block": 3}, "block 3 of tiny does not exist: use 1 to 2."),
    ],
)
def test_settings_that_cannot_be_used(tiny: Path, settings: dict[str, Any], words: str) -> None:
    assert words in refusal(Encoder, tiny, **{"image_size": SIDE, "device": "cpu"} | settings)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_is_chosen(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, kind: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    tried: list[str] = []
    monkeypatch.setattr(torch, "empty", lambda _, device: tried.append(device.type))
    assert choose_device().type == kind
    assert choose_device("cpu").type == "cpu"
    assert tried == [kind, "cpu"]


def test_a_backbone_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in refusal(Encoder, tmp_path / "none.safetensors", device="cpu")
    assert "did you mean" in refusal(build_insid3, "vitxl", device="cpu")


# --- the basis and its cache ----------------------------------------------------------------------


def test_the_basis_is_that_of_a_black_image(encoder: Encoder) -> None:
    black = encoder.preprocess([np.zeros((20, 30, 3), np.uint8)])
    tokens = patch_tokens(encoder.backbone, black).flatten(1, 2)[0]
    expected = positional_basis(tokens, RANK)
    assert encoder.basis.shape == (DIM, RANK)
    torch.testing.assert_close(
        encoder.basis @ encoder.basis.T, expected @ expected.T, atol=1e-4, rtol=0
    )


def test_the_basis_is_kept_on_disk(tiny: Path, cache: Path, encoded: list[int]) -> None:
    def make(**settings: Any) -> Encoder:
        return Encoder(tiny, **{"image_size": SIDE, "device": "cpu"} | settings)

    assert not cache.exists()
    first = make()
    assert encoded == []  # nothing is done before it is needed
    basis = first.basis
    assert encoded == [1]
    (file,) = cache.iterdir()
    assert torch.equal(load_file(file)["basis"], basis)
    assert torch.equal(make().basis, basis)
    assert encoded == [1]

    for settings in (
        {"image_size": 64},
        {"image_size": (64, 128)},
        {"image_size": (128, 64)},
        {"svd_components": 5},
        {"block": 1},
        {"dtype": "bfloat16"},
    ):
        encoded.clear()
        other = make(**settings).basis
        assert encoded == [1], settings
        assert other.shape != basis.shape or not torch.equal(other, basis)
        assert torch.equal(make(**settings).basis, other)
        assert encoded == [1], settings
    assert len(list(cache.iterdir())) == 7


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * 99])
def test_a_torn_cache_file_is_made_again(
    tiny: Path, cache: Path, encoded: list[int], damage: Callable[[bytes], bytes]
) -> None:
    basis = Encoder(tiny, image_size=SIDE, device="cpu").basis
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert torch.equal(Encoder(tiny, image_size=SIDE, device="cpu").basis, basis)
    assert encoded == [1, 1]
    assert [f.read_bytes() for f in cache.iterdir()] == [whole]


def test_a_file_in_the_way_of_the_cache_is_harmless(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "file"))
    assert Encoder(tiny, image_size=SIDE, device="cpu").basis.shape[0] == DIM


def test_a_basis_of_another_precision_is_not_taken(tiny: Path, cache: Path) -> None:
    half = Encoder(load_backbone(tiny, dtype=torch.bfloat16), image_size=SIDE, device="cpu")
    full = Encoder(tiny, image_size=SIDE, device="cpu")
    assert (half.dtype, full.dtype) == (torch.bfloat16, torch.float32)
    assert not torch.equal(half.basis, full.basis)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("size", [256.0, "256", (128.0, 128), (128,), (1, 2, 3), 1_600_000])
def test_sizes_that_are_none(tiny: Path, size: Any) -> None:
    assert str(size) in refusal(Encoder, tiny, image_size=size, device="cpu")


def test_numpy_numbers_are_numbers(tiny: Path) -> None:
    encoder = Encoder(tiny, image_size=np.int64(SIDE), svd_components=np.float32(0.5), device="cpu")
    assert encoder.input_size == (SIDE, SIDE)
    assert encoder.rank == DIM // 2


def test_a_shared_encoder_keeps_its_settings(tiny: Path) -> None:
    encoder = Encoder(tiny, image_size=SIDE, device="cpu")
    assert Segmenter(encoder, method=LikewiseParams(threshold=0.5)).encoder is encoder
    assert Segmenter(encoder, method=INSID3Params(tau=0.5)).encoder is encoder
    assert "shared Encoder" in refusal(Segmenter, encoder, image_size=SIDE)


def test_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "likewise"


def test_a_cache_that_cannot_be_written_is_harmless(
    tiny: Path, cache: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    basis = Encoder(tiny, image_size=SIDE, device="cpu").basis
    (file,) = cache.iterdir()
    file.unlink()
    file.mkdir()  # what the new file is to replace
    assert torch.equal(Encoder(tiny, image_size=SIDE, device="cpu").basis, basis)
    assert list(cache.iterdir()) == [file]  # and no temporary file stays behind
    file.rmdir()

    def full_disk(part: Path, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    assert torch.equal(Encoder(tiny, image_size=SIDE, device="cpu").basis, basis)
    assert list(cache.iterdir()) == []
    assert encoded == [1, 1, 1]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LIKEWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "likewise"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(encoder_module.Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "likewise"


# --- auto -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, torch.bfloat16),
        ({"method": LikewiseParams(presence=0)}, torch.bfloat16),
        ({"dtype": "float32"}, torch.float32),
        ({"method": "insid3"}, torch.float32),  # its clusters flip
        ({"backbone": "embedded-small"}, torch.float32),  # not measured
    ],
)
def test_auto_is_bfloat16_where_that_is_proven(
    options: dict[str, Any], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.methods.has_bfloat16", lambda: True)
    assert Segmenter(**options).encoder.dtype == dtype
    assert Encoder("embedded").dtype == torch.float32
    monkeypatch.setattr("likewise.methods.has_bfloat16", lambda: False)
    assert Segmenter(**options).encoder.dtype == torch.float32


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("flags : fpu avx512f avx512_bf16 vme", True),
        ("amx_bf16", True),
        ("avx512f amx_tile", False),
    ],
)
def test_what_the_processor_says(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: flags)
    processor_has.cache_clear()
    try:
        assert has_bfloat16() is has
    finally:
        processor_has.cache_clear()

"""Encoder, Segmenter and build_insid3 on a tiny random model; one test with the embedded one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import likewise
from helpers import refusal
from likewise import INSID3Params, LikewiseParams, Reference, Segmenter, build_insid3, match
from likewise.backbones import encoder as encoder_module
from likewise.backbones.device import choose_device
from likewise.backbones.encoder import Encoder, cache_folder
from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.class_names import wholes_of
from likewise.errors import InputWarning
from likewise.features import target_cache
from likewise.features.debias import positional_basis
from likewise.features.patch_features import mask_to_grid
from likewise.io.encoding import write_image, write_mask
from likewise.io.images import Picture, read_image
from likewise.io.masks import read_mask
from likewise.methods import METHODS, get_method, make_params
from likewise.methods import likewise as likewise_method
from likewise.methods.consensus import consensus
from likewise.methods.keypoints import match_keypoints
from likewise.reference import as_references
from likewise.refine import compete, compete_inside, refine, resize
from likewise.result import Result
from likewise.segmenter import CONSENSUS_BATCH

EXAMPLE = Path(likewise.__file__).parent / "example"
SIDE, PATCH, DIM, RANK = 128, 16, 48, 23  # 23 = 500/1024 of 48


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bases are kept here, never in the user's cache."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bases"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv3 of two blocks, as a Hugging Face folder."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        num_register_tokens=4,
    )
    model: Any = DINOv3ViTModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "token" in name:
                parameter.normal_(std=0.02, generator=generator)
            elif parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(0 if "bias" in name else 1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def encoder(tiny: Path) -> Encoder:
    return Encoder(tiny, image_size=SIDE, device="cpu")


@pytest.fixture
def segmenter(encoder: Encoder) -> Segmenter:
    return Segmenter(encoder)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that any encoder has sent through its model so far."""
    sizes: list[int] = []
    real = Encoder.tokens

    def tokens(self: Encoder, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(Encoder, "tokens", tokens)
    return sizes


Box = tuple[int, int, int, int]


def picture(box: Box, shape: tuple[int, int] = (96, 128), seed: int = 0) -> np.ndarray:
    """Red in a box (top, left, bottom, right) on blue."""
    pixels = np.where(inside(box, shape)[..., None], (220, 60, 30), (20, 50, 200))
    noise = np.random.default_rng(seed).normal(size=pixels.shape) * 8
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def inside(box: Box, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


LEFT, RIGHT, LOW = (24, 16, 72, 64), (12, 64, 60, 112), (48, 32, 96, 96)


def pair(box: Box = LEFT) -> tuple[np.ndarray, np.ndarray]:
    return picture(box), inside(box)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def upsampled(scores: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where patch scores are above ½ in the square that the encoder saw, at the target's size."""
    square = resize(torch.from_numpy(scores), (SIDE, SIDE)) > 0.5
    return (resize(square.float(), shape) > 0.5).numpy()


def assert_same(found: Result, expected: Result) -> None:
    """The default method saw the same references and made the same of them."""
    assert torch.equal(found.trace.log_odds, expected.trace.log_odds)
    assert found.trace.log_odds.unique().numel() > 32
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.confidence == expected.confidence
    np.testing.assert_array_equal(found.mask, expected.mask)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the public examples, in the working folder."""
    for name, box in (("reference", LEFT), ("ref1", LEFT), ("ref2", LOW), ("ref_full", LEFT)):
        write_image(tmp_path / f"{name}.jpg", picture(box))
    write_mask(tmp_path / "reference_mask.png", inside(LEFT))
    write_mask(tmp_path / "mask1.png", inside(LEFT))
    write_mask(tmp_path / "mask2.png", inside(LOW))
    write_mask(tmp_path / "ref_thing_mask.png", inside(LEFT))
    write_mask(tmp_path / "ref_rest_mask.png", ~inside(LEFT))
    write_image(tmp_path / "target.jpg", picture(RIGHT, seed=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the encoder --------------------------------------------------------------------------------


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
    assert next(half.backbone.model.parameters()).dtype == torch.bfloat16
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
    assert first.backbone.block == 1
    assert not torch.allclose(first.encode(image).features, encoder.encode(image).features)


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


# --- the basis and its cache --------------------------------------------------------------------


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

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        Path(path).write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
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


# --- Segmenter ----------------------------------------------------------------------------------


def test_the_thing_is_found_in_other_images(segmenter: Segmenter) -> None:
    assert segmenter.fit(pair()) is segmenter
    seen: set[float] = set()
    across = (20, 20, 68, 76)  # with some patches half on it
    for box, shape in (
        (RIGHT, (96, 128)),
        (LEFT, (96, 128)),
        (across, (96, 128)),
        ((60, 80, 180, 240), (240, 320)),
    ):
        result = segmenter.segment(picture(box, shape, seed=3))
        assert result.mask.shape == shape
        assert result.mask.dtype == bool
        assert result.scores.shape == (8, 8)
        assert result.scores.dtype == np.float32
        assert result.scores.min() >= 0
        assert result.scores.max() <= 1
        seen |= set(result.scores.ravel().tolist())
        plain = upsampled(result.scores, shape)
        assert iou(result.mask, plain) > 0.75  # the same, but for edges that follow the image
        assert iou(result.mask, inside(box, shape)) > 0.6
        assert result.area == pytest.approx(result.mask.mean())
        assert 0.5 <= result.confidence <= 1
        assert result.present
    assert len(seen) > 2  # not only 0 and 1, where clear evidence ends up
    nothing = segmenter.segment(picture((0, 0, 0, 0), seed=4))
    assert (nothing.area, nothing.present) == (0, False)
    assert nothing.scores.max() <= 0.5
    assert 0 <= nothing.confidence < 0.5


def test_the_thing_is_found_by_insid3(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder, method="insid3").fit(pair())
    for box, shape in ((RIGHT, (96, 128)), (LEFT, (96, 128)), ((60, 80, 180, 240), (240, 320))):
        result = segmenter.segment(picture(box, shape, seed=3))
        assert set(np.unique(result.scores)) == {0, 1}
        assert iou(result.mask, inside(box, shape)) > 0.6
        assert result.trace.seed is not None
        assert 0 < result.confidence <= 1
    nothing = segmenter.segment(picture((0, 0, 0, 0), seed=4))
    assert (nothing.area, nothing.confidence) == (0, 0)
    assert nothing.trace.seed is None


@pytest.mark.parametrize(
    ("method", "views"),
    [("likewise", 2), ("insid3", 1)],  # of each reference
)
def test_references_are_encoded_once(
    encoder: Encoder, encoded: list[int], method: str, views: int
) -> None:
    segmenter = Segmenter(encoder, method=method)
    segmenter.fit([pair(LEFT), pair(LOW), pair(RIGHT)])
    assert sum(encoded) == 3 * views + 1  # and the black image
    encoded.clear()
    results = list(segmenter.segment_many([picture(RIGHT), picture(LOW), picture(LEFT)]))
    assert encoded == [1, 1, 1]
    assert segmenter.references is not None
    assert len(segmenter.references) == 3
    for mask, box in zip(
        [s.mask for s in segmenter.references.shots], (LEFT, LOW, RIGHT), strict=True
    ):
        assert torch.equal(mask, mask_to_grid(inside(box), (8, 8)))
    for result, box in zip(results, (RIGHT, LOW, LEFT), strict=True):
        assert iou(result.mask, inside(box)) > 0.6
        np.testing.assert_array_equal(result.mask, segmenter.segment(picture(box)).mask)


def test_segment_many_reads_one_image_at_a_time(segmenter: Segmenter, encoded: list[int]) -> None:
    segmenter.fit(pair())
    encoded.clear()
    results = segmenter.segment_many(iter([picture(RIGHT), "none.png"]))
    assert encoded == []
    assert iou(next(results).mask, inside(RIGHT)) > 0.6
    assert "none.png does not exist" in refusal(next, results)


# --- pixels that are not there, and more than 8 bits ---------------------------------------------


def test_what_is_transparent_is_in_no_mask(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.fit(pair())
    pixels = picture(RIGHT)
    valid = np.ones(pixels.shape[:2], bool)
    valid[40:] = False
    assert (inside(RIGHT) & ~valid).any()
    alpha = (valid * 255).astype(np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png")
    for result in (
        segmenter.segment(tmp_path / "a.png"),
        next(segmenter.segment_many([tmp_path / "a.png"])),
        *segmenter.segment_batch([segmenter.read(tmp_path / "a.png")]),
    ):
        assert (result.mask & valid).any()
        assert not (result.mask & ~valid).any()
        assert not result.label_map[~valid].any()
        assert not any((c.mask & ~valid).any() for c in result.classes.values())


def test_what_is_transparent_in_a_reference_says_nothing(segmenter: Segmenter) -> None:
    image, mask = pair()
    alpha = np.full(mask.shape, 255, np.uint8)
    alpha[-30:] = 0
    prints = set()
    for hidden in (0, 255):
        seen = np.where(alpha[..., None] > 0, image, np.uint8(hidden))
        marked = mask if hidden else mask | (alpha == 0)
        prints.add(segmenter.fit((np.dstack([seen, alpha]), marked)).fingerprint)
    assert len(prints) == 1


@pytest.mark.filterwarnings("ignore::likewise.errors.InputWarning")
def test_wide_references_and_targets_are_shown_alike(segmenter: Segmenter, tmp_path: Path) -> None:
    image, mask = pair()
    wide = image.astype(np.uint16) * 100 + 3000
    assert segmenter.fit((image, mask)).references.ranges == {}
    segmenter.fit([(wide, mask), (wide // 2, mask)])
    ranges = segmenter.references.ranges
    low, high = ranges["u"]
    assert 1500 <= low < 3000 < 20000 < high
    assert segmenter.only(["object"]).references.ranges == ranges
    target = (picture(RIGHT).astype(np.uint16) * 70 + 4000)[..., :3]
    shown = np.rint((target.astype(float) - low) * 255 / (high - low)).clip(0, 255)
    np.testing.assert_array_equal(segmenter.read(target).pixels, shown)
    segmenter.save(tmp_path / "r.safetensors")
    other = Segmenter(segmenter.encoder).load(tmp_path / "r.safetensors")
    assert other.references.ranges == ranges
    np.testing.assert_array_equal(other.read(target).pixels, shown)


# --- consensus: images lend each other references -----------------------------------------------


def boxes(count: int) -> list[Box]:
    """Places of the thing, no two the same."""
    places = [(12 * row, 16 * column + 3) for row in range(5) for column in range(5)]
    return [(top, left, top + 48, left + 48) for top, left in places[:count]]


def faded(box: Box, share: float, seed: int) -> np.ndarray:
    """A picture with a box that is less and less red."""
    other = (1 - share) * picture(box, seed=seed) + share * np.array([20, 200, 60])
    pixels = np.where(inside(box)[..., None], other, picture(box, seed=seed))
    return pixels.astype(np.uint8)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each ``segment_batch`` was given so far."""
    sizes: list[int] = []
    really = Segmenter.segment_batch

    def segment_batch(self: Segmenter, images: Any, *, consensus: bool = False) -> list[Result]:
        sizes.append(len(images))
        return really(self, images, consensus=consensus)

    monkeypatch.setattr(Segmenter, "segment_batch", segment_batch)
    return sizes


def test_consensus_goes_in_batches_and_in_order(segmenter: Segmenter, batches: list[int]) -> None:
    segmenter.fit(pair())
    places = boxes(17)
    images = [faded(box, 0.7 * (n % 16) / 16, seed=n) for n, box in enumerate(places)]
    results = list(segmenter.segment_many(iter(images), consensus=True))
    assert CONSENSUS_BATCH == 16
    assert batches == [16, 1]
    assert len(results) == 17
    for number, result in enumerate(results[:10]):  # each is most like its own place
        overlaps = [iou(result.mask, inside(box)) for box in places]
        assert int(np.argmax(overlaps)) == number
        assert overlaps[number] > 0.6
    batched = segmenter.segment_batch(images[:16], consensus=True)
    single = [segmenter.segment(image) for image in images]
    for result, expected in zip(results, [*batched, single[16]], strict=True):
        torch.testing.assert_close(result.scores, expected.scores, atol=1e-4, rtol=0)
        np.testing.assert_array_equal(result.mask, expected.mask)
    assert [r.present for r in results] == [r.present for r in single]
    for alone, result in zip(single[:16], results[:16], strict=True):
        # What the reference alone calls absent stays so; to all others the rest of the batch lends.
        assert torch.equal(alone.trace.log_odds, result.trace.log_odds) != alone.present
    assert torch.equal(single[16].trace.log_odds, results[16].trace.log_odds)  # has nobody


def test_segment_batch_is_the_method_on_encoded_images(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder).fit(two_classes())
    shapes = [(96, 128)] * 3 + [(50, 60)]
    known = {name: MIXED[name] for name in ("red", "green")}
    images = [paint(known, seed=n) for n in range(3)] + [picture((9, 9, 30, 30), (50, 60))]
    results = segmenter.segment_batch(images, consensus=True)
    assert [r.mask.shape for r in results] == shapes
    assert segmenter.references is not None
    for label in ("red", "green"):
        model = segmenter.models[label]
        encoded = list(encoder.encode_many(images))
        expected = consensus(segmenter.references.of(label), model, encoded, classes=2)
        for result, scores in zip(results, expected, strict=True):
            one = result.classes[label]
            np.testing.assert_allclose(one.scores.ravel(), scores.patches.numpy(), atol=1e-5)
            assert one.confidence == pytest.approx(scores.confidence, abs=1e-5)
    for image, result in zip(images[:3], results, strict=False):
        assert result.labels == ("red", "green")
        for k, name in enumerate(result.labels, start=1):
            assert iou(result.label_map == k, inside(MIXED[name])) > 0.9
        assert result.label_map.shape == image.shape[:2]


def test_consensus_reads_one_batch_and_one_image(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likewise.segmenter.CONSENSUS_BATCH", 2)
    segmenter.fit(pair())
    taken: list[Box] = []

    def images() -> Any:
        for box in (RIGHT, LEFT, LOW, LOW):
            taken.append(box)
            yield picture(box)
        yield "none.png"

    results = segmenter.segment_many(images(), consensus=True)
    assert taken == []
    for box in (RIGHT, LEFT):
        assert iou(next(results).mask, inside(box)) > 0.6
        assert taken == [RIGHT, LEFT, LOW]
    assert len([next(results), next(results)]) == 2
    assert "none.png does not exist" in refusal(next, results)


def test_consensus_of_nothing_and_before_fit(segmenter: Segmenter) -> None:
    words = "no reference yet: give at least one (image, mask) pair first."
    assert refusal(segmenter.segment_batch, [picture(LEFT)]) == words
    assert refusal(segmenter.segment_batch, [picture(LEFT)], consensus=True) == words
    assert refusal(list, segmenter.segment_many([picture(LEFT)], consensus=True)) == words
    segmenter.fit(pair())
    assert list(segmenter.segment_many([], consensus=True)) == []
    assert segmenter.segment_batch([]) == segmenter.segment_batch([], consensus=True) == []


@pytest.mark.parametrize("method", ["insid3", "foris", "frost", "nearest"])
def test_a_method_without_consensus(encoder: Encoder, method: str) -> None:
    segmenter = Segmenter(encoder, method=method).fit(pair())
    words = f"method {method} has no consensus; use likewise."
    assert refusal(segmenter.segment_batch, [picture(LEFT)], consensus=True) == words
    assert refusal(segmenter.segment_many, [picture(LEFT)], consensus=True) == words


# --- references ---------------------------------------------------------------------------------


@pytest.mark.parametrize("consensus", [False, True])
def test_the_tree_is_kept_when_asked_for(encoder: Encoder, consensus: bool) -> None:
    image = read_image(EXAMPLE / "coin_1.png")
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[:40, :40] = True
    patches = (SIDE // PATCH) ** 2
    for keep in (False, True):
        segmenter = Segmenter(encoder, keep_tree=keep).fit((image, mask))
        for result in segmenter.segment_batch([image, image], consensus=consensus):
            assert (result.tree is not None) == keep
            if result.tree is not None:
                labels = result.tree.cut(-1)
                assert labels.shape == (patches,)
                assert set(labels.tolist()) == {0}


def test_fit_replaces(segmenter: Segmenter) -> None:
    target = picture(RIGHT)
    thing = segmenter.fit(pair()).segment(target).mask
    image, mask = pair()
    rest = segmenter.fit((image, ~mask)).segment(target).mask
    assert iou(thing, inside(RIGHT)) > 0.6
    assert iou(rest, ~inside(RIGHT)) > 0.6
    np.testing.assert_array_equal(segmenter.fit(pair()).segment(target).mask, thing)
    before = segmenter.references
    refusal(segmenter.fit, [(image, mask), (image, mask & False)])
    assert segmenter.references is before  # a failed fit changes nothing


def test_segment_needs_fit(segmenter: Segmenter) -> None:
    words = "no reference yet: give at least one (image, mask) pair first."
    assert refusal(segmenter.segment, picture(LEFT)) == words
    assert refusal(next, segmenter.segment_many([picture(LEFT)])) == words


def test_forms_of_references(segmenter: Segmenter, files: Path) -> None:
    image, mask = pair()
    target = picture(RIGHT)
    expected = segmenter.fit([(image, mask), (image, mask)]).segment(target)
    two = Reference(image, mask)
    for references in (
        ((image, mask), (image, mask)),
        [[image, mask], [image, mask]],
        [two, (image, mask)],
        (two, two),
        ((image, mask), two),
    ):
        found = segmenter.fit(references).segment(target)
        assert segmenter.references is not None
        assert len(segmenter.references) == 2
        assert_same(found, expected)
    for one in ((image, mask), [(image, mask)], ((image, mask),), Reference(image, mask), [two]):
        segmenter.fit(one)
        assert segmenter.references is not None
        assert len(segmenter.references) == 1
    expected = segmenter.fit((read_image("reference.jpg"), mask)).segment(target)
    for one in (
        ("reference.jpg", "reference_mask.png"),
        [(Path("reference.jpg"), Image.open("reference_mask.png"))],
        (Image.open("reference.jpg"), torch.from_numpy(mask)),
    ):
        assert_same(segmenter.fit(one).segment(target), expected)


def test_a_value_picks_one_label(segmenter: Segmenter) -> None:
    image = picture(LEFT)
    labels = np.full((96, 128), 7, np.uint8)
    labels[inside(LEFT)] = 3
    labels[:4] = 1
    target = picture(RIGHT)
    for value, mask in ((3, inside(LEFT)), (7, labels == 7)):
        expected = segmenter.fit((image, mask)).segment(target)
        found = segmenter.fit(Reference(image, labels, mask_value=value)).segment(target)
        assert_same(found, expected)
    assert "mask_value=" in refusal(segmenter.fit, (image, labels))
    assert "does not hold the value 9" in refusal(
        segmenter.fit, Reference(image, labels, mask_value=9)
    )


@pytest.mark.parametrize("references", [[], ()])
def test_no_reference(segmenter: Segmenter, references: Any) -> None:
    words = "no reference given: pass at least one (image, mask) pair."
    assert refusal(segmenter.fit, references) == words


@pytest.mark.parametrize(
    ("references", "kind"),
    [
        ("coin.png", "str"),
        (["coin.png", "mask.png"], "str"),
        (("coin.png", "mask.png", "more.png"), "tuple"),
        (("coin.png",), "tuple"),
        ([("coin.png",)], "tuple"),
        ([("a.png", "b.png"), "c.png"], "str"),
        ((("a.png", "b.png"), Path("c.png")), "PosixPath" if os.name == "posix" else "WindowsPath"),
        ([None], "NoneType"),
        ({"coin.png": "mask.png"}, "dict"),
        (None, "NoneType"),
        (Path("coin.png"), "PosixPath" if os.name == "posix" else "WindowsPath"),
        (np.zeros((4, 4, 3), np.uint8), "ndarray"),
    ],
)
def test_wrong_forms_of_references(segmenter: Segmenter, references: Any, kind: str) -> None:
    text = refusal(segmenter.fit, references)
    assert text.startswith("a reference must be a Reference or an (image, mask) pair, ")
    assert text.endswith(f"not {kind}: write [(image, mask), ...].")
    assert segmenter.references is None


def test_pairs_of_short_names_are_pairs() -> None:
    (one,) = as_references(("ab", "cd"))  # of which each could be taken for a pair itself
    assert (one.image, one.mask, one.mask_value) == ("ab", "cd", None)
    assert [r.image for r in as_references([("ab", "cd"), Reference("ef", "gh", 2)])] == [
        "ab",
        "ef",
    ]


def test_masks_and_images_that_cannot_be_used(segmenter: Segmenter, files: Path) -> None:
    image, mask = pair()
    assert refusal(segmenter.fit, ("none.jpg", mask)).startswith("none.jpg does not exist")
    assert refusal(segmenter.fit, (image, "none.png")).startswith("none.png does not exist")
    assert "marks nothing" in refusal(segmenter.fit, (image, mask & False))
    assert "128 × 96" in refusal(segmenter.fit, (image, mask.T))
    segmenter.fit((image, mask))
    assert refusal(segmenter.segment, "none.jpg").startswith("none.jpg does not exist")


@pytest.mark.parametrize("tau", [1.01, -2, float("nan"), float("inf")])
def test_a_tau_that_is_no_cosine(tau: float) -> None:
    text = refusal(INSID3Params, tau=tau)
    assert text == f"tau {tau} is no cosine similarity; use a number from -1 to 1."


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number(alpha: float) -> None:
    text = refusal(INSID3Params, alpha=alpha)
    assert text.startswith(f"alpha {alpha} is no number")


def test_settings_that_the_method_has_not() -> None:
    has = "it has temperature, linear, ridge, affinity, seed, threshold, presence."
    for name in ("tau", "alpha"):
        text = f"method likewise has no setting {name}; {has}"
        assert refusal(make_params, "likewise", {name: 0.5}) == text
    text = "method insid3 has no setting threshold; it has tau, alpha."
    assert refusal(make_params, "insid3", {"threshold": 0.5}) == text
    left_out: dict[str, Any] = {"tau": None, "alpha": None, "threshold": None}
    assert make_params("likewise", left_out) == LikewiseParams()


def test_a_method_is_a_name_or_settings(encoder: Encoder) -> None:
    for name in METHODS:
        assert get_method(name).Params.method == name
    assert refusal(Segmenter, encoder, method="best").startswith("method 'best' is unknown; use")
    for wrong in (INSID3Params, {"tau": 0.5}, None):
        text = refusal(Segmenter, encoder, method=wrong)
        assert text.startswith("method must be a name or the settings of a method, such as Lik")
    alpha = Segmenter(encoder, method=INSID3Params(alpha=0.3))
    assert (alpha.method, alpha.params) == ("insid3", INSID3Params(encoder.spec.tau, 0.3))


def test_parameters_reach_the_method(encoder: Encoder) -> None:
    def segmenter(**settings: float) -> Segmenter:
        return Segmenter(encoder, method=LikewiseParams(**settings)).fit(pair())

    assert Segmenter(encoder).method == "likewise"
    assert Segmenter(encoder).params == likewise_method.Params()
    assert segmenter(presence=0.2, linear=2).params == likewise_method.Params(
        presence=0.2, linear=2
    )
    target = picture(RIGHT)
    areas = [
        segmenter(threshold=nats, presence=0).segment(target).area for nats in (-100, -3, 0, 3, 100)
    ]
    assert areas == sorted(areas, reverse=True)
    assert (areas[0], areas[-1]) == (1, 0)
    sure = segmenter().segment(target)
    assert sure.present
    none = segmenter(presence=1).segment(target)  # nothing is that sure
    assert (none.present, none.scores.max()) == (False, 0.5)
    assert none.confidence == sure.confidence < 1


def test_parameters_reach_insid3(encoder: Encoder) -> None:
    def segmenter(**settings: float) -> Segmenter:
        return Segmenter(encoder, method=INSID3Params(**settings)).fit(pair())

    assert segmenter().params.tau == encoder.spec.tau == 0.6
    assert segmenter().params.alpha == 0.2
    fine = segmenter(tau=0.9999, alpha=2).segment(picture(RIGHT))
    coarse = segmenter(tau=-1.0).segment(picture(RIGHT))
    assert fine.trace.labels is not None
    assert fine.trace.labels.max() > 5
    kept = fine.trace.labels[torch.from_numpy(fine.scores.ravel() > 0)]
    assert kept.unique().tolist() == [fine.trace.seed]  # alpha 2 leaves the seed alone
    assert coarse.mask.all()  # all in one cluster


def test_an_encoder_is_shared(encoder: Encoder, encoded: list[int]) -> None:
    one, other = Segmenter(encoder), Segmenter(encoder, refiner="crf")
    assert one.encoder is other.encoder is encoder
    one.fit(pair())
    assert other.references is None


@pytest.mark.parametrize("refiner", ["guided", "crf"])
def test_refiners_only_redraw_the_mask(encoder: Encoder, refiner: str) -> None:
    target = picture(RIGHT)
    plain = Segmenter(encoder, refiner="none").fit(pair()).segment(target)
    refined = Segmenter(encoder, refiner=refiner).fit(pair()).segment(target)
    np.testing.assert_array_equal(plain.scores, refined.scores)
    assert (plain.mask != refined.mask).any()
    assert iou(plain.mask, refined.mask) > 0.6
    assert iou(refined.mask, inside(RIGHT)) > 0.6


def test_an_unknown_refiner_is_refused_before_anything_is_loaded() -> None:
    words = "refiner 'magic' is unknown; use one of none, guided, crf."
    assert refusal(Segmenter, "no such backbone", refiner="magic") == words
    assert refusal(build_insid3, "no such backbone", mask_refiner="magic") == words


def test_the_package_offers_what_it_lists() -> None:
    assert all(hasattr(likewise, name) for name in likewise.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Magic'"):
        likewise.Magic  # noqa: B018


# --- several classes and negatives ---------------------------------------------------------------

PAINT = {"red": (220, 60, 30), "green": (40, 200, 60), "yellow": (230, 220, 60)}
PAIR = {"red": (12, 16, 60, 48), "green": (36, 80, 84, 112)}
MIXED = {"red": (12, 96, 48, 128), "green": (48, 0, 84, 32), "yellow": (60, 64, 96, 96)}


def paint(boxes: dict[str, Box], seed: int = 0) -> np.ndarray:
    """(96, 128, 3): boxes in their colours on blue."""
    pixels = np.full((96, 128, 3), (20, 50, 200), float)
    for name, box in boxes.items():
        pixels[inside(box)] = PAINT[name]
    return (
        (pixels + np.random.default_rng(seed).normal(size=pixels.shape) * 8)
        .clip(0, 255)
        .astype(np.uint8)
    )


def two_classes() -> list[Reference]:
    """Red and green, both marked in the same picture."""
    image = paint(PAIR)
    return [Reference(image, inside(PAIR[name]), label=name) for name in ("red", "green")]


@pytest.mark.parametrize(("method", "count"), [("nearest", 1), ("likewise", 2)])
def test_equal_pictures_are_encoded_once_for_two_labels(
    encoder: Encoder, encoded: list[int], method: str, count: int
) -> None:
    assert encoder.basis.shape == (DIM, RANK)  # the black image is encoded here
    encoded.clear()
    red, green = two_classes()
    green = Reference(np.array(green.image), green.mask, label="green")  # equal, not the same
    references = Segmenter(encoder, method=method).fit([red, green]).references
    # The picture and its mirror image.
    assert sum(encoded) == count
    assert references is not None
    one, other = references.shots
    assert one.encoded is other.encoded
    assert [s.label for s in references.shots] == ["red", "green"]
    for shot, name in zip(references.shots, ("red", "green"), strict=True):
        assert torch.equal(shot.mask, mask_to_grid(inside(PAIR[name]), (8, 8)))
    if method == "likewise":
        assert tuple(one.views) == tuple(other.views) == ("flip",)
        assert one.views["flip"][0] is other.views["flip"][0]
        assert not torch.equal(one.views["flip"][1], other.views["flip"][1])
    encoded.clear()
    changed = np.array(green.image)
    changed[0, 0, 0] ^= 1  # one bit in one pixel
    Segmenter(encoder, method="nearest").fit([red, Reference(changed, green.mask, label="green")])
    assert sum(encoded) == 2


def not_yellow() -> Reference:
    box = (24, 32, 72, 80)
    return Reference(paint({"yellow": box}, seed=7), inside(box), negative=True)


@pytest.mark.parametrize("method", ["likewise", "nearest"])
def test_two_classes_an_unknown_region_and_a_negative(encoder: Encoder, method: str) -> None:
    segmenter = Segmenter(encoder, method=method)
    target, yellow = paint(MIXED, seed=5), inside(MIXED["yellow"])
    before = segmenter.fit(two_classes()).segment(target)
    assert before.classes["red"].mask[yellow].mean() > 0.8  # the false positive
    result = segmenter.fit([*two_classes(), not_yellow()]).segment(target)
    assert result.labels == tuple(result.classes) == ("red", "green")
    assert result.label_map.dtype == np.uint8
    assert not result.label_map[yellow].any()
    for k, name in enumerate(result.labels, start=1):
        one = result.classes[name]
        np.testing.assert_array_equal(one.mask, result.label_map == k)
        assert iou(one.mask, inside(MIXED[name])) > 0.9
        assert one.scores.shape == (8, 8)
        assert 0 < one.confidence <= result.confidence
    np.testing.assert_array_equal(result.mask, result.label_map > 0)
    every = np.stack([c.scores for c in result.classes.values()])
    np.testing.assert_array_equal(result.scores, every.max(axis=0))
    assert result.present
    nothing = segmenter.segment(paint({"yellow": MIXED["yellow"]}, seed=9))
    assert (nothing.present, nothing.area, nothing.label_map.max()) == (False, 0, 0)


def test_a_negative_without_a_mask_is_all_of_its_image(encoder: Encoder) -> None:
    image, target = not_yellow().image, paint(MIXED, seed=5)
    segmenter = Segmenter(encoder, method="nearest")
    found = segmenter.fit([*two_classes(), Reference(image, None, negative=True)]).segment(target)
    assert not found.mask[inside(MIXED["yellow"])].any()
    assert "has no mask" in refusal(segmenter.fit, Reference(image, None))


@pytest.mark.parametrize("method", ["likewise", "insid3", "nearest"])
@pytest.mark.parametrize("refiner", ["none", "guided", "crf"])
def test_one_class_is_what_refining_its_scores_gives(
    encoder: Encoder, method: str, refiner: str
) -> None:
    target = paint(MIXED, seed=5)
    segmenter = Segmenter(encoder, method=method, refiner=refiner).fit(two_classes()[0])
    result = segmenter.segment(target)
    mask = refine(torch.from_numpy(result.scores), target, (SIDE, SIDE), refiner)
    assert mask.any()
    np.testing.assert_array_equal(result.mask, mask)
    np.testing.assert_array_equal(result.label_map, mask.astype(np.uint8))
    (one,) = result.classes.values()
    np.testing.assert_array_equal(one.scores, result.scores)
    assert (one.confidence, one.trace) == (result.confidence, result.trace)
    assert result.labels == ("red",)


@pytest.mark.parametrize("method", ["insid3", "foris"])
def test_classes_share_one_clustering(
    encoder: Encoder, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [Segmenter(encoder, method=method).fit(r).segment(paint(MIXED)) for r in two_classes()]
    made: list[int] = []
    really = target_cache.average_linkage

    def average_linkage(features: torch.Tensor) -> Any:
        made.append(len(features))
        return really(features)

    monkeypatch.setattr(target_cache, "average_linkage", average_linkage)
    segmenter = Segmenter(encoder, method=method).fit(two_classes())
    made.clear()
    result = segmenter.segment(paint(MIXED))
    assert len(made) == 1
    if method == "insid3":  # to which other classes are nothing
        for one, other in zip(result.classes.values(), alone, strict=True):
            np.testing.assert_array_equal(one.scores, other.scores)


def test_classes_share_one_match_and_one_set_of_matrices(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter(encoder).fit(two_classes())
    pools = {id(model.pool) for model in segmenter.models.values()}
    assert len(pools) == 1
    target = encoder.encode(paint(MIXED))
    alone = [get_method("likewise").score(m, target) for m in segmenter.models.values()]
    with (
        mock.patch.object(target_cache, "match", wraps=target_cache.match) as matches,
        mock.patch("torch.softmax", wraps=torch.softmax) as softmax,
    ):
        result = segmenter.segment_encoded(paint(MIXED), target)
    assert (matches.call_count, softmax.call_count) == (1, 1)
    for one, other in zip(result.classes.values(), alone, strict=True):
        np.testing.assert_array_equal(one.scores.ravel(), other.patches.numpy())


def test_parts_are_found_inside_their_whole(encoder: Encoder) -> None:
    image = paint(PAIR)
    both = Reference(image, inside(PAIR["red"]) | inside(PAIR["green"]), label="pair")
    parts = [Reference(r.image, r.mask, label=f"pair/{r.label}") for r in two_classes()]
    result = Segmenter(encoder).fit([both, *parts]).segment(paint(MIXED, seed=5))
    whole = result.classes["pair"].mask
    assert iou(whole, inside(MIXED["red"]) | inside(MIXED["green"])) > 0.5  # yellow is like red
    covered = np.zeros_like(whole)
    for k, name in enumerate(("red", "green"), 2):
        part = result.classes[f"pair/{name}"].mask
        assert iou(part, inside(MIXED[name])) > 0.9 or name == "red"
        assert part[inside(MIXED[name])].mean() > 0.9
        assert not (part & ~whole).any()
        assert not (part & covered).any()
        np.testing.assert_array_equal(result.label_map == k, part)
        covered |= part
    np.testing.assert_array_equal(result.label_map == 1, whole & ~covered)
    np.testing.assert_array_equal(result.mask, whole)


def test_what_is_marked_as_a_part_is_not_against_its_whole(encoder: Encoder) -> None:
    red, green = two_classes()
    named = [
        Reference(r.image, r.mask, label=name)
        for r, name in ((red, "a"), (green, "a/b"), (green, "a/b/c"), (red, "ab"))
    ]
    references = Segmenter(encoder).fit([*named, not_yellow()]).references
    assert references is not None
    known = {
        label: [(s.label, s.negative) for s in references.of(label).shots]
        for label in references.labels
    }
    wrong = ("object", True)
    assert known == {
        "a": [("a", False), ("ab", True), wrong],
        "a/b": [("a/b", False), ("ab", True), wrong],
        "a/b/c": [("a/b/c", False), ("ab", True), wrong],
        "ab": [("a", True), ("a/b", True), ("a/b/c", True), ("ab", False), wrong],
    }
    assert wholes_of(references.labels) == [None, 0, 1, None]
    assert wholes_of(["x/y", "z", "x/y/q/r"]) == [None, None, 0]


def test_parts_of_parts_compete_inside_them() -> None:
    def half(start: int, stop: int) -> np.ndarray:
        mask = np.zeros((1, 8), bool)
        mask[:, start:stop] = True
        return mask

    # A part may come before its whole; two parts overlap; what is outside the whole goes.
    masks = [half(2, 8), half(0, 6), half(4, 5), half(5, 8)]
    scores = [torch.full((1, 8), s) for s in (0.9, 0.6, 0.9, 0.7)]
    label_map, found = compete_inside(masks, scores, [1.0] * 4, [1, None, 0, None], (1, 8))
    assert label_map.tolist() == [[2, 2, 1, 1, 3, 4, 4, 4]]  # 4 takes from 2 by its score
    assert [m.nonzero()[1].tolist() for m in found] == [[2, 3, 4], [0, 1, 2, 3, 4], [4], [5, 6, 7]]


def test_overlaps_go_to_the_higher_score() -> None:
    scores = [torch.full((2, 2), 0.8), torch.tensor([[0.9, 0.2], [0.9, 0.2]])]
    masks = [np.ones((4, 8), bool), np.ones((4, 8), bool)]
    found = compete(masks, scores, [0.9, 0.1], (2, 2))
    assert (found[:, :2] == 2).all()
    assert (found[:, 6:] == 1).all()
    masks[1][0] = False  # what a refiner took from a class it does not win
    np.testing.assert_array_equal(compete(masks, scores, [0.9, 0.1], (2, 2))[0], np.ones(8))
    even = [torch.ones(2, 2)] * 2
    assert (compete(masks, even, [0.1, 0.9], (2, 2))[1:] == 2).all()  # equal: the surer class
    assert (compete(masks, even, [0.5, 0.5], (2, 2)) == 1).all()  # then the first
    assert (compete([m & False for m in masks], even, [1, 1], (2, 2)) == 0).all()
    many = [np.zeros((1, 1), bool)] * 299 + [np.ones((1, 1), bool)]
    found = compete(many, [torch.ones(1, 1)] * 300, [1.0] * 300, (1, 1))
    assert (found.dtype, found.item()) == (np.uint16, 300)


@pytest.mark.parametrize("refiner", ["guided", "crf"])
def test_refined_classes_do_not_overlap(encoder: Encoder, refiner: str) -> None:
    segmenter = Segmenter(encoder, method="nearest", refiner=refiner)
    result = segmenter.fit([*two_classes(), not_yellow()]).segment(paint(MIXED, seed=5))
    red, green = (c.mask for c in result.classes.values())
    assert not (red & green).any()
    assert iou(red, inside(MIXED["red"])) > 0.8
    assert iou(green, inside(MIXED["green"])) > 0.8


def test_negatives_and_methods_that_know_none(encoder: Encoder) -> None:
    segmenter = Segmenter(encoder, method="insid3").fit(two_classes())  # dropped without a word
    before = segmenter.references
    words = "method insid3 knows no negative references; use likewise."
    assert refusal(segmenter.fit, [*two_classes(), not_yellow()]) == words
    assert segmenter.references is before
    assert "only negative references" in refusal(
        Segmenter(encoder, method="nearest").fit, not_yellow()
    )


# --- match --------------------------------------------------------------------------------------


@pytest.mark.parametrize("debiased", [True, False])
def test_match_is_the_method_on_encoded_images(segmenter: Segmenter, debiased: bool) -> None:
    reference, target = picture(LEFT), picture((20, 90, 80, 190), (100, 200), seed=1)
    keypoints = [(40, 48), (16.5, 24), (0, 0), (128, 96)]  # the far corner is still inside
    points, similarity = match(segmenter, reference, keypoints, target, debiased=debiased)
    assert points.shape == (4, 2)
    assert similarity.shape == (4,)
    assert points.dtype == similarity.dtype == np.float32
    encoder = segmenter.encoder
    expected = match_keypoints(
        encoder.encode(reference),
        encoder.encode(target),
        torch.tensor(keypoints),
        debiased=debiased,
    )
    np.testing.assert_allclose(points, expected[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(similarity, expected[1].numpy(), atol=1e-5)
    if debiased:  # the middle of the box lands in the box
        assert inside((20, 90, 80, 190), (100, 200))[int(points[0, 1]), int(points[0, 0])]
        same, best = match(segmenter, reference, np.array(keypoints[:1]), reference)
        assert best[0] == pytest.approx(1, abs=1e-4)
        assert np.abs(same - keypoints[:1]).max() < 16


BAD_KEYPOINTS = [
    ([(129, 5)], "keypoint (129, 5) lies outside its image of 128x96 pixels."),
    ([(5, 5), (5, 97)], "keypoint (5, 97) lies outside"),
    ([(-0.5, 5)], "keypoint (-0.5, 5) lies outside"),
    ([(float("nan"), 5)], "keypoint (nan, 5) lies outside"),
    ([(5, float("inf"))], "keypoint (5, inf) lies outside"),
    ([], "keypoints must be (n, 2): one (x, y) pair for each point, not (0,)."),
    (np.zeros((0, 2)), "not (0, 2)."),
    ([5, 6], "not (2,)."),
    ([(1, 2, 3)], "not (1, 3)."),
    ([[(1, 2)]], "not (1, 1, 2)."),
    ([(1, 2), (3,)], "keypoints must be numbers: one (x, y) pair for each point."),
    (["left", "right"], "keypoints must be numbers"),
    ([(None, 2)], "lies outside"),
    ({"x": 1}, "keypoints must be numbers"),
]


@pytest.mark.parametrize(("keypoints", "words"), BAD_KEYPOINTS)
def test_keypoints_that_cannot_be_used(
    segmenter: Segmenter, model: Any, keypoints: Any, words: str, files: Path
) -> None:
    assert words in refusal(match, segmenter, picture(LEFT), keypoints, picture(RIGHT))
    model.set_reference("reference.jpg")
    model.set_target("target.jpg")
    if words != "not (2,).":  # one point, for the released interface
        assert words in refusal(model.match, keypoints)


# --- build_insid3: code written for the released interface --------------------------------------


@pytest.fixture
def model(tiny: Path) -> Any:
    return build_insid3(str(tiny), image_size=SIDE, device="cpu")


def test_public_usage_example(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    model.set_target("target.jpg")
    mask = model.segment()
    assert (mask.shape, mask.dtype) == ((96, 128), bool)
    assert iou(mask, inside(RIGHT)) > 0.6

    model.set_references([("ref1.jpg", "mask1.png"), ("ref2.jpg", "mask2.png")])
    both = model.segment("target.jpg")
    assert (both.shape, both.dtype) == ((96, 128), bool)
    assert iou(both, inside(RIGHT)) > 0.6
    expected = Segmenter(model._encoder, method="insid3", refiner="none")
    expected.fit([("ref1.jpg", "mask1.png"), ("ref2.jpg", "mask2.png")])
    np.testing.assert_array_equal(both, expected.segment("target.jpg").mask)


def test_public_batch_annotation_example(model: Any, files: Path, encoded: list[int]) -> None:
    targets = files / "targets"
    targets.mkdir()
    boxes = {"a": RIGHT, "b": LOW, "c": LEFT}
    for name, box in boxes.items():
        write_image(targets / f"{name}.jpg", picture(box, seed=2))

    model.set_reference("reference.jpg", "reference_mask.png")
    encoded.clear()
    for path in sorted(targets.glob("*.jpg")):
        model.set_target(str(path))
        mask = model.segment()
        Image.fromarray((mask * 255).astype("uint8")).save(f"{path.stem}_mask.png")
    assert encoded == [1, 1, 1]  # the reference is not encoded again
    for name, box in boxes.items():
        assert iou(read_mask(f"{name}_mask.png"), inside(box)) > 0.6


def test_public_part_segmentation_example(model: Any, files: Path) -> None:
    parts = {
        "thing": ("ref_full.jpg", "ref_thing_mask.png"),
        "rest": ("ref_full.jpg", "ref_rest_mask.png"),
    }
    found = {}
    for name, (image, mask) in parts.items():
        model.set_reference(image, mask)
        found[name] = model.segment("target.jpg")
    assert iou(found["thing"], inside(RIGHT)) > 0.6
    assert iou(found["rest"], ~inside(RIGHT)) > 0.6


def test_the_target_stays_and_is_encoded_once(model: Any, files: Path, encoded: list[int]) -> None:
    model.set_target("target.jpg")
    encoded.clear()
    model.set_reference("reference.jpg", "reference_mask.png")
    first = model.segment()
    np.testing.assert_array_equal(model.segment(), first)
    model.set_reference("reference.jpg", "ref_rest_mask.png")
    assert iou(model.segment(), first) < 0.5
    assert encoded == [1, 1]  # the two references
    model.segment(picture(LEFT))  # becomes the target
    assert iou(model.segment(), ~inside(LEFT)) > 0.6


def test_references_are_kept_unless_told_otherwise(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    kept = model.segment("target.jpg")
    last = model.segment("target.jpg", keep_references=False)
    np.testing.assert_array_equal(last, kept)
    assert "no target yet" in refusal(model.segment)
    assert "no reference yet" in refusal(model.segment, "target.jpg")
    model.set_target("target.jpg")
    assert "set_reference(image)" in refusal(model.match, [(1, 1)])


def test_a_reference_without_a_mask_is_for_match(model: Any, files: Path) -> None:
    model.set_reference("reference.jpg", "reference_mask.png")
    model.set_reference("ref2.jpg")
    model.set_target("target.jpg")
    points = model.match([(64, 72), (5, 5)])
    assert (points.shape, points.dtype) == ((2, 2), np.float32)
    expected, _ = match(Segmenter(model._encoder), "ref2.jpg", [(64, 72), (5, 5)], "target.jpg")
    np.testing.assert_allclose(points, expected, atol=1e-3)
    original = model.match([(64, 72), (5, 5)], use_debiased=False)
    assert np.abs(original - points).max() > 0.01
    assert "no reference yet" in refusal(model.segment)  # the masked reference is gone


def test_match_is_from_the_first_reference(model: Any, files: Path) -> None:
    assert "match needs set_reference" in refusal(model.match, [(1, 1)])
    model.set_references([("ref2.jpg", "mask2.png"), ("ref1.jpg", "mask1.png")])
    assert "set_target(image) first" in refusal(model.match, [(1, 1)])
    model.set_target("target.jpg")
    expected, _ = match(Segmenter(model._encoder), "ref2.jpg", [(64, 72)], "target.jpg")
    np.testing.assert_allclose(model.match([(64, 72)]), expected, atol=1e-3)


def test_no_target_and_no_reference(model: Any, files: Path) -> None:
    assert refusal(model.segment) == "no target yet: call set_target(image) or segment(image)."
    assert "no reference yet" in refusal(model.segment, "target.jpg")
    assert "no reference given" in refusal(model.set_references, [])
    assert refusal(model.set_target, "none.jpg").startswith("none.jpg does not exist")


def test_the_released_names_of_the_settings(tiny: Path) -> None:
    def segmenter(**settings: Any) -> Segmenter:
        return build_insid3(str(tiny), image_size=64, device="cpu", **settings)._segmenter

    made = segmenter()
    assert made.method == "insid3"
    assert (made.params.tau, made.params.alpha, made.refiner) == (0.6, 0.2, "none")
    assert (made.encoder.input_size, made.encoder.rank) == ((64, 64), RANK)
    made = segmenter(svd_components=11, tau=0.7, merge_threshold=0.3, mask_refiner="crf")
    assert (made.params.tau, made.params.alpha, made.refiner) == (0.7, 0.3, "crf")
    assert made.encoder.rank == 11
    for name, refiner in ((None, "none"), ("bilinear", "none"), ("guided", "guided")):
        assert segmenter(mask_refiner=name).refiner == refiner
    refusal(segmenter, svd_components=500)  # the released default, which leaves nothing of 48


# --- the embedded backbone ----------------------------------------------------------------------


def test_the_embedded_backbone_finds_the_coins() -> None:
    image, mask = EXAMPLE / "coin_reference.png", EXAMPLE / "coin_reference_mask.png"
    segmenter = Segmenter(device="cpu").fit((image, mask))
    assert (segmenter.encoder.rank, segmenter.encoder.grid) == (20, (48, 48))
    truth = read_mask(mask, size=read_image(image).shape[:2])
    itself = segmenter.segment(image)
    assert itself.mask.shape == truth.shape
    assert iou(itself.mask, truth) > 0.9
    result = segmenter.segment(EXAMPLE / "coin_1.png")
    assert result.mask.shape == read_image(EXAMPLE / "coin_1.png").shape[:2]
    assert 0.2 < result.area < 0.4
    assert 0.5 < result.confidence <= 1


def test_what_is_too_small_to_be_seen_is_said(
    segmenter: Segmenter, recwarn: pytest.WarningsRecorder
) -> None:
    """Of 8 × 8 patches; the object of the reference measures 48 pixels."""
    fitted = segmenter.fit(pair()).with_threshold(100.0)  # finds nothing
    assert fitted.fitted().object_side == pytest.approx(48)
    small, large = Picture(picture(LEFT), name="same.png"), picture(LEFT, (384, 512))
    assert not fitted.segment(small).present
    assert not [w for w in recwarn if w.category is InputWarning]
    with pytest.warns(InputWarning, match=r"^large\.png: .*512 × 384.* at most 192 pixels a side"):
        assert not fitted.segment(Picture(large, name="large.png")).present

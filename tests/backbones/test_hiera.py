"""SAM 2's image encoder: against transformers' own, in every layout, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import SAM2, sam2_folder, sam2_model
from likewise.backbones import hiera
from likewise.backbones.cut import cut_backbone
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.backbones.registry import BACKBONES, get_spec
from likewise.errors import BackboneError

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A random SAM 2 of transformers with eight blocks."""
    return sam2_model()


def expected(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """image_embed and the two finer maps of the model itself, channels last."""
    with torch.inference_mode():
        finest, finer, coarse = model.vision_encoder(pixels).fpn_hidden_states
        maps = (
            coarse + model.no_memory_embedding.view(1, -1, 1, 1),
            model.mask_decoder.conv_s1(finer),
            model.mask_decoder.conv_s0(finest),
        )
        return tuple(m.permute(0, 2, 3, 1) for m in maps)


def meta_names(state: State) -> State:
    """The names of facebookresearch/sam2's own checkpoints."""
    pairs = [
        (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
        (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
        (r"^mask_decoder\.", "sam_mask_decoder."),
        (r"^no_memory_embedding$", "no_mem_embed"),
        (r"^prompt_encoder\.", "sam_prompt_encoder."),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"(blocks\.\d+)\.layer_norm", r"\1.norm"),
        (r"(blocks\.\d+\.mlp)\.proj_in\.", r"\1.layers.0."),
        (r"(blocks\.\d+\.mlp)\.proj_out\.", r"\1.layers.1."),
    ]
    out = {"maskmem_tpos_enc": torch.zeros(7, 1, 1, 4)}
    for name, value in state.items():
        for pattern, new in pairs:
            name = re.sub(pattern, new, name)
        out[name] = value
    return out


@pytest.fixture
def tiny_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry entry for the random model: Meta's files do not say heads and windows."""
    spec = replace(BACKBONES["sam2-hiera-t"], name="tiny-sam2", depth=8, dim=32, hiera=SAM2)
    monkeypatch.setitem(BACKBONES, "tiny-sam2", spec)


@pytest.mark.parametrize("size", [(64, 96), (128, 128), (32, 160)])
def test_maps_are_those_of_transformers(theirs: Any, tmp_path: Path, size: tuple[int, int]) -> None:
    backbone = load_backbone(sam2_folder(theirs, tmp_path / "sam2"))
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, *size)
    with torch.inference_mode():
        maps = backbone.model.maps(pixels)
    for mine, other in zip(maps, expected(theirs, pixels), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    tokens = patch_tokens(backbone, pixels)
    assert tokens.shape == (2, size[0] // 16, size[1] // 16, 32)
    torch.testing.assert_close(tokens, maps[0], atol=1e-5, rtol=1e-5)


def test_an_earlier_block_is_read_without_the_neck(theirs: Any, tmp_path: Path) -> None:
    folder = sam2_folder(theirs, tmp_path / "sam2")
    pixels = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        found = theirs.vision_encoder(pixels, output_hidden_states=True).hidden_states
    whole = load_backbone(folder)
    assert (whole.block, whole.spec.dim) == (8, 32)
    for block in (4, 6):
        backbone = load_backbone(folder, block=block)
        assert (backbone.block, backbone.spec.dim) == (block, 48)
        assert len(backbone.model.layer) == block
        wanted = next(h for n, h in enumerate(found, 1 - (len(found) - 8)) if n == block)
        torch.testing.assert_close(patch_tokens(backbone, pixels), wanted, atol=1e-4, rtol=1e-4)
        cut = cut_backbone(whole, block)
        assert (cut.identity, cut.spec) == (backbone.identity, backbone.spec)
        assert torch.equal(patch_tokens(cut, pixels), patch_tokens(backbone, pixels))
        assert len(backbone.model.maps(pixels)) == 3
    for block in (3, 7):
        with pytest.raises(BackboneError, match=f"block {block} of sam2 gives no features: use 4"):
            load_backbone(folder, block=block)
    with pytest.raises(BackboneError, match="block 9 of sam2 does not exist: use 4 to 6 or 8"):
        load_backbone(folder, block=9)


def test_a_file_without_the_last_stage_is_the_third_one_of_the_whole(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the embedded backbone is made of, see tools/build_hiera_tiny.py."""
    shape = replace(SAM2, blocks=(*SAM2.blocks[:3], 0), neck=0)
    assert (shape.depth, shape.readable, shape.features(6)) == (6, (4, 5, 6), 48)
    spec = replace(BACKBONES["embedded"], name="tiny-cut", depth=6, dim=48, hiera=shape)
    monkeypatch.setitem(BACKBONES, "tiny-cut", spec)
    left_out = re.compile(r"image_encoder\.(trunk\.blocks\.[67]|neck\.convs\.[01])\.|no_mem_embed")
    state = {k: v for k, v in meta_names(theirs.state_dict()).items() if not left_out.match(k)}
    torch.save(state, tmp_path / "cut.pt")
    cut = load_backbone(tmp_path / "cut.pt")
    whole = load_backbone(sam2_folder(theirs, tmp_path / "whole"), block=6)
    assert (cut.block, cut.spec.depth, cut.spec.dim) == (6, 6, 48)
    assert cut.identity == whole.identity
    pixels = torch.randn(1, 3, 64, 96)
    assert torch.equal(patch_tokens(cut, pixels), patch_tokens(whole, pixels))
    for mine, other in zip(cut.model.maps(pixels), whole.model.maps(pixels), strict=True):
        assert torch.equal(mine, other)
    with pytest.raises(BackboneError, match=r"block 8 of .* does not exist: use 4 to 6"):
        load_backbone(tmp_path / "cut.pt", block=8)
    # One that lacks a part of the last stage is incomplete, not cut.
    torch.save(
        {k: v for k, v in meta_names(theirs.state_dict()).items() if "convs.0" not in k},
        tmp_path / "torn.pt",
    )
    with pytest.raises(BackboneError, match=r"torn\.pt lacks the tensor neck\.0\.weight"):
        load_backbone(tmp_path / "torn.pt")


def test_layouts_of_the_same_weights_are_the_same_backbone(
    theirs: Any, tmp_path: Path, tiny_entry: None
) -> None:
    state = theirs.state_dict()
    torch.save({"model": meta_names(state)}, tmp_path / "sam2_hiera_x.pt")
    torch.save(meta_names(state), tmp_path / "plain.pt")
    sources = [tmp_path / "sam2_hiera_x.pt", tmp_path / "plain.pt"]
    sources.append(sam2_folder(theirs, tmp_path / "folder"))
    sources.append(tmp_path / "folder" / "model.safetensors")
    found = [load_backbone(source) for source in sources]
    assert len({backbone.identity for backbone in found}) == 1
    assert {backbone.spec.name for backbone in found} == {"tiny-sam2"}
    pixels = torch.randn(1, 3, 64, 64)
    wanted = expected(theirs, pixels)[0]
    for backbone in found:
        torch.testing.assert_close(patch_tokens(backbone, pixels), wanted, atol=1e-4, rtol=1e-4)


def test_the_vision_model_alone(theirs: Any, tmp_path: Path) -> None:
    backbone = load_backbone(sam2_folder(theirs, tmp_path / "vision", vision_only=True))
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        levels = theirs.vision_encoder(pixels).fpn_hidden_states
        maps = backbone.model.maps(pixels)
    for mine, other in zip(maps, reversed(levels), strict=True):
        torch.testing.assert_close(mine, other.permute(0, 2, 3, 1), atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_every_multiple_of_16_px_has_its_tokens(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    model = hiera.Hiera(SAM2, SAM2.depth).eval()
    with torch.inference_mode():
        tokens, finer, finest = model.maps(torch.randn(1, 3, 16 * rows, 16 * columns))
    assert tokens.shape == (1, rows, columns, 32)
    assert finer.shape == (1, 2 * rows, 2 * columns, 8)
    assert finest.shape == (1, 4 * rows, 4 * columns, 4)
    assert tokens.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), side=st.integers(1, 5))
def test_windows_are_put_together_again(height: int, width: int, side: int) -> None:
    x = torch.randn(2, height, width, 3)
    windows = hiera.apart(x, side)
    counts = [-(-height // side), -(-width // side)]
    assert windows.shape == (2 * counts[0] * counts[1], side, side, 3)
    assert torch.equal(hiera.together(windows, counts)[:, :height, :width], x)


def test_half_precision_and_the_encoder(theirs: Any, tmp_path: Path) -> None:
    folder = sam2_folder(theirs, tmp_path / "sam2")
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    full = Encoder(folder, image_size=128, svd_components=3)
    half = Encoder(folder, image_size=128, svd_components=3, dtype="bfloat16")
    one, other = full.encode(image), half.encode(image)
    assert one.features.shape == (64, 32)
    assert (one.features * other.features).sum(dim=1).mean() > 0.98
    assert half.backbone.identity == full.backbone.identity


def test_registry_entries() -> None:
    parameters = {"t": 26.9e6, "s": 34.0e6, "b": 69.1e6, "l": 212.7e6}  # with their necks
    for size, count in parameters.items():
        spec = get_spec(f"sam2-hiera-{size}")
        assert spec.hiera is not None
        with torch.device("meta"):
            model = hiera.Hiera(spec.hiera, spec.depth)
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(count, rel=0.02)
        assert (spec.depth, spec.patch, spec.dim) == (spec.hiera.depth, 16, 256)
        assert str(spec.repo).startswith("facebook/sam2.1-hiera-")
        assert spec.license.startswith("Apache-2.0")
        whole = [spec.hiera.ends[1] <= n < spec.hiera.ends[2] for n in spec.hiera.whole]
        assert whole == [True] * 3
    assert get_spec("sam2-hiera-tiny") is get_spec("sam2-hiera-t")
    assert get_spec("sam2-hiera-bplus") is get_spec("sam2-hiera-base-plus")


# ---- what is refused ----------------------------------------------------------------------------


def broken(state: State, change: str) -> State:
    state = meta_names(state)
    trunk = "image_encoder.trunk."
    if change == "missing":
        del state[f"{trunk}blocks.3.mlp.layers.0.weight"]
    elif change == "patches":
        state[f"{trunk}patch_embed.proj.weight"] = torch.zeros(12, 1, 7, 7)
    elif change == "neck":
        del state["image_encoder.neck.convs.0.conv.weight"]
    elif change == "shape":
        state[f"{trunk}blocks.3.norm1.bias"] = torch.zeros(5)
    elif change == "more":
        state[f"{trunk}blocks.3.extra.bias"] = torch.zeros(5)
    elif change == "integers":
        state[f"{trunk}blocks.3.norm1.bias"] = torch.zeros(48, dtype=torch.int32)
    elif change == "stages":
        del state[f"{trunk}blocks.1.proj.weight"]
    elif change == "size":
        state = {n: v for n, v in state.items() if not n.startswith(f"{trunk}blocks.7.")}
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"lacks 1 of the tensors .*first: layer\.3\.up_proj\.weight"),
        ("patches", r"embeddings\.patch_embeddings\.weight of shape \(12, 1, 7, 7\)"),
        ("neck", r"lacks the tensor neck\.0\.weight"),
        ("shape", r"layer\.3\.norm1\.bias of shape \(5,\) where the model needs \(24,\)"),
        ("more", "has 1 tensors too many"),
        ("integers", "not as floating point"),
        ("stages", "has 3 stages instead of 4"),
        ("size", r"SAM 2 of an unknown size \(width 12, blocks \(1, 2, 3, 1\)\): give the folder"),
    ],
)
def test_damaged_checkpoints(
    theirs: Any, tmp_path: Path, tiny_entry: None, change: str, words: str
) -> None:
    torch.save({"model": broken(theirs.state_dict(), change)}, tmp_path / "damaged.pt")
    with pytest.raises(BackboneError, match=words) as info:
        load_backbone(tmp_path / "damaged.pt")
    assert "\n" not in str(info.value)
    assert str(info.value).endswith(".")


def test_a_config_of_another_model(theirs: Any, tmp_path: Path) -> None:
    folder = sam2_folder(theirs, tmp_path / "sam2")
    told = json.loads((folder / "config.json").read_text())
    for key, value in (
        ("window_size_per_stage", [8, 4, 14, 7]),
        ("window_size_per_stage", [4, 3, 6, 4]),
        ("global_attention_blocks", 3),
        ("blocks_per_stage", [1, 2, 7, 2]),
        ("num_attention_heads_per_stage", []),
    ):
        backbone = told["vision_config"]["backbone_config"]
        changed: dict[str, object] = told | {
            "vision_config": {"backbone_config": backbone | {key: value}}
        }
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(BackboneError, match=r"config\.json of .* is not of its weights"):
            load_backbone(folder)
    (folder / "config.json").write_text('{"model_type": "sam2", "vision_config": []}')
    with pytest.raises(BackboneError, match="is not of its weights"):
        load_backbone(folder)


def test_a_config_beside_it_that_is_not_its_own_says_nothing(
    theirs: Any, tmp_path: Path, tiny_entry: None
) -> None:
    torch.save(meta_names(theirs.state_dict()), tmp_path / "sam2.pt")
    (tmp_path / "config.json").write_text('{"model_type": "dinov2", "num_attention_heads": 6}')
    assert load_backbone(tmp_path / "sam2.pt").spec.name == "tiny-sam2"

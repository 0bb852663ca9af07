"""Loading backbones: sources, what is loaded, and every error."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from likewise.backbones import layouts, loading, registry
from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.backbones.registry import BACKBONES
from likewise.backbones.spec import UNKNOWN_LICENSE, BackboneSpec, ModelShape
from likewise.backbones.vit import ViT
from likewise.errors import BackboneError
from tiny_layouts import (
    DEPTH,
    DIM,
    FAMILIES,
    HEADS,
    State,
    images,
    make_parts,
    reference,
    save,
    write_layout,
)


def save_folder(state: State, shape: ModelShape, folder: Path, **more: object) -> Path:
    folder.mkdir()
    kind = "dinov3_vit" if shape.family == "dinov3" else shape.family
    config = {"model_type": kind, "num_attention_heads": shape.heads, **more}
    (folder / "config.json").write_text(json.dumps(config))
    save(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DINOv3 as timm's safetensors."""
    shape = FAMILIES["dinov3"]
    folder = tmp_path_factory.mktemp("tiny")
    return save(write_layout(make_parts(shape), shape, "timm"), folder / "tiny.safetensors")


# --- the loaded backbone --------------------------------------------------------------------------


def test_block_reads_an_earlier_output(tiny: Path) -> None:
    shape, pixels = FAMILIES["dinov3"], images(FAMILIES["dinov3"])
    cut = {k: v for k, v in make_parts(shape).items() if not k.startswith(("1.", "2."))}
    expected = reference(cut, replace(shape, depth=1), pixels)
    backbone = load_backbone(tiny, block=1, num_heads=HEADS)
    assert (backbone.block, backbone.spec.depth) == (1, DEPTH)
    assert len(backbone.model.layer) == 1
    assert torch.allclose(patch_tokens(backbone, pixels), expected, atol=1e-5)
    assert backbone.identity != load_backbone(tiny, num_heads=HEADS).identity
    assert load_backbone(tiny, block=DEPTH, num_heads=HEADS).block == DEPTH
    for block in (0, DEPTH + 1, -1):
        with pytest.raises(BackboneError, match="use 1 to 3"):
            load_backbone(tiny, block=block, num_heads=HEADS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["dinov3", "dinov2-reg"])
def test_half_precision(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    shape = FAMILIES[family]
    path = save(write_layout(make_parts(shape), shape, "meta"), tmp_path / "x.pth")
    full, half = (load_backbone(path, dtype=d, num_heads=HEADS) for d in (torch.float32, dtype))
    assert half.identity == full.identity
    assert half.dtype == dtype
    kinds = {key: p.dtype for key, p in half.model.named_parameters()}
    assert {p for key, p in kinds.items() if key.endswith("_proj.weight")} == {dtype}
    assert {p for key, p in kinds.items() if "norm" in key} == {torch.float32}
    ours = patch_tokens(half, images(shape))
    assert ours.dtype == torch.float32
    cosine = torch.cosine_similarity(ours, patch_tokens(full, images(shape)), dim=-1)
    assert cosine.min() > 0.99


def test_the_model_is_frozen_and_complete(tiny: Path) -> None:
    backbone = load_backbone(tiny, num_heads=HEADS)
    assert not backbone.model.training
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert patch_tokens(backbone, images(FAMILIES["dinov3"])).is_inference()
    assert (backbone.spec.image_size, backbone.spec.tau) == (1024, 0.6)
    assert backbone.spec.license == UNKNOWN_LICENSE


def test_loading_is_quiet(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_backbone(tiny, num_heads=HEADS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(30, 32), (32, 31), (0, 16)])
def test_images_must_divide_into_patches(tiny: Path, size: tuple[int, int]) -> None:
    backbone = load_backbone(tiny, num_heads=HEADS)
    with pytest.raises(BackboneError, match="multiples of 16"):
        patch_tokens(backbone, torch.zeros(1, 3, *size))
    with pytest.raises(BackboneError, match=r"must be \(B,3,H,W\)"):
        patch_tokens(backbone, torch.zeros(1, 1, 16, 16))


def test_bad_dtype_and_device(tiny: Path) -> None:
    with pytest.raises(BackboneError, match="use float32, bfloat16 or float16"):
        load_backbone(tiny, dtype=torch.float64, num_heads=HEADS)
    with pytest.raises(BackboneError, match="device 'nonsense'"):
        load_backbone(tiny, device="nonsense", num_heads=HEADS)


def test_the_command_line_stays_fast() -> None:
    code = (
        "import sys, likewise.backbones.loading, likewise.backbones.download; "
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- sources --------------------------------------------------------------------------------------


def test_folders(tmp_path: Path) -> None:
    shape = FAMILIES["dinov2"]
    parts = make_parts(shape)
    state = write_layout(parts, shape, "hf-old")
    one = save_folder({f"dinov2.{k}": v for k, v in state.items()}, shape, tmp_path / "one")
    first = load_backbone(one)
    assert first.spec.name == "one"
    two = save_folder(state, shape, tmp_path / "two")
    (two / "model.safetensors").unlink()
    save(state, two / "pytorch_model.bin")
    three = save_folder(state, shape, tmp_path / "three")
    (three / "model.safetensors").unlink()
    keys, shards = sorted(state), {}
    for number in (0, 1):
        name = f"model-{number}.safetensors"
        save({k: state[k] for k in keys[number::2]}, three / name)
        shards |= dict.fromkeys(keys[number::2], name)
    index = three / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    for folder in (two, three, str(three), index):
        heads = HEADS if folder == index else None
        assert load_backbone(folder, num_heads=heads).identity == first.identity
    (three / "model-1.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"model-1\.safetensors is missing"):
        load_backbone(three)


def test_config_beside_a_file_gives_heads_and_eps(tmp_path: Path) -> None:
    shape = FAMILIES["dinov2"]
    state = write_layout(make_parts(shape), shape, "hf-new")
    folder = save_folder(state, shape, tmp_path / "x", layer_norm_eps=0.5)
    backbone = load_backbone(folder / "model.safetensors")
    assert (backbone.model.shape.heads, backbone.model.shape.eps) == (HEADS, 0.5)
    assert backbone.model.norm.eps == backbone.model.layer[0].norm1.eps == 0.5
    (folder / "config.json").write_text('{"architecture": "vit_small_patch16_dinov3_qkvb"}')
    assert load_backbone(folder).spec.heads == 6
    (folder / "config.json").write_text("[]")
    with pytest.raises(BackboneError, match="pass num_heads"):
        load_backbone(folder / "model.safetensors")
    (folder / "config.json").write_text("{")
    with pytest.raises(BackboneError, match="not readable JSON"):
        load_backbone(folder)


def _full_size(spec: BackboneSpec) -> State:
    """A one-tensor-per-shape stand-in for a real checkpoint: zeros that take no memory."""
    with torch.device("meta"):
        model = ViT(ModelShape.of(spec), spec.depth)
    return {k: torch.zeros(1).expand(v.shape) for k, v in model.state_dict().items()}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("dinov3_vits16_pretrain_lvd1689m-08c60483", "dinov3-vits16"),
        ("dinov3_vitl16_pretrain_sat493m-eadcf0ff", "dinov3-vitl16-sat"),
        ("whatever", "dinov3-vitl16"),
        ("whatever", "dinov2-vits14-reg"),
    ],
)
def test_a_file_of_known_shape_takes_that_entry(file: str, name: str) -> None:
    spec = BACKBONES[name]
    state = _full_size(spec)
    shape = layouts.infer_config(state, layouts.detect_layout(state))
    found = loading._Source(Path(f"{file}.pth"), file)
    assert loading._spec(shape, found) is spec
    wrong = loading._Source(Path("x"), "x", spec=BACKBONES["dinov3-vitb16"])
    with pytest.raises(BackboneError, match="does not hold dinov3-vitb16"):
        loading._spec(shape, wrong)


def test_satellite_weights_of_unknown_shape(tmp_path: Path) -> None:
    shape = FAMILIES["dinov3"]
    state = write_layout(make_parts(shape), shape, "meta")
    backbone = load_backbone(save(state, tmp_path / "my_sat493m.pth"))
    assert backbone.spec.mean == registry.SAT_MEAN


def test_names_and_hub_names_go_through_download(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = FAMILIES["dinov3"]
    spec = replace(
        BACKBONES["dinov3-vits16"], name="tiny", depth=DEPTH, dim=DIM, heads=HEADS, mlp_dim=96
    )
    monkeypatch.setitem(BACKBONES, "tiny", spec)
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "dinov3_vit", "num_attention_heads": 3}')
    asked: list[object] = []

    def fetch_weights(source: object, *, offline: bool) -> Path:
        asked.append((source, offline))
        return tiny

    monkeypatch.setattr(loading.download, "fetch_weights", fetch_weights)
    monkeypatch.setattr(loading.download, "fetch", lambda *_, **__: config)
    named = load_backbone("Tiny", offline=True)
    assert named.spec is spec
    hub = load_backbone("someone/tiny-dino")
    assert asked == [(spec, True), ("someone/tiny-dino", False)]
    assert hub.identity == named.identity
    assert hub.spec == spec  # the same shape
    config.write_text('{"model_type": "resnet"}')
    with pytest.raises(BackboneError, match="someone/resnet is a 'resnet' model"):
        load_backbone("someone/resnet")
    embedded = replace(spec, repo=None, filename=str(tmp_path / "none"))
    monkeypatch.setitem(BACKBONES, "tiny", embedded)
    with pytest.raises(BackboneError, match="install it again"):
        load_backbone("tiny")
    monkeypatch.setitem(BACKBONES, "tiny", replace(embedded, filename=str(tiny)))
    assert patch_tokens(load_backbone("tiny"), images(shape)).shape == (2, 2, 5, DIM)


def test_the_embedded_backbone_loads() -> None:
    spec = BACKBONES["embedded"]
    if not registry.packaged_file(spec).is_file():
        pytest.skip("the embedded weights are not built in this checkout")
    backbone = load_backbone("embedded")
    assert backbone.block == 10
    assert patch_tokens(backbone, torch.zeros(1, 3, 32, 48)).shape == (1, 2, 3, 384)


# --- errors ---------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.system, (f"echo run > {self.path}",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    if writer == "torch":
        torch.save({"cls_token": Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"cls_token": Bomb(trace)}, protocol=2))
    with pytest.raises(BackboneError, match=r"evil\.pth cannot be read .* never executes") as info:
        load_backbone(path)
    assert "\n" not in str(info.value)
    assert not trace.exists()


def test_files_that_are_no_weights(tmp_path: Path, tiny: Path) -> None:
    empty = tmp_path / "empty.pth"
    empty.touch()
    with pytest.raises(BackboneError, match="is empty"):
        load_backbone(empty)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(tiny.read_bytes()[:-1000])
    with pytest.raises(BackboneError, match="not a complete safetensors"):
        load_backbone(cut)
    noise = tmp_path / "noise.pth"
    noise.write_bytes(b"version https://git-lfs" * 10)
    with pytest.raises(BackboneError, match=r"noise\.pth cannot be read"):
        load_backbone(noise)
    nested = tmp_path / "nested.pt"
    torch.save({"state": {"a": torch.zeros(1)}}, nested)
    with pytest.raises(BackboneError, match="not a plain state dict"):
        load_backbone(nested)
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    with pytest.raises(BackboneError, match="no weights file"):
        load_backbone(other)


@pytest.mark.parametrize("source", ["./nothing", "nothing.pth", "/no/where", Path("a/b"), "C:\\x"])
def test_missing_paths(source: str | Path) -> None:
    with pytest.raises(BackboneError, match="does not exist"):
        load_backbone(source)


def test_folders_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(BackboneError, match="has no weights"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackboneError, match="is a 'bert' model"):
        load_backbone(tmp_path)


def test_another_architecture(tmp_path: Path) -> None:
    resnet = {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(1)}
    resnet["bn1.weight"] = torch.zeros(64)
    path = save(resnet, tmp_path / "resnet50.pth")
    with pytest.raises(BackboneError, match=r"resnet50\.pth is not a DINOv3 .* bn1\.weight, conv1"):
        load_backbone(path)


def _broken(change: str) -> tuple[State, str, dict[str, Any]]:
    shape = FAMILIES["dinov2"]
    state = write_layout(make_parts(shape), shape, "meta")
    heads: dict[str, Any] = {"num_heads": HEADS}
    if change == "missing":
        del state["blocks.1.mlp.fc1.weight"]
        return state, r"lacks 1 of the tensors .*first: layer\.1\.mlp\.up_proj\.weight", heads
    if change == "no patches":
        del state["patch_embed.proj.weight"]
        return state, "lacks the tensor embeddings.patch_embeddings.weight", heads
    if change == "shape":
        state["norm.weight"] = torch.zeros(DIM + 1)
        return state, r"norm\.weight of shape \(49,\) where the model needs \(48,\)", heads
    if change == "unknown":
        state["blocks.0.attn.q_norm.weight"] = torch.zeros(1)
        return state, "holds a tensor 'blocks.0.attn.q_norm.weight'", heads
    if change == "unexpected":
        state["blocks.0.attn.qkv.bias_mask"] = torch.ones(3 * DIM)
        for i in range(DEPTH):
            state[f"blocks.{i}.mlp.w1.bias"] = torch.zeros(1)
        return state, r"has 3 tensors too many .*layer\.0\.mlp\.gate_proj\.bias", heads
    if change == "gray":
        state["patch_embed.proj.weight"] = torch.zeros(DIM, 1, 14, 14)
        return state, r"shape \(48, 1, 14, 14\)", heads
    if change == "positions":
        state["pos_embed"] = torch.zeros(1, 13, DIM)
        return state, "13 positions, which are no square grid", heads
    if change == "width":
        for i in range(DEPTH):
            state[f"blocks.{i}.mlp.fc2.weight"] = torch.zeros(DIM, 100)
        return (
            state,
            r"up_proj\.weight of shape \(192, 48\) where the model needs \(100, 48\)",
            heads,
        )
    if change == "heads":
        return state, "width of 48 has: pass num_heads", {}
    if change == "bad heads":
        return state, "which 5 heads cannot share", {"num_heads": 5}
    shape = FAMILIES["dinov3"]
    state = write_layout(make_parts(shape), shape, "meta")
    if change == "contradiction":
        return state, "has 3 heads, not the 6", {"num_heads": 6}
    state["rope_embed.periods"] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    return state, "RoPE periods that no base gives", {}


@pytest.mark.parametrize(
    "change",
    [
        "missing",
        "no patches",
        "shape",
        "unknown",
        "unexpected",
        "gray",
        "positions",
        "width",
        "heads",
        "bad heads",
        "contradiction",
        "periods",
    ],
)
def test_damaged_checkpoints(change: str, tmp_path: Path) -> None:
    state, message, heads = _broken(change)
    path = save(state, tmp_path / "damaged.pth")
    with pytest.raises(BackboneError, match=message) as info:
        load_backbone(path, **heads)
    assert "\n" not in str(info.value)


def test_another_rope_base(tmp_path: Path) -> None:
    shape = FAMILIES["dinov3"]
    state = write_layout(make_parts(shape), shape, "meta")
    state["rope_embed.periods"] = 1000.0 ** (torch.arange(4) / 4)
    model = load_backbone(save(state, tmp_path / "x.pth")).model
    assert model.shape.rope_theta == pytest.approx(1000, rel=1e-4)

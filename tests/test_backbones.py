"""Backbone loading: every layout of tiny random models, the registry, and every error."""

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
from safetensors.torch import save_file

from likewise.backbones import layouts, loading, registry
from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.backbones.registry import ALIASES, BACKBONES, get_spec
from likewise.backbones.spec import UNKNOWN_LICENSE, BackboneSpec, ModelShape
from likewise.backbones.vit import ViT
from likewise.errors import BackboneError

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden" / "backbones"
sys.path.insert(0, str(ROOT / "tests" / "parity"))
import run_backbones  # noqa: E402

DIM, HEADS, DEPTH = 48, 3, 3
FAMILIES = {
    "dinov3": ModelShape("dinov3", 16, DEPTH, DIM, HEADS, 96, False, 4, 0, 1e-5),
    "dinov3-gated": ModelShape("dinov3", 16, DEPTH, DIM, HEADS, 64, True, 4, 0, 1e-5),
    "dinov2": ModelShape("dinov2", 14, DEPTH, DIM, HEADS, 192, False, 0, 4, 1e-6),
    "dinov2-gated": ModelShape("dinov2", 14, DEPTH, DIM, HEADS, 128, True, 0, 4, 1e-6),
    "dinov2-reg": ModelShape(
        "dinov2_with_registers", 14, DEPTH, DIM, HEADS, 192, False, 4, 4, 1e-6
    ),
}
LAYOUTS = ("meta", "timm", "hf-old", "hf-new")
State = dict[str, torch.Tensor]


def make_parts(shape: ModelShape, biases: bool = True) -> State:
    """Random weights under names of this test; "0.q.weight" is the first block's query."""
    torch.manual_seed(0)
    d, p = shape.dim, shape.patch
    sizes: dict[str, tuple[int, ...]] = {"cls": (1, 1, d), "patch.weight": (d, 3, p, p)}
    sizes |= {"patch.bias": (d,), "norm.weight": (d,), "norm.bias": (d,)}
    if shape.registers:
        sizes["reg"] = (1, shape.registers, d)
    if shape.grid:
        sizes["pos"] = (1, 1 + shape.grid**2, d)
    for i in range(shape.depth):
        linear = {"q": (d, d), "k": (d, d), "v": (d, d), "o": (d, d), "down": (d, shape.mlp_dim)}
        linear |= {"up": (shape.mlp_dim, d)} | ({"gate": (shape.mlp_dim, d)} if shape.gated else {})
        for name, size in linear.items():
            sizes[f"{i}.{name}.weight"] = size
            if (name == "k" and not shape.grid) or (name in "qkv" and not biases):
                continue  # DINOv3 has no key bias
            sizes[f"{i}.{name}.bias"] = size[:1]
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1", "ls2"):
            sizes[f"{i}.{name}"] = (d,)
    return {
        name: torch.randn(size) * (0.3 if size[-1] != d else 0.2) for name, size in sizes.items()
    }


def write_layout(parts: State, shape: ModelShape, layout: str) -> State:
    """The same weights under the names, and with the packing, of a layout."""
    return _write_hf(parts, shape, layout) if layout[:2] == "hf" else _write(parts, shape, layout)


def _write(parts: State, shape: ModelShape, layout: str) -> State:
    v3, meta = shape.grid == 0, layout == "meta"
    d = shape.dim
    out = {"cls_token": parts["cls"]}
    out |= {f"patch_embed.proj.{k}": parts[f"patch.{k}"] for k in ("weight", "bias")}
    out |= {f"norm.{k}": parts[f"norm.{k}"] for k in ("weight", "bias")}
    if meta:
        out["mask_token"] = torch.zeros(1, d)
    if shape.registers:
        name = "reg_token" if not meta else "storage_tokens" if v3 else "register_tokens"
        out[name] = parts["reg"]
    if not v3:
        out["pos_embed"] = parts["pos"]
        if shape.registers and not meta:
            out["cls_token"] = parts["cls"] + parts["pos"][:, :1]
            out["pos_embed"] = parts["pos"][:, 1:]
    if v3 and meta:
        n = d // shape.heads // 4
        out["rope_embed.periods"] = (100.0 ** (torch.arange(n) / n)).to(torch.bfloat16)
        out["local_cls_norm.weight"] = torch.ones(d)
    for i in range(shape.depth):
        own = {k.split(".", 1)[1]: v for k, v in parts.items() if k.startswith(f"{i}.")}
        block: State = {"attn.qkv.weight": torch.cat([own[f"{p}.weight"] for p in "qkv"])}
        if "q.bias" in own:
            if v3 and not meta:
                block["attn.q_bias"], block["attn.v_bias"] = own["q.bias"], own["v.bias"]
            else:
                key = own.get("k.bias", torch.full((d,), float("nan")))
                block["attn.qkv.bias"] = torch.cat([own["q.bias"], key, own["v.bias"]])
                if v3:
                    mask = torch.ones(3, d)
                    mask[1] = 0
                    block["attn.qkv.bias_mask"] = mask.flatten()
                    if i == 1:
                        block["attn.qkv.bias_mask"] = torch.full((3 * d,), float("nan"))
        ls = ("ls1.gamma", "ls2.gamma") if meta or not v3 else ("gamma_1", "gamma_2")
        block |= {ls[0]: own["ls1"], ls[1]: own["ls2"]}
        for leaf in ("weight", "bias"):
            block |= {f"norm1.{leaf}": own[f"norm1.{leaf}"], f"norm2.{leaf}": own[f"norm2.{leaf}"]}
            block[f"attn.proj.{leaf}"] = own[f"o.{leaf}"]
            up, down = own[f"up.{leaf}"], own[f"down.{leaf}"]
            if not shape.gated:
                block |= {f"mlp.fc1.{leaf}": up, f"mlp.fc2.{leaf}": down}
            elif v3:
                names = ("w1", "w2", "w3") if meta else ("fc1_g", "fc1_x", "fc2")
                values = (own[f"gate.{leaf}"], up, down)
                block |= {f"mlp.{n}.{leaf}": v for n, v in zip(names, values, strict=True)}
            else:
                names = ("w12", "w3") if meta else ("fc1", "fc2")
                block[f"mlp.{names[0]}.{leaf}"] = torch.cat([own[f"gate.{leaf}"], up])
                block[f"mlp.{names[1]}.{leaf}"] = down
        out |= {f"blocks.{i}.{k}": v for k, v in block.items()}
    return out


def _write_hf(parts: State, shape: ModelShape, layout: str) -> State:
    v3, new = shape.grid == 0, layout == "hf-new"
    e = "embeddings."
    conv = e + ("patch_embeddings." if v3 else "patch_embeddings.projection.")
    norm = "norm." if v3 else "layernorm."
    out = {e + "cls_token": parts["cls"], e + "mask_token": torch.zeros(*([1] * (2 + v3)), DIM)}
    out[e + "mask_token"] = torch.zeros((1, 1, DIM) if v3 else (1, DIM))
    out |= {conv + k: parts[f"patch.{k}"] for k in ("weight", "bias")}
    out |= {norm + k: parts[f"norm.{k}"] for k in ("weight", "bias")}
    if shape.registers:
        out[e + "register_tokens"] = parts["reg"]
    if not v3:
        out[e + "position_embeddings"] = parts["pos"]
    plain = v3 or new
    names = {"q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj"}
    names |= {"o": "attention.o_proj", "norm1": "norm1", "norm2": "norm2"}
    if not plain:
        names |= {"q": "attention.attention.query", "k": "attention.attention.key"}
        names |= {"v": "attention.attention.value", "o": "attention.output.dense"}
    gated = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    if v3 or shape.gated:
        names |= gated if plain else {"down": "mlp.weights_out"}
    else:
        names |= {"up": "mlp.fc1", "down": "mlp.fc2"}
    for i in range(shape.depth):
        layer = f"encoder.layer.{i}." if not v3 else f"{'model.' if new else ''}layer.{i}."
        for leaf in ("weight", "bias"):
            for short, long in names.items():
                if f"{i}.{short}.{leaf}" in parts:
                    out[f"{layer}{long}.{leaf}"] = parts[f"{i}.{short}.{leaf}"]
            if shape.gated and not plain:
                pair = [parts[f"{i}.{p}.{leaf}"] for p in ("gate", "up")]
                out[f"{layer}mlp.weights_in.{leaf}"] = torch.cat(pair)
        out |= {f"{layer}layer_scale{n}.lambda1": parts[f"{i}.ls{n}"] for n in (1, 2)}
    return out


def reference(parts: State, shape: ModelShape, pixels: torch.Tensor) -> torch.Tensor:
    """Features (B,h,w,D) of the transformers model itself, strictly loaded and without likewise."""
    if shape.family == "dinov3":
        from transformers import DINOv3ViTConfig as Config
        from transformers import DINOv3ViTModel as Model

        extra: dict[str, Any] = {
            "intermediate_size": shape.mlp_dim,
            "use_gated_mlp": shape.gated,
            "hidden_act": "silu" if shape.gated else "gelu",
            "num_register_tokens": shape.registers,
        }
    elif shape.registers:
        from transformers import Dinov2WithRegistersConfig as Config
        from transformers import Dinov2WithRegistersModel as Model

        extra = {"num_register_tokens": shape.registers}
    else:
        from transformers import Dinov2Config as Config
        from transformers import Dinov2Model as Model

        extra = {"use_swiglu_ffn": shape.gated}
    if shape.grid:
        extra |= {"image_size": shape.grid * shape.patch, "mlp_ratio": 4}
    model = Model(
        Config(
            hidden_size=shape.dim,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            patch_size=shape.patch,
            **extra,
        )
    ).eval()
    for layout in ("hf-new", "hf-old"):
        state = write_layout(parts, shape, layout)
        if set(state) == set(model.state_dict()):
            break
    model.load_state_dict(state)
    with torch.no_grad():
        tokens = model(pixels).last_hidden_state
    h, w = pixels.shape[2] // shape.patch, pixels.shape[3] // shape.patch
    return tokens[:, 1 + shape.registers :].reshape(len(pixels), h, w, shape.dim)


def save(state: State, path: Path) -> Path:
    state = {key: value.contiguous().clone() for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def save_folder(state: State, shape: ModelShape, folder: Path, **more: object) -> Path:
    folder.mkdir()
    kind = "dinov3_vit" if shape.family == "dinov3" else shape.family
    config = {"model_type": kind, "num_attention_heads": shape.heads, **more}
    (folder / "config.json").write_text(json.dumps(config))
    save(state, folder / "model.safetensors")
    return folder


def images(shape: ModelShape, h: int = 2, w: int = 5) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, h * shape.patch, w * shape.patch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DINOv3 as timm's safetensors."""
    shape = FAMILIES["dinov3"]
    folder = tmp_path_factory.mktemp("tiny")
    return save(write_layout(make_parts(shape), shape, "timm"), folder / "tiny.safetensors")


# ---- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layout_gives_the_features_of_transformers(family: str, tmp_path: Path) -> None:
    shape = FAMILIES[family]
    parts = make_parts(shape)
    cases = [images(shape, *size) for size in ((2, 5), (4, 4), (3, 2))]
    expected = [reference(parts, shape, pixels) for pixels in cases]
    identities = set()
    for layout in LAYOUTS:
        suffix = ".pth" if layout == "meta" else ".safetensors"
        path = save(write_layout(parts, shape, layout), tmp_path / f"{layout}{suffix}")
        backbone = load_backbone(path, num_heads=HEADS)
        assert (backbone.spec.name, backbone.spec.family) == (layout, shape.family)
        for pixels, wanted in zip(cases, expected, strict=True):
            assert torch.allclose(patch_tokens(backbone, pixels), wanted, atol=1e-5, rtol=0)
        identities.add(backbone.identity)
    assert len(identities) == 1
    assert len(identities.pop()) >= 16


def test_biases_that_are_zero_or_absent_are_the_same_model(tmp_path: Path) -> None:
    shape = FAMILIES["dinov3-gated"]
    bare = make_parts(shape, biases=False)
    zero = bare | {f"{i}.{p}.bias": torch.zeros(DIM) for i in range(DEPTH) for p in "qv"}
    one = load_backbone(save(write_layout(bare, shape, "timm"), tmp_path / "a.pt"), num_heads=3)
    two = load_backbone(save(write_layout(zero, shape, "hf-old"), tmp_path / "b.pt"), num_heads=3)
    assert one.identity == two.identity
    assert torch.equal(patch_tokens(one, images(shape)), patch_tokens(two, images(shape)))
    assert torch.allclose(
        patch_tokens(one, images(shape)), reference(zero, shape, images(shape)), atol=1e-5
    )


def test_a_key_bias_without_mask_is_kept(tmp_path: Path) -> None:
    shape = FAMILIES["dinov3"]
    parts = make_parts(shape)
    state = write_layout(parts, shape, "meta")
    for i in range(DEPTH):
        del state[f"blocks.{i}.attn.qkv.bias_mask"]
        state[f"blocks.{i}.attn.qkv.bias"][DIM : 2 * DIM] = 3.0
    model = load_backbone(save(state, tmp_path / "x.pth")).model
    assert all((block.attention.qkv.bias[DIM : 2 * DIM] == 3).all() for block in model.layer)
    with_timm = write_layout(parts, shape, "timm") | {
        f"blocks.{i}.attn.k_bias": torch.full((DIM,), 3.0) for i in range(DEPTH)
    }
    again = load_backbone(save(with_timm, tmp_path / "y.pth"), num_heads=3).model
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


def test_integer_weights_are_refused(tmp_path: Path) -> None:
    shape = FAMILIES["dinov2"]
    state = write_layout(make_parts(shape), shape, "hf-old")
    key = next(k for k in state if k.endswith("norm1.bias"))
    state[key] = torch.zeros(DIM, dtype=torch.int32)
    with pytest.raises(BackboneError, match="not as floating point"):
        load_backbone(save(state, tmp_path / "int.safetensors"), num_heads=3)


# ---- the loaded backbone ------------------------------------------------------------------------


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
    assert {p.dtype for p in half.model.parameters()} == {dtype}
    ours = patch_tokens(half, images(shape))
    assert ours.dtype == dtype
    cosine = torch.cosine_similarity(ours.float(), patch_tokens(full, images(shape)), dim=-1)
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


# ---- sources ------------------------------------------------------------------------------------


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


# ---- errors -------------------------------------------------------------------------------------


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


# ---- registry -----------------------------------------------------------------------------------


def test_registry_is_consistent() -> None:
    for name, spec in BACKBONES.items():
        assert spec.name == name
        if spec.family == "sam2":
            continue  # see test_hiera.py
        assert spec.dim // spec.heads == (128 if "7b" in name else 64)
        assert spec.image_size % spec.patch == 0
        assert spec.qkv_bias == ("7b" not in name)
        assert (spec.repo is None) == name.startswith("embedded")
        if spec.family == "dinov3":
            assert spec.meta_file is not None
            digest = spec.meta_file.removesuffix(".pth").rsplit("-", 1)[1]
            assert len(digest) == 8
            assert int(digest, 16) >= 0
            assert (spec.mean == registry.SAT_MEAN) == ("sat" in name) == ("sat" in str(spec.repo))
    for alias, name in ALIASES.items():
        assert alias not in BACKBONES
        assert get_spec(alias).name == name
    assert get_spec("dinov3_vitl16") is get_spec(" ViTL ")


def test_unknown_names_suggest_close_ones() -> None:
    with pytest.raises(BackboneError, match=r"did you mean dinov3-vitl16.*org/repo"):
        get_spec("dinov3-vitl-16")
    with pytest.raises(BackboneError, match="known are dinov3-vits16, "):
        load_backbone("zzzzzzzz")


PARAMETERS = {
    "dinov3-vits16": 21e6,
    "dinov3-vits16plus": 29e6,
    "dinov3-vitb16": 86e6,
    "dinov3-vitl16": 303e6,
    "dinov3-vith16plus": 840e6,
    "dinov3-vit7b16": 6.7e9,
    "dinov2-vits14": 22e6,
    "dinov2-vitb14": 86e6,
    "dinov2-vitl14": 304e6,
    "dinov2-vitg14": 1.136e9,
}


@pytest.mark.parametrize("name", [n for n, spec in BACKBONES.items() if spec.family != "sam2"])
def test_every_entry_has_its_known_size(name: str) -> None:
    spec = BACKBONES[name]
    with torch.device("meta"):
        model = ViT(ModelShape.of(spec), spec.depth)
    count = sum(p.numel() for p in model.parameters())
    assert all(p.is_meta for p in model.parameters())
    if name == "embedded-vits14":
        assert count == pytest.approx(22.06e6 * 10 / 12, rel=0.03)
        return
    known = PARAMETERS[name.removesuffix("-sat").removesuffix("-reg")]
    assert count == pytest.approx(known, rel=0.03)


# ---- golden -------------------------------------------------------------------------------------


def test_golden_features() -> None:
    if not GOLDEN.is_dir():
        pytest.skip("the golden backbones (../shared/golden) are not beside this checkout")
    rows = run_backbones.run(GOLDEN)
    assert len(rows) >= 10
    assert [row for row in rows if not row.ok] == []


def test_the_parity_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    assert run_backbones.main([str(tmp_path / "none")]) == 2
    assert run_backbones.main([str(tmp_path)]) == 1
    shape = FAMILIES["dinov2-reg"]
    parts = make_parts(shape)
    (tmp_path / "config.json").write_text(json.dumps({"kw": {"num_heads": HEADS}}))
    for layout in ("meta", "timm"):
        save(write_layout(parts, shape, layout), tmp_path / f"tiny_{layout}.safetensors")
    pixels = images(shape)[:1]
    features = reference(parts, shape, pixels).permute(0, 3, 1, 2).numpy()
    np.savez(tmp_path / "tiny_28x70.npz", image=pixels.numpy(), features=features)
    assert run_backbones.main([str(tmp_path)]) == 0
    assert "4 of 4 ok" in capsys.readouterr().out
    extra = {"features": features + 1, "layer9_normed": features}
    np.savez(tmp_path / "tiny_28x70.npz", image=pixels.numpy(), **extra)
    assert run_backbones.main([str(tmp_path)]) == 1
    assert "DIFFERS: block 10 of tiny_meta does not exist" in capsys.readouterr().out
    (tmp_path / "tiny_bad.pth").write_bytes(b"x")
    assert run_backbones.main([str(tmp_path)]) == 1

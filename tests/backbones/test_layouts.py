"""Every layout of tiny random models, and the golden features."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from likewise.backbones.loading import load_backbone, patch_tokens
from likewise.errors import BackboneError
from tiny_layouts import (
    DEPTH,
    DIM,
    FAMILIES,
    HEADS,
    images,
    make_parts,
    reference,
    save,
    write_layout,
)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden" / "backbones"
sys.path.insert(0, str(ROOT / "tests" / "parity"))
import run_backbones  # noqa: E402

LAYOUTS = ("meta", "timm", "hf-old", "hf-new")


# --- layouts --------------------------------------------------------------------------------------


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


# --- golden ---------------------------------------------------------------------------------------


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

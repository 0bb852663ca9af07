"""The registry of backbones."""

from __future__ import annotations

import pytest
import torch

from likewise.backbones import registry
from likewise.backbones.loading import load_backbone
from likewise.backbones.registry import ALIASES, BACKBONES, get_spec
from likewise.backbones.spec import ModelShape
from likewise.backbones.vit import ViT
from likewise.errors import BackboneError


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

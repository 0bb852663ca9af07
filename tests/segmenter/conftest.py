"""Fixtures that several files of this folder use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from boxes import DIM, LEFT, LOW, RIGHT, SIDE, inside, picture
from likewise import Segmenter, build_insid3
from likewise.backbones.encoder import Encoder
from likewise.io.encoding import write_image, write_mask
from tiny import make_backbone


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bases are kept here, never in the user's cache."""
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bases"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv3 of two blocks, as a Hugging Face folder."""
    return make_backbone(tmp_path_factory.mktemp("models") / "tiny", DIM)


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


@pytest.fixture
def model(tiny: Path) -> Any:
    return build_insid3(str(tiny), image_size=SIDE, device="cpu")

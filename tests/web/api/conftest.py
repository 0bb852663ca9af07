"""Fixtures that several files of this folder use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from likewise import Segmenter
from likewise.backbones.encoder import Encoder
from live import Live, serving
from scenes import make_scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """reference.png, mask.png and a.jpg, b.jpg, c.jpg of 48 × 40 pixels."""
    return make_scene(tmp_path_factory.mktemp("serve") / "scene", tiny)


@pytest.fixture(scope="module")
def encoder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    cache = str(tmp_path_factory.mktemp("cache"))
    with mock.patch.dict(os.environ, {"LIKEWISE_CACHE": cache}):
        yield Encoder(tiny, image_size=64, device="cpu")


@pytest.fixture(scope="module")
def live(encoder: Encoder, scene: Path) -> Iterator[Live]:
    """A server with the scene as its root."""
    settings = {"keep": 3, "max_pixels": 1_000_000, "max_bytes": 2_000_000}
    with serving(lambda: Segmenter(encoder), root=scene.resolve(), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def example(scene: Path) -> list[tuple[str, Path]]:
    return [("images", scene / "reference.png"), ("masks", scene / "mask.png")]


@pytest.fixture
def known(live: Live, example: Any) -> str:
    """Id of the scene's reference on the server."""
    return live.ask("POST", "/v1/references", example).json["id"]

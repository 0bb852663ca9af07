"""``likewise verify``: what it finds of right, random, wrong and damaged weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from likewise.backbones import registry
from likewise.errors import BackboneError
from likewise.features.debias import debias
from likewise.lab import verify
from likewise.lab.verify import examine
from likewise.lab.verify_report import ACCURACY, STRUCTURE, Check, markdown, plan, verdict
from scenes import run, sandbox

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "backbones"
SIZE = ["--image-size", "64"]


def refused(words: list[str]) -> str:
    """What the command line says when nothing was started."""
    done = run(words)
    assert (done.code, done.out) == (2, "")
    return done.err


@pytest.fixture
def folder(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """The working folder, with tiny.safetensors beside its config.json."""
    for name in ("model.safetensors", "config.json"):
        shutil.copy(tiny / name, tmp_path / name)
    with sandbox(tmp_path):
        yield tmp_path


def test_random_weights_pass_structure_and_get_no_verdict_on_accuracy(folder: Path) -> None:
    done = run(["verify", "model.safetensors", *SIZE, "--report", "report.md"])
    assert (done.code, done.err) == (0, "")
    assert "Accuracy has no verdict" in done.out
    assert "unit length" in done.out
    report = (folder / "report.md").read_text("utf-8")
    assert report.startswith("## likewise verify model.safetensors")
    assert "| accuracy | masks, insid3 |" in report
    assert "torch 2" in report


def test_json_has_every_check(folder: Path) -> None:
    done = run(["verify", "model.safetensors", *SIZE, "--json", "--report", "report.json"])
    found = json.loads(done.out)
    kinds = [check["kind"] for check in found["checks"]]
    assert {STRUCTURE, ACCURACY, ""} == set(kinds)
    assert kinds.count(ACCURACY) == 3
    assert json.loads((folder / "report.json").read_text("utf-8"))["verdict"] == found["verdict"]


def test_a_damaged_file_fails_with_the_sentence(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    done = run(["verify", "model.safetensors", *SIZE])
    assert done.code == 1
    assert "FAILED: model.safetensors is not a complete safetensors file" in done.out


def test_metas_name_holds_the_sha256(folder: Path, tiny: Path) -> None:
    name = "dinov3_vits16_pretrain_lvd1689m-08c60483.pth"
    torch.save({"x": torch.zeros(1)}, folder / name)
    done = run(["verify", "vits", "--file", name, *SIZE])
    assert done.code == 1
    assert "not 08c60483: download it again" in done.out


def test_a_file_of_another_backbone_is_told(folder: Path) -> None:
    done = run(["verify", "vits", "--file", "model.safetensors", *SIZE])
    assert done.code == 1
    assert "does not hold dinov3-vits16" in done.out


def test_known_weights_that_find_nothing_fail(folder: Path, tiny: Path) -> None:
    """Random weights under a name of the registry: the shapes are right, the masks are not."""
    from likewise.backbones.loading import load_backbone

    spec = replace(load_backbone(tiny).spec, name="known", repo="org/known")
    with mock.patch.dict(registry.BACKBONES, {"known": spec}):
        found = list(examine("known", folder / "model.safetensors", image_size=64))
    assert all(c.ok for c in found if c.kind == STRUCTURE and c.ok is not None)
    assert not all(c.ok for c in found if c.kind == ACCURACY)
    assert "not trained" in verdict(found)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_download_is_compared_with_the_hubs_sha256(
    damaged: bool, folder: Path, tiny: Path
) -> None:
    """As DINOv3 comes: the cache links to a blob that is named by the sha256 that the hub sent."""
    from likewise.backbones.loading import load_backbone

    whole = (folder / "model.safetensors").read_bytes()
    cached = folder / ".hf" / "hub" / "models--org--known"
    snapshot = cached / "snapshots" / ("0" * 40)
    for place in (snapshot, cached / "refs", cached / "blobs"):
        place.mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    blob = cached / "blobs" / hashlib.sha256(whole).hexdigest()
    blob.write_bytes(whole[:-4] + b"oops" if damaged else whole)
    (snapshot / "model.safetensors").symlink_to(blob)
    spec = replace(
        load_backbone(tiny).spec, name="known", repo="org/known", filename="model.safetensors"
    )
    with mock.patch.dict(registry.BACKBONES, {"known": spec}):
        found = list(examine("known", image_size=64, offline=True))
    (digest,) = (c for c in found if c.name == "sha256")
    assert digest.ok is not damaged
    assert ("download it again" in verdict(found)) == damaged


def test_features_without_unit_length_are_told(folder: Path) -> None:
    from likewise.backbones.encoder import Encoder

    def wrong(self: Encoder, features: torch.Tensor) -> torch.Tensor:
        return 1.1 * debias(features, self.basis)

    with mock.patch.object(Encoder, "debias", wrong):
        found = list(examine("model.safetensors", image_size=64))
    assert [c.name for c in found if c.ok is False] == ["unit length"]
    assert "differs from 1 by 1.0e-01" in verdict(found)


def test_a_debiasing_that_leaves_positions_is_told(folder: Path) -> None:
    from likewise.backbones.encoder import Encoder

    with mock.patch.object(Encoder, "debias", lambda self, features: features):
        found = list(examine("model.safetensors", image_size=64))
    assert [c.name for c in found if c.ok is False] == ["positional energy"]


def test_a_dry_run_asks_nobody() -> None:
    with mock.patch.object(verify, "fetch_weights", side_effect=AssertionError):
        done = run(["verify", "vitl", "--dry-run"])
    assert (done.code, done.err) == (0, "")
    for fact in (
        "timm/vit_large_patch16_dinov3.lvd1689m",
        "sha256 begins with 8aa4cbdd",
        "24 blocks, width 1024, 16 heads",
        "(1024, 500)",
        "1024x1024 px, 64x64 patches",
    ):
        assert fact in done.out


@pytest.mark.parametrize("name", registry.BACKBONES)
def test_every_backbone_has_a_plan(name: str) -> None:
    assert any(check.name == "shapes" for check in plan(name))


def test_what_cannot_be_verified_is_refused(folder: Path) -> None:
    assert "one by one" in refused(["verify", "embedded+embedded-vits14"])
    assert "ends neither in .md" in refused(["verify", "vits", "--report", "report.txt"])
    assert "is not a backbone" in refused(["verify", "x", "--file", "model.safetensors"])
    assert "is not a backbone" in refused(["verify", "nothing"])
    assert "does not exist" in refused(["verify", "vits", "--file", "nothing.pth"])
    assert "'gpu' cannot be used" in refused(["verify", "model.safetensors", "--device", "gpu"])
    assert "dtype 'half' is unknown" in refused(["verify", "embedded", "--dtype", "half"])
    with pytest.raises(BackboneError, match="no multiple of the patch"):
        plan("vitl", 100)


def test_reports_name_what_is_off() -> None:
    off = Check(STRUCTURE, "sha256", "abc", False, "The sha256 is wrong.")
    assert verdict([off]) == "FAILED: The sha256 is wrong."
    assert verdict([Check(ACCURACY, "masks", "0.9", True)]) == "All checks passed."
    small = [
        Check(STRUCTURE, "sha256", "abc", True),
        Check(ACCURACY, "masks", "0.1", False, "Low."),
    ]
    assert verdict(small).startswith("FAILED: Low. The file is the right one (sha256): leave")
    assert "| **off** |" in markdown("x", "FAILED", [off], "likewise 1")


@pytest.mark.skipif(not GOLDEN.exists(), reason="shared/golden is not there")
@pytest.mark.parametrize(
    "name", ["dinov3_mlp_meta.pth", "dinov3_mlp_timm.safetensors", "dinov3_swiglu_meta.pth"]
)
def test_golden_backbones_pass_structure(name: str, tmp_path: Path) -> None:
    with sandbox(tmp_path):
        found = list(examine(str(GOLDEN / name), image_size=224, num_heads=3))
    assert not [c for c in found if c.ok is False]
    assert verdict(found).startswith("Structure is right.")


def test_the_smaller_embedded_backbone_passes_all_checks(tmp_path: Path) -> None:
    with sandbox(tmp_path):
        found = list(examine("embedded-small"))
    assert verdict(found) == "All checks passed."
    assert [c.ok for c in found if c.kind == ACCURACY] == [True, True, True]

"""The encoder in other runtimes, what it computes in by itself, and what keeps them apart."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from boxes import LEFT, SIDE, pair, picture
from helpers import refusal
from likewise import Segmenter
from likewise.agreement import check_agreement
from likewise.backbones import encoder as encoder_module
from likewise.backbones import runtime
from likewise.backbones.encoder import Encoder
from likewise.backbones.loading import load_backbone
from likewise.cli import app
from likewise.errors import InputWarning, LikewiseError
from likewise.reference import as_references

NEEDED = {"openvino": ("openvino",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
EMBEDDED_SIDE = 64


def installed(name: str) -> None:
    for package in NEEDED[name]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


# --- runtimes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openvino", "onnx"])
@pytest.mark.parametrize("which", ["tiny", "embedded"])
def test_features_are_those_of_torch(name: str, which: str, tiny: Path, cache: Path) -> None:
    installed(name)
    source, side = (tiny, SIDE) if which == "tiny" else (which, EMBEDDED_SIDE)
    known = Encoder(source, image_size=side, dtype="float32")
    other = Encoder(source, image_size=side, runtime=name)
    one, two = (e.encode(picture(LEFT)) for e in (known, other))
    assert (one.features * two.features).sum(dim=1).min() > 0.999
    assert known.fingerprint != other.fingerprint
    made = list((cache.parent / "runtimes").iterdir())
    other = Encoder(source, image_size=side, runtime=name)
    assert torch.equal(other.encode(picture(LEFT)).features, two.features)
    assert sorted((cache.parent / "runtimes").iterdir()) == sorted(made)  # read, not made again
    assert sys.modules.get("openvino_telemetry") is None


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_what_is_missing_is_named(name: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise runtime.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(runtime.importlib.metadata, "version", missing)
    told = refusal(Encoder, tiny, image_size=SIDE, runtime=name)
    assert told.endswith(f"pip install 'likewise[{name}]'.")


def test_wrong_runtimes_are_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "version", lambda name: "1")
    assert refusal(Encoder, tiny, runtime="tf") == (
        "runtime 'tf' is unknown; use one of torch, openvino, onnx."
    )
    half = {"image_size": SIDE, "dtype": "float16", "runtime": "openvino"}
    assert "does not compute in float16: use float32 or bfloat16." in refusal(Encoder, tiny, **half)
    assert "does not compute in bfloat16: use float32." in refusal(
        Encoder, tiny, **half | {"dtype": "bfloat16", "runtime": "onnx"}
    )
    assert "is joined of several: use --runtime torch." in refusal(
        Encoder, f"{tiny}+{tiny}", runtime="onnx"
    )
    loaded = load_backbone(tiny, dtype=torch.bfloat16)
    assert "takes float32 weights on the CPU" in refusal(Encoder, loaded, runtime="onnx")


class Bent(Encoder):
    """Features that are turned a little, as a runtime's may be."""

    turn = 0.0

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens = super().tokens(pixels)
        return tokens + self.turn * tokens.norm(dim=2, keepdim=True) * torch.ones_like(tokens)


def test_agreement_is_told_or_refused(tiny: Path, cache: Path) -> None:
    bent = Bent(tiny, image_size=SIDE, dtype="float32")
    references = as_references(pair(LEFT))
    segmenter = Segmenter(bent).fit(references)
    with pytest.warns(InputWarning, match="agrees with torch in float32 on the references: cos"):
        cosine, iou = check_agreement(segmenter, references)
    assert (cosine, iou) == (pytest.approx(1), 1)
    bent.turn = 1.0
    segmenter.fit(references)
    with pytest.raises(LikewiseError, match="does not agree with torch in float32 on the ref"):
        check_agreement(segmenter, references)


def test_segment_tells_the_agreement(files: Path, tiny: Path, cache: Path) -> None:
    installed("openvino")
    options = ["-r", "reference.jpg", "-m", "reference_mask.png", "-o", "out", "-b", str(tiny)]
    command = ["segment", "target.jpg", *options, "--image-size", str(SIDE)]
    with pytest.warns(InputWarning, match="IoU of masks 1.000"):
        ran = CliRunner().invoke(app, [*command, "--runtime", "openvino"])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(("name", "file"), [("openvino", "tiny.xml"), ("onnx", "tiny.onnx")])
def test_export_writes_a_file(name: str, file: str, tiny: Path, tmp_path: Path) -> None:
    installed(name)
    command = ["backbones", "export", str(tiny), str(tmp_path / file), "--to", name]
    ran = CliRunner().invoke(app, [*command, "--image-size", str(SIDE)])
    assert ran.exit_code == 0, ran.output
    run = (
        runtime._open_openvino if name == "openvino" else lambda path, _: runtime._open_onnx(path)
    )(tmp_path / file, "float32")
    known = Encoder(tiny, image_size=SIDE)
    pixels = known.preprocess([picture(LEFT)])
    torch.testing.assert_close(run(pixels), known.tokens(pixels), atol=1e-3, rtol=1e-3)
    wrong = CliRunner().invoke(app, [*command[:-1], "torch"])
    assert isinstance(wrong.exception, LikewiseError)


# --- precision ----------------------------------------------------------------------------------


def test_another_dtype_than_that_of_saved_references_is_told(
    tiny: Path, tmp_path: Path, cache: Path
) -> None:
    full, half = (
        Segmenter(tiny, image_size=SIDE, device="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )
    file = tmp_path / "references.safetensors"
    full.fit(pair(LEFT)).save(file)
    with pytest.warns(InputWarning, match="computed in float32, those of targets are in bfloat16"):
        half.load(file)

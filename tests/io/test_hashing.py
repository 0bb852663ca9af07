"""One hasher: equal facts have one fingerprint, others another, and nothing else hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from likewise import SegICParams, Segmenter
from likewise.backbones.encoder import Encoder
from likewise.io.hashing import file_sha256, fingerprint, sha256
from likewise.methods.segic.decoder import Decoder, DecoderShape
from likewise.methods.segic.files import Trained, save_decoder

SOURCE = Path(__file__).resolve().parents[2] / "src" / "likewise"


@dataclass(frozen=True)
class Facts:
    rank: int
    mask: np.ndarray


def test_bytes_arrays_and_files(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(b"abc") == sha256(b"a", b"bc") == file_sha256(tmp_path / "abc") == known
    turned = np.arange(6, dtype=np.uint8).reshape(2, 3).T
    assert sha256(turned) == sha256(turned.tobytes())
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")


def test_equal_facts_have_one_fingerprint() -> None:
    mask = np.eye(3, dtype=bool)
    one = fingerprint({"a": 1, "b": (2.5, None)}, Facts(3, mask), Path("x"))
    other = fingerprint(
        MappingProxyType({"b": [2.5, None], "a": 1}), Facts(3, np.asfortranarray(mask)), "x"
    )
    assert one == other
    assert re.fullmatch("[0-9a-f]{32}", one)


def test_other_facts_have_other_fingerprints() -> None:
    a = np.arange(6, dtype=np.uint8)
    facts: list[tuple[object, ...]] = [
        *((), (None,), ("",), ("ab", "c"), ("a", "bc"), (["ab", "c"],), (1,), ("1",), (True,)),
        *((a,), (a.reshape(2, 3),), (a.astype(np.int8),), (a + 1,), (a[:3], a[3:])),
        *((Facts(3, a),), (Facts(4, a),)),
    ]
    assert len({fingerprint(*some) for some in facts}) == len(facts)


def test_what_has_no_content_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no fingerprint"):
        fingerprint({"a": object()})


def test_what_is_resolved_is_hashed(tmp_path: Path) -> None:
    encoder = Encoder("embedded", dtype="float32")
    spec, size = encoder.spec, encoder.input_size
    rank, backbone = spec.svd_components, encoder.backbone
    asked = Encoder(backbone, image_size=size, svd_components=rank, dtype="float32")
    assert asked.fingerprint == encoder.fingerprint
    assert encoder.facts["dtype"] == "float32"
    others = [Encoder(backbone, image_size=112), Encoder(backbone, svd_components=3)]
    assert len({e.fingerprint for e in (encoder, *others)}) == 3

    decoder = Decoder(DecoderShape(dim=spec.dim, hidden=16, layers=1, heads=2))
    one, copy = tmp_path / "one.safetensors", tmp_path / "copy.safetensors"

    def of(path: Path) -> str:
        return Segmenter(encoder, method=SegICParams(path)).settings_fingerprint

    for path in (one, copy):
        save_decoder(path, decoder, Trained.by(encoder))
    before = of(one)
    assert of(copy) == before  # the content counts, not the name
    decoder.offset.data += 1
    save_decoder(one, decoder, Trained.by(encoder))
    assert of(one) != before


def test_nothing_else_hashes() -> None:
    files = [f for f in SOURCE.rglob("*.py") if "import hashlib" in f.read_text("utf-8")]
    hashing = {f.relative_to(SOURCE).as_posix() for f in files}
    assert hashing == {"io/hashing.py", "web/api/uploads.py"}  # (uploads are read in blocks)

"""`likewise backbones` and `likewise doctor`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tomlkit

import likewise
from commands import done
from likewise.backbones.registry import ALIASES, BACKBONES, get_spec, packaged_file
from likewise.cli import doctor
from likewise.errors import LikewiseError
from likewise.io.hashing import file_sha256
from scenes import no_backbone_needed, run

# --- backbones ------------------------------------------------------------------------------------


def test_backbones_list(scene: Path) -> None:
    text = done(run(["backbones", "list"]))
    assert text == done(run(["backbones"]))
    header, *lines = text.splitlines()
    assert header.split() == ["name", "also", "dim", "blocks", "patch", "here", "source"]
    assert {line.split()[0] for line in lines} == set(BACKBONES)
    embedded = next(line for line in lines if line.startswith("embedded "))
    assert embedded.split(maxsplit=5)[1:] == ["384", "10", "16", "yes", "ships with likewise"]
    vitl = next(line for line in lines if line.startswith("dinov3-vitl16 "))
    assert vitl.split()[1:6] == ["vitl", "1024", "24", "16", "-"]


def test_backbones_list_json(scene: Path) -> None:
    rows = {row["name"]: row for row in json.loads(done(run(["backbones", "list", "--json"])))}
    assert rows.keys() == BACKBONES.keys()
    assert [name for name, row in rows.items() if row["here"]] == [
        *("embedded", "embedded-small", "embedded-large", "embedded-vits14")
    ]
    for name, row in rows.items():
        spec = BACKBONES[name]
        assert (row["dim"], row["depth"], row["patch"]) == (spec.dim, spec.depth, spec.patch)
        assert row["source"] == (spec.repo or "ships with likewise")
        assert all(ALIASES[alias] == name for alias in row["aliases"])
    assert "vitl" in rows["dinov3-vitl16"]["aliases"]


def test_backbones_info(scene: Path) -> None:
    facts = json.loads(done(run(["backbones", "info", "vitl", "--json"])))
    spec = get_spec("vitl")
    assert (facts["name"], facts["dim"], facts["repo"]) == (spec.name, spec.dim, spec.repo)
    assert facts["here"] is None
    facts = json.loads(done(run(["backbones", "info", "embedded", "--json"])))
    assert facts["here"] == str(packaged_file(get_spec("embedded")))
    joined = json.loads(done(run(["backbones", "info", "embedded+vitl", "--json"])))
    assert (joined["name"], joined["dim"]) == ("embedded+dinov3-vitl16", 384 + 1024)
    assert joined["here"] == [facts["here"], None]
    lines = done(run(["backbones", "info", "embedded"])).splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert shown == {key: str(value) for key, value in facts.items() if key in shown} | {
        "mean": str(tuple(facts["mean"])),
        "std": str(tuple(facts["std"])),
        "hiera": str(dataclasses.asdict(get_spec("embedded"))["hiera"]),
    }
    assert shown.keys() == facts.keys()


def test_backbones_download(scene: Path) -> None:
    text = done(run(["backbones", "download", "embedded"]))
    assert text == "embedded ships with likewise: nothing to download.\n"
    with mock.patch("likewise.backbones.download.fetch_weights", return_value=Path("here")) as get:
        assert done(run(["backbones", "download", "vitl", "--offline"])) == "here\n"
    get.assert_called_once_with(get_spec("vitl"), offline=True)
    with mock.patch("likewise.backbones.download.fetch_weights", return_value=Path("here")) as get:
        joined = done(run(["backbones", "download", "embedded+sam2-hiera-t"]))
    assert joined == "embedded ships with likewise: nothing to download.\nhere\n"


def test_backbones_verify(scene: Path) -> None:
    packaged = packaged_file(get_spec("embedded"))
    digest = get_spec("embedded").sha256
    text = done(run(["backbones", "verify", "embedded"]))
    assert text == f"{packaged}\nsha256 {digest}: correct\n"

    damaged = bytearray(packaged.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    copy = Path(packaged.name)
    copy.write_bytes(damaged)
    with mock.patch("likewise.backbones.download.packaged_file", return_value=copy):
        ran = run(["backbones", "verify", "embedded"])
    assert ran.code == 1
    path, verdict = ran.out.splitlines()
    assert path == copy.name
    assert verdict.startswith(f"sha256 {file_sha256(copy)}: WRONG, ")


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor(scene: Path) -> None:
    lines = done(run(["doctor", "--device", "cpu"])).splitlines()
    facts = dict(line.split(maxsplit=1) for line in lines)
    assert facts["likewise"] == likewise.__version__
    assert facts["numpy"] == f"{np.__version__}  ok"
    assert facts["device"].startswith("cpu")
    assert facts["cache"] == str(scene / ".cache")
    assert "embedded weights  sha256 correct  ok" in lines
    assert lines[-1].startswith("self-test         IoU 0.")
    assert lines[-1].endswith("s  ok")
    assert "FAILED" not in "".join(lines)


@pytest.fixture
def no_self_test() -> Iterator[None]:
    """The self-test takes seconds, and test_doctor runs it."""
    passed = doctor.PackageCheck("self-test", "IoU 1.00", True)
    with mock.patch.object(doctor, "_self_test", return_value=passed):
        yield


def test_doctor_lists_the_packages_of_the_extras() -> None:
    project = tomlkit.parse(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].unwrap()
    needed = [n for extra in extras if extra not in ("docs", "test") for n in extras[extra]]
    assert {re.split(r"[\[><=;]", name)[0] for name in needed} == set(doctor.OPTIONAL)


@pytest.mark.usefixtures("no_self_test")
def test_doctor_json(scene: Path) -> None:
    checks = json.loads(done(run(["doctor", "--json"])))
    assert [c["name"] for c in checks] == [
        *("likewise", "python", *doctor.REQUIRED, *doctor.OPTIONAL),
        *("device", "threads", "bfloat16", "8 bits"),
        *("cache", "embedded weights", "downloaded", "self-test"),
    ]
    assert all(c.keys() == {"name", "value", "ok"} for c in checks)
    assert not any(c["ok"] is False for c in checks)


@pytest.mark.usefixtures("no_self_test")
@pytest.mark.parametrize(("package", "code"), [("safetensors", 1), ("pycocotools", 0)])
def test_doctor_and_a_missing_package(scene: Path, package: str, code: int) -> None:
    really = importlib.metadata.version

    def version(name: str) -> str:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return really(name)

    with mock.patch("importlib.metadata.version", version):
        ran = run(["doctor"])
    assert ran.code == code
    line = next(line for line in ran.out.splitlines() if line.startswith(package))
    assert line.split(maxsplit=1)[1] == ("not installed  FAILED" if code else "not installed")
    assert "self-test" in ran.out  # a failed check ends nothing


def test_doctor_and_an_unknown_device(scene: Path) -> None:
    ran = run(["doctor", "--device", "gpu", "--json"])
    assert ran.code == 1
    checks = {c["name"]: c for c in json.loads(ran.out)}
    for name in ("device", "self-test"):
        assert checks[name]["ok"] is False
        assert "'gpu' cannot be used" in checks[name]["value"]


def test_doctor_and_a_failing_self_test(scene: Path) -> None:
    with mock.patch("likewise.segmenter.Segmenter", side_effect=LikewiseError("no luck.")):
        ran = run(["doctor", "--json"])
    assert ran.code == 1
    assert json.loads(ran.out)[-1] == {"name": "self-test", "value": "no luck.", "ok": False}
    with no_backbone_needed():  # it finds nothing
        ran = run(["doctor", "--json"])
    assert ran.code == 1
    assert json.loads(ran.out)[-1]["value"].startswith("IoU 0.00")


@pytest.mark.usefixtures("no_self_test")
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_doctor_and_bad_embedded_weights(scene: Path, damage: str) -> None:
    weights = Path(packaged_file(get_spec("embedded")).name)
    if damage == "changed":
        weights.write_bytes(b"changed")
    with mock.patch("likewise.backbones.download.packaged_file", return_value=weights):
        ran = run(["doctor"])
    lines = [line for line in ran.out.splitlines() if line.startswith("embedded weights")]
    assert len(lines) == 1
    assert lines[0].endswith("FAILED")
    assert (ran.code, ran.err) == (1, "")
    assert "self-test" in ran.out

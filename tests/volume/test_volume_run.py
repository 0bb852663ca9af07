"""A volume in one call, into a folder, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

import likewise
from helpers import refusal
from likewise import Segmenter
from likewise.cli import app
from likewise.io.images import read_image
from likewise.io.masks import read_label_map
from likewise.volume.annotation import key_slices
from likewise.volume.clip import Slices
from likewise.volume.files import open_volume, read_label_volume
from likewise.volume.run import VolumeRun
from likewise.volume.volume import cut_of
from scans import COUNT, coin, write_nifti

TINY = ["--image-size", "112", "--device", "cpu"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(image_size=112, device="cpu")


def test_a_volume_in_one_call(segmenter: Segmenter, tmp_path: Path) -> None:
    values, mask = coin()
    given = np.zeros(mask.shape, np.uint16)
    given[3] = mask[3] * 500
    found = likewise.segment_volume(values, given, segmenter, names=["coin"])
    assert found.labels.shape == values.shape
    assert set(np.unique(found.labels)) == {0, 500}
    both = (found.labels > 0) & mask
    assert 2 * both.sum() / ((found.labels > 0).sum() + mask.sum()) > 0.85
    assert sorted(found.confidences) == list(range(COUNT))
    (one,) = found.classes
    assert (one.name, one.value, one.ml) == ("coin", 500, None)
    assert one.voxels == (found.labels > 0).sum()
    found.save(tmp_path / "l.tif")
    assert (tifffile.imread(tmp_path / "l.tif") == found.labels).all()
    path = write_nifti(tmp_path / "v.nii.gz", values)
    other = likewise.segment_volume(path, given, segmenter, axis="0")
    # Shown upright, so what the network sees is another picture; the voxels are the same.
    assert ((other.labels > 0) == mask).mean() > 0.9
    assert other.classes[0].ml == pytest.approx(other.classes[0].voxels * 0.012)
    assert "(A, B, C)" in refusal(likewise.segment_volume, values[0], given)


def start(tmp_path: Path, out: Path) -> VolumeRun:
    values, mask = coin()
    volume = open_volume(write_nifti(tmp_path / "v.nii.gz", values))
    labels = np.where(mask, 9, 0)
    labels[:, :4] = 4
    slices = Slices(volume, cut_of(volume, "0"), (-600.0, 600.0))
    return VolumeRun(slices, key_slices(labels, slices, "l", [3], [9, 4], ["coin", "rim"]), out)


def test_a_run_goes_on_and_keeps_what_a_person_made(tmp_path: Path, segmenter: Segmenter) -> None:
    whole = start(tmp_path, tmp_path / "a")
    list(whole.clip.segment(segmenter))
    measured = whole.finish()
    assert [one.value for one in measured] == [9, 4]
    assert measured[0].slices is not None
    part = start(tmp_path, tmp_path / "b")
    steps = part.clip.segment(segmenter)
    for _ in range(4):
        next(steps)
    steps.close()  # as a kill: what is written stays
    assert not part.labels.exists()
    done = list(start(tmp_path, tmp_path / "b").clip.segment(segmenter, resume=True))
    assert [outcome.state for outcome in done] == ["kept"] * 4 + ["made"] * 4
    part.finish()
    assert part.labels.read_bytes() == whole.labels.read_bytes()
    assert np.asarray(Image.open(part.montage)).shape[2] == 3

    theirs = np.zeros(whole.slices.size, np.uint8)
    theirs[:30] = 1
    Image.fromarray(theirs).save(tmp_path / "a" / "masks" / "00006.png")
    again = start(tmp_path, tmp_path / "a")
    states = {o.mask.name: o.state for o in again.clip.segment(segmenter) if o.mask}
    assert [name for name, state in states.items() if state == "by_hand"] == ["00006.png"]
    again.finish()
    labels = read_label_volume(again.labels, again.slices.volume)
    assert (again.slices.cut.slices(labels)[6] == theirs * 9).all()


def test_another_window_is_another_run(tmp_path: Path, segmenter: Segmenter) -> None:
    run = start(tmp_path, tmp_path / "a")
    next(run.clip.segment(segmenter))
    other = start(tmp_path, tmp_path / "a")
    other.slices.window = (-500.0, 0.0)
    text = refusal(other.clip.segment, segmenter, resume=True)
    assert "were not made with this clip" in text


def call(*words: object) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["volume", *map(str, words)])
    return result.exit_code, result.stdout, result.exception


def test_the_command(tmp_path: Path) -> None:
    values, mask = coin()
    path = write_nifti(tmp_path / "v.nii.gz", values)
    labels = write_nifti(tmp_path / "l.nii.gz", (mask * 2).astype(np.uint8))
    common = [path, "--axis", "0", "--slices", "3", "--to", "5", *TINY]
    out = tmp_path / "a"
    code, text, _ = call(*common, "-l", labels, "-o", out, "--label", "coin", "--json")
    report = json.loads(text)
    assert code == 0
    (one,) = report["classes"]
    assert (one["name"], one["value"]) == ("coin", 2)
    assert one["ml"] == pytest.approx(one["voxels"] * 0.012)
    found = read_label_volume(out / "labels.nii.gz", open_volume(path))
    assert (found > 0).sum() == one["voxels"]
    assert not found[6:].any()
    assert {file.name for file in out.iterdir()} == {
        *("labels.nii.gz", "montage.jpg", "masks", "frames.jsonl"),
    }
    # The same from a picture that a person drew on.
    assert call(path, "--axis", "0", "--show", "3", "-o", tmp_path / "p")[0] == 0
    picture = read_image(tmp_path / "p" / "00003.png")
    volume = open_volume(path)
    drawn = cut_of(volume, "0").slices(mask)[3]
    assert picture.shape[:2] == drawn.shape
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "m.png")
    code, text, _ = call(*common, "-m", tmp_path / "m.png", "-o", tmp_path / "b")
    assert code == 0
    assert "mL" in text
    other = read_label_volume(tmp_path / "b" / "labels.nii.gz", volume)
    assert ((other == 1) == (found == 2)).all()
    again = read_label_map(tmp_path / "b" / "masks" / "00003.png")
    assert ((again > 0) == drawn).all()
    for words, said in (
        ([], "annotated slices are needed"),
        (["-l", labels, "--slices", "x"], "--slices x is no list"),
        (["-m", tmp_path / "m.png"], "0 --slices and 1 --mask"),
        (["-m", tmp_path / "m.png", "--slices", "9"], "no slice 9"),
        (["-l", labels, "--from", "9"], "no slices 9 to 7"),
        (["-l", labels, "--channel", "0"], "has no channels"),
        (["-l", labels, "--window", "soup"], "--window soup is unknown"),
    ):
        _, _, error = call(path, "--axis", "0", "-o", tmp_path / "c", *words)
        assert said in str(error)
    _, _, error = call(*common, "-l", out / "labels.nii.gz", "-o", out)
    assert "would overwrite" in str(error)

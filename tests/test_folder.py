"""batch/folder.py: names, refusals, whole files, one outcome a target; with a stub for a model."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.batch.folder import Job, Outcome, plan, segment_files
from likewise.errors import ImageError, LikewiseError
from likewise.pictures import overlay


@dataclass
class Found:
    mask: np.ndarray

    @property
    def area(self) -> float:
        return float(self.mask.mean())


class Bright:
    """A segmenter that marks what is bright, and refuses pictures without anything bright."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def segment(self, image: np.ndarray) -> Found:
        self.seen.append(image)
        if image.max() < 10:
            raise LikewiseError("it is dark.")
        return Found(image[..., 0] > 127)


@pytest.fixture
def targets(tmp_path: Path) -> list[Path]:
    """Three pictures of different sizes, each with a bright square."""
    paths = []
    for number, name in enumerate(("one.png", "two.bmp", "three.png")):
        pixels = np.full((10 + number, 20, 3), 20, np.uint8)
        pixels[2:7, 4 : 9 + number] = 220
        paths.append(tmp_path / name)
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "masks"


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


# --- plan ---------------------------------------------------------------------------------------


def test_plan_names_the_files_and_makes_the_folder(targets: list[Path], out: Path) -> None:
    assert plan(targets[:2], out, overlay=False) == [
        Job(targets[0], out / "one.png", None),
        Job(targets[1], out / "two.png", None),
    ]
    assert plan(targets[2:], out, overlay=True) == [
        Job(targets[2], out / "three.png", out / "three_overlay.jpg")
    ]
    assert list(out.iterdir()) == []  # the probe is gone too


def test_plan_keeps_what_is_in_the_folder(targets: list[Path], out: Path) -> None:
    out.mkdir(parents=True)
    (out / "one.png").write_text("old")
    plan(targets, out, overlay=True)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("one.png", "old")]


def test_two_targets_of_one_name(tmp_path: Path, out: Path) -> None:
    first, second = tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.png"
    text = refusal(plan, [first, second], out, overlay=False)
    assert text.startswith(f"{first} and {second} would both be written to {out / 'x.png'}")
    assert not out.exists()


def test_a_mask_and_an_overlay_never_share_a_name(tmp_path: Path, out: Path) -> None:
    # x.jpg has the overlay x_overlay.jpg, and x_overlay.jpg has the mask x_overlay.png
    pair = [tmp_path / "x.jpg", tmp_path / "x_overlay.jpg"]
    names = [p.name for j in plan(pair, out, overlay=True) for p in (j.mask, j.overlay)]
    assert names == ["x.png", "x_overlay.jpg", "x_overlay.png", "x_overlay_overlay.jpg"]


def test_names_that_only_a_link_tells_apart(targets: list[Path], tmp_path: Path) -> None:
    try:
        (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    text = refusal(plan, targets[:1], tmp_path / "link", overlay=False)
    assert text.startswith(f"the result of {targets[0]} would overwrite {targets[0]}")


@pytest.mark.parametrize("overlaid", [False, True])
def test_results_never_replace_inputs(targets: list[Path], tmp_path: Path, overlaid: bool) -> None:
    text = refusal(plan, targets, tmp_path, overlay=overlaid)
    assert text.startswith(f"the result of {targets[0]} would overwrite {targets[0]}")
    # a mask that the references use, and an overlay over a reference
    two, mask, reference = targets[1], tmp_path / "two.png", tmp_path / "two_overlay.jpg"
    text = refusal(plan, [two], tmp_path, overlay=overlaid, inputs=[reference, mask])
    assert text.startswith(f"the result of {two} would overwrite {mask}")
    if overlaid:
        text = refusal(plan, [two], tmp_path, overlay=True, inputs=[reference])
        assert text.startswith(f"the result of {two} would overwrite {reference}")
    else:
        assert len(plan([two], tmp_path, overlay=False, inputs=[reference])) == 1


def test_another_targets_file_is_an_input_too(tmp_path: Path) -> None:
    pair = [tmp_path / "x.jpg", tmp_path / "x_overlay.jpg"]
    text = refusal(plan, pair, tmp_path, overlay=True)
    assert text.startswith(f"the result of {pair[0]} would overwrite {pair[1]}")


@pytest.mark.parametrize("below", ["", "masks"])
def test_a_file_in_the_way_of_the_folder(targets: list[Path], tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    text = refusal(plan, targets, tmp_path / "taken" / below, overlay=False)
    assert text.startswith(f"the folder {tmp_path / 'taken' / below} cannot be written to (")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_without_write_permission(targets: list[Path], out: Path) -> None:
    out.mkdir(parents=True)
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with mock.patch.object(Path, "touch", side_effect=refused):
        text = refusal(plan, targets, out, overlay=False)
    assert text == f"the folder {out} cannot be written to (Permission denied): give another --out."


# --- segment_files ------------------------------------------------------------------------------


def test_masks_and_outcomes(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, plan(targets, out, overlay=False)))
    assert {p.name for p in out.iterdir()} == {"one.png", "two.png", "three.png"}
    for number, (target, outcome) in enumerate(zip(targets, outcomes, strict=True)):
        mask = read(out / f"{target.stem}.png")
        expected = np.zeros((10 + number, 20), np.uint8)
        expected[2:7, 4 : 9 + number] = 255
        np.testing.assert_array_equal(mask, expected)
        assert outcome.seconds > 0
        assert outcome == Outcome(
            target,
            out / f"{target.stem}.png",
            area=pytest.approx((expected > 0).mean()),
            seconds=outcome.seconds,
        )
        np.testing.assert_array_equal(segmenter.seen[number][..., 0] > 127, expected > 0)


def test_overlays(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, plan(targets, out, overlay=True)))
    assert [o.overlay for o in outcomes] == [out / f"{t.stem}_overlay.jpg" for t in targets]
    for target, outcome in zip(targets, outcomes, strict=True):
        with Image.open(target) as before, Image.open(outcome.overlay) as after:
            pixels = np.asarray(before)
            expected = overlay(pixels, pixels[..., 0] > 127).astype(int)
            assert np.abs(np.asarray(after) - expected).mean() < 12  # JPEG


def test_a_bad_target_ends_nothing(targets: list[Path], out: Path) -> None:
    targets[0].write_bytes(b"")
    Image.new("RGB", (5, 5)).save(targets[1])
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, plan(targets, out, overlay=True)))
    assert outcomes[0] == Outcome(targets[0], error=outcomes[0].error)
    assert outcomes[0].error.startswith(f"{targets[0]} is empty")
    assert outcomes[1] == Outcome(targets[1], error="it is dark.")
    assert outcomes[2].error is None
    assert {p.name for p in out.iterdir()} == {"three.png", "three_overlay.jpg"}


def test_outcomes_come_one_by_one_with_their_files_whole(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    running = segment_files(segmenter, plan(targets, out, overlay=True))
    assert isinstance(running, Iterator)
    assert list(out.iterdir()) == []
    for count, outcome in enumerate(running, start=1):
        assert read(outcome.mask).any()
        assert len(segmenter.seen) == count
        assert len(list(out.iterdir())) == 2 * count


def test_resume_keeps_masks_and_makes_the_rest(targets: list[Path], out: Path) -> None:
    jobs = plan(targets, out, overlay=False)
    jobs[1].mask.write_text("kept as it is")
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, jobs, resume=True))
    assert outcomes[1] == Outcome(targets[1], jobs[1].mask, skipped=True)
    assert jobs[1].mask.read_text() == "kept as it is"
    assert [o.skipped for o in outcomes] == [False, True, False]
    assert len(segmenter.seen) == 2
    list(segment_files(segmenter, jobs))
    assert read(jobs[1].mask).any()


def test_resume_never_reads_a_target_that_is_done(targets: list[Path], out: Path) -> None:
    jobs = plan(targets[:1], out, overlay=False)
    jobs[0].mask.write_text("done")
    targets[0].write_bytes(b"")
    segmenter: Any = Bright()
    assert [o.error for o in segment_files(segmenter, jobs, resume=True)] == [None]


@pytest.mark.parametrize("overlaid", [False, True])
def test_a_full_disk_stops_and_leaves_no_half_file(
    targets: list[Path], out: Path, overlaid: bool
) -> None:
    jobs = plan(targets, out, overlay=overlaid)
    jobs[1].mask.write_text("from an earlier run")
    segmenter: Any = Bright()
    running = segment_files(segmenter, jobs)
    next(running)
    whole = {p.name: p.read_bytes() for p in out.iterdir()}
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        mock.patch("os.fsync", side_effect=full),
        pytest.raises(ImageError, match=r"cannot be written .*free some space"),
    ):
        next(running)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == whole
    assert jobs[1].mask.read_text() == "from an earlier run"


def test_the_mask_comes_last(targets: list[Path], out: Path) -> None:
    """It says that a target is done: without its overlay there must be no mask to resume from."""
    segmenter: Any = Bright()
    jobs = plan(targets[:1], out, overlay=True)
    jobs[0].overlay.mkdir()
    with pytest.raises(ImageError, match="one_overlay"):
        list(segment_files(segmenter, jobs))
    assert not jobs[0].mask.exists()

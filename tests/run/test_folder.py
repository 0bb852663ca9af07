"""run/: names, refusals, whole files, one outcome a target; with a stub for a model."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from helpers import refusal
from likewise.errors import ImageError, LikewiseError, WriteError
from likewise.io.draw import overlay
from likewise.io.files import refused
from likewise.io.images import Picture, read_picture
from likewise.run.jobs import Job, plan
from likewise.run.manifest import LABELS, MANIFEST, Manifest
from likewise.run.outcomes import Outcome
from likewise.run.runner import segment_files as segment_numbered
from likewise.segmenter import CONSENSUS_BATCH


@dataclass
class Found:
    mask: np.ndarray
    confidence: float

    @property
    def area(self) -> float:
        return float(self.mask.mean())


class Bright:
    """A segmenter that marks what is bright, and refuses pictures without anything bright."""

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.seen: list[np.ndarray] = []
        self.batches: list[int] = []

    def read(self, image: Path) -> Picture:
        return read_picture(image)

    def segment(self, picture: Picture) -> Found:
        image = picture.pixels
        self.seen.append(image)
        if image.max() < 10:
            raise LikewiseError("it is dark.")
        return Found(image[..., 0] > 127, confidence_of(image))

    def images_at_once(self, count: int) -> int:
        return 1

    def batch_size(self, consensus: bool) -> int:
        return CONSENSUS_BATCH if consensus else self.size

    def segment_batch(self, images: Sequence[Picture], *, consensus: bool = False) -> list[Found]:
        self.batches.append(len(images))
        return [self.segment(image) for image in images]


def confidence_of(image: np.ndarray) -> float:
    """Another one for every size."""
    return 1 / image.shape[0]


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


def segment_files(segmenter: Any, jobs: Sequence[Job], **how: Any) -> Iterator[Outcome]:
    """With one class, in the folder of the first mask."""
    manifest = Manifest(jobs[0].mask.parent)
    numbers = manifest.allot(["object"], label_maps=False)
    return segment_numbered(segmenter, jobs, manifest, numbers, run="a run", **how)


def files(out: Path) -> list[Path]:
    """What is in a folder of masks but for its memory."""
    return [p for p in out.iterdir() if p.name not in (LABELS, MANIFEST)]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


# --- plan ---------------------------------------------------------------------------------------


def test_plan_names_the_files_and_makes_the_folder(targets: list[Path], out: Path) -> None:
    assert plan(targets[:2], Manifest(out), overlay=False) == [
        Job(targets[0], out / "one.png", None),
        Job(targets[1], out / "two.png", None),
    ]
    assert plan(targets[2:], Manifest(out), overlay=True) == [
        Job(targets[2], out / "three.png", out / "three_overlay.jpg")
    ]
    assert list(out.iterdir()) == []  # the probe is gone too


def test_plan_keeps_what_is_in_the_folder(targets: list[Path], out: Path) -> None:
    out.mkdir(parents=True)
    (out / "one.png").write_text("old")
    plan(targets, Manifest(out), overlay=True)
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("one.png", "old")]


def test_two_targets_of_one_folder_and_name(tmp_path: Path, out: Path) -> None:
    first, second = tmp_path / "a" / "x.jpg", tmp_path / "a" / "x.png"
    text = refusal(plan, [first, second], Manifest(out), overlay=False)
    assert text.startswith(f"{first} and {second} would both be written to {out / 'x.png'}")
    assert not out.exists()


def test_a_mask_and_an_overlay_never_share_a_name(tmp_path: Path, out: Path) -> None:
    # x.jpg has the overlay x_overlay.jpg, and x_overlay.jpg has the mask x_overlay.png
    pair = [tmp_path / "x.jpg", tmp_path / "x_overlay.jpg"]
    names = [p.name for j in plan(pair, Manifest(out), overlay=True) for p in (j.mask, j.overlay)]
    assert names == ["x.png", "x_overlay.jpg", "x_overlay.png", "x_overlay_overlay.jpg"]


def test_names_that_only_a_link_tells_apart(targets: list[Path], tmp_path: Path) -> None:
    try:
        (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    text = refusal(plan, targets[:1], Manifest(tmp_path / "link"), overlay=False)
    assert text.startswith(f"the result of {targets[0]} would overwrite {targets[0]}")


@pytest.mark.parametrize("overlaid", [False, True])
def test_results_never_replace_inputs(targets: list[Path], tmp_path: Path, overlaid: bool) -> None:
    text = refusal(plan, targets, Manifest(tmp_path), overlay=overlaid)
    assert text.startswith(f"the result of {targets[0]} would overwrite {targets[0]}")
    # a mask that the references use, and an overlay over a reference
    two, mask, reference = targets[1], tmp_path / "two.png", tmp_path / "two_overlay.jpg"
    text = refusal(plan, [two], Manifest(tmp_path), overlay=overlaid, inputs=[reference, mask])
    assert text.startswith(f"the result of {two} would overwrite {mask}")
    if overlaid:
        text = refusal(plan, [two], Manifest(tmp_path), overlay=True, inputs=[reference])
        assert text.startswith(f"the result of {two} would overwrite {reference}")
    else:
        assert len(plan([two], Manifest(tmp_path), overlay=False, inputs=[reference])) == 1


def test_another_targets_file_is_an_input_too(tmp_path: Path) -> None:
    pair = [tmp_path / "x.jpg", tmp_path / "x_overlay.jpg"]
    text = refusal(plan, pair, Manifest(tmp_path), overlay=True)
    assert text.startswith(f"the result of {pair[0]} would overwrite {pair[1]}")


@pytest.mark.parametrize("below", ["", "masks"])
def test_a_file_in_the_way_of_the_folder(targets: list[Path], tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    text = refusal(plan, targets, Manifest(tmp_path / "taken" / below), overlay=False)
    assert text.startswith(f"the folder {tmp_path / 'taken' / below} cannot be written to (")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_without_write_permission(targets: list[Path], out: Path) -> None:
    out.mkdir(parents=True)
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with mock.patch.object(Path, "touch", side_effect=refused):
        text = refusal(plan, targets, Manifest(out), overlay=False)
    assert text == f"the folder {out} cannot be written to (Permission denied): give another --out."


# --- segment_files ------------------------------------------------------------------------------


def test_masks_and_outcomes(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, plan(targets, Manifest(out), overlay=False)))
    assert segmenter.batches == [1, 1, 1]
    assert {p.name for p in files(out)} == {"one.png", "two.png", "three.png"}
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
            confidence=1 / (10 + number),
            seconds=outcome.seconds,
        )
        np.testing.assert_array_equal(segmenter.seen[number][..., 0] > 127, expected > 0)


def test_overlays(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, plan(targets, Manifest(out), overlay=True)))
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
    outcomes = list(segment_files(segmenter, plan(targets, Manifest(out), overlay=True)))
    assert outcomes[0] == Outcome(targets[0], error=outcomes[0].error)
    assert outcomes[0].error.startswith(f"{targets[0]} is empty")
    assert outcomes[1] == Outcome(targets[1], error="it is dark.")
    assert outcomes[2].error is None
    assert [o.confidence for o in outcomes] == [0, 0, 1 / 12]
    assert {p.name for p in files(out)} == {"three.png", "three_overlay.jpg"}


def test_outcomes_come_one_by_one_with_their_files_whole(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    running = segment_files(segmenter, plan(targets, Manifest(out), overlay=True))
    assert isinstance(running, Iterator)
    assert files(out) == []
    for count, outcome in enumerate(running, start=1):
        assert (read(outcome.mask) > 0).sum() == 5 * (4 + count)  # the square
        assert len(segmenter.seen) == min(count + 1, 3)  # one is written while the next is made
        assert len(files(out)) >= 2 * count


def test_resume_keeps_masks_and_makes_the_rest(targets: list[Path], out: Path) -> None:
    jobs = plan(targets, Manifest(out), overlay=False)
    segmenter: Any = Bright()
    list(segment_files(segmenter, jobs[1:2]))
    made = jobs[1].mask.read_bytes()
    outcomes = list(segment_files(segmenter, jobs, resume=True))
    assert outcomes[1] == Outcome(targets[1], jobs[1].mask, skipped=True)
    assert jobs[1].mask.read_bytes() == made
    assert [o.state for o in outcomes] == ["made", "kept", "made"]
    assert len(segmenter.seen) == 3
    assert [o.state for o in segment_files(segmenter, jobs)] == ["made"] * 3
    assert jobs[1].mask.read_bytes() == made


@pytest.mark.parametrize("resume", [False, True])
def test_masks_of_a_person_are_kept(targets: list[Path], out: Path, resume: bool) -> None:
    jobs = plan(targets, Manifest(out), overlay=True)
    segmenter: Any = Bright()
    list(segment_files(segmenter, jobs[1:]))
    overlaid = jobs[1].overlay.read_bytes()
    jobs[0].mask.write_text("made by hand")
    jobs[1].mask.write_text("changed by hand")
    jobs[1].overlay.write_text("mine too")
    outcomes = list(segment_files(segmenter, jobs, resume=resume))
    assert [o.state for o in outcomes] == ["by_hand", "by_hand", "kept" if resume else "made"]
    assert [o.mask for o in outcomes] == [job.mask for job in jobs]
    assert jobs[0].mask.read_text() == "made by hand"
    assert jobs[1].mask.read_text() == "changed by hand"
    assert jobs[1].overlay.read_text() == "mine too"
    outcomes = list(segment_files(segmenter, jobs, resume=resume, overwrite=True))
    assert [o.state for o in outcomes] == ["made", "made", "kept" if resume else "made"]
    assert jobs[1].overlay.read_bytes() == overlaid
    assert all(read(job.mask).any() for job in jobs)


def test_resume_never_reads_a_target_that_is_done(targets: list[Path], out: Path) -> None:
    jobs = plan(targets[:1], Manifest(out), overlay=False)
    segmenter: Any = Bright()
    list(segment_files(segmenter, jobs))
    with mock.patch.object(Bright, "read") as reads:
        assert [o.error for o in segment_files(segmenter, jobs, resume=True)] == [None]
    assert not reads.called


@pytest.mark.parametrize("overlaid", [False, True])
def test_a_full_disk_stops_and_leaves_no_half_file(
    targets: list[Path], out: Path, overlaid: bool
) -> None:
    jobs = plan(targets, Manifest(out), overlay=overlaid)
    list(segment_files(Bright(), [jobs[1]]))
    made = jobs[1].mask.read_bytes()
    segmenter: Any = Bright()
    running = segment_files(segmenter, jobs)
    with full_after(2 + overlaid):
        assert next(running).target == targets[0]
        with pytest.raises(ImageError, match=r"cannot be written .*free some space"):
            next(running)
    assert set(files(out)) == {p for job in jobs[:2] for p in (job.mask, job.overlay) if p}
    assert jobs[1].mask.read_bytes() == made


@contextmanager
def full_after(count: int) -> Iterator[None]:
    """A disk that is full once ``count`` files and lines are written."""
    sync, calls = os.fsync, itertools.count()

    def full(file: int) -> None:
        if next(calls) >= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with mock.patch("os.fsync", full):
        yield


def test_the_mask_comes_last(targets: list[Path], out: Path) -> None:
    """It says that a target is done: without its overlay there must be no mask to resume from."""
    segmenter: Any = Bright()
    jobs = plan(targets[:1], Manifest(out), overlay=True)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        mock.patch("likewise.run.runner.write_whole", side_effect=refused(Path("o"), full)),
        pytest.raises(WriteError),
    ):
        list(segment_files(segmenter, jobs))
    assert not jobs[0].mask.exists()


# --- one bad file never stops the others ---------------------------------------------------------


def test_a_name_too_long_for_its_overlay(targets: list[Path], out: Path) -> None:
    long = targets[0].with_name(f"{'x' * 246}.png")
    targets[0].replace(long)
    segmenter: Any = Bright()
    jobs = plan([long, *targets[1:]], Manifest(out), overlay=True)
    outcomes = list(segment_files(segmenter, jobs))
    assert [o.state for o in outcomes] == ["made"] * 3
    (why,) = outcomes[0].unwritten
    assert why.startswith(f"{jobs[0].overlay} cannot be written (")
    assert why.endswith("give its picture a shorter name.")
    assert outcomes[0].overlay is None
    assert all(read(job.mask).any() for job in jobs)
    assert jobs[1].overlay.is_file()
    # It is tried again, and the others are kept.
    again = list(segment_files(segmenter, jobs, resume=True))
    assert [o.state for o in again] == ["made", "kept", "kept"]


def test_a_folder_of_the_name_of_a_mask(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    jobs = plan(targets, Manifest(out))
    jobs[1].mask.mkdir()
    outcomes = list(segment_files(segmenter, jobs))
    assert [o.state for o in outcomes] == ["made", "failed", "made"]
    assert outcomes[1].error.startswith(f"{jobs[1].mask} cannot be written (Is a directory): move")


@pytest.mark.parametrize("name", ["two.png", "two_overlay.jpg"])
def test_a_locked_file(targets: list[Path], out: Path, name: str) -> None:
    """Also for the user who may write everything."""
    really = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        if target.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(self, target)

    segmenter: Any = Bright()
    jobs = plan(targets, Manifest(out), overlay=True)
    with mock.patch.object(Path, "replace", replaced):
        outcomes = list(segment_files(segmenter, jobs))
    masked = name == "two_overlay.jpg"
    assert [o.state for o in outcomes] == ["made", "made" if masked else "failed", "made"]
    (why,) = outcomes[1].unwritten if masked else [outcomes[1].error]
    assert "(Permission denied): give yourself write permission" in why
    assert jobs[1].mask.is_file() == masked
    assert not list(out.glob(".likewise-*"))
    assert [o.state for o in segment_files(segmenter, jobs, resume=True)] == [
        *("kept", "made", "kept")
    ]


def test_a_target_that_vanishes_during_the_run(targets: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    jobs = plan(targets, Manifest(out))
    targets[2].unlink()
    outcomes = list(segment_files(segmenter, jobs))
    assert [o.state for o in outcomes] == ["made", "made", "failed"]
    assert "does not exist" in outcomes[2].error


def test_a_locked_subfolder(tmp_path: Path, out: Path) -> None:
    images = []
    for place in ("cam1", "cam2"):
        images.append(tmp_path / "nest" / place / "1.png")
        images[-1].parent.mkdir(parents=True)
        Image.new("RGB", (9, 9), "white").save(images[-1])
    segmenter: Any = Bright()
    jobs = plan(images, Manifest(out))
    (out / "cam1").write_text("a file in its way")
    manifest = Manifest(out)
    numbers = manifest.allot(["object"], label_maps=False)
    outcomes = list(segment_numbered(segmenter, jobs, manifest, numbers, run="x"))
    assert [o.state for o in outcomes] == ["failed", "made"]
    assert outcomes[0].error.startswith(f"{out / 'cam1' / '1.png'} cannot be written (")


# --- batches, as on an accelerator ---------------------------------------------------------------


def test_a_batch_gives_what_single_images_give(many: list[Path], out: Path) -> None:
    jobs = plan(many, Manifest(out), overlay=False)
    single: Any = Bright()
    expected = list(segment_files(single, jobs))
    whole = {p.name: p.read_bytes() for p in files(out)}
    for path in files(out):
        path.unlink()
    segmenter: Any = Bright(8)
    outcomes = list(segment_files(segmenter, jobs))
    assert segmenter.batches == [8, 8, 2]
    assert without_time(outcomes) == without_time(expected)
    assert {p.name: p.read_bytes() for p in files(out)} == whole


def test_a_batch_that_fails_is_tried_one_by_one(many: list[Path], out: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(many[3])  # dark: refused
    many[10].write_bytes(b"")
    segmenter: Any = Bright(8)
    outcomes = list(segment_files(segmenter, plan(many, Manifest(out), overlay=False)))
    assert segmenter.batches == [8, *[1] * 8, 7, 2]
    assert [o.target for o in outcomes] == many
    assert {o.target for o in outcomes if o.error} == {many[3], many[10]}
    assert outcomes[3].error == "it is dark."
    assert len(files(out)) == 16


def test_the_next_images_are_read_meanwhile_but_not_all(many: list[Path], out: Path) -> None:
    segmenter: Any = Bright(2)
    with mock.patch.object(segmenter, "read", wraps=segmenter.read) as reads:
        running = segment_files(segmenter, plan(many, Manifest(out), overlay=False))
        assert next(running).target == many[0]
        assert 2 <= reads.call_count <= 8 < len(many)
        assert len(list(running)) == 17


# --- consensus: targets in batches --------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """More than a batch of pictures, each of another height."""
    paths = []
    for number in range(CONSENSUS_BATCH + 2):
        pixels = np.full((10 + number, 8, 3), 20, np.uint8)
        pixels[: 2 + number // 2] = 220
        paths.append(tmp_path / f"{number:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def without_time(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [replace(o, seconds=0.0) for o in outcomes]


@pytest.mark.parametrize("overlaid", [False, True])
def test_batches_give_the_same_outcomes_in_order(
    many: list[Path], out: Path, overlaid: bool
) -> None:
    """From a segmenter that does the same with an image whether alone or not."""
    jobs = plan(many, Manifest(out), overlay=overlaid)
    single: Any = Bright()
    expected = list(segment_files(single, jobs))
    whole = {p.name: p.read_bytes() for p in files(out)}
    for path in files(out):
        path.unlink()
    segmenter: Any = Bright()
    outcomes = list(segment_files(segmenter, jobs, consensus=True))
    assert segmenter.batches == [CONSENSUS_BATCH, 2]
    assert [o.target for o in outcomes] == many
    assert without_time(outcomes) == without_time(expected)
    assert all(o.seconds > 0 for o in outcomes)
    assert {p.name: p.read_bytes() for p in files(out)} == whole


def test_a_bad_target_does_not_harm_its_batch(many: list[Path], out: Path) -> None:
    many[3].write_bytes(b"")
    many[17].write_text("no image")
    segmenter: Any = Bright()
    outcomes = list(
        segment_files(segmenter, plan(many, Manifest(out), overlay=False), consensus=True)
    )
    assert segmenter.batches == [15, 1]
    by_target = {o.target: o for o in outcomes}
    assert len(outcomes) == len(by_target) == 18
    for number, target in enumerate(many):
        outcome = by_target[target]
        if number in (3, 17):
            assert outcome == Outcome(target, error=outcome.error)
            assert outcome.error.startswith(str(target))
            continue
        assert outcome.error is None
        assert outcome.confidence == 1 / (10 + number)
        expected = np.zeros((10 + number, 8), bool)
        expected[: 2 + number // 2] = True
        np.testing.assert_array_equal(read(out / f"{target.stem}.png") > 0, expected)
        assert outcome.area == pytest.approx(expected.mean())
    assert len(files(out)) == 16


def test_a_batch_of_bad_targets_only(many: list[Path], out: Path) -> None:
    for target in many[:CONSENSUS_BATCH]:
        target.write_bytes(b"")
    segmenter: Any = Bright()
    outcomes = list(
        segment_files(segmenter, plan(many, Manifest(out), overlay=False), consensus=True)
    )
    assert [o.target for o in outcomes] == many
    assert [o.error is None for o in outcomes] == [False] * 16 + [True] * 2


def test_a_bad_target_keeps_its_place_in_the_batch(many: list[Path], out: Path) -> None:
    many[3].write_bytes(b"")
    segmenter: Any = Bright()
    outcomes = segment_files(segmenter, plan(many, Manifest(out), overlay=False), consensus=True)
    assert [o.target for o in outcomes] == many


def test_a_target_that_is_kept_keeps_its_place_in_the_batch(many: list[Path], out: Path) -> None:
    jobs = plan(many, Manifest(out), overlay=False)
    segmenter: Any = Bright()
    list(segment_files(segmenter, [jobs[3]]))
    outcomes = segment_files(segmenter, jobs, resume=True, consensus=True)
    assert [o.target for o in outcomes] == many


def test_a_batch_that_fails_ends_nothing(many: list[Path], out: Path) -> None:
    segmenter: Any = Bright()
    really = segmenter.segment_batch

    def segment_batch(images: Sequence[Picture], *, consensus: bool) -> list[Found]:
        if len(images) == CONSENSUS_BATCH:
            raise MemoryError
        return really(images)

    segmenter.segment_batch = segment_batch
    outcomes = list(
        segment_files(segmenter, plan(many, Manifest(out), overlay=False), consensus=True)
    )
    assert [o.target for o in outcomes] == many
    for outcome in outcomes[:CONSENSUS_BATCH]:
        assert outcome == Outcome(outcome.target, error=outcome.error)
        assert "does not fit in memory: give a smaller --image-size" in outcome.error
    assert [o.error for o in outcomes[CONSENSUS_BATCH:]] == [None, None]
    assert {p.name for p in files(out)} == {"16.png", "17.png"}


def test_resuming_a_batch(many: list[Path], out: Path) -> None:
    jobs = plan(many, Manifest(out), overlay=False)
    segmenter: Any = Bright()
    list(segment_files(segmenter, [jobs[0], jobs[5]]))
    made = jobs[5].mask.read_bytes()
    segmenter.batches.clear()
    outcomes = list(segment_files(segmenter, jobs, resume=True, consensus=True))
    assert segmenter.batches == [CONSENSUS_BATCH - 2, 2]  # what is kept is not read
    assert {o.target for o in outcomes if o.skipped} == {many[0], many[5]}
    assert {o.target for o in outcomes} == set(many)
    assert len(outcomes) == 18
    assert jobs[5].mask.read_bytes() == made
    assert all(read(job.mask).any() for job in jobs)


@pytest.mark.parametrize("overlaid", [False, True])
def test_a_full_disk_stops_a_batch_and_leaves_no_half_file(
    many: list[Path], out: Path, overlaid: bool
) -> None:
    jobs = plan(many, Manifest(out), overlay=overlaid)
    list(segment_files(Bright(), [jobs[1]]))
    made = jobs[1].mask.read_bytes()
    segmenter: Any = Bright()
    running = segment_files(segmenter, jobs, consensus=True)
    with full_after(2 + overlaid):
        assert next(running).target == many[0]
        assert segmenter.batches == [CONSENSUS_BATCH]
        with pytest.raises(ImageError, match=r"cannot be written .*free some space"):
            next(running)
    assert set(files(out)) == {p for job in jobs[:2] for p in (job.mask, job.overlay) if p}
    assert jobs[1].mask.read_bytes() == made
    assert list(running) == []

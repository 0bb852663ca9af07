"""Where the masks of a folder lie, and any history of runs and edits."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from helpers import refusal
from likewise.io.encoding import write_label_map
from likewise.run.instance_file import instances_path
from likewise.run.jobs import places, plan
from likewise.run.manifest import LABELS, Manifest
from painted import CLASSES, annotate, meaning, paint, shots, states, truth

# --- places ---------------------------------------------------------------------------------------


def test_equal_names_keep_their_folders(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "nest", "cam1/1.jpg", "cam1/2.jpg", "cam2/1.jpg")
    found = [job.mask.relative_to(out) for job in plan(images, Manifest(out))]
    assert found == [Path("cam1/1.png"), Path("cam1/2.png"), Path("cam2/1.png")]
    list(annotate(out, images, ["ball", "box"], instances=True, overlay=True))
    for image, place in zip(images, found, strict=True):
        np.testing.assert_array_equal(meaning(out / place, out), truth(image, ["ball", "box"]))
        assert instances_path(out / place).is_file()
    assert states(out, images[::-1], ["ball", "box"], resume=True) == ["kept"] * 3
    assert states(out, images[2:], ["ball", "box"], resume=True) == ["kept"]


def test_a_place_stays_with_its_picture(tmp_path: Path, out: Path) -> None:
    first, second = shots(tmp_path / "nest", "cam1/1.jpg", "cam2/1.jpg")
    assert states(out, [first], ["ball"]) == ["made"]
    assert states(out, [second], ["ball"]) == ["made"]
    np.testing.assert_array_equal(meaning(out / "1.png", out), truth(first, ["ball"]))
    np.testing.assert_array_equal(meaning(out / "cam2/1.png", out), truth(second, ["ball"]))
    assert states(out, [second, first], ["ball"], resume=True) == ["kept"] * 2
    third, fourth = shots(tmp_path / "other", "cam1/1.jpg", "cam2/1.jpg")
    names = [job.mask.relative_to(out).as_posix() for job in plan([third, fourth], Manifest(out))]
    assert names == ["other/cam1/1.png", "other/cam2/1.png"]


def test_a_killed_run_goes_on_in_its_folders(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "nest", "cam1/1.jpg", "cam2/1.jpg")
    running = annotate(out, images, ["ball"])
    next(running)
    running.close()
    jobs = plan(images, Manifest(out))
    assert [job.mask.relative_to(out).as_posix() for job in jobs] == ["cam1/1.png", "cam2/1.png"]


def test_a_picture_that_was_moved_keeps_its_mask(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path / "nest", "1.jpg", "2.jpg")
    list(annotate(out, images, ["ball"]))
    (tmp_path / "nest").rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / image.name for image in images]
    assert states(out, moved, ["ball"], resume=True) == ["kept"] * 2
    paint(moved[0].with_name("3.jpg"), CLASSES, 7)
    moved[0].with_name("3.jpg").replace(tmp_path / "1.jpg")  # another one, of an old name
    moved[0].unlink()
    (job,) = plan([tmp_path / "1.jpg"], Manifest(out))
    assert job.mask == out / tmp_path.name / "1.png"


def test_two_pictures_of_a_folder_and_name_are_refused(tmp_path: Path, out: Path) -> None:
    images = shots(tmp_path, "1.jpg", "1.png")
    assert "would both be written to" in refusal(plan, images, Manifest(out))
    list(annotate(out, images[:1], ["ball"]))
    assert "would both be written to" in refusal(plan, images[1:], Manifest(out))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abA"), min_size=1, max_size=4), max_size=6))
def test_places_never_meet(parts: list[list[str]]) -> None:
    images = [Path("x", *each[:-1], f"{each[-1]}.jpg") for each in parts]
    images = list(dict.fromkeys(images))
    found = places(images, ".png")
    assert len(set(found)) == len(images)
    assert [place.stem for place in found] == [image.stem for image in images]
    assert not any(place.is_absolute() or ".." in place.parts for place in found)
    if len({image.stem.casefold() for image in images}) == len(images):
        assert all(len(place.parts) == 1 for place in found)


# --- any history ----------------------------------------------------------------------------------

NAMES = ("a0.png", "a1.png", "cam1/x.png", "cam2/x.png")
SOME = st.lists(st.sampled_from(CLASSES), min_size=1, unique=True)


class Stopped(BaseException):
    """As a kill would, as far as one process can."""


class Folder(RuleBasedStateMachine):
    """Runs, kills and a person, in any order."""

    @initialize(folder=st.just(None))
    def begin(self, folder: None) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.out = self.root / "m"
        self.images = [self.root / "im" / name for name in NAMES]
        for seed, image in enumerate(self.images):
            paint(image, CLASSES, seed)
        self.known: dict[Path, np.ndarray] = {}
        self.by_hand: dict[Path, bytes] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(
        labels=SOME,
        chosen=st.sets(st.integers(0, 3), min_size=1),
        resume=st.booleans(),
        overwrite=st.booleans(),
        overlay=st.booleans(),
        kill=st.none() | st.integers(1, 12),
    )
    def run(
        self,
        *,
        labels: list[str],
        chosen: set[int],
        resume: bool,
        overwrite: bool,
        overlay: bool,
        kill: int | None,
    ) -> None:
        images = [self.images[k] for k in sorted(chosen)]
        before = {path: path.read_bytes() for path in self.out.rglob("*.png")}
        left = [kill or -1]
        really = os.fsync

        def fsync(file: int) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Stopped
            really(file)

        how = {"resume": resume, "overwrite": overwrite, "overlay": overlay}
        outcomes = []
        try:
            with mock.patch("os.fsync", fsync):
                outcomes += annotate(self.out, images, labels, **how)
        except Stopped:
            pass
        places = [Manifest(self.out).mask_of(image) for image in images]
        for image, mask in zip(images, places, strict=True):
            if mask is None or not mask.exists() or mask.read_bytes() == before.get(mask):
                continue
            assert overwrite or mask not in self.by_hand
            self.by_hand.pop(mask, None)
            self.known[mask] = truth(image, labels)
        if kill is None:
            for outcome in outcomes:
                assert outcome.error is None
                if outcome.state != "by_hand":
                    np.testing.assert_array_equal(
                        self.known[outcome.mask], truth(outcome.target, labels)
                    )
                assert not overwrite or outcome.state != "by_hand"

    @rule(chosen=st.integers(0, 3), seed=st.integers(0, 99))
    def edit(self, chosen: int, seed: int) -> None:
        manifest = Manifest(self.out)
        mask = manifest.mask_of(self.images[chosen])
        if mask is None or len(manifest.numbers) == 0:
            return
        mask.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(seed)
        values = rng.choice([0, *manifest.numbers.values()], (8, 10)).astype(np.uint8)
        write_label_map(mask, values, [(k, seed, 255 - k) for k in range(256)])
        self.by_hand[mask] = mask.read_bytes()
        names = {k: name for name, k in manifest.numbers.items()} | {0: ""}
        self.known[mask] = np.vectorize(names.get, otypes=[object])(values)

    @rule(chosen=st.integers(0, 3), seed=st.integers(0, 99))
    def change(self, chosen: int, seed: int) -> None:
        paint(self.images[chosen], CLASSES, seed)

    @rule()
    def lose_labels(self) -> None:
        (self.out / LABELS).unlink(missing_ok=True)

    @invariant()
    def nothing_changed_its_meaning(self) -> None:
        for mask, names in self.known.items():
            np.testing.assert_array_equal(meaning(mask, self.out), names)
        for mask, content in self.by_hand.items():
            assert mask.read_bytes() == content
            assert Manifest(self.out).is_by_hand(mask)
        manifest = Manifest(self.out)
        for mask in self.known.keys() - self.by_hand.keys():
            assert manifest.is_ours(mask)


Folder.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


TestFolder = Folder.TestCase

"""Folders of masks over many runs: no value changes its meaning, no work of a person is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from PIL import Image

import likewise
from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.encoding import write_label_map, write_mask
from likewise.run.instance_file import instances_path
from likewise.run.jobs import places, plan
from likewise.run.manifest import LABELS, MANIFEST, Manifest
from painted import CLASSES, Painted, annotate, meaning, paint, truth


@pytest.fixture
def a(tmp_path: Path) -> list[Path]:
    """Two pictures of all classes."""
    paths = [tmp_path / "A" / f"a{k}.png" for k in range(2)]
    for seed, path in enumerate(paths):
        paint(path, CLASSES, seed)
    return paths


@pytest.fixture
def b(tmp_path: Path) -> list[Path]:
    """Two others."""
    paths = [tmp_path / "B" / f"b{k}.png" for k in range(2)]
    for seed, path in enumerate(paths, 2):
        paint(path, CLASSES, seed)
    return paths


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "m"


def states(out: Path, images: Sequence[Path], labels: Sequence[str], **how: object) -> list[str]:
    return [outcome.state for outcome in annotate(out, images, labels, **how)]


def labels_of(out: Path) -> dict[str, str]:
    return dict(json.loads((out / LABELS).read_text(encoding="utf-8")))


def old_label_map(path: Path, image: Path, labels: Sequence[str]) -> None:
    """As 0.1.0 wrote it."""
    values = np.vectorize(["", *labels].index)(truth(image, labels)).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    write_label_map(path, values, [(0, 0, 0), (9, 9, 9), (5, 5, 5)])


# --- numbers of classes -------------------------------------------------------------------------

ONE, TWO = ["ball"], ["ball", "box"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (TWO, ["box", "ball"], {"1": "ball", "2": "box"}),
        (TWO, ["apple", "ball", "box"], {"1": "ball", "2": "box", "3": "apple"}),
        (TWO, ["ball", "apple", "box"], {"1": "ball", "2": "box", "3": "apple"}),
        (["apple", "ball", "box"], ["box", "ball"], {"1": "apple", "2": "ball", "3": "box"}),
        (TWO, ["apple", "cat"], {"1": "ball", "2": "box", "3": "apple", "4": "cat"}),
        (TWO, ["box"], {"1": "ball", "2": "box"}),
        (TWO, ["cat"], {"1": "ball", "2": "box", "3": "cat"}),
        (ONE, ["box"], {"1": "box", "255": "ball"}),
        (ONE, ["box", "ball"], {"1": "box", "255": "ball"}),
        (ONE, ["apple", "box"], {"1": "apple", "2": "box", "255": "ball"}),
        (ONE, ONE, {"255": "ball"}),
        (list(CLASSES), list(CLASSES)[::-1], {str(k): c for k, c in enumerate(CLASSES, 1)}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_value_keeps_its_meaning(
    *,
    a: list[Path],
    b: list[Path],
    out: Path,
    first: list[str],
    second: list[str],
    expected: dict[str, str],
    resume: bool,
) -> None:
    assert states(out, a, first, resume=resume) == ["made"] * 2
    before = [(out / path.name).read_bytes() for path in a]
    assert states(out, b, second, resume=resume) == ["made"] * 2
    assert labels_of(out) == expected
    assert [(out / path.name).read_bytes() for path in a] == before
    for images, labels in ((a, first), (b, second)):
        for image in images:
            np.testing.assert_array_equal(meaning(out / image.name, out), truth(image, labels))


def test_a_palette_and_a_legend_go_by_the_number(a: list[Path], b: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball", "box"]))
    list(annotate(out, b, ["box", "ball"], overlay=True))
    with Image.open(out / "a0.png") as old, Image.open(out / "b0.png") as new:
        assert old.getpalette()[:9] == new.getpalette()[:9]


def test_instances_have_the_numbers_of_the_folder(a: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball"]))
    list(annotate(out, a, ["box", "ball"], instances=True))
    found = json.loads(instances_path(out / "a0.png").read_text())["instances"]
    assert {(i["label"], i["class"]) for i in found} == {("box", 1), ("ball", 255)}


def test_label_maps_of_0_1_0_keep_their_names(a: list[Path], b: list[Path], out: Path) -> None:
    old_label_map(out / "a0.png", a[0], ["box", "ball"])
    (out / LABELS).write_text('{"1": "box", "2": "ball"}')
    before = (out / "a0.png").read_bytes()
    assert states(out, a, ["ball", "cat", "box"]) == ["by_hand", "made"]
    assert (out / "a0.png").read_bytes() == before
    assert labels_of(out) == {"1": "box", "2": "ball", "3": "cat"}
    np.testing.assert_array_equal(meaning(out / "a0.png", out), truth(a[0], ["box", "ball"]))


def test_masks_of_0_1_0_without_names_are_of_the_object(a: list[Path], out: Path) -> None:
    out.mkdir()
    write_mask(out / "a0.png", truth(a[0], ["ball"]) == "ball")
    with pytest.warns(InputWarning, match=r"a0\.png: masks that were there name no class"):
        assert states(out, a[1:], ["box"]) == ["made"]
    assert labels_of(out) == {"1": "box", "255": "object"}
    assert set(meaning(out / "a0.png", out).ravel()) == {"", "object"}
    np.testing.assert_array_equal(meaning(out / "a1.png", out), truth(a[1], ["box"]))


@pytest.mark.parametrize("labelled", [False, True])
def test_a_value_in_use_is_given_to_no_class(a: list[Path], out: Path, labelled: bool) -> None:
    """A mask of 0 and 1 is of the only class; a second class must not take that number."""
    out.mkdir()
    Image.fromarray((truth(a[0], ["ball"]) == "ball").astype(np.uint8)).save(out / "a0.png")
    if labelled:
        (out / LABELS).write_text('{"255": "ball"}')
        assert states(out, a[1:], ["box"]) == ["made"]
    else:
        with pytest.warns(InputWarning):
            assert states(out, a[1:], ["box"]) == ["made"]
    assert labels_of(out) == {"2": "box", "255": "ball" if labelled else "object"}


def test_numbers_outlive_their_file(a: list[Path], b: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball", "box"]))
    (out / LABELS).unlink()
    assert Manifest(out).numbers == {"ball": 1, "box": 2}
    list(annotate(out, b, ["cat", "box"]))
    assert labels_of(out) == {"1": "ball", "2": "box", "3": "cat"}


def test_a_number_that_a_person_took_out_is_not_given_again(
    a: list[Path], b: list[Path], out: Path
) -> None:
    list(annotate(out, a, ["ball", "box"]))
    (out / LABELS).write_text('{"1": "ball"}')
    list(annotate(out, b, ["cat"]))
    assert labels_of(out) == {"1": "ball", "3": "cat"}
    list(annotate(out, b, ["box"]))
    assert labels_of(out) == {"1": "ball", "2": "box", "3": "cat"}


def test_a_class_that_a_person_renamed(a: list[Path], b: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball", "box"]))
    (out / LABELS).write_text('{"1": "apple", "2": "box"}')
    list(annotate(out, b, ["ball", "apple"]))
    assert labels_of(out) == {"1": "apple", "2": "box", "3": "ball"}
    np.testing.assert_array_equal(meaning(out / "b0.png", out), truth(b[0], ["ball", "apple"]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_names_of_other_programs(a: list[Path], out: Path, encoding: str) -> None:
    out.mkdir()
    decomposed = unicodedata.normalize("NFD", "münze")
    (out / LABELS).write_text(f'{{"7": "{decomposed}"}}', encoding=encoding)
    list(annotate(out, a, ["münze", "box"]))
    assert Manifest(out).numbers == {"box": 1, "münze": 7}
    np.testing.assert_array_equal(meaning(out / "a0.png", out), truth(a[0], ["münze", "box"]))


def test_many_classes_and_more(out: Path) -> None:
    manifest = Manifest(out)
    names = [f"c{k}" for k in range(300)]
    assert manifest.allot(names, label_maps=True)["c299"] == 300
    assert Manifest(out).allot(["new", *reversed(names)], label_maps=True)["new"] == 301
    assert Manifest(out).allot(["c254"], label_maps=False) == {"c254": 255}


def test_two_programs_at_once(out: Path) -> None:
    one, other = Manifest(out), Manifest(out)
    assert one.allot(["ball"], label_maps=False) == {"ball": 255}
    assert other.allot(["box", "ball"], label_maps=True) == {"box": 1, "ball": 255}
    assert one.allot(["cat", "box"], label_maps=True) == {"cat": 2, "box": 1}
    assert labels_of(out) == {"1": "box", "2": "cat", "255": "ball"}


def test_renamed_classes_keep_their_numbers(out: Path) -> None:
    manifest = Manifest(out)
    manifest.allot(["ball", "box"], label_maps=True)
    manifest.rename({"ball": "box", "box": "ball"})
    assert Manifest(out).numbers == {"box": 1, "ball": 2}


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"a": "b"}', '{"0": "b"}', '{"-1": "b"}', '{"70000": "b"}',
     '{"1": 2}', '{"1": null}', '{"1": "b", "2": "b"}', '{"1": "b", "01": "c"}'],
)  # fmt: skip
def test_damaged_labels_are_refused(out: Path, content: str) -> None:
    out.mkdir()
    (out / LABELS).write_text(content)
    assert refusal(Manifest, out).startswith(f"{out / LABELS} cannot be used (")


# --- work of a person ---------------------------------------------------------------------------


def resaved(mask: Path) -> None:
    with Image.open(mask) as image:
        image.load()
    image.save(mask, compress_level=1)


def another(mask: Path) -> None:
    shutil.copy(mask.with_name("a1.png"), mask)


def as_colours(mask: Path) -> None:
    with Image.open(mask) as image:
        coloured = image.convert("RGB")
    coloured.save(mask)


def emptied(mask: Path) -> None:
    mask.write_bytes(b"")


def linked(mask: Path) -> None:
    elsewhere = mask.parent.parent / "elsewhere.png"
    Image.new("L", (10, 8), 255).save(elsewhere)
    mask.unlink()
    mask.symlink_to(elsewhere)


def forgotten(mask: Path) -> None:
    mask.with_name(MANIFEST).unlink()


def with_a_lost_line(mask: Path) -> None:
    memory = mask.with_name(MANIFEST)
    lines = memory.read_text().splitlines()
    memory.write_text("\n".join(line for line in lines if '"a0.png"' not in line))


def painted_over(mask: Path) -> None:
    write_label_map(mask, np.full((8, 10), 2, np.uint8), [(0, 0, 0)] * 3)


def read_only(mask: Path) -> None:
    painted_over(mask)
    mask.chmod(0o444)


EDITS = (
    *(resaved, another, as_colours, emptied, linked, forgotten, with_a_lost_line, painted_over),
    read_only,
)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_what_a_person_changed_is_kept(
    a: list[Path], out: Path, edit: Callable[[Path], None], resume: bool
) -> None:
    list(annotate(out, a, ["ball", "box"], overlay=True, instances=True))
    edit(out / "a0.png")
    beside = [out / "a0_overlay.jpg", instances_path(out / "a0.png")]
    for path in beside:
        path.write_text("a person's")
    before = (out / "a0.png").read_bytes()
    how = {"resume": resume, "overlay": True, "instances": True}
    for labels in (["ball", "box"], ["box", "cat"], ["cat"]):
        found = states(out, a, labels, **how)
        assert found[0] == "by_hand"
        assert (out / "a0.png").read_bytes() == before
        assert {path.read_text() for path in beside} == {"a person's"}
    assert states(out, a[:1], ["cat"], overwrite=True) == ["made"]
    np.testing.assert_array_equal(meaning(out / "a0.png", out), truth(a[0], ["cat"]))
    assert states(out, a[:1], ["cat"], resume=True) == ["kept"]


def test_what_a_person_changes_during_the_run_is_kept(a: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball"]))
    really, seen = Painted.segment_batch, []

    def opened(self: Painted, images: list[np.ndarray], **how: object) -> object:
        seen.extend(images)
        if len(seen) == 2:
            emptied(out / "a1.png")
        return really(self, images, **how)

    with mock.patch.object(Painted, "segment_batch", opened):
        assert states(out, a, ["ball"]) == ["made", "by_hand"]
    assert (out / "a1.png").read_bytes() == b""


def test_annotate_batch_keeps_what_a_person_changed(tmp_path: Path, out: Path) -> None:
    shots(tmp_path / "nest", "cam1/1.png", "cam2/1.png")

    class Fitted(Painted):
        fingerprint = "one"

        def __init__(self, method: object) -> None:
            super().__init__(["ball"])

        def fit(self, reference: object) -> Fitted:
            return self

    def call() -> list[likewise.AnnotatedImage]:
        with mock.patch("likewise.segmenter.Segmenter", Fitted):
            return likewise.annotate_batch("r.png", "m.png", f"{tmp_path}/nest/**/*.png", out)

    assert [a.image for a in call()] == [tmp_path / "nest" / f"cam{k}" / "1.png" for k in (1, 2)]
    one, two = out / "cam1" / "1_mask.png", out / "cam2" / "1_mask.png"
    np.testing.assert_array_equal(
        meaning(one, out) == "object", truth(tmp_path / "nest/cam1/1.png", ["ball"]) == "ball"
    )
    made = two.read_bytes()
    emptied(one)
    with mock.patch.object(Fitted, "segment_batch") as again:
        first, second = call()
    assert not again.called
    assert (first.status, first.mask) == ("failed", one)
    assert first.error is not None
    assert first.error.startswith(f"{one} ")
    assert (second.mask, second.error) == (two, None)
    Fitted.fingerprint = "other settings"
    two.write_bytes(made)
    with mock.patch.object(Manifest, "write", autospec=True) as write:
        call()
    assert [given.args[1] for given in write.call_args_list] == [two]
    assert one.read_bytes() == b""


# --- going on -----------------------------------------------------------------------------------


def test_resume_does_again_what_would_be_otherwise(a: list[Path], out: Path) -> None:
    def anew(**how: object) -> list[str]:
        return [o.anew or o.state for o in annotate(out, a, ["ball"], resume=True, **how)]

    assert anew() == ["made"] * 2
    assert anew() == ["kept"] * 2
    assert anew(run="another threshold") == ["settings or references changed"] * 2
    assert anew() == ["settings or references changed"] * 2
    a[0].touch()
    assert anew() == ["kept"] * 2
    paint(a[0], ["ball"], 9)
    assert anew() == ["its picture changed", "kept"]
    assert anew(overlay=True) == ["without its overlay or instances"] * 2
    (out / "a1_overlay.jpg").unlink()
    assert anew(overlay=True) == ["kept", "without its overlay or instances"]
    assert anew() == ["kept"] * 2
    assert anew(instances=True) == ["without its overlay or instances"] * 2
    (out / "a0.png").unlink()
    assert anew() == ["made", "kept"]


def test_an_overlay_of_an_older_mask_is_made_again(a: list[Path], out: Path) -> None:
    list(annotate(out, a, ["ball"], overlay=True))
    list(annotate(out, a, ["box"]))
    found = [o.anew for o in annotate(out, a, ["box"], resume=True, overlay=True)]
    assert found == ["without its overlay or instances"] * 2


def test_a_picture_that_changes_while_it_is_segmented_is_done_again(
    a: list[Path], out: Path
) -> None:
    really = Painted.segment_batch

    def changed(self: Painted, images: object, **how: object) -> object:
        paint(a[0], ["box"], 5)
        return really(self, images, **how)

    with mock.patch.object(Painted, "segment_batch", changed):
        list(annotate(out, a[:1], ["box"]))
    assert [o.anew for o in annotate(out, a[:1], ["box"], resume=True)] == ["its picture changed"]


KILLED = """
import os, signal, sys
from pathlib import Path
from painted import annotate
left = int(sys.argv[1])
def dying(really):
    def call(*given, **how):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return really(*given, **how)
    return call
os.fsync, Path.replace = dying(os.fsync), dying(Path.replace)
images = [Path(name) for name in sys.argv[4:]]
list(annotate(Path(sys.argv[2]), images, sys.argv[3].split(), overlay=True, resume=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("moment", [1, 3, 4, 6, 8, 9])
def test_a_kill_loses_nothing(a: list[Path], out: Path, moment: int) -> None:
    """At the numbers, at a line, before and after a mask takes its place."""
    list(annotate(out, a, ["ball", "box"], overlay=True))
    emptied(out / "a1.png")
    path = os.pathsep.join([str(Path(likewise.__file__).parents[1]), str(Path(__file__).parent)])
    words = [sys.executable, "-c", KILLED, str(moment), str(out), "cat ball", *map(str, a)]
    ran = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert ran.returncode == (-9 if moment < 9 else 0), ran.stderr
    numbers = Manifest(out).numbers
    assert (numbers["ball"], numbers["box"]) == (1, 2)
    known = [truth(a[0], labels).tolist() for labels in (["ball", "box"], ["cat", "ball"])]
    assert meaning(out / "a0.png", out).tolist() in known
    assert Manifest(out).is_ours(out / "a0.png")
    found = [o.state for o in annotate(out, a, ["cat", "ball"], overlay=True, resume=True)]
    assert found == ["kept" if moment >= 9 else "made", "by_hand"]
    assert meaning(out / "a0.png", out).tolist() == known[1]
    assert (out / "a1.png").read_bytes() == b""
    assert states(out, a, ["cat", "ball"], overlay=True, resume=True) == ["kept", "by_hand"]


# --- places -------------------------------------------------------------------------------------


def shots(folder: Path, *names: str) -> list[Path]:
    for seed, name in enumerate(names):
        paint(folder / name, CLASSES, seed)
    return [folder / name for name in names]


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


# --- any history --------------------------------------------------------------------------------

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

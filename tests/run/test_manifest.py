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
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import likewise
from helpers import refusal
from likewise.errors import InputWarning
from likewise.io.encoding import write_label_map, write_mask
from likewise.run.instance_file import instances_path
from likewise.run.manifest import LABELS, MANIFEST, Manifest
from painted import CLASSES, Painted, annotate, meaning, paint, shots, states, truth


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


def labels_of(out: Path) -> dict[str, str]:
    return dict(json.loads((out / LABELS).read_text(encoding="utf-8")))


def old_label_map(path: Path, image: Path, labels: Sequence[str]) -> None:
    """As 0.1.0 wrote it."""
    values = np.vectorize(["", *labels].index)(truth(image, labels)).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    write_label_map(path, values, [(0, 0, 0), (9, 9, 9), (5, 5, 5)])


# --- numbers of classes ---------------------------------------------------------------------------

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


# --- work of a person -----------------------------------------------------------------------------


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
        encoder = SimpleNamespace(runtime="torch")

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


# --- going on -------------------------------------------------------------------------------------


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
    path = os.pathsep.join(
        [str(Path(likewise.__file__).parents[1]), str(Path(__file__).parents[1])]
    )
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

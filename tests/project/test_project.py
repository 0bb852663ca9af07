"""Projects: settings, what is left to do, crashes, judgements and the report."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import likewise
from helpers import refusal
from likewise.project.database import DATABASE
from likewise.project.folder import SCORE_MAPS
from likewise.project.project import Project
from likewise.project.settings import CONFIG, ProjectReference, read_settings
from likewise.project.settings_file import write_settings
from likewise.quality import mask_warnings, review_priority, stability_score, validate_mask_quality
from scenes import make_scene, run, sandbox

COUNT = 12


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """reference.png, mask.png, tiny/ and a folder `in` of different pictures."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        Path("in").mkdir()
        for number in range(COUNT):
            shift = np.random.default_rng(number).integers(0, 60, (3,))
            with Image.open("a.jpg") as image:
                pixels = np.asarray(image.convert("RGB")).astype(int) + shift
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(f"in/{number:02d}.png")
        yield folder


def make(name: str = "work", *more: str) -> list[str]:
    words = ["init", name, "-r", "reference.png", "-m", "mask.png", "-t", "in", "-b", "tiny"]
    done = run([*words, "--image-size", "64", *more])
    assert (done.code, done.err) == (0, "")
    return ["annotate", name]


def masks(name: str = "work") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(name, "masks").glob("*.png")}


def counts(name: str = "work") -> dict[str, int]:
    states = [row.status for row in Project(Path(name)).rows()]
    return {state: states.count(state) for state in set(states)}


# --- settings -----------------------------------------------------------------------------------


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    references = [
        ProjectReference("a ä.png", 'm".png', 3, "hair"),
        ProjectReference("b.png", None, negative=True),
    ]
    settings = [("targets", ["in", "x/*.png"]), ("method", "insid3"), ("image_size", None)]
    settings += [("refine", "crf"), ("consensus", True)]
    path = write_settings(tmp_path, settings, references, {})
    found = read_settings(tmp_path)
    assert found.references == tuple(references)
    assert (found.targets, found.method, found.image_size) == (("in", "x/*.png"), "insid3", None)
    assert (found.refine, found.consensus, found.labels) == ("crf", True, ("hair",))
    assert "is there already" in refusal(write_settings, tmp_path, settings, references, {})
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("# image_size = 768", "image_size = 224"), encoding="utf-8")
    assert read_settings(tmp_path).image_size == 224


GOOD = 'targets = ["in"]\n[[reference]]\nimage = "r.png"\nmask = "m.png"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("targets = [", "is no TOML"),
        ("", "names no targets"),
        ("targets = [3]", "names no targets"),
        ('targets = ["in"]', "no [[reference]] of the thing"),
        ("colour = 3\n" + GOOD, "colour is unknown; use targets"),
        ("image_size = true\n" + GOOD, "image_size is true, which is no whole number"),
        ("method = 3\n" + GOOD, "method is 3, which is no text"),
        ('tile = "small"\n' + GOOD, 'tile is "small": write "auto", "off", or a side in pixels'),
        ("tile = 0\n" + GOOD, "tile is 0: write"),
        (GOOD + "label = 3\n", "reference 1: label is 3"),
        (GOOD + "[quality]\nsmallest = 3\n", "[quality] smallest is unknown"),
        (
            GOOD + '[method_settings]\ntau = "x"\n',
            '[method_settings] tau is "x", which is no number',
        ),
        ('targets = ["in"]\n[[reference]]\nimage = "r.png"', "give an image and a mask"),
        ('targets = ["in"]\nreference = [3]', "write [[reference]]"),
    ],
)
def test_settings_that_nobody_understands(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / CONFIG).write_text(text)
    assert words in refusal(read_settings, tmp_path)


def test_a_folder_that_is_no_project(scene: Path) -> None:
    for command in ("annotate", "review", "report"):
        ran = run([command, "in"])
        assert ran.code == 2
        assert "in is no project" in ran.err
        assert "make one with likewise init" in ran.err


def test_a_project_reads_tiles_also_with_sliders(scene: Path) -> None:
    make()
    path = Path("work", CONFIG)
    path.write_text(path.read_text("utf-8").replace('tile = "auto"', "tile = 24"), "utf-8")
    project = Project(Path("work"))
    assert project.method_options()["tile"] == 24
    (project.folder / SCORE_MAPS).mkdir()
    assert Project(Path("work")).method_options()["tile"] == 24


# --- running ------------------------------------------------------------------------------------


def test_a_run_and_the_next(scene: Path) -> None:
    annotate = make()
    assert run([*annotate, "--dry-run"]).out == "12 of 12 images are to be done, 0 are.\n"
    assert not masks()
    assert run([*annotate, "--limit", "5"]).out == "5 of 12 images annotated in work\n"
    first = masks()
    assert len(first) == 5
    assert counts() == {"done": 5}
    assert run(annotate).out == "7 of 12 images annotated in work, 5 kept\n"
    everything = masks()
    assert {name: everything[name] for name in first} == first
    with mock.patch("likewise.segmenter.Segmenter.segment_batch") as again:
        report = json.loads(run([*annotate, "--json"]).out)
    assert again.call_count == 0
    assert report == {
        "done_now": 0, "failed_now": 0, "kept": 12, "to_do": 0, "made_anew": {}, "done": 12
    }  # fmt: skip
    assert json.loads(Path("work/masks/labels.json").read_text()) == {"1": "object"}
    out = run(["segment", "-r", "reference.png", "-m", "mask.png", "in", "-o", "plain",
               "-b", "tiny", "--image-size", "64"])  # fmt: skip
    assert out.code == 0
    for name in everything:  # the same masks as of `segment`, as labels instead of 0 and 255
        with Image.open(f"plain/{name}") as plain, Image.open(f"work/masks/{name}") as mask:
            np.testing.assert_array_equal(np.asarray(plain) > 0, np.asarray(mask) == 1)


def test_what_changes_is_done_again_and_nothing_else(scene: Path) -> None:
    annotate = make()
    run(annotate)
    Path("in/03.png").write_bytes(Path("in/05.png").read_bytes())  # another picture
    os.utime("in/04.png")  # only touched
    Path("work/masks/06.png").unlink()
    assert run(annotate).out.splitlines() == [
        "2 of 12 images annotated in work, 10 kept",
        "1 made anew: picture changed",
        "1 made anew: mask deleted",
    ]
    assert masks()["03.png"] == masks()["05.png"]
    assert run([*annotate, "--dry-run"]).out == "0 of 12 images are to be done, 12 are.\n"
    config = Path("work", CONFIG)
    config.write_text(config.read_text().replace('refine = "guided"', 'refine = "crf"'))
    run(["review", "work", "--accept", "in/00.png"])
    anew = [
        "11 of 12 images annotated in work, 1 kept",  # not what is judged
        "11 made anew: settings or references changed",
    ]
    assert run(annotate).out.splitlines() == anew
    with Image.open("mask.png") as image:
        flipped = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    flipped.save("mask.png")
    assert run(annotate).out.splitlines() == anew  # another reference


def test_annotations_of_another_tool_are_a_reference(scene: Path) -> None:
    with Image.open("mask.png") as image:
        rows, columns = np.nonzero(np.asarray(image.convert("L")))
        size = {"imageHeight": image.height, "imageWidth": image.width}
    box = [[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]
    shape = {"label": "cat", "shape_type": "rectangle", "points": np.array(box).tolist()}
    Path("cat.json").write_text(json.dumps({"shapes": [shape], **size}))
    with Image.open("mask.png") as image:
        whole = np.zeros((image.height, image.width), np.uint8)
    whole[box[0][1] : box[1][1], box[0][0] : box[1][0]] = 255
    Image.fromarray(whole).save("box.png")
    for name, mask in (("of_json", "cat.json"), ("of_png", "box.png")):
        words = ["init", name, "-r", "reference.png", "-m", mask, "-t", "in", "-b", "tiny"]
        assert run([*words, "--image-size", "64"]).code == 0
        assert run(["annotate", name]).out == f"12 of 12 images annotated in {name}\n"
    assert masks("of_json") == masks("of_png")


def test_bad_files_among_good(scene: Path) -> None:
    annotate = make()
    for number in (2, 7):
        Path(f"in/{number:02d}.png").write_bytes(b"no picture")
    ran = run(annotate)
    assert ran.code == 1
    assert ran.out == "10 of 12 images annotated in work, 2 failed\n"
    assert ran.err.count("\n") == 2
    listed = run(["review", "work"]).out.splitlines()
    assert [line[:22] for line in listed[:2]] == [
        "failed  ../in/02.png: ",
        "failed  ../in/07.png: ",
    ]
    assert "in/02.png is not an image that can be read" in listed[0]
    assert listed[-1] == "10 done, 2 failed"
    again = run(annotate)
    assert again.code == 1
    assert again.out == (
        "0 of 12 images annotated in work, 10 kept, 2 failed before (--retry tries again)\n"
    )
    assert (
        run([*annotate, "--retry"]).out == "0 of 12 images annotated in work, 10 kept, 2 failed\n"
    )
    Path("in/02.png").write_bytes(Path("in/03.png").read_bytes())  # mended
    assert run(annotate).out.splitlines() == [
        "1 of 12 images annotated in work, 10 kept, 1 failed before (--retry tries again)",
        "1 made anew: picture changed",
    ]


def test_json_lines(scene: Path) -> None:
    ran = run([*make(), "--json-lines", "--limit", "3"])
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [Path(line["target"]).name for line in lines] == ["00.png", "01.png", "02.png"]
    for line in lines:
        (found,) = line["classes"]
        assert found["label"] == "object"
        assert found["area"] == pytest.approx(line["area"])
        assert isinstance(found["reasons"], list)


def test_killed_at_any_moment(scene: Path) -> None:
    """kill -9, again and again: in the end the same bytes, no half file, nothing done twice."""
    run(make("calm"))
    annotate = make("wild")
    code = "from likewise.cli import main; main()"
    source = str(Path(likewise.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done: list[str] = []
    Path("wild/masks").mkdir()
    Path("wild/masks/.likewise-0123.part").write_bytes(b"half a mas")
    for attempt in range(8):
        words = [sys.executable, "-c", code, *annotate, "--json-lines"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=env, text=True) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if attempt < 6 and len(lines) == 1 + attempt % 2:
                    time.sleep(random.Random(attempt).uniform(0, 0.05))
                    process.send_signal(signal.SIGKILL)
            done += [json.loads(line)["target"] for line in lines if line.endswith("\n")]
        with sqlite3.connect(Path("wild", DATABASE)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for path in Path("wild/masks").glob("*.png"):
            with Image.open(path) as image:
                image.load()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert masks("wild") == masks("calm")
    files = {*masks("calm"), "labels.json", "manifest.jsonl"}
    assert {p.name for p in Path("wild/masks").iterdir()} == files
    assert len(done) == len(set(done))
    assert counts("wild") == {"done": COUNT}


def test_a_full_disk_keeps_what_is_done(scene: Path) -> None:
    annotate = make()
    run([*annotate, "--limit", "2"])
    full = OSError(28, "No space left on device")
    with mock.patch("os.fsync", side_effect=full):
        ran = run(annotate)
    assert ran.code == 1 or ran.code == 2
    assert "the disk is full: free some space" in ran.err
    assert counts() == {"done": 2, "pending": 10}
    assert len(masks()) == 2
    assert run(annotate).out == "10 of 12 images annotated in work, 2 kept\n"


def test_a_database_that_cannot_be_opened_for_want_of_room(scene: Path) -> None:
    make()
    Path("work/likewise.sqlite").write_bytes(b"no database, or no room for its index" * 9)
    room = mock.Mock(free=0)  # SQLite says "disk I/O error" then
    with mock.patch("shutil.disk_usage", return_value=room):
        assert "free some space" in run(["annotate", "work"]).err
    assert "move it away" in run(["annotate", "work"]).err


SMALL = """
set -e; mkdir disk; mount -t tmpfs -o size=260k tmpfs disk; cp -r work disk/work
run() { $PYTHON -c "from likewise.cli import main; main()" annotate disk/work || echo "exit $?"; }
dd if=/dev/zero of=disk/fill bs=1k count=200 status=none || true
run; rm disk/fill; mount -o remount,size=9m disk; run; mount -o remount,ro disk; run
cp -r disk/work/masks all
"""


def test_a_disk_that_is_really_full_then_read_only(scene: Path) -> None:
    """On a file system of its own, as any user may mount one in a namespace of Linux."""
    mount = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c"]
    trial = [*mount, "mkdir d && mount -t tmpfs tmpfs d"]
    if shutil.which("unshare") is None or subprocess.run(trial, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    run(make("calm"))
    make()
    source = str(Path(likewise.__file__).parents[1])
    env = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable}
    config = Path("work", CONFIG)  # which is to be read from disk/work too
    config.write_text(config.read_text().replace('"../', f'"{scene.as_posix()}/'))
    done = subprocess.run([*mount, SMALL], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    full, read_only = done.stderr.strip().splitlines()
    assert any(why in full for why in ("No space left", "disk is full"))
    assert "cannot be" in read_only
    assert done.stdout.count("exit ") == 2
    assert {p.name: p.read_bytes() for p in Path("all").glob("*.png")} == masks("calm")
    files = {*masks("calm"), "labels.json", "manifest.jsonl"}
    assert {p.name for p in Path("all").iterdir()} == files


def test_a_database_that_is_none(scene: Path) -> None:
    make()
    Path("work", DATABASE).write_bytes(b"not a database" * 100)
    ran = run(["annotate", "work"])
    assert ran.code == 2
    assert "likewise.sqlite cannot be used (file is not a database)" in ran.err


# --- looking ------------------------------------------------------------------------------------


def test_judgements_stay_and_can_be_taken_back(scene: Path) -> None:
    run(make())
    words = ["review", "work", "--accept", "in/01.png", "--accept", "in/02.png"]
    assert run([*words, "--reject", "in/03.png"]).code == 0
    assert counts() == {"done": 9, "accepted": 2, "rejected": 1}
    listed = json.loads(run(["review", "work", "--json"]).out)
    assert len(listed) == 9  # who was judged needs no look
    doubts = [row["doubt"] for row in listed]
    assert doubts == sorted(doubts, reverse=True)
    run(["review", "work", "--undo", "in/01.png"])
    assert counts() == {"done": 10, "accepted": 1, "rejected": 1}
    ran = run(["review", "work", "--accept", "in/04.png", "--reject", "reference.png"])
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "reference.png is no target of work: name it as `likewise review` lists it." in ran.err
    assert counts() == {"done": 10, "accepted": 1, "rejected": 1}  # neither was noted


def test_a_target_is_named_as_it_is_listed_or_by_its_name(scene: Path) -> None:
    run([*make(), "--limit", "4"])
    Path("in/sub").mkdir()
    for name in ("in/sub/00.png", "in/sub/20.png"):
        Image.open("in/00.png").save(name)
    config = Path("work/likewise.toml")
    config.write_text(config.read_text().replace("targets = [", 'targets = ["../in/sub", '))
    assert run(["review", "work", "--accept", "../in/01.png", "--reject", "02.png"]).code == 0
    assert counts()["accepted"] == counts()["rejected"] == 1
    ran = run(["correct", "work", "20.png", "mask.png"])
    assert "20.png has no mask in work: annotate it first." in ran.err
    ran = run(["review", "work", "--accept", "00.png"])
    assert "00.png is the end of 2 targets of work: give more of its path." in ran.err


def test_a_correction_takes_the_place_of_a_mask(scene: Path) -> None:
    annotate = make()
    run([*annotate, "--limit", "2"])
    with Image.open("in/00.png") as image:
        right = np.zeros((image.height, image.width), np.uint8)
    right[3:9, 4:20] = 255
    Image.fromarray(right).save("right.png")
    ran = run(["correct", "work", "in/00.png", "right.png"])
    assert (ran.code, ran.out) == (0, "work/masks/00.png written, corrected.\n")
    assert run(annotate).code == 0
    with Image.open("work/masks/00.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask) == 1, right > 0)
    assert counts() == {"corrected": 1, "done": COUNT - 1}
    for words, why in (
        (["in/00.png", "mask.png", "--label", "dog"], "no class dog: use object."),
        (["in/00.png", "in/00.png"], "in/00.png is no mask but a photo or the like"),
        (["in/00.png", "small.png"], "small.png has 5x4 pixels and its image"),
        (["in/00.png", "three.png"], "three.png holds the value 3, and the project has 1 object"),
        (["reference.png", "right.png"], "reference.png is no target of work: name it as"),
    ):
        Image.fromarray(right[:4, :5]).save("small.png")
        Image.fromarray(right // 85).save("three.png")
        ran = run(["correct", "work", *words])
        assert ran.code == 2
        assert why in ran.err
    Image.fromarray(right * 0).save("none.png")
    assert run(["correct", "work", "in/01.png", "none.png", "--label", "object"]).code == 0
    with Image.open("work/masks/01.png") as mask:
        assert not np.asarray(mask).any()


def test_the_report_stands_alone(scene: Path) -> None:
    annotate = make()
    assert "nothing to report: annotate it first." in run(["report", "work"]).err
    Path("in/07.png").write_bytes(b"<no picture>")
    run(annotate)
    assert run(["report", "work"]).out == "look at work/report.html\n"
    page = Path("work/report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') >= 11
    assert "http" not in page.replace("http-equiv", "")
    assert "../in/07.png: " in page
    assert "<no picture>" not in page
    assert "done<td" in page


def test_a_project_is_exported(scene: Path) -> None:
    annotate = make("work", "--label", "cat")
    Path("in/05.png").write_bytes(b"no picture")
    run(annotate)
    run(["review", "work", "--reject", "in/03.png"])
    ran = run(["export", "work", "--format", "coco", "--out", "dataset"])
    failed = "1 of 12 targets failed, and are left out: likewise review says why."
    assert (ran.code, ran.err) == (0, f"likewise: note: work: {failed}\n")
    dataset = json.loads(Path("dataset/annotations.json").read_text())
    names = [image["file_name"] for image in dataset["images"]]
    assert names == [f"{n:02d}.png" for n in range(COUNT) if n not in (3, 5)]
    assert [c["name"] for c in dataset["categories"]] == ["cat"]
    confidences = {Path(row.path).name: row.confidence for row in Project(Path("work")).rows()}
    assert dataset["annotations"]
    for found in dataset["annotations"]:
        name = names[found["image_id"] - 1]
        assert found["score"] == pytest.approx(confidences[name])
        with Image.open(f"work/masks/{name}") as mask:
            assert found["area"] <= (np.asarray(mask) == 1).sum()
    ran = run(["export", "work", "-i", "in", "--format", "coco", "--out", "other"])
    assert "work is a project, which knows its images" in ran.err
    ran = run(["export", "in", "--format", "coco", "--out", "other"])
    assert "in is no project: give the images of its masks as --images." in ran.err


def test_ten_thousand_rows_are_listed_at_once(scene: Path) -> None:
    run([*make(), "--limit", "1"])
    project = Project(Path("work"))
    for n in range(10000):
        Path(f"in/x{n:05d}.png").touch()
    rows = [
        (f"../in/x{n:05d}.png", 9, 9, "h" * 64, "done", "r" * 32, 0.5, n / 1e4)
        for n in range(10000)
    ]
    project.database.db.executemany(
        "INSERT INTO images (path, bytes, changed, hash, state, run, seconds, doubt) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    assert [row.path for row in project.rows(top=2)] == ["../in/x09999.png", "../in/x09998.png"]
    assert len(project.rows()) == 10001
    project.close()
    assert Path("work", DATABASE).stat().st_size < 20e6


# --- in one call --------------------------------------------------------------------------------


def test_annotate_batch_as_in_the_wiki(scene: Path) -> None:
    Path("in/04.png").write_bytes(b"no picture")
    options = {"backbone": "tiny", "image_size": 64}
    found = likewise.annotate_batch("reference.png", "mask.png", "in", "masks", **options)
    assert len(found) == COUNT
    (failed,) = [one for one in found if one.status == "failed"]
    assert (failed.image, failed.mask) == (Path("in/04.png"), None)
    assert failed.error is not None
    assert failed.error.startswith("in/04.png is not an image")
    for one in found:
        if one is not failed:
            assert one.mask == Path(f"masks/{one.image.stem}_mask.png")
            with Image.open(one.mask) as image:
                mask = np.asarray(image)
            assert set(np.unique(mask)) <= {0, 255}
            assert (validate_mask_quality(mask), None) == (one.status, one.error)
            target = one.image
    segmenter = likewise.Segmenter(**options).fit(("reference.png", "mask.png"))
    np.testing.assert_array_equal(mask > 0, segmenter.segment(target).mask)
    with mock.patch("likewise.segmenter.Segmenter.segment_batch") as again:
        kept = likewise.annotate_batch("reference.png", "mask.png", "in", "masks", **options)
    assert again.call_count == 0
    assert kept == found
    text = refusal(likewise.annotate_batch, "reference.png", "mask.png", "nowhere", "masks")
    assert text.startswith("nowhere does not exist")


# --- quality ------------------------------------------------------------------------------------


def test_parts_are_counted_across_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for band in (1, 7, 60):
        monkeypatch.setattr("likewise.quality.BAND", band)
        for share in (0.2, 0.5, 0.62, 0.9, 1.0):
            mask = rng.random(rng.integers(1, 30, 2)) < share
            mask[0, 0] = True
            count = ndimage.label(mask)[1]
            limits = {"min_area_ratio": 0, "max_area_ratio": 1}
            assert validate_mask_quality(mask, max_components=count, **limits) == "ok"
            few = validate_mask_quality(mask, max_components=count - 1, **limits)
            assert few == "fragmented"


def test_the_words_of_the_wiki() -> None:
    mask = np.zeros((100, 100), bool)
    assert validate_mask_quality(mask) == "too_small"
    mask[:3, :3] = True
    assert validate_mask_quality(mask) == "too_small"  # 9 of 10,000
    mask[:5, :5] = True
    assert validate_mask_quality(mask) == "ok"
    assert validate_mask_quality(mask, min_area_ratio=0.01) == "too_small"
    assert validate_mask_quality(~mask) == "too_large"
    assert validate_mask_quality(~mask, max_area_ratio=1) == "ok"
    dots = np.zeros((100, 100), np.uint8)
    dots[::20, ::20] = 255
    assert validate_mask_quality(dots) == "fragmented"
    assert validate_mask_quality(dots, max_components=25) == "ok"


def test_verdicts_say_everything() -> None:
    mask = np.zeros((100, 100), bool)
    assert mask_warnings(mask) == ("empty",)
    mask[10:40, 10:40] = True
    assert mask_warnings(mask, 0.9) == ()
    assert mask_warnings(mask, 0.4) == ("unsure",)
    frame = np.zeros((100, 100), bool)
    frame[0] = frame[-1] = frame[:, 0] = True
    assert mask_warnings(frame, 0.4) == ("touches_border", "unsure")
    assert mask_warnings(mask, 0.9, min_area_ratio=0.5) == ("too_small",)
    assert mask_warnings(mask, confidence=0.7) == ()
    assert mask_warnings(mask, confidence=0.7, min_confidence=0.8) == ("unlike_references",)
    assert mask_warnings(~mask & mask, confidence=0.7, min_confidence=0.8) == ("empty",)
    assert mask_warnings(mask, 0.4, 1.0, True) == ("disputed", "unsure")


def test_steadiness_is_how_little_a_mask_hangs_on_its_threshold() -> None:
    scores = np.full((10, 10), 0.1)
    assert stability_score(scores) == 1  # nothing was found
    scores[:4] = 0.9
    assert stability_score(scores) == 1
    scores[4] = 0.51  # just found
    assert stability_score(scores) == pytest.approx(0.8)
    scores[5] = 0.49  # just not
    assert stability_score(scores) == pytest.approx(4 / 6)
    scores[scores > 0.5] = 0.55
    assert stability_score(scores) == 0
    assert stability_score((scores > 0.5).astype(float)) == 1


def test_the_queue_is_ordered_by_review_priority() -> None:
    sure, broken = review_priority(0.95, 0.9, ()), ("fragmented", "unsure")
    assert sure < review_priority(0.95, 0.9, ("fragmented",)) < review_priority(0.95, 0.3, broken)
    # Methods that decide on 0 or 1:
    assert review_priority(0.9, 1.0, ()) < review_priority(0.2, 1.0, ())
    # Of empty masks, how near the confidence came to ½:
    assert review_priority(0.01, 1.0, ("empty",)) < review_priority(0.4, 1.0, ("empty",))
    assert 0 <= sure <= review_priority(0.0, 0.0, ("too_large", "touches_border", "unsure")) <= 1

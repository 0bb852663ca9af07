"""Objects of a class: hand-made shapes, scores, the file beside the mask, export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import likewise
from helpers import refusal
from likewise.export.annotations import find_pairs
from likewise.instances import CELLS, Instance, draw, find_objects
from likewise.project.project import Project
from likewise.result import ClassResult, Result
from likewise.run.instance_file import encode_instances, instances_path, read_instances
from likewise.run.jobs import Job, plan
from likewise.run.manifest import LABELS, MANIFEST, Manifest
from likewise.run.targets import find_images
from scenes import full_disk, make_scene, run, sandbox, segment

SURE = np.full((9, 9), 0.9, np.float32)


def canvas(height: int, width: int, *shapes: tuple[float, ...]) -> np.ndarray:
    """(H, W) bool with filled ellipses (y, x, radius in y, radius in x)."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    drawn = np.zeros((height, width), bool)
    for y, x, b, a in shapes:
        drawn |= ((rows - y) / b) ** 2 + ((columns - x) / a) ** 2 < 1
    return drawn


def bar(mask: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    with_bar = mask.copy()
    with_bar[rows, columns] = True
    return with_bar


TWO = canvas(60, 110, (30, 30, 20, 20), (30, 75, 20, 20))
SHAPES = {
    "one disc": (canvas(60, 60, (30, 30, 20, 20)), 1),
    "two apart": (TWO, 2),
    "two joined by a thin neck": (bar(TWO, slice(26, 34), slice(40, 70)), 2),
    "two joined by a thick neck": (bar(TWO, slice(15, 45), slice(40, 70)), 1),
    "two that touch": (canvas(60, 110, (30, 30, 20, 20), (30, 67, 20, 20)), 2),
    "two that mostly overlap": (canvas(60, 110, (30, 30, 20, 20), (30, 50, 20, 20)), 1),
    "three in a row": (
        canvas(40, 130, (20, 20, 15, 15), (20, 48, 15, 15), (20, 76, 15, 15)),
        3,
    ),
    "a big and a small one": (canvas(60, 110, (30, 32, 25, 25), (30, 66, 11, 11)), 2),
    "two grains tip to tip": (canvas(40, 110, (20, 30, 10, 20), (20, 69, 10, 20)), 2),
    "cut by the border": (canvas(40, 110, (40, 30, 25, 25), (40, 77, 25, 25)), 2),
    "an L": (bar(bar(TWO & False, slice(5, 55), slice(5, 20)), slice(40, 55), slice(5, 100)), 1),
    "a long bar": (bar(TWO & False, slice(20, 30), slice(5, 105)), 1),
    "a body with a tail": (
        bar(canvas(60, 140, (30, 30, 20, 20)), slice(27, 33), slice(30, 135)),
        1,
    ),
    "a ring": (canvas(60, 60, (30, 30, 25, 25)) & ~canvas(60, 60, (30, 30, 12, 12)), 1),
    "a pixel on a disc": (bar(canvas(60, 60, (30, 30, 20, 20)), slice(8, 10), slice(30, 31)), 1),
    "all": (np.ones((20, 30), bool), 1),
    "nothing": (np.zeros((20, 30), bool), 0),
    "one pixel": (np.ones((1, 1), bool), 1),
}
ROUGH = {
    "noise": np.random.default_rng(0).random((120, 90)) < 0.6,
    "blots": ndimage.gaussian_filter(np.random.default_rng(1).random((300, 400)), 5) > 0.5,
    "large blots": ndimage.gaussian_filter(np.random.default_rng(2).random((700, 900)), 6) > 0.5,
    "large noise": np.random.default_rng(3).random((600, 500)) < 0.45,
}


def write_instances(path: Path, instances: list[Instance]) -> None:
    path.write_bytes(encode_instances(instances))


@pytest.mark.parametrize(("mask", "count"), SHAPES.values(), ids=SHAPES.keys())
def test_how_many_there_are(mask: np.ndarray, count: int) -> None:
    assert len(find_objects(mask, SURE, 1.0)) == count


def test_the_size_of_the_picture_does_not_matter() -> None:
    for name in ("two joined by a thin neck", "two grains tip to tip", "a body with a tail"):
        mask, count = SHAPES[name]
        large = mask.repeat(11, axis=0).repeat(11, axis=1)
        assert max(large.shape) > 2 * CELLS
        assert len(find_objects(large, SURE, 1.0)) == count, name


def test_the_cut_is_at_the_neck() -> None:
    mask, _ = SHAPES["two joined by a thin neck"]
    left, right = find_objects(mask, SURE, 1.0)
    assert (left.left, right.left + right.mask.shape[1]) == (10, 95)
    assert 50 <= right.left <= 55
    assert abs(left.area - right.area) < 0.05 * left.area


@pytest.mark.parametrize("mask", [m for m, _ in SHAPES.values()] + [*ROUGH.values()])
def test_every_pixel_is_in_exactly_one(mask: np.ndarray) -> None:
    found = find_objects(mask, SURE, 1.0)
    np.testing.assert_array_equal(draw(found, mask.shape), mask)
    assert sum(i.area for i in found) == mask.sum()
    for i in found:
        assert ndimage.label(i.mask, np.ones((3, 3)))[1] == 1
        assert i.mask[0].any()
        assert i.mask[-1].any()
        assert i.mask[:, 0].any()
        assert i.mask[:, -1].any()
        height, width = i.mask.shape
        assert i.box_xyxy == (i.left, i.top, i.left + width, i.top + height)


def test_blots_are_cut_and_noise_is_not() -> None:
    for name, mask in ROUGH.items():
        whole = ndimage.label(mask, np.ones((3, 3)))[1]
        assert (len(find_objects(mask, SURE, 1.0)) > whole) == ("blots" in name), name


# --- scores -------------------------------------------------------------------------------------


def test_the_surer_one_has_the_higher_score() -> None:
    scores = np.full((6, 11), 0.2, np.float32)
    scores[1:5, 1:5], scores[1:5, 5:10] = 0.9, 0.55
    sure, smear = find_objects(TWO, scores, 1.0)
    assert sure.left < smear.left
    assert 0.5 < sure.score < 0.8
    assert 0 < smear.score < 0.15
    half = find_objects(TWO, scores, 0.5)
    assert [i.score for i in half] == pytest.approx([sure.score / 2, smear.score / 2])


def test_the_range_of_scores() -> None:
    mask = SHAPES["one disc"][0]
    for value, expected in ((0.0, 0.0), (0.5, 0.0), (0.75, 0.5), (1.0, 1.0)):
        (one,) = find_objects(mask, np.full((4, 4), value, np.float32), 1.0)
        assert one.score == pytest.approx(expected)


def test_instances_of_a_result() -> None:
    label_map = np.zeros((60, 110), np.uint8)
    label_map[TWO] = 2
    label_map[:5, :5] = 1
    classes = {
        label: ClassResult(label_map == k, SURE, confidence)
        for k, (label, confidence) in enumerate((("cat", 1.0), ("dog", 0.5)), 1)
    }
    result = Result(label_map > 0, SURE, 1.0, None, label_map, classes)
    found = result.instances()
    assert [(i.number, i.label) for i in found] == [(1, "cat"), (2, "dog"), (2, "dog")]
    assert [i.score for i in found] == pytest.approx([0.8, 0.4, 0.4])
    assert [i.left for i in result.instances("dog")] == [i.left for i in found[1:]]
    assert refusal(result.instances, "cow") == (
        "the class 'cow' was not looked for; use one of cat, dog."
    )


def test_the_coins_of_the_example() -> None:
    folder = Path(likewise.__file__).parent / "example"
    segmenter = likewise.Segmenter(image_size=512)
    segmenter.fit([(folder / "coin_reference.png", folder / "coin_reference_mask.png")])
    result = segmenter.segment(folder / "coin_1.png")
    coins = result.instances()
    assert len(coins) == 6
    assert all(0.6 < coin.score <= result.confidence for coin in coins)
    assert all(0.6 < coin.area / coin.mask.size < 0.85 for coin in coins)  # π/4


# --- the file beside the mask -------------------------------------------------------------------


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    label_map = ROUGH["blots"].astype(np.uint8)
    label_map[:, 200:] *= 2
    found = [
        *find_objects(label_map == 1, SURE, 0.9, 1, "cat"),
        *find_objects(label_map == 2, SURE, 0.3, 2, "dog"),
    ]
    path = instances_path(tmp_path / "a.b.png")
    assert path.name == "a.b.instances.json"
    assert read_instances(path, label_map, ("cat", "dog")) is None
    write_instances(path, found)
    read = read_instances(path, label_map, ("lion", "wolf"))
    assert read is not None
    for one, other in zip(found, read, strict=True):
        assert (one.box_xyxy, one.number) == (other.box_xyxy, other.number)
        assert other.label == ("lion", "wolf")[one.number - 1]
        assert other.score == pytest.approx(one.score, abs=1e-4)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_a_mask_that_was_changed_has_no_instances(tmp_path: Path) -> None:
    label_map = TWO.astype(np.uint8)
    path = tmp_path / "a.instances.json"
    write_instances(path, find_objects(TWO, SURE, 1.0))
    assert read_instances(path, label_map, ("x",)) is not None
    for changed in (label_map[:, :80], label_map * 0, np.maximum(label_map, 1)):
        assert read_instances(path, changed, ("x",)) is None
    label_map[30, 30] = 0
    assert read_instances(path, label_map, ("x",)) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"class": 2},
        {"class": 0},
        {"score": 1.5},
        {"score": float("nan")},
        {"score": None},
        {"box": [0, 0, 2]},
        {"box": [-1, 0, 1, 1]},
        {"box": [0, 0, 2, 2]},
        {"mask": {"size": [1, 1], "counts": "zz"}},
        {"mask": {"size": [2, 2], "counts": [0, 4]}},
        {"mask": 3},
    ],
)
def test_files_that_hold_no_instances(tmp_path: Path, entry: dict[str, object]) -> None:
    path = tmp_path / "a.instances.json"
    label_map = np.ones((1, 1), np.uint8)
    write_instances(path, [Instance(1, "x", 0.5, 0, 0, np.ones((1, 1), bool))])
    assert read_instances(path, label_map, ("x",)) is not None
    (good,) = json.loads(path.read_text())["instances"]
    path.write_text(json.dumps({"instances": [good | entry]}))
    assert f"{path} holds no instances" in refusal(read_instances, path, label_map, ("x",))


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path, tiny: Path) -> Iterator[Path]:
    """reference.png, mask.png, a.jpg, b.jpg, c.jpg and tiny/ in the working folder."""
    folder = make_scene(tmp_path / "scene", tiny)
    with sandbox(folder):
        yield folder


NAMES = ["a.instances.json", "a.png", "b.instances.json", "b.png"]
EXPORT = ["export", "out", "-i", "a.jpg", "-i", "b.jpg", "-f"]


def in_out() -> list[str]:
    """What is in the folder of results but for its memory."""
    return sorted({path.name for path in Path("out").iterdir()} - {LABELS, MANIFEST})


def test_segment_keeps_instances_for_export(scene: Path) -> None:
    done = run(segment("a.jpg", "b.jpg", more=["--instances"]))
    assert (done.code, done.err) == (0, "")
    assert in_out() == NAMES
    # Masks are no targets, and nothing beside them looks like a mask.
    assert "only 2 pictures that likewise wrote: a.png, b.png" in refusal(find_images, "out")
    assert len(find_pairs(Path("out"), [Path("a.jpg"), Path("b.jpg")])) == 2
    kept = {
        stem: json.loads(Path(f"out/{stem}.instances.json").read_text())["instances"]
        for stem in "ab"
    }
    assert all(kept.values())
    assert run([*EXPORT, "coco", "-o", "coco", "--label", "thing"]).code == 0
    written = json.loads(Path("coco/annotations.json").read_text())["annotations"]
    expected = [(i["score"], i["box"]) for stem in "ab" for i in kept[stem]]
    assert [(a["score"], a["bbox"]) for a in written] == expected
    assert len({score for score, _ in expected}) > 1
    for kind in ("yolo", "voc", "labelme"):
        assert run([*EXPORT, kind, "-o", kind]).code == 0
    assert len(Path("yolo/labels/train/a.txt").read_text().splitlines()) == len(kept["a"])
    shapes = json.loads(Path("labelme/a.json").read_text())["shapes"]
    assert [s["description"] for s in shapes] == [f"score {i['score']:.3f}" for i in kept["a"]]


def test_pycocotools_ranks_by_the_scores_of_the_instances(scene: Path) -> None:
    pycoco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    assert run(segment("a.jpg", "b.jpg", more=["--instances"])).code == 0
    for stem in "ab":  # two objects a picture, the second much surer
        mask = canvas(40, 48, (20, 12, 9, 9), (20, 31, 11, 11))
        Image.fromarray(mask).save(f"out/{stem}.png")
        scores = np.full((4, 4), 0.6, np.float32)
        scores[:, 2:] = 1.0
        write_instances(Path(f"out/{stem}.instances.json"), find_objects(mask, scores, 1.0))
    assert run([*EXPORT, "coco", "-o", "coco"]).code == 0
    entries = json.loads(Path("coco/annotations.json").read_text())
    found = entries["annotations"]
    assert [a["score"] > 0.5 for a in found] == [False, True] * 2
    # Of the truth only the second ones: the others are wrong, and ranked last they cost nothing.
    truth = {**entries, "annotations": [a for a in found if a["score"] > 0.5]}
    Path("truth.json").write_text(json.dumps(truth))
    with redirect_stdout(StringIO()):
        coco = pycoco.COCO("truth.json")
        judge = COCOeval(coco, coco.loadRes(found), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_a_mask_changed_by_hand_is_exported_as_it_is(scene: Path) -> None:
    assert run(segment("a.jpg", "b.jpg", more=["--instances"])).code == 0
    changed = np.zeros((40, 48), np.uint8)
    changed[3:9, 4:12] = 255
    Image.fromarray(changed).save("out/a.png")
    Path("out/b.instances.json").write_text("{}")
    ran = run([*EXPORT, "coco", "-o", "coco", "--json"])
    assert ran.code == 1
    assert "b.instances.json holds no instances (" in ran.err
    assert json.loads(ran.out)["failed"] == 1
    (one,) = json.loads(Path("coco/annotations.json").read_text())["annotations"]
    assert (one["bbox"], one["area"], one["score"]) == ([4, 3, 8, 6], 48, 1.0)


def test_resume_makes_what_is_missing_of_the_two(scene: Path) -> None:
    both = segment("a.jpg", "b.jpg", more=["--instances", "--resume", "--json"])
    assert run(segment("a.jpg", "b.jpg")).code == 0
    assert json.loads(run(both).out)["written"] == 2
    assert in_out() == NAMES
    assert json.loads(run(both).out)["kept"] == 2
    Path("out/b.instances.json").unlink()
    ran = json.loads(run(both).out)
    assert (ran["written"], ran["kept"]) == (1, 1)
    assert in_out() == NAMES


def test_the_mask_is_written_last(scene: Path) -> None:
    with full_disk(3):
        ran = run(segment("a.jpg", more=["--instances"]))
    assert ran.code == 1
    assert in_out() == ["a.instances.json"]


def test_no_two_outputs_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (job,) = plan([tmp_path / "a.jpg"], Manifest(tmp_path / "out"), instances=True)
    out = tmp_path / "out"
    assert job == Job(tmp_path / "a.jpg", out / "a.png", None, out / "a.instances.json")
    reference = out / "a.instances.json"
    text = refusal(plan, [tmp_path / "a.jpg"], Manifest(out), instances=True, inputs=[reference])
    assert "would overwrite" in text
    # A picture of that name has a mask of its own.
    others = [tmp_path / "a.jpg", tmp_path / "a.instances.jpg"]
    files = plan(others, Manifest(out), instances=True)
    assert len({path for job in files for path in (job.mask, job.instances)}) == 4


def test_a_project_with_instances(scene: Path) -> None:
    words = ["init", "work", "-r", "reference.png", "-m", "mask.png", "-t", "a.jpg", "-t", "b.jpg"]
    words += ["-b", "tiny", "--image-size", "64", "--label", "thing"]
    assert run(words).code == 0
    assert run(["annotate", "work"]).code == 0
    assert not list(Path("work/masks").glob("*.instances.json"))
    config = Path("work/likewise.toml")
    assert "\ninstances = false\n" in config.read_text()
    config.write_text(config.read_text().replace("instances = false", "instances = true"))
    ran = run(["annotate", "work"])
    assert (ran.code, ran.err) == (0, "")
    assert "2 of 2 images annotated" in ran.out
    assert run(["annotate", "work"]).out.startswith("0 of 2 images annotated")
    kept = [
        i
        for stem in "ab"
        for i in json.loads(Path(f"work/masks/{stem}.instances.json").read_text())["instances"]
    ]
    assert run(["export", "work", "-f", "coco", "-o", "coco"]).code == 0
    written = json.loads(Path("coco/annotations.json").read_text())["annotations"]
    assert [a["score"] for a in written] == [i["score"] for i in kept]
    assert {i["label"] for i in kept} == {"thing"}
    assert len(Project(Path("work")).rows(("done",))) == 2
    assert run([*words[:1], "other", *words[2:], "--instances"]).code == 0
    assert "\ninstances = true\n" in Path("other/likewise.toml").read_text()

"""`likewise segment` end to end on a tiny random backbone."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from commands import done, names
from helpers import refusal
from likewise import INSID3Params, LikewiseParams
from likewise.cli.options import FeatureOptions, TunedMethodOptions
from likewise.errors import LikewiseError
from likewise.io.draw import class_colour, overlay, overlay_labels, with_legend
from likewise.io.encoding import write_image
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.reference import Reference
from likewise.result import Result
from likewise.run.folder import FolderRun
from likewise.segmenter import Segmenter
from scenes import SIZE, TINY, Ran, no_backbone_needed, run, second_target, segment


def mask_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", SIZE)
        pixels = np.asarray(image)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


def test_segment_files(scene: Path, segmenter: Segmenter) -> None:
    assert done(run(segment("a.jpg", "b.jpg"))) == "2 of 2 masks written to out\n"
    assert names("out") == {"a.png", "b.png"}
    segmenter.fit(("reference.png", "mask.png"))
    for stem in "ab":
        expected = segmenter.segment(f"{stem}.jpg").mask
        np.testing.assert_array_equal(mask_of(f"out/{stem}.png"), expected)


def test_points_and_a_box_make_the_mask_of_a_reference(scene: Path, segmenter: Segmenter) -> None:
    """Or correct it: as ``Reference`` in Python."""
    prompts = ["--points", "12,10,1 14,12,1", "--points", "2,2,0"]
    words = ["segment", "a.jpg", "-o", "out", "-r", "reference.png", *TINY]
    points = [(12, 10, 1), (14, 12, 1), (2, 2, 0)]
    done(run([*words, *prompts]))
    segmenter.fit(Reference("reference.png", points=points))
    np.testing.assert_array_equal(mask_of("out/a.png"), segmenter.segment("a.jpg").mask)
    done(run([*words, "--mask", "mask.png", *prompts, "--box", "1,1,30,30", "--overwrite"]))
    segmenter.fit(Reference("reference.png", "mask.png", points=points, box=(1, 1, 30, 30)))
    np.testing.assert_array_equal(mask_of("out/a.png"), segmenter.segment("a.jpg").mask)


def test_segment_keeps_each_targets_own_size(scene: Path) -> None:
    Image.new("RGB", (31, 77), "teal").save("tall.webp")
    done(run(segment("tall.webp")))
    with Image.open("out/tall.png") as image:
        assert (image.mode, image.size) == ("L", (31, 77))


def test_segment_a_folder(scene: Path) -> None:
    Path("shots").mkdir()
    for name in ("a.jpg", "c.jpg", "mask.png"):
        shutil.copy(name, "shots")
    Path("shots/notes.txt").write_text("no image")
    # There is nothing of the thing in the picture of the mask.
    ran = run(segment("shots"))
    assert ran.out == "3 of 3 masks written to out, 1 of them empty\n"
    left_out = "likewise: note: shots: left out: 1 file that is no picture: notes.txt.\n"
    assert (ran.code, ran.err) == (0, left_out)
    assert names("out") == {"a.png", "c.png", "mask.png"}
    assert [mask_of(f"out/{stem}.png").any() for stem in ("a", "c", "mask")] == [True, True, False]


def test_segment_a_pattern(scene: Path) -> None:
    assert done(run(segment("[bc].jpg", out="x/y"))).startswith("2 of 2 masks written to x")
    assert names("x/y") == {"b.png", "c.png"}


def test_segment_with_several_references(scene: Path, segmenter: Segmenter) -> None:
    second = np.zeros(SIZE[::-1], np.uint8)
    second[5:20, 3:15] = 255
    Image.fromarray(second).save("mask_b.png")
    really, fitted = Segmenter.fit, []

    def fit(self: Segmenter, references: Any) -> Segmenter:
        fitted.extend(references)
        return really(self, references)

    with mock.patch.object(Segmenter, "fit", fit):
        more = ["--reference", "b.jpg", "--mask", "mask_b.png", "--json"]
        report = json.loads(done(run(segment("a.jpg", more=more))))
    assert report["references"] == 2
    for reference, image, mask in zip(
        fitted, ("reference.png", "b.jpg"), ("mask.png", "mask_b.png"), strict=True
    ):
        np.testing.assert_array_equal(reference.image.pixels, read_image(image))
        np.testing.assert_array_equal(reference.mask, mask_of(mask))
    segmenter.fit([("reference.png", "mask.png"), ("b.jpg", "mask_b.png")])
    np.testing.assert_array_equal(mask_of("out/a.png"), segmenter.segment("a.jpg").mask)


def test_segment_with_a_label_map(scene: Path) -> None:
    marked = mask_of("mask.png")
    done(run(segment(out="plain")))
    Image.fromarray(np.where(marked, 2, np.eye(*marked.shape)).astype(np.uint8)).save("mask.png")
    assert run(segment(out="labels")).code == 2
    done(run(segment(out="labels", more=["--mask-value", "2"])))
    np.testing.assert_array_equal(mask_of("labels/a.png"), mask_of("plain/a.png"))


def labelled(*more: str) -> list[str]:
    """Two classes in the picture with its mask: what is marked, and a corner."""
    corner = np.zeros(SIZE[::-1], np.uint8)
    corner[:, 36:] = 255
    Image.fromarray(corner).save("corner.png")
    words = ["--reference", "reference.png", "--mask", "corner.png", "--method", "likewise"]
    return segment("reference.png", more=[*words, "--label", "big", "--label", "small", *more])


def test_segment_several_labels(scene: Path, tiny: Path) -> None:
    report = json.loads(done(run(labelled("--json", "--overlay"))))
    assert report["labels"] == json.loads(Path("out/labels.json").read_text())
    assert report["labels"] == {"1": "big", "2": "small"}
    assert names("out") == {"reference.png", "reference_overlay.jpg"}
    segmenter = Segmenter(tiny, image_size=64, method="likewise")
    result = segmenter.fit(
        [
            Reference("reference.png", "mask.png", label="big"),
            Reference("reference.png", "corner.png", label="small"),
        ]
    ).segment("reference.png")
    assert set(np.unique(result.label_map)) == {0, 1, 2}
    with Image.open("out/reference.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", SIZE)
        np.testing.assert_array_equal(np.asarray(image), result.label_map)
        assert image.getpalette()[:9] == [0, 0, 0, *class_colour(1), *class_colour(2)]
    result.save("saved.png")
    assert Path("saved.png").read_bytes() == Path("out/reference.png").read_bytes()
    assert refusal(result.save, "saved.jpg").startswith("saved.jpg cannot hold a mask: masks are")
    for k, mask in enumerate(result.classes.values(), start=1):  # it can be a mask itself
        np.testing.assert_array_equal(read_mask("out/reference.png", value=k), mask.mask)
    seen = overlay_labels(read_image("reference.png"), result.label_map)
    write_image("expected.jpg", with_legend(seen, {1: "big", 2: "small"}))
    assert Path("out/reference_overlay.jpg").read_bytes() == Path("expected.jpg").read_bytes()


def test_one_label_is_a_mask(scene: Path) -> None:
    done(run(segment(out="plain")))
    done(run(segment(more=["--label", "thing"])))
    assert names("out") == {"a.png"}
    assert json.loads(Path("plain/labels.json").read_text()) == {"255": "object"}
    assert json.loads(Path("out/labels.json").read_text()) == {"255": "thing"}
    assert Path("out/a.png").read_bytes() == Path("plain/a.png").read_bytes()


def test_resuming_label_maps(scene: Path) -> None:
    done(run(labelled()))
    assert done(run(labelled("--resume"))).endswith("1 kept\n")
    Path("out/labels.json").unlink()  # the manifest remembers
    assert done(run(labelled("--resume"))).endswith("1 kept\n")
    assert json.loads(Path("out/labels.json").read_text()) == {"1": "big", "2": "small"}


def test_segment_with_a_value_for_each_mask(scene: Path) -> None:
    marked = mask_of("mask.png")
    two = np.where(marked, 2, 0).astype(np.uint8)
    two[:, 36:] = 5
    done(run(labelled()))
    expected = Path("out/reference.png").read_bytes()
    Image.fromarray(two).save("mask.png")
    Image.fromarray(two).save("both.png")
    words = labelled("--mask-value", "2", "--mask-value", "5")
    words = ["both.png" if w == "corner.png" else w for w in words]
    done(run(words))
    assert Path("out/reference.png").read_bytes() == expected


def test_segment_with_negatives(scene: Path, tiny: Path) -> None:
    words = ["--method", "nearest", "--negative", "b.jpg", "--negative", "c.jpg"]
    done(run(segment("reference.png", "a.jpg", more=words, out="whole")))
    done(run(segment("a.jpg", more=[*words, *["--negative-mask", "mask.png"] * 2], out="part")))
    segmenter = Segmenter(tiny, image_size=64, method="nearest")
    for out, mask in (("whole", None), ("part", "mask.png")):
        negatives = [Reference(path, mask, negative=True) for path in ("b.jpg", "c.jpg")]
        segmenter.fit([Reference("reference.png", "mask.png"), *negatives])
        np.testing.assert_array_equal(mask_of(f"{out}/a.png"), segmenter.segment("a.jpg").mask)
    done(run(segment("reference.png", more=words[:2], out="plain")))
    assert mask_of("plain/reference.png").sum() > mask_of("whole/reference.png").sum()


def test_segment_overlays(scene: Path) -> None:
    # The reference as target: something is always found in it.
    done(run(segment("reference.png", "a.jpg", more=["--overlay"])))
    assert mask_of("out/reference.png").any()
    assert names("out") == {"a.png", "a_overlay.jpg", "reference.png", "reference_overlay.jpg"}
    for target in ("reference.png", "a.jpg"):
        stem = Path(target).stem
        write_image("expected.jpg", overlay(read_image(target), mask_of(f"out/{stem}.png")))
        assert Path(f"out/{stem}_overlay.jpg").read_bytes() == Path("expected.jpg").read_bytes()
        with Image.open(f"out/{stem}_overlay.jpg") as picture:
            assert (picture.format, picture.size) == ("JPEG", SIZE)


def test_segment_json(scene: Path, segmenter: Segmenter) -> None:
    Path("b.jpg").write_bytes(b"")
    Path("out").mkdir()
    Path("out/labels.json").write_text('{"255": "object"}')
    shutil.copy("mask.png", "out/c.png")
    ran = run(segment("a.jpg", "b.jpg", "c.jpg", more=["--json", "--resume", "--overlay"]))
    assert ran.code == 1
    report = json.loads(ran.out)
    targets = report.pop("targets")
    assert report == {
        "backbone": "tiny",
        "references": 1,
        "out": "out",
        "labels": {"255": "object"},
        "written": 1,
        "kept": 1,
        "by_hand": 1,
        "failed": 1,
        "not_reached": 0,
    }
    assert [t.pop("target") for t in targets] == ["a.jpg", "b.jpg", "c.jpg"]
    mask = str(Path("out/a.png"))
    assert targets[0].pop("area") == pytest.approx(mask_of(mask).mean())
    assert targets[0].pop("seconds") > 0
    confidence = segmenter.fit(("reference.png", "mask.png")).segment("a.jpg").confidence
    assert targets[0].pop("confidence") == pytest.approx(confidence, abs=1e-5)
    assert 0.5 < confidence <= 1
    assert targets[1]["confidence"] == targets[2]["confidence"] == 0
    picture = str(Path("out/a_overlay.jpg"))
    assert [t.pop("state") for t in targets] == ["made", "failed", "by_hand"]
    assert targets[0] == {
        "mask": mask,
        "overlay": picture,
        "error": None,
        "skipped": False,
        "by_hand": False,
        "anew": "",
    }
    assert targets[1]["mask"] is targets[1]["overlay"] is None
    assert ran.err == f"likewise: {targets[1]['error']}\n"
    assert (targets[2]["mask"], targets[2]["skipped"]) == (str(Path("out/c.png")), True)


def test_segment_json_says_that_a_target_shows_nothing(scene: Path) -> None:
    words = segment("reference.png", "mask.png", more=["--json"])
    there, missing = json.loads(done(run(words)))["targets"]
    assert 0 <= missing["confidence"] < 0.5 < there["confidence"] <= 1
    assert missing["area"] == 0 < there["area"]


def test_segment_with_insid3(scene: Path, tiny: Path, segmenter: Segmenter) -> None:
    words = ["--method", "insid3", "--tau", "0.9", "--alpha", "0.4"]
    done(run(segment("a.jpg", more=words)))
    settings: dict[str, Any] = {
        "image_size": 64,
        "method": INSID3Params(tau=0.9, alpha=0.4),
    }
    expected = Segmenter(tiny, **settings).fit(("reference.png", "mask.png")).segment("a.jpg")
    expected.save("saved.png")
    assert Path("saved.png").read_bytes() == Path("out/a.png").read_bytes()
    assert expected.trace.seed is not None
    np.testing.assert_array_equal(mask_of("out/a.png"), expected.mask)
    default = segmenter.fit(("reference.png", "mask.png")).segment("a.jpg")
    assert (expected.mask != default.mask).any()


def consensus_of(segmenter: Segmenter, *targets: str) -> list[Result]:
    segmenter.fit(("reference.png", "mask.png"))
    return segmenter.segment_batch([read_image(target) for target in targets], consensus=True)


def test_segment_consensus(scene: Path, segmenter: Segmenter) -> None:
    targets = ("c.jpg", "a.jpg", "reference.png", "b.jpg")
    done(run(segment(*targets, out="single")))
    report = json.loads(done(run(segment(*targets, more=["--consensus", "--json", "--overlay"]))))
    assert (report["written"], report["failed"], report["not_reached"]) == (4, 0, 0)
    assert [t["target"] for t in report["targets"]] == list(targets)
    assert len(names("out")) == 8
    differ = []
    for target, result in zip(report["targets"], consensus_of(segmenter, *targets), strict=True):
        stem = Path(target["target"]).stem
        found = mask_of(target["mask"])
        assert target["mask"] == str(Path(f"out/{stem}.png"))
        np.testing.assert_array_equal(found, result.mask)
        assert target["area"] == pytest.approx(found.mean())
        assert target["confidence"] == pytest.approx(result.confidence, abs=1e-5)
        differ.append((found != mask_of(f"single/{stem}.png")).any())
    assert any(differ)  # they did learn from each other


def test_segment_consensus_with_a_bad_target(scene: Path, segmenter: Segmenter) -> None:
    Path("b.jpg").write_bytes(b"")
    ran = run(segment("a.jpg", "b.jpg", "c.jpg", more=["--consensus"]))
    assert (ran.code, ran.out) == (1, "2 of 3 masks written to out, 1 failed\n")
    assert ran.err == "likewise: b.jpg is empty (0 bytes): copy or download it again.\n"
    assert names("out") == {"a.png", "c.png"}
    for stem, result in zip("ac", consensus_of(segmenter, "a.jpg", "c.jpg"), strict=True):
        np.testing.assert_array_equal(mask_of(f"out/{stem}.png"), result.mask)


def test_segment_consensus_resumes(scene: Path, segmenter: Segmenter) -> None:
    Path("out").mkdir()
    shutil.copy("mask.png", "out/b.png")
    old = Path("out/b.png").read_bytes()
    words = segment("a.jpg", "b.jpg", "c.jpg", more=["--consensus", "--resume"])
    ran = run(words)
    assert ran.out.splitlines()[0] == "2 of 3 masks written to out, 0 kept"
    assert "b.png" in ran.out.splitlines()[1]  # kept, for likewise did not make it
    assert ran.err.startswith("likewise: note: out/b.png: masks that were there name no class")
    assert Path("out/b.png").read_bytes() == old
    for stem, result in zip("ac", consensus_of(segmenter, "a.jpg", "c.jpg"), strict=True):
        np.testing.assert_array_equal(mask_of(f"out/{stem}.png"), result.mask)
    assert done(run(words)).startswith("0 of 3 masks written to out, 2 kept\n")


def test_segment_consensus_of_label_maps(scene: Path, tiny: Path) -> None:
    done(run(labelled("a.jpg", "--consensus")))
    segmenter = Segmenter(tiny, image_size=64)
    segmenter.fit(
        [
            Reference("reference.png", "mask.png", label="big"),
            Reference("reference.png", "corner.png", label="small"),
        ]
    )
    images = [read_image(target) for target in ("reference.png", "a.jpg")]
    for stem, result in zip(
        ("reference", "a"), segmenter.segment_batch(images, consensus=True), strict=True
    ):
        with Image.open(f"out/{stem}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), result.label_map)


def test_a_method_without_consensus_is_refused_before_anything_starts(scene: Path) -> None:
    ran = run(segment("a.jpg", "b.jpg", more=["--consensus", "--method", "insid3"]))
    assert ran == Ran(2, "", "likewise: method insid3 has no consensus; use likewise.\n")


def test_segment_json_of_a_run_that_was_stopped(scene: Path) -> None:
    with second_target(KeyboardInterrupt):
        ran = run(segment("a.jpg", "b.jpg", "c.jpg", more=["--json"]))
    report = json.loads(ran.out)
    assert (ran.code, report["written"], report["not_reached"]) == (1, 1, 2)
    assert "--resume" in ran.err


def test_segment_resume(scene: Path) -> None:
    done(run(segment("a.jpg")))
    made = Path("out/a.png").read_bytes()
    again = segment("a.jpg", "b.jpg", more=["--resume"])
    assert done(run(again)) == "1 of 2 masks written to out, 1 kept\n"
    shutil.copy("mask.png", "out/a.png")
    old = Path("out/a.png").read_bytes()
    assert old != made
    kept = "1 kept, changed by hand: a.png; --overwrite replaces it\n"
    said = f"0 of 2 masks written to out, 1 kept\n{kept}"
    assert done(run(again)) == said
    assert done(run(segment("a.jpg", "b.jpg"))) == f"1 of 2 masks written to out\n{kept}"
    assert Path("out/a.png").read_bytes() == old
    assert mask_of("out/b.png").shape == SIZE[::-1]
    done(run([*again, "--overwrite"]))
    assert Path("out/a.png").read_bytes() == made


def test_resume_does_again_what_is_stale(scene: Path) -> None:
    done(run(segment("a.jpg", "b.jpg", "c.jpg")))
    made = {name: Path("out", name).read_bytes() for name in names("out")}
    shutil.copy("a.jpg", "b.jpg")
    ran = done(run(segment("a.jpg", "b.jpg", "c.jpg", more=["--resume"])))
    assert ran == ("1 of 3 masks written to out, 2 kept\n1 made anew: its picture changed\n")
    assert Path("out/b.png").read_bytes() == made["a.png"]
    ran = done(run(segment("a.jpg", "c.jpg", more=["--resume", "--overlay"])))
    assert ran.endswith("\n2 made anew: without its overlay or instances\n")
    more = ["--resume", "--image-size", "48"]
    report = json.loads(done(run(segment("a.jpg", "b.jpg", more=[*more, "--json"]))))
    assert [t["anew"] for t in report["targets"]] == ["settings or references changed"] * 2
    assert done(run(segment("a.jpg", "b.jpg", more=more))).endswith(", 2 kept\n")


def test_python_writes_what_the_command_writes(scene: Path) -> None:
    references = [("reference.png", "mask.png"), Reference("b.jpg", None, negative=True)]
    done(run(segment("a.jpg", "c.jpg", more=["--overlay", "--negative", "b.jpg"])))
    options = {"backbone": "tiny", "image_size": 64}
    made = FolderRun(["a.jpg", "c.jpg"], "again", references, overlay=True, **options)
    assert ([o.state for o in made], made.reference_count) == (["made", "made"], 2)
    assert (made.numbers, len(made.jobs)) == ({"object": 255}, 2)
    assert names("again") == names("out")
    for name in names("out") | {"labels.json"}:
        assert Path("again", name).read_bytes() == Path("out", name).read_bytes()
    kept = FolderRun("?.jpg", "again", references, overlay=True, resume=True, **options)
    assert [o.state for o in kept] == ["kept", "made", "kept"]
    made.segmenter.save("kept.safetensors")
    again = FolderRun(["a.jpg"], "third", "kept.safetensors", backbone="tiny")
    assert [o.state for o in again] == ["made"]
    assert Path("third/a.png").read_bytes() == Path("out/a.png").read_bytes()


def test_python_is_told_what_is_wrong_before_the_backbone_is_loaded(scene: Path) -> None:
    pair = ("reference.png", "mask.png")
    with mock.patch("likewise.segmenter.Segmenter", side_effect=AssertionError):
        for targets, out, references, more, said in (
            ("nowhere", "out", pair, {}, "nowhere does not exist"),
            ("a.jpg", "a.jpg/out", pair, {}, "cannot be written to"),
            ("reference.png", ".", pair, {}, "would overwrite reference.png"),
            ("a.jpg", "out", [], {}, "no reference given"),
            ("a.jpg", "out", "r.safetensors", {}, "r.safetensors does not exist"),
            ("a.jpg", "out", pair, {"consensus": True, "method": "frost"}, "no consensus"),
        ):
            with pytest.raises(LikewiseError, match=said):
                FolderRun(targets, out, references, **more)


@pytest.mark.parametrize("refiner", ["guided", "crf"])
def test_segment_refined(scene: Path, tiny: Path, segmenter: Segmenter, refiner: str) -> None:
    from likewise.refine import refine

    # The reference as target: something is always found in it.
    with mock.patch("likewise.decision.refine", wraps=refine) as refined:
        done(run(segment("reference.png", more=["--refine", refiner])))
    scores, pixels, size, used, *_ = refined.call_args.args
    assert used == refiner
    found = mask_of("out/reference.png")
    np.testing.assert_array_equal(found, refine(scores, pixels, size, refiner))
    assert found.any()
    assert (found != refine(scores, pixels, size, "none")).any()


def test_options_reach_the_segmenter(scene: Path) -> None:
    built = []
    with no_backbone_needed():
        from likewise import segmenter as module

        stub = module.Segmenter

        def build(**options: Any) -> Any:
            built.append(options)
            segmenter = stub()
            segmenter.encoder = mock.Mock(runtime="torch")
            return segmenter

        numbers = ["--image-size", "96", "--block", "1", "--tau", "0.7", "--alpha", "0.3"]
        words = ["--device", "cpu", "--dtype", "bfloat16", "--refine", "crf", "--offline"]
        words += ["--method", "insid3", "--tile", "off", "--runtime", "onnx"]
        with mock.patch.object(module, "Segmenter", build):
            for rank in ("20", "0.25", "1"):
                done(run(segment(more=[*numbers, *words, "--svd-components", rank])))
            done(run(segment()))
    ranks = [options.pop("svd_components", None) for options in built]
    assert [(type(r), r) for r in ranks] == [(int, 20), (float, 0.25), (int, 1), (type(None), None)]
    given = {"backbone": "tiny", "image_size": 96, "block": 1}
    given |= {"device": "cpu", "dtype": "bfloat16", "refiner": "crf", "offline": True}
    given |= {"tile": "off", "runtime": "onnx", "method": INSID3Params(tau=0.7, alpha=0.3)}
    assert built[0] == built[1] == built[2] == given
    defaults = {"device": "auto", "dtype": "auto", "refiner": "guided", "offline": False}
    defaults |= {"tile": "auto", "runtime": "torch"}
    assert built[3] == {
        **{"backbone": "tiny", "image_size": 64, "method": LikewiseParams()},
        **defaults,
    }
    own = {name: p.default for name, p in inspect.signature(Segmenter).parameters.items()}
    assert own["method"] == TunedMethodOptions().method
    assert all(own[k] == v for k, v in {**vars(FeatureOptions()), **defaults}.items())


def test_the_summary_counts(scene: Path) -> None:
    Path("b.jpg").write_bytes(b"")
    with no_backbone_needed():  # it finds nothing
        ran = run(segment("a.jpg", "b.jpg", "c.jpg"))
        assert ran.out == "2 of 3 masks written to out, 2 of them empty, 1 failed\n"
        assert ran.code == 1
        ran = run(segment("a.jpg", "b.jpg", "c.jpg", more=["--resume"]))
        assert ran.out == "0 of 3 masks written to out, 2 kept, 1 failed\n"
    with second_target(KeyboardInterrupt):
        ran = run(segment("reference.png", "a.jpg", "c.jpg", out="new"))
    assert ran.out == "1 of 3 masks written to new, 2 not reached\n"


def test_names_that_the_terminal_cannot_show(scene: Path) -> None:
    shutil.copy("a.jpg", "Möwe.jpg")
    ran = run(segment("Möwe.jpg", out="Vögel"), encoding="ascii")
    assert "Traceback" not in ran.err
    assert ran.code == 0
    assert names("Vögel") == {"Möwe.png"}

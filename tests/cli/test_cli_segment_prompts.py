"""`likewise segment --prompts`: some targets are corrected by points, boxes and scribbles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import done
from likewise import Reference, Segmenter, Session
from likewise.io.masks import read_mask
from scenes import TINY, run, segment


def write(prompts: Any) -> list[str]:
    """The option for a file of these prompts."""
    Path("p.json").write_text(json.dumps(prompts), "utf-8")
    return ["--prompts", "p.json"]


def test_named_targets_are_as_in_a_session(scene: Path, segmenter: Segmenter) -> None:
    prompts = {
        "a.jpg": {"points": [[5, 5, 1], [20, 20, 0]]},
        "b.jpg": {"box": [3, 3, 30, 30], "scribbles": [[[[10, 10], [15, 12]], 1]]},
    }
    done(run(segment("a.jpg", "b.jpg", "c.jpg", more=write(prompts))))
    segmenter.fit(("reference.png", "mask.png"))
    points = Session(segmenter, "a.jpg").click(5, 5).click(20, 20, False)
    line = [([(10, 10), (15, 12)], 1)]
    boxed = Session(segmenter, "b.jpg").prompt(box=(3, 3, 30, 30), scribbles=line)
    plain = segmenter.segment("c.jpg")
    for stem, result in (("a", points.result), ("b", boxed.result), ("c", plain)):
        np.testing.assert_array_equal(read_mask(f"out/{stem}.png"), result.mask)


def test_resume_does_again_what_has_other_prompts_alone(scene: Path) -> None:
    targets = ("a.jpg", "b.jpg", "c.jpg")

    def made(*more: str) -> set[str]:
        found = json.loads(done(run(segment(*targets, more=["--resume", "--json", *more]))))
        return {Path(t["target"]).name for t in found["targets"] if t["state"] == "made"}

    assert made() == {*targets}
    one = {"b.jpg": {"points": [[5, 5, 1]]}}
    assert made(*write(one)) == {"b.jpg"}
    assert made(*write(one)) == set()
    assert made(*write(one | {"a.jpg": {"box": [1, 1, 30, 30]}})) == {"a.jpg"}
    assert made() == {"a.jpg", "b.jpg"}


def test_of_several_classes_each_entry_names_one(scene: Path, segmenter: Segmenter) -> None:
    edge = np.zeros((40, 48), np.uint8)
    edge[:, 36:] = 255
    two = [Reference("reference.png", "mask.png", label="eye"), Reference("reference.png", edge)]
    segmenter.fit(two)
    segmenter.save("two.safetensors")
    entries = [{"label": "eye", "points": [[5, 5, 1]]}, {"label": "object", "points": [[5, 30, 1]]}]
    more = write({"a.jpg": entries})
    words = ["segment", "a.jpg", "-o", "out", "--references", "two.safetensors", *TINY[:2], *more]
    done(run(words))
    session = Session(segmenter, "a.jpg").click(5, 5, label="eye").click(5, 30, label="object")
    np.testing.assert_array_equal(np.array(Image.open("out/a.png")), session.result.label_map)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([1], "p.json must be an object of prompts by image"),
        ({"d.jpg": {}}, "p.json has prompts of d.jpg, but no target ends so"),
        ({"x/a.jpg": {"points": [[1, 1, 1]]}}, "but no target ends so"),
        ({"a.jpg": {}}, "p.json has no prompts of a.jpg"),
        ({"a.jpg": 3}, "must be an object with points, box or scribbles alone"),
        (
            {"a.jpg": {"point": [[1, 1, 1]]}},
            "must be an object with points, box or scribbles alone",
        ),
        ({"a.jpg": {"points": 3}}, "must be a list such as [[120, 80, 1]]"),
        ({"a.jpg": {"points": [[1, 99, 1]]}}, "the point (1, 99) lies outside a.jpg"),
        ({"a.jpg": {"points": [[{}, 1, 1]]}}, "must be three numbers"),
        ({"a.jpg": {"points": [[1, 1, 1]], "label": "cat"}}, "no reference of the class 'cat'"),
    ],
)
def test_refusals_before_anything_is_loaded(scene: Path, prompts: Any, message: str) -> None:
    ran = run(segment("a.jpg", more=write(prompts)))
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert not Path("out/a.png").exists()


def test_a_file_that_cannot_be_read(scene: Path) -> None:
    assert "p.json cannot be read" in run(segment("a.jpg", more=["--prompts", "p.json"])).err
    Path("p.json").write_text("{", "utf-8")
    assert "p.json is no JSON" in run(segment("a.jpg", more=["--prompts", "p.json"])).err
    for folder in ("x", "y"):
        Path(folder).mkdir()
        Path(folder, "a.jpg").write_bytes(Path("a.jpg").read_bytes())
    more = write({"a.jpg": {"points": [[1, 1, 1]]}})
    ran = run(segment("x/a.jpg", "y/a.jpg", more=more))
    assert "2 targets end so: give more of its path" in ran.err
    done(run(segment("x/a.jpg", "y/a.jpg", more=write({"x/a.jpg": {"points": [[1, 1, 1]]}}))))


def test_no_prompt_is_lost_in_silence(scene: Path) -> None:
    """A target named twice is refused, and an empty list; UTF-8 with a mark is read."""
    one = '{"points": [[5, 5, 1]]}'
    wrong = {
        f'{{"a.jpg": {one}, "a.jpg": {one}}}': "it has a.jpg twice",
        f'{{"a.jpg": {one}, "./a.jpg": {one}}}': "a.jpg twice: make one list",
        '{"a.jpg": []}': "must be an object with points",
    }
    for content, said in wrong.items():
        Path("p.json").write_text(content, "utf-8")
        ran = run(segment("a.jpg", more=["--prompts", "p.json"]))
        assert ran.code == 2
        assert said in ran.err
    Path("p.json").write_text(f'{{"a.jpg": {one}}}', "utf-8-sig")
    done(run(segment("a.jpg", more=["--prompts", "p.json"])))


def test_prompts_are_checked_against_the_page_that_is_chosen(scene: Path) -> None:
    pages = [Image.new("L", (80, 60), grey) for grey in (9, 90)]
    pages[0].save("two.tif", save_all=True, append_images=pages[1:])
    more = [*write({"two.tif": {"points": [[70, 50, 1]]}}), "--page", "1"]
    ran = run(segment("two.tif", more=more))
    assert ran.code == 0, ran.err
    assert "page 0 was taken" not in ran.err

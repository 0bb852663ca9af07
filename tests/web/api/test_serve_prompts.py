"""`/v1/prompt`: masks of what is pointed at, of pictures that stay encoded."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from likewise import Reference, Segmenter, Session
from likewise.backbones.encoder import Encoder
from likewise.io.masks import read_mask
from likewise.web import encoded_pictures
from live import NOBODY, Live, png, serving

CLICKS = [[12, 12, 1], [40, 30, 0]]


def test_masks_are_those_of_a_session(live: Live, encoder: Encoder, scene: Path, known: str):
    image = scene / "a.jpg"
    fields = [("image", image), ("reference", known)]
    pair = scene / "reference.png", scene / "mask.png"
    session = Session(Segmenter(encoder).fit([pair]), image)
    first = live.ask("POST", "/v1/prompt", fields).json  # no prompt yet
    assert first["image_id"] == hashlib.sha256(image.read_bytes()).hexdigest()[:32]
    assert (first["width"], first["height"]) == (48, 40)
    np.testing.assert_array_equal(read_mask(first["classes"][0]["rle"]), session.result.mask)
    for point in CLICKS:
        session.click(*point[:2], bool(point[2]))
    expected = session.prompt(box=(2, 2, 46, 39), scribbles=[([(20, 5), (30, 9)], 1)]).result
    for one in (("image", image), ("image_id", first["image_id"]), ("path", "a.jpg")):
        sent = [one, ("reference", known), ("points", json.dumps(CLICKS)), ("box", "[2,2,46,39]")]
        sent += [("scribbles", "[[[[20, 5], [30, 9]], 1]]"), ("label", "object")]
        answer = live.ask("POST", "/v1/prompt", sent)
        assert answer.status == 200
        (found,) = answer.json["classes"]
        np.testing.assert_array_equal(read_mask(found["rle"]), expected.mask)
        shown = live.ask("POST", "/v1/prompt?format=png", sent)
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(shown.body))), expected.mask)
        (found,) = live.ask("POST", "/v1/prompt?format=base64", sent).json["classes"]
        mask = np.array(Image.open(io.BytesIO(base64.b64decode(found["png"]))))
        np.testing.assert_array_equal(mask, expected.mask * np.uint8(255))


def test_without_references_prompts_alone_say_what_is_meant(
    live: Live, encoder: Encoder, scene: Path
):
    fields = [("image", scene / "b.jpg"), ("points", "[[12, 12, 1]]"), ("label", "eye")]
    (found,) = live.ask("POST", "/v1/prompt", fields).json["classes"]
    expected = Session(Segmenter(encoder), scene / "b.jpg").click(12, 12).result.mask
    assert found["label"] == "eye"
    np.testing.assert_array_equal(read_mask(found["rle"]), expected)


def test_a_mask_is_corrected(live: Live, encoder: Encoder, scene: Path):
    mask = np.zeros((40, 48), bool)
    mask[5:20, 5:30] = True
    fields = [("image", scene / "a.jpg"), ("mask", png(mask * np.uint8(255))), ("label", "eye")]
    (same,) = live.ask("POST", "/v1/prompt", fields).json["classes"]
    np.testing.assert_array_equal(read_mask(same["rle"]), mask)
    sent = [*fields, ("points", "[[25, 10, 0]]")]
    (found,) = live.ask("POST", "/v1/prompt", sent).json["classes"]
    expected = Session(Segmenter(encoder), scene / "a.jpg", mask).click(25, 10, False).result.mask
    np.testing.assert_array_equal(read_mask(found["rle"]), expected)
    assert not expected[10, 25]


def test_of_several_classes_all_are_answered(live: Live, encoder: Encoder, scene: Path):
    parts = np.array(Image.open(scene / "mask.png")) // 255
    parts[32:, 36:] = 2
    image = scene / "reference.png"
    fields: list[Any] = []
    for label, value in (("eye", "1"), ("corner", "2")):
        fields += [("images", image), ("masks", png(parts)), ("labels", label), ("values", value)]
    known = live.ask("POST", "/v1/references", fields).json["id"]
    sent = [("path", "a.jpg"), ("reference", known), ("points", "[[5, 5, 1]]")]
    assert live.ask("POST", "/v1/prompt", sent).error.startswith("say which class is meant")
    answer = live.ask("POST", "/v1/prompt", [*sent, ("label", "corner")]).json
    assert [c["label"] for c in answer["classes"]] == ["eye", "corner"]
    both = [Reference(image, parts, v, label) for label, v in (("eye", 1), ("corner", 2))]
    session = Session(Segmenter(encoder).fit(both), scene / "a.jpg").click(5, 5, label="corner")
    for found, (_, expected) in zip(answer["classes"], session.result.classes.items(), strict=True):
        if expected.mask.any():
            np.testing.assert_array_equal(read_mask(found["rle"]), expected.mask)


BAD = [
    ([], 422, "send one of image"),
    ([("path", "a.jpg"), ("image_id", NOBODY)], 422, "send one of image"),
    ([("image_id", NOBODY), ("points", "[[1, 1, 1]]")], 404, "there is no such image any more"),
    ([("image_id", "none")], 422, "image_id is missing or wrong"),
    ([("path", "none.jpg")], 404, "is not below --root"),
    ([("path", "a.jpg")], 422, "nothing is looked for yet"),
    ([("path", "a.jpg"), ("reference", NOBODY)], 404, "there are no references"),
    ([("path", "a.jpg"), ("points", "[[1, 1, 1]")], 422, "points is no JSON"),
    ([("path", "a.jpg"), ("points", "[" * 100_000)], 422, "points is no JSON"),
    ([("path", "a.jpg"), ("points", "{}")], 422, "must be a list such as [[120, 80, 1]]"),
    ([("path", "a.jpg"), ("points", "[[1, 1]]")], 422, "must be three numbers"),
    ([("path", "a.jpg"), ("points", "[[1, 99, 1]]")], 422, "lies outside image, which has 48"),
    ([("path", "a.jpg"), ("points", f"[[1{'0' * 400}, 9, 1]]")], 422, "must be three numbers"),
    ([("path", "a.jpg"), ("points", "[[NaN, 9, 1]]")], 422, "must be x, y and 1"),
    ([("path", "a.jpg"), ("points", "[[1, 1, 0]]")], 422, "says where the thing is"),
    ([("path", "a.jpg"), ("points", json.dumps([[1, 1, 1]] * 1001))], 422, "more than 1000"),
    ([("path", "a.jpg"), ("box", "7")], 422, "must be four numbers"),
    ([("path", "a.jpg"), ("scribbles", '[["ab", 1]]')], 422, "must be three numbers"),
    ([("path", "a.jpg"), ("scribbles", "[1]")], 422, "must be a list of (x, y) and a sign"),
    (
        [("path", "a.jpg"), ("scribbles", json.dumps([[[[0, 0], [47, 0]] * 20, 1]]))],
        422,
        "are longer than 10 times its width and height",
    ),
    ([("path", "a.jpg"), ("label", "a\tb")], 422, "a label must be a text"),
    ([("path", "a.jpg"), ("mask", b"none"), ("points", "[[1, 1, 1]]")], 422, "mask"),
    ([("path", "a.jpg"), ("mask", b"1"), ("reference", NOBODY)], 422, "send either reference or"),
    ([("path", "a.jpg"), ("more", "1")], 422, "does not know"),
    ([("path", "a.jpg"), ("path", "b.jpg")], 422, "more than once"),
]


@pytest.mark.parametrize(("fields", "status", "message"), BAD)
def test_refusals(live: Live, fields: Any, status: int, message: str):
    answer = live.ask("POST", "/v1/prompt", fields)
    assert (answer.status, message in answer.error) == (status, True), answer.error


def test_the_last_pictures_stay_encoded(encoder: Encoder, scene: Path):
    encoded = []
    real = Encoder.encode

    def encode(self: Encoder, *given: Any) -> Any:
        encoded.append(1)
        return real(self, *given)

    with (
        mock.patch.object(encoded_pictures, "KEPT", 2),
        mock.patch.object(Encoder, "encode", encode),
        serving(lambda: Segmenter(encoder), max_pixels=2 * 48 * 40) as server,
    ):

        def click(*image: Any) -> int:
            return server.ask("POST", "/v1/prompt", [image, ("points", "[[9, 9, 1]]")]).status

        names = ("a.jpg", "b.jpg", "c.jpg")
        ids = [hashlib.sha256((scene / n).read_bytes()).hexdigest()[:32] for n in names]
        assert [click("image", scene / name) for name in names] == [200] * 3
        assert len(encoded) == 3
        assert [click("image_id", one) for one in ids] == [404, 200, 200]
        assert click("image", scene / "c.jpg") == 200
        assert len(encoded) == 3
        wide = np.zeros((40, 60, 3), np.uint8)
        assert click("image", png(wide)) == 200  # 48 × 40 would be too much beside it
        assert [click("image_id", one) for one in ids] == [404] * 3

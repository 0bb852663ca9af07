"""What is sent to `likewise serve`: huge images, broken forms, other bodies."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from helpers import refusal
from likewise.io.images import read_image_bytes
from live import NOBODY, Live, form, head, png, read_raw
from scenes import write_bomb

# --- images that nobody should open ---------------------------------------------------------------


def huge_png(side: int) -> bytes:
    """A whole, valid PNG of side × side pixels of one bit, all black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    packer = zlib.compressobj(1)
    rows = bytes(100 * (side // 8 + 1))
    data = b"".join(packer.compress(rows) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_huge_images_are_refused_before_they_are_decoded(
    live: Live, example: Any, known: str, tmp_path: Path
):
    write_bomb(str(tmp_path / "bomb.png"))
    bomb, whole = (tmp_path / "bomb.png").read_bytes(), huge_png(50_000)
    assert len(whole) < 2_000_000
    image, mask = example
    forms: list[tuple[str, list[Any]]] = []
    for huge in (bomb, whole):
        forms += [
            ("segment", [("reference", known), ("image", huge)]),
            ("references", [("images", huge), mask]),
            ("references", [image, ("masks", huge)]),
            ("references", [*example, ("negative", huge)]),
            ("match", [("reference", huge), ("image", image[1]), ("points", "[[1,1]]")]),
            ("match", [("reference", image[1]), ("image", huge), ("points", "[[1,1]]")]),
        ]
    loads = []
    with mock.patch.object(PngImagePlugin.PngImageFile, "load", lambda self: loads.append(self)):
        for route, fields in forms:
            answer = live.ask("POST", f"/v1/{route}", fields)
            assert answer.status == 413
            assert "pixels, over the limit of 1000000" in answer.error
    assert loads == []


def test_all_images_of_a_request_together_are_limited(live: Live, example: Any):
    big = png(np.zeros((1000, 1000), np.uint8))
    fields = [*example, *[("negative", big)] * 4]
    answer = live.ask("POST", "/v1/references", fields)
    assert answer.status == 413
    assert "4000000 pixels together" in answer.error


def test_kinds_of_files_that_start_programs_are_refused(live: Live, known: str, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    answer = live.ask("POST", "/v1/segment", [("reference", known), ("image", tmp_path / "a.eps")])
    assert answer.status == 422
    assert "image is not an image that can be read" in answer.error


def test_what_does_not_fit_together(live: Live, known: str, scene: Path):
    image, reference = ("image", scene / "a.jpg"), ("reference", known)
    rows: list[tuple[list[Any], int]] = [
        ([reference], 422),
        ([reference, image, ("path", "a.jpg")], 422),
        ([image], 422),
        ([("reference", NOBODY), image], 404),
        ([("reference", "../x"), image], 422),
        ([reference, ("image", "a text")], 422),
        ([reference, image, ("classes", "other")], 422),
        ([reference, image, ("threshold", "nan")], 422),
        ([reference, image, ("threshold", "1e999")], 422),
    ]
    for fields, status in rows:
        answer = live.ask("POST", "/v1/segment", fields)
        assert (answer.status, bool(answer.error)) == (status, True), fields
    assert live.ask("POST", "/v1/segment?format=gif", [reference, image]).status == 422
    for threshold, area in (("1e308", 0), ("-1e308", 1)):
        answer = live.ask("POST", "/v1/segment", [reference, image, ("threshold", threshold)])
        assert answer.json["classes"][0]["area"] == area
    assert live.ask("GET", "/v1/references/x").status == 422
    assert live.ask("GET", "/v1/nothing").status == 404
    wrong = live.ask("PUT", "/v1/references")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, POST")


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "image/png", ""])
def test_another_content_type(live: Live, kind: str):
    assert live.ask("POST", "/v1/segment", [], content_type=kind).status == 415


def test_a_broken_form(live: Live):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=other"):
        answer = live.ask("POST", "/v1/references", [("labels", "a")], content_type=kind)
        assert answer.status in (400, 422)
        assert answer.error


CHARSETS = ("utf-8", "utf-16", "unicode_escape", "idna", "punycode", "undefined", "rot13", "x")
HARD = (
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "[[[1]]]",
    "[[NaN, 1e999]]",
)
TEXTS = (
    *HARD,
    "\\ud800",
    "\0",
    "",
    "any",
    "255,0,0",
    "true",
    "null",
    '{"a": []}',
    "\u202e",
    "é" * 200,
)
NAMES = ("images", "masks", "labels", "values", "negative", "file", "reference", "image", "path")
NAMES += ("classes", "threshold", "points", "debiased", "", "n\0", "\\ud800")


@settings(max_examples=150, deadline=None)
@given(
    route=st.sampled_from(["references", "segment", "match"]),
    fields=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS)), max_size=5),
    charset=st.sampled_from(CHARSETS),
    whole=st.booleans(),
)
def test_no_text_in_any_field_is_a_mistake_of_ours(
    live: Live, scene: Path, example: Any, route: str, fields: Any, charset: str, whole: bool
):
    """4xx and one sentence, or an answer; also beside what the route needs."""
    image, mask = scene / "reference.png", scene / "mask.png"
    known = live.ask("POST", "/v1/references", example).json["id"] if whole else ""
    needed: dict[str, list[Any]] = {
        "references": [("images", image), ("masks", mask)],
        "segment": [("reference", known), ("image", image)],
        "match": [("reference", image), ("image", image)],
    }
    body, kind = form([*(needed[route] if whole else ()), *fields])
    with live.raw(
        head(route, f"Content-Type: {kind}; charset={charset}", f"Content-Length: {len(body)}"),
        body,
    ) as connection:
        answer = read_raw(connection)
    assert answer.status in (200, 201) or (400 <= answer.status < 500 and answer.error)


def test_a_form_that_is_cut_short_is_400_wherever_that_is(live: Live, example: Any):
    body, kind = form([*example, ("labels", "a"), ("labels", "")])
    ends = [1, len(body) // 2, *range(len(body) - 60, len(body) - 3)]
    for end in ends:
        lines = head("references", f"Content-Type: {kind}", f"Content-Length: {end}")
        with live.raw(lines, body[:end]) as connection:
            answer = read_raw(connection)
        assert (answer.status, end) == (400, end)
        assert "cut short" in answer.error or "parsing" in answer.error
    # In small pieces, and with what may follow the last boundary, it is whole.
    body, kind = form(example)
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b"more"]]
    lines = head("references", f"Content-Type: {kind}", "Transfer-Encoding: chunked")
    with live.raw(lines, *chunks, b"0\r\n\r\n") as connection:
        assert read_raw(connection).status == 201


def test_reading_what_is_sent_takes_no_more_memory_than_that(live: Live, example: Any):
    """Bytes of a pixel count, and what is copied: 16 bits of a grey one take more than 8 of RGB."""
    wide = io.BytesIO()
    Image.fromarray(np.zeros((1000, 1000), np.float32)).save(wide, "TIFF", compression="tiff_lzw")
    once = [*example, ("negative", wide.getvalue())]
    assert live.ask("POST", "/v1/references", once).status == 201
    twice = [*once, *[("negative", png(np.zeros((1000, 1000), np.uint8)))] * 2]
    answer = live.ask("POST", "/v1/references", twice)
    assert answer.status == 413
    assert "MB to read, over the limit of 36 for a request" in answer.error


def test_an_image_inside_a_request_is_bounded_before_it_is_decoded():
    """What the page and Label Studio's backend read."""
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG")
    assert len(file.getvalue()) < 200_000
    with mock.patch.object(PngImagePlugin.PngImageFile, "load", side_effect=AssertionError):
        text = refusal(read_image_bytes, file.getvalue(), "the image")
    assert "the image is 13000 × 13000 pixels, which take 2028 MB to read" in text
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert "is not an image that can be read" in refusal(read_image_bytes, postscript, "the image")


def test_what_was_assumed_is_said(live: Live, scene: Path):
    frames, file = [Image.open(scene / name) for name in ("reference.png", "a.jpg")], io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    sent = [("images", file.getvalue()), ("masks", scene / "mask.png"), ("labels", "noted")]
    answers = [live.ask("POST", "/v1/references", sent) for _ in range(2)]
    note = "images[0]: frame 0 was taken, of 0 to 1."
    assert [answer.json["notes"] for answer in answers] == [[note], [note]]
    fields = [("reference", answers[0].json["id"]), ("image", file.getvalue())]
    found = live.ask("POST", "/v1/segment", fields).json
    assert found["notes"] == ["image: frame 0 was taken, of 0 to 1."]


@pytest.mark.parametrize("text", ["255", "any", "#ffffff", "255, 255, 255", "12,", "none"])
def test_what_part_of_a_mask_is_the_example(live: Live, example: Any, text: str) -> None:
    answer = live.ask("POST", "/v1/references", [*example, ("values", text)])
    if text in ("12,", "none"):
        assert answer.status == 422
        assert answer.error.startswith(f"values[0]: '{text}' is no value of a mask")
    else:
        assert answer.status in (200, 201)


def test_what_is_no_picture_is_said(live: Live, known: str) -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    for content, words in ((b"", "image is empty"), (heic, "image is a HEIC picture")):
        answer = live.ask("POST", "/v1/segment", [("reference", known), ("image", content)])
        assert answer.status == 422
        assert words in answer.error

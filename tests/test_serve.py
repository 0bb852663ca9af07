"""`likewise serve` over real connections, with a tiny random backbone."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file, save_file

import likewise
from bad_inputs import make_scene, write_bomb
from helpers import refusal
from likewise import LikewiseParams, Reference, Segmenter, match
from likewise import reference_file as files
from likewise.backbones.encoder import Encoder
from likewise.io.images import read_image_bytes
from likewise.io.masks import read_mask
from likewise.web import connections
from likewise.web.guard import Access, host_of, is_loopback
from likewise.web.serving import bind
from live import Answer, Live, form, read_raw, serving

EXAMPLE = Path(likewise.__file__).parent / "example"
CLIENT = Path(__file__).parents[1] / "examples" / "client.py"
NOBODY = "0" * 32


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """reference.png, mask.png and a.jpg, b.jpg, c.jpg of 48 × 40 pixels."""
    return make_scene(tmp_path_factory.mktemp("serve") / "scene", tiny)


@pytest.fixture(scope="module")
def encoder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    cache = str(tmp_path_factory.mktemp("cache"))
    with mock.patch.dict(os.environ, {"LIKEWISE_CACHE": cache}):
        yield Encoder(tiny, image_size=64, device="cpu")


@pytest.fixture(scope="module")
def live(encoder: Encoder, scene: Path) -> Iterator[Live]:
    """A server with the scene as its root."""
    settings = {"keep": 3, "max_pixels": 1_000_000, "max_bytes": 2_000_000}
    with serving(lambda: Segmenter(encoder), root=scene.resolve(), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def example(scene: Path) -> list[tuple[str, Path]]:
    return [("images", scene / "reference.png"), ("masks", scene / "mask.png")]


@pytest.fixture
def known(live: Live, example: Any) -> str:
    """Id of the scene's reference on the server."""
    return live.ask("POST", "/v1/references", example).json["id"]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


class Gated(Segmenter):
    """Segments nothing before the gate opens."""

    gate = threading.Event()
    begun = threading.Event()
    count = 0

    def segment(self, image: Any) -> Any:
        Gated.count += 1
        Gated.begun.set()
        assert Gated.gate.wait(60)
        return super().segment(image)


@pytest.fixture
def gated(encoder: Encoder) -> Iterator[Callable[[], Segmenter]]:
    Gated.gate.clear()
    Gated.begun.clear()
    Gated.count = 0
    yield lambda: Gated(encoder)
    Gated.gate.set()


# --- what it is for -------------------------------------------------------------------------------


def test_masks_are_those_of_the_segmenter(live: Live, encoder: Encoder, scene: Path):
    parts = np.array(Image.open(scene / "mask.png")) // 255
    parts[32:, 36:] = 2
    image = scene / "reference.png"
    eye, corner = (Reference(image, parts, v, label) for v, label in ((1, "eye"), (2, "corner")))
    negative = np.zeros((30, 30, 3), np.uint8)
    fitted = Segmenter(encoder).fit([eye, corner, Reference(negative, None, negative=True)])
    truth = fitted.segment(scene / "a.jpg")
    assert truth.classes["eye"].mask.any()

    fields = [("images", image), ("masks", png(parts)), ("labels", "eye"), ("values", "1")]
    fields += [("images", image), ("masks", png(parts)), ("labels", "corner"), ("values", "2")]
    sent = live.ask("POST", "/v1/references", [*fields, ("negative", png(negative))])
    assert sent.status == 201
    assert sent.json["negatives"] == 1
    assert [c["label"] for c in sent.json["classes"]] == ["eye", "corner"]
    both = [("reference", sent.json["id"]), ("image", scene / "a.jpg")]
    answer = live.ask("POST", "/v1/segment", both).json
    assert (answer["width"], answer["height"]) == (48, 40)
    for found, (label, expected) in zip(answer["classes"], truth.classes.items(), strict=True):
        assert found["label"] == label
        assert found["confidence"] == expected.confidence
        assert found["present"] == expected.mask.any()
        assert found["area"] == expected.mask.mean()
        if expected.mask.any():
            np.testing.assert_array_equal(read_mask(found["rle"]), expected.mask)
    in_base64 = live.ask("POST", "/v1/segment?format=base64", [*both, ("classes", "eye")]).json
    (only,) = in_base64["classes"]
    assert "rle" not in only
    mask = np.array(Image.open(io.BytesIO(base64.b64decode(only["png"]))))
    np.testing.assert_array_equal(mask, truth.classes["eye"].mask * np.uint8(255))
    whole = live.ask("POST", "/v1/segment?format=png", both)
    assert whole.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(whole.body))), truth.label_map)
    one = live.ask("POST", "/v1/segment?format=png", [*both, ("classes", "corner")])
    shown = np.where(truth.label_map == 2, 2, 0)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(one.body))), shown)


def test_threshold_is_that_of_the_segmenter(live: Live, encoder: Encoder, scene: Path, known: str):
    pair = (scene / "reference.png", scene / "mask.png")
    areas = []
    for threshold in (-3.0, 3.0):
        expected = (
            Segmenter(encoder, method=LikewiseParams(threshold=threshold))
            .fit([pair])
            .segment(scene / "a.jpg")
        )
        fields = [("reference", known), ("path", "a.jpg"), ("threshold", str(threshold))]
        (found,) = live.ask("POST", "/v1/segment", fields).json["classes"]
        np.testing.assert_array_equal(read_mask(found["rle"]), expected.mask)
        areas.append(found["area"])
    assert areas[0] > areas[1]


def test_a_method_without_threshold_says_so(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder, method="insid3")) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        assert server.ask("POST", "/v1/segment", fields).status == 200
        answer = server.ask("POST", "/v1/segment", [*fields, ("threshold", "1")])
        assert answer.status == 422
        assert answer.error.startswith("method insid3 has no setting threshold")


def test_a_references_file_finds_the_same(
    live: Live, encoder: Encoder, scene: Path, tmp_path: Path, example: Any
):
    pair = (scene / "reference.png", scene / "mask.png")
    fitted = Segmenter(encoder).fit([pair])
    fitted.save(tmp_path / "r.safetensors")
    sent = live.ask("POST", "/v1/references", [("file", tmp_path / "r.safetensors")])
    assert sent.json["classes"] == [{"label": "object", "value": 1, "references": 1}]
    fields = [("reference", sent.json["id"]), ("path", "b.jpg")]
    (found,) = live.ask("POST", "/v1/segment", fields).json["classes"]
    np.testing.assert_array_equal(read_mask(found["rle"]), fitted.segment(scene / "b.jpg").mask)


def test_points_are_those_of_the_segmenter(live: Live, encoder: Encoder, scene: Path):
    points = [[10, 10], [30.5, 20]]
    found, similarity = match(Segmenter(encoder), scene / "reference.png", points, scene / "a.jpg")
    fields = [("reference", scene / "reference.png"), ("image", scene / "a.jpg")]
    answer = live.ask("POST", "/v1/match", [*fields, ("points", json.dumps(points))])
    assert answer.json == {
        "points": found.tolist(),
        "similarity": similarity.tolist(),
        "notes": [],
    }
    for wrong in (
        "[[1,2,3]]",
        "[[1,1e999]]",
        "[[NaN,1]]",
        "[[99,1]]",
        "[]",
        "x",
        "5",
        '[["a",1]]',
        "{}",
        "[" * 9999,
        f"[[1{'0' * 400},1]]",
        f"[[1,-1{'0' * 400}]]",
        f"[[1{'0' * 5000},1]]",
        "[[[1,2]]]",
        "[[1,2],[3]]",
        '[["\\ud800",1]]',
        "\0",
    ):
        assert live.ask("POST", "/v1/match", [*fields, ("points", wrong)]).status == 422
    many = json.dumps([[1, 1]] * 1001)
    assert live.ask("POST", "/v1/match", [*fields, ("points", many)]).status == 413


def test_the_example_client(encoder: Encoder, tmp_path: Path):
    """The program of examples/, on the bundled pictures, with a token."""
    pictures = [EXAMPLE / f"coin_{name}.png" for name in ("reference", "reference_mask", "1")]
    expected = Segmenter(encoder).fit([tuple(pictures[:2])]).segment(pictures[2])
    with serving(lambda: Segmenter(encoder), token="secret") as server:
        words = [*map(str, pictures), "--url", f"http://127.0.0.1:{server.port}"]
        words += ["--out", str(tmp_path / "found.png")]
        environment = {**os.environ, "LIKEWISE_TOKEN": "secret"}
        command = [sys.executable, str(CLIENT), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["area"] == expected.area
        with Image.open(tmp_path / "found.png") as image:
            np.testing.assert_array_equal(np.array(image), expected.label_map)
        environment["LIKEWISE_TOKEN"] = "other"
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("401: the token is missing or wrong")
    assert len(CLIENT.read_text("utf-8").splitlines()) <= 60


# --- references -----------------------------------------------------------------------------------


def test_the_set_not_used_for_longest_goes(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder), keep=2) as server:

        def send(label: str) -> str:
            return server.ask("POST", "/v1/references", [*example, ("labels", label)]).json["id"]

        def kept() -> list[str]:
            listed = server.ask("GET", "/v1/references").json
            assert listed["most"] == 2
            return [references["id"] for references in listed["references"]]

        first, second = send("a"), send("b")
        assert first != second
        assert send("a") == first  # the same content; used last now
        third = send("c")
        assert kept() == [first, third]
        fields = [("reference", first), ("image", scene / "a.jpg")]
        assert server.ask("POST", "/v1/segment", fields).status == 200
        assert kept() == [third, first]
        assert server.ask("GET", f"/v1/references/{second}").status == 404
        assert server.metric("likewise_reference_sets") == 2
        gone = server.ask("DELETE", f"/v1/references/{first}")
        assert (gone.status, gone.body) == (204, b"")
        assert server.ask("DELETE", f"/v1/references/{first}").status == 404
        assert "send them" in server.ask("POST", "/v1/segment", fields).error
        assert kept() == [third]


def test_the_same_references_are_encoded_once(encoder: Encoder, example: Any):
    with (
        serving(lambda: Segmenter(encoder)) as server,
        mock.patch.object(Segmenter, "fit", autospec=True, side_effect=Segmenter.fit) as fit,
    ):
        for _ in range(2):
            assert server.ask("POST", "/v1/references", example).status == 201
        assert fit.call_count == 1


def test_references_that_cannot_be_used(live: Live, example: Any, scene: Path):
    image, mask = example
    rows: list[tuple[list[Any], int, str]] = [
        ([("labels", "a")], 422, "no reference was sent"),
        ([image], 422, "1 images and 0 masks were sent"),
        ([*example, ("labels", "a"), ("labels", "b")], 422, "1 images and 2 labels"),
        ([*example, ("labels", "a\nb")], 422, "a label must be"),
        ([*example, ("labels", "a" * 101)], 422, "a label must be"),
        ([*example, ("values", "7")], 422, "masks[0] does not hold the value 7"),
        ([*example, ("values", "9" * 10)], 422, "masks[0] does not hold the value 999"),
        ([*example, ("values", "9" * 30)], 422, "values.0 is missing or wrong"),
        ([*example, ("values", "x")], 422, "values[0]: 'x' is no value of a mask"),
        ([*example, ("values", "1,2")], 422, "values[0]: '1,2' is no value of a mask"),
        ([*example, ("lables", "a")], 422, "the form has a field that this route does not know"),
        ([("file", b"x"), ("file", b"y")], 422, "file was sent more than once"),
        ([image, ("masks", b"no image")], 422, "masks[0] is not an image"),
        ([image, ("masks", "a text")], 422, "masks.0 is missing or wrong"),
        ([("images", b""), mask], 422, "images[0] is empty"),
        ([image, ("masks", png(np.zeros((40, 48), np.uint8)))], 422, "masks[0] marks nothing"),
        ([image, ("masks", png(np.eye(40, dtype=np.uint8)))], 422, "masks[0] is 40 × 40"),
        ([("images", (scene / "a.jpg").read_bytes()[:700]), mask], 422, "images[0] is cut short"),
        ([*example, ("file", b"x")], 422, "file holds all references"),
        ([("file", b"x")], 422, "file is no whole references file"),
        ([image] * 33 + [mask] * 33, 413, "a set has at most 32"),
        ([*example, ("negative", b"GIF89a")], 422, "negative[0]"),
    ]
    for fields, status, start in rows:
        answer = live.ask("POST", "/v1/references", fields)
        assert answer.status == status, (start, answer)
        assert answer.error.startswith(start), answer.error
    assert live.ask("POST", "/v1/references", example).status == 201


def test_hostile_references_files(live: Live, encoder: Encoder, scene: Path, tmp_path: Path):
    """Their digest is right, for whoever writes a file can compute it; their content is not."""
    path = tmp_path / "r.safetensors"
    Segmenter(encoder).fit([(scene / "reference.png", scene / "mask.png")]).save(path)
    good, facts = load_file(path), read_facts(path)
    features = good["picture.0.features"]
    (shot,) = facts["shots"]
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"picture.0.features": features[:3]}, {}),
        ({"picture.0.features": features * np.float32(np.nan)}, {}),
        ({"picture.0.features": features * np.float32(1e30)}, {}),
        ({"picture.0.features": features.astype(np.float64)}, {}),
        ({"picture.0.colour": np.zeros((2, 3), np.float32)}, {}),
        ({"shot.0.mask.plain": np.zeros(16, bool)}, {}),
        ({"shot.0.mask.plain": np.ones(15, bool)}, {}),
        ({"shot.0.mask.plain": None}, {}),
        ({"picture.0.features": None}, {}),
        ({}, {"shots": []}),
        ({}, {"shots": 5}),
        ({}, {"shots": ["x"]}),
        ({}, {"shots": [shot | {"negative": True}]}),
        ({}, {"shots": [shot | {"label": 7}]}),
        ({}, {"shots": [shot | {"label": ["a", ["b"]]}]}),
        ({}, {"shots": [shot | {"label": "\ud800"}]}),
        ({}, {"shots": [shot | {"pictures": {"plain": 99}}]}),
        ({}, {"shots": [shot | {"pictures": {"plain": "x"}}]}),
        ({}, {"shots": [shot | {"pictures": {}}]}),
        ({}, {"shots": [shot | {"pictures": None}]}),
        ({}, {"shots": [shot] * 33}),
        ({}, {"pictures": [[0, 0]] * len(facts["pictures"])}),
        ({}, {"pictures": "ab"}),
        ({}, {"views": [["x"]]}),
        ({}, {"views": 3}),
        ({}, {"image_size": "big"}),
        ({}, {"format": "x"}),
    ]
    for tensors, more in changes:
        changed = {k: v for k, v in (good | tensors).items() if v is not None}
        new = facts | more
        new["digest"] = files.digest_of(new, changed)
        save_file(changed, path, {files.ENTRY: json.dumps(new)})
        answer = live.ask("POST", "/v1/references", [("file", path)])
        assert answer.status in (413, 422), (more, list(tensors), answer)
        assert str(tmp_path) not in answer.error
        assert "likewise-" not in answer.error  # nor where the server had put it
    save_file(good, path, {files.ENTRY: "[" * 100_000})
    assert live.ask("POST", "/v1/references", [("file", path)]).status == 422


def read_facts(path: Path) -> dict[str, Any]:
    """What a references file says of itself, without its digest."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    facts = json.loads(header["__metadata__"][files.ENTRY])
    del facts["digest"]
    return facts


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


# --- files of the server --------------------------------------------------------------------------


def test_paths_do_not_leave_the_root(encoder: Encoder, example: Any, tmp_path: Path, scene: Path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes((scene / "a.jpg").read_bytes())
    inside = root / "sub" / "inside.jpg"
    inside.write_bytes(outside.read_bytes())
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "a.jpg").write_bytes(outside.read_bytes())
    (root / "link.jpg").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    (root / "ring").symlink_to(root / "ring")
    (root / "fine.jpg").symlink_to(inside)
    os.mkfifo(root / "pipe")
    with serving(lambda: Segmenter(encoder), root=root.resolve()) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]

        def ask(path: str) -> tuple[int, str]:
            answer = server.ask("POST", "/v1/segment", [("reference", known), ("path", path)])
            return answer.status, "" if answer.status == 200 else answer.error

        for path in ("sub/inside.jpg", "fine.jpg", "sub/../fine.jpg"):
            assert ask(path) == (200, "")
        refusals = {
            ask(path)
            for path in (
                *("../outside.jpg", str(outside), "sub/../../outside.jpg", "../root2/a.jpg"),
                *("link.jpg", "up/outside.jpg", "ring", "pipe", "sub", ".", "none.jpg"),
                *("a\0b", "a" * 5000, "/etc/passwd", "\\..\\outside.jpg", "sub/inside.jpg/x"),
            )
        }
        assert len(refusals) == 1  # what is elsewhere cannot be told from what is nowhere
        assert refusals.pop()[0] == 404
        (root / "note.jpg").write_text("no image")
        assert ask("note.jpg")[0] == 422


def test_without_a_root_no_file_is_read(encoder: Encoder, example: Any):
    with serving(lambda: Segmenter(encoder)) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        answer = server.ask("POST", "/v1/segment", [("reference", known), ("path", "a.jpg")])
        assert answer.status == 403


# --- bodies ---------------------------------------------------------------------------------------


def head(route: str, *more: str) -> bytes:
    lines = [f"POST /v1/{route} HTTP/1.1", "Host: localhost", *more]
    return "\r\n".join([*lines, "", ""]).encode()


MULTIPART = "Content-Type: multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "image/png", ""])
def test_another_content_type(live: Live, kind: str):
    assert live.ask("POST", "/v1/segment", [], content_type=kind).status == 415


def test_a_broken_form(live: Live):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=other"):
        answer = live.ask("POST", "/v1/references", [("labels", "a")], content_type=kind)
        assert answer.status in (400, 422)
        assert answer.error


def send_for_ever(connection: socket.socket, part: bytes, pause: float = 0) -> None:
    while True:
        connection.sendall(part)
        time.sleep(pause)


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
    note = "images[0]: frame 1 of 2 was taken."
    assert [answer.json["notes"] for answer in answers] == [[note], [note]]
    fields = [("reference", answers[0].json["id"]), ("image", file.getvalue())]
    found = live.ask("POST", "/v1/segment", fields).json
    assert found["notes"] == ["image: frame 1 of 2 was taken."]


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


# --- connections ----------------------------------------------------------------------------------


def test_answers_do_not_wait_for_more(live: Live):
    """With Nagle's algorithm every answer on a connection that is kept waits 40 ms."""
    with bind("127.0.0.1", 0, secret=True) as listener:
        listener.listen()
        with (
            socket.create_connection(listener.getsockname()),
            listener.accept()[0] as accepted,
        ):
            assert (
                accepted.proto == socket.IPPROTO_TCP
            )  # what asyncio asks before it switches it off


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few connections, and little time for a head."""
    monkeypatch.setattr(connections, "MOST", 6)
    monkeypatch.setattr(connections, "PER_CLIENT", 3)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)


def connect(server: Live, host: str) -> socket.socket:
    """A connection from another address of this machine."""
    try:
        return socket.create_connection(("127.0.0.1", server.port), 60, source_address=(host, 0))
    except OSError:
        pytest.skip("this machine has no address 127.0.0.2")


HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_silent_connections_lock_nobody_out(encoder: Encoder, brief: None):
    with serving(lambda: Segmenter(encoder)) as server, ExitStack() as stack:

        def ask(host: str) -> Answer:
            with connect(server, host) as connection:
                connection.sendall(HEALTH)
                return read_raw(connection)

        def hold(host: str, count: int) -> list[socket.socket]:
            return [stack.enter_context(connect(server, host)) for _ in range(count)]

        silent = hold("127.0.0.1", 3)
        refused = ask("127.0.0.1")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert "of your address" in refused.error
        assert ask("127.0.0.2").status == 200  # one address takes its own share only
        hold("127.0.0.2", 3)
        assert ask("127.0.0.3").status == 503  # now it is full
        assert silent[0].recv(1) == b""  # closed by the server, for it never asked
        while (answer := ask("127.0.0.1")).status != 200:
            assert answer.status == 503
            time.sleep(0.1)


def test_a_head_that_trickles_in(encoder: Encoder, brief: None):
    """Also the second one of a connection; a slow body is another matter."""
    with serving(lambda: Segmenter(encoder)) as server:
        for before in (b"", HEALTH):
            with server.raw(before) as connection:
                if before:
                    assert read_raw(connection).status == 200
                connection.sendall(b"GET /")
                with pytest.raises(OSError):  # it hangs up on us
                    send_for_ever(connection, b"a", pause=0.05)


def test_what_is_no_http_is_answered_in_json_too(live: Live):
    with live.raw(b"\x16\x03\x01\r\n\r\n") as connection:
        assert read_raw(connection).error == "this is no HTTP request."


def test_a_body_that_is_too_large_is_not_read_to_its_end(live: Live):
    start, part = (b"%x\r\n" % len(x) + x + b"\r\n" for x in (FILE, bytes(100_000)))
    declared = live.raw(head("references", MULTIPART, "Content-Length: 99999999999"), FILE)
    chunked = live.raw(head("references", MULTIPART, "Transfer-Encoding: chunked"), start)
    with chunked, pytest.raises(OSError):  # it hangs up on us
        send_for_ever(chunked, part)
    with declared:
        answer = read_raw(declared)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert declared.recv(1) == b""
    # With less, the answer can be read.
    more = (head("references", MULTIPART, "Transfer-Encoding: chunked"), start, *[part] * 30)
    with live.raw(*more, b"0\r\n\r\n") as chunked:
        answer = read_raw(chunked)
    assert answer.status == 413
    assert "more than 2000000 bytes" in answer.error
    assert live.ask("GET", "/v1/health").status == 200


def test_a_large_upload_is_refused_before_it_is_sent(live: Live):
    more = (MULTIPART, "Content-Length: 9000000", "Expect: 100-continue")
    with live.raw(head("references", *more)) as connection:
        answer = read_raw(connection)
    assert answer.status == 413


def test_a_body_that_trickles_in(encoder: Encoder):
    with serving(lambda: Segmenter(encoder), upload_timeout=0.4) as server:
        connection = server.raw(head("references", MULTIPART, "Content-Length: 100000"), FILE)
        with connection:
            stop = threading.Event()

            def trickle() -> None:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b".")
                    except OSError:
                        return

            thread = threading.Thread(target=trickle)
            thread.start()
            answer = read_raw(connection)
            stop.set()
            thread.join()
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        assert "0.4 seconds" in answer.error


# --- who may ask ----------------------------------------------------------------------------------


def test_the_token(encoder: Encoder, example: Any):
    with serving(lambda: Segmenter(encoder), token="sesame") as server:
        for wrong in ("", "Bearer", "Bearer ", "Bearer esame", "Bearer sesame2", "Basic sesame"):
            answer = server.ask("GET", "/v1/references", authorization=wrong)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            refused = server.ask("POST", "/v1/references", example, authorization=wrong)
            assert refused.status == 401
        assert server.ask("GET", "/v1/metrics", authorization="").status == 401
        assert server.ask("GET", "/v1/nothing", authorization="").status == 401
        assert server.ask("GET", "/v1/health", authorization="").status == 200
        document = server.ask("GET", "/openapi.json", authorization="").json
        assert document["paths"]["/v1/segment"]["post"]["security"] == [{"HTTPBearer": []}]
        assert "security" not in document["paths"]["/v1/health"]["get"]
        assert server.ask("GET", "/v1/references", authorization="bearer sesame").status == 200
        # Whoever has the token may call the server by any name, from any page.
        strange = {"host": "example.org", "origin": "https://example.org"}
        assert server.ask("GET", "/v1/references", **strange).status == 200


def test_other_names_and_origins_without_a_token(live: Live, known: str, scene: Path):
    fields = [("reference", known), ("image", scene / "a.jpg")]
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "["):
        assert live.ask("GET", "/v1/health", host=host).status == 403
    for host in ("localhost", "LOCALHOST:8000", f"127.0.0.1:{live.port}", "[::1]:8000"):
        assert live.ask("GET", "/v1/health", host=host).status == 200
    own = f"http://127.0.0.1:{live.port}"
    strange = ("https://evil.example", "null", "http://localhost.evil.example", "http://[", "")
    for origin in (*strange, "http://localhost:3000", own.replace("http", "https")):
        assert live.ask("POST", "/v1/segment", fields, origin=origin).status == 403
        assert live.ask("DELETE", f"/v1/references/{known}", origin=origin).status == 403
    answer = live.ask("POST", "/v1/segment", fields, origin=own)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_origin_that_is_allowed(encoder: Encoder):
    page = "https://app.example"
    with serving(lambda: Segmenter(encoder), origins=(page,)) as server:
        answer = server.ask("GET", "/v1/references", origin=page)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page)
        assert server.ask("GET", "/v1/references", origin="https://other.example").status == 403
        headers = {"access_control_request_method": "POST"}
        asked = server.ask("OPTIONS", "/v1/segment", origin=page, **headers)
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, page)


def test_names_of_this_machine():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("", "0.0.0.0", "10.0.0.1", "localhost.x", "0x7f000001")))
    assert host_of("http://[") == ""


# --- more than it can do --------------------------------------------------------------------------


def test_a_full_queue(gated: Callable[[], Segmenter], example: Any, scene: Path):
    with serving(gated, queue=2) as server, ThreadPoolExecutor(3) as pool:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        asked = [pool.submit(server.ask, "POST", "/v1/segment", fields)]
        assert Gated.begun.wait(60)
        asked += [pool.submit(server.ask, "POST", "/v1/segment", fields) for _ in range(2)]
        while server.metric("likewise_queue_length") < 2:
            time.sleep(0.01)
        for _ in range(3):
            answer = server.ask("POST", "/v1/segment", fields)
            assert answer.status == 429
            assert int(answer.headers["retry-after"]) >= 1
        assert server.ask("GET", "/v1/health").status == 200
        Gated.gate.set()
        assert [f.result().status for f in asked] == [200] * 3
        name = 'likewise_requests_total{method="POST",route="/v1/segment",status="429"}'
        assert server.metric(name) == 3
        assert server.ask("POST", "/v1/segment", fields).status == 200


def test_a_request_that_takes_too_long(gated: Callable[[], Segmenter], example: Any, scene: Path):
    with serving(gated, timeout=1.0) as server, ThreadPoolExecutor(3) as pool:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        asked = [pool.submit(server.ask, "POST", "/v1/segment", fields) for _ in range(3)]
        assert [f.result().status for f in asked] == [504] * 3
        assert "1 seconds" in asked[0].result().error
        assert server.metric("likewise_queue_length") == 0
        Gated.gate.set()
        assert server.ask("POST", "/v1/segment", fields).status == 200
        assert Gated.count == 2  # the first, and this one: what had not begun was dropped


def test_a_mistake_of_ours_is_an_answer_too(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder)) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        body, kind = form([("reference", known), ("image", scene / "a.jpg")])
        length = f"Content-Length: {len(body)}"
        with (
            mock.patch.object(Segmenter, "segment", side_effect=ZeroDivisionError("secret")),
            server.raw(head("segment", f"Content-Type: {kind}", length), body) as connection,
        ):
            answer = read_raw(connection)
        assert answer.status == 500
        assert "secret" not in answer.error
        fields = [("reference", known), ("image", scene / "a.jpg")]
        assert server.ask("POST", "/v1/segment", fields).status == 200


def test_metrics(encoder: Encoder, example: Any, scene: Path):
    with serving(lambda: Segmenter(encoder)) as server:
        known = server.ask("POST", "/v1/references", example).json["id"]
        fields = [("reference", known), ("image", scene / "a.jpg")]
        for _ in range(2):
            server.ask("POST", "/v1/segment", fields)
        server.ask("GET", f"/v1/references/{NOBODY}")
        server.ask("GET", "/v1/made-up")
        count = "likewise_requests_total{{method={},route={},status={}}}".format
        assert server.metric(count('"POST"', '"/v1/segment"', '"200"')) == 2
        assert server.metric(count('"GET"', '"/v1/references/{id}"', '"404"')) == 1
        assert server.metric(count('"GET"', '"other"', '"404"')) == 1
        assert server.metric("likewise_segment_seconds_count") == 2
        assert server.metric('likewise_segment_seconds_bucket{le="+Inf"}') == 2
        assert server.metric("likewise_segment_seconds_sum") > 0
        text = server.ask("GET", "/v1/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = text.body.decode().splitlines()
        assert all(line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 for line in lines)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_answers_what_was_asked_before_it_is_stopped(
    scene: Path, tmp_path: Path, example: Any
):
    start = "import sys; from likewise.cli import main; sys.argv[0] = 'likewise'; main()"
    words = ["serve", "--port", "0", "--backbone", str(scene / "tiny"), "--image-size", "64"]
    source = str(Path(likewise.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "LIKEWISE_CACHE": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("likewise serves tiny on http://127.0.0.1:")
        server = Live(int(line.split(":")[2].split()[0]))
        known = server.ask("POST", "/v1/references", example).json["id"]
        body, kind = form([("reference", known), ("image", scene / "a.jpg")])
        lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
        with server.raw(head("segment", *lines), body[:200]) as connection:
            server.ask("GET", "/v1/health")  # by now the first half has been seen
            process.send_signal(signal.SIGTERM)
            while True:
                try:
                    socket.create_connection(("127.0.0.1", server.port)).close()
                except ConnectionRefusedError:
                    break
                time.sleep(0.02)
            time.sleep(0.5)  # a server that does not wait is gone by then
            connection.sendall(body[200:])
            answer = read_raw(connection)
        assert answer.status == 200
        (found,) = answer.json["classes"]
        assert found["present"]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_addresses_and_tokens():
    for host in ("127.0.0.1", "localhost"):
        bind(host, 0, secret=False).close()
    assert "--token" in refusal(bind, "0.0.0.0", 0, secret=False)
    bind("0.0.0.0", 0, secret=True).close()
    with bind("127.0.0.1", 0, secret=False) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refusal(bind, "127.0.0.1", port, secret=False)
    assert "no address" in refusal(bind, "no.such.host.invalid", 0, secret=True)
    for token in ("", "two words", "tab\t", "é"):
        assert "the token is empty, or holds spaces" in refusal(Access, token)
    for origin in (
        "example.org",
        "https://a.b/c",
        "*",
        "https://*",
        "ftp://a",
        "https://[",
        "null",
    ):
        assert "is no origin" in refusal(Access, origins=(origin,))
    Access("secret", origins=("http://localhost:3000",))

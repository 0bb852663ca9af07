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
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

import likewise
from helpers import refusal
from likewise import LikewiseParams, Reference, Segmenter, match
from likewise import reference_file as files
from likewise.backbones.encoder import Encoder
from likewise.io.masks import read_mask
from likewise.web.guard import Access
from likewise.web.serving import bind
from live import Live, form, head, png, read_raw, serving

EXAMPLE = Path(likewise.__file__).parent / "example"
CLIENT = Path(__file__).parents[3] / "examples" / "client.py"


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
    Access("secret", origins=("http://localhost:3000", "https://[::1]:8"))

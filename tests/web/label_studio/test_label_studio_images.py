"""Images that Label Studio's tasks name: which are fetched, and which are not."""

from __future__ import annotations

import base64
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import refusal
from likewise.io.images import read_image

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")

from likewise.web.label_studio.app import LIMITS
from likewise.web.label_studio.images import Images


def inside(name: str, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(Path(name).read_bytes()).decode()}"


@pytest.mark.parametrize("key", ["legacy", "a.b.c"])
def test_uploads_are_fetched_with_either_kind_of_token(studio: Any, key: str) -> None:
    images = Images(LIMITS, studio.url + "/", key)
    for url in ("/data/upload/1/a.jpg", f"{studio.url}/data/upload/1/a.jpg"):
        np.testing.assert_array_equal(images.read(url), read_image("a.jpg"))
    sent = {who for path, who in studio.asked if path == "/data/upload/1/a.jpg"}
    assert sent == {"Token legacy" if key == "legacy" else "Bearer short"}
    np.testing.assert_array_equal(images.read("/data/local-files/?d=b.jpg"), read_image("b.jpg"))


def test_images_in_tasks_and_in_a_folder(scene: Path) -> None:
    images = Images(LIMITS, root=scene)
    np.testing.assert_array_equal(images.read(inside("a.jpg")), read_image("a.jpg"))
    np.testing.assert_array_equal(images.read("/data/local-files/?d=b.jpg"), read_image("b.jpg"))
    (scene / "sub dir").mkdir(exist_ok=True)
    (scene / "sub dir" / "ä 50%.jpg").write_bytes((scene / "c.jpg").read_bytes())
    found = images.read("/data/local-files/?d=sub%20dir/%C3%A4%2050%25.jpg")
    np.testing.assert_array_equal(found, read_image("c.jpg"))


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "{other}/data/upload/1/a.jpg",
        "//localhost/data/upload/1/a.jpg",
        "http://user@127.0.0.1:{port}/data/upload/1/a.jpg",
        "https://127.0.0.1:{port}/data/upload/1/a.jpg",
        "http://127.0.0.1:{port}@evil.example/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.jpg",
        "s3://bucket/a.jpg",
        "gopher:a.jpg",
    ],
)
def test_no_other_host_is_asked(studio: Any, url: str) -> None:
    images = Images(LIMITS, studio.url, "legacy")
    text = refusal(images.read, url.format(other=studio.other, port=studio.server_port))
    assert "is not on Label Studio's own host, and likewise asks no other" in text
    assert studio.asked == []


def test_redirects_are_not_followed(studio: Any) -> None:
    text = refusal(Images(LIMITS, studio.url, "legacy").read, "/data/upload/1/away.jpg")
    assert "(status 302)" in text
    assert [path for path, _ in studio.asked] == ["/data/upload/1/away.jpg"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "a task names no image"),
        (["/data/upload/1/a.jpg"], "a task names no image"),
        ("http://[", "has no address"),
        ("data:image/png;base64,%%%", "the image in the task cannot be read"),
        ("data:image/svg+xml,<svg/>", "it is not base64"),
        ("data:image/png;base64,", "the image in the task is empty"),
        ("data:image/png;base64,aGVsbG8=", "the image in the task is not an image"),
        ("/data/local-files/?d=../../etc/passwd", "is not below"),
        ("/data/local-files/?d=/etc/passwd", "is not below"),
        ("/data/local-files/?d=%2Fetc%2Fpasswd", "is not below"),
        ("/data/local-files/?d=out.jpg", "is not below"),
        ("/data/local-files/?d=", "is not below"),
        ("/data/local-files/?d=none.jpg", "is not below"),
        ("/data/upload/1/a.jpg", "is in Label Studio: give its address as --label-studio."),
    ],
)
def test_images_that_cannot_be_read(scene: Path, url: Any, words: str) -> None:
    link = scene / "root" / "out.jpg"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(scene / "a.jpg")
    assert words in refusal(Images(LIMITS, root=scene / "root").read, url)


def test_images_that_label_studio_does_not_give(studio: Any) -> None:
    assert "(status 401): check LABEL_STUDIO_API_KEY" in refusal(
        Images(LIMITS, studio.url).read, "/data/upload/1/a.jpg?secret=1"
    )
    assert "secret" not in refusal(Images(LIMITS, studio.url).read, "/data/upload/1/a.jpg?secret=1")
    wrong = Images(LIMITS, studio.url, "x.y.z")
    assert "does not take the token (status 401)" in refusal(wrong.read, "/data/upload/1/a.jpg")
    small = Images(replace(LIMITS, max_bytes=100), studio.url, "legacy")
    text = refusal(small.read, "/data/upload/1/a.jpg")
    assert "is larger than" in text
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "check that it runs at" in refusal(
        Images(LIMITS, nobody, "legacy").read, "/data/upload/1/a.jpg"
    )

"""How results look in notebooks: the picture decoded, and what IPython makes of them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import likewise
from likewise import LikewiseParams, Reference, Segmenter
from likewise.io.draw import PREVIEW, class_colour, preview
from likewise.io.images import read_image
from likewise.result import Result

EXAMPLE = Path(likewise.__file__).parent / "example"
LABELS = ("coin", "<b>board</b>")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return read_image(EXAMPLE / "coin_1.png")


@pytest.fixture(scope="module")
def result(tiny: Path, image: np.ndarray) -> Result:
    """Of a random backbone: what is found is arbitrary, but it is something."""
    reference, mask = EXAMPLE / "coin_reference.png", EXAMPLE / "coin_reference_mask.png"
    corner = np.zeros(read_image(reference).shape[:2], bool)
    corner[:60, :60] = True
    segmenter = Segmenter(str(tiny), image_size=128, method=LikewiseParams(presence=0.0))
    return segmenter.fit(
        [Reference(reference, mask, label=LABELS[0]), Reference(reference, corner, label=LABELS[1])]
    ).segment(image)


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def test_the_picture_is_the_image_with_the_masks(result: Result, image: np.ndarray) -> None:
    shown = decoded(result._repr_png_())
    step = -(-max(image.shape) // PREVIEW)
    small, labels = image[::step, ::step], result.label_map[::step, ::step]
    assert shown.shape == small.shape
    assert max(shown.shape) <= PREVIEW
    np.testing.assert_array_equal(shown[labels == 0], small[labels == 0])
    assert set(np.unique(labels)) == {0, 1, 2}
    for number in (1, 2):
        here = labels == number
        mixed = (small[here].astype(float) + class_colour(number)) / 2
        outline = (shown[here] == class_colour(number)).all(axis=1)
        inside = (np.abs(shown[here] - mixed) <= 0.5).all(axis=1)
        assert (outline | inside).all()
        assert inside.any()


def test_the_caption_says_what_was_found(result: Result) -> None:
    text = result._repr_html_()
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', text)
    assert picture is not None
    np.testing.assert_array_equal(
        decoded(base64.b64decode(picture[1])), decoded(result._repr_png_())
    )
    assert f"{result.mask.shape[1]} × {result.mask.shape[0]} pixels" in text
    coin = result.classes["coin"]
    assert f"coin: {coin.mask.mean():.1%} of the image, confidence {coin.confidence:.2f}" in text
    assert "&lt;b&gt;board&lt;/b&gt;: " in text
    assert "<b>" not in text


def test_nothing_found_and_no_picture(result: Result) -> None:
    nothing = likewise.result.ClassResult(np.zeros((400, 700), bool), result.scores, 0.125)
    empty = Result(
        nothing.mask, result.scores, 0.125, None, nothing.mask.astype(np.uint8), {"a": nothing}
    )
    assert "a: not found, confidence 0.12" in empty._repr_html_()
    shown = decoded(empty._repr_png_())
    assert shown.shape == (134, 234, 3)
    assert (shown == 255).all()


def test_a_result_keeps_a_small_picture_only(result: Result, image: np.ndarray) -> None:
    assert result.preview is not None
    assert result.preview.base is None  # no view that would keep the whole image
    large = preview(np.zeros((3000, 4001, 3), np.uint8))
    assert large.shape == (231, 308, 3)
    assert large.nbytes < 3 * PREVIEW**2
    assert preview(np.zeros((1, 5000), np.uint8)).shape == (1, 313)
    np.testing.assert_array_equal(preview(image[:5, :7]), image[:5, :7])


def test_ipython_shows_it(result: Result) -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")
    data, _ = formatters.DisplayFormatter().format(result)
    assert {"text/plain", "text/html", "image/png"} <= set(data)
    assert data["text/html"] == result._repr_html_()
    png = data["image/png"]
    png = base64.b64decode(png) if isinstance(png, str) else png
    np.testing.assert_array_equal(decoded(png), decoded(result._repr_png_()))

"""Label Studio's brush masks and labelling configurations."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import refusal
from likewise.web.label_studio.brush import decode_brush, encode_brush
from likewise.web.label_studio.config import check_classes, read_config
from studio import LABELS, POLYGON, config

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("fastapi", reason="fastapi is not installed")


def random_mask(shape: tuple[int, int], seed: int = 0, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < share


# --- brush masks ----------------------------------------------------------------------------------

MASKS = {
    "noise": random_mask((37, 53)),
    "blobs": np.kron(random_mask((6, 5), 1), np.ones((31, 40), bool)),
    "none": np.zeros((300, 301), bool),  # one run, longer than a length can be
    "all": np.ones((256, 64), bool),  # exactly as long as a length can be
    "one": np.eye(1, dtype=bool),
    "line": np.arange(9000)[None] % 700 < 5,
}


@pytest.mark.parametrize("name", MASKS)
def test_brush_masks_come_back(name: str) -> None:
    mask = MASKS[name]
    rle = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in rle)
    np.testing.assert_array_equal(decode_brush(rle, mask.shape), mask)


@pytest.mark.parametrize("name", MASKS)
def test_brush_masks_are_those_of_the_sdk(name: str) -> None:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed"
    )
    mask = MASKS[name]
    values = np.repeat(mask.ravel(), 4).astype(np.uint8) * 255
    np.testing.assert_array_equal(brush.decode_rle(encode_brush(mask)), values)
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode_brush(theirs, mask.shape), mask)
    assert bytes(encode_brush(mask)) == bytes(theirs)[: len(encode_brush(mask))]


def test_brush_masks_of_the_browser_are_half_opaque_and_list_values() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10  # alpha 30, 70, 110, 150, 190, 230
    bits = f"{24:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"010{24 - 1:08b}" + "".join(f"{value:08b}" for value in pixels.ravel())
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]
    assert decode_brush(rle, (2, 3)).tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize(
    ("rle", "words"),
    [
        ([], "cut short"),
        (encode_brush(MASKS["noise"])[:-9], "cut short"),
        (encode_brush(np.ones((37, 54), bool)), "another size"),
        ([256], "bytes must be in range"),
        (encode_brush(MASKS["noise"])[:7] + [255] * 9, "too many values"),
    ],
)
def test_brush_masks_that_are_damaged(rle: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_brush(rle, (37, 53))


# --- the labelling configuration ------------------------------------------------------------------


def test_configurations() -> None:
    (one,) = read_config(config())
    assert (one.kind, one.from_name, one.to_name, one.key) == ("brushlabels", "tag", "img", "image")
    assert one.labels == LABELS
    assert [c.kind for c in read_config(config(POLYGON))] == ["polygonlabels"]
    two = (
        '<View><Image name="a" value="$left"/><Image name="b" value="$right"/>'
        '<PolygonLabels name="p" toName="a"><Label value="cat" alias="c"/></PolygonLabels>'
        '<BrushLabels name="q" toName="b"><View><Label value="dog"/></View></BrushLabels>'
        '<RectangleLabels name="r" toName="a"><Label value="bird"/></RectangleLabels></View>'
    )
    found = [(c.kind, c.key, c.labels) for c in read_config(two)]
    assert found == [("polygonlabels", "left", ("c",)), ("brushlabels", "right", ("dog",))]


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<View>", "is no XML"),
        ("", "is no XML"),
        ('<!DOCTYPE x [<!ENTITY a "a">]><View/>', "declares entities"),
        (" " * 1_000_001, "too long"),
        ('<View><Text name="t" value="$t"/></View>', "no <BrushLabels> or <PolygonLabels>"),
        (config("RectangleLabels"), "no <BrushLabels> or <PolygonLabels>"),
        (config(labels=()), "with a <Label>"),
        (config().replace('value="$image"', 'valueList="$images"'), 'for an <Image value="$...">'),
    ],
)
def test_configurations_that_cannot_be_served(xml: str, words: str) -> None:
    assert words in refusal(read_config, xml)


def test_classes_that_the_references_lack() -> None:
    text = refusal(check_classes, read_config(config(labels=("thing", "b", "a"))), ["thing"])
    assert text.startswith("the project has the classes a, b, but the references only thing: ")

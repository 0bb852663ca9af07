"""Images that are read in tiles: when, at what scale, and that nobody sees it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import iou, refusal
from likewise import Reference, Segmenter
from likewise.errors import noting
from likewise.io.images import Picture
from likewise.large.image import InMemory, score_tiles, segment_tiles
from likewise.large.tiles import check_tile, object_sides
from likewise.project.score_maps import NEUTRAL, ScoreMaps, Sliders, read_score_maps

STEP, RADIUS = 90, 14
SHARED = Path(__file__).resolve().parents[3] / "shared"


def coins(size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 with red discs on green, and their (H, W) mask."""
    noise = np.random.default_rng(seed).integers(0, 12, (*size, 3), dtype=np.uint8)
    pixels = np.full((*size, 3), (40, 90, 40), np.uint8) + noise
    y, x = np.indices(size)
    inside = (y % STEP - STEP // 2) ** 2 + (x % STEP - STEP // 2) ** 2 < RADIUS**2
    pixels[inside] = (200, 60, 50)
    return pixels, inside


@pytest.fixture(scope="module")
def segmenter(tiny: Path) -> Segmenter:
    return Segmenter(tiny, image_size=224, tile=56).fit(coins((180, 180)))


def test_all_objects_are_found_and_joined_across_seams(segmenter: Segmenter) -> None:
    image, truth = coins((270, 450))
    with noting() as notes:
        result = segmenter.segment(image)
    assert "read in 77 tiles of 56 pixels" in notes[0]
    assert len(result.instances()) == 15
    assert iou(result.mask, truth) > 0.95
    assert result.scores.shape == (68, 113)  # patches of 4 pixels
    assert result.confidence > 0.5


def test_the_order_of_tiles_does_not_matter(segmenter: Segmenter) -> None:
    image, _ = coins((180, 270))
    plan = segmenter.tiles.plan((180, 270), segmenter.encoder, segmenter.fitted())
    assert plan is not None
    shuffled = plan.tiles
    random.Random(0).shuffle(shuffled)
    a, b = (
        score_tiles(InMemory(Picture(image)), plan, segmenter.encoder, segmenter.models, tiles)
        for tiles in (None, shuffled)
    )
    assert torch.equal(a["object"].patches, b["object"].patches)
    assert a["object"].confidence == b["object"].confidence


def test_no_seam_shows_in_a_crop(segmenter: Segmenter) -> None:
    image, _ = coins((270, 360))
    whole, part = segmenter.segment(image), segmenter.segment(image[17:, 23:])
    here, there = whole.mask[17:, 23:], part.mask
    inner = slice(20, -20), slice(20, -20)
    assert iou(here[inner], there[inner]) >= 0.98


def test_blocks_are_refined_as_the_whole(segmenter: Segmenter) -> None:
    """Seven blocks or one: the guided filter sees enough around each."""
    image, _ = coins((180, 360))
    picture, encoder = Picture(image), segmenter.encoder
    plan = segmenter.tiles.plan((180, 360), encoder, segmenter.fitted())
    assert plan is not None
    in_blocks = segment_tiles(picture, plan, encoder, segmenter.models, "guided")
    from likewise.large.image import refine_blocks

    found = score_tiles(InMemory(picture), plan, encoder, segmenter.models)
    (one,) = refine_blocks(InMemory(picture), plan, found, encoder.spec.patch, "guided", 1000)
    assert (one.label_map == in_blocks.label_map).all()


def test_what_is_not_valid_is_in_no_mask_and_speaks_for_nothing(segmenter: Segmenter) -> None:
    image, truth = coins((180, 270))
    valid = np.ones((180, 270), bool)
    valid[:, 130:] = False
    hidden = image.copy()
    hidden[:, 130:] = (200, 60, 50)
    mask = segmenter.segment(Picture(hidden, valid)).mask
    assert not mask[:, 130:].any()
    assert iou(mask[:, :110], truth[:, :110]) > 0.9


def test_an_empty_image_has_nothing_in_it(segmenter: Segmenter) -> None:
    result = segmenter.segment(np.full((120, 200, 3), 90, np.uint8))
    assert not result.present
    assert result.confidence == 0


def test_several_classes_and_references_cut_to_scale(tiny: Path) -> None:
    image, mask = coins((180, 180))
    other = np.zeros_like(mask)
    other[5:20, 60:120] = True
    image[other] = (40, 60, 200)
    references = [Reference(image, mask, label="coin"), Reference(image, other, label="bar")]
    segmenter = Segmenter(tiny, image_size=224, tile=56).fit(references)
    target, truth = coins((180, 270))
    target[80:95, 100:160] = (40, 60, 200)
    result = segmenter.segment(target)
    assert iou(result.classes["bar"].mask[80:95, 100:160], np.ones((15, 60), bool)) > 0.9
    truth[80:95, 100:160] = False
    assert iou(result.classes["coin"].mask, truth) > 0.9


def plans(tiny: Path, size: tuple[int, int], side: int, tile: str | int = "auto") -> object:
    """How an image is read whose reference's object measures so many pixels."""
    image, mask = np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400), bool)
    mask[20 : 20 + side, 20 : 20 + side] = True
    segmenter = Segmenter(tiny, image_size=768, tile=tile)
    from likewise.features.patch_features import PatchFeatures
    from likewise.reference import EncodedReference, ReferenceSet, thumbnail

    none = torch.zeros(1, 1)
    features = PatchFeatures(none, none, (1, 1), (400, 400))
    shot = EncodedReference(features, none[0] > -1, thumbnail=thumbnail(image, mask))
    return segmenter.tiles.plan(size, segmenter.encoder, ReferenceSet((shot,)))


def test_auto_reads_tiles_only_where_squashing_would_lose_something(tiny: Path) -> None:
    assert plans(tiny, (480, 640), 60) is None
    assert plans(tiny, (1500, 2000), 300) is None
    assert plans(tiny, (480, 640), 20) is None  # as large as it is ever seen
    fine = plans(tiny, (1500, 2000), 50)
    assert fine is not None
    assert fine.patch == 10  # five patches an object
    panorama = plans(tiny, (400, 16000), 50)
    assert panorama is not None
    assert panorama.starts(0) == [0]  # one row of tiles
    assert plans(tiny, (400, 16000), 50, "off") is None
    assert plans(tiny, (400, 2000), 300) is None
    unknown = plans(tiny, (400, 2000), 0)
    assert unknown is not None
    assert unknown.tile == 480
    assert (
        plans(tiny, (40, 9000), 0).tile == 480
    )  # narrower than a tile that is magnified 1.5 times
    assert plans(tiny, (480, 640), 60, 384).patch == 8


def test_specks_do_not_say_how_large_the_thing_is(tiny: Path) -> None:
    mask = np.zeros((180, 180), bool)
    mask[20:80, 30:90] = True
    mask[100::6, 3::6] = True
    fitted = Segmenter(tiny, image_size=112).fit((coins((180, 180))[0], mask))
    assert object_sides(fitted.fitted()) == pytest.approx((60, 60))


def test_methods_that_see_images_at_once(tiny: Path) -> None:
    assert "reads no tiles" in refusal(check_tile, "300", "insid3")
    assert "auto, off" in refusal(check_tile, "small", "likewise")
    assert "auto, off" in refusal(Segmenter, tiny, tile=0)
    image, mask = coins((90, 600))
    insid3 = Segmenter(tiny, image_size=112, method="insid3").fit((image, mask))
    assert insid3.segment(image).scores.shape == (7, 7)
    text = refusal(
        Segmenter(tiny, image_size=(112, 224), tile=50).fit((image, mask)).segment, image
    )
    assert "square" in text


def test_the_setting_is_part_of_the_fingerprint(tiny: Path) -> None:
    example = coins((90, 90))
    auto, again, off, small = (
        Segmenter(tiny, image_size=112, tile=tile).fit(example).fingerprint
        for tile in ("auto", "auto", "off", 56)
    )
    assert auto == again
    assert len({auto, off, small}) == 3


@pytest.mark.skipif(not (SHARED / "cases").is_dir(), reason="no folder shared/ beside the checkout")
def test_coins_of_fifty_pixels_in_a_photograph() -> None:
    """Of the embedded backbone: the six coins of a corner, none of which is seen at once."""
    from likewise.io.images import read_image

    folder = SHARED / "cases" / "29"
    segmenter = Segmenter(tile=600, dtype="bfloat16")
    segmenter.fit((folder / "ref.png", folder / "ref_mask.png"))
    assert len(segmenter.segment(read_image(folder / "mid.jpg")[:750, :1000]).instances()) == 6


def test_sliders_move_an_image_that_was_read_in_tiles(tiny: Path, tmp_path: Path) -> None:
    keeping = Segmenter(tiny, image_size=224, tile=56, keep_tree=True).fit(coins((180, 180)))
    image, truth = coins((250, 375))  # the grid reaches two pixels below it, one to its right
    result = keeping.segment(image)
    assert result.tree is None
    made = ScoreMaps.of(result, keeping.encoder.input_size)
    (tmp_path / "a.npz").write_bytes(made.encode(NEUTRAL))
    found, _ = read_score_maps(tmp_path / "a.npz") or pytest.fail("it cannot be read")
    assert found.plan == result.plan
    assert found.extent == (252, 376)
    np.testing.assert_array_equal(
        found.result(NEUTRAL, "guided", image).label_map, result.label_map
    )
    areas = [found.result(Sliders(t), "guided", image).area for t in (-3, 0, 3)]
    assert areas[0] > areas[1] > areas[2]
    coarse = found.result(Sliders(granularity=0.5), "guided", image)
    np.testing.assert_array_equal(coarse.label_map, result.label_map)
    shown = found.shown(NEUTRAL, (250, 375))
    assert iou(shown[-60:, -60:] > 0, truth[-60:, -60:]) > 0.6  # not moved by what is beyond
    header = np.frombuffer(found.blob()[:32], "<u4").tolist()
    assert header == [1, 63, 94, 250, 375, 0, 252, 376]

"""Augmentation and cut-outs for SegIC: what is marked, and what moves with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from likewise.lab.segic.data.augment import (
    MIN_SHARE,
    PADDING,
    View,
    degrade,
    flip,
    jitter_colour,
    large_scale_jitter,
    look_at,
    random_crop,
    whole,
)
from likewise.lab.segic.data.compose import Pasting, Photos, compose
from likewise.lab.segic.data.stamps import TUXPAINT, Stamps, class_names
from pairs import BLUE, GREEN, RED, SIZE, agree, check, cut_out, is_red, seeded, write_stamps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools

EXAMPLE = Path(__file__).parents[3] / "src" / "likewise" / "example"

STILL = Pasting(turn=0, bend=0, colour=0, soft=0, shadow=0, wear=0)


def marked_by_colour(height: int = 60, width: int = 90) -> View:
    """A red entity and a green one on noise of grey; what is left of column 6 does not count."""
    image = np.repeat(seeded().integers(90, 150, (height, width, 1), dtype=np.uint8), 3, axis=2)
    mask, other = np.zeros((2, height, width), bool)
    mask[20:40, 30:60], other[5:15, 70:85] = True, True
    image[mask], image[other] = RED, GREEN
    valid = np.ones((height, width), bool)
    valid[:, :6] = False
    return View(image, mask, other[None], valid)


# --- augmentation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [large_scale_jitter, random_crop])
def test_what_is_marked_moves_with_the_picture(look) -> None:
    view = marked_by_colour()
    for seed in range(30):
        seen = look_at(view, SIZE, seeded(seed), look)
        if seed % 2:
            seen = flip(seen)
        assert seen.image.shape == (SIZE, SIZE, 3)
        assert seen.mask.mean() >= MIN_SHARE
        assert agree(seen.mask, is_red(seen.image)) > 0.75
        green = (seen.image[..., 1] > 1.5 * seen.image[..., 0].astype(int)) & seen.valid
        assert agree(seen.others.any(axis=0), green) > 0.6 or green.sum() < 60


def test_padding_does_not_count_and_void_neither() -> None:
    view = marked_by_colour()
    for seed in range(20):
        seen = large_scale_jitter(view, SIZE, seeded(seed), (0.3, 0.9))
        padding = (seen.image == PADDING).all(axis=2)
        assert padding.any()
        assert not (padding & seen.valid).any()
        full = large_scale_jitter(
            replace(view, valid=~view.mask | True), SIZE, seeded(seed), (0.3, 0.9)
        )
        assert np.array_equal(~full.valid, padding)
        assert 0.03 < 1 - seen.valid.sum() / full.valid.sum() < 0.11  # 6 of 90 columns


def test_large_scale_jitter_reaches_from_a_tenth_to_twice() -> None:
    view = marked_by_colour(80, 80)
    shares = [large_scale_jitter(view, SIZE, seeded(s)).mask.mean() for s in range(300)]
    natural = whole(view, SIZE).mask.mean()
    assert min(shares) < 0.04 * natural
    assert max(shares) > 2.5 * natural


def test_a_crop_keeps_a_pixel_of_a_small_entity() -> None:
    view = marked_by_colour(300, 500)
    speck = np.zeros_like(view.mask)
    speck[290, 3] = True
    view = replace(view, mask=speck)
    for seed in range(20):
        for look in (large_scale_jitter, random_crop):
            assert look_at(view, SIZE, seeded(seed), look).mask.any()


def test_without_an_entity_any_look_will_do() -> None:
    view = marked_by_colour()
    view = replace(view, mask=np.zeros_like(view.mask))
    assert not look_at(view, SIZE, seeded(), large_scale_jitter).mask.any()


def test_colours_and_wear_change_the_picture_only_a_little() -> None:
    image = Image.open(EXAMPLE / "board_1.jpg").convert("RGB").resize((SIZE, SIZE))
    before = np.asarray(image).astype(float)
    for seed in range(10):
        lit = np.asarray(jitter_colour(image, seeded(seed), 0.4)).astype(float)
        worn = np.asarray(degrade(image, seeded(seed), 1)).astype(float)
        assert 1 < np.abs(lit - before).mean() < 90
        assert 0.5 < np.abs(worn - before).mean() < 30
        assert np.corrcoef(lit.mean(axis=2).ravel(), before.mean(axis=2).ravel())[0, 1] > 0.7
    assert np.abs(np.asarray(jitter_colour(image, seeded(), 0.0)) - before).max() <= 1


# --- cut-outs on photographs ----------------------------------------------------------------------


def test_masks_are_exactly_what_is_seen(photos: Photos) -> None:
    """Still and unchanged things can be read off the picture by their colour."""
    things = [cut_out(RED, 60, 60), cut_out(GREEN, 50, 70), cut_out(BLUE, 60, 50, hole=True)]
    covered = 0
    for seed in range(25):
        rng = seeded(seed)
        scene = compose(photos.part(rng, 192), things, rng, replace(STILL, sizes=(0.2, 0.8)))
        for k in range(3):
            rest = np.delete(scene.image.astype(int), k, axis=2).max(axis=2)
            coloured = scene.image[..., k] > rest + 60
            seen = scene.labels == k + 1
            # An edge pixel is of both colours; all others are of one.
            assert coloured[binary_erosion(seen, iterations=2)].all()
            assert not coloured[~binary_dilation(seen, iterations=2)].any()
            assert seen.sum() <= scene.whole[k]
            covered += 0 < seen.sum() < 0.8 * scene.whole[k]
        r, g, b = np.moveaxis(scene.image.astype(int), 2, 0)
        assert not ((r > 160) & (b > 160) & (g < 110)).any()  # what is under transparency
    assert covered > 5


def test_a_turned_and_bent_thing_keeps_its_mask(photos: Photos) -> None:
    for seed in range(15):
        rng = seeded(seed)
        bent = replace(STILL, turn=180, bend=0.08, sizes=(0.4, 0.7))
        scene = compose(photos.part(rng, 192), [cut_out(RED, 120, 50)], rng, bent)
        assert agree(scene.labels == 1, is_red(scene.image)) > 0.88


def test_stamps_ask_for_all_of_the_class(tmp_path: Path, photos: Photos) -> None:
    source = Stamps(
        write_stamps(tmp_path / "stamps"),
        photos,
        pasting=replace(STILL, sizes=(0.3, 0.7)),
        instances=0,
    )
    assert list(source.classes) == ["apple", "leaf", "ring"]
    found = set()
    for seed in range(30):
        pair = source.sample(seeded(seed), SIZE)
        check(pair, SIZE)
        assert pair.target_mask.any()
        found.add(pair.category)
        if pair.category == "apple":
            for image, mask in (
                (pair.reference, pair.reference_mask),
                (pair.target, pair.target_mask),
            ):
                assert agree(mask, is_red(image)) > 0.85
            assert not (is_red(pair.reference) & pair.negatives.any(axis=0)).sum() > 40
    assert found == {"apple", "leaf", "ring"}


def test_an_instance_is_that_very_thing(tmp_path: Path, photos: Photos) -> None:
    """Two apples of different colour: only the one of the reference is asked for."""
    source = Stamps(
        write_stamps(tmp_path / "stamps"),
        photos,
        pasting=replace(STILL, sizes=(0.3, 0.7)),
        instances=1,
    )
    others = 0
    for seed in range(30):
        pair = source.sample(seeded(seed), SIZE)
        check(pair, SIZE)
        assert pair.task == "instance"
        if pair.category != "apple":
            continue
        hues = [
            np.median(image[mask][:, 1])
            for image, mask in (
                (pair.reference, pair.reference_mask),
                (pair.target, pair.target_mask),
            )
        ]
        assert abs(hues[0] - hues[1]) < 20  # green of the one is 30, of the other 60
        others += (is_red(pair.target) & ~pair.target_mask).sum() > 50
    assert others > 2


def test_stamps_can_leave_the_class_out(tmp_path: Path, photos: Photos) -> None:
    source = Stamps(write_stamps(tmp_path / "stamps"), photos, absent=1)
    pairs = [source.sample(seeded(seed), SIZE) for seed in range(5)]
    assert all(not p.target_mask.any() and p.reference_mask.any() for p in pairs)


def test_what_is_no_object_with_clear_edges_is_left_out(tmp_path: Path, photos: Photos) -> None:
    stamps = write_stamps(tmp_path / "stamps") / "things"
    glass, flat = cut_out(RED, 60, 50), cut_out(RED, 60, 50)
    glass[..., 3] //= 3
    flat[..., :3] = RED
    for name, pixels in (("glass", glass), ("flat", flat), ("speck", cut_out(RED, 20, 20))):
        Image.fromarray(pixels).save(stamps / f"{name}.png")
    Image.fromarray(cut_out(RED, 60, 50)[..., :3]).save(stamps / "opaque.png")
    assert set(Stamps(stamps, photos).classes) == {"apple", "leaf", "ring"}
    assert set(Stamps(stamps, photos, drawings=True).classes) == {"apple", "leaf", "ring", "flat"}


def test_names_of_classes() -> None:
    names = ["apple_red", "apple_fuji", "crowned_crane", "red_gazania", "cep-1", "cep", "grave-a"]
    named = class_names([Path(f"/a/{name}.png") for name in names])
    assert list(named.values()) == [
        *("apple", "apple", "crowned crane", "gazania", "cep", "cep", "grave")
    ]
    apart = class_names([Path("/aquatic/sea_lion.png"), Path("/cats/lion.png")])
    assert list(apart.values()) == ["sea lion", "lion"]


def test_real_stamps(photos: Photos) -> None:
    if not TUXPAINT.is_dir():
        pytest.skip("the stamps of Tux Paint (tuxpaint-stamps-default) are not installed")
    source = Stamps(TUXPAINT / "animals", photos)
    assert len(source.classes) > 80
    assert {"tiger", "penguin", "sea lion"} <= set(source.classes)
    assert len(source.classes["gnu"]) == 4
    shares = []
    for seed in range(12):
        pair = source.sample(seeded(seed), 160)
        check(pair, 160)
        shares.append(pair.target_mask.mean())
    assert min(shares) >= MIN_SHARE
    kinds = Stamps(TUXPAINT / "animals", photos, by_folder=("birds", "fish"))
    assert set(kinds.classes) == {"birds", "fish"}

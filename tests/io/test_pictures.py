"""pictures.py: overlays, contact sheets and drawn matches, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from likewise.io.draw import COLOUR, contact_sheet, draw_matches, overlay

RNG = np.random.default_rng(0)
CAPTION, GAP = 22, 10


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(height: int, width: int, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


# --- overlay ------------------------------------------------------------------------------------


def inner(mask: np.ndarray, width: int) -> np.ndarray:
    """The mask without its outline; the picture's border is no outline."""
    padded = np.pad(mask, width, constant_values=True)
    for _ in range(width):
        up, down = padded[:-2, 1:-1], padded[2:, 1:-1]
        left, right = padded[1:-1, :-2], padded[1:-1, 2:]
        padded = padded[1:-1, 1:-1] & up & down & left & right
    return padded


@pytest.mark.parametrize(("size", "width"), [((12, 16), 1), ((449, 460), 1), ((600, 640), 2)])
@pytest.mark.parametrize("opacity", [0.0, 0.5, 0.8, 1.0])
def test_overlay(size: tuple[int, int], width: int, opacity: float) -> None:
    image = noise(*size)
    mask = np.zeros(size, bool)
    mask[2:9, 3:11] = True
    before = image.copy()
    picture = overlay(image, mask, opacity)
    np.testing.assert_array_equal(image, before)
    assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(picture[~mask], image[~mask])
    inside = inner(mask, width)
    assert inside.sum() == (7 - 2 * width) * (8 - 2 * width)
    assert (picture[mask & ~inside] == COLOUR).all()
    expected = np.rint((1 - opacity) * image[inside].astype(float) + opacity * np.array(COLOUR))
    assert np.abs(picture[inside] - expected).max() <= 1  # halves may round either way


def test_overlay_is_half_transparent_by_default(square: np.ndarray) -> None:
    image = plain(*square.shape, 0)
    picture = overlay(image, square)
    np.testing.assert_array_equal(picture[5, 7], np.rint(np.array(COLOUR) / 2))


def test_overlay_of_nothing_and_of_everything() -> None:
    image = noise(9, 7)
    np.testing.assert_array_equal(overlay(image, np.zeros((9, 7), bool)), image)
    whole = overlay(image, np.ones((9, 7), bool), opacity=0.0)
    np.testing.assert_array_equal(whole, image)  # and no frame around the picture


# --- contact_sheet ------------------------------------------------------------------------------


def test_contact_sheet_places_every_picture() -> None:
    pictures = [[noise(40, 60), noise(80, 40)], [noise(50, 50)]]
    rows = [[(p, "") for p in line] for line in pictures]
    sheet = contact_sheet(rows, height=40)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (GAP + 2 * (40 + CAPTION + GAP), GAP + (60 + GAP) + (20 + GAP), 3)
    rest = np.ones(sheet.shape[:2], bool)
    for y, x, picture in ((0, 0, pictures[0][0]), (0, 60 + GAP, pictures[0][1])):
        width = round(picture.shape[1] * 40 / picture.shape[0])
        spot = np.s_[GAP + y + CAPTION : GAP + y + CAPTION + 40, GAP + x : GAP + x + width]
        resized = np.asarray(Image.fromarray(picture).resize((width, 40)))
        np.testing.assert_array_equal(sheet[spot], resized)
        rest[spot] = False
    below = 2 * GAP + 40 + 2 * CAPTION
    resized = np.asarray(Image.fromarray(pictures[1][0]).resize((40, 40)))
    np.testing.assert_array_equal(sheet[below : below + 40, GAP : GAP + 40], resized)
    rest[below : below + 40, GAP : GAP + 40] = False
    assert (sheet[rest] == 255).all()


def test_contact_sheet_writes_captions_above_the_pictures() -> None:
    def drawn(*captions: str) -> np.ndarray:
        return contact_sheet([[(plain(30, 90), text) for text in captions]], height=30)

    blank, first, second = drawn("", ""), drawn("coin", ""), drawn("coin", "board")
    assert blank.shape == first.shape == second.shape
    for earlier, later, left in ((blank, first, GAP), (first, second, 2 * GAP + 90)):
        rows, columns = np.nonzero((earlier != later).any(axis=2))
        assert rows.min() >= GAP
        assert rows.max() < GAP + CAPTION
        assert columns.min() >= left
        assert columns.max() < left + 90
    assert (drawn("coin", "") != drawn("boat", "")).any()


def test_contact_sheet_is_240_high_by_default() -> None:
    assert contact_sheet([[(plain(10, 20), "")]]).shape[:2] == (240 + CAPTION + 2 * GAP, 500)


# --- draw_matches -------------------------------------------------------------------------------


def marks(picture: np.ndarray, count: int) -> np.ndarray:
    """Centres x, y of so many dots, the largest spots of a colour that nothing else has."""
    from scipy.ndimage import center_of_mass, label

    spots, _ = label((picture == COLOUR).all(axis=2))
    largest = np.argsort(-np.bincount(spots.ravel())[1:])[:count] + 1  # not the numbers beside
    return np.array([center_of_mass(spots == n)[::-1] for n in largest])


def test_draw_matches_marks_the_points_and_their_matches() -> None:
    reference, target = plain(240, 320, 90), plain(960, 480, 160)
    points = np.array([[40, 60], [200, 180]], np.float32)
    found = np.array([[120, 700], [300, 200]], np.float32)
    picture = draw_matches(reference, points, target, found)
    assert (picture.shape, picture.dtype) == ((480, 640 + 240, 3), np.uint8)
    assert (picture[5, 5] == 90).all()
    assert (picture[5, 645] == 160).all()
    expected = np.array([[80, 120], [400, 360], [640 + 60, 350], [640 + 150, 100]])
    got = marks(picture, 4)
    for place in expected:
        assert np.abs(got - place).max(axis=1).min() <= 1.5


def test_draw_matches_numbers_them_alike_on_both_sides() -> None:
    image = plain(480, 480, 0)
    points = np.array([[100, 100], [100, 300]], np.float32)
    picture = draw_matches(image, points, image, points)
    np.testing.assert_array_equal(picture[:, :480], picture[:, 480:])
    numbers = [picture[y - 14 : y + 14, 107:130] for y in (100, 300)]
    assert all((number != 0).any() for number in numbers)
    assert (numbers[0] != numbers[1]).any()  # 1 is not 2


def test_draw_matches_on_a_very_thin_picture() -> None:
    points = np.array([[0, 10]], np.float32)
    thin = plain(2000, 1)
    assert draw_matches(plain(480, 480), points, thin, points).shape[0] == 480

"""views.py on an image that tells of every pixel where it comes from."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.features.views import VIEWS, make_views

SHAPES = {
    # height, width, box of the mask (top, bottom, left, right)
    "centre": (100, 200, (40, 60, 90, 110)),
    "corner": (100, 200, (0, 20, 180, 200)),
    "border": (80, 60, (60, 70, 0, 30)),
    "full": (100, 200, (0, 100, 0, 200)),
    "pixel": (100, 200, (99, 100, 0, 1)),
    "tall": (100, 50, (10, 90, 20, 30)),
    "odd": (37, 53, (4, 9, 30, 41)),
    "tiny": (1, 1, (0, 1, 0, 1)),
}


def scene(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Red is the row, green the column, blue the mask."""
    top, bottom, left, right = box
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    rows, columns = np.indices(mask.shape)
    return np.stack([rows, columns, 255 * mask], axis=2).astype(np.uint8), mask


def window(view: np.ndarray) -> tuple[int, int, int, int]:
    """Where a crop comes from; fails unless its pixels lie as they did."""
    rows, columns = view[:, 0, 0].astype(int), view[0, :, 1].astype(int)
    assert rows.tolist() == [*range(rows[0], rows[0] + len(rows))]
    assert columns.tolist() == [*range(columns[0], columns[0] + len(columns))]
    assert (view[:, :, 0] == rows[:, None]).all()
    assert (view[:, :, 1] == columns).all()
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("shape", SHAPES)
def test_mask_and_image_stay_aligned(shape: str) -> None:
    image, mask = scene(*SHAPES[shape])
    views = make_views(image, mask)
    assert tuple(views) == VIEWS
    for picture, marked in views.values():
        assert (picture.dtype, marked.dtype) == (np.uint8, bool)
        assert picture.shape == (*marked.shape, 3)
        assert ((picture[:, :, 2] == 255) == marked).all()
        assert marked.any()
        assert picture.flags.c_contiguous
        assert marked.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "tight", "middle"),
    [
        ("centre", (35, 65, 70, 130), (20, 80, 40, 160)),
        ("corner", (0, 30, 140, 200), (0, 60, 80, 200)),
        ("border", (20, 80, 0, 45), (32, 80, 0, 36)),
        ("full", (0, 100, 0, 200), (20, 80, 40, 160)),
        ("pixel", (75, 100, 0, 50), (40, 100, 0, 120)),  # never below a quarter of each side
        ("tall", (0, 100, 0, 50), (20, 80, 10, 40)),
        ("tiny", (0, 1, 0, 1), (0, 1, 0, 1)),
    ],
)
def test_crops(shape: str, tight: tuple[int, ...], middle: tuple[int, ...]) -> None:
    views = make_views(*scene(*SHAPES[shape]))
    assert window(views["tight"][0]) == tight
    assert window(views["middle"][0]) == middle


def test_crops_of_every_place_hold_the_objects_centre_and_keep_the_aspect() -> None:
    height, width = 41, 67
    for top in range(0, 38, 3):
        for left in range(0, 60, 5):
            box = (top, top + 3, left, left + 7)
            views = make_views(*scene(height, width, box))
            for name, scale in (("tight", 0.25), ("middle", 0.6)):
                t, b, l, r = window(views[name][0])
                assert (b - t, r - l) == (round(height * scale), round(width * scale))
                assert t <= top + 1 < b
                assert l <= left + 3 < r
                # Centred, to half a pixel, unless the border is in the way.
                assert abs((t + b) / 2 - (top + 1.5)) <= 0.5 or t == 0 or b == height
                assert abs((l + r) / 2 - (left + 3.5)) <= 0.5 or l == 0 or r == width
            assert views["tight"][1].sum() == 21  # the whole object


def test_flip_mirrors_left_and_right() -> None:
    image, mask = scene(*SHAPES["odd"])
    picture, marked = make_views(image, mask, ["flip"])["flip"]
    assert (picture[:, :, 1] == np.arange(52, -1, -1)).all()
    assert (picture[:, :, 0] == np.arange(37)[:, None]).all()
    assert (marked == mask[:, ::-1]).all()


def test_far_mirrors_the_image_at_its_borders() -> None:
    image, mask = scene(*SHAPES["border"])  # 80 x 60: 24 and 18 pixels are added on each side
    picture, marked = make_views(image, mask, ["far"])["far"]
    assert picture.shape == (128, 96, 3)
    assert (picture[24:-24, 18:-18] == image).all()
    rows, columns = picture[:, 0, 0], picture[0, :, 1]
    assert rows.tolist() == [*range(23, -1, -1), *range(80), *range(79, 55, -1)]
    assert columns.tolist() == [*range(17, -1, -1), *range(60), *range(59, 41, -1)]
    assert (marked[24:-24, :18] == mask[:, 17::-1]).all()  # the object at the border goes on


def test_only_the_views_asked_for() -> None:
    image, mask = scene(*SHAPES["odd"])
    everything = make_views(image, mask)
    for names in ((), ("far",), ("tight", "flip"), VIEWS[::-1]):
        views = make_views(image, mask, iter(names))
        assert tuple(views) == tuple(names)
        for name in names:
            assert (views[name][0] == everything[name][0]).all()


def test_a_view_without_a_masked_pixel_is_left_out() -> None:
    image, mask = scene(*SHAPES["centre"])
    mask[:] = False
    mask[0, 0] = mask[-1, -1] = True  # the middle of the object is none of it
    views = make_views(image, mask)
    assert tuple(views) == ("flip", "tight", "far")
    assert views["tight"][1].sum() == 2


def test_inputs_are_left_as_they_are() -> None:
    image, mask = scene(*SHAPES["odd"])
    before = image.copy(), mask.copy()
    for picture, marked in make_views(image, mask).values():
        picture[:] = 7
        marked[:] = True
    assert (image == before[0]).all()
    assert (mask == before[1]).all()

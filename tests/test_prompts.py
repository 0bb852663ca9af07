"""Prompts: what is refused, and masks that they make of the bundled pictures."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from helpers import iou, refusal
from likewise import Reference, Segmenter
from likewise.example import FOLDER
from likewise.features.prompts import PromptSolver
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.prompts import Prompts, prompted_mask, prompts_of
from likewise.reference import encode_references

NAME = "cat.jpg"
SIZE = (40, 60)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    patch = pytest.MonkeyPatch()
    patch.setenv("LIKEWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
    made = Segmenter(device="cpu")
    assert made.encoder.basis.shape[0] == made.encoder.spec.dim  # made here
    patch.undo()
    return made


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return read_image(FOLDER / "board_reference.jpg")


@pytest.fixture(scope="module")
def truth(pixels: np.ndarray) -> np.ndarray:
    return read_mask(FOLDER / "board_reference_mask.png", size=pixels.shape[:2])


@pytest.fixture(scope="module")
def board(segmenter: Segmenter, pixels: np.ndarray) -> PromptSolver:
    return PromptSolver(segmenter.encoder.encode(pixels))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts([(60, 10, 1)]), "the point (60, 10) lies outside cat.jpg, which has 60 × 40"),
        (Prompts([(5, -1, 1)]), "the point (5, -1) lies outside"),
        (Prompts(scribbles=[([(5, 5), (5, 40)], 1)]), "the point (5, 40) lies outside"),
        (Prompts(box=(10, 10, 10, 20)), "the box in cat.jpg holds no pixel of its 60 × 40"),
        (Prompts(box=(70, 10, 90, 20)), "the box in cat.jpg holds no pixel"),
        (Prompts(box=(1, 2, 3)), "must be four numbers"),  # type: ignore[arg-type]
        (Prompts([(5, 5, 0)]), "no prompt of cat.jpg says where the thing is"),
        (Prompts(scribbles=[([(5, 5)], 0)]), "no prompt of cat.jpg says where the thing is"),
        (Prompts(scribbles=[([], 1)]), "a scribble of cat.jpg has no point"),
        (Prompts([(5, 5, 1), (5.9, 5, 0)]), "the pixel (5, 5) of cat.jpg is marked as the thing"),
        (
            Prompts([(5, 5, 0)], scribbles=[([(0, 5), (9, 5)], 1)]),
            "the pixel (5, 5) of cat.jpg is marked as the thing and as not the thing",
        ),
        (Prompts([(5, 5, 1)], box=(20, 20, 30, 30)), "the point (5, 5) of cat.jpg is marked as"),
        (Prompts([(5, 5, 7)]), "must be x, y and 1 (the thing) or 0"),
        (Prompts([(5, 5)]), "must be three numbers"),  # type: ignore[list-item]
        (Prompts([(float("nan"), 5, 1)]), "must be x, y and 1"),
    ],
)
def test_refusals(prompts: Prompts, message: str) -> None:
    assert message in refusal(prompts.checked, SIZE, NAME, alone=True)


def test_too_much_is_refused() -> None:
    back_and_forth = [(0, 5), (59, 5)] * 9
    assert "are longer than 10 times" in refusal(
        Prompts(scribbles=[(back_and_forth, 1)]).checked, SIZE, NAME
    )
    for many in (Prompts([(5, 5, 1)] * 1001), Prompts(scribbles=[([(5, 5)] * 10_001, 1)])):
        assert "has more than 1000 points" in refusal(many.checked, SIZE, NAME)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "must be an object with points, box or scribbles alone"),
        ({"point": []}, "must be an object with points, box or scribbles alone"),
        ({"points": "1"}, "the points of cat.jpg must be a list such as [[120, 80, 1]]"),
        ({"scribbles": {}}, "the scribbles of cat.jpg must be a list such as"),
    ],
)
def test_json_of_another_form_is_refused(given: object, message: str) -> None:
    assert message in refusal(prompts_of, given, NAME)


def test_prompts_of_json() -> None:
    given = {"points": [[5, 5, 1]], "box": [1, 2, 30, 20], "scribbles": [[[[6, 6], [9, 9]], 1]]}
    found = prompts_of(given, NAME).checked(SIZE, NAME)
    assert found == Prompts([(5, 5, 1)], (1, 2, 30, 20), [([(6, 6), (9, 9)], 1)])
    assert not prompts_of({}, NAME)


def test_columns_that_are_dropped_are_made_again(board: PromptSolver) -> None:
    mean = np.full(len(board.features), -4.0)
    points = np.array([[100.5, 100.5, 1], [600.5, 400.5, -1]])
    expected = board.solve(mean, points)
    with mock.patch("likewise.features.prompts.MOST_COLUMNS", 4):
        board._columns.clear()
        for _ in range(2):
            assert np.allclose(board.solve(mean, points), expected)
            assert len(board._columns) <= 4


def test_a_negative_prompt_may_correct_a_mask() -> None:
    assert not Prompts([(5, 5, 0)]).checked(SIZE, NAME).positive


def test_a_box_is_cut_to_its_image() -> None:
    assert Prompts(box=(-5, 3, 99, 20)).checked(SIZE, NAME).box == (0, 3, 60, 20)


def test_pixels_of_points_and_lines() -> None:
    prompts = Prompts([(3.7, 2, 0)], scribbles=[([(0, 0), (4, 2)], 1)])
    assert prompts.pixels().tolist() == [
        [3.5, 2.5, -1],
        [0.5, 0.5, 1],
        [1.5, 0.5, 1],
        [2.5, 1.5, 1],
        [3.5, 1.5, 1],
        [4.5, 2.5, 1],
    ]
    assert prompts.pixels(step=2).tolist() == [
        [3.5, 2.5, -1],
        [0.5, 0.5, 1],
        [2.5, 1.5, 1],
        [4.5, 2.5, 1],
    ]


def test_masks_of_the_bundled_board(
    segmenter: Segmenter, board: PromptSolver, pixels: np.ndarray, truth: np.ndarray
) -> None:
    left, top, right, bottom = box_of(truth)
    middle = (left + right) // 2, (top + bottom) // 2
    line = [(left + 30, middle[1]), (right - 30, middle[1])]

    def found(prompts: Prompts) -> np.ndarray:
        return prompted_mask(board, pixels, prompts, segmenter.encoder.input_size)[0]

    boxed = found(Prompts(box=(left, top, right, bottom)))
    assert iou(boxed, truth) > 0.85
    assert box_of(boxed)[0] >= left
    assert box_of(boxed)[3] <= bottom
    scribbled = found(Prompts(scribbles=[(line, 1)]))
    assert iou(scribbled, truth) > 0.85
    assert scribbled[middle[1], line[0][0] : line[1][0] + 1].all()  # every pixel of the line
    clicks = [(*middle, 1), (left // 2, middle[1], 0)]
    clicked = found(Prompts(clicks))
    assert clicked[middle[1], middle[0]]
    assert not clicked[middle[1], left // 2]
    more = [(left + 20, top + 20, 1), (right - 20, bottom - 20, 1)]
    assert iou(found(Prompts(clicks + more)), truth) > max(0.8, iou(clicked, truth))


def test_a_mask_is_corrected_where_it_is_wrong_alone(
    segmenter: Segmenter, board: PromptSolver, pixels: np.ndarray, truth: np.ndarray
) -> None:
    left, top, right, bottom = box_of(truth)
    size = segmenter.encoder.input_size
    right_one = Prompts([((left + right) // 2, (top + bottom) // 2, 1), (3, 3, 0)])
    assert (prompted_mask(board, pixels, right_one, size, truth)[0] == truth).all()
    spoilt = truth.copy()
    spoilt[10:110, 10:110] = True
    mended, _ = prompted_mask(board, pixels, Prompts([(60, 60, 0)]), size, spoilt)
    assert not mended[60, 60]
    assert iou(mended, truth) > iou(spoilt, truth)


def test_a_reference_of_prompts_is_that_of_its_mask(
    segmenter: Segmenter, truth: np.ndarray
) -> None:
    image = FOLDER / "board_reference.jpg"
    boxed = Reference(image, box=box_of(truth))
    made, _ = prompted_mask(
        PromptSolver(segmenter.encoder.encode(read_image(image))),
        read_image(image),
        Prompts(box=box_of(truth)),
        segmenter.encoder.input_size,
    )
    one, other = (
        encode_references(segmenter.encoder, [r], ("flip",))
        for r in (boxed, Reference(image, made))
    )
    assert one.fingerprint == other.fingerprint


def test_a_reference_needs_a_mask_or_prompts(segmenter: Segmenter) -> None:
    image = FOLDER / "coin_reference.png"
    assert "give one, or points or a box" in refusal(segmenter.fit, [Reference(image)])
    outside = Reference(image, points=[(900, 3, 1)])
    assert "lies outside" in refusal(segmenter.fit, [outside])
    assert Path(image).name in refusal(segmenter.fit, [outside])

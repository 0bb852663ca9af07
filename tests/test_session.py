"""A session on the bundled pictures: clicks count, are undone, and move only what they should."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import refusal
from likewise import Reference, Segmenter, Session
from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.session import EncodedPicture

IMAGE = FOLDER / "board_reference.jpg"
MASK = FOLDER / "board_reference_mask.png"


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    patch = pytest.MonkeyPatch()
    patch.setenv("LIKEWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
    made = Segmenter(device="cpu").fit((IMAGE, MASK))
    patch.undo()
    return made


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return read_mask(MASK, size=read_image(IMAGE).shape[:2])


@pytest.fixture(scope="module")
def session(segmenter: Segmenter) -> Session:
    return Session(segmenter, IMAGE)


@pytest.fixture
def fresh(session: Session) -> Session:
    """The one session without any step."""
    while session.undo():
        pass
    return session


def test_before_any_click_it_is_what_the_references_find(
    segmenter: Segmenter, fresh: Session, truth: np.ndarray
) -> None:
    found = segmenter.segment(IMAGE)
    assert (fresh.result.mask == found.mask).all()
    assert fresh.result.confidence == found.confidence
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.9


def test_a_click_on_what_is_right_already_changes_no_pixel(
    fresh: Session, truth: np.ndarray
) -> None:
    before = fresh.result.mask
    rows, columns = np.nonzero(truth)
    fresh.click(columns.mean(), rows.mean()).click(3, 3, positive=False)
    assert (fresh.result.mask == before).all()


def test_a_click_is_honoured_and_moves_what_is_like_it(fresh: Session, truth: np.ndarray) -> None:
    before = fresh.result.mask
    rows, columns = np.nonzero(truth)
    x, y = int(columns.mean()), int(rows.mean())
    after = fresh.click(x, y, positive=False).result.mask
    assert not after[y, x]
    assert (after & truth).sum() < (before & truth).sum()
    added = fresh.click(5, 5).result.mask
    assert added[5, 5]
    assert not added[y, x]


def test_undo_and_redo(fresh: Session) -> None:
    assert not fresh.undo()
    first = fresh.result.mask
    second = fresh.click(5, 5).result.mask
    third = fresh.click(9, 470).result.mask
    assert fresh.undo()
    assert (fresh.result.mask == second).all()
    assert fresh.undo()
    assert (fresh.result.mask == first).all()
    assert fresh.redo()
    assert fresh.redo()
    assert (fresh.result.mask == third).all()
    assert fresh.undo()
    fresh.click(600, 5, positive=False)
    assert not fresh.redo()  # another step was taken


def test_nothing_is_outside_of_a_box(fresh: Session, truth: np.ndarray) -> None:
    left = int(np.nonzero(truth.any(axis=0))[0][0]) + 100
    found = fresh.prompt(box=(left, 0, 640, 480)).result
    assert not found.mask[:, :left].any()
    assert not found.classes["object"].mask[:, :left].any()
    assert found.mask[:, left:].sum() > 0.9 * truth[:, left:].sum()


def test_refusals_leave_the_session_as_it_was(fresh: Session) -> None:
    fresh.click(5, 5)
    before = fresh.result.mask
    assert "lies outside" in refusal(fresh.click, 640, 5)
    assert "is marked as the thing and as not" in refusal(fresh.click, 5, 5, False)
    assert "nothing was prompted" in refusal(fresh.prompt)
    assert "no reference of the class 'cat'" in refusal(fresh.click, 9, 9, label="cat")
    assert (fresh.result.mask == before).all()
    assert fresh.undo()
    assert not fresh.undo()


def test_without_references_a_click_says_what_is_meant(
    truth: np.ndarray, segmenter: Segmenter
) -> None:
    session = Session(Segmenter(segmenter.encoder), IMAGE)
    rows, columns = np.nonzero(truth)
    assert "nothing is looked for yet" in refusal(lambda: session.result)
    assert "says where the thing is" in refusal(session.click, 5, 5, False)
    x, y = int(columns.mean()), int(rows.mean())
    session.click(x, y)
    mask = session.result.mask
    assert mask[y, x]
    assert (mask & truth).sum() > 0.8 * mask.sum()
    assert session.labels == ("object",)
    session.click(x, y + 3, label="chip")  # another class, which competes
    assert session.labels == ("object", "chip")
    assert session.result.label_map[y, x] == 1
    assert session.result.label_map[y + 3, x] == 2


def test_of_several_classes_one_is_named(segmenter: Segmenter, truth: np.ndarray) -> None:
    both = Segmenter(segmenter.encoder).fit(
        [Reference(IMAGE, truth, label="board"), Reference(IMAGE, ~truth, label="table")]
    )
    session = Session(both, IMAGE)
    assert "say which class is meant: one of board, table" in refusal(session.click, 5, 5)
    session.click(5, 5, label="board")
    assert session.result.label_map[5, 5] == 1
    assert not session.result.classes["table"].mask[5, 5]


def test_a_mask_is_corrected_instead_of_what_is_found(
    segmenter: Segmenter, fresh: Session, truth: np.ndarray
) -> None:
    spoilt = truth.copy()
    spoilt[10:110, 10:110] = True
    session = Session(segmenter, IMAGE, spoilt)
    assert (session.result.mask == spoilt).all()
    mended = session.click(60, 60, False).result
    assert not mended.mask[60, 60]
    assert (mended.mask & ~truth).sum() < (spoilt & ~truth).sum() / 2
    assert (mended.label_map == mended.mask).all()
    assert "the mask is of one class, object" in refusal(session.click, 5, 5, label="cat")
    assert session.undo()
    assert (session.result.mask == spoilt).all()
    assert "has the shape (2, 2), not (480, 640)" in refusal(
        Session, segmenter, IMAGE, np.ones((2, 2), bool)
    )


def test_one_encoding_serves_several_sessions(segmenter: Segmenter, fresh: Session) -> None:
    encoded = EncodedPicture(segmenter.encoder, segmenter.read(IMAGE))
    plain = fresh.click(5, 5).result.mask
    assert (Session(segmenter, encoded).click(5, 5).result.mask == plain).all()
    alone = Session(Segmenter(segmenter.encoder), encoded).click(5, 5).result.mask
    assert (alone != plain).any()
    assert (Session(segmenter, encoded).click(5, 5).result.mask == plain).all()

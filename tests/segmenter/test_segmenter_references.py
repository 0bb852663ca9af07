"""What Segmenter takes as references and settings, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import likewise
from boxes import EXAMPLE, LEFT, PATCH, RIGHT, SIDE, inside, pair, picture
from helpers import iou, refusal
from likewise import INSID3Params, LikewiseParams, Reference, Segmenter, build_insid3
from likewise.backbones.encoder import Encoder
from likewise.io.images import read_image
from likewise.methods import METHODS, get_method, make_params
from likewise.methods import likewise as likewise_method
from likewise.reference import as_references
from likewise.result import Result


def assert_same(found: Result, expected: Result) -> None:
    """The default method saw the same references and made the same of them."""
    assert torch.equal(found.trace.log_odds, expected.trace.log_odds)
    assert found.trace.log_odds.unique().numel() > 32
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.confidence == expected.confidence
    np.testing.assert_array_equal(found.mask, expected.mask)


@pytest.mark.parametrize("consensus", [False, True])
def test_the_tree_is_kept_when_asked_for(encoder: Encoder, consensus: bool) -> None:
    image = read_image(EXAMPLE / "coin_1.png")
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[:40, :40] = True
    patches = (SIDE // PATCH) ** 2
    for keep in (False, True):
        segmenter = Segmenter(encoder, keep_tree=keep).fit((image, mask))
        for result in segmenter.segment_batch([image, image], consensus=consensus):
            assert (result.tree is not None) == keep
            if result.tree is not None:
                labels = result.tree.cut(-1)
                assert labels.shape == (patches,)
                assert set(labels.tolist()) == {0}


def test_fit_replaces(segmenter: Segmenter) -> None:
    target = picture(RIGHT)
    thing = segmenter.fit(pair()).segment(target).mask
    image, mask = pair()
    rest = segmenter.fit((image, ~mask)).segment(target).mask
    assert iou(thing, inside(RIGHT)) > 0.6
    assert iou(rest, ~inside(RIGHT)) > 0.6
    np.testing.assert_array_equal(segmenter.fit(pair()).segment(target).mask, thing)
    before = segmenter.references
    refusal(segmenter.fit, [(image, mask), (image, mask & False)])
    assert segmenter.references is before  # a failed fit changes nothing


def test_segment_needs_fit(segmenter: Segmenter) -> None:
    words = "no reference yet: give at least one (image, mask) pair first."
    assert refusal(segmenter.segment, picture(LEFT)) == words
    assert refusal(next, segmenter.segment_many([picture(LEFT)])) == words


def test_forms_of_references(segmenter: Segmenter, files: Path) -> None:
    image, mask = pair()
    target = picture(RIGHT)
    expected = segmenter.fit([(image, mask), (image, mask)]).segment(target)
    two = Reference(image, mask)
    for references in (
        ((image, mask), (image, mask)),
        [[image, mask], [image, mask]],
        [two, (image, mask)],
        (two, two),
        ((image, mask), two),
    ):
        found = segmenter.fit(references).segment(target)
        assert segmenter.references is not None
        assert len(segmenter.references) == 2
        assert_same(found, expected)
    for one in ((image, mask), [(image, mask)], ((image, mask),), Reference(image, mask), [two]):
        segmenter.fit(one)
        assert segmenter.references is not None
        assert len(segmenter.references) == 1
    expected = segmenter.fit((read_image("reference.jpg"), mask)).segment(target)
    for one in (
        ("reference.jpg", "reference_mask.png"),
        [(Path("reference.jpg"), Image.open("reference_mask.png"))],
        (Image.open("reference.jpg"), torch.from_numpy(mask)),
    ):
        assert_same(segmenter.fit(one).segment(target), expected)


def test_a_value_picks_one_label(segmenter: Segmenter) -> None:
    image = picture(LEFT)
    labels = np.full((96, 128), 7, np.uint8)
    labels[inside(LEFT)] = 3
    labels[:4] = 1
    target = picture(RIGHT)
    for value, mask in ((3, inside(LEFT)), (7, labels == 7)):
        expected = segmenter.fit((image, mask)).segment(target)
        found = segmenter.fit(Reference(image, labels, mask_value=value)).segment(target)
        assert_same(found, expected)
    assert "mask_value=" in refusal(segmenter.fit, (image, labels))
    assert "does not hold the value 9" in refusal(
        segmenter.fit, Reference(image, labels, mask_value=9)
    )


@pytest.mark.parametrize("references", [[], ()])
def test_no_reference(segmenter: Segmenter, references: Any) -> None:
    words = "no reference given: pass at least one (image, mask) pair."
    assert refusal(segmenter.fit, references) == words


@pytest.mark.parametrize(
    ("references", "kind"),
    [
        ("coin.png", "str"),
        (["coin.png", "mask.png"], "str"),
        (("coin.png", "mask.png", "more.png"), "tuple"),
        (("coin.png",), "tuple"),
        ([("coin.png",)], "tuple"),
        ([("a.png", "b.png"), "c.png"], "str"),
        ((("a.png", "b.png"), Path("c.png")), "PosixPath" if os.name == "posix" else "WindowsPath"),
        ([None], "NoneType"),
        ({"coin.png": "mask.png"}, "dict"),
        (None, "NoneType"),
        (Path("coin.png"), "PosixPath" if os.name == "posix" else "WindowsPath"),
        (np.zeros((4, 4, 3), np.uint8), "ndarray"),
    ],
)
def test_wrong_forms_of_references(segmenter: Segmenter, references: Any, kind: str) -> None:
    text = refusal(segmenter.fit, references)
    assert text.startswith("a reference must be a Reference or an (image, mask) pair, ")
    assert text.endswith(f"not {kind}: write [(image, mask), ...].")
    assert segmenter.references is None


def test_pairs_of_short_names_are_pairs() -> None:
    (one,) = as_references(("ab", "cd"))  # of which each could be taken for a pair itself
    assert (one.image, one.mask, one.mask_value) == ("ab", "cd", None)
    assert [r.image for r in as_references([("ab", "cd"), Reference("ef", "gh", 2)])] == [
        "ab",
        "ef",
    ]


def test_masks_and_images_that_cannot_be_used(segmenter: Segmenter, files: Path) -> None:
    image, mask = pair()
    assert refusal(segmenter.fit, ("none.jpg", mask)).startswith("none.jpg does not exist")
    assert refusal(segmenter.fit, (image, "none.png")).startswith("none.png does not exist")
    assert "marks nothing" in refusal(segmenter.fit, (image, mask & False))
    assert "128 × 96" in refusal(segmenter.fit, (image, mask.T))
    segmenter.fit((image, mask))
    assert refusal(segmenter.segment, "none.jpg").startswith("none.jpg does not exist")


@pytest.mark.parametrize("tau", [1.01, -2, float("nan"), float("inf")])
def test_a_tau_that_is_no_cosine(tau: float) -> None:
    text = refusal(INSID3Params, tau=tau)
    assert text == f"tau {tau} is no cosine similarity; use a number from -1 to 1."


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number(alpha: float) -> None:
    text = refusal(INSID3Params, alpha=alpha)
    assert text.startswith(f"alpha {alpha} is no number")


def test_settings_that_the_method_has_not() -> None:
    has = "it has temperature, linear, ridge, affinity, seed, threshold, presence"
    for name, others in (("tau", "insid3 and foris"), ("alpha", "insid3")):
        where = f"{name} is a setting of {others}"
        text = f"method likewise has no setting {name}; {has}; {where}."
        assert refusal(make_params, "likewise", {name: 0.5}) == text
    text = "method insid3 has no setting threshold; it has tau, alpha; threshold is a setting of "
    assert refusal(make_params, "insid3", {"threshold": 0.5}) == f"{text}likewise and segic."
    assert refusal(make_params, "insid3", {"b": 1}).endswith("no setting b; it has tau, alpha.")
    left_out: dict[str, Any] = {"tau": None, "alpha": None, "threshold": None}
    assert make_params("likewise", left_out) == LikewiseParams()


def test_a_method_is_a_name_or_settings(encoder: Encoder) -> None:
    for name in METHODS:
        assert get_method(name).Params.method == name
    assert refusal(Segmenter, encoder, method="best").startswith("method 'best' is unknown; use")
    for wrong in (INSID3Params, {"tau": 0.5}, None):
        text = refusal(Segmenter, encoder, method=wrong)
        assert text.startswith("method must be a name or the settings of a method, such as Lik")
    alpha = Segmenter(encoder, method=INSID3Params(alpha=0.3))
    assert (alpha.method, alpha.params) == ("insid3", INSID3Params(encoder.spec.tau, 0.3))


def test_parameters_reach_the_method(encoder: Encoder) -> None:
    def segmenter(**settings: float) -> Segmenter:
        return Segmenter(encoder, method=LikewiseParams(**settings)).fit(pair())

    assert Segmenter(encoder).method == "likewise"
    assert Segmenter(encoder).params == likewise_method.Params()
    assert segmenter(presence=0.2, linear=2).params == likewise_method.Params(
        presence=0.2, linear=2
    )
    target = picture(RIGHT)
    areas = [
        segmenter(threshold=nats, presence=0).segment(target).area for nats in (-100, -3, 0, 3, 100)
    ]
    assert areas == sorted(areas, reverse=True)
    assert (areas[0], areas[-1]) == (1, 0)
    sure = segmenter().segment(target)
    assert sure.present
    none = segmenter(presence=1).segment(target)  # nothing is that sure
    assert (none.present, none.scores.max()) == (False, 0.5)
    assert none.confidence == sure.confidence < 1


def test_parameters_reach_insid3(encoder: Encoder) -> None:
    def segmenter(**settings: float) -> Segmenter:
        return Segmenter(encoder, method=INSID3Params(**settings)).fit(pair())

    assert segmenter().params.tau == encoder.spec.tau == 0.6
    assert segmenter().params.alpha == 0.2
    fine = segmenter(tau=0.9999, alpha=2).segment(picture(RIGHT))
    coarse = segmenter(tau=-1.0).segment(picture(RIGHT))
    assert fine.trace.labels is not None
    assert fine.trace.labels.max() > 5
    kept = fine.trace.labels[torch.from_numpy(fine.scores.ravel() > 0)]
    assert kept.unique().tolist() == [fine.trace.seed]  # alpha 2 leaves the seed alone
    assert coarse.mask.all()  # all in one cluster


def test_an_encoder_is_shared(encoder: Encoder, encoded: list[int]) -> None:
    one, other = Segmenter(encoder), Segmenter(encoder, refiner="crf")
    assert one.encoder is other.encoder is encoder
    one.fit(pair())
    assert other.references is None


@pytest.mark.parametrize("refiner", ["guided", "crf"])
def test_refiners_only_redraw_the_mask(encoder: Encoder, refiner: str) -> None:
    target = picture(RIGHT)
    plain = Segmenter(encoder, refiner="none").fit(pair()).segment(target)
    refined = Segmenter(encoder, refiner=refiner).fit(pair()).segment(target)
    np.testing.assert_array_equal(plain.scores, refined.scores)
    assert (plain.mask != refined.mask).any()
    assert iou(plain.mask, refined.mask) > 0.6
    assert iou(refined.mask, inside(RIGHT)) > 0.6


def test_an_unknown_refiner_is_refused_before_anything_is_loaded() -> None:
    words = "refiner 'magic' is unknown; use one of none, guided, crf."
    assert refusal(Segmenter, "no such backbone", refiner="magic") == words
    assert refusal(build_insid3, "no such backbone", mask_refiner="magic") == words


def test_the_package_offers_what_it_lists() -> None:
    assert all(hasattr(likewise, name) for name in likewise.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Magic'"):
        likewise.Magic  # noqa: B018

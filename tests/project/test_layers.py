"""Score maps: sliders move masks; neutral ones leave them as the segmenter made them."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from likewise import LikewiseParams
from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_mask
from likewise.project.folder import SCORE_MAPS
from likewise.project.project import Project
from likewise.project.redraw import redraw
from likewise.project.score_maps import (
    NEUTRAL,
    ScoreMaps,
    Sliders,
    clusters,
    read_score_maps,
    upsample,
)
from likewise.project.settings import ProjectReference, ProjectSettings, read_settings
from likewise.project.settings_file import replace_settings
from likewise.reference import Reference
from likewise.result import Result
from likewise.segmenter import Segmenter

TARGETS = ("coin_1.png", "board_1.jpg")


@pytest.fixture(scope="module")
def fitted() -> Segmenter:
    """Two classes and a part, at a size at which an image takes a tenth of a second."""
    marked = [
        Reference(
            FOLDER / f"{name}_reference{suffix}", FOLDER / f"{name}_reference_mask.png", None, name
        )
        for name, suffix in (("coin", ".png"), ("board", ".jpg"))
    ]
    mask = read_mask(FOLDER / "coin_reference_mask.png")
    mask[: mask.shape[0] // 2] = False
    lower = Reference(FOLDER / "coin_reference.png", mask, label="coin/lower")
    segmenter = Segmenter(image_size=272, device="cpu", refiner="none", keep_tree=True, tile="off")
    return segmenter.fit([*marked, lower])


@pytest.fixture(scope="module")
def results(fitted: Segmenter) -> list[Result]:
    return [fitted.segment(FOLDER / name) for name in TARGETS]


def test_neutral_sliders_give_the_segmenters_own_masks(
    fitted: Segmenter, results: list[Result], tmp_path: Path
) -> None:
    for name, result in zip(TARGETS, results, strict=True):
        score_maps = ScoreMaps.of(result, fitted.encoder.input_size)
        (tmp_path / "a.npz").write_bytes(score_maps.encode(NEUTRAL))
        found = read_score_maps(tmp_path / "a.npz")
        assert found is not None
        assert found[1] == NEUTRAL
        again = found[0].result(NEUTRAL, "none")
        np.testing.assert_array_equal(again.label_map, result.label_map)
        assert again.confidence == pytest.approx(result.confidence)
        assert result.mask.any()
        for label, one in result.classes.items():
            np.testing.assert_array_equal(again.classes[label].mask, one.mask)
        own = Segmenter(fitted.encoder, refiner="guided", tile="off").fit_encoded(fitted.references)
        image = read_image(FOLDER / name)
        refined = found[0].result(NEUTRAL, "guided", image)
        np.testing.assert_array_equal(refined.label_map, own.segment(image).label_map)


def test_what_is_shown_is_what_is_written(fitted: Segmenter, results: list[Result]) -> None:
    # The page goes to its size at once, masks by way of the encoder's input.
    for result in results:
        score_maps = ScoreMaps.of(result, fitted.encoder.input_size)
        shown = score_maps.shown(NEUTRAL, score_maps.size)
        assert (shown == result.label_map).mean() > 0.99
        assert set(np.unique(shown)) == set(np.unique(result.label_map))


def test_threshold_is_that_of_the_method(fitted: Segmenter, results: list[Result]) -> None:
    coin = ScoreMaps.of(results[0], fitted.encoder.input_size)
    higher = Segmenter(fitted.encoder, method=LikewiseParams(threshold=2.0)).fit_encoded(
        fitted.references
    )
    own = higher.segment(FOLDER / TARGETS[0]).classes["coin"]
    moved = coin.moved(Sliders(threshold=2.0))[0]
    inside = (coin.scores[0] > 0) & (coin.scores[0] < 1) & (own.scores > 0)  # cut at neither end
    assert inside.sum() > 20
    np.testing.assert_allclose(moved[inside], own.scores[inside], atol=1e-5)
    areas = [(coin.moved(Sliders(t)) > 0.5).sum() for t in (-4, 0, 4)]
    assert areas[0] > areas[1] > areas[2] > 0


def test_granularity_shares_scores_in_clusters(fitted: Segmenter, results: list[Result]) -> None:
    result = results[0]
    score_maps = ScoreMaps.of(result, fitted.encoder.input_size)
    assert result.tree is not None
    sliders = Sliders(granularity=0.3)
    moved = score_maps.moved(sliders)[0].ravel()
    labels = result.tree.cut(1 - sliders.granularity)  # the tree's own way
    assert 1 < labels.max() + 1 < len(labels)
    for k in range(labels.max() + 1):
        np.testing.assert_allclose(
            moved[labels == k], score_maps.scores[0].ravel()[labels == k].mean(), atol=1e-6
        )
    np.testing.assert_array_equal(score_maps.moved(Sliders(granularity=1e-9)), score_maps.scores)
    one = score_maps.moved(Sliders(granularity=2.0))[0]
    assert np.ptp(one) == 0


def test_absent_images_come_back_the_later_the_surer(fitted: Segmenter) -> None:
    alone = Segmenter(fitted.encoder, keep_tree=True).fit_encoded(fitted.references.of("coin"))
    result = alone.segment(FOLDER / "board_2.jpg")
    coin = result.classes["coin"]
    assert coin.confidence < 0.5
    score_maps = ScoreMaps.of(result, fitted.encoder.input_size)
    k = list(result.classes).index("coin")
    lacks = (0.5 - coin.confidence) * 20
    assert not (score_maps.moved(NEUTRAL)[k] > 0.5).any()
    assert not (score_maps.moved(Sliders(-0.9 * lacks))[k] > 0.5).any()
    assert (score_maps.moved(Sliders(-1.1 * lacks))[k] > 0.5).any()


def test_upsampling_is_aligned_as_that_of_torch() -> None:
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    for size in ((13, 31), (5, 7), (3, 4)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values).double()[None, None], size=size, mode="bilinear"
        )[0, 0]
        np.testing.assert_allclose(upsample(values, size), expected, atol=1e-6)


def test_clusters_of_no_merge_are_the_patches() -> None:
    assert clusters(np.empty((0, 2), np.uint32), 4).tolist() == [0, 1, 2, 3]
    assert len(set(clusters(np.array([[0, 1], [4, 3]], np.uint32), 4).tolist())) == 2


def test_damaged_score_maps_are_none(
    fitted: Segmenter, results: list[Result], tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    assert read_score_maps(path) is None
    path.write_bytes(ScoreMaps.of(results[0], fitted.encoder.input_size).encode(NEUTRAL))
    whole = path.read_bytes()
    assert len(whole) < 40_000
    for end in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:end])
        assert read_score_maps(path) is None
    path.write_bytes(whole[:900] + bytes(200) + whole[1100:])
    assert read_score_maps(path) is None


def test_annotate_keeps_score_maps_and_sliders_of_a_project(
    tmp_path: Path, fitted: Segmenter
) -> None:
    reference = ProjectReference(
        str(FOLDER / "coin_reference.png"), str(FOLDER / "coin_reference_mask.png"), label="coin"
    )
    settings = ProjectSettings(
        (str(FOLDER / "coin_1.png"),), (reference,), image_size=272, page={"threshold": 3.0}
    )
    replace_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings
    (tmp_path / SCORE_MAPS).mkdir()
    project = Project(tmp_path)
    segmenter = project.segmenter(fitted.encoder).fit(project.references())
    jobs = project.jobs()
    project.begin("run", "embedded", jobs)
    (outcome,) = project.annotate(segmenter, jobs, "run")
    found = read_score_maps(project.score_maps(jobs[0].target))
    assert found is not None
    assert found[1] == Sliders(3.0)
    smaller = outcome.area
    assert list(redraw(project, jobs, lambda _: nullcontext(True))) == []  # they are as they say
    replace_settings(
        tmp_path, ProjectSettings(settings.targets, settings.references, image_size=272)
    )
    project = Project(tmp_path)
    (outcome,) = redraw(project, jobs, lambda _: nullcontext(True))
    own = segmenter.segment(FOLDER / "coin_1.png")
    np.testing.assert_array_equal(read_image(jobs[0].mask).any(axis=2), own.mask)
    assert outcome.area == pytest.approx(own.area)
    assert outcome.area > smaller > 0
    assert project.rows()[0].area == outcome.area
    project.judge([jobs[0].target], "accepted")
    replace_settings(tmp_path, settings)
    assert list(redraw(Project(tmp_path), jobs, lambda _: nullcontext(True))) == []


def test_scores_of_a_picture_that_was_replaced_are_not_redrawn(
    tmp_path: Path, fitted: Segmenter
) -> None:
    target = tmp_path / "coin.png"
    shutil.copy(FOLDER / "coin_1.png", target)
    reference = ProjectReference(
        str(FOLDER / "coin_reference.png"), str(FOLDER / "coin_reference_mask.png"), label="coin"
    )
    settings = ProjectSettings((str(target),), (reference,), image_size=272)
    replace_settings(tmp_path, settings)
    (tmp_path / SCORE_MAPS).mkdir()
    project = Project(tmp_path)
    segmenter = project.segmenter(fitted.encoder).fit(project.references())
    (job,) = project.jobs()
    project.begin("run", "embedded", [job])
    list(project.annotate(segmenter, [job], "run"))
    before = job.mask.read_bytes()
    shutil.copy(FOLDER / "coin_2.png", target)
    replace_settings(tmp_path, replace(settings, page={"threshold": 3.0}))
    project = Project(tmp_path)
    assert list(redraw(project, [job], lambda _: nullcontext(True))) == []
    assert job.mask.read_bytes() == before
    assert project.manifest.is_of_other(job.mask, target)  # so that the next run makes it anew

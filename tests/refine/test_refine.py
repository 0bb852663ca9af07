"""refine/: resizing, the guided filter and the CRF, the latter two against brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from helpers import iou, refusal
from likewise.refine import REFINERS, check_refiner, components, crf, refine, resize, rooted
from likewise.refine.crf import CRFParams, boundary_band, dense_crf
from likewise.refine.guided import coarser, enlarged, guided_filter


def smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1 along the first two axes."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), (sigma, sigma, 0)[: len(shape)])
    return (noise - noise.mean()) / noise.std()


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


# --- resize and refine --------------------------------------------------------------------------


def test_resizing_is_aligned_at_areas() -> None:
    values = torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(resize(values, (1, 4)), torch.tensor([[0, 0.25, 0.75, 1]]))
    torch.testing.assert_close(resize(values.T, (4, 1)), torch.tensor([[0, 0.25, 0.75, 1]]).T)
    torch.testing.assert_close(resize(torch.tensor([[0.0, 1, 3, 6]]), (1, 2)), values * 4 + 0.5)
    values = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(values, (5, 7)), values)
    large = resize(values, (80, 35))
    assert large.shape == (80, 35)
    for dim in (0, 1):  # what is aligned at areas does not care where the image begins
        torch.testing.assert_close(resize(values.flip(dim), (80, 35)), large.flip(dim))
    torch.testing.assert_close(resize(torch.tensor([[0.3]]), (3, 9)), torch.full((3, 9), 0.3))


@pytest.mark.parametrize("size", [(64, 80), (480, 640), (33, 57), (4, 5), (7, 3)])
def test_half_of_the_patches_is_half_of_the_image(size: tuple[int, int]) -> None:
    scores = torch.zeros(4, 6)
    scores[:, 3:] = 1
    image = np.zeros((*size, 3), np.uint8)
    mask = refine(scores, image, (64, 96))
    assert mask.shape == size
    assert mask.dtype == bool
    expected = np.broadcast_to(np.arange(size[1]) + 0.5 > size[1] / 2, size)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(refine(scores.flip(1), image, (64, 96)), expected[:, ::-1])


def test_decisions_are_made_at_the_input_size() -> None:
    # At 64 a lone patch is cut at 0.5; without that, its blurred top would grow or shrink.
    scores = torch.zeros(3, 3)
    scores[1, 1] = 1
    small = resize(scores, (48, 48)) > 0.5
    for size in ((48, 48), (96, 96), (144, 144)):
        mask = refine(scores, np.zeros((*size, 3), np.uint8), (48, 48))
        expected = resize(small.float(), size) > 0.5
        np.testing.assert_array_equal(mask, expected.numpy())
        assert abs(mask.mean() - small.float().mean()) < 0.01
    direct = resize(scores, (144, 144)) > 0.5
    assert (mask != direct.numpy()).any()


@pytest.mark.parametrize("refiner", REFINERS)
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_nothing_and_everything_stay(refiner: str, value: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    mask = refine(torch.full((4, 4), value), image, (64, 64), refiner)
    assert mask.all() if value == 1 else not mask.any()


@pytest.mark.parametrize(("refiner", "largest"), [("none", 5.0), ("guided", 1.0), ("crf", 1.0)])
def test_refiners_move_the_edge_to_where_the_colours_change(refiner: str, largest: float) -> None:
    # Patches of 16 px end at 48 of 96; the picture's own edge is 4 px further on.
    scores = torch.zeros(6, 6)
    scores[:, :3] = 1
    image = np.full((192, 288, 3), (40, 90, 60), np.uint8)
    image[:, : 52 * 3] = (200, 120, 50)
    image += np.random.default_rng(0).integers(0, 4, image.shape, dtype=np.uint8)
    mask = refine(scores, image, (96, 96), refiner)
    edges = mask.sum(axis=1) / 3
    assert np.abs(edges - 52).max() <= largest
    assert (np.abs(edges - 48).max() < 0.5) == (refiner == "none")


def test_pieces_without_anything_of_the_plain_mask_are_dropped() -> None:
    plain, refined = torch.zeros(8, 8), torch.full((8, 8), 0.25)
    plain[1:3, 1:3] = 1
    refined[2:5, 2:5] = 0.75  # moved, and it still touches
    refined[7, 7] = 0.75  # a speck
    expected = refined.clone()
    expected[7, 7] = 0
    assert torch.equal(rooted(refined, plain), expected)


def test_an_unknown_refiner() -> None:
    words = "refiner 'magic' is unknown; use one of none, guided, crf."
    assert refusal(check_refiner, "magic") == words
    image = np.zeros((8, 8, 3), np.uint8)
    assert refusal(refine, torch.zeros(2, 2), image, (16, 16), "magic") == words
    for name in REFINERS:
        check_refiner(name)


# --- guided filter ------------------------------------------------------------------------------


def naive_guided(I: np.ndarray, p: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """The definition: a linear model in every window; each pixel takes the mean of its windows'."""
    H, W = p.shape
    total, count = np.zeros((H, W)), np.zeros((H, W))
    for y in range(H):
        for x in range(W):
            window = (
                slice(max(0, y - radius), y + radius + 1),
                slice(max(0, x - radius), x + radius + 1),
            )
            colours, values = I[window].reshape(-1, 3), p[window].ravel()
            covariance = np.cov(colours.T, bias=True) if len(colours) > 1 else np.zeros((3, 3))
            cross = ((colours - colours.mean(axis=0)) * (values - values.mean())[:, None]).mean(0)
            a = np.linalg.solve(covariance + eps * np.eye(3), cross)
            b = values.mean() - a @ colours.mean(axis=0)
            total[window] += I[window] @ a + b
            count[window] += 1
    return (total / count).clip(0, 1)


@pytest.mark.parametrize(
    ("shape", "radius", "eps"), [((18, 23), 3, 1e-3), ((12, 9), 8, 1e-2), ((15, 20), 1, 1e-3)]
)
def test_guided_filter_is_its_definition(shape: tuple[int, int], radius: int, eps: float) -> None:
    rng = np.random.default_rng(0)
    image = (smooth(rng, (*shape, 3), 1.5) * 0.2 + 0.5).clip(0, 1)
    scores = (smooth(rng, shape, 1) + 0.5).clip(0, 1)
    guide = torch.from_numpy(image).float().permute(2, 0, 1)
    ours = guided_filter(guide, guide, torch.from_numpy(scores).float(), radius, eps)
    expected = naive_guided(image, scores, radius, eps)
    assert np.abs(expected - scores).max() > 0.05
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(48, 64), (50, 63), (3, 2)])
def test_a_coarser_guided_filter_is_the_same_on_what_is_coarse(shape: tuple[int, int]) -> None:
    """Smooth pictures have no detail that a picture of half the size would lose."""
    rng = np.random.default_rng(0)
    image = ((smooth(rng, (*shape, 3), 6) * 0.2 + 0.5).clip(0, 1) * 255).astype(np.uint8)
    scores = torch.from_numpy((smooth(rng, shape, 6) + 0.5).clip(0, 1)).float()
    half = (shape[0] + 1) // 2, (shape[1] + 1) // 2
    guide, coarse = (coarser(image, size) for size in (shape, half))
    whole = guided_filter(guide, guide, scores, 8, 1e-2)
    found = guided_filter(guide, coarse, scores, 4, 1e-2)
    assert found.shape == shape
    assert (whole - found).abs().max() < 0.05


@pytest.mark.parametrize("size", [(5, 7), (6, 7), (20, 28), (23, 9), (5, 3)])
@pytest.mark.parametrize("h", [1, 5])
def test_enlarged_is_bilinear(size: tuple[int, int], h: int) -> None:
    planes = torch.rand(3, h, 7, generator=torch.Generator().manual_seed(0))
    before = planes.clone()
    wanted = torch.nn.functional.interpolate(planes[None], size, mode="bilinear")[0]
    torch.testing.assert_close(enlarged(planes, size), wanted, atol=1e-6, rtol=0)
    assert torch.equal(planes, before)


def test_guided_filter_moves_a_blurred_edge() -> None:
    edge = np.arange(60) >= 33
    image = np.where(edge[:, None], (0.7, 0.3, 0.2), (0.2, 0.4, 0.5))[None].repeat(40, axis=0)
    blurred = np.clip((np.arange(60) - 30) / 16 + 0.5, 0, 1)  # crosses 0.5 at 30
    scores = np.broadcast_to(blurred, (40, 60)).astype(np.float32).copy()
    assert (scores > 0.5).sum() == 40 * 29
    guide = torch.from_numpy(image).float().permute(2, 0, 1)
    filtered = guided_filter(guide, guide, torch.from_numpy(scores), radius=8)
    np.testing.assert_array_equal(filtered.numpy() > 0.5, np.broadcast_to(edge, (40, 60)))
    assert filtered.min() >= 0
    assert filtered.max() <= 1


def test_guided_filter_on_a_flat_image_is_two_box_filters() -> None:
    scores = np.zeros((30, 30), np.float32)
    scores[10:20, 10:20] = 1
    flat = torch.full((3, 30, 30), 0.4)
    filtered = guided_filter(flat, flat, torch.from_numpy(scores), radius=2).numpy()
    box = ndimage.uniform_filter(ndimage.uniform_filter(scores.astype(float), 5), 5)
    np.testing.assert_allclose(filtered, box, atol=1e-5)


# --- the band -----------------------------------------------------------------------------------


def brute_band(mask: np.ndarray, radius: float) -> np.ndarray:
    """Pixels at most `radius` away from a pixel of the other side."""
    points = np.argwhere(np.ones_like(mask))
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    other = mask.ravel()[:, None] != mask.ravel()[None]
    band: np.ndarray = ((squares <= radius**2) & other).any(axis=1).reshape(mask.shape)
    return band


@pytest.mark.parametrize("radius", [1, 2, 5, 7])
def test_band_is_dilation_minus_erosion_by_a_disc(radius: int) -> None:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    structure = y**2 + x**2 <= radius**2
    for seed in range(5):
        mask = smooth(np.random.default_rng(seed), (60, 70), 4) > 0.3
        grown = ndimage.binary_dilation(mask, structure)
        shrunk = ndimage.binary_erosion(mask, structure)
        band = boundary_band(mask, radius)
        inside = (slice(radius, -radius),) * 2
        np.testing.assert_array_equal(band[inside], (grown & ~shrunk)[inside])
        assert band.any()
        assert not band.all()


def test_the_images_border_is_no_boundary() -> None:
    mask = np.zeros((30, 30), bool)
    mask[:, :15] = True
    band = boundary_band(mask, 5)
    np.testing.assert_array_equal(band, np.abs(np.mgrid[:30, :30][1] - 14.5) < 5)
    small = smooth(np.random.default_rng(0), (25, 20), 2) > 0
    np.testing.assert_array_equal(boundary_band(small, 3), brute_band(small, 3))


def test_no_boundary_no_band() -> None:
    for mask in (np.zeros((6, 7), bool), np.ones((6, 7), bool)):
        assert not boundary_band(mask, 5).any()
        image = torch.rand(6, 7, 3, generator=torch.Generator().manual_seed(0))
        assert torch.equal(dense_crf(image, torch.from_numpy(mask)), torch.from_numpy(mask))


# --- the CRF ------------------------------------------------------------------------------------


def mean_field(image: np.ndarray, mask: np.ndarray, params: CRFParams) -> np.ndarray:
    """(H, W) foreground probability by brute force over all pairs of pixels, in float64."""
    H, W = mask.shape
    scale = math.sqrt(H * W) / 512
    band = brute_band(mask, params.band).ravel()
    points = np.argwhere(np.ones_like(mask)).astype(float)
    colours = image.reshape(-1, 3).astype(float)
    apart = np.abs(points[band][:, None] - points[None])
    squares = (apart**2).sum(axis=2)
    distances = ((colours[band][:, None] - colours[None]) ** 2).sum(axis=2)
    kernels = []
    for weight, width, colour in (
        (params.spatial_weight, params.spatial_width * scale, np.inf),
        (params.bilateral_weight, params.bilateral_width * scale, params.colour_width),
    ):
        kernel = np.exp(-squares / (2 * width**2) - distances / (2 * colour**2))
        kernel[(apart > max(1, math.ceil(3 * width))).any(axis=2)] = 0  # cut off at three widths
        kernel[squares == 0] = 0  # the pixel itself
        kernels.append((weight, kernel / kernel.sum(axis=1, keepdims=True)))
    q = np.where(mask.ravel(), params.core_probability, 1 - params.core_probability)
    q[band] = 0.5
    for _ in range(params.iterations):
        q[band] = 1 / (1 + np.exp(-sum(w * (k @ (2 * q - 1)) for w, k in kernels)))
    return q.reshape(H, W)


EXACT = CRFParams(samples_per_width=1000)
WIDE = replace(EXACT, spatial_width=32, bilateral_width=60)


@pytest.mark.parametrize(
    ("shape", "params", "noise"),
    [
        ((24, 32), replace(WIDE, colour_width=0.15), 0.15),
        ((40, 40), replace(WIDE, colour_width=0.1), 0.02),
        ((40, 40), replace(WIDE, band=3, iterations=3, colour_width=0.15), 0.1),
        ((36, 44), replace(WIDE, spatial_weight=20, bilateral_weight=3, colour_width=0.2), 0.2),
        ((44, 36), replace(WIDE, core_probability=0.7, colour_width=0.1), 0.05),
        ((40, 40), replace(WIDE, spatial_weight=0, colour_width=0.15), 0.1),
        ((40, 40), replace(WIDE, bilateral_weight=0), 0.1),
        ((40, 48), replace(EXACT, colour_width=0.3), 0.1),  # the released widths
    ],
)
def test_crf_is_mean_field_over_all_pairs(
    shape: tuple[int, int], params: CRFParams, noise: float
) -> None:
    changed = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = smooth(rng, shape, 5)
        mask = truth + 0.4 * smooth(rng, shape, 4) > 0.2
        image = np.where(truth[..., None] > 0.2, (0.6, 0.5, 0.3), (0.4, 0.5, 0.5))
        image = (image + rng.normal(size=(*shape, 3)) * noise).clip(0, 1).astype(np.float32)
        q = mean_field(image, mask, params)
        ours = dense_crf(torch.from_numpy(image), torch.from_numpy(mask), params).numpy()
        tie = np.abs(q - 0.5) < 0.02
        np.testing.assert_array_equal(ours[~tie], (q > 0.5)[~tie])
        assert tie.mean() < 0.03
        changed += (ours != mask).sum()
    assert changed > 20


def test_crf_with_kernels_narrower_than_a_pixel() -> None:
    params = replace(EXACT, colour_width=0.3)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mask = smooth(rng, (20, 24), 3) > 0
        image = rng.random((20, 24, 3)).astype(np.float32)
        q = mean_field(image, mask, params)
        ours = dense_crf(torch.from_numpy(image), torch.from_numpy(mask), params).numpy()
        clear = np.abs(q - 0.5) > 0.02
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(ours[clear], (q > 0.5)[clear])


@pytest.mark.parametrize("seed", range(8))
def test_only_the_band_may_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(30, 80)), int(rng.integers(30, 80)))
    mask = smooth(rng, shape, float(rng.uniform(2, 8))) > rng.uniform(-1, 1)
    image = torch.from_numpy(rng.random((*shape, 3), dtype=np.float32))
    given = torch.from_numpy(mask)
    result = dense_crf(image, given, replace(CRFParams(), colour_width=0.2)).numpy()
    assert (given.numpy() == mask).all()  # and the mask itself is left alone
    band = boundary_band(mask, 5)
    assert not band.all()
    np.testing.assert_array_equal(result[~band], mask[~band])
    assert (result != mask).any()


def scene(shape: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """A textured thing on texture, its true mask, and a mask in blocks of 16 px."""
    rng = np.random.default_rng(seed)
    H, W = shape
    truth = disc(shape, (H * 0.52, W * 0.45), H * 0.31) & ~disc(shape, (H * 0.3, W * 0.6), H * 0.15)
    texture = smooth(rng, (*shape, 3), 6) * 0.04 + smooth(rng, (*shape, 3), 1) * 0.015
    image = np.where(truth[..., None], (0.62, 0.42, 0.3), (0.35, 0.5, 0.4)) + texture
    image = ndimage.gaussian_filter(image, (0.7, 0.7, 0)).clip(0, 1)
    blocks = truth.reshape(H // 16, 16, W // 16, 16).mean(axis=(1, 3)) > 0.5
    mask = resize(torch.from_numpy(blocks).float(), shape) > 0.5
    return torch.from_numpy(image).float(), truth, mask.numpy()


def test_coarse_sampling_agrees_with_fine() -> None:
    image, truth, mask = scene((256, 320))
    fine = dense_crf(image, torch.from_numpy(mask), EXACT).numpy()
    band = boundary_band(mask, 5)
    for samples in (2, 3, 4):
        params = CRFParams(samples_per_width=samples)
        coarse = dense_crf(image, torch.from_numpy(mask), params).numpy()
        assert (coarse == fine)[band].mean() >= 0.98
    assert iou(fine, truth) > iou(mask, truth) + 0.03
    assert iou(fine, truth) > 0.97


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _, mask = scene((96, 96))
    whole = dense_crf(image, torch.from_numpy(mask))
    assert (whole.numpy() != mask).any()
    for size in (1, 1000):
        monkeypatch.setattr(crf, "_CHUNK", size)
        assert torch.equal(dense_crf(image, torch.from_numpy(mask)), whole)


def test_a_small_budget_of_pairs_only_costs_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth, mask = scene((192, 192))
    full = dense_crf(image, torch.from_numpy(mask), EXACT).numpy()
    pixels = int(boundary_band(mask, 5).sum())
    monkeypatch.setattr(crf, "_MAX_PAIRS", 60 * pixels)
    offsets = crf._lattice(12 * 192 / 512, 1000, pixels)
    assert len(offsets) == 48  # 7 · 7 without the middle
    thinned = dense_crf(image, torch.from_numpy(mask), EXACT).numpy()
    assert (thinned == full)[boundary_band(mask, 5)].mean() > 0.95
    assert iou(thinned, truth) > iou(mask, truth)
    monkeypatch.setattr(crf, "_MAX_PAIRS", 1)  # never fewer than the eight neighbours at the reach
    assert len(crf._lattice(12 * 192 / 512, 1000, pixels)) == 8


def test_neighbours_lie_within_three_widths() -> None:
    offsets = crf._lattice(4.5, 3.0, 100)
    assert offsets.abs().max() == 14
    assert set(offsets.flatten().tolist()) == set(range(-14, 15, 2))  # steps of round(4.5 / 3)
    assert not (offsets == 0).all(dim=1).any()
    assert len(offsets) == 15**2 - 1
    assert len(crf._lattice(0.1, 3.0, 100)) == 8


def test_components_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(rng.integers(1, 30, 2)) < rng.random() for _ in range(100)]
    comb = np.zeros((9, 9), bool)
    comb[::2], comb[:, 0], comb[1::4, 8] = True, True, True
    for mask in [*masks, comb, np.zeros((3, 4), bool), np.ones((3, 4), bool)]:
        found = np.zeros(mask.size, int)
        for start, end, piece in zip(*components(mask), strict=True):
            found[start:end] = piece + 1
        np.testing.assert_array_equal(found.reshape(mask.shape), ndimage.label(mask)[0])

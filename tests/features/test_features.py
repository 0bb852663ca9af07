"""features/: debiasing, grids, nearest patches, prototypes and clusters, against brute force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import refusal
from likewise.backbones.encoder import Encoder
from likewise.errors import BackboneError
from likewise.features import correspondence
from likewise.features.clustering import cluster_means, cluster_prototypes, reference_prototype
from likewise.features.debias import debias, positional_basis, resolve_rank
from likewise.features.patch_features import mask_to_grid
from tiny import make_backbone


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Bases are kept here, never in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LIKEWISE_CACHE", str(folder))
        yield folder


def unit_rows(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


# --- debias -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "dim", "rank"),
    [
        (0, 8, 0),
        (7, 8, 7),
        (500, 1024, 500),
        (500 / 1024, 1024, 500),
        (500 / 1024, 384, 188),  # 187.5
        (500 / 1024, 768, 375),
        (0.5, 48, 24),
    ],
)
def test_ranks(setting: float, dim: int, rank: int) -> None:
    assert resolve_rank(setting, dim) == rank


@pytest.mark.parametrize("setting", [-1, 384, 500, 0.999, 1.0, -0.1, 20.0, np.inf, np.nan])
def test_ranks_that_leave_nothing(setting: float) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 383 \(or a fraction such as 500/1024\)"):
        resolve_rank(setting, 384)


def test_basis_is_the_top_singular_vectors_of_the_centred_unit_tokens() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(60, 20)) * rng.uniform(0.1, 90, (60, 1)) + 3 * rng.normal(size=20)
    basis = positional_basis(torch.from_numpy(tokens), 6).numpy()
    F = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    V = np.linalg.svd(F - F.mean(axis=0))[2][:6]
    assert basis.shape == (20, 6)
    assert basis.dtype == np.float32
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(basis @ basis.T, V.T @ V, atol=1e-5)
    np.testing.assert_allclose(np.abs(basis.T @ V.T), np.eye(6), atol=1e-3)  # in their order


@pytest.mark.parametrize(("n", "rank", "columns"), [(5, 4, 4), (5, 5, 4), (5, 15, 4), (1, 3, 0)])
def test_rank_is_limited_by_the_tokens(n: int, rank: int, columns: int) -> None:
    tokens = unit_rows(n, 16)
    basis = positional_basis(tokens, rank)
    assert basis.shape == (16, columns)
    # All there is to know of n centred tokens lies in n - 1 directions.
    centred = tokens - tokens.mean(dim=0)
    torch.testing.assert_close(centred @ basis @ basis.T, centred, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [0, 1, 10, 23])
def test_debiased_features_are_unit_and_orthogonal_to_the_basis(rank: int) -> None:
    features = unit_rows(50, 24)
    basis = positional_basis(unit_rows(70, 24, seed=1), rank)
    debiased = debias(features, basis)
    assert debiased.dtype == torch.float32
    torch.testing.assert_close(debiased.norm(dim=1), torch.ones(50))
    assert (debiased @ basis).abs().sum() < 1e-3
    left = features - features @ basis @ basis.T
    torch.testing.assert_close(debiased * left.norm(dim=1, keepdim=True), left)
    assert (rank == 0) == torch.allclose(debiased, features, atol=1e-6)


# --- a ViT-S with the default settings ----------------------------------------------------------


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random DINOv3 ViT-S of two blocks, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("models") / "vits"
    return make_backbone(folder, dim=384, heads=6, mlp_dim=1536)


def scene(seed: int, flipped: bool = False) -> np.ndarray:
    """256 x 256: on the left checks of 8 px in red and yellow, on the right blue waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    checks = np.where(((y // 8 + x // 8) % 2)[..., None], (220, 30, 30), (230, 220, 40))
    waves = np.array((20, 40, 200)) + 50 * np.sin(y / 5)[..., None]
    left = x >= 128 if flipped else x < 128
    pixels = np.where(left[..., None], checks, waves) + rng.normal(size=(256, 256, 3)) * 8
    return pixels.clip(0, 255).astype(np.uint8)


def test_vits_with_default_settings_gives_sensible_features(vits: Path) -> None:
    encoder = Encoder(vits, image_size=256, device="cpu")
    assert encoder.spec.dim == 384
    assert encoder.rank == 188 < 384  # the released 500 would remove the whole space
    assert encoder.basis.shape == (384, 188)
    one, same, mirrored = encoder.encode_many([scene(0), scene(0), scene(1, flipped=True)])

    assert one.grid == (16, 16)
    assert one.features.shape == one.debiased.shape == (256, 384)
    torch.testing.assert_close(one.debiased.norm(dim=1), torch.ones(256))
    assert torch.equal(one.debiased, same.debiased)
    assert torch.equal(one.debiased, encoder.encode(scene(0)).debiased)
    left = (one.features - one.features @ encoder.basis @ encoder.basis.T).norm(dim=1)
    assert left.min() > 0.5  # what is renormalised is content, not rounding

    # The same texture at another place of another image beats the other texture at this place.
    checks = (torch.arange(256) % 16 < 8).nonzero()[:, 0]
    waves = (torch.arange(256) % 16 >= 8).nonzero()[:, 0]
    across = one.debiased @ mirrored.debiased.T
    alike = torch.stack([across[checks][:, waves].mean(), across[waves][:, checks].mean()])
    unlike = torch.stack([across[checks][:, checks].mean(), across[waves][:, waves].mean()])
    assert alike.min() > unlike.max() + 0.1
    nearest = across[checks].argmax(dim=1)
    assert torch.isin(nearest, waves).float().mean() > 0.95  # mirrored: where the checks are now


def test_vits_with_the_released_rank_is_refused(vits: Path) -> None:
    for rank in (384, 500, 1.0):
        text = refusal(Encoder, vits, image_size=256, svd_components=rank, device="cpu")
        assert "dimension 384 need a rank from 0 to 383" in text
    with pytest.raises(BackboneError):
        Encoder(vits, image_size=256, svd_components=-1, device="cpu")


def test_a_rank_of_all_but_one_leaves_one_direction(vits: Path) -> None:
    encoder = Encoder(vits, image_size=320, svd_components=383, device="cpu")
    encoded = encoder.encode(scene(0))
    assert encoder.basis.shape == (384, 383)
    assert (encoded.debiased @ encoded.debiased.T).abs().min() > 0.99


# --- mask_to_grid -------------------------------------------------------------------------------


def test_patches_of_a_mask() -> None:
    mask = np.zeros((32, 64), bool)
    mask[8:24, 16:40] = True
    patches = mask_to_grid(mask, (4, 8))
    assert patches.dtype == torch.bool
    expected = np.zeros((4, 8), bool)
    expected[1:3, 2:5] = True
    np.testing.assert_array_equal(patches.numpy().reshape(4, 8), expected)
    mask[:, 51] = True  # one of a patch's two middle columns: 0.5 is not above 0.5
    np.testing.assert_array_equal(mask_to_grid(mask, (4, 8)).reshape(4, 8), expected)
    mask[3, 52] = True  # three of the four middle pixels
    expected[0, 6] = True
    np.testing.assert_array_equal(mask_to_grid(mask, (4, 8)).reshape(4, 8), expected)


def test_larger_grids_than_masks() -> None:
    mask = np.array([[True, False], [False, False]])
    patches = mask_to_grid(mask, (8, 8)).numpy().reshape(8, 8)
    assert patches[:3, :3].all()
    assert not patches[4:].any()
    assert not patches[:, 4:].any()


def test_a_thin_mask_falls_back_to_nearest() -> None:
    mask = np.zeros((64, 64), bool)
    mask[16] = True  # one row: bilinear looks at the rows 23 and 24, nearest at 16
    patches = mask_to_grid(mask, (4, 4)).numpy().reshape(4, 4)
    np.testing.assert_array_equal(patches, [[False] * 4, [True] * 4, [False] * 4, [False] * 4])


@pytest.mark.parametrize("pixel", [(0, 1), (5, 5), (47, 63), (33, 1), (20, 62)])
def test_a_tiny_mask_falls_back_to_its_centroid(pixel: tuple[int, int]) -> None:
    mask = np.zeros((48, 64), bool)
    mask[pixel] = True
    patches = mask_to_grid(mask, (3, 4)).numpy().reshape(3, 4)
    assert patches.sum() == 1
    assert patches[pixel[0] // 16, pixel[1] // 16]


def test_the_centroid_of_two_specks() -> None:
    mask = np.zeros((64, 64), bool)
    mask[[3, 45], [5, 51]] = True
    patches = mask_to_grid(mask, (4, 4)).numpy().reshape(4, 4)
    np.testing.assert_array_equal(np.argwhere(patches), [[1, 1]])  # (24, 28)


def test_no_mask_is_ever_lost() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        shape, grid = rng.integers(1, 60, 2), tuple(rng.integers(1, 20, 2).tolist())
        mask = rng.random(shape) < 0.02
        mask.flat[rng.integers(mask.size)] = True
        assert mask_to_grid(mask, grid).any()


# --- nearest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (57, 1), (57, 40)])
@pytest.mark.parametrize("entries", [1, 39, 41, 1000, 1 << 24])
def test_nearest_is_brute_force_for_every_block_size(
    monkeypatch: pytest.MonkeyPatch, n: int, m: int, entries: int
) -> None:
    monkeypatch.setattr(correspondence, "BLOCK_ENTRIES", entries)
    queries, keys = unit_rows(n, 12), unit_rows(m, 12, seed=1)
    similarity, index = correspondence.nearest(queries, keys)
    brute = queries.double().numpy() @ keys.double().numpy().T
    np.testing.assert_array_equal(index.numpy(), brute.argmax(axis=1))
    np.testing.assert_allclose(similarity.numpy(), brute.max(axis=1), atol=1e-6)
    assert (similarity.dtype, index.dtype) == (torch.float32, torch.int64)


def test_nearest_of_equal_keys_is_the_first() -> None:
    keys = unit_rows(5, 8).repeat(3, 1)
    np.testing.assert_array_equal(correspondence.nearest(keys, keys)[1].numpy(), [*range(5)] * 3)


# --- scaled cosines -------------------------------------------------------------------------------

NEEDS_BYTES = pytest.mark.skipif(
    not correspondence.multiplies_bytes(), reason="this processor multiplies no bytes (VNNI)"
)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (57, 1), (57, 40)])
@pytest.mark.parametrize("entries", [1, 41, 1000, 1 << 24])
@pytest.mark.parametrize("bytes_too", [False, pytest.param(True, marks=NEEDS_BYTES)])
def test_scaled_cosines_are_products_for_every_block_size(
    n: int, m: int, entries: int, bytes_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correspondence, "BLOCK_ENTRIES", entries)
    monkeypatch.setattr(correspondence, "multiplies_bytes", lambda: bytes_too)
    queries, keys = unit_rows(n, 384), unit_rows(m, 384, seed=1)
    before = queries.clone(), keys.clone()
    rows = correspondence.block_rows(m, queries.device)
    shift = torch.arange(n * m).reshape(n, m) / (n * m)
    found = torch.cat([*correspondence.scaled_cosines(queries, keys, 50.0, shift.split(rows))])
    torch.testing.assert_close(
        found, 50 * queries @ keys.T + shift, atol=0.15 if bytes_too else 1e-4, rtol=0
    )
    assert found.dtype == torch.float32
    assert all(map(torch.equal, (queries, keys), before))


@NEEDS_BYTES
def test_cosines_in_bytes_are_off_by_less_than_a_thousandth() -> None:
    queries, keys = unit_rows(200, 384), unit_rows(500, 384, seed=1)
    (found,) = correspondence.scaled_cosines(queries, keys, 1.0, [torch.zeros(1)])
    assert 0 < (found - queries @ keys.T).abs().mean() < 0.001


@NEEDS_BYTES
def test_rows_of_zeros_and_of_one_large_number_in_bytes() -> None:
    rows = torch.zeros(3, 16)
    rows[1, 3] = 1.0
    rows[2] = 0.25
    shifts = [torch.zeros(1)]
    (found,) = correspondence.scaled_cosines(rows, rows, 1.0, shifts)
    torch.testing.assert_close(found, rows @ rows.T)


@pytest.mark.parametrize("problem", ["no VNNI", "wrong sums", "for GPUs only"])
def test_bytes_are_not_multiplied_where_that_is_slow_or_wrong(
    problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if problem == "for GPUs only":
            raise RuntimeError("_int_mm")
        return (a.int() @ b.int()).clamp(max=32767 if problem == "wrong sums" else 1 << 30)

    flags = {"fpu"} if problem == "no VNNI" else {"avx_vnni"}
    monkeypatch.setattr(correspondence, "processor_has", lambda: frozenset(flags))
    monkeypatch.setattr(torch, "_int_mm", product)
    assert not correspondence.multiplies_bytes.__wrapped__()
    if problem == "no VNNI":
        monkeypatch.setattr(correspondence, "processor_has", lambda: frozenset({"avx_vnni"}))
        assert correspondence.multiplies_bytes.__wrapped__()


# --- prototypes ---------------------------------------------------------------------------------


def test_every_reference_weighs_the_same() -> None:
    x, y, z = torch.eye(3)
    small = torch.stack([x, z])
    large = torch.stack([y, y, y, z])
    masks = [torch.tensor([True, False]), torch.tensor([True, True, True, False])]
    prototype = reference_prototype([small, large], masks)
    torch.testing.assert_close(prototype, torch.tensor([0.5, 0.5, 0]) ** 0.5)
    one = reference_prototype([torch.stack([x, y, z])], [torch.tensor([True, True, False])])
    torch.testing.assert_close(one, torch.tensor([0.5, 0.5, 0]) ** 0.5)


def test_cluster_means_and_prototypes() -> None:
    features = unit_rows(30, 7)
    labels = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(30) % 4))
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(4)])
    torch.testing.assert_close(cluster_means(features, labels, 4), means)
    torch.testing.assert_close(cluster_means(features[:, 0], labels, 4), means[:, 0])
    lengths = means.norm(dim=1, keepdim=True)
    torch.testing.assert_close(cluster_prototypes(features, labels, 4), means / lengths)

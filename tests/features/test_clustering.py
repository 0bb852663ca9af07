"""features/clustering.py: the partitions of SciPy's average linkage, on the CPU and on devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage

from likewise.backbones.encoder import Encoder
from likewise.features import clustering
from likewise.features.clustering import (
    MergeTree,
    average_linkage,
    condensed_distances,
    reciprocal_merges,
)
from likewise.io.images import read_image

EXAMPLE = Path(clustering.__file__).parents[1] / "example"
CUTS = np.arange(0.2, 0.95, 0.1)


def on_devices(features: torch.Tensor) -> MergeTree:
    """What GPUs run, here on CPU tensors."""
    return MergeTree(reciprocal_merges(features) if len(features) > 1 else np.empty((0, 4)))


Cluster = Callable[[torch.Tensor], MergeTree]
PATHS = pytest.mark.parametrize("cluster", [average_linkage, on_devices])


def clustered(n: int, seed: int, duplicates: bool) -> torch.Tensor:
    """Features in groups, so that every cut has something to decide."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, n // 8), 10))
    rows = centres[rng.integers(len(centres), size=n)] + rng.normal(size=(n, 10)) * 0.6
    if duplicates:
        rows[n // 2 :] = rows[: n - n // 2]
    return torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1)


def condensed(features: torch.Tensor) -> np.ndarray:
    similarity = (features @ features.T).numpy().astype(np.float64)
    return np.maximum(1 - similarity, 0)[np.triu_indices(len(features), 1)]


def naive(features: torch.Tensor, tau: float) -> np.ndarray:
    """Average linkage by its definition: merge the two clusters of the smallest mean distance."""
    F = features.double().numpy()
    distance = 1 - F @ F.T
    clusters = [[i] for i in range(len(F))]
    while len(clusters) > 1:
        indicator = np.zeros((len(clusters), len(F)))
        for k, members in enumerate(clusters):
            indicator[k, members] = 1 / len(members)
        means = indicator @ distance @ indicator.T
        np.fill_diagonal(means, np.inf)
        i, j = sorted(np.unravel_index(means.argmin(), means.shape))
        if means[i, j] >= 1 - tau:
            break
        clusters[i] += clusters.pop(j)
    labels = np.empty(len(F), int)
    for k, members in enumerate(sorted(clusters, key=min)):
        labels[members] = k
    return labels


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = len(set(zip(a.tolist(), b.tolist(), strict=True)))
    return len(set(a.tolist())) == len(set(b.tolist())) == pairs


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 300])
@PATHS
def test_partitions_are_scipys(cluster: Cluster, n: int, duplicates: bool) -> None:
    for seed in range(3):
        features = clustered(n, seed, duplicates)
        tree = cluster(features)
        assert tree.merges.shape == (n - 1, 4)
        sizes = []
        for tau in np.arange(0.2, 0.95, 0.1):
            labels = tree.cut(tau)
            assert labels.dtype == np.int64
            firsts = [np.flatnonzero(labels == k)[0] for k in range(labels.max() + 1)]
            assert firsts == sorted(firsts)  # numbered by their first patch
            assert labels[0] == 0
            if n > 1:
                scipy = linkage(condensed(features), "average")
                assert same_partition(labels, fcluster(scipy, 1 - tau, "distance"))
            sizes.append(labels.max() + 1)
        assert sizes == sorted(sizes)  # a higher tau gives more clusters
        assert n < 50 or sizes[0] < sizes[-1]


@pytest.mark.parametrize("duplicates", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 50])
@PATHS
def test_partitions_are_those_of_the_definition(cluster: Cluster, n: int, duplicates: bool) -> None:
    for seed in range(4):
        features = clustered(n, seed + 10, duplicates)
        tree = cluster(features)
        for tau in (0.2, 0.4, 0.6, 0.8, 0.9):
            np.testing.assert_array_equal(tree.cut(tau), naive(features, tau))


@PATHS
def test_a_merge_exactly_at_the_cut_is_not_made(cluster: Cluster) -> None:
    features = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-0.8, -0.6]])
    tree = cluster(features)
    np.testing.assert_allclose(tree.merges[:, 2], [0, 1, (1.8 + 1.8 + 1.6) / 3], atol=1e-6)
    np.testing.assert_array_equal(tree.cut(0.0), [0, 0, 1, 2])  # orthogonal: distance 1 = 1 - 0
    np.testing.assert_array_equal(tree.cut(-1e-9), [0, 0, 0, 1])
    np.testing.assert_array_equal(tree.cut(1.0), [0, 1, 2, 3])  # not even the equal ones
    np.testing.assert_array_equal(tree.cut(1 - 1e-9), [0, 0, 1, 2])
    np.testing.assert_array_equal(tree.cut(-1.0), [0, 0, 0, 0])


def test_labels_follow_the_first_patch_not_the_merges() -> None:
    # The last patches merge first; they are still the last cluster.
    merges = np.array([[3, 4, 0.1, 2], [0, 2, 0.2, 2], [1, 6, 0.9, 3], [5, 7, 1.0, 5]])
    np.testing.assert_array_equal(MergeTree(merges).cut(0.5), [0, 1, 0, 2, 2])


def test_a_tree_of_one_patch() -> None:
    tree = average_linkage(torch.tensor([[1.0, 0, 0, 0]]))
    assert tree.merges.shape == (0, 4)
    np.testing.assert_array_equal(tree.cut(0.6), [0])


# --- many sets, random and real -------------------------------------------------------------------


def noise(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, (8, 48, 384)[seed % 3], generator=torch.Generator().manual_seed(seed))


def groups(n: int, seed: int) -> torch.Tensor:
    centres = noise(max(1, n // 12), seed)
    picks = torch.randint(len(centres), (n,), generator=torch.Generator().manual_seed(seed))
    return centres[picks] + 0.6 * noise(n, seed + 3)


def copies(n: int, seed: int) -> torch.Tensor:
    return noise(n, seed)[torch.arange(n) % max(1, n // 2)]


def path(n: int, seed: int) -> torch.Tensor:
    """Neighbours so alike that rounding to float32 makes ties."""
    return noise(n, seed).cumsum(0) + 3


def differ(features: torch.Tensor) -> list[str]:
    """Where a path's partition is not SciPy's, unless SciPy's own hangs on rounding: then a tie."""
    features = torch.nn.functional.normalize(features, dim=1)
    expected = MergeTree(linkage(condensed(features), "average"))
    found = []
    for cluster in (average_linkage, on_devices):
        tree = cluster(features)
        np.testing.assert_allclose(tree.merges[:, 3].max(), len(features))
        assert (np.diff(tree.merges[:, 2]) >= 0).all()
        found += [
            f"{cluster.__name__} at {tau:.1f}"
            for tau in CUTS
            if not np.array_equal(tree.cut(tau), expected.cut(tau))
        ]
    if found:
        exact = (1 - features.double() @ features.double().T).clamp_min(0).numpy()
        other = linkage(exact[np.triu_indices(len(exact), 1)], "average")
        if np.abs(other[:, 2] - expected.merges[:, 2]).max() > 1e-6:
            assert all(text.startswith("on_devices") for text in found)
            return []
    return found


@pytest.mark.parametrize("make", [noise, groups, copies, path])
@pytest.mark.parametrize("n", [2, 3, 5, 8, 13, 34, 89, 233, 610, 1369, 2048])
def test_two_hundred_random_sets(make: Callable[[int, int], torch.Tensor], n: int) -> None:
    for seed in range(5 if n < 1000 else 2):
        assert differ(make(n, seed + n)) == []


def test_a_random_set_of_4096() -> None:
    assert differ(groups(4096, 2)) == []


@pytest.mark.parametrize("size", [224, 512, 896])
def test_real_features(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_CACHE", str(tmp_path))
    encoder = Encoder(image_size=size)
    names = ["board_1.jpg", "coin_1.png", "board_2.jpg", "coin_2.png"][: 4 if size < 800 else 1]
    for encoded in encoder.encode_many([read_image(EXAMPLE / name) for name in names]):
        assert len(encoded.features) == (size // 16) ** 2
        assert differ(encoded.features) == []
        assert differ(encoded.debiased) == []


def test_a_tie_that_rounding_hides_is_still_merged() -> None:
    """Three that are equally alike, each the nearest of another one: nobody's choice is mutual."""
    ring = torch.tensor([1, 2, 0])

    def nearest(means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(means) == 3:
            return torch.tensor([0.5, 0.5, 0.4]), ring.clone()
        return torch.full((2,), 0.25), torch.tensor([1, 0])

    with mock.patch.object(clustering, "_nearest_other", nearest):
        merges = reciprocal_merges(torch.eye(3))
    np.testing.assert_allclose(merges, [[0, 1, 0.5, 2], [2, 3, 0.75, 3]])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.nn.functional.normalize(groups(100, 1), dim=1)
    whole = reciprocal_merges(features)
    distances = condensed_distances(features)
    np.testing.assert_allclose(distances, condensed(features), atol=1e-6)
    monkeypatch.setattr(clustering, "BLOCK_ROWS", 7)
    monkeypatch.setattr(clustering, "BLOCK_ENTRIES", 300)
    np.testing.assert_allclose(condensed_distances(features), distances, atol=1e-6)
    np.testing.assert_allclose(reciprocal_merges(features), whole, atol=1e-6)

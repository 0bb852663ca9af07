"""Compare likewise's INSID3 with a folder of golden outputs: python run_golden.py DIR.

DIR holds `zero_image.npz` (`features` (D,h,w) of the content-free image), `case_*.npz` (see
`compare_case`), `keypoints_*.npz` (see `compare_keypoints`) and, optionally,
`positional_basis_rN.npz` (`projector` (D,D) of the basis of rank N); its index.json is not needed.
Features are un-normalised; any grid, D, rank, number of references and size will do. A difference
that a change of the similarities by less than 1e-6 explains is called a float tie, with its
margin, and is a difference all the same. Exit status: 0 all equal, 1 something differs or there is
no case, 2 no DIR.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import report, verdict

from likewise.errors import LikewiseError
from likewise.features.clustering import MergeTree, cluster_prototypes
from likewise.features.debias import debias, positional_basis, resolve_rank
from likewise.features.patch_features import PatchFeatures, mask_to_grid
from likewise.methods.insid3 import INSID3Params, INSID3Trace, insid3
from likewise.methods.keypoints import match_keypoints
from likewise.refine import refine

TIE = 1e-6
LIMITS = {
    "projector": (1e-4, "max |diff|"),
    "prototype": (1e-4, "max |diff|"),
    "candidates": (0.0, "tokens"),
    "labels": (0.0, "tokens"),
    "seed": (0.0, "tokens"),
    "grid_mask": (0.0, "tokens"),
    "mask": (1 - 0.999, "1 - IoU"),
    "matched_debiased": (0.05, "px"),
    "matched_original": (0.05, "px"),
}
UNREADABLE = (OSError, KeyError, ValueError, IndexError, RuntimeError, LikewiseError)
Case = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One comparison; `difference` is in the output's unit, or inf where it could not be made."""

    case: str
    output: str
    difference: float
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.difference <= LIMITS.get(self.output, (0.0, ""))[0]


def rows_of(features: np.ndarray) -> torch.Tensor:
    """(D,h,w) of any scale → (h·w, D) float32 unit rows."""
    flat = torch.from_numpy(features.astype(np.float32)).flatten(1).T.contiguous()
    return torch.nn.functional.normalize(flat, dim=1)


class Bases:
    """The positional bases of one folder, each rank made once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "zero_image.npz"
        self._made: dict[float, torch.Tensor] = {}

    def of(self, rank: float) -> torch.Tensor:
        """(D, rank) basis; a rank below 1 is a fraction of D."""
        if rank not in self._made:
            with np.load(self._file) as zero:
                tokens = rows_of(zero["features"])
            count = resolve_rank(float(rank) if 0 < rank < 1 else int(rank), tokens.shape[1])
            self._made[rank] = positional_basis(tokens, count)
        return self._made[rank]


def encoded(features: np.ndarray, basis: torch.Tensor, size: Any) -> PatchFeatures:
    """What the encoder would have made of (D,h,w) features of an image of `size` (H, W)."""
    F = rows_of(features)
    grid = (features.shape[1], features.shape[2])
    return PatchFeatures(F, debias(F, basis), grid, (int(size[0]), int(size[1])))


def compare_basis(path: Path, case: Case, bases: Bases) -> list[Row]:
    basis = bases.of(int(path.stem.rsplit("_r", 1)[1]))
    return [Row(path.stem, "projector", max_difference(basis @ basis.T, case["projector"]))]


def compare_case(path: Path, case: Case, bases: Bases) -> list[Row]:
    """One segmentation.

    In: ref_features (K,D,h,w), tgt_features (D,h,w), ref_masks (K,H',W'), out_size (H,W), params
    (rank, tau, alpha, side of the square input). Out: prototype (D,), candidates, labels and
    grid_mask (h,w), seed (negative where there was no candidate), mask = np.packbits of (H,W).
    """
    rank, tau, alpha, side = (float(p) for p in case["params"])
    basis = bases.of(rank)
    references = [
        encoded(features, basis, mask.shape)
        for features, mask in zip(case["ref_features"], case["ref_masks"], strict=True)
    ]
    target = encoded(case["tgt_features"], basis, case["out_size"])
    masks = [
        mask_to_grid(mask.astype(bool), reference.grid)
        for reference, mask in zip(references, case["ref_masks"], strict=True)
    ]
    trace = insid3(references, masks, target, INSID3Params(tau=tau, alpha=alpha))
    h, w = target.grid
    # A grid that is not square comes from an input that is not, which is as large as the masks.
    input_size = (int(side), int(side)) if h == w else case["ref_masks"].shape[1:]
    blank = np.zeros((*target.size, 3), np.uint8)
    mask = refine(trace.scores.reshape(h, w), blank, input_size, "none")

    name = path.stem
    rows = [Row(name, "prototype", max_difference(trace.prototype, case["prototype"]))]
    wrong = np.flatnonzero(trace.candidates.numpy() != case["candidates"].ravel())
    rows.append(Row(name, "candidates", len(wrong)))
    if len(wrong):
        margins = candidate_margins(references, masks, target, trace)[wrong]
        rows[-1] = Row(name, "candidates", len(wrong), tie_note(margins.max(), wrong, w))
    rows += compare_clusters(name, case, target, trace, tau)
    rows.append(compare_grid_mask(name, case, trace, alpha, rows))
    golden = case["mask"]
    if golden.dtype != bool:
        golden = np.unpackbits(golden)[: mask.size].astype(bool)
    union = (mask | golden.reshape(mask.shape)).sum()
    overlap = (mask & golden.reshape(mask.shape)).sum()
    return [*rows, Row(name, "mask", 1 - overlap / union if union else 0.0)]


def compare_clusters(
    name: str, case: Case, target: PatchFeatures, trace: INSID3Trace, tau: float
) -> list[Row]:
    """Partition and seed; where there was no candidate, there must be no seed, and no more."""
    seed = int(case["seed"].item())
    if seed < 0:
        found = trace.seed is not None
        return [Row(name, "seed", float("inf") if found else 0, "none expected" if found else "")]
    if trace.labels is None or trace.tree is None:
        return [Row(name, output, float("inf"), "we have none") for output in ("labels", "seed")]
    golden, ours = case["labels"].ravel().astype(np.int64), trace.labels.numpy()
    wrong = np.flatnonzero(partition_difference(ours, golden))
    note = ""
    if len(wrong):
        margin = partition_margin(target.features, trace.tree, tau, wrong)
        note = tie_note(margin, wrong, target.grid[1])
    rows = [Row(name, "labels", len(wrong), note)]
    seed_wrong = int(((ours == trace.seed) != (golden == seed)).sum())
    note = ""
    if seed_wrong and len(wrong):
        note = "the partition differs"
    elif seed_wrong:
        prototypes = cluster_prototypes(target.debiased, trace.labels, int(ours.max()) + 1)
        closeness = prototypes @ trace.prototype
        theirs = ours[np.flatnonzero(golden == seed)[0]]
        note = tie_note(float(abs(closeness[trace.seed] - closeness[theirs])))
    return [*rows, Row(name, "seed", seed_wrong, note)]


def compare_grid_mask(
    name: str, case: Case, trace: INSID3Trace, alpha: float, before: list[Row]
) -> Row:
    wrong = np.flatnonzero((trace.scores.numpy() > 0.5) != case["grid_mask"].ravel())
    note = ""
    if len(wrong):
        note = ", ".join(row.output for row in before if not row.ok and row.output != "prototype")
        note = f"as do {note}" if note else "no reason in sight"
        if note == "no reason in sight" and trace.cluster_scores is not None:
            scores = trace.cluster_scores[trace.labels].numpy()[wrong]
            note = tie_note(float(np.abs(scores - alpha).max()))
    return Row(name, "grid_mask", len(wrong), note)


def compare_keypoints(path: Path, case: Case, bases: Bases) -> list[Row]:
    """One match: ref_features and tgt_features (D,h,w), ref_size and tgt_size (H,W), keypoints
    (n,2), rank → matched_debiased and matched_original (n,2)."""
    basis = bases.of(float(case["rank"]))
    reference = encoded(case["ref_features"], basis, case["ref_size"])
    target = encoded(case["tgt_features"], basis, case["tgt_size"])
    rows = []
    for output, debiased in (("matched_debiased", True), ("matched_original", False)):
        keypoints = torch.from_numpy(case["keypoints"])
        points, _ = match_keypoints(reference, target, keypoints, debiased=debiased)
        rows.append(Row(path.stem, output, max_difference(points, case[output])))
    return rows


def max_difference(ours: torch.Tensor, golden: np.ndarray) -> float:
    """Max |ours - golden|; inf where the shapes differ or a number is missing."""
    if tuple(ours.shape) != golden.shape:
        return float("inf")
    gap = np.abs(ours.numpy().astype(np.float64) - golden).max()
    return float(gap) if np.isfinite(gap) else float("inf")


def tie_note(margin: float, tokens: np.ndarray | None = None, width: int = 1) -> str:
    """Whether a margin of similarity is a float tie, and where."""
    where = ""
    if tokens is not None:
        where = f", first at row {tokens[0] // width}, column {tokens[0] % width}"
    return f"{'a' if margin < TIE else 'no'} float tie: margin {margin:.1e}{where}"


def candidate_margins(
    references: list[PatchFeatures],
    masks: list[torch.Tensor],
    target: PatchFeatures,
    trace: INSID3Trace,
) -> np.ndarray:
    """(N,) smallest change of similarities that would make each token (no) candidate."""
    inf = torch.full((len(target.debiased),), torch.inf)
    gaps = []  # by how much the best masked reference token beats the best other one
    for reference, mask in zip(references, masks, strict=True):
        similarity = target.debiased @ reference.debiased.T
        sides = [similarity[:, m].max(dim=1).values if m.any() else -inf for m in (mask, ~mask)]
        gaps.append(sides[0] - sides[1])
    votes = torch.stack(gaps, dim=1).sort(dim=1, descending=True).values.numpy()
    deciding = votes[:, (len(references) + 1) // 2 - 1]  # the last vote of a bare majority
    ahead = trace.similarity.numpy().copy()
    if (ahead <= 0).all():  # forward: the top tenth instead
        ahead -= np.sort(ahead)[-max(1, len(ahead) // 10)]
    return np.abs(np.minimum(ahead, deciding))


def partition_difference(ours: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """(N,) bool: tokens whose cluster is not the same set of tokens in both."""
    _, a, sizes_a = np.unique(ours, return_inverse=True, return_counts=True)
    _, b, sizes_b = np.unique(golden, return_inverse=True, return_counts=True)
    _, both, sizes = np.unique(a * len(sizes_b) + b, return_inverse=True, return_counts=True)
    different: np.ndarray = (sizes[both] != sizes_a[a]) | (sizes[both] != sizes_b[b])
    return different


def partition_margin(
    features: torch.Tensor, tree: MergeTree, tau: float, tokens: np.ndarray
) -> float:
    """Smallest gap at a decision of our linkage about these tokens: to the cut or the runner-up."""
    distance = np.maximum(1 - (features @ features.T).numpy().astype(np.float64), 0)
    np.fill_diagonal(distance, np.inf)
    involved = np.zeros(len(distance), dtype=bool)
    involved[tokens] = True
    sizes = np.ones(len(distance))
    row_of = dict(enumerate(range(len(distance))))
    margin = np.inf
    for step, (a, b, height, _) in enumerate(tree.merges):
        i, j = row_of.pop(int(a)), row_of.pop(int(b))
        if involved[i] or involved[j]:
            others = np.minimum(distance[i], distance[j])
            others[[i, j]] = np.inf
            margin = min(margin, abs(height - (1 - tau)), max(0.0, others.min() - height))
        mean = (sizes[i] * distance[i] + sizes[j] * distance[j]) / (sizes[i] + sizes[j])
        distance[i], distance[:, i] = mean, mean
        distance[i, i], distance[j], distance[:, j] = np.inf, np.inf, np.inf
        sizes[i] += sizes[j]
        involved[i] |= involved[j]
        row_of[len(distance) + step] = i
    return float(margin)


KINDS = {
    "positional_basis_r*.npz": compare_basis,
    "case_*.npz": compare_case,
    "keypoints_*.npz": compare_keypoints,
}


def run(folder: str | Path) -> list[Row]:
    """Every comparison that `folder` allows; what cannot be read is a row that differs."""
    folder = Path(folder)
    folder = folder / "insid3" if (folder / "insid3").is_dir() else folder  # its parent will do
    bases = Bases(folder)
    rows: list[Row] = []
    for pattern, compare in KINDS.items():
        for path in sorted(folder.glob(pattern)):
            try:
                with np.load(path) as file:
                    rows += compare(path, dict(file), bases)
            except (*UNREADABLE, zipfile.BadZipFile, EOFError) as error:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                rows.append(Row(path.stem, "reading", float("inf"), reason))
    return rows


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python run_golden.py DIR (a folder of golden outputs)", file=sys.stderr)
        return 2
    rows = run(arguments[0])
    if not any(row.case.startswith(("case_", "keypoints_")) for row in rows):
        print(f"no case found in {arguments[0]}", file=sys.stderr)
        return 1
    table = [("case", "output", "difference", "limit", "unit", "verdict")]
    for row in rows:
        limit, unit = LIMITS.get(row.output, (0.0, ""))
        table.append(
            (
                row.case,
                row.output,
                f"{row.difference:.3g}",
                f"{limit:g}",
                unit,
                verdict(row.ok, row.note),
            )
        )
    return report(table, sum(not row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

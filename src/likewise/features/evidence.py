"""What references say about a patch: densities of the concept and of the rest, a linear rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .correspondence import BLOCK_ENTRIES

if TYPE_CHECKING:
    import torch

    from .encoded import Encoded


@dataclass(frozen=True, eq=False)
class Tokens:
    """M patches of references that are known to be the concept or not."""

    debiased: torch.Tensor
    """(M, D) float32, unit rows."""
    foreground: torch.Tensor
    """(M,) bool."""
    view: torch.Tensor
    """(M,) int64: which view of which reference they are from."""

    def of(self, views: list[int]) -> Tokens:
        """The patches of these views."""
        import torch

        keep = torch.isin(self.view, self.view.new_tensor(views))
        return Tokens(self.debiased[keep], self.foreground[keep], self.view[keep])

    def has_both(self) -> bool:
        """Whether there are patches of either kind."""
        return bool(self.foreground.any()) and not bool(self.foreground.all())


def known_patches(
    encoded: Encoded, mask: torch.Tensor, negative: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one reference tells about foreground and background.

    Args:
        encoded: its N patches.
        mask: (N,) bool: the concept or, if ``negative``, what it is not.
        negative: nothing is known of the unmasked patches then: they are left out.

    Returns:
        ``(tokens, masked)``: (M, D) float32 debiased features and (M,) bool, true where they show
        the concept.
    """
    if negative:
        return encoded.debiased[mask], mask[mask].logical_not()
    return encoded.debiased, mask


def log_densities(tokens: Tokens, queries: torch.Tensor, temperature: float) -> torch.Tensor:
    """Nats of two kernel densities: log Σ exp((cos - 1) / temperature) - ½ log n, over n patches.

    With log n whole, a large background would count for less than its patches do; without it, for
    more: half stands between the two priors.

    Args:
        tokens: M patches.
        queries: (N, D) float32, unit rows.
        temperature: width of the kernel; below 0.023 sums of far patches round to the least float.

    Returns:
        (N, 2) float32: of the rest, of the concept.
    """
    import torch

    member = torch.stack([~tokens.foreground, tokens.foreground], dim=1).float()
    sums = []
    for part in queries.split(max(1, BLOCK_ENTRIES // len(member))):
        cosines = part @ tokens.debiased.T
        sums.append(cosines.sub_(1).div_(temperature).exp_() @ member)  # in place: 3 times faster
    return torch.cat(sums).clamp_min(1e-37).log() - 0.5 * member.sum(dim=0).clamp_min(1).log()


def discriminant(tokens: Tokens, ridge: float) -> torch.Tensor:
    """Ridge regression of concept (1) against the rest (-1), both weighing the same.

    Args:
        tokens: M patches.
        ridge: variance added to every direction, in shares of the mean variance, 1 / D.

    Returns:
        (D + 1,) float32: weights, then the offset; 0 unless there are patches of either kind.
    """
    import torch

    X, G = tokens.debiased, tokens.foreground
    if not tokens.has_both():
        return X.new_zeros(X.shape[1] + 1)
    share = torch.where(G, 0.5 / G.sum(), 0.5 / (~G).sum())
    centre = share @ X
    centred = X - centre
    covariance = (centred.T * share) @ centred
    covariance.diagonal().add_(ridge / X.shape[1])
    w = torch.linalg.solve(covariance, (share * torch.where(G, 1.0, -1.0)) @ centred)
    return torch.cat([w, -(centre @ w)[None]])

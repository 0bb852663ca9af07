"""The papers' ablations as lists of what to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import LikewiseError

Change = Mapping[str, Any]
"""Options of ``likewise benchmark``; ``set`` holds settings of the method."""

ABLATIONS: Mapping[str, Mapping[str, Change]] = {
    "debias": {"on": {}, "off": {"svd_components": 0}},
    "rank": {
        f"{share:g}": {"svd_components": share} for share in (0.02, 0.05, 0.1, 0.25, 0.5, 0.75)
    },
    "tau": {f"{tau:g}": {"set": {"tau": tau}} for tau in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)},
    "alpha": {
        f"{alpha:g}": {"method": "insid3", "set": {"alpha": alpha}}
        for alpha in (0.0, 0.1, 0.2, 0.3, 0.4)
    },
    # FoRIS, from matching alone to all of it.
    "foris": {
        "matching": {
            "method": "foris",
            "set": {"vote_weight": 0.0, "prior_weight": 0.0, "reward": 0.0, "reduction": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0, "background_weight": 0.0},
        },
        "+ localisation": {
            "method": "foris",
            "set": {"reward": 0.0, "reduction": 0.0, "background_weight": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0},
        },
        "+ purification": {
            "method": "foris",
            "set": {"reward": 0.0, "reduction": 0.0}
            | {"disagreement_weight": 0.0, "ambiguity_weight": 0.0},
        },
        "+ consolidation": {"method": "foris"},
    },
    "backbone": {name: {"backbone": name} for name in ("vits", "vitb", "vitl", "dinov2-vitl14")},
    "size": {str(size): {"image_size": size} for size in (512, 768, 1024)},
    "shots": {"1": {"shots": 1}, "5": {"shots": 5}},
    "refine": {name: {"refine": name} for name in ("none", "guided", "crf")},
}


def get_ablation(name: str) -> Mapping[str, Change]:
    """Raises LikewiseError unless there is one of that name."""
    if name not in ABLATIONS:
        raise LikewiseError(f"ablation {name!r} is unknown; use one of {', '.join(ABLATIONS)}.")
    return ABLATIONS[name]

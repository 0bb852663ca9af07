"""Methods: encoded references + an encoded target → continuous patch scores. One file each.

A method is a module with a frozen dataclass ``Params``, the ``VIEWS`` of the references that it
wants and two functions of tensors: ``fit(references, params)``, run once for all targets, and
``score(model, target)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import LikewiseError

if TYPE_CHECKING:
    import torch

    from ..features.encoded import Encoded
    from ..features.shared import Shared
    from ..reference import Reference, ReferenceSet, Shot

METHODS = ("likewise", "insid3", "foris", "frost", "nearest", "segic")
DEFAULT = "likewise"
"""What ``Segmenter`` and the command line use."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a method says about one target of N patches."""

    patches: torch.Tensor
    """(N,) float32 in 0..1, or (f·h, f·w) of a finer grid; upsampled, above 0.5 is foreground."""
    confidence: float
    """0..1: how sure it is that the target shows the concept at all."""
    trace: Any = None
    """Intermediate results, for people who want to look inside."""
    disputed: bool = False
    """Whether the other targets of a batch, as references, find something else in it."""

    def on(self, grid: tuple[int, int]) -> torch.Tensor:
        """(h, w) scores of N patches on their grid; finer ones as they are."""
        return self.patches.reshape(grid) if self.patches.ndim == 1 else self.patches


class Method(Protocol):
    """What a module of this package offers."""

    Params: type[Any]
    VIEWS: tuple[str, ...]
    """Further views of every reference that ``fit`` wants, see ``features/views.py``."""
    NEGATIVES: bool
    """Whether it uses negative references; if not, those made of other classes are left out."""

    @staticmethod
    def fit(references: ReferenceSet, params: Any) -> Any:
        """Everything that depends on the references alone."""

    @staticmethod
    def score(model: Any, target: Encoded, shared: Shared | None = None) -> Scores:
        """Scores of one target; ``shared`` holds what other classes have worked out of it."""


def get_method(name: str) -> Method:
    """Raises LikewiseError unless ``name`` is one of ``METHODS``."""
    if name not in METHODS:
        raise LikewiseError(f"method {name!r} is unknown; use one of {', '.join(METHODS)}.")
    return cast(Method, importlib.import_module(f".{name}", __name__))


def check_negatives(name: str, references: Sequence[Reference | Shot]) -> None:
    """Raises LikewiseError if some are negative and the method knows none."""
    if not get_method(name).NEGATIVES and any(r.negative for r in references):
        raise LikewiseError(f"method {name} knows no negative references; use likewise.")


def check_consensus(name: str) -> None:
    """Raises LikewiseError unless the method has a consensus of batches."""
    if name != "likewise":
        raise LikewiseError(f"method {name} has no consensus; use likewise.")


def make_params(name: str, settings: Mapping[str, Any], tau: float) -> Any:
    """The method's ``Params`` with these settings; None stands for the default.

    Args:
        name: one of ``METHODS``.
        settings: field → value.
        tau: calibrated for the backbone; taken by methods that cluster, if ``settings`` has none.

    Raises:
        LikewiseError: if the method has no such setting or the value is none it can use.
    """
    kind = get_method(name).Params
    known = [f.name for f in fields(kind)]
    given = {key: value for key, value in settings.items() if value is not None}
    for key in given:
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise LikewiseError(f"method {name} has no setting {key}; {has}.")
    if "tau" in known:
        given.setdefault("tau", tau)
    return kind(**given)

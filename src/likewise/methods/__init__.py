"""Methods: encoded references + an encoded target → continuous patch scores. One file each.

A method is a module with a frozen dataclass ``Params``, the ``VIEWS`` of the references that it
wants, what it can do (``CAN``) and two functions of tensors: ``fit(references, params)``, run once
for all targets, and ``score(model, target)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from ..backbones.device import choose_device
from ..errors import LikewiseError
from ..processor import has_bfloat16

if TYPE_CHECKING:
    import torch

    from ..features.patch_features import PatchFeatures
    from ..features.target_cache import TargetCache
    from ..reference import EncodedReference, Reference, ReferenceSet

METHODS = ("likewise", "insid3", "foris", "frost", "nearest", "segic")
DEFAULT = "likewise"
"""What ``Segmenter`` and the command line use."""
TAU = 0.6
"""Cosine similarity at which INSID3 stops clustering, where no backbone is known."""


@dataclass(frozen=True)
class MethodParams:
    """What can be tuned of a method; each has its own, such as ``INSID3Params``."""

    method: ClassVar[str]
    """Name of the method, one of ``METHODS``."""


@dataclass(frozen=True)
class Abilities:
    """What a method can do, so that nobody need compare its name."""

    negatives: bool = True
    """It uses negative references; without, those made of other classes are left out."""
    consensus: bool = False
    """Images of a batch can become references of each other, see ``methods/consensus.py``."""
    tiles: bool = False
    """An image can be read in tiles, with one decision for all of it, see ``methods/mosaic.py``."""
    threshold: bool = False
    """Its ``Params`` have a ``threshold`` in nats, used in ``score`` alone and not in ``fit``."""
    decoder: bool = False
    """Its ``Params`` name a trained ``decoder`` file, which fits one backbone, block and rank;
    and a ``task``, which says what of the references is wanted."""
    half: tuple[str, ...] = ()
    """Backbones with which its masks in bfloat16 were shown to be as good as in float32."""
    min_confidence: float = 0.0
    """0..1: what was found with a lower confidence is unlike the references; 0 if the confidence of
    the method has no such scale."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a method says about one target of N patches."""

    patches: torch.Tensor
    """(N,) float32 in 0..1, or (f·h, f·w) of a finer grid; upsampled, above 0.5 is foreground."""
    confidence: float
    """0..1: confidence that the target shows the concept at all."""
    trace: Any = None
    """Intermediate results of the method, for inspection."""
    disputed: bool = False
    """Whether the consensus with the other targets of its batch finds something else in it."""

    def on(self, grid: tuple[int, int]) -> torch.Tensor:
        """(h, w) scores of N patches on their grid; finer ones as they are."""
        return self.patches.reshape(grid) if self.patches.ndim == 1 else self.patches


class Method(Protocol):
    """Interface of the modules of this package."""

    Params: type[MethodParams]
    VIEWS: tuple[str, ...]
    """Further views of every reference that ``fit`` wants, see ``features/views.py``."""
    CAN: Abilities
    """What it can do."""

    @staticmethod
    def fit(references: ReferenceSet, params: Any) -> Any:
        """The model of one class: everything that depends on the references alone."""

    @staticmethod
    def score(model: Any, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
        """Scores of one target; ``cache`` has what other classes already computed of it."""


def get_method(name: str) -> Method:
    """Raises LikewiseError unless ``name`` is one of ``METHODS``."""
    if name not in METHODS:
        raise LikewiseError(f"method {name!r} is unknown; use one of {', '.join(METHODS)}.")
    return cast(Method, importlib.import_module(f".{name}", __name__))


def usual_dtype(
    dtype: str, method: str | MethodParams, backbone: object, device: str, runtime: str = "torch"
) -> str:
    """What ``auto`` is for a method: bfloat16 on a CPU that has it, where that is proven; else
    ``dtype`` as it is.

    Args:
        dtype, backbone, device, runtime: as for ``Encoder``.
        method: its name or settings.
    """
    name = method.method if isinstance(method, MethodParams) else method
    proven = name in METHODS and backbone in get_method(name).CAN.half
    if dtype != "auto" or runtime != "torch" or not proven:
        return dtype
    on_cpu = choose_device(device).type == "cpu"
    return "bfloat16" if on_cpu and has_bfloat16() else dtype


def check_negatives(name: str, references: Sequence[Reference | EncodedReference]) -> None:
    """Raises LikewiseError if some are negative and the method knows none."""
    if not get_method(name).CAN.negatives and any(r.negative for r in references):
        raise LikewiseError(f"method {name} knows no negative references; use likewise.")


def check_consensus(name: str) -> None:
    """Raises LikewiseError unless the method has a consensus of batches."""
    if not get_method(name).CAN.consensus:
        raise LikewiseError(f"method {name} has no consensus; use likewise.")


def make_params(name: str, settings: Mapping[str, Any]) -> MethodParams:
    """The method's ``Params`` from settings by name; None stands for the default.

    Args:
        name: one of ``METHODS``.
        settings: field → value.

    Raises:
        LikewiseError: if the method has no such setting or the value is none it can use.
    """
    kind = get_method(name).Params
    known = [f.name for f in fields(kind)]
    given = {key: value for key, value in settings.items() if value is not None}
    for key in given:
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            others = [m for m in METHODS if key in [f.name for f in fields(get_method(m).Params)]]
            whose = f"; {key} is a setting of {' and '.join(others)}" if others else ""
            raise LikewiseError(f"method {name} has no setting {key}; {has}{whose}.")
    return kind(**given)


def params_of(method: str | MethodParams, tau: float) -> Any:
    """The ``Params`` of a method that is named, with its defaults, or given with its settings.

    Args:
        method: one of ``METHODS``, or settings.
        tau: calibrated for the backbone; taken where the method has one and none was given.

    Raises:
        LikewiseError: if there is no such method.
    """
    params = make_params(method, {}) if isinstance(method, str) else method
    if not isinstance(params, MethodParams):
        raise LikewiseError(
            "method must be a name or the settings of a method, such as LikewiseParams(), not "
            f"{type(method).__name__}."
        )
    changed: Any = {"tau": tau} if getattr(params, "tau", tau) is None else {}
    return replace(params, **changed)

"""SegIC (ECCV 2024): a trained mask decoder over features and instructions from the references.

``instructions`` computes the in-context instructions (§3.2), ``decoder`` the mask (§3.3), ``files``
reads and writes decoder files, which ``likewise segic train`` makes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ...errors import LikewiseError
from ...features.patch_features import PatchFeatures
from ...reference import EncodedReference, ReferenceSet
from .. import Abilities, MethodParams, Scores
from .text import TASKS, prompt

if TYPE_CHECKING:
    import torch

    from ...features.target_cache import TargetCache
    from .decoder import Decoder
    from .instructions import Entity, ReferenceDensities

__all__ = ["CAN", "VIEWS", "Params", "SegICModel", "SegICParams", "fit", "score"]

CAN = Abilities(threshold=True, decoder=True)
VIEWS: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegICParams(MethodParams):
    """Decoder file, task and threshold."""

    method: ClassVar[str] = "segic"
    decoder: str = ""
    """Path of a file of ``likewise segic train``."""
    task: int = 0
    """Meta instruction (Eq. 4) without a text encoder: 0 semantic, all of the class; 1 instance,
    the same object (video)."""
    threshold: float = 0.0
    """Nats that are subtracted from the logits; above 0 gives smaller masks."""

    def __post_init__(self) -> None:
        if not self.decoder or not isinstance(self.decoder, str | Path):
            raise LikewiseError(
                "method segic needs a decoder: give --decoder FILE.safetensors, which "
                "`likewise segic train` makes."
            )
        object.__setattr__(self, "decoder", str(self.decoder))
        if self.task not in range(len(TASKS)):
            raise LikewiseError(f"task {self.task} is unknown; use 0 (semantic) or 1 (instance).")
        if not math.isfinite(self.threshold):
            raise LikewiseError("threshold must be a finite number of nats.")


Params = SegICParams


@dataclass(frozen=True, eq=False)
class SegICModel:
    """What is fitted to the references of one class."""

    params: Params
    decoder: Decoder
    entities: tuple[Entity, ...]
    """One for each reference."""
    densities: ReferenceDensities
    """Patch pool and discriminant of all entities."""
    meta: torch.Tensor
    """(1,) int64 number of the task, or (1, T) float32 of the text encoder."""


def fit(references: ReferenceSet, params: Params) -> SegICModel:
    """Load the decoder, make an entity of each reference and fit the densities.

    Raises:
        LikewiseError: if the file is no decoder, or was trained on another feature dimension.
    """
    from .files import load_decoder
    from .instructions import fit_densities

    shots = references.shots
    features = shots[0].encoded.features
    decoder, trained = load_decoder(params.decoder)
    if decoder.shape.dim != features.shape[1]:
        raise LikewiseError(
            f"{params.decoder} was trained on {trained.backbone}, with {decoder.shape.dim} numbers "
            f"a patch, not {features.shape[1]}: use that backbone."
        )
    meta = features.new_tensor([params.task], dtype=features.dtype).long()
    if trained.text:
        from .text import text_features

        label = references.positives[0].label
        meta = text_features(trained.text, [prompt(TASKS[int(params.task)], label)]).to(
            features.device
        )
    if features.device.type != "cpu":  # the loaded one is cached and stays on the CPU
        decoder = copy.deepcopy(decoder).to(features.device)
    entities = tuple(map(entity, shots))
    return SegICModel(params, decoder, entities, fit_densities(entities), meta)


def entity(shot: EncodedReference) -> Entity:
    """The masked object of one reference; ``positive`` is False for a negative reference."""
    from .instructions import Entity

    return Entity(shot.encoded.features, shot.encoded.debiased, shot.mask, not shot.negative)


def score(model: SegICModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """Scores of one target: probabilities (4h, 4w) of the last layer; ``cache`` is not used.

    The confidence is the mean probability of the foreground, 0 if there is none.
    """
    import torch

    from .instructions import instruct

    with torch.inference_mode():
        instructions = instruct(
            target.debiased[None],
            target.grid,
            [model.entities],
            model.meta,
            model.decoder.shape.points,
            [model.densities],
        )
        logits = model.decoder(target.features[None], instructions)[-1][0]
        fine = (logits - model.params.threshold).sigmoid()
    found = fine > 0.5
    return Scores(fine, float(fine[found].mean()) if found.any() else 0.0, instructions)

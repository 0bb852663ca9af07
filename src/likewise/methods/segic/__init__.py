"""SegIC (ECCV 2024): a trained decoder reads what references say of the target, and draws it.

Instructions and decoder are in this package; ``likewise segic train`` makes the decoder's file.
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
    """What can be tuned."""

    method: ClassVar[str] = "segic"
    decoder: str = ""
    """File that ``likewise segic train`` wrote."""
    task: int = 0
    """Meta instruction where there is no text encoder: 0 anything of the class, 1 this very thing
    (as in video)."""
    threshold: float = 0.0
    """Further nats that a pixel needs; above 0 gives smaller masks."""

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
    """What the references say of one class."""

    params: Params
    decoder: Decoder
    entities: tuple[Entity, ...]
    densities: ReferenceDensities
    """Of the entities."""
    meta: torch.Tensor
    """(1,) int64 number of the task, or (1, T) float32 of the text encoder."""


def fit(references: ReferenceSet, params: Params) -> SegICModel:
    """Read the decoder (the one method that has a file) and list the entities.

    Raises:
        LikewiseError: if the file is no decoder, or is one for features of another width.
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
    if features.device.type != "cpu":  # the one that was read stays there for others
        decoder = copy.deepcopy(decoder).to(features.device)
    entities = tuple(map(entity, shots))
    return SegICModel(params, decoder, entities, fit_densities(entities), meta)


def entity(shot: EncodedReference) -> Entity:
    """What is wanted of a reference, or what is not."""
    from .instructions import Entity

    return Entity(shot.encoded.features, shot.encoded.debiased, shot.mask, not shot.negative)


def score(model: SegICModel, target: PatchFeatures, cache: TargetCache | None = None) -> Scores:
    """Probabilities at stride 4 of the decoder's last mask; ``cache`` is not needed.

    The confidence is the mean probability of what was found, 0 where nothing was.
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

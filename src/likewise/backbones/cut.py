"""A loaded backbone shortened to an earlier block, its weights shared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ..errors import LikewiseError
from .loading import Backbone, first_samples, identity_of, join

if TYPE_CHECKING:
    from .hiera import Hiera
    from .vit import ViT


def cut_backbone(backbone: Backbone, block: int) -> Backbone:
    """The same weights, shared, up to an earlier block (of joined ones: of the first).

    Raises:
        LikewiseError: if the backbone has no such block in memory.
    """
    if backbone.parts:
        first, *others = backbone.parts
        return join((cut_backbone(first, block), *others), backbone.weights)
    whole = cast("ViT | Hiera", backbone.model)
    shape = whole.shape
    if block not in shape.readable or block > backbone.block:
        raise LikewiseError(
            f"block {block} cannot be tried: {backbone.spec.name} is loaded up to block "
            f"{backbone.block}, use {shape.readable[0]} to {backbone.block}."
        )
    if block == backbone.block:
        return backbone
    model = whole.first_blocks(block)
    samples = first_samples(backbone.samples, block)
    spec = replace(backbone.spec, dim=shape.features(block))
    return Backbone(model, spec, block, identity_of(samples, shape.heads), samples)

"""Examples: images with masks of the thing to find, encoded once and reused for every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import ImageError
from .features.encoded import Encoded
from .features.grid import mask_to_grid
from .images import ImageLike, read_image
from .masks import MaskLike, read_mask

if TYPE_CHECKING:
    import torch

    from .backbones.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Reference:
    """One example: an image and the mask of the thing in it.

    ``value`` picks one label of a label map (palette or grey); see ``images.read_mask``.
    """

    image: ImageLike
    mask: MaskLike
    value: int | None = None


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """K encoded references of one concept."""

    encoded: tuple[Encoded, ...]
    masks: tuple[torch.Tensor, ...]
    """K tensors (N,) bool: each reference's mask on its patch grid, never empty."""

    def __len__(self) -> int:
        return len(self.encoded)


Example: TypeAlias = "Reference | tuple[ImageLike, MaskLike]"


def as_references(references: Example | Sequence[Example]) -> list[Reference]:
    """One Reference or (image, mask) pair, or a sequence of them → a list of References.

    Raises:
        ImageError: if there is none, or one is neither a Reference nor a pair.
    """
    items: list[Any] = [references]
    if isinstance(references, list | tuple):
        pair = isinstance(references, tuple) and references and not _is_example(references[0])
        items = [references] if pair else list(references)  # a pair, or several
    if len(items) == 0:
        raise ImageError("no reference given: pass at least one (image, mask) pair.")
    for item in items:
        if not _is_example(item):
            raise ImageError(
                "a reference must be a Reference or an (image, mask) pair, "
                f"not {type(item).__name__}: write [(image, mask), ...]."
            )
    return [r if isinstance(r, Reference) else Reference(*r) for r in items]


def _is_example(item: object) -> bool:
    return isinstance(item, Reference) or (isinstance(item, tuple | list) and len(item) == 2)


def encode_references(encoder: Encoder, references: Sequence[Reference]) -> ReferenceSet:
    """Read and encode references (INSID3 §3: the in-context examples).

    Raises:
        ImageError: if an image or mask cannot be used.
    """
    images = [read_image(r.image) for r in references]
    masks = [
        read_mask(r.mask, size=image.shape[:2], value=r.value)
        for r, image in zip(references, images, strict=True)
    ]
    return ReferenceSet(
        tuple(encoder.encode_many(images)),
        tuple(mask_to_grid(m, encoder.grid).to(encoder.device) for m in masks),
    )

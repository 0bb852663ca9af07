"""The JSON that the API answers, and how a result becomes it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from ...io.coco_masks import encode_runs
from ...io.draw import class_palette
from ...io.encoding import encode_label_map, encode_mask
from ...result import Result

if TYPE_CHECKING:
    from .store import StoredReferences

ID = "^[0-9a-f]{32}$"
Absent: TypeAlias = SkipJsonSchema[None]
"""A field may be left out, but no form can say null."""
# As lists: a tuple's JSON schema is not one of OpenAPI's.
Size = Annotated[list[int], Field(min_length=2, max_length=2)]
Notes = Annotated[list[str], Field(description="What was assumed of images and masks.")]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class Health(BaseModel):
    """The server answers; what it was started with."""

    status: str = "ok"
    version: str
    backbone: str
    image_size: Size = Field(description="Height and width that the backbone sees.")
    method: str
    device: str


class ClassOf(BaseModel):
    """One class of a set of references."""

    label: str
    value: int = Field(description="Its value in label maps, from 1.")
    references: int


class References(BaseModel):
    """One set of references."""

    id: str = Field(pattern=ID, description="Hash of all that was sent.")
    classes: list[ClassOf]
    negatives: int
    notes: Notes


class ReferencesList(BaseModel):
    """The sets that are kept, the one not used for longest first."""

    references: list[References]
    most: int = Field(description="How many are kept.")


class Runs(BaseModel):
    """A mask in COCO's compressed run-length encoding."""

    size: Size = Field(description="Height and width.")
    counts: str


class Found(BaseModel):
    """What was found of one class."""

    label: str
    value: int = Field(description="Its value in the label map.")
    present: bool
    confidence: float = Field(ge=0, le=1, description="How sure it is that it is there at all.")
    area: float = Field(ge=0, le=1, description="Share of the image.")
    rle: Runs | None = Field(None, description="Its mask, with format=rle.")
    png: str | None = Field(None, description="Its mask of 0 and 255, base64, with format=base64.")


class Segmented(BaseModel):
    """One image segmented."""

    reference: str
    width: int
    height: int
    classes: list[Found]
    notes: Notes


class Prompted(BaseModel):
    """What is pointed at in one image."""

    image_id: str = Field(pattern=ID, description="Instead of the image, while that is kept.")
    width: int
    height: int
    classes: list[Found]
    notes: Notes


class Matched(BaseModel):
    """Points found in the image."""

    points: list[Point] = Field(description="x, y in pixels of the image.")
    similarity: list[float] = Field(description="Cosine of the best patch, -1 to 1.")
    notes: Notes


def described(name: str, kept: StoredReferences) -> References:
    """What is in a set of references."""
    references = kept.segmenter.references
    shots = references.shots if references else ()
    labels = [s.label for s in shots if not s.negative]
    classes = [
        ClassOf(label=label, value=k, references=labels.count(label))
        for k, label in enumerate(dict.fromkeys(labels), 1)
    ]
    return References(
        id=name, classes=classes, negatives=len(shots) - len(labels), notes=list(kept.notes)
    )


def segmented(
    reference: str, result: Result, labels: Sequence[str], as_png: bool, notes: list[str]
) -> Segmented:
    """The JSON answer, with only these classes."""
    height, width = result.mask.shape
    classes = _found(result, labels, as_png)
    return Segmented(reference=reference, width=width, height=height, classes=classes, notes=notes)


def prompted(image_id: str, result: Result, as_png: bool, notes: list[str]) -> Prompted:
    """The JSON answer, with every class."""
    height, width = result.mask.shape
    classes = _found(result, result.labels, as_png)
    return Prompted(image_id=image_id, width=width, height=height, classes=classes, notes=notes)


def _found(result: Result, labels: Sequence[str], as_png: bool) -> list[Found]:
    classes = []
    for value, (label, found) in enumerate(result.classes.items(), 1):
        if label in labels:
            mask = found.mask
            classes.append(
                Found(
                    label=label,
                    value=value,
                    present=bool(mask.any()),
                    confidence=found.confidence,
                    area=float(mask.mean()),
                    rle=None if as_png else Runs(**encode_runs(mask, mask.shape)),
                    png=base64.b64encode(encode_mask("a.png", mask)).decode() if as_png else None,
                )
            )
    return classes


def label_map(result: Result, labels: Sequence[str]) -> bytes:
    """The label map as a PNG (palette; 16-bit grey if it is uint16), with only these classes."""
    values = [k for k, label in enumerate(result.labels, 1) if label in labels]
    shown = np.where(np.isin(result.label_map, values), result.label_map, 0)
    own = shown.astype(result.label_map.dtype)
    return encode_label_map("a.png", own, class_palette(len(result.labels)))

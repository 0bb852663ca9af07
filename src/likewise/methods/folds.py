"""Views of the references, left out in turn: what a method may learn of itself without a target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..features.encoded import Encoded
from ..views import same_picture

if TYPE_CHECKING:
    import torch

    from ..reference import Shot


@dataclass(frozen=True, eq=False)
class View:
    """One view of one shot, to be found from the others."""

    encoded: Encoded
    mask: torch.Tensor
    shot: int
    """Which shot; -1 if it is a negative one."""
    name: str


def all_views(shots: Sequence[Shot]) -> Iterator[View]:
    """Every shot as it is and its views, in order."""
    for number, shot in enumerate(shots):
        for name, (encoded, mask) in {"": (shot.encoded, shot.mask), **shot.views}.items():
            yield View(encoded, mask, -1 if shot.negative else number, name)


def folds(views: list[View]) -> Iterator[tuple[View, torch.Tensor]]:
    """Each test: a view to find, and which of the views may be known for it, (V,) bool.

    Of three shots and more, each is found from the others. Fewer are too few for that (with two,
    the trust learnt so was worth -5 mIoU): each of their views is found from all other views. A
    picture and its mirror image show the same; neither is known for the other, and one is found.
    """
    import torch

    several = len({v.shot for v in views if v.shot >= 0}) > 2
    for view in views:
        if several and view.shot >= 0 and view.name == "":
            yield view, torch.tensor([v.shot != view.shot for v in views])
        elif not several and view.shot >= 0 and view.name:
            same = same_picture(view.name)
            yield view, torch.tensor([v.shot != view.shot or v.name not in same for v in views])

"""One image, corrected by hand: clicks, boxes and scribbles, with undo, from features kept once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .class_names import check_classes, is_part
from .decision import make_result
from .errors import LikewiseError
from .features.density import SCORE_RANGE
from .features.prompts import PromptSolver, mean_of
from .features.target_cache import TargetCache
from .io.annotations.shapes import LABEL
from .io.draw import preview
from .io.images import ImageLike, Picture, source_name
from .methods import Scores
from .prompts import Box, Point, Prompts, Scribble, added, log_odds, prompted_mask, scores_of
from .result import ClassResult, Result

if TYPE_CHECKING:
    from .backbones.encoder import Encoder
    from .segmenter import Segmenter


class EncodedPicture:
    """A picture, its patch features, and what clicks need of them: made once, for any session.

    Args:
        encoder: of the segmenters whose sessions use it.
        picture: as ``Segmenter.read`` gives it.
    """

    def __init__(self, encoder: Encoder, picture: Picture) -> None:
        self.picture = picture
        self.solver = PromptSolver(encoder.encode(picture.pixels))
        self._scored: tuple[object, TargetCache, dict[str, Scores]] | None = None

    def scored(self, segmenter: Segmenter) -> tuple[TargetCache, dict[str, Scores]]:
        """What is computed of it for the references, and label → scores; kept for the last ones."""
        if self._scored is None or self._scored[0] is not segmenter.models:
            cache = TargetCache(self.solver.target, max(1, len(segmenter.models)))
            found = segmenter.score_encoded(cache.target, cache) if segmenter.models else {}
            self._scored = segmenter.models, cache, found  # fitting makes new ones
        return self._scored[1:]


class Session:
    """What was found in one image, and what a person says of it.

    The image is encoded once. Prompts correct what the references found or, without references,
    say what is meant alone. A prompt that is satisfied already changes nothing.

    >>> import likewise
    >>> segmenter = likewise.Segmenter().fit([("coin.jpg", "coin_mask.png")])
    >>> session = likewise.Session(segmenter, "more_coins.jpg")
    >>> session.click(120, 80).click(40, 200, positive=False)
    >>> session.result.mask

    Args:
        segmenter: with references, or without.
        image: what ``Segmenter.segment`` takes, or encoded already.
        mask: (H, W) bool, to correct instead of what the references find: another result's, say.

    Raises:
        ImageError: if the image cannot be read.
        LikewiseError: if the mask has another size.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        image: ImageLike | EncodedPicture,
        mask: np.ndarray | None = None,
    ) -> None:
        self._segmenter = segmenter
        if isinstance(image, EncodedPicture):
            self._name = image.picture.name or "image"
        else:
            self._name = source_name(image, None, "image")
            image = EncodedPicture(segmenter.encoder, segmenter.read(image))
        self._picture, self._solver = image.picture, image.solver
        if mask is not None and mask.shape != self.size:
            raise LikewiseError(
                f"the mask of {self._name} has the shape {mask.shape}, not {self.size} as the "
                "image: give one of its size."
            )
        self._mask = mask
        self._found: dict[str, Scores] = {}
        if mask is None:
            self._cache, self._found = image.scored(segmenter)
        self._done: list[tuple[str, Prompts]] = []
        self._undone: list[tuple[str, Prompts]] = []
        self._result: Result | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) pixels of the image."""
        return self._solver.target.size

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes: those of the references, then others that were prompted."""
        return tuple(dict.fromkeys([*self._found, *(label for label, _ in self._done)]))

    def click(self, x: float, y: float, positive: bool = True, label: str | None = None) -> Session:
        """Say that a pixel is the thing, or is not; see ``prompt``."""
        return self.prompt(points=[(x, y, int(positive))], label=label)

    def prompt(
        self,
        points: Sequence[Point] = (),
        box: Box | None = None,
        scribbles: Sequence[Scribble] = (),
        label: str | None = None,
    ) -> Session:
        """Add prompts, together one step for ``undo``.

        Args:
            points: x, y in pixels, and 1 (the thing) or 0 (not the thing).
            box: left, top, right, bottom; it replaces an earlier one.
            scribbles: lines, each a list of (x, y) and a sign as of points.
            label: the class that is meant; needed where there are several.

        Returns:
            self.

        Raises:
            LikewiseError: as ``Prompts.checked``; or if the class is unknown or not given, or a
                second one where there is a mask. The session is as before then.
        """
        label = self._label(label)
        more = Prompts(points, box, scribbles).checked(self.size, self._name)
        if not more:
            raise LikewiseError("nothing was prompted: give points, a box or scribbles.")
        if self._mask is not None and label not in (self.labels or (label,)):
            raise LikewiseError(f"the mask is of one class, {self.labels[0]}: prompt no other.")
        together, alone = added(self._prompts(label), more), label not in self._found
        alone = alone and self._mask is None
        together.checked(self.size, self._name, alone=alone)
        self._done.append((label, more))
        self._undone.clear()
        self._result = None
        return self

    def undo(self) -> bool:
        """Take the last step back; False if there is none."""
        return self._move(self._done, self._undone)

    def redo(self) -> bool:
        """Do again what was taken back last; False if there is nothing."""
        return self._move(self._undone, self._done)

    @property
    def result(self) -> Result:
        """What is found now. Raises LikewiseError if there is neither a reference nor a prompt."""
        if self._result is None:
            self._result = self._make() if self._mask is None else self._corrected(self._mask)
        return self._result

    def _move(self, one: list[tuple[str, Prompts]], other: list[tuple[str, Prompts]]) -> bool:
        if not one:
            return False
        other.append(one.pop())
        self._result = None
        return True

    def _label(self, label: str | None) -> str:
        known = list(self._found)
        if label is None:
            if len(known) > 1:
                raise LikewiseError(f"say which class is meant: one of {', '.join(known)}.")
            return known[0] if known else LABEL
        return check_classes([label], known)[0] if known else label

    def _prompts(self, label: str) -> Prompts:
        all_of = Prompts()
        for of, prompts in self._done:
            all_of = added(all_of, prompts) if of == label else all_of
        return all_of

    def _corrected(self, mask: np.ndarray) -> Result:
        label = (self.labels or (LABEL,))[0]
        pixels, size = self._picture.pixels, self._segmenter.encoder.input_size
        found, scores = prompted_mask(
            self._solver, pixels, self._prompts(label), size, mask, self._name
        )
        one = {label: ClassResult(found, scores, 1.0)}
        result = Result(found, scores, 1.0, None, found.astype(np.uint8), one)
        return replace(result, preview=preview(pixels)).within(self._picture.valid)

    def _make(self) -> Result:
        if not self.labels:
            raise LikewiseError("nothing is looked for yet: click first, or fit references.")
        found, points, boxes = dict[str, Scores](), dict[str, np.ndarray](), list[str]()
        grid = self._cache.target.grid
        said = {label: self._prompts(label) for label in self.labels}
        for label, prompts in said.items():
            before = self._found.get(label)
            if not prompts and before is not None:
                found[label] = before
                continue
            known = mean_of(None if before is None else before.patches, grid, SCORE_RANGE)
            scores = scores_of(log_odds(self._solver, prompts, known))
            found[label] = Scores(scores.to(self._cache.target.features.device), 1.0)
            points[label] = prompts.pixels()
            boxes += [label] if prompts.box is not None else []
        positive = {k: p[p[:, 2] > 0] for k, p in points.items()}
        for label, own in {k: points.get(k, np.zeros((0, 3))) for k in found}.items():
            # Where one class is clicked, no other is, but the whole that it is a part of.
            others = [
                p * [1, 1, 1 if is_part(k, label) else -1]
                for k, p in positive.items()
                if k != label and not is_part(label, k)
            ]
            points[label] = np.concatenate([own, *others])
        size, refiner = self._segmenter.encoder.input_size, self._segmenter.refiner
        result = make_result(self._picture, found, self._cache, size, refiner, points=points)
        for label in boxes:
            result = _without(result, label, ~said[label].allowed(self.size))
        return result


def _without(result: Result, label: str, pixels: np.ndarray) -> Result:
    """A result in which (H, W) bool pixels are not of a class."""
    own = result.classes[label]
    classes = {**result.classes, label: replace(own, mask=own.mask & ~pixels)}
    number = list(result.classes).index(label) + 1
    gone = pixels & (result.label_map == number)
    label_map = np.where(gone, result.label_map.dtype.type(0), result.label_map)
    return replace(result, mask=label_map > 0, label_map=label_map, classes=classes)

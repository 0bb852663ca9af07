"""What Label Studio asks for: masks of tasks, and to learn from finished ones."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LikewiseError, explained_memory
from ...export.outlines import outline
from ...integrations import check_outline, find_pieces
from ...io.coco_masks import fill_polygon
from ...io.hashing import file_sha256, fingerprint
from ...methods import get_method
from ...reference import EncodedReference, Reference, ReferenceSet, encode_references
from ...result import Result
from ...segmenter import Segmenter
from ...session import EncodedPicture, Session
from ..encoded_pictures import EncodedPictures
from ..errors import RefusedError
from ..model_thread import ModelThread
from .brush import decode_brush, encode_brush
from .config import KINDS, Control, check_classes, read_config
from .context import read_context
from .images import Images


class Backend:
    """One references file that serves any number of projects with its classes.

    Args:
        segmenter: with references.
        images: where tasks' images come from.
        name: of this model, for Label Studio's model version.
        learn: finished annotations to keep as further references, the newest; 0: none.
        min_area: leave out polygons of fewer pixels.
        simplify: pixels that polygons may stray, at an IoU of 0.98 or more; 0 is exact.

    Raises:
        LikewiseError: if a number is out of range.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        images: Images,
        name: str,
        *,
        learn: int = 0,
        min_area: int = 1,
        simplify: float = 1.0,
    ) -> None:
        check_outline(min_area, simplify)
        if learn < 0:
            raise LikewiseError(f"learn {learn} is no number of annotations: give 0 or more.")
        given = segmenter.fitted()
        self.segmenter = segmenter
        self.images = images
        self.name = name
        self.learn_from = learn
        self.min_area = min_area
        self.simplify = simplify
        self.classes = given.labels
        self._given = given.shots
        self._learnt: dict[Any, tuple[EncodedReference, ...]] = {}
        self._changes = 0
        self._encoded = EncodedPictures(images.limits.max_pixels)
        self.thread = ModelThread(images.limits.queue, images.limits.timeout)
        """Segments and learns; ``setup`` never waits for it."""

    @property
    def version(self) -> str:
        """Changes with what was learnt, so that Label Studio asks for the next masks anew."""
        return f"{self.name}+{self._changes}" if self._changes else self.name

    def setup(self, schema: str) -> str:
        """The version, if a project with this configuration can be served.

        Raises:
            LikewiseError: otherwise.
        """
        check_classes(read_config(schema), self.classes)
        return self.version

    def predict(
        self, tasks: Sequence[Mapping[str, Any]], config: str, pointed: object = None
    ) -> list[Any]:
        """For each task a prediction, or an empty list (none) if its image cannot be used.

        Args:
            tasks: as Label Studio sends them.
            config: the project's, XML.
            pointed: regions of smart tools, see ``context``; what they mean is all that is answered
                then. None or none: every class of the references is.

        Raises:
            LikewiseError: the project cannot be served, or none of the images can be used.
            RefusedError: there is too much to do.
        """
        controls = read_config(config)
        check_classes(controls, self.classes)
        answers: list[Any] = []
        problems: list[LikewiseError] = []
        for task in tasks:
            try:
                regions = _list(pointed)
                if regions:
                    answers.append(self._pointed(task, controls, regions))
                else:
                    answers.append(self._predict(task, controls))
            except LikewiseError as error:
                if isinstance(error, RefusedError) and error.status >= 429:
                    raise  # this has nothing to do with its image
                answers.append([])
                problems.append(error)
        if problems and len(problems) == len(tasks):
            raise problems[0]
        for problem in problems:
            print(f"likewise: {problem}", file=sys.stderr, flush=True)
        return answers

    def _predict(self, task: Mapping[str, Any], controls: tuple[Control, ...]) -> dict[str, Any]:
        # One image for each field that a control marks, whatever the number of controls.
        found: dict[str, Result] = {}
        version = self.version
        for key in dict.fromkeys(c.key for c in controls):
            work = partial(self._segment, _data(task).get(key))
            version, found[key] = self.thread.call(work)
        regions: list[dict[str, Any]] = []
        done: set[tuple[str, str]] = set()
        for control in controls:
            labels = {name for name in control.labels if (control.to_name, name) not in done}
            done |= {(control.to_name, name) for name in labels}
            regions += self._regions(found[control.key], control, labels)
        score = max(result.confidence for result in found.values())
        return {"result": regions, "score": score, "model_version": version}

    def _pointed(
        self,
        task: Mapping[str, Any],
        controls: tuple[Control, ...],
        regions: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """A prediction of what a person points at, by the first tag that can show its class."""
        to_name = str(regions[0].get("to_name"))
        here = [c for c in controls if c.to_name == to_name]
        if not here:
            raise LikewiseError("what was pointed at is in an image without brushes or polygons.")

        def work() -> tuple[str, str, Result]:
            with explained_memory("an image of a task"):
                pixels = self.images.read(_data(task).get(here[0].key))
                key = fingerprint(pixels)
                kept = self._encoded.get(key)
                if kept is None:
                    encoded = EncodedPicture(self.segmenter.encoder, self.segmenter.read(pixels))
                    self._encoded.add(key, encoded)
                    kept = encoded, ()
                asked = read_context(regions, (pixels.shape[0], pixels.shape[1]))
                session = Session(self.segmenter, kept[0])
                result = session.prompt(
                    asked.prompts.points, asked.prompts.box, label=asked.label
                ).result
                return self.version, asked.label, result

        version, label, result = self.thread.call(work)
        control = next((c for c in here if label in c.labels), None)
        if control is None:
            raise LikewiseError(f"no brush or polygon of the project has the class {label}.")
        score = result.classes[label].confidence
        found = self._regions(result, control, {label})
        return {"result": found, "score": score, "model_version": version}

    def _segment(self, url: object) -> tuple[str, Result]:
        """The image's masks, and the version that they are of."""
        with explained_memory("an image of a task"):
            return self.version, self.segmenter.segment(self.images.read(url))

    def _regions(self, result: Result, control: Control, labels: set[str]) -> list[dict[str, Any]]:
        """A brush mask for each class, or a polygon for each object."""
        height, width = result.mask.shape
        values: list[tuple[str, dict[str, Any]]] = []
        if control.kind == "brushlabels":
            for label, one in result.classes.items():
                if label in labels and one.mask.any():
                    values.append((label, {"format": "rle", "rle": encode_brush(one.mask)}))
        else:
            for piece in find_pieces(result, self.min_area):
                if piece.label in labels:
                    points = outline(piece, self.simplify) * (100 / width, 100 / height)
                    values.append((piece.label, {"points": points.tolist(), "closed": True}))
        return [
            {
                "id": uuid.uuid4().hex[:10],
                "type": control.kind,
                "from_name": control.from_name,
                "to_name": control.to_name,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": result.classes[label].confidence,
                "value": {**value, control.kind: [label]},
            }
            for label, value in values
        ]

    def webhook(self, event: Mapping[str, Any]) -> None:
        """Learn from an annotation that was made or changed, forget one that was deleted.

        For ``thread`` alone.

        Raises:
            LikewiseError: if it cannot be learnt from; what was learnt before stays.
        """
        action = event.get("action")
        if not self.learn_from:
            return
        if action == "ANNOTATIONS_DELETED":
            self._keep({_id(entry.get("id")): () for entry in _list(event.get("annotations"))})
        elif action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
            annotations, tasks = _list(event.get("annotation")), _list(event.get("task"))
            config = _dict(event.get("project")).get("label_config", "")
            by_id = {_id(task.get("id")): task for task in tasks}
            for annotation in annotations:
                task = by_id.get(_id(annotation.get("task")), tasks[0] if len(tasks) == 1 else {})
                shots = self._shots(annotation, task, read_config(str(config)))
                self._keep({_id(annotation.get("id")): shots})

    def _shots(
        self, annotation: Mapping[str, Any], task: Mapping[str, Any], controls: tuple[Control, ...]
    ) -> tuple[EncodedReference, ...]:
        """References out of an annotation: one for each class that it marks."""
        if annotation.get("was_cancelled"):
            return ()
        by_name = {c.from_name: c for c in controls}
        pixels: dict[str, np.ndarray] = {}
        marked: dict[tuple[str, str], np.ndarray] = {}
        for region in _list(annotation.get("result")):
            control = by_name.get(str(region.get("from_name")))
            if control is None or region.get("type") not in KINDS:
                continue
            if control.key not in pixels:
                pixels[control.key] = self.images.read(_data(task).get(control.key))
            mask = _mask(region, pixels[control.key].shape[:2])
            labels = region["value"].get(control.kind)
            for label in labels if isinstance(labels, list) else []:
                if label in self.classes:
                    before = marked.get((control.key, label))
                    marked[control.key, label] = mask if before is None else before | mask
        references = [
            Reference(pixels[key], mask, label=label) for (key, label), mask in marked.items()
        ]
        if not references:
            return ()
        views = get_method(self.segmenter.method).VIEWS
        return encode_references(self.segmenter.encoder, references, views).shots

    def _keep(self, shots: dict[Any, tuple[EncodedReference, ...]]) -> None:
        before = dict(self._learnt)
        for number, new in shots.items():
            self._learnt.pop(number, None)
            if new:
                self._learnt[number] = new
        for number in list(self._learnt)[: -self.learn_from]:
            del self._learnt[number]
        if self._learnt != before:
            every = (*self._given, *(shot for s in self._learnt.values() for shot in s))
            self.segmenter.fit_encoded(ReferenceSet(every))
            self._changes += 1


def file_name(path: Path) -> str:
    """A model's name: the file's, and 8 digits that tell its content."""
    return f"{path.stem}-{file_sha256(path)[:8]}"


def _mask(region: Mapping[str, Any], size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool of a region of a person. Raises LikewiseError if it cannot be drawn."""
    height, width = size
    mask = np.zeros((height, width), bool)
    try:
        value = region["value"]
        if not isinstance(value, dict):
            raise ValueError("a region has no value")
        if region.get("image_rotation"):
            raise ValueError("its image was turned there")
        if region["type"] == "brushlabels":
            return decode_brush(value["rle"], (height, width))
        fill_polygon(mask, (np.asarray(value["points"], float) * (width, height) / 100).ravel())
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise LikewiseError(
            f"an annotation cannot be learnt from ({error}): correct it in Label Studio."
        ) from error
    return mask


def _id(value: Any) -> Any:
    """A number or text; anything else is none."""
    return value if isinstance(value, (int, str)) else None


def _data(task: Mapping[str, Any]) -> dict[str, Any]:
    return _dict(task.get("data"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    """Label Studio sends one or several in the same field."""
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, dict)]

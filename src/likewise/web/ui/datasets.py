"""Datasets of a project's masks, as the page hands them out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ...errors import ImageError, LikewiseError
from ...export.annotations import Annotation, name_values, named, read_annotation
from ...export.dataset import ExportSettings, write_dataset
from ...instances import Instance, find_objects
from ...project.settings import relative
from .workspace import Workspace


@dataclass(frozen=True)
class Wish:
    """Which dataset is to be made."""

    kind: str
    """One of ``export.dataset.FORMATS``."""
    judged: bool = False
    """Only masks that a person accepted or made."""
    apart: bool = False
    """Things of one class that only just touch are instances of their own."""
    val: float = 0.0
    """Share of the images for validation, 0 up to 1."""


def export(workspace: Workspace, wish: Wish, zipped: bool) -> tuple[bytes | Path, list[str]]:
    """Make a dataset of all masks that were not rejected, and whose pictures are there.

    Args:
        workspace: the project.
        wish: which.
        zipped: give a zip instead of a new folder of the project; its images are in it too.

    Returns:
        It, and a sentence for each picture or mask that cannot be read and was left out.

    Raises:
        LikewiseError: there is no mask yet, or as for ``write_dataset``.
    """
    with workspace.opened() as project:
        finished = project.finished()
        if wish.judged:
            states = project.states()
            good = ("accepted", "corrected")
            finished = [f for f in finished if states.get(relative(f[0], project.folder)) in good]
            if not finished:
                raise LikewiseError("no mask is accepted or corrected yet: judge some first.")
        if not finished:
            raise LikewiseError("there is no mask to export yet: paint a reference first.")
        names = name_values(project.classes)
        pairs = named([(image, mask) for image, mask, _ in finished], project.manifest)
        left_out: list[str] = []
        settings = ExportSettings(names.classes, wish.val)

        def annotations() -> Iterator[Annotation]:
            for pair, (_, _, scores) in zip(pairs, finished, strict=True):
                try:
                    found = read_annotation(pair, names, score=scores)
                    yield replace(found, instances=_apart(found) if wish.apart else None)
                except ImageError as error:
                    left_out.append(str(error))

        if not zipped:
            count, out = 2, workspace.folder / f"dataset-{wish.kind}"
            while out.exists():
                out, count = workspace.folder / f"dataset-{wish.kind}-{count}", count + 1
            summary = write_dataset(annotations(), out, wish.kind, settings)
            return out, left_out + summary.failed
        with TemporaryDirectory() as folder:
            out = Path(folder) / "dataset"
            summary = write_dataset(annotations(), out, wish.kind, settings)
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in filter(Path.is_file, sorted(out.rglob("*"))):
                    archive.write(path, path.relative_to(out))
            return data.getvalue(), left_out + summary.failed


def _apart(annotation: Annotation) -> Sequence[Instance]:
    """Its own instances, if they were told apart already; else those that its label map shows."""
    if annotation.instances is not None:
        return annotation.instances
    sure, found = np.ones((1, 1), np.float32), list[Instance]()
    for number, label in enumerate(annotation.classes, 1):
        score = annotation.scores.get(label, 1.0)
        found += find_objects(annotation.mask_of(number), sure, score, number, label)
    return found

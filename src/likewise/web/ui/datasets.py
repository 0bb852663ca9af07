"""Datasets of a project's masks, as the page hands them out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import ImageError, LikewiseError
from ...export.annotations import Annotation, ImageMaskPair, name_values, named, read_annotation
from ...export.dataset import ExportSettings, write_dataset
from .workspace import Workspace


def export(workspace: Workspace, kind: str, zipped: bool) -> tuple[bytes | Path, list[str]]:
    """Make a dataset of all masks that were not rejected, and whose pictures are there.

    Args:
        workspace: the project.
        kind: one of ``export.dataset.FORMATS``.
        zipped: give a zip instead of a new folder of the project; its images are in it too.

    Returns:
        It, and a sentence for each picture or mask that cannot be read and was left out.

    Raises:
        LikewiseError: there is no mask yet, or as for ``write_dataset``.
    """
    with workspace.opened() as project:
        found = project.finished()
        if not found:
            raise LikewiseError("there is no mask to export yet: paint a reference first.")
        names = name_values(project.classes)
        pairs = named([ImageMaskPair(image, mask) for image, mask, _ in found])
        left_out: list[str] = []

        def annotations() -> Iterator[Annotation]:
            for pair, (_, _, scores) in zip(pairs, found, strict=True):
                try:
                    yield read_annotation(pair, names, score=scores)
                except ImageError as error:
                    left_out.append(str(error))

        if not zipped:
            count, out = 2, workspace.folder / f"dataset-{kind}"
            while out.exists():
                out, count = workspace.folder / f"dataset-{kind}-{count}", count + 1
            summary = write_dataset(annotations(), out, kind, ExportSettings(names.classes))
            return out, left_out + summary.failed
        with TemporaryDirectory() as folder:
            out = Path(folder) / "dataset"
            summary = write_dataset(annotations(), out, kind, ExportSettings(names.classes))
            data = io.BytesIO()
            with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
                for path in filter(Path.is_file, sorted(out.rglob("*"))):
                    archive.write(path, path.relative_to(out))
            return data.getvalue(), left_out + summary.failed

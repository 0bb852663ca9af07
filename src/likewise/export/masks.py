"""Plain label maps, as ``likewise segment`` writes them: for code of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import LikewiseError
from ..instances import draw
from ..io.draw import class_palette
from ..io.encoding import write_label_map
from ..io.files import make_folder, write_json
from ..run.manifest import LABELS
from .dataset import DatasetItem, ExportSettings, file_in


def check(settings: ExportSettings) -> None:
    """Raises LikewiseError for more classes than a PNG can tell apart."""
    if len(settings.classes) > 65535:
        raise LikewiseError(
            f"label maps hold at most 65535 classes, not {len(settings.classes)}: give another "
            "--format."
        )


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write <name>.png (with validation images in train/ and val/): 0 is nothing, k the k-th class.

    With them goes labels.json. Images stay in place.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    few = len(settings.classes) < 256
    colours = class_palette(len(settings.classes))
    for item in items:
        folder = out / item.split if settings.val else out
        shape = item.annotation.label_map.shape
        label_map = draw(item.instances, shape, np.uint8 if few else np.uint16)
        with item.told():
            write_label_map(file_in(folder, f"{item.name}.png"), label_map, colours)
    make_folder(out)
    write_json(out / LABELS, {str(k): name for k, name in enumerate(settings.classes, 1)})

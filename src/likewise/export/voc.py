"""Pascal VOC segmentation: palette PNGs, lists of names, labelmap.txt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import ImageError, LikewiseError
from ..instances import draw
from ..io.encoding import write_label_map
from ..io.files import make_folder, write_whole
from .dataset import DatasetItem, ExportSettings, copy_image, file_in


def check(settings: ExportSettings) -> None:
    """Raises LikewiseError for classes that VOC cannot hold."""
    if len(settings.classes) > 254:
        raise LikewiseError(
            f"VOC masks hold at most 254 classes, not {len(settings.classes)}: give another "
            "--format."
        )
    for name in settings.classes:
        if ":" in name or name != " ".join(name.split()):
            raise LikewiseError(
                f"the class {name!r} cannot stand in VOC's labelmap.txt: rename it without a "
                "colon or odd spaces."
            )


def write(items: Iterable[DatasetItem], out: Path, settings: ExportSettings) -> None:
    """Write SegmentationClass/<name>.png: 0 is background, k the k-th class.

    With it go JPEGImages/ (copies of the images, whatever their format),
    ImageSets/Segmentation/{train,val}.txt and labelmap.txt.

    Raises:
        LikewiseError, WriteError: as for `write_dataset`.
    """
    masks, pictures = make_folder(out / "SegmentationClass"), make_folder(out / "JPEGImages")
    lists = make_folder(out / "ImageSets" / "Segmentation")
    palette = [voc_colour(k) for k in range(256)]
    names: dict[str, list[str]] = {"train": [], "val": []}
    for item in items:
        label_map = draw(item.instances, item.annotation.label_map.shape, np.uint8)
        with item.told():
            if len(item.name.splitlines()) > 1:
                raise ImageError(
                    f"{item.annotation.image} has a line break in its name, and VOC lists a name "
                    "a line: rename it."
                )
            copy_image(item.annotation, file_in(pictures, item.name))
            write_label_map(file_in(masks, f"{item.name}.png"), label_map, palette)
            names[item.split].append(item.name)
    rows = ["# label:color_rgb:parts:actions"]
    for k, name in enumerate(("background", *settings.classes)):
        rows.append(f"{name}:{','.join(map(str, palette[k]))}::")
    write_whole(out / "labelmap.txt", ("\n".join(rows) + "\n").encode(errors="surrogateescape"))
    for split, stems in names.items():
        listed = "".join(f"{stem}\n" for stem in stems)
        write_whole(lists / f"{split}.txt", listed.encode(errors="surrogateescape"))


def voc_colour(k: int) -> tuple[int, int, int]:
    """RGB of label k in VOC's own palette: its bits, dealt to red, green and blue in turn."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (k >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]

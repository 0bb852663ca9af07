"""OME-Zarr 0.4 and 0.5: an image's group; labels go into its ``labels/``, where viewers look."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, needs
from ..io.draw import class_colour
from ..io.files import refused
from ..io.opening import DAMAGE, why
from .volume import Values, Volume

MARKS = (".zgroup", "zarr.json")
"""Files that say that a folder is a group of Zarr."""
MM = {"angstrom": 1e-7, "nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0}
MM |= {"centimeter": 10.0, "meter": 1e3, "picometer": 1e-9}


def is_group(path: Path) -> bool:
    """Whether a folder is a group of Zarr."""
    return any((path / name).is_file() for name in MARKS)


def read(path: Path, channel: int | None = None) -> Volume:
    """Read the largest level of an image.

    Args:
        path: its group.
        channel: which one of several, from 0.

    Raises:
        LikewiseError: zarr is missing, or it is damaged, no image, or no volume of one time.
    """
    group, told, levels = _image(path)
    axes = "".join(str(axis["name"]).lower() for axis in told["axes"])
    array = levels[0]
    if len(axes) != array.ndim or axes[-3:] != "zyx" or array.dtype.kind not in "biuf":
        raise ImageError(
            f"{path} has the axes {axes} and {array.dtype}: a volume of numbers along z, y and x "
            "is needed."
        )
    place: list[Any] = []
    for axis, count in zip(axes[:-3], array.shape, strict=False):
        number = channel if axis == "c" else 0
        if count > 1 and (axis != "c" or number is None or not 0 <= number < count):
            mend = f"give --channel 0 to {count - 1}" if axis == "c" else "save one of them alone"
            raise ImageError(f"{path} has {count} along its axis {axis}: {mend}.")
        place.append(number or 0)
    at = (*place, ...)
    try:
        values = np.asarray(array[at])
    except MemoryError as error:
        raise ImageError(f"{path} does not fit in memory: crop or shrink it.") from error
    except (RuntimeError, *DAMAGE) as error:
        raise ImageError(f"{path} is damaged ({why(error)}): copy it again.") from error
    edges = [
        float(size) * MM.get(str(axis.get("unit")), 0.0)
        for size, axis in zip(_scale(told, 0)[-3:], told["axes"][-3:], strict=True)
    ]
    spacing = (edges[0], edges[1], edges[2]) if min(edges) > 0 else None
    return Volume(path, values, "ome_zarr", None, spacing, (group.metadata.zarr_format, told))


def read_labels(path: Path) -> tuple[Values, None]:
    """The labels of a group in ``labels/``. Raises as ``read``."""
    return read(path).values, None


def write(path: Path, volume: Volume, labels: Values, names: Mapping[int, str]) -> None:
    """Write a label image into ``labels/`` of an image, in as many levels as that has.

    Args:
        path: of the new group: ``<image>/labels/<name>``. One of that name is replaced if likewise
            wrote it.
        volume: read by ``read``.
        labels: (Z, Y, X) unsigned integers.
        names: value → class, of all classes.

    Raises:
        ImageError: it is of another program, or cannot be written.
    """
    import zarr

    version, told = volume.source
    inside = "ome" if version == 3 else None
    if path.exists() and not (
        is_group(path) and zarr.open_group(path, mode="r").attrs.get("likewise")
    ):
        raise ImageError(f"{path} is of another program: give another name as --out.")
    values = sorted(names)
    about: dict[str, Any] = {
        "multiscales": [_levels(told, path.name, version)],
        "image-label": {
            "version": "0.5" if inside else "0.4",
            "colors": [
                {"label-value": value, "rgba": [*class_colour(k), 255]}
                for k, value in enumerate(values, 1)
            ],
            "properties": [{"label-value": value, "class": names[value]} for value in values],
            "source": {"image": "../../"},
        },
    }
    part = path.with_name(f".likewise-{uuid.uuid4().hex}.part")
    try:
        image = zarr.open_group(volume.path, mode="r")
        path.parent.mkdir(exist_ok=True)
        group = zarr.open_group(part, mode="w-", zarr_format=version)
        for k, level in enumerate(told["datasets"]):
            array: Any = image[level["path"]]
            shape, chunks = array.shape[-3:], array.chunks[-3:]
            at = [
                (2 * np.arange(n) + 1) * m // (2 * n)
                for n, m in zip(shape, labels.shape, strict=True)
            ]
            small = labels[np.ix_(*at)]
            made = group.create_array(str(k), shape=shape, chunks=chunks, dtype=small.dtype)
            made[...] = small
        group.attrs.update({inside: about | {"version": "0.5"}} if inside else about)
        group.attrs["likewise"] = True
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
        every = zarr.open_group(path.parent, mode="a", zarr_format=version)
        known: Any = every.attrs.get(inside, {}) if inside else every.attrs
        listed = [*dict.fromkeys([*known.get("labels", []), path.name])]
        every.attrs.update(
            {inside: {"version": "0.5", "labels": listed}} if inside else {"labels": listed}
        )
    except OSError as error:
        raise refused(path, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _image(path: Path) -> tuple[Any, Any, list[Any]]:
    """The group of an image, what it says of its levels, and these."""
    with needs("micro"):
        import zarr

    try:
        group = zarr.open_group(path, mode="r")
        about: Any = group.attrs.get("ome", group.attrs)
        told = about["multiscales"][0]
        return group, told, [group[level["path"]] for level in told["datasets"]]
    except (RuntimeError, *DAMAGE) as error:
        raise ImageError(
            f"{path} is no image of OME-Zarr 0.4 or 0.5, or is damaged ({why(error)}): give the "
            "folder that holds its levels."
        ) from error


def _scale(told: Any, level: int) -> list[float]:
    """Of a level: the edges of its voxels, in the units of its axes; 1 where nothing is said."""
    steps = told["datasets"][level].get("coordinateTransformations", [])
    return next((s["scale"] for s in steps if s.get("type") == "scale"), [1.0] * len(told["axes"]))


def _levels(told: Any, name: str, version: int) -> dict[str, Any]:
    """What a label image says of its levels: those of its image, along z, y and x."""
    datasets = []
    for k, level in enumerate(told["datasets"]):
        steps = [
            {**step, step["type"]: step[step["type"]][-3:]}
            for step in level.get("coordinateTransformations", [])
            if step.get("type") in ("scale", "translation")
        ]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    found = {"name": name, "axes": told["axes"][-3:], "datasets": datasets}
    return found if version == 3 else {"version": "0.4", **found}

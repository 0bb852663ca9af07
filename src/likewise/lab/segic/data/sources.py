"""Sources of pairs from the `[[data]]` tables of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from ....errors import LikewiseError
from ....project.settings import check_kinds
from ..training.config import Config
from .coco import Coco
from .compose import Pasting, Photos
from .folders import read_folder, read_sets
from .marked import Augmentation
from .pairs import Mixture, Source
from .stamps import KINDS as STAMP_KINDS
from .stamps import TUXPAINT, Stamps

Table = Mapping[str, Any]
Find = Callable[[str], Path]
Make = Callable[[dict[str, Any], Find], Sequence[Source]]


def _stamps(given: dict[str, Any], find: Find) -> Sequence[Source]:
    photos = Photos([find(place) for place in given.pop("photos")])
    folder = find(given.pop("folder")) if "folder" in given else TUXPAINT
    if given.pop("kinds", False):
        given["by_folder"] = STAMP_KINDS
    return [Stamps(folder, photos, **given)]


def _folder(given: dict[str, Any], find: Find) -> Sequence[Source]:
    return [read_folder(find(given.pop("images")), find(given.pop("masks")), **given)]


def _episodes(given: dict[str, Any], find: Find) -> Sequence[Source]:
    file = find(given.pop("file"))
    root = find(given.pop("root")) if "root" in given else file.parent
    return read_sets(file, root, **given)


def _coco(given: dict[str, Any], find: Find) -> Sequence[Source]:
    return [Coco(find(given.pop("annotations")), find(given.pop("images")), **given)]


LOOKS: Mapping[str, type[Any]] = {"augmentation": Augmentation, "pasting": Pasting}
"""Keys of `[[data]]` whose value is a table."""
KINDS: Mapping[str, tuple[Make, dict[str, type], tuple[str, ...]]] = {
    "stamps": (
        _stamps,
        {
            "photos": list,
            "folder": str,
            "kinds": bool,
            "by_folder": bool,
            "drawings": bool,
            "instances": float,
            "absent": float,
            "pasting": dict,
        },
        ("photos",),
    ),
    "folder": (
        _folder,
        {
            "images": str,
            "masks": str,
            "ending": str,
            "by_folder": bool,
            "entities": str,
            "background": list,
            "ignored": list,
            "absent": float,
            "augmentation": dict,
        },
        ("images", "masks"),
    ),
    "episodes": (
        _episodes,
        {"file": str, "root": str, "sets": list, "augmentation": dict},
        ("file",),
    ),
    "coco": (
        _coco,
        {
            "annotations": str,
            "images": str,
            "categories": list,
            "objects": bool,
            "absent": float,
            "augmentation": dict,
        },
        ("annotations", "images"),
    ),
}
"""Kind of data → function that opens it, its keys with their types, and its required keys."""


def open_data(config: Config, size: int) -> Mixture:
    """All sources of a training.

    Args:
        config: gives the tables.
        size: S of the pairs, in pixels.

    Raises:
        LikewiseError: naming the table, if a key is unknown or missing or its data cannot be used.
    """
    sources: list[Source] = []
    weights: list[float] = []
    for number, table in enumerate(config.data, 1):
        where = f"[[data]] {number}: "
        make = _checked(config.file, where, table)
        own = {key: value for key, value in table.items() if key not in ("kind", "weight")}
        for key in LOOKS.keys() & own:
            own[key] = LOOKS[key](**{k: _pair(v) for k, v in own[key].items()})
        try:
            found = make(own, config.path)
        except LikewiseError as error:
            raise LikewiseError(f"{config.file}: {where}{error}") from error
        sources += found
        weights += [float(table.get("weight", 1.0))] * len(found)
    return Mixture(sources, size, weights)


def _checked(file: Path, where: str, table: Table) -> Make:
    """The function that opens a table, after checks of its keys and the types of their values."""
    kind = str(table.get("kind", ""))
    if kind not in KINDS:
        raise LikewiseError(
            f"{file}: {where}kind {kind!r} is unknown; use one of {', '.join(KINDS)}."
        )
    make, keys, needed = KINDS[kind]
    check_kinds(file, where, table, keys | {"kind": str, "weight": float})
    for key in needed:
        if key not in table:
            raise LikewiseError(f"{file}: {where}kind {kind} needs {key}: add it.")
    for key, value in table.items():
        of = int if key in ("background", "ignored") else str
        if isinstance(value, list) and not all(type(each) is of for each in value):
            what = "whole number" if of is int else "text"
            raise LikewiseError(f"{file}: {where}{key} holds what is no {what}: mend it.")
        if key in LOOKS:
            hints = get_type_hints(LOOKS[key])
            kinds = {k: float if kind is float else list for k, kind in hints.items()}
            check_kinds(file, f"{where}{key} ", value, kinds)
            for name, ends in value.items():
                if isinstance(ends, list) and not _is_range(ends):
                    raise LikewiseError(
                        f"{file}: {where}{key} {name} is {ends}: give two numbers above 0, the "
                        "smaller one first."
                    )
    return make


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_range(value: list[Any]) -> bool:
    numbers = all(type(v) in (int, float) for v in value)
    return len(value) == 2 and numbers and 0 < value[0] <= value[1]

"""What a project is told: `likewise.toml`, written with comments, read with checks."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import tomlkit
from tomlkit.exceptions import TOMLKitError

from ..errors import LikewiseError
from ..io.masks import parse_value
from ..io.planes import Choice
from ..io.text_files import normal, read_text
from ..methods import DEFAULT
from ..refine import DEFAULT_REFINER

CONFIG = "likewise.toml"
Kind: TypeAlias = "type | tuple[type, ...]"
LIMITS = ("min_area_ratio", "max_area_ratio", "max_components", "min_confidence")
"""What `[quality]` may hold, see ``quality.mask_warnings``."""
PAGE = {"threshold": float, "granularity": float, "classes": list, "colours": list}
"""What `[page]` may hold: the sliders, see ``score_maps.Sliders``, and the classes of the page with
their colours (#rrggbb), which need not have a reference yet."""
PICTURE: Mapping[str, Kind] = {"mpp": float, "level": int, "page": int, "channel": list}
"""What `[picture]` may hold, see ``planes.Choice``."""
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
"""Of sizes on disk."""


@dataclass(frozen=True)
class ProjectReference:
    """One `[[reference]]`; paths are as they are written, relative to the project."""

    image: str
    mask: str | None = None
    value: int | str | None = None
    """See ``masks.parse_value``."""
    label: str = "object"
    negative: bool = False


@dataclass(frozen=True)
class ProjectSettings:
    """A project's `likewise.toml`."""

    targets: tuple[str, ...]
    references: tuple[ProjectReference, ...]
    method: str = DEFAULT
    backbone: str = "embedded"
    image_size: int | None = None
    refine: str = DEFAULT_REFINER
    consensus: bool = False
    instances: bool = False
    tile: int | str = "auto"
    """As of ``Segmenter``."""
    feature_cache: int | str = "2 GB"
    """See ``size_in_bytes``; 0 keeps none."""
    learn: bool = False
    """Whether masks that a person accepted or corrected become references, see ``learning``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """`[method_settings]`: fields of the method's ``Params``."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """`[quality]`: some of LIMITS."""
    picture: Mapping[str, Any] = field(default_factory=dict)
    """`[picture]`: which picture of files with several is read, some of PICTURE."""
    page: Mapping[str, Any] = field(default_factory=dict)
    """`[page]`: what was set in `likewise ui`, some of PAGE."""

    @property
    def choice(self) -> Choice:
        """Of `[picture]`."""
        channels = tuple(self.picture.get("channel", ()))
        values = {k: v for k, v in self.picture.items() if k != "channel"}
        return Choice(channels=channels, **values, source=CONFIG)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of their first reference."""
        return tuple(dict.fromkeys(r.label for r in self.references if not r.negative))


def read_toml(path: Path) -> dict[str, Any]:
    """What a file says; parsed once for as long as it stays the same.

    Raises:
        OSError: if it cannot be read.
        LikewiseError: if it is no TOML.
    """
    now = path.stat()
    return copy.deepcopy(_parsed(path, (now.st_ino, now.st_size, now.st_mtime_ns)))


@lru_cache(maxsize=16)
def _parsed(path: Path, _: tuple[int, int, int]) -> dict[str, Any]:
    try:
        return tomlkit.parse(read_text(path)).unwrap()
    except (TOMLKitError, ValueError) as error:
        raise LikewiseError(f"{path} is no TOML ({error}): mend that line.") from error


def read_settings(folder: Path, *, unfinished: bool = False) -> ProjectSettings:
    """A project's settings.

    Args:
        folder: the project.
        unfinished: it may have no targets and no references yet.

    Raises:
        LikewiseError: if the file is missing, is no TOML, or says what nobody understands.
    """
    path = folder / CONFIG
    try:
        values = read_toml(path)
    except OSError as error:
        raise LikewiseError(
            f"{folder} is no project ({CONFIG}: {error.strerror}): make one with likewise init."
        ) from error
    known: dict[str, Kind] = {
        "targets": list,
        "reference": list,
        "method": str,
        "backbone": str,
        "image_size": int,
        "refine": str,
        "consensus": bool,
        "instances": bool,
        "tile": (int, str),
        "feature_cache": (int, str),
        "learn": bool,
        "method_settings": dict,
        "quality": dict,
        "picture": dict,
        "page": dict,
    }
    check_kinds(path, "", values, known)
    if "feature_cache" in values:
        size_in_bytes(values["feature_cache"], path)
    tile = values.get("tile", "auto")
    if tile not in ("auto", "off") and not (isinstance(tile, int) and tile > 0):
        raise LikewiseError(
            f'{path}: tile is {json.dumps(tile)}: write "auto", "off", or a side in pixels.'
        )
    targets = values.pop("targets", [])
    if not (targets or unfinished) or not all(isinstance(t, str) for t in targets):
        raise LikewiseError(f'{path} names no targets: write targets = ["folder"].')
    references = []
    for number, entry in enumerate(values.pop("reference", []), 1):
        where = f"reference {number}: "
        kinds: dict[str, Kind] = {"image": str, "mask": str, "value": (int, str)}
        kinds |= {"label": str, "negative": bool}
        if not isinstance(entry, dict):
            raise LikewiseError(f"{path}: {where}write [[reference]] with image and mask below.")
        check_kinds(path, where, entry, kinds)
        entry["label"] = normal(entry.get("label", ProjectReference.label))
        reference = ProjectReference(entry.pop("image", ""), **entry)
        if isinstance(reference.value, str):
            parse_value(reference.value, f"{path}: {where}value")
        if not reference.image or not (reference.mask or reference.negative):
            raise LikewiseError(f"{path}: {where}give an image and a mask.")
        references.append(reference)
    if all(r.negative for r in references) and not unfinished:
        raise LikewiseError(f"{path} has no [[reference]] of the thing: add one, image and mask.")
    options, quality = values.pop("method_settings", {}), values.pop("quality", {})
    kinds = {**dict.fromkeys(options, float), "decoder": str}
    check_kinds(path, "[method_settings] ", options, kinds)
    check_kinds(path, "[quality] ", quality, dict.fromkeys(LIMITS, float))
    picture = values.pop("picture", {})
    check_kinds(path, "[picture] ", picture, PICTURE)
    _check_picture(path, picture)
    page = values.pop("page", {})
    check_kinds(path, "[page] ", page, PAGE)
    for key in ("classes", "colours"):
        if not all(isinstance(value, str) for value in page.get(key, [])):
            raise LikewiseError(f"{path}: [page] {key} holds what is no text: put it in quotes.")
    return ProjectSettings(
        *(tuple(targets), tuple(references)),
        options=options,
        quality=quality,
        picture=picture,
        page=page,
        **values,
    )


def _check_picture(path: Path, picture: Mapping[str, Any]) -> None:
    """Raises LikewiseError, naming the file, if `[picture]` is no choice."""
    numbers = [*picture.get("channel", [0]), picture.get("page", 0), picture.get("level", 0)]
    good = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)
    if not good or len(picture.get("channel", [0])) not in (1, 3):
        raise LikewiseError(
            f"{path}: [picture] counts pages, levels and one or three channels from 0: write such "
            "as channel = [2, 1, 0]."
        )
    if "mpp" in picture and ("level" in picture or not 0 < picture["mpp"] < math.inf):
        raise LikewiseError(
            f"{path}: [picture] mpp is a number of µm above 0, and level stands instead of it."
        )


def size_in_bytes(size: int | str, path: Path) -> int:
    """Bytes of ``feature_cache``: a number of them, or text such as "2 GB" or "500 MB".

    Raises:
        LikewiseError: naming the file, if it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B|)", str(size).strip().upper())
    if match is None:
        raise LikewiseError(
            f'{path}: feature_cache is {json.dumps(size)}, which is no size: write "2 GB", or 0.'
        )
    return int(float(match[1]) * UNITS.get(match[2], 1))


def check_kinds(
    path: Path, where: str, values: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> None:
    """Raises LikewiseError, naming file and key, if a key is unknown or a value of another kind."""
    for key, value in values.items():
        if key not in kinds:
            raise LikewiseError(f"{path}: {where}{key} is unknown; use {', '.join(kinds)}.")
        kind = kinds[key]
        # bool is an int to Python, but not to a person.
        good = isinstance(value, (int, float) if kind is float else kind)
        if not good or (isinstance(value, bool) and kind is not bool):
            words = {
                int: "whole number",
                float: "number",
                str: "text",
                (int, str): "number or text",
            }
            raise LikewiseError(
                f"{path}: {where}{key} is {json.dumps(value, default=str)}, which is no "
                f"{words.get(kind, getattr(kind, '__name__', kind))}."
            )


HINTS: Mapping[str, Mapping[str, str]] = {
    "method_settings": {"threshold": "threshold = 1.0          # likewise: above 0: smaller masks"},
    "quality": {
        "min_area_ratio": "min_area_ratio = 0.001   # smaller is too_small",
        "max_area_ratio": "max_area_ratio = 0.9     # larger is too_large",
        "max_components": "max_components = 10      # more parts are fragmented",
        "min_confidence": "min_confidence = 0.8     # less is unlike_references",
    },
    "picture": {
        "mpp": "mpp = 2.0      # of slides: µm a pixel that they are read at",
        "level": "level = 2      # or a level of the pyramid, 0 the finest",
        "page": "page = 0       # of files with several pages, frames or planes",
        "channel": "channel = [0]  # seen as grey; [2, 1, 0] as red, green and blue",
    },
    "page": {},
}
"""Tables at the end of the file, with what is written as comments where it is not given."""


def relative(path: str | os.PathLike[str], folder: Path) -> str:
    """``path`` as seen from the project, with forward slashes; absolute on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return Path(path).resolve().as_posix()

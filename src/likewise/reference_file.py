"""References in one file: all it takes to segment like them again, without their pictures.

A safetensors file (plain numbers, nothing that is executed) with one entry of metadata, JSON:
``Info``. Its tensors, for picture p (a reference or a view of one; equal ones are kept once), shot
s and view v (``plain`` is the reference as it is):

- ``picture.p.features``: (N, D) float32, or float16 if asked for half the size; unit rows. Debiased
  ones are made again from them.
- ``picture.p.colour``: (N, 3) float32 in 0..1, where known.
- ``shot.s.mask.v``: (N,) bool.
- ``shot.s.share.v``: (N,) float32 in 0..1, how much of each patch is masked; since format 3.
- ``shot.s.thumbnail.image`` and ``.mask``: (h, w, 3) uint8 and (h, w) bool; no codec, no loss.

On the same kind of machine float32 gives what fitting the pictures gives, bit for bit. float16
moves scores by up to 5e-5 and a mask by a pixel at times (measured on the bundled example, with all
methods).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .backbones.registry import find_spec
from .errors import LikewiseError
from .io.hashing import sha256
from .methods import make_params

FORMAT = 3
"""1 has neither ranges nor shares, 2 has no shares."""
ENTRY = "likewise.references"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Info:
    """What a references file says of itself."""

    format: int
    likewise: str
    """Version that wrote it."""
    backbone: str
    weights: str
    """``Backbone.identity``."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    block: int
    image_size: tuple[int, int]
    """(H, W) that the backbone saw."""
    rank: int
    dtype: str
    """Of the backbone, when it encoded them."""
    half: bool
    """Whether features were rounded to float16."""
    method: str
    settings: Mapping[str, float]
    """Fields of the method's ``Params``."""
    views: tuple[str, ...]
    """Views that the method wanted; a shot may lack some."""
    pictures: tuple[tuple[int, int], ...]
    """(H, W) pixels of each."""
    shots: tuple[Mapping[str, Any], ...]
    """Of each its ``label``, ``negative``, and ``pictures``: view → number of the picture."""
    path: Path
    """Where it was read."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Values shown of pictures of more than 8 bits, see ``ReferenceSet.ranges``."""

    @property
    def classes(self) -> dict[str, int]:
        """Label → references of it, in the order given."""
        labels = [s["label"] for s in self.shots if not s["negative"]]
        return {label: labels.count(label) for label in labels}

    @property
    def negatives(self) -> int:
        """References of what it is not."""
        return sum(s["negative"] for s in self.shots)

    def options(self, settings: Mapping[str, Any] = {}, **given: Any) -> dict[str, Any]:
        """Keywords of a ``Segmenter`` like the one that saved the file.

        Args:
            settings: fields of the method's ``Params`` that count instead of the file's.
            given: keywords that count instead; another ``method`` has its own settings.

        Raises:
            LikewiseError: if the backbone has no name to find it by, or another one is given.
        """
        name = given.get("backbone", self.backbone)
        known = find_spec(name) if isinstance(name, str) else None
        if "backbone" not in given and known is None:
            raise LikewiseError(
                f"{self.path} was made with {name}, which likewise does not know by name: give its "
                "file or folder as --backbone."
            )
        if known is not None and find_spec(self.backbone) and known.name != self.backbone:
            raise LikewiseError(
                f"{self.path} was made with {self.backbone}, not with {known.name}: give "
                f"--backbone {self.backbone}."
            )
        made = {
            "backbone": name,
            "image_size": side_of(self.image_size),
            "svd_components": self.rank,
            "block": self.block,
            **({"dtype": "float32"} if self.dtype == "float32" else {}),
        }
        method = given.get("method", self.method)
        if isinstance(method, str):
            saved = self.settings if method == self.method else {}
            method = make_params(method, {**saved, **settings})
        return made | given | {"method": method}


def check_name(path: Path) -> None:
    """Raises LikewiseError unless the path ends in ``.safetensors``."""
    if path.suffix.lower() != SUFFIX:
        raise LikewiseError(f"{path} cannot hold references: name it with {SUFFIX}.")


def read_info(path: str | Path) -> Info:
    """What a references file says of itself; its features are neither read nor checked.

    Raises:
        LikewiseError: if it is missing, cut short, foreign or newer.
    """
    return read_file(Path(path), whole=False)[0]


def read_thumbnails(path: str | Path) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Of each shot its (h, w, 3) uint8 RGB picture and (h, w) bool mask, or None if it has none.

    Raises:
        LikewiseError: as for ``load_references``, but for the backbone.
    """
    info, tensors = read_file(Path(path), whole=True)
    return [thumbnail_of(tensors, s) for s in range(len(info.shots))]


def thumbnail_of(tensors: Mapping[str, np.ndarray], s: int) -> tuple[np.ndarray, np.ndarray] | None:
    image = tensors.get(f"shot.{s}.thumbnail.image")
    return None if image is None else (image, tensors[f"shot.{s}.thumbnail.mask"])


def read_file(path: Path, *, whole: bool) -> tuple[Info, dict[str, np.ndarray]]:
    """The facts and, if ``whole``, all tensors, checked against the digest."""
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise LikewiseError(f"{path} is a folder: give the references file itself.")
    if not path.exists():
        raise LikewiseError(f"{path} does not exist: check its spelling.")
    mend = "copy it again, or save it again with `likewise references save`"
    tensors = {}
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(ENTRY)
            if whole and text is not None:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise LikewiseError(f"{path} is no whole references file ({error}): {mend}.") from error
    if text is None:
        raise LikewiseError(
            f"{path} holds tensors, but no references: give a file that `likewise references save` "
            "wrote."
        )
    damaged = f"{path} is damaged: its content is not what was written; {mend}."
    try:
        facts = json.loads(text)
        digest, version = facts.pop("digest"), facts["format"]
        if version > FORMAT:
            raise LikewiseError(
                f"{path} was written by a newer likewise (format {version}, this one reads up to "
                f"{FORMAT}): update likewise, or save it again with this one."
            )
        info = Info(**{name: fixed(value) for name, value in facts.items()}, path=path)
        if version < 3:  # what was called embedded then
            names = ["embedded-vits14" if n == "embedded" else n for n in info.backbone.split("+")]
            info = replace(info, backbone="+".join(names))
        if info.ranges:
            ranges = {k: (float(low), float(high)) for k, (low, high) in info.ranges.items()}
            info = replace(info, ranges=ranges)
        _ = len(info.shots), info.classes, info.negatives, set(info.views)  # are what they should
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LikewiseError(damaged) from error
    if whole and digest != digest_of(facts, tensors):
        raise LikewiseError(damaged)
    return info, tensors


def fixed(value: Any) -> Any:
    """JSON knows lists only; here they are tuples."""
    return tuple(map(fixed, value)) if isinstance(value, list) else value


def digest_of(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """64 hex digits of all that is written: formats and disks do not notice a changed byte."""
    chunks: list[bytes | np.ndarray] = [json.dumps(facts, sort_keys=True).encode()]
    for name, tensor in sorted(tensors.items()):
        chunks += [f"{name} {tensor.dtype} {tensor.shape} ".encode(), tensor]
    return sha256(*chunks)


def side_of(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number for a square, as options take it."""
    return size[0] if size[0] == size[1] else size

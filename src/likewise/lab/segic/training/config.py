"""Config of a training: a TOML file, read and validated."""

from __future__ import annotations

import json
import math
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from ....errors import LikewiseError
from ....project.settings import check_kinds, read_toml

if TYPE_CHECKING:
    from ....methods.segic.decoder import DecoderShape

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
HARMLESS = ("file", "out", "minutes", "workers", "device", "validation")
"""Keys that may differ when a training is resumed."""


@dataclass(frozen=True)
class BackboneSettings:
    """`[backbone]`: the backbone whose features the decoder uses."""

    name: str = "embedded"
    """As --backbone; paths are relative to the config file."""
    image_size: int = 0
    """Side of all images in pixels; 896 in the paper; 0: the backbone's default."""
    block: int = 0
    """1-based block; 0: the last."""
    rank: float = -1.0
    """Of the positional basis, as --svd-components; -1: the backbone's default."""
    dtype: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class Validation:
    """`[validation]`: held-out episodes, or held-out pairs of the training data."""

    episodes: str = ""
    """JSON list, see docs/evaluate.md."""
    root: str = ""
    """Folder that its paths are relative to; default: the folder of the list."""
    sets: tuple[str, ...] = ()
    """Names of the sets to use; default: all."""
    limit: int = 0
    """Number of episodes, evenly spaced; 0: all."""
    pairs: int = 0
    """Number of held-out pairs."""
    every: int = 1000
    """Steps between validations; there is also one after the last step."""


@dataclass(frozen=True)
class Config:
    """Config of a training; sections are those of the SegIC paper."""

    file: Path
    """The config file; its paths are relative to its folder."""
    out: str
    """Folder for decoder, history and checkpoint."""
    data: tuple[Mapping[str, Any], ...]
    """The `[[data]]` tables, see ``data.sources.KINDS``."""
    seed: int = 0
    """Seed of initial weights, order of pairs, points of the loss and training strategies."""
    data_seed: int = 0
    """Seed of the pairs."""
    pairs: int = 0
    """Size of the pool of pairs that is encoded once; 0: new pairs for every step."""
    steps: int = 20000
    batch: int = 32
    """Batch size, of all processes together (§4.2)."""
    lr: float = 1e-4
    """Initial learning rate (§4.2)."""
    weight_decay: float = 1e-4
    """Of AdamW (§4.2)."""
    warmup: int = 100
    """Steps of linear warm-up of the rate (not in the paper)."""
    drop: float = 0.8
    """Share of the steps after which the rate is divided by 10 (§4.2: at epoch 10)."""
    points: int = 12544
    """K, points of each mask in the loss (§4.2)."""
    clip: float = 1.0
    """Gradients are clipped to this norm (not in the paper)."""
    ema: float = 0.999
    """Decay of the exponential moving average of the weights, which is saved (not in the paper);
    0: no average."""
    reversion: float = 0.25
    """Share of pairs with context reversion (§3.4)."""
    negatives: float = 0.5
    """Share of pairs whose negative entities, if any, are instructions (§3.4)."""
    precision: str = "auto"
    """Of the decoder; auto: float32 on the CPU, mixed on a GPU."""
    device: str = "auto"
    workers: int = 0
    """Worker processes that draw pairs."""
    minutes: float = 5.0
    """Minutes between checkpoints."""
    text: str = ""
    """CLIP text encoder of the meta instruction (Eq. 4); empty: a learned embedding of the task."""
    start: str = ""
    """File of a decoder of the same shape and backbone to start from; empty: random weights."""
    decoder: Mapping[str, Any] = field(default_factory=dict)
    """`[decoder]`: some fields of ``decoder.DecoderShape``."""
    backbone: BackboneSettings = BackboneSettings()
    validation: Validation = Validation()

    def path(self, text: str) -> Path:
        """A path in the file, relative to its folder, as a ``Path``."""
        return self.file.parent / text

    def fixed(self) -> dict[str, Any]:
        """All values that must be equal to resume a training, in JSON's types."""
        fixed = {key: value for key, value in asdict(self).items() if key not in HARMLESS}
        plain: dict[str, Any] = json.loads(json.dumps(fixed))
        return plain


def read_config(path: Path) -> Config:
    """Read a config. Whether the data exist is checked when they are opened.

    Raises:
        LikewiseError: if the file is missing, is no TOML, or a key or value is invalid.
    """
    try:
        values = read_toml(path)
    except OSError as error:
        raise LikewiseError(
            f"{path} cannot be read ({error.strerror}): give the TOML of a training, see "
            "docs/segic.md."
        ) from error
    values = _table(path, "", values, Config, ("file",))
    if "out" not in values:
        raise LikewiseError(f'{path} names no folder for the decoder: write out = "folder".')
    tables = values.pop("data", ())
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise LikewiseError(f"{path} names no data: write [[data]] with a kind below.")
    for name, table in (("backbone", BackboneSettings), ("validation", Validation)):
        if name in values:
            values[name] = table(**_table(path, f"[{name}] ", values[name], table))
    config = Config(path, data=tuple(tables), **values)
    if config.text and config.path(config.text).exists():  # else the name of one on the hub
        config = replace(config, text=str(config.path(config.text).resolve()))
    _check_shape(path, config)
    if config.precision not in PRECISIONS:
        raise LikewiseError(
            f"{path}: precision {config.precision!r} is unknown; use {', '.join(PRECISIONS)}."
        )
    if config.validation.sets and not config.validation.episodes:
        raise LikewiseError(f"{path}: [validation] sets are of no list: give episodes, too.")
    return config


MINIMUM: Mapping[str, float] = {
    **dict.fromkeys(("steps", "batch", "points", "every"), 1),
    **dict.fromkeys(("seed", "data_seed", "pairs", "warmup", "workers", "limit", "minutes"), 0),
    **dict.fromkeys(("lr", "weight_decay", "clip", "drop", "ema", "reversion", "negatives"), 0),
    **dict.fromkeys(("image_size", "block"), 0),
    "rank": -1,
}
MAXIMUM: Mapping[str, float] = {
    **dict.fromkeys(("drop", "reversion", "negatives"), 1),
    "ema": 0.99999,
    "lr": 1,
}


def _table(
    path: Path, where: str, values: Mapping[str, Any], table: type, apart: Sequence[str] = ()
) -> dict[str, Any]:
    """The values of one table, after checks of their names, types and ranges; lists as tuples."""
    hints = get_type_hints(table)
    kinds = {f.name: get_origin(hints[f.name]) or hints[f.name] for f in fields(table)}
    plain: dict[Any, type] = {tuple: list, Mapping: dict, abc.Mapping: dict}
    plain |= {BackboneSettings: dict, Validation: dict}
    known = {key: plain.get(kind, kind) for key, kind in kinds.items() if key not in apart}
    check_kinds(path, where, values, known)
    for key, value in values.items():
        if not MINIMUM.get(key, -math.inf) <= _number(value) <= MAXIMUM.get(key, math.inf):
            raise LikewiseError(
                f"{path}: {where}{key} is {value}: give at least {MINIMUM[key]}"
                + (f" and at most {MAXIMUM[key]}." if key in MAXIMUM else ".")
            )
        if key == "sets" and not all(isinstance(name, str) for name in value):
            raise LikewiseError(f"{path}: {where}sets holds what is no text: put it in quotes.")
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _number(value: Any) -> float:
    """The value for range checks; 0 if it is no number. nan stays and is in no range."""
    return value if isinstance(value, int | float) else 0.0


def _check_shape(path: Path, config: Config) -> None:
    kinds = {"hidden": int, "layers": int, "heads": int, "points": int, "instructions": list}
    check_kinds(path, "[decoder] ", config.decoder, kinds)
    try:
        shape_of(config, dim=8)
    except LikewiseError as error:
        raise LikewiseError(f"{path}: [decoder] {error}") from error


def shape_of(config: Config, dim: int, text: int = 0) -> DecoderShape:
    """The decoder's shape for features of dimension ``dim`` and text features of ``text``."""
    from ....methods.segic.decoder import DecoderShape

    given = dict(config.decoder)
    if "instructions" in given:
        given["instructions"] = tuple(given["instructions"])
    return DecoderShape(dim=dim, text=text, **given)

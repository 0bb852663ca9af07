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

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .backbones.registry import find_spec, get_spec
from .errors import LikewiseError
from .features.debias import resolve_rank
from .io.files import refused, whole_file
from .methods import check_negatives, get_method
from .reference import ReferenceSet, Shot

if TYPE_CHECKING:
    import torch

    from .backbones.encoder import Encoder
    from .features.encoded import Encoded

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

    def options(self, **given: Any) -> dict[str, Any]:
        """Keywords of a ``Segmenter`` like the one that saved the file.

        Args:
            given: keywords that count instead; with another ``method``, settings are its own.

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
            "image_size": _side(self.image_size),
            "svd_components": self.rank,
            "block": self.block,
            "method": self.method,
        }
        same = given.get("method", self.method) == self.method
        return made | (dict(self.settings) if same else {}) | given


def check_name(path: Path) -> None:
    """Raises LikewiseError unless the path ends in ``.safetensors``."""
    if path.suffix.lower() != SUFFIX:
        raise LikewiseError(f"{path} cannot hold references: name it with {SUFFIX}.")


def save_references(
    path: str | Path,
    references: ReferenceSet,
    encoder: Encoder,
    method: str,
    params: Any,
    *,
    half: bool = False,
) -> None:
    """Write references; ``path`` is whole at every moment, old or new.

    Args:
        path: ends in ``.safetensors``.
        references: encoded by ``encoder``.
        encoder: whose weights, block, size and rank whoever loads the file needs too.
        method: that they were encoded for.
        params: its ``Params``.
        half: round features to float16.

    Raises:
        LikewiseError: another suffix, or the file cannot be written.
    """
    from safetensors.numpy import save

    from . import __version__

    path = Path(path)
    check_name(path)
    encoded: dict[int, Encoded] = {}  # by identity: classes marked in one image share its features
    tensors, shots = {}, []
    for s, shot in enumerate(references.shots):
        numbers = {}
        for name, (e, mask) in shot.seen.items():
            view = name or "plain"
            encoded.setdefault(id(e), e)
            numbers[view] = list(encoded).index(id(e))
            tensors[f"shot.{s}.mask.{view}"] = mask.cpu().numpy()
            tensors[f"shot.{s}.share.{view}"] = shot.share(name).cpu().numpy()
        if shot.thumbnail is not None:
            for part, pixels in zip(("image", "mask"), shot.thumbnail, strict=True):
                tensors[f"shot.{s}.thumbnail.{part}"] = pixels
        shots.append({"label": shot.label, "negative": shot.negative, "pictures": numbers})
    for p, e in enumerate(encoded.values()):
        features = e.features.half() if half else e.features
        tensors[f"picture.{p}.features"] = features.cpu().numpy()
        if e.colour is not None:
            tensors[f"picture.{p}.colour"] = e.colour.cpu().numpy()
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    facts: dict[str, Any] = {
        "format": FORMAT,
        "likewise": __version__,
        **_needed(encoder),
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "half": half,
        "method": method,
        "settings": asdict(params),
        "views": get_method(method).VIEWS,
        "pictures": [e.size for e in encoded.values()],
        "shots": shots,
    }
    if references.ranges:
        facts["ranges"] = references.ranges
    facts["digest"] = _digest(facts, tensors)
    try:
        with whole_file(path) as file:
            file.write(save(tensors, {ENTRY: json.dumps(facts)}))
    except OSError as error:
        raise refused(path, error) from error


def load_references(path: str | Path, encoder: Encoder, method: str) -> ReferenceSet:
    """Read what ``save_references`` wrote; on the encoder's device.

    Args:
        path: the file.
        encoder: with the weights, block, input size and rank that the file was made with.
        method: that they are for; views that it does not want are left out.

    Raises:
        LikewiseError: if the file is missing, damaged, foreign or newer, was made with another
            backbone, block, size or rank, or lacks what the method needs.
    """
    import torch

    info, tensors = _read(Path(path), whole=True)
    _check_same(info, encoder)
    _check_tensors(info, tensors, encoder)
    views = get_method(method).VIEWS
    if not set(views) <= set(info.views):
        raise LikewiseError(
            f"{path} was saved for method {info.method}, without the views that {method} needs: "
            f"give --method {info.method}, or save it again with --method {method}."
        )
    encoded: dict[int, Encoded] = {}

    def picture(p: int) -> Encoded:
        if p not in encoded:
            colour = tensors.get(f"picture.{p}.colour")
            encoded[p] = encoder.restore(
                torch.from_numpy(tensors[f"picture.{p}.features"]),
                info.pictures[p],
                None if colour is None else torch.from_numpy(colour),
            )
        return encoded[p]

    shots = []
    for s, facts in enumerate(info.shots):
        patches: dict[str, tuple[Encoded, torch.Tensor]] = {
            view: (
                picture(p),
                torch.from_numpy(tensors[f"shot.{s}.mask.{view}"]).to(encoder.device),
            )
            for view, p in facts["pictures"].items()
            if view in ("plain", *views)
        }
        shares = {
            view if view != "plain" else "": torch.from_numpy(tensors[name]).to(encoder.device)
            for view in patches
            if (name := f"shot.{s}.share.{view}") in tensors
        }
        plain, mask = patches.pop("plain")
        small = _thumbnail(tensors, s)
        kept = tensors[f"picture.{facts['pictures']['plain']}.features"].tobytes()
        digest = hashlib.sha256(kept + tensors[f"shot.{s}.mask.plain"].tobytes()).hexdigest()
        kind = facts["label"], facts["negative"]
        shots.append(Shot(plain, mask, patches, *kind, small, digest, shares))
    check_negatives(method, shots)
    return ReferenceSet(tuple(shots), info.ranges)


def read_info(path: str | Path) -> Info:
    """What a references file says of itself; its features are neither read nor checked.

    Raises:
        LikewiseError: if it is missing, cut short, foreign or newer.
    """
    return _read(Path(path), whole=False)[0]


def read_thumbnails(path: str | Path) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Of each shot its (h, w, 3) uint8 RGB picture and (h, w) bool mask, or None if it has none.

    Raises:
        LikewiseError: as for ``load_references``, but for the backbone.
    """
    info, tensors = _read(Path(path), whole=True)
    return [_thumbnail(tensors, s) for s in range(len(info.shots))]


def _thumbnail(tensors: Mapping[str, np.ndarray], s: int) -> tuple[np.ndarray, np.ndarray] | None:
    image = tensors.get(f"shot.{s}.thumbnail.image")
    return None if image is None else (image, tensors[f"shot.{s}.thumbnail.mask"])


def _needed(encoder: Encoder) -> dict[str, Any]:
    """What features depend on, under the names of ``Info``."""
    return {
        "backbone": encoder.spec.name,
        "weights": encoder.backbone.identity,
        "mean": tuple(encoder.spec.mean),
        "std": tuple(encoder.spec.std),
        "block": encoder.backbone.block,
        "image_size": encoder.input_size,
        "rank": encoder.rank,
    }


def _check_same(info: Info, encoder: Encoder) -> None:
    """Raises LikewiseError, with all that differs and the options that mend it."""
    now = _needed(encoder)
    same = {name: getattr(info, name) == value for name, value in now.items()}
    rows = []
    # Weights are told apart as far as the block that is read: another block has others too.
    weights = same["weights"] or (same["backbone"] and not same["block"])
    if not (weights and same["mean"] and same["std"]):
        if same["backbone"]:
            raise LikewiseError(
                f"{info.path} was made with other weights that are called {info.backbone} too: "
                "give the file that they are in as --backbone."
            )
        spec = find_spec(info.backbone)
        if spec is not None:  # nobody need give its own defaults
            first = get_spec(info.backbone.split("+")[0])
            same["block"] |= info.block == (first.block or first.depth)
            same["rank"] |= info.rank == resolve_rank(first.svd_components, first.dim)
        name = info.backbone if spec is not None else f"PATH/{info.backbone}"
        rows.append((f"with {info.backbone}", f"with {now['backbone']}", f"--backbone {name}"))
    if not same["image_size"]:
        old, new = _side(info.image_size), _side(now["image_size"])
        option = f"--image-size {old}" if isinstance(old, int) else f"image_size={old} in Python"
        rows.append((f"at {old} px", f"at {new} px", option))
    for name, where, option in (("block", "from", "--block"), ("rank", "at", "--svd-components")):
        if not same[name]:
            value = getattr(info, name)
            words = f"{where} {name} "
            rows.append((f"{words}{value}", f"{words}{now[name]}", f"{option} {value}"))
    if rows:
        was, instead, options = (" ".join(words) for words in zip(*rows, strict=True))
        raise LikewiseError(f"{info.path} was made {was}, not {instead}: give {options}.")


def _check_tensors(info: Info, tensors: Mapping[str, np.ndarray], encoder: Encoder) -> None:
    """Raises LikewiseError unless all is there and fits: a digest keeps out no malice."""
    n = encoder.grid[0] * encoder.grid[1]

    def numbers(name: str, columns: int) -> bool:
        values = tensors[name]
        small = values.dtype in (np.float16, np.float32) and (np.abs(values) < 1.01).all()  # no NaN
        return bool(small) and values.shape == (n, columns)

    def marks(name: str) -> bool:
        mask = tensors[name]
        return mask.dtype == bool and mask.shape == (n,) and bool(mask.any())

    def shares(name: str) -> bool:
        share = tensors.get(name)
        if share is None:
            return info.format < 3
        fits = share.dtype == np.float32 and share.shape == (n,)
        return fits and bool(((share >= 0) & (share <= 1)).all()) and bool(share.any())

    try:
        fits = any(not shot["negative"] for shot in info.shots)
        for p, (height, width) in enumerate(info.pictures):
            fits &= height > 0 and width > 0 and numbers(f"picture.{p}.features", encoder.spec.dim)
            colour = f"picture.{p}.colour"
            fits &= colour not in tensors or numbers(colour, 3)
        for s, shot in enumerate(info.shots):
            fits &= isinstance(shot["label"], str) and "plain" in shot["pictures"]
            for view, p in shot["pictures"].items():
                fits &= 0 <= p < len(info.pictures) and marks(f"shot.{s}.mask.{view}")
                fits &= shares(f"shot.{s}.share.{view}")
    except (LookupError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        raise LikewiseError(
            f"{info.path} is no usable references file (its parts do not fit each other): save it "
            "again with `likewise references save`."
        )


def _side(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number for a square, as options take it."""
    return size[0] if size[0] == size[1] else size


def _read(path: Path, *, whole: bool) -> tuple[Info, dict[str, np.ndarray]]:
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
        info = Info(**{name: _fixed(value) for name, value in facts.items()}, path=path)
        if version < 3:  # what was called embedded then
            names = ["embedded-vits14" if n == "embedded" else n for n in info.backbone.split("+")]
            info = replace(info, backbone="+".join(names))
        if info.ranges:
            ranges = {k: (float(low), float(high)) for k, (low, high) in info.ranges.items()}
            info = replace(info, ranges=ranges)
        _ = len(info.shots), info.classes, info.negatives, set(info.views)  # are what they should
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LikewiseError(damaged) from error
    if whole and digest != _digest(facts, tensors):
        raise LikewiseError(damaged)
    return info, tensors


def _fixed(value: Any) -> Any:
    """JSON knows lists only; here they are tuples."""
    return tuple(map(_fixed, value)) if isinstance(value, list) else value


def _digest(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """64 hex digits of all that is written: formats and disks do not notice a changed byte."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype} {tensor.shape} ".encode())
        digest.update(tensor.data)
    return digest.hexdigest()

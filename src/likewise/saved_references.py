"""References encoded once: written to a file, and taken from it again for the same backbone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .backbones.registry import find_spec, get_spec
from .errors import LikewiseError, note
from .features.debias import resolve_rank
from .io.files import refused, whole_file
from .io.hashing import fingerprint
from .methods import check_negatives, get_method
from .reference import EncodedReference, ReferenceSet
from .reference_file import (
    ENTRY,
    FORMAT,
    Info,
    check_name,
    digest_of,
    read_file,
    side_of,
    thumbnail_of,
)

if TYPE_CHECKING:
    import torch

    from .backbones.encoder import Encoder
    from .features.patch_features import PatchFeatures


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
    # By identity: classes marked in one image share its features.
    encoded: dict[int, PatchFeatures] = {}
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
        "backbone": encoder.spec.name,
        **encoder.facts,
        "half": half,
        "method": method,
        "settings": asdict(params),
        "views": get_method(method).VIEWS,
        "pictures": [e.size for e in encoded.values()],
        "shots": shots,
    }
    if references.ranges:
        facts["ranges"] = references.ranges
    facts["digest"] = digest_of(facts, tensors)
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

    info, tensors = read_file(Path(path), whole=True)
    _check_same(info, encoder)
    if info.dtype != encoder.arithmetic:
        made, dtype = (name.replace(", ", " with ") for name in (info.dtype, encoder.arithmetic))
        note(
            str(path),
            f"its features were computed in {made}, those of targets are in {dtype}: masks "
            "may differ a little.",
        )
    _check_tensors(info, tensors, encoder)
    views = get_method(method).VIEWS
    if not set(views) <= set(info.views):
        raise LikewiseError(
            f"{path} was saved for method {info.method}, without the views that {method} needs: "
            f"give --method {info.method}, or save it again with --method {method}."
        )
    encoded: dict[int, PatchFeatures] = {}

    def picture(p: int) -> PatchFeatures:
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
        patches: dict[str, tuple[PatchFeatures, torch.Tensor]] = {
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
        small = thumbnail_of(tensors, s)
        kept = tensors[f"picture.{facts['pictures']['plain']}.features"]
        digest = fingerprint(kept, tensors[f"shot.{s}.mask.plain"])
        kind = facts["label"], facts["negative"]
        shots.append(EncodedReference(plain, mask, patches, *kind, small, digest, shares))
    check_negatives(method, shots)
    return ReferenceSet(tuple(shots), info.ranges)


def _check_same(info: Info, encoder: Encoder) -> None:
    """Raises LikewiseError, with all that differs and the options that mend it."""
    now = {"backbone": encoder.spec.name, **encoder.facts}
    same = {name: getattr(info, name) == value for name, value in now.items()}
    rows = []
    # The identity of weights depends on the block: with another block it differs in any case.
    weights = same["weights"] or (same["backbone"] and not same["block"])
    if not (weights and same["mean"] and same["std"]):
        if same["backbone"]:
            raise LikewiseError(
                f"{info.path} was made with other weights that are called {info.backbone} too: "
                "give the file that they are in as --backbone."
            )
        spec = find_spec(info.backbone)
        if spec is not None:  # its defaults need no option
            first = get_spec(info.backbone.split("+")[0])
            same["block"] |= info.block == (first.block or first.depth)
            same["rank"] |= info.rank == resolve_rank(first.svd_components, first.dim)
        name = info.backbone if spec is not None else f"PATH/{info.backbone}"
        rows.append((f"with {info.backbone}", f"with {now['backbone']}", f"--backbone {name}"))
    if not same["image_size"]:
        old, new = side_of(info.image_size), side_of(now["image_size"])
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
    """Raises LikewiseError unless all is there and fits; a digest does not detect manipulation."""
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

"""``likewise verify``: do these weights do what they should, by facts that need no data set?

A check is of one of two kinds. Those of *structure* hold for any weights of the right shapes, also
random ones: if one fails, the file or this code is wrong. Those of *accuracy* look at what the
bundled pictures show, which only trained weights can tell; their limits lie below what the weakest
of the embedded backbones gives (docs/verify.md has the figures).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..backbones.device import choose_device, memory
from ..backbones.download import fetch_weights, packaged_path, verify
from ..backbones.encoder import DTYPES, Encoder
from ..backbones.loading import Backbone, load_backbone
from ..backbones.registry import find_spec, get_spec
from ..backbones.spec import BackboneSpec
from ..errors import BackboneError
from ..example import CONCEPTS, FOLDER
from ..features.clustering import reference_prototype
from ..features.patch_features import PatchFeatures, mask_to_grid
from ..io.hashing import file_sha256
from ..io.images import read_image
from ..io.masks import read_mask
from ..segmenter import Segmenter
from .evaluation.metrics import auroc
from .verify_report import (
    ACCURACY,
    LEFT_ENERGY,
    MIN_AUROC,
    MIN_IOU,
    NORM_ERROR,
    STRUCTURE,
    Check,
    parameters,
    shape_text,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Target:
    """A bundled picture, encoded, with what should be found in it."""

    name: str
    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.bool_]
    encoded: PatchFeatures


def examine(
    name: str,
    file: Path | None = None,
    *,
    image_size: int | None = None,
    num_heads: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    offline: bool = False,
) -> Iterator[Check]:
    """Load a backbone and yield checks, one by one.

    Args:
        name: of the registry; or a file, folder or hub name, of which nothing is known: then checks
            of accuracy are made, but have no verdict.
        file: the weights of a backbone that is named, instead of the download.
        image_size: side of the square input; the registry's by default.
        num_heads: attention heads, where neither the file nor its width tells.
        device, dtype, offline: as for ``Encoder``.

    Raises:
        BackboneError: if there is no such backbone or file, if a file is given and the backbone is
            not named, if it cannot be downloaded, or options do not fit.
    """
    import torch

    spec = find_spec(name)
    if "+" in name:
        raise BackboneError(f"{name} joins backbones: verify them one by one.")
    if file is not None and spec is None:
        get_spec(name)  # raises, with the closest names
    if dtype not in DTYPES:
        raise BackboneError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
    choose_device(device)  # what a caller can mend is raised; from here on it is the weights
    start = time.perf_counter()
    path = file if file is not None else _weights(name, spec, offline)
    if path is not None:
        yield from _file(path, spec, given=file is not None)
    try:
        backbone = _load(path or name, spec, num_heads, device, dtype, offline)
    except BackboneError as error:
        if path is None:
            raise
        yield Check(STRUCTURE, "weights", "cannot be loaded", False, str(error))
        return
    yield Check(STRUCTURE, "shapes", shape_text(backbone.spec, parameters(backbone.model)), True)
    yield Check("", "loading", f"{time.perf_counter() - start:.1f} s")
    encoder = Encoder(backbone, image_size=image_size)
    start = time.perf_counter()
    basis = encoder.basis
    yield Check("", "positional basis", f"{time.perf_counter() - start:.1f} s, or read from cache")

    pictures = [read_image(FOLDER / image) for image, _, _ in CONCEPTS.values()]
    targets: dict[str, list[Target]] = {}
    start = time.perf_counter()
    references = list(encoder.encode_many(pictures))
    for concept, (_, _, pattern) in CONCEPTS.items():
        targets[concept] = [_target(encoder, path) for path in sorted(FOLDER.glob(pattern))]
    every = [*references, *(t.encoded for some in targets.values() for t in some)]
    seconds = (time.perf_counter() - start) / len(every)
    yield from _structure(encoder, every, basis)
    known = find_spec(encoder.spec.name) is not None
    yield _similarity(encoder, targets, references, known)
    deciding = []
    for method in MIN_IOU:
        check, each = _masks(encoder, method, targets, known)
        deciding.append(f"{method} {each:.2f} s")
        yield check
    side = "x".join(map(str, encoder.input_size))
    yield Check("", "encoding", f"{seconds:.2f} s an image at {side} px on {encoder.device}")
    yield Check("", "deciding", f"{', '.join(deciding)} an image")
    most = memory(encoder.device)
    yield Check(
        "", "memory", "unknown on this system" if most is None else f"{most:.2f} GB at most"
    )
    yield Check("", "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")


# --- the checks -----------------------------------------------------------------------------------


def _weights(name: str, spec: BackboneSpec | None, offline: bool) -> Path | None:
    """The file of a backbone that is named, or is one; None for folders and hub names."""
    if spec is None:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    return packaged_path(spec) if spec.repo is None else fetch_weights(spec, offline=offline)


def _file(path: Path, spec: BackboneSpec | None, *, given: bool) -> Iterator[Check]:
    """Its size and sha256, compared with what is known: of our list, the hub, or Meta's name."""
    if not path.is_file():
        raise BackboneError(f"{path} does not exist: give the path of a weights file.")
    yield Check("", "file", f"{path.name}, {path.stat().st_size:,} bytes")
    if spec is not None and not given:
        found = verify(spec.name)
        digest, expected, ok = found.sha256, found.expected or "", found.ok
    else:
        digest = file_sha256(path)
        # Meta ends its names with the first digits of the file's sha256.
        digits = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
        expected = digits[1] if digits else ""
        ok = digest.startswith(expected) if expected else None
    off = f"The sha256 of {path.name} is {digest}, not {expected}: download it again."
    value = digest if ok is not None else f"{digest}, nothing to compare with"
    yield Check(STRUCTURE, "sha256", value, ok, off if ok is False else "")


def _load(
    source: Path | str,
    spec: BackboneSpec | None,
    num_heads: int | None,
    device: str,
    dtype: str,
    offline: bool,
) -> Backbone:
    """The backbone; of one that is named with its settings, whatever the file is called."""
    import torch

    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    found = load_backbone(source, device=device, dtype=kind, offline=offline, num_heads=num_heads)
    if spec is None:
        return found
    shape = ("family", "patch", "depth", "dim", "heads", "mlp_dim", "gated", "registers")
    for field in shape:
        ours, theirs = getattr(spec, field), getattr(found.spec, field)
        if ours != theirs:
            raise BackboneError(
                f"{source} does not hold {spec.name}: its {field} is {theirs}, not {ours}; give "
                "the file of that backbone, or its own name."
            )
    return replace(found, spec=spec)


def _structure(
    encoder: Encoder, every: Sequence[PatchFeatures], basis: torch.Tensor
) -> Iterator[Check]:
    import torch

    shape, expected = tuple(every[0].features.shape), _patches(encoder)
    finite = all(bool(torch.isfinite(e.features).all()) for e in every)
    off = f"Patch features are {shape} instead of {expected}, or not finite."
    ok = finite and all(tuple(e.features.shape) == expected for e in every)
    yield Check(STRUCTURE, "patch features", f"{shape}, finite", ok, "" if ok else off)

    wrong = max(float((F.norm(dim=1) - 1).abs().max()) for e in every for F in _both(e))
    ok = wrong <= NORM_ERROR
    off = f"The length of a patch feature differs from 1 by {wrong:.1e}."
    yield Check(STRUCTURE, "unit length", f"to {wrong:.0e}", ok, "" if ok else off)

    first, other = (e.features for e in every[-2:])
    alike = float((first * other).sum(dim=1).mean())
    ok = alike < 0.9999
    off = "All pictures have the same features: the network does not see its input."
    yield Check(STRUCTURE, "two pictures", f"cosine {alike:.2f}", ok, "" if ok else off)

    eye = torch.eye(basis.shape[1], device=basis.device)
    wrong = float((basis.T @ basis - eye).abs().max()) if basis.shape[1] else 0.0
    ok = wrong <= 1e-3
    off = f"The positional basis is not orthonormal: it is off by {wrong:.1e}."
    text = f"{tuple(basis.shape)}, orthonormal to {wrong:.0e}"
    yield Check(STRUCTURE, "positional basis", text, ok, "" if ok else off)

    before, after = (
        float(np.mean([float((_both(e)[k] @ basis).square().sum(dim=1).mean()) for e in every]))
        for k in (0, 1)
    )
    ok = after <= LEFT_ENERGY
    off = f"Debiasing leaves {after:.1e} of the energy in the positional subspace."
    text = f"{before:.1%} before debiasing, {after:.0e} after"
    yield Check(STRUCTURE, "positional energy", text, ok, "" if ok else off)


def _similarity(
    encoder: Encoder,
    targets: dict[str, list[Target]],
    references: Sequence[PatchFeatures],
    known: bool,
) -> Check:
    """Whether patches of the thing are more like its prototype than the others, debiased or not."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for reference, (concept, (_, mask, _)) in zip(references, CONCEPTS.items(), strict=True):
        inside = mask_to_grid(read_mask(FOLDER / mask), encoder.grid).to(encoder.device)
        for target in targets[concept]:
            truth = mask_to_grid(target.truth, encoder.grid).numpy()
            for debiased, scores in found.items():
                prototype = reference_prototype([_both(reference)[debiased]], [inside])
                similarity = (_both(target.encoded)[debiased] @ prototype).cpu().numpy()
                ours, others = similarity[truth].tolist(), similarity[~truth].tolist()
                scores.append(auroc(ours, others) or 0.0)
    before, after = (float(np.mean(scores)) for scores in found.values())
    each = ", ".join(f"{v:.2f}" for v in found[True])
    text = f"mean AUROC {after:.3f} ({each}); {before:.3f} without debiasing"
    return _compared("similarity maps", text, after, MIN_AUROC, "The mean AUROC", known)


def _masks(
    encoder: Encoder, method: str, targets: dict[str, list[Target]], known: bool
) -> tuple[Check, float]:
    """The IoU of what a method finds with the truth; seconds an image, from features to mask."""
    segmenter, found, seconds = Segmenter(encoder, method=method), [], 0.0
    for concept, (image, mask, _) in CONCEPTS.items():
        segmenter.fit((FOLDER / image, FOLDER / mask))
        for target in targets[concept]:
            start = time.perf_counter()
            mine = segmenter.segment_encoded(target.image, target.encoded).mask
            seconds += time.perf_counter() - start
            found.append(float((mine & target.truth).sum() / (mine | target.truth).sum()))
    mean, each = float(np.mean(found)), ", ".join(f"{v:.2f}" for v in found)
    text, what = f"mean IoU {mean:.3f} ({each})", f"The mean IoU of {method}"
    check = _compared(f"masks, {method}", text, mean, MIN_IOU[method], what, known)
    return check, seconds / len(found)


def _compared(name: str, text: str, value: float, least: float, what: str, known: bool) -> Check:
    met = value >= least
    if not known:
        return Check(ACCURACY, name, f"{text}: {least} is {'met' if met else 'not met'}")
    off = f"{what} is {value:.3f}, below {least}."
    return Check(ACCURACY, name, text, met, "" if met else off)


def _target(encoder: Encoder, path: Path) -> Target:
    image = read_image(path)
    truth = read_mask(path.with_name(f"{path.stem}_mask.png"))
    return Target(path.name, image, truth, encoder.encode(image))


def _both(encoded: PatchFeatures) -> tuple[torch.Tensor, torch.Tensor]:
    return encoded.features, encoded.debiased


def _patches(encoder: Encoder) -> tuple[int, int]:
    return encoder.grid[0] * encoder.grid[1], encoder.spec.dim

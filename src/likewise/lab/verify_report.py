"""What ``likewise verify`` says: its limits, the plan of a dry run, the verdict, the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..backbones.download import cached_path
from ..backbones.registry import get_spec
from ..backbones.spec import BackboneSpec, ModelShape
from ..errors import BackboneError
from ..features.debias import resolve_rank

if TYPE_CHECKING:
    from torch.nn import Module

NORM_ERROR = 1e-4
"""Most that the length of a patch feature may differ from 1."""
LEFT_ENERGY = 1e-4
"""Largest share of energy that debiasing may leave in the positional subspace."""
MIN_AUROC = 0.8
"""Least mean over the pictures of the AUROC of a similarity map: 0.5 is chance, 1 perfect."""
MIN_IOU = {"likewise": 0.85, "insid3": 0.7}
"""Method → least mean IoU over the pictures."""
STRUCTURE, ACCURACY = "structure", "accuracy"


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    kind: str
    """``structure``, ``accuracy``, or empty for a plain fact."""
    name: str
    value: str
    ok: bool | None = None
    """None where there is nothing to compare with."""
    off: str = ""
    """What is off, a sentence; empty if nothing is."""


def verdict(checks: Sequence[Check]) -> str:
    """What the checks say together, a sentence or two."""
    failed = [c for c in checks if c.ok is False]
    if any(c.kind == STRUCTURE for c in failed):
        return f"FAILED: {' '.join(c.off for c in failed if c.kind == STRUCTURE)}"
    if failed and any(c.name == "sha256" and c.ok for c in checks):
        return (
            f"FAILED: {' '.join(c.off for c in failed)} The file is the right one (sha256): leave "
            "--image-size out, for the limits are those of the backbone's own size, or report it."
        )
    if failed:
        return (
            f"FAILED: {' '.join(c.off for c in failed)} The shapes are right, so the weights are "
            "damaged, not trained, or not those of the name."
        )
    if any(c.kind == ACCURACY and c.ok is None for c in checks):
        return (
            "Structure is right. Accuracy has no verdict: likewise knows no backbone of these "
            "shapes. Random weights do not reach the limits, and need not."
        )
    return "All checks passed."


def plan(name: str, image_size: int | None = None) -> list[Check]:
    """What ``examine`` would do for a backbone of the registry: nothing is loaded or asked for.

    Raises:
        BackboneError: if it is not in the registry, or the size does not fit.
    """
    spec = get_spec(name)
    size = image_size or spec.image_size
    if size % spec.patch:
        raise BackboneError(f"image size {size} is no multiple of the patch of {spec.name}.")
    rank, side = resolve_rank(spec.svd_components, spec.dim), size // spec.patch
    count = parameters(_empty(spec))
    here = cached_path(spec.name)
    source = f"https://huggingface.co/{spec.repo}/resolve/main/{spec.filename}"
    rows = [
        ("backbone", f"{spec.name}, {spec.family}"),
        ("source", source if spec.repo else f"part of likewise: {spec.filename}"),
        ("here", "yes" if here else "no, it would be downloaded"),
        ("size", f"about {4 * count / 1e9:.2f} GB in float32"),
        ("sha256", spec.sha256 or "the hub's own, which it sends with the file"),
    ]
    if spec.meta_file:
        digits = _meta_digits(spec)
        rows.append(("Meta's file", f"{spec.meta_file} (--file), sha256 begins with {digits}"))
    rows += [
        ("shapes", shape_text(spec, count)),
        ("input", f"{size}x{size} px, {side}x{side} patches, mean {spec.mean}, std {spec.std}"),
        ("positional basis", f"({spec.dim}, {rank}), of a black image"),
        ("patch features", f"6 bundled pictures, ({side * side}, {spec.dim}) each"),
    ]
    limits = [
        ("unit length", f"to {NORM_ERROR:g}, before and after debiasing"),
        ("positional energy", f"at most {LEFT_ENERGY:g} of all after debiasing"),
        ("similarity maps", f"mean AUROC of 4 pictures at least {MIN_AUROC}"),
        *((f"masks, {m}", f"mean IoU of 4 pictures at least {v}") for m, v in MIN_IOU.items()),
    ]
    return [Check("", n, v) for n, v in rows] + [Check("limit", n, v) for n, v in limits]


def markdown(name: str, summary: str, checks: Sequence[Check], versions: str) -> str:
    """The report, to be pasted into an issue."""
    words = {True: "ok", False: "**off**", None: ""}
    lines = [
        f"## likewise verify {name}",
        "",
        summary,
        "",
        "| kind | check | value | |",
        "|---|---|---|---|",
        *(f"| {c.kind} | {c.name} | {c.value} | {words[c.ok]} |" for c in checks),
        "",
        versions,
        "",
    ]
    return "\n".join(lines)


def _empty(spec: BackboneSpec) -> Module:
    """The network without weights."""
    import torch

    from ..backbones.hiera import Hiera
    from ..backbones.vit import ViT

    with torch.device("meta"):
        if spec.hiera is not None:
            return Hiera(spec.hiera, spec.depth)
        return ViT(ModelShape.of(spec), spec.depth)


def parameters(model: Module) -> int:
    """Numbers of a network."""
    return sum(p.numel() for p in model.parameters())


def shape_text(spec: BackboneSpec, count: int) -> str:
    """Of a network with ``count`` parameters, for people."""
    gated = "gated MLP" if spec.gated else "MLP"
    return (
        f"patch {spec.patch}, {spec.depth} blocks, width {spec.dim}, {spec.heads} heads, {gated} "
        f"{spec.mlp_dim}, {spec.registers} registers, {count / 1e6:.1f} M parameters"
    )


def _meta_digits(spec: BackboneSpec) -> str:
    return Path(spec.meta_file or "").stem.rsplit("-", 1)[-1]

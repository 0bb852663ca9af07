"""What likewise needs to know of a backbone, and what a model needs to be built, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNKNOWN_LICENSE = "unknown: see where the weights came from"
# Rank of the positional basis, as a fraction of the embedding width (500 of 1024 for ViT-L).
SVD_FRACTION = 500 / 1024
DINOV2_GRID = 37  # the DINOv2 releases were trained with 518 px positions


@dataclass(frozen=True)
class HieraShape:
    """What SAM 2's image encoder needs to be built: Hiera's four stages and a neck.

    `dim` and `heads` are the first stage's and double from stage to stage. `windows` are sides in
    tokens; the blocks `whole`, counted from 0, see the whole image instead. `grid` is the side of
    the stored positions, `neck` the width of what is read, `fine` that of the finer maps. An
    encoder without its last stage has 0 blocks there, and 0 for the neck, which needs it.
    """

    dim: int
    heads: int
    blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    whole: tuple[int, ...] = ()
    grid: int = 7
    neck: int = 256
    fine: tuple[int, ...] = (32, 64)
    eps: float = 1e-6

    @property
    def ends(self) -> tuple[int, ...]:
        """Blocks up to the end of each stage."""
        return tuple(accumulate(self.blocks))

    @property
    def depth(self) -> int:
        """All blocks."""
        return sum(self.blocks)

    @property
    def readable(self) -> tuple[int, ...]:
        """1-based blocks that give features: those of the third stage, and the last one's neck."""
        third = range(self.ends[1] + 1, self.ends[2] + 1)
        return (*third, self.depth) if self.neck else (*third,)

    def through_neck(self, block: int) -> bool:
        """Whether a block is read through the neck: the last one, where there is a neck."""
        return self.neck > 0 and block == self.depth

    def width(self, stage: int) -> int:
        """Of the tokens of a stage, counted from 0."""
        return self.dim * 2**stage

    def features(self, block: int) -> int:
        """D, when a readable block is read."""
        return self.neck if self.through_neck(block) else self.width(2)

    def same_as(self, spec: BackboneSpec) -> bool:
        """Whether this is the model of a registry entry, whatever its finer maps."""
        return spec.hiera is not None and self == replace(spec.hiera, fine=self.fine)


@dataclass(frozen=True)
class BackboneSpec:
    """What likewise needs to know of one backbone.

    `filename` lies in the hub repository `repo`, or, where `repo` is None, inside this package.
    `meta_file` is Meta's official name of the same weights; its suffix is the first 8 hex digits
    of that file's sha256. `svd_components` is a rank (int) or a fraction of `dim` (float).
    `patch` are the pixels of one token, `block` the one that is read by default (None: the last).
    """

    name: str
    family: str  # "dinov3", "dinov2", "dinov2_with_registers", "sam2" or "joined"
    repo: str | None
    filename: str
    patch: int
    depth: int
    dim: int
    heads: int
    mlp_dim: int
    gated: bool = False
    registers: int = 0
    qkv_bias: bool = True
    sha256: str | None = None
    meta_file: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    tau: float = 0.6
    svd_components: float | int = SVD_FRACTION
    image_size: int = 1024
    license: str = UNKNOWN_LICENSE
    block: int | None = None
    hiera: HieraShape | None = None


@dataclass(frozen=True)
class ModelShape:
    """What a model needs to be built. `grid` is the side of the stored positions (0: RoPE)."""

    family: str
    patch: int
    depth: int
    dim: int
    heads: int
    mlp_dim: int
    gated: bool
    registers: int
    grid: int
    eps: float
    rope_theta: float = 100.0

    @classmethod
    def of(cls, spec: BackboneSpec) -> ModelShape:
        """The shape of a registry entry."""
        v3 = spec.family == "dinov3"
        return cls(
            spec.family,
            spec.patch,
            spec.depth,
            spec.dim,
            spec.heads,
            spec.mlp_dim,
            spec.gated,
            spec.registers,
            grid=0 if v3 else DINOV2_GRID,
            eps=1e-5 if v3 else 1e-6,
        )

    @property
    def readable(self) -> range:
        """1-based blocks that give features."""
        return range(1, self.depth + 1)

    def features(self, block: int) -> int:
        """D, when a block is read: the same for all."""
        return self.dim

    def same_as(self, spec: BackboneSpec) -> bool:
        """Whether this is the model of a registry entry, whatever its positions and biases."""
        return self == replace(
            ModelShape.of(spec), grid=self.grid, eps=self.eps, rope_theta=self.rope_theta
        )

"""From images to patch features: resize, normalise, encode, debias, in batches."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..errors import BackboneError, explained_memory
from ..features.debias import debias, positional_basis, resolve_rank
from ..features.patch_features import PatchFeatures, resampled
from ..io.hashing import fingerprint
from ..io.prefetch import batched, prefetch_map
from .device import choose_device, keep_memory, workers_for
from .files import cache_folder, save_quietly
from .loading import Backbone, load_backbone, patch_tokens
from .runtime import Run, check_exportable, check_runtime, open_exported, runtime_dtype, version

if TYPE_CHECKING:
    import torch

    from .spec import BackboneSpec

MAX_SIDE = 8192  # 512 × 512 patches: their similarities alone take 256 GB
BATCH = 8
"""Images that an accelerator sees at once; on the CPU one is as fast as many."""
DTYPES = ("auto", "float32", "bfloat16", "float16")


class Encoder:
    """One frozen backbone at one input size, with its positional basis; or several joined.

    Joined backbones each see the image at their own size, and each has its own basis. Their
    features are resampled to the grid of the first, and stand side by side, scaled so that cosines
    are the weighted mean of theirs, debiased or not. Size, rank and block are those of the first;
    the others' sizes change in proportion.

    Args:
        backbone: a registry name, path or hub name, several with + between them (see
            ``load_backbone``), or a loaded Backbone, which keeps its device, dtype and block.
        image_size: side S of the square input or (H, W), multiples of the patch; the registry's
            value by default.
        svd_components: rank of the positional basis, int or fraction of D; the registry's default.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        dtype: of the backbone: ``float32`` (also ``auto``), ``bfloat16`` or ``float16``. Features
            are always returned in float32.
        block: 1-based block to read, the last by default.
        offline: never touch the network.
        runtime: ``torch``, or ``openvino`` or ``onnx`` (on the CPU): see ``runtime.py``.

    Raises:
        BackboneError: if the backbone cannot be loaded or does not fit the size, rank or device,
            or is loaded in another way than is asked for.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone = "embedded",
        *,
        image_size: int | tuple[int, int] | None = None,
        svd_components: int | float | None = None,
        device: str = "auto",
        dtype: str = "auto",
        block: int | None = None,
        offline: bool = False,
        runtime: str = "torch",
    ) -> None:
        import torch

        if dtype not in DTYPES:
            raise BackboneError(f"dtype {dtype!r} is unknown; use one of {', '.join(DTYPES)}.")
        check_runtime(runtime)
        wanted, exported = dtype, runtime != "torch"
        if exported:  # of float32 weights; what it computes in is the runtime's to choose
            version(runtime)
            device, dtype = "cpu" if device == "auto" else device, "float32"
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(
                backbone,
                block=block,
                device=device,
                dtype=getattr(torch, "float32" if dtype == "auto" else dtype),
                offline=offline,
            )
        elif not exported:
            check_loaded(backbone, device, dtype, block)
        self.backbone = backbone
        self.device, self.dtype = backbone.device, backbone.dtype
        if self.device.type == "cpu":
            keep_memory()
        self.spec = spec = backbone.spec
        self.runtime, self.arithmetic = runtime, str(self.dtype).removeprefix("torch.")
        """What features are computed in: part of every fingerprint."""
        if self.arithmetic != "float32":
            self.arithmetic += ", sums in float32"
        self._run: Run | None = None
        if exported:
            check_exportable(backbone, runtime)
            self._runtime_dtype = runtime_dtype(runtime, wanted)
            self.arithmetic = f"{runtime} {version(runtime)} {self._runtime_dtype}"
        size = spec.image_size if image_size is None else image_size
        try:
            height, width = size if isinstance(size, tuple | list) else (size, size)
            self.input_size = (operator.index(height), operator.index(width))
        except (TypeError, ValueError) as error:
            raise BackboneError(
                f"image size {size!r} is no whole number of pixels and no pair of them."
            ) from error
        if max(self.input_size) > MAX_SIDE:
            raise BackboneError(
                f"image size {size} is beyond what a backbone can see at once: give at most "
                f"{MAX_SIDE}."
            )
        if any(side < spec.patch or side % spec.patch for side in self.input_size):
            below = max(1, min(self.input_size) // spec.patch) * spec.patch
            raise BackboneError(
                f"image size {size} does not suit {spec.name}: it must be a multiple of its patch, "
                f"{spec.patch}, such as {below} or {below + spec.patch}."
            )
        self.grid = (self.input_size[0] // spec.patch, self.input_size[1] // spec.patch)
        try:
            rank = spec.svd_components if svd_components is None else svd_components
            self.rank = resolve_rank(rank, (backbone.parts or (backbone,))[0].spec.dim)
        except ValueError as error:
            raise BackboneError(f"{spec.name}: {error}.") from error
        self.parts = tuple(
            self.like(part, self._size_of(part.spec), None if number else self.rank)
            for number, part in enumerate(backbone.parts)
        )
        """Encoders of joined backbones; none where there is only one."""
        self.batch_size = 1 if self.device.type == "cpu" else BATCH
        self._basis: torch.Tensor | None = None

    def images_at_once(self, count: int) -> int:
        """How many of ``count`` images threads may encode and segment at the same time."""
        on_cpu = self.device.type == "cpu" and self.runtime == "torch"
        return workers_for(count) if on_cpu else 1

    def like(
        self, backbone: Backbone, size: int | tuple[int, int], rank: int | float | None
    ) -> Encoder:
        """An encoder of another backbone, size and rank, of the same kind as this one."""
        return Encoder(backbone, image_size=size, svd_components=rank)

    def _size_of(self, spec: BackboneSpec) -> tuple[int, int]:
        """(H, W) of a joined backbone: its own size, changed as the first one's was."""
        scale = spec.image_size / self.spec.image_size / spec.patch
        height, width = (max(1, round(scale * side)) * spec.patch for side in self.input_size)
        return height, width

    @property
    def basis(self) -> torch.Tensor:
        """(D, s) float32 positional basis on the device; made once, kept on disk.

        Of joined backbones those of all, each in its own rows and columns.
        """
        import torch

        if self._basis is None and self.parts:
            self._basis = torch.block_diag(*(part.basis for part in self.parts))
        elif self._basis is None:
            self._basis = self._cached_basis().to(self.device)
        return self._basis

    def debias(self, features: torch.Tensor) -> torch.Tensor:
        """F~ of (N, D) float32 features of this encoder: see ``features.debias``.

        Of joined backbones each is debiased for itself, and takes its share again.
        """
        import torch

        if not self.parts:
            return debias(features, self.basis)
        pieces = features.split([part.spec.dim for part in self.parts], dim=1)
        return torch.cat(
            [
                scale * debias(piece, part.basis)
                for scale, piece, part in zip(self._scales, pieces, self.parts, strict=True)
            ],
            dim=1,
        )

    @property
    def _scales(self) -> list[float]:
        """Lengths of the joined features: their squares are the weights, and add up to 1."""
        weights = self.backbone.weights
        return [(weight / sum(weights)) ** 0.5 for weight in weights]

    @property
    def facts(self) -> dict[str, Any]:
        """All that features depend on, resolved. Only debiased ones depend on ``rank``."""
        return {
            "weights": self.backbone.identity,
            "mean": tuple(self.spec.mean),
            "std": tuple(self.spec.std),
            "block": self.backbone.block,
            "image_size": self.input_size,
            "rank": self.rank,
            "dtype": self.arithmetic,
        }

    @property
    def fingerprint(self) -> str:
        """32 hex digits of ``facts``, and of those of joined backbones."""
        return fingerprint(self.facts, [part.facts for part in self.parts])

    def _cached_basis(self) -> torch.Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = cache_folder() / "bases" / f"{self.fingerprint}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):  # missing, unreadable, torn: make it
            return load_file(path)["basis"]
        black = np.zeros((*self.input_size, 3), np.uint8)  # *before* normalisation (§3.1)
        tokens = self.tokens(self.preprocess([black]))[0]
        basis = positional_basis(tokens, self.rank).cpu()
        save_quietly({"basis": basis}, path)
        return basis

    def preprocess(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """(B, 3, H, W) float32 on the CPU from (H', W', 3) uint8 RGB images: bilinear, mean/std."""
        import torch

        return self._normalise(torch.from_numpy(np.stack([self._resize(i) for i in images])))

    def _resize(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 of any (H', W', 3) uint8 image."""
        size = self.input_size[::-1]
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) float32 from (B, H, W, 3) uint8, on the same device."""
        import torch

        mean = pixels.new_tensor(self.spec.mean, dtype=torch.float32).view(3, 1, 1)
        std = pixels.new_tensor(self.spec.std, dtype=torch.float32).view(3, 1, 1)
        return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)

    def _patch_colours(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) mean RGB in 0..1 of each patch of (B, 3, H, W) normalised pixels."""
        side = self.spec.patch
        rows = pixels.permute(0, 2, 3, 1).unflatten(1, (-1, side)).sum(2)  # as pixels lie in memory
        sums = rows.unflatten(2, (-1, side)).sum(3).flatten(1, 2)
        std, mean = pixels.new_tensor(self.spec.std), pixels.new_tensor(self.spec.mean)
        return (sums / side**2 * std + mean).to(self.device)

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, N, D) float32 patch tokens of (B, 3, H, W) normalised pixels; not of joined ones."""
        import torch

        with explained_memory(f"{self.spec.name} at {self.input_size[0]}x{self.input_size[1]} px"):
            if self.runtime != "torch":
                size = self.input_size
                if self._run is None:
                    dtype = self._runtime_dtype
                    self._run = open_exported(self.backbone, size, self.runtime, dtype)
                return torch.cat([self._run(p[None]) for p in pixels])
            return patch_tokens(self.backbone, pixels).flatten(1, 2)

    def encode(self, image: np.ndarray) -> PatchFeatures:
        """Encode one (H, W, 3) uint8 RGB image."""
        return next(self.encode_many([image]))

    def encode_many(
        self, images: Iterable[np.ndarray], batch_size: int | None = None
    ) -> Iterator[PatchFeatures]:
        """Encode images in batches; yields one ``PatchFeatures`` for each, in order.

        The next images are taken and resized in threads while a batch is encoded.

        Args:
            images: (H, W, 3) uint8 RGB each.
            batch_size: images that the backbone sees at once; ``self.batch_size`` by default.
        """
        import torch

        count = batch_size or self.batch_size
        if self.parts:
            for some in batched(images, count):
                each = [list(part.encode_many(some, count)) for part in self.parts]
                yield from (self._join(encoded) for encoded in zip(*each, strict=True))
            return
        resized = prefetch_map(lambda image: (self._resize(image), image.shape[:2]), images, count)
        for batch in batched(resized, count):
            pictures = np.stack([small for small, _ in batch])
            stack = torch.from_numpy(pictures)
            if self.device.type == "cuda":  # as bytes, and without waiting for the copy
                stack = stack.pin_memory().to(self.device, non_blocking=True)
            pixels = self._normalise(stack)
            colours = self._patch_colours(pixels)
            F = torch.nn.functional.normalize(self.tokens(pixels), dim=2)
            for (_, size), small, *encoded in zip(batch, pictures, F, colours, strict=True):
                features, colour = encoded
                debiased = self.debias(features)
                yield PatchFeatures(features, debiased, self.grid, size, colour, small)

    def _join(self, encoded: Sequence[PatchFeatures]) -> PatchFeatures:
        """What the joined backbones say of one image, on one grid."""
        import torch

        pieces = [
            scale * resampled(e.features, e.grid, self.grid)
            for scale, e in zip(self._scales, encoded, strict=True)
        ]
        features, first = torch.cat(pieces, dim=1), encoded[0]
        return replace(first, features=features, debiased=self.debias(features), grid=self.grid)

    def restore(
        self, features: torch.Tensor, size: tuple[int, int], colour: torch.Tensor | None
    ) -> PatchFeatures:
        """An image encoded before, from what was kept of it.

        Args:
            features: (N, D) of this encoder on any device: float32 as they were, or rounded to
                float16, which loses their unit length.
            size: (H, W) pixels of the image.
            colour: (N, 3) float32 in 0..1, or None.
        """
        import torch

        F = features.to(self.device)
        if F.dtype != torch.float32:
            F = torch.nn.functional.normalize(F.float(), dim=1)
        colour = None if colour is None else colour.to(self.device)
        return PatchFeatures(F, self.debias(F), self.grid, size, colour)


def check_loaded(backbone: Backbone, device: str, dtype: str, block: int | None) -> None:
    """Raises BackboneError if it has another device, dtype or block; auto and None: any will do."""
    own_dtype, own_device = str(backbone.dtype).removeprefix("torch."), backbone.device.type
    for name, own, wanted in (
        ("dtype", own_dtype, own_dtype if dtype == "auto" else dtype),
        ("device", own_device, own_device if device == "auto" else choose_device(device).type),
        ("block", backbone.block, block or backbone.block),
    ):
        if own != wanted:
            raise BackboneError(
                f"the loaded {backbone.spec.name} has {name} {own}, not {wanted}: load it so."
            )

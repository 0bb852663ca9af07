"""``build_insid3``: the released INSID3's programming interface, for code written against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backbones.encoder import Encoder
from ..errors import ImageError, LikewiseError, note
from ..features.patch_features import PatchFeatures
from ..io.images import ImageLike, Picture
from ..io.masks import ANY, MaskLike, nearest
from ..matching import check_keypoints, match_encoded
from ..methods import make_params
from ..methods.insid3 import INSID3Params
from ..reference import Example, Reference, ReferenceSet, as_references, encode_references
from ..refine import at_input_size
from ..segmenter import Segmenter

if TYPE_CHECKING:
    import torch

_SIZES = {"small": "vits", "base": "vitb", "large": "vitl"}
_REFINERS = {None: "none", "bilinear": "none"}
_OVERSHOOT = 0.05  # by which resizing a normalised tensor may leave black and white


class TensorArray(np.ndarray):
    """A numpy array that also is where the released code has a torch tensor.

    What an array cannot do, its tensor does: ``mask.cpu()``, ``mask.float()``, ``torch.stack``
    give torch tensors; ``mask.astype("uint8")``, ``mask.mean()`` and ``mask.dtype`` are numpy's.
    """

    def __getattr__(self, name: str) -> Any:
        import torch

        if name.startswith("__"):  # protocols that other libraries look for
            raise AttributeError(name)
        return getattr(torch.from_numpy(np.asarray(self)), name)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        import torch

        def tensors(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(tensors, value))
            return torch.from_numpy(np.asarray(value)) if isinstance(value, cls) else value

        return function(*tensors(args), **{k: tensors(v) for k, v in (kwargs or {}).items()})


class INSID3:
    """Made by ``build_insid3``; holds references and one target.

    ``set_reference`` adds a reference until ``segment`` or ``match`` has used them; the next one
    then starts anew. Without a new one they stay, and so does the target.
    """

    def __init__(self, segmenter: Segmenter, resize_to_orig_size: bool = True) -> None:
        self.resize_to_orig_size = resize_to_orig_size
        self._segmenter = segmenter
        self.reset_state()

    def reset_state(self) -> None:
        """Forget references and target."""
        self._forget_references()
        self._target: tuple[Picture, PatchFeatures] | None = None

    def _forget_references(self) -> None:
        self._segmenter.references = None
        self._first: PatchFeatures | None = None
        self._used = False

    @property
    def _encoder(self) -> Encoder:
        return self._segmenter.encoder

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Side of the square that the backbone sees, or (H, W)."""
        height, width = self._encoder.input_size
        return height if height == width else (height, width)

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return self._encoder.device

    def to(self, device: str | torch.device) -> INSID3:
        """Itself, for the released code's ``model.to(device)``.

        Raises:
            LikewiseError: it is on another device.
        """
        if str(device).split(":")[0] != self.device.type:
            raise LikewiseError(
                f"the model is on {self.device.type} and stays there: give "
                f'build_insid3(device="{device}") instead.'
            )
        return self

    def eval(self) -> INSID3:
        """Itself: it is never trained."""
        return self

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Those of the backbone."""
        return self._encoder.backbone.model.parameters()

    def set_reference(self, image: ImageLike, mask: MaskLike | None = None) -> None:
        """Adds one example: an image and the mask of the concept.

        Args:
            image: path, PIL image, array, or tensor (3, H, W) or (1, 3, H, W): normalised as the
                released code wants it, or in 0..1, or uint8.
            mask: path, PIL image, array or tensor (H, W) or (1, H, W); of a label map, all that is
                above 0. None is only for ``match`` and replaces the references before.

        Raises:
            ImageError: one of them cannot be used.
            LikewiseError: the reference before has no mask.
        """
        if self._used or mask is None:
            self._forget_references()
        if mask is None:
            self._first = self._encoder.encode(self._picture(image).pixels)
            return
        if self._first is not None and self._segmenter.references is None:
            raise LikewiseError(
                "the reference before has no mask, so it is for match only: call match, or "
                "reset_state(), before set_reference with a mask."
            )
        self._add([Reference(image, mask, ANY)])

    def set_references(self, references: Sequence[Example]) -> None:
        """Several examples of the same concept, [(image, mask), ...], in the place of all before.

        Raises:
            ImageError: one of them cannot be used.
        """
        self._forget_references()
        self._add(as_references(references))

    def _add(self, references: Sequence[Reference]) -> None:
        examples = [replace(r, image=self._picture(r.image)) for r in references]
        known = self._segmenter.references
        shots = encode_references(self._encoder, examples).shots
        self._segmenter.fit_encoded(ReferenceSet((*(known.shots if known else ()), *shots)))
        self._first = self._first or shots[0].encoded

    def set_target(self, image: ImageLike) -> None:
        """The image to segment or to match in; encoded once. As in ``set_reference``."""
        self._target = None  # if this image cannot be read, no other is taken for it
        picture = self._picture(image)
        self._target = (picture, self._encoder.encode(picture.pixels))

    def segment(
        self, image: ImageLike | None = None, *, keep_references: bool = True
    ) -> TensorArray:
        """Mask of the concept in ``image``, or in the target set before.

        Args:
            image: becomes the target; None uses ``set_target``'s.
            keep_references: False forgets references and target afterwards, as the released code
                does after each call.

        Returns:
            (H, W) bool at the target's own size; with ``resize_to_orig_size=False`` at
            ``image_size``. A numpy array that also has a tensor's methods.

        Raises:
            LikewiseError: if there is no reference with a mask, or no target.
        """
        if image is not None:
            self.set_target(image)
        if self._target is None:
            raise LikewiseError("no target yet: call set_target(image) or segment(image).")
        picture, encoded = self._target
        result = self._segmenter.segment_encoded(picture, encoded)
        mask = result.mask
        if not self.resize_to_orig_size:
            import torch

            scores, size = torch.from_numpy(result.scores), self._encoder.input_size
            refiner = self._segmenter.refiner
            mask = at_input_size(scores, picture.pixels, size, refiner).numpy() > 0.5
            if picture.valid is not None:
                mask = mask & nearest(picture.valid, size)
        self._used = True
        if not keep_references:
            self.reset_state()
        return mask.view(TensorArray)

    def match(
        self,
        src_kps: Sequence[Sequence[float]] | Sequence[float] | np.ndarray | torch.Tensor,
        use_debiased: bool = True,
        *,
        debiased: bool | None = None,
    ) -> TensorArray:
        """Where points of the first reference lie in the target.

        Args:
            src_kps: (n, 2) x, y in pixels of the reference; or one point (x, y).
            use_debiased: match with debiased features.
            debiased: the name of it in likewise 0.1; wins where it is given.

        Returns:
            (n, 2) float32 x, y in pixels of the target: a numpy array that also has a tensor's
            methods.

        Raises:
            LikewiseError: if reference or target is missing, or a point lies outside.
        """
        if self._first is None or self._target is None:
            raise LikewiseError("match needs set_reference(image) and set_target(image) first.")
        points: Any = src_kps.detach().cpu().numpy() if hasattr(src_kps, "detach") else src_kps
        with suppress(ValueError):  # ragged, which check_keypoints says in a sentence
            points = [points] if np.shape(points) == (2,) else points
        points = check_keypoints(points, self._first.size)
        if debiased is not None:
            use_debiased = debiased
        found, _ = match_encoded(self._first, self._target[1], points, use_debiased)
        self._used = True
        return found.view(TensorArray)

    def _picture(self, image: ImageLike) -> Picture:
        """A picture of an image as the released code takes it.

        Raises:
            ImageError: it cannot be used.
        """
        import torch

        read = self._segmenter.read
        if not isinstance(image, torch.Tensor):
            return read(image)
        tensor = image.detach().cpu()
        if tensor.ndim == 4 and tensor.shape[0] == 1:
            tensor = tensor[0]
        if not tensor.is_floating_point():
            return read(tensor)
        if not tensor.isfinite().all():
            raise ImageError("the image tensor holds NaN or infinity: replace those with numbers.")
        low, high = float(tensor.min()), float(tensor.max())
        if low >= 0 and high <= 1:
            # Normalised, it would be a picture without anything darker or lighter than grey.
            note(
                "the image tensor",
                "all values lie in 0..1, so it was not taken as normalised by mean and "
                "deviation, which is what the released INSID3 expects.",
            )
            return read(tensor)
        if tensor.ndim == 3 and tensor.shape[0] == 3:
            spec = self._encoder.spec
            mean, std = (tensor.new_tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
            plain = tensor * std + mean
            if plain.min() >= -_OVERSHOOT and plain.max() <= 1 + _OVERSHOOT:
                return read(plain.clamp(0, 1))
        raise ImageError(
            f"the image tensor has the shape {tuple(tensor.shape)} and floats from {low:g} to "
            f"{high:g}: give (3, height, width), in 0..1 or normalised with the backbone's mean "
            "and deviation."
        )


def build_insid3(
    backbone: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    svd_components: int | float | None = None,
    tau: float | None = None,
    merge_threshold: float = INSID3Params.alpha,
    mask_refiner: str | None = "bilinear",
    device: str | torch.device = "auto",
    *,
    model_size: str | None = None,
    resize_to_orig_size: bool = True,
) -> INSID3:
    """INSID3 with the released code's names (there, all are keywords).

    Args:
        backbone: ``vits``, ``vitb``, ``vitl``, ``vith``, ``vit7b``, or what ``Segmenter`` takes.
        image_size: side of the square input; the registry's by default (1024 for DINOv3).
        svd_components: rank s of the positional basis; 500/1024 of D by default, since the released
            default of 500 removes the whole space of smaller backbones.
        tau: clustering threshold; the backbone's by default (0.6 for DINOv3).
        merge_threshold: α of the aggregation.
        mask_refiner: ``bilinear`` (or None), ``crf``, or ``guided``, which is ours.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        model_size: ``small``, ``base`` or ``large``, the released name of the backbone (``vits``,
            ``vitb``, ``vitl``). With neither, it is the embedded backbone, and a warning says so.
        resize_to_orig_size: False leaves masks at ``image_size``.

    Raises:
        LikewiseError: in one sentence, if something cannot be used.
    """
    if model_size is not None:
        if backbone is not None:
            raise LikewiseError("backbone and model_size say the same: give one of them.")
        if model_size not in _SIZES:
            raise LikewiseError(
                f"model_size {model_size!r} is unknown: use one of {', '.join(_SIZES)}, or "
                "backbone= for others."
            )
        backbone = _SIZES[model_size]
    elif backbone is None:
        note(
            "build_insid3",
            "no backbone was named, so `embedded` is used; the released default is "
            'model_size="large".',
        )
        backbone = "embedded"
    return INSID3(
        Segmenter(
            backbone,
            image_size=image_size,
            svd_components=svd_components,
            method=make_params("insid3", {"tau": tau, "alpha": merge_threshold}),
            refiner=_REFINERS.get(mask_refiner, mask_refiner or "none"),
            device=str(device),
        ),
        resize_to_orig_size,
    )

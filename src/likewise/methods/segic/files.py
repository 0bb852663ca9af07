"""Decoder files: a ``.safetensors`` with weights, shape and the backbone of the training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import LikewiseError

if TYPE_CHECKING:
    from ...backbones.encoder import Encoder
    from .decoder import Decoder

VERSION = 1


@dataclass(frozen=True)
class Trained:
    """The features that a decoder was trained on."""

    backbone: str
    """Name of the backbone."""
    block: int
    """1-based block whose output is used."""
    identity: str
    """Hash of the backbone's weights, ``Backbone.identity``."""
    rank: int
    """Rank of the positional basis."""
    image_size: tuple[int, int]
    """(H, W) pixels of the training images."""
    text: str = ""
    """Folder or hub name of the text encoder; empty: none."""

    @staticmethod
    def by(encoder: Encoder, text: str = "") -> Trained:
        """For a training on the features of this encoder."""
        b = encoder.backbone
        return Trained(
            encoder.spec.name, b.block, b.identity, encoder.rank, encoder.input_size, text
        )


def save_decoder(path: Path, decoder: Decoder, trained: Trained) -> None:
    """Write a decoder. Raises LikewiseError if the file cannot be written."""
    from safetensors.torch import save

    from ...io.files import write_whole

    about = {"version": VERSION, "shape": asdict(decoder.shape), "trained": asdict(trained)}
    tensors = {name: t.detach().cpu().contiguous() for name, t in decoder.state_dict().items()}
    write_whole(path, save(tensors, {"likewise-segic": json.dumps(about)}))


def load_decoder(path: str | Path) -> tuple[Decoder, Trained]:
    """Read a decoder to the CPU, in evaluation mode; the last 4 files are cached.

    Raises:
        LikewiseError: if the file does not exist or was not written by ``save_decoder``.
    """
    path = Path(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise LikewiseError(
            f"{path} cannot be read ({error.strerror}): give the decoder that "
            "`likewise segic train` wrote."
        ) from error
    return _load(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _load(path: Path, _changed: int, _size: int) -> tuple[Decoder, Trained]:
    from safetensors import SafetensorError, safe_open

    from .decoder import Decoder, DecoderShape

    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["likewise-segic"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["version"] != VERSION:
            raise LikewiseError(
                f"{path} is a decoder of another version of likewise: train it again."
            )
        shape, trained = about["shape"], about["trained"]
        decoder = Decoder(DecoderShape(**shape | {"instructions": tuple(shape["instructions"])}))
        decoder.load_state_dict(tensors)
        about_training = Trained(**trained | {"image_size": tuple(trained["image_size"])})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LikewiseError(
            f"{path} is no whole decoder of `likewise segic train`: train it again, or give "
            "another file."
        ) from error
    return decoder.eval().requires_grad_(False), about_training


def check_backbone(path: str | Path, encoder: Encoder) -> None:
    """Raises LikewiseError unless the decoder was trained on the features of this encoder."""
    trained = load_decoder(path)[1]
    asked = Trained.by(encoder)
    same = ("identity", "block", "rank")
    if any(getattr(trained, name) != getattr(asked, name) for name in same):
        raise LikewiseError(
            f"{path} was trained on block {trained.block} of {trained.backbone} at rank "
            f"{trained.rank}, not on block {asked.block} of {asked.backbone} at rank "
            f"{asked.rank}: use that backbone (embedded-vits14 was called embedded in version 0.1)."
        )

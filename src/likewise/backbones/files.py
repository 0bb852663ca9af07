"""Weights files read into plain tensors, never executing what is in them; files of the cache."""

from __future__ import annotations

import os
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BackboneError
from ..io.files import whole_file
from .download import INDEX_SUFFIX, shard_names

if TYPE_CHECKING:
    import torch

PICKLES = {".pth", ".pt", ".bin"}


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a weights file or safetensors index, memory mapped; raises BackboneError."""
    if path.stat().st_size == 0:
        raise BackboneError(f"{path} is empty: copy or download it again.")
    if path.name.endswith(INDEX_SUFFIX):
        state: dict[str, torch.Tensor] = {}
        for name in shard_names(path):
            shard = path.parent / name
            if not shard.is_file():
                raise BackboneError(f"{shard} is missing, which {path.name} lists: copy it there.")
            state.update(read_tensors(shard))
        return state
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path)
    raise BackboneError(f"{path} is no weights file: give a .safetensors, .pth or .pt file.")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(
            f"{path} is not a complete safetensors file ({error}): copy or download it again."
        ) from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        # weights_only: nothing in the file is executed; mmap works for torch's zip files only.
        mmap = zipfile.is_zipfile(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, in torch's own words
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        raise BackboneError(
            f"{path} cannot be read as plain tensors ({type(error).__name__}): it is damaged, or "
            "holds Python objects, which likewise never executes; download it again, or save its "
            "state dict as .safetensors."
        ) from error
    if isinstance(state, dict) and set(state) == {"model"}:  # as Meta wraps SAM 2
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise BackboneError(f"{path} is not a plain state dict: save the model's state_dict().")
    return state


def cache_folder() -> Path:
    """Where likewise keeps what it can make again: $LIKEWISE_CACHE or the user's cache folder."""
    own, users = os.environ.get("LIKEWISE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(users or Path.home() / ".cache") / "likewise"


def save_quietly(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write a file of a cache; one that cannot be written only costs the next run time."""
    from safetensors import SafetensorError
    from safetensors.torch import save

    with suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, sync=False) as file:
            file.write(save({name: t.contiguous() for name, t in tensors.items()}))

"""Reading the papers' pickled lists with a restricted unpickler that runs no code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ....errors import LikewiseError

# Containers, and the constructors of NumPy's scalars and arrays.
_ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")
ALLOWED = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    *(("builtins", name) for name in ("list", "dict", "set", "int", "float", "str")),
    *(("__builtin__", name) for name in ("list", "dict", "set", "int", "float", "str")),
    *((module, name) for module in _ARRAYS for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_pickle(path: Path) -> Any:
    """Content of a ``.pkl`` file of lists, dicts, text, numbers and arrays.

    Raises:
        LikewiseError: if the file cannot be read or asks for anything else.
    """
    return _load(_bytes(path), path)


def read_object_array(path: Path) -> Any:
    """An ``.npy`` file of objects, as ``np.load(path, allow_pickle=True)`` would read it.

    Raises:
        LikewiseError: as for ``read_pickle``.
    """
    file = io.BytesIO(_bytes(path))
    try:
        version = np.lib.format.read_magic(file)
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, _, kind = read_header(file)
    except (ValueError, AttributeError) as error:
        raise LikewiseError(f"{path} is no .npy file ({error}): download it again.") from error
    if not kind.hasobject:
        return np.frombuffer(file.read(), dtype=kind).reshape(shape)
    return _load(file.read(), path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LikewiseError(
            f"{path} cannot be read ({error.strerror}): check --data-root."
        ) from error


def _load(data: bytes, path: Path) -> Any:
    try:
        return _Careful(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise anything
        raise LikewiseError(
            f"{path} is not read: it is damaged or no plain list ({error}), and pickles that ask "
            "for more can run any program; download it again."
        ) from error

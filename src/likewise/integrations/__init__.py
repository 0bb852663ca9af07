"""Bridges to other programs: CVAT, Label Studio, supervision, notebooks.

Each needs packages that likewise does without; an extra of the same name installs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..segmenter import Segmenter


def open_references(path: str | Path, *, backbone: str | None = None, **options: Any) -> Segmenter:
    """A segmenter that is ready: with the backbone, method and settings of a references file.

    Args:
        path: what ``likewise references save`` wrote.
        backbone: file or folder of it, where likewise does not know it by name.
        options: further keywords of ``Segmenter``, such as ``device``.

    Raises:
        LikewiseError: as for ``Segmenter.load_references`` and ``Info.options``.
    """
    from ..reference_file import read_info
    from ..segmenter import Segmenter

    made = read_info(path).options(**({} if backbone is None else {"backbone": backbone}))
    return Segmenter(**made, **options).load_references(path)

"""Text and JSON that other programs wrote: UTF-8 with or without a byte order mark, or UTF-16."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """The text of a file, without its byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    content = path.read_bytes()
    return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")


def read_json(path: Path) -> Any:
    """The JSON of a file. Raises OSError or ValueError as ``read_text`` and ``json`` do."""
    return json.loads(read_text(path))

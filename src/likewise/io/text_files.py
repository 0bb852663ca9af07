"""Text and JSON that other programs wrote: UTF-8 with or without a byte order mark, or UTF-16."""

from __future__ import annotations

import codecs
import json
import unicodedata
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
    try:
        return content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is neither UTF-8 nor UTF-16 text") from error


def read_json(path: Path) -> Any:
    """The JSON of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text as for ``read_text``, empty, or no JSON.
    """
    text = read_text(path)
    if not text.strip():
        raise ValueError("it is empty")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def normal(name: str) -> str:
    """One spelling of a name, Unicode NFC: systems differ in how they write an é."""
    return unicodedata.normalize("NFC", name)

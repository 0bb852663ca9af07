"""`likewise label-studio`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from unittest import mock

from bad_input_rows.rows import row
from scenes import keep

SERVING = all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "httpx"))


def label_studio(*more: str) -> list[str]:
    keep()
    return ["label-studio", "r.safetensors", "--backbone", "tiny", *more]


@row("Label Studio: missing references", 2, r"r\.safetensors does not exist", when=SERVING)
def label_studio_missing(_: Path) -> list[str]:
    return ["label-studio", "r.safetensors"]


@row("Label Studio: open to all", 2, r"--host 0\.0\.0\.0 lets other machines in: give a --token")
def label_studio_open(_: Path) -> list[str]:
    return label_studio("--host", "0.0.0.0")


@row("Label Studio: no address", 2, r"localhost:8080 is no address of Label Studio", when=SERVING)
def label_studio_address(_: Path) -> list[str]:
    return label_studio("--label-studio", "localhost:8080")


@row("Label Studio: root that is a file", 2, r"a\.jpg is no folder: give the one", when=SERVING)
def label_studio_root(_: Path) -> list[str]:
    return label_studio("--root", "a.jpg")


@row("Label Studio: no such port", 2, r"'--port'", usage=True)
def label_studio_port(_: Path) -> list[str]:
    return label_studio("--port", "70000")


@row("Label Studio: learn from fewer than none", 2, r"learn -1 is no number of", when=SERVING)
def label_studio_learn(_: Path) -> list[str]:
    return label_studio("--learn", "-1", "--port", "0")


@row(
    "Label Studio: package missing",
    2,
    r"label-studio needs the package uvicorn, which is not installed: pip install 'likewise\[label",
    fault=lambda: mock.patch.dict("sys.modules", {"uvicorn": None}),
)
def label_studio_extra(_: Path) -> list[str]:
    return label_studio()

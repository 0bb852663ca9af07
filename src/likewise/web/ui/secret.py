"""The secret of a project's page: the same after a restart, so that open tabs can go on."""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

FILE = ".likewise-token"
"""In the project; only its owner may read it."""


def project_token(folder: Path) -> str:
    """The project's token; a new one if there is none that is secret.

    Args:
        folder: the project.
    """
    path = folder / FILE
    with suppress(OSError, ValueError):
        text = path.read_text("ascii")
        if _is_secret(path) and re.fullmatch(r"[\w-]{32}", text):
            return text
    token = secrets.token_urlsafe(24)
    with suppress(OSError):  # tabs that are open must then be opened anew after a restart
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token)
    return token


def _is_secret(path: Path) -> bool:
    """Whether it is a plain file of ours that nobody else can read."""
    status = path.lstat()
    if os.name == "nt":  # the folder's own rights decide there
        return stat.S_ISREG(status.st_mode)
    mine = status.st_uid == os.getuid()
    return mine and stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077

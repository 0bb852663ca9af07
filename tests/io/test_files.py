"""io/files: what killed runs leave behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

from likewise.io.files import remove_parts


def test_old_parts_are_removed_and_no_other_file(tmp_path: Path) -> None:
    old, young = tmp_path / ".likewise-0123.part", tmp_path / ".likewise-4567.part"
    other, below = tmp_path / "mine.part", tmp_path / "masks" / ".likewise-89ab.part"
    below.parent.mkdir()
    for file in (old, young, other, below):
        file.write_bytes(b"half a mas")
    for file in (old, other, below):
        os.utime(file, (time.time() - 7200,) * 2)
    remove_parts([tmp_path, tmp_path / "missing"])
    assert [file.exists() for file in (old, young, other, below)] == [False, True, True, True]

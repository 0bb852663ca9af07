"""Fixtures that several files of this folder use."""

from __future__ import annotations

import pytest

from replicas import FEWER


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in FEWER.items():
        monkeypatch.setattr(f"likewise.lab.evaluation.datasets.{name}", count)

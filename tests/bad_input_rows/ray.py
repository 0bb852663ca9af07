"""Projects on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from bad_input_rows.rows import row


@contextmanager
def no_ray() -> Iterator[None]:
    with mock.patch("likewise.run.distributed.find_spec", return_value=None):
        yield


@row("Ray is not installed", 2, r"--ray needs Ray, .* pip install 'likewise\[ray\]'", fault=no_ray)
def ray_not_installed(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "local"]


@row("an address that is none of Ray", 2, r"'here' is no address of Ray: give local, auto or HOST")
def ray_address(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "here"]


@row("Ray through its client", 2, r"Ray Data cannot work through ray://h:1: start likewise on a ma")
def ray_client(_: Path) -> list[str]:
    return ["annotate", "work", "--ray", "ray://h:1"]


@row("workers of no Ray", 2, r"--ray-workers needs --ray: give --ray local to start Ray here")
def ray_workers_alone(_: Path) -> list[str]:
    return ["annotate", "work", "--ray-workers", "2"]

"""``likewise serve``: the HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import LikewiseError, needs
from ..refine import DEFAULT_REFINER
from .app import app
from .options import (
    FeatureOptions,
    HostOption,
    PortOption,
    RefineOption,
    RuntimeOptions,
    TunedMethodOptions,
    encoder_options,
    takes_groups,
)


@app.command()
@takes_groups
def serve(
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar="LIKEWISE_TOKEN", help="What clients must send; needed but on loopback."
        ),
    ] = "",
    root: Annotated[
        Path | None, typer.Option(help="Folder whose images requests may name as path.")
    ] = None,
    allow_origin: Annotated[
        list[str], typer.Option(help="Origin whose web pages may ask; may be repeated.")
    ] = [],  # noqa: B006 (typer copies it)
    keep: Annotated[int, typer.Option(min=1, help="Sets of references kept in memory.")] = 16,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for an answer.")] = 60,
    upload_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for a request to arrive.")
    ] = 30,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest request.")] = 32_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image.")] = 40_000_000,
    refine: RefineOption = DEFAULT_REFINER,
    algorithm: TunedMethodOptions,
    network: FeatureOptions,
    machine: RuntimeOptions,
) -> None:
    """Answer over HTTP: send references once, then images (docs/server.md)."""
    from ..refine import check_refiner

    with needs("serve"):
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401  (FastAPI imports it when it reads a form)
        import uvicorn  # noqa: F401

        from ..web.guard import Access
        from ..web.limits import Limits
        from ..web.serving import bind, serve_app
    access = Access(token or None, host, tuple(allow_origin))
    limits = Limits(max_bytes, upload_timeout, max_pixels, queue, timeout)
    if root is not None and not root.is_dir():
        raise LikewiseError(f"--root {root} is no folder: give the folder of the images.")
    params = algorithm.params()
    check_refiner(refine)
    listener = bind(host, port, secret=bool(token))

    from ..backbones.encoder import Encoder
    from ..segmenter import Segmenter
    from ..web.api.app import make_app

    encoder = Encoder(**encoder_options(network, machine, params))
    served = make_app(
        lambda: Segmenter(encoder, method=params, refiner=refine),
        access,
        limits,
        root=None if root is None else root.resolve(),
        keep=keep,
    )
    _ = encoder.basis  # or else the first request waits for it
    serve_app(served, listener, encoder.spec.name, patience=limits.patience)

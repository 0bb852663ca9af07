"""The command that serves masks to Label Studio: ``likewise label-studio``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import needs
from ..refine import DEFAULT_REFINER
from .app import app
from .options import (
    DeviceOptions,
    HostOption,
    PortOption,
    RefineOption,
    SimplifyOption,
    takes_groups,
)


@app.command()
@takes_groups
def label_studio(
    *,
    references: Annotated[Path, typer.Argument(help="What `likewise references save` wrote.")],
    label_studio: Annotated[
        str | None, typer.Option(help="Its address, to fetch images: http://localhost:8080.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="LABEL_STUDIO_API_KEY", help="A user's token there.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of its local files, where that is here too.")
    ] = None,
    learn: Annotated[
        int, typer.Option(help="Keep so many finished annotations as further references.")
    ] = 0,
    min_area: Annotated[int, typer.Option(help="Leave out polygons of fewer pixels.")] = 1,
    simplify: SimplifyOption = 1.0,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9090,
    token: Annotated[
        str | None,
        typer.Option(envvar="LIKEWISE_TOKEN", help="Password that Label Studio must give."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", "-b", help="A file or folder, if it has no name."),
    ] = None,
    refine: RefineOption = DEFAULT_REFINER,
    machine: DeviceOptions,
) -> None:
    """Serve a references file to Label Studio as an ML backend."""
    from ..reference_file import read_info
    from ..segmenter import load

    with needs("label-studio"):
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401

        from ..web.guard import Access
        from ..web.label_studio.app import LIMITS, make_app
        from ..web.label_studio.backend import Backend, file_name
        from ..web.label_studio.images import Images
        from ..web.serving import bind, serve_app
    access = Access(token or None, host)
    images = Images(LIMITS, label_studio, api_key, root)
    read_info(references)
    with bind(host, port, secret=bool(token)) as listener:
        segmenter = load(references, backbone=backbone, refiner=refine, **vars(machine))
        backend = Backend(
            segmenter,
            images,
            file_name(references),
            learn=learn,
            min_area=min_area,
            simplify=simplify,
        )
        served, name = make_app(backend, access), ", ".join(backend.classes)
        serve_app(served, listener, name, patience=LIMITS.patience)

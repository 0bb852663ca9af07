"""The local web page on the command line: ``likewise ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import needs
from .app import app
from .options import (
    DeviceOptions,
    HostOption,
    NoCacheOption,
    PortOption,
    takes_groups,
)


@app.command()
@takes_groups
def ui(
    *,
    project: Annotated[
        Path, typer.Argument(help="Folder of the project; made if it is not there.")
    ] = Path("likewise_project"),
    port: PortOption = 8899,
    host: HostOption = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    machine: DeviceOptions,
    no_cache: NoCacheOption = False,
) -> None:
    """Open the page: paint one example, watch the others appear, correct, export."""
    with needs("ui"):
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401

        from ..web.guard import Access, project_token
        from ..web.model_thread import ModelThread
        from ..web.serving import bind, serve_app
        from ..web.ui.routes import LIMITS, make_app
        from ..web.ui.worker import PageWorker
        from ..web.ui.workspace import Workspace
    workspace = Workspace(project)
    listener = bind(host, port, secret=True)
    token = project_token(project)
    cookie = f"likewise-{listener.getsockname()[1]}"  # cookies do not tell ports apart
    thread = ModelThread(LIMITS.queue, LIMITS.timeout)
    worker = PageWorker(workspace, thread, cache=not no_cache, **vars(machine))
    serve_app(
        make_app(workspace, worker, Access(token, host, cookie=cookie)),
        listener,
        str(project),
        patience=5,
        path=f"/?token={token}",
        browser=not no_browser,
    )

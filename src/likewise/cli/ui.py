"""The local web page on the command line: ``likewise ui``."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LikewiseError
from .app import app
from .options import DeviceOptions, takes_groups


@app.command()
@takes_groups
def ui(
    *,
    project: Annotated[
        Path, typer.Argument(help="Folder of the project; made if it is not there.")
    ] = Path("likewise_project"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")
    ] = 8899,
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's open it to all.")
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    machine: DeviceOptions,
) -> None:
    """Open the page: paint one example, watch the others appear, correct, export."""
    for package in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise LikewiseError(
                f"likewise ui needs {package}, which is not installed: pip install 'likewise[ui]'."
            )
    from ..web.ui.serving import serve

    def ready(address: str) -> None:
        print(f"{project} is open at\n\n    {address}\n\nCtrl-C ends it; nothing is lost.")
        sys.stdout.flush()
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    with suppress(KeyboardInterrupt):
        serve(project, host=host, port=port, ready=ready, **vars(machine))

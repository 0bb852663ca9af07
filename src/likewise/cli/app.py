"""The application that every command is added to."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Mask one example, get the same thing masked in every other image.",
    epilog="Exit codes: 0 all done, 1 some targets failed or were not reached, 2 nothing started.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        from .. import __version__

        print(f"likewise {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass

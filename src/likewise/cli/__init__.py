"""The command line: parse, call, print; one file a command. Heavy imports wait for their use."""

from __future__ import annotations

import io
import sys

from ..errors import LikewiseError

# Importing a command adds it to the app, in the order of --help.
from . import segment, match, backbones, doctor, demo  # noqa: F401  # isort: skip
from . import benchmark, eval, export, geo, label_studio, project  # noqa: F401  # isort: skip
from . import reference_file, segic, serve, slide, tune, ui, verify  # noqa: F401  # isort: skip
from . import video, volume  # noqa: F401  # isort: skip
from .app import app
from .console import fail, printed_notes


def main() -> None:
    """Entry point: every error a person can mend is one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        with printed_notes():
            app()
            sys.stdout.flush()
    except LikewiseError as error:
        fail(str(error))
    except OSError as error:  # ours are explained: this is stdout itself, full or closed
        fail(f"output cannot be written ({error.strerror}): redirect it to where there is room.")

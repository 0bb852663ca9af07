"""The command that proves a backbone: ``likewise verify``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LikewiseError
from .app import app
from .console import print_json
from .options import DeviceOptions, JsonOption, keywords, takes_groups


@app.command()
@takes_groups
def verify(
    *,
    backbone: Annotated[str, typer.Argument(help="A name from `likewise backbones`, or a file.")],
    file: Annotated[
        Path | None, typer.Option(help="Its weights, instead of the download: .pth, .safetensors.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done; no network.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write it to a file, .md or .json.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square the backbone sees.")
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Attention heads, where the file does not tell.")
    ] = None,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Load a backbone and check that it does what it should, on the bundled pictures."""
    from ..io.files import encode_json, write_whole
    from ..lab.verify import examine
    from ..lab.verify_report import markdown, plan, verdict

    if report is not None and report.suffix not in (".md", ".json"):
        raise LikewiseError(f"{report} ends neither in .md nor in .json: name it so.")
    if dry_run:
        found = plan(backbone, image_size)
        summary = "Nothing was loaded and nothing was asked for: this is a dry run."
    else:
        found = []
        options = {"image_size": image_size, "num_heads": num_heads, **keywords(machine)}
        for check in examine(backbone, file, **options):
            found.append(check)
            if not as_json:
                _print(check.kind, check.name, check.value, check.ok)
        summary = verdict(found)
    checks = [dataclasses.asdict(check) for check in found]
    whole = {"backbone": backbone, "verdict": summary, **_versions(), "checks": checks}
    if report is not None:
        text = markdown(
            backbone, summary, found, ", ".join(f"{k} {v}" for k, v in _versions().items())
        )
        write_whole(report, encode_json(whole) if report.suffix == ".json" else text.encode())
    if as_json:
        print_json(whole)
    else:
        if dry_run:
            for check in found:
                _print(check.kind, check.name, check.value, check.ok)
        print(summary)
    if any(check.ok is False for check in found):
        raise typer.Exit(1)


def _print(kind: str, name: str, value: str, ok: bool | None) -> None:
    mark = {True: "ok", False: "OFF", None: ""}[ok]
    print(f"{kind:9} {name:17} {value}  {mark}".rstrip(), flush=True)


def _versions() -> dict[str, str]:
    import platform

    import torch

    from .. import __version__

    return {
        "likewise": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
    }

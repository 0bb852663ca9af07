"""Backbones on the command line: ``likewise backbones`` and its subcommands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LikewiseError
from .app import app
from .console import json_ready, print_json
from .options import JsonOption, OfflineOption

backbones_app = typer.Typer(help="List, download, verify and describe backbones.")
app.add_typer(backbones_app, name="backbones")


@backbones_app.callback(invoke_without_command=True)
def _backbones(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_backbones()


@backbones_app.command("list")
def list_backbones(as_json: JsonOption = False) -> None:
    """Every backbone likewise knows, and whether it is on this machine."""
    from ..backbones.download import cached_path
    from ..backbones.registry import ALIASES, BACKBONES

    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "aliases": [a for a, name in ALIASES.items() if name == spec.name],
            "dim": spec.dim,
            "depth": spec.depth,
            "patch": spec.patch,
            "here": cached_path(spec.name) is not None,
            "source": spec.repo or "ships with likewise",
        }
        for spec in BACKBONES.values()
    ]
    if as_json:
        print_json(rows)
        return
    print(f"{'name':20} {'also':18} {'dim':>5} {'blocks':>6} {'patch':>5} {'here':>4}  source")
    for row in rows:
        also, here = (row["aliases"] or [""])[0], "yes" if row["here"] else "-"
        print(
            f"{row['name']:20} {also:18} {row['dim']:5} {row['depth']:6} {row['patch']:5} "
            f"{here:>4}  {row['source']}"
        )


@backbones_app.command()
def download(name: str, offline: OfflineOption = False) -> None:
    """Download a backbone into the Hugging Face cache and check its sha256."""
    from ..backbones.download import fetch_weights
    from ..backbones.registry import get_spec, split_names

    for spec in [get_spec(part) for part in split_names(name)]:
        if spec.repo is None:
            print(f"{spec.name} ships with likewise: nothing to download.")
        else:
            print(fetch_weights(spec, offline=offline))


@backbones_app.command()
def verify(name: str) -> None:
    """Recompute the sha256 of a backbone on this machine."""
    from ..backbones.download import verify
    from ..backbones.registry import get_spec, split_names

    reports = [verify(part) for part in split_names(name)]
    for report in reports:
        packaged = get_spec(report.name).repo is None
        mend = "install likewise again" if packaged else "download it again"
        verdict = {True: "correct", False: f"WRONG, {mend}", None: "nothing to compare with"}
        print(f"{report.path}\nsha256 {report.sha256}: {verdict[report.ok]}")
    if any(report.ok is False for report in reports):
        raise typer.Exit(1)


@backbones_app.command()
def export(
    name: str,
    file: Annotated[Path, typer.Argument(help="What to write: .xml (with a .bin) or .onnx.")],
    to: Annotated[str, typer.Option("--to", help="openvino or onnx.")],
    image_size: Annotated[int | None, typer.Option(help="Side of the input in pixels.")] = None,
    offline: OfflineOption = False,
) -> None:
    """Write a backbone for another runtime: normalised pixels (1, 3, H, W) to tokens (1, N, D)."""
    from ..backbones.encoder import Encoder
    from ..backbones.runtime import SUFFIXES
    from ..backbones.runtime import export as write

    if file.suffix != SUFFIXES.get(to):
        known = ", ".join(f"{suffix} for {runtime}" for runtime, suffix in SUFFIXES.items())
        raise LikewiseError(f"{file} does not suit --to {to}: {known}.")
    encoder = Encoder(name, image_size=image_size, dtype="float32", device="cpu", offline=offline)
    write(encoder.backbone, encoder.input_size, file)
    height, width = encoder.input_size
    print(f"{file} written: {encoder.spec.name} in float32 at {height}x{width} px")


@backbones_app.command()
def info(name: str, as_json: JsonOption = False) -> None:
    """What likewise knows of a backbone, or of joined ones: source, shape, defaults, licence."""
    from ..backbones.download import cached_path
    from ..backbones.registry import get_spec, joined_spec, split_names

    specs = [get_spec(part) for part in split_names(name)]
    paths = [cached_path(spec.name) for spec in specs]
    here = [None if path is None else str(path) for path in paths]
    facts = dataclasses.asdict(specs[0] if len(specs) == 1 else joined_spec(specs))
    if len(specs) == 1:
        facts["here"] = here[0]
    else:  # the rest is different for each
        own = ("name", "family", "patch", "dim", "image_size", "svd_components", "tau", "license")
        facts = {key: facts[key] for key in own} | {"here": here}
    if as_json:
        print_json(json_ready(facts))
        return
    for key, value in facts.items():
        print(f"{key:15} {value}")

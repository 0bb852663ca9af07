"""The command that shows the bundled example: ``likewise demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app
from .console import progress
from .options import BackboneOption, DeviceOption, OfflineOption, RefineOption


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path(
        "likewise_demo.png"
    ),
    backbone: BackboneOption = "embedded",
    refine: RefineOption = "guided",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Run the bundled example: windows, capacitors and a coin are masked, the others found."""
    from ..example import demo_targets, run_demo
    from ..io.encoding import picture_format
    from ..run.jobs import check_outputs
    from ..segmenter import Segmenter

    picture_format(out)
    check_outputs(out.parent)
    segmenter = Segmenter(backbone, refiner=refine, device=device, offline=offline)
    with progress(len(demo_targets())) as advance:
        for name, area in run_demo(segmenter, out):
            print(f"{name}: {area:.0%} of the picture masked")
            advance(None)
    print(f"look at {out}")

"""The command for georeferenced rasters: ``likewise geo``."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ImageError, LikewiseError
from ..refine import DEFAULT_REFINER
from .app import app
from .console import (
    notes,
    print_json,
    print_written,
    progress,
    stopping,
    target_json,
    whole_numbers,
)
from .options import (
    DeviceOptions,
    ExampleOptions,
    FeatureOptions,
    JsonOption,
    RefineOption,
    ResumeOption,
    TargetsArgument,
    TileOption,
    open_segmenter,
    takes_groups,
)


@app.command()
@takes_groups
def geo(
    *,
    targets: TargetsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the GeoTIFFs of labels.")],
    examples: ExampleOptions,
    bands: Annotated[
        str, typer.Option(help="Bands to see as red, green and blue, such as 4,3,2; or one.")
    ] = "",
    roi: Annotated[
        Path | None, typer.Option(help="Vector file: look only inside of its polygons.")
    ] = None,
    polygons: Annotated[
        Path | None, typer.Option(help="Also write polygons to this .gpkg or .geojson file.")
    ] = None,
    min_area: Annotated[float, typer.Option(help="Leave out what is smaller, in m².")] = 0.0,
    save_scores: Annotated[
        bool, typer.Option("--save-scores", help="Also write <stem>_scores.tif.")
    ] = False,
    resume: ResumeOption = False,
    tile: TileOption = "auto",
    refine: RefineOption = DEFAULT_REFINER,
    network: FeatureOptions,
    machine: DeviceOptions,
    as_json: JsonOption = False,
) -> None:
    """Write <stem>.tif of labels (1, 2, ...) on the grid of each GeoTIFF, and polygons."""
    from ..geo.polygon_file import PolygonFile, check_polygon_file
    from ..geo.run import (
        RasterOptions,
        RasterResult,
        numbers_of,
        read_georeferenced,
        segment_rasters,
    )
    from ..run.jobs import check_outputs, places
    from ..run.targets import find_images
    from .references import read_references

    chosen = tuple(whole_numbers(bands, "--bands"))
    if not min_area >= 0:
        raise LikewiseError(f"--min-area {min_area:g} is no area: give m² from 0 on.")
    if polygons is not None:
        check_polygon_file(polygons)
    files = find_images(targets)
    labels = [out / place for place in places(files, ".tif")]
    beside = [polygons] if polygons is not None else []
    inputs = [*files, *examples.files, *([roi] if roi else [])]
    check_outputs(out, [*zip(files, labels, strict=True), *((p, p) for p in beside)], inputs)
    warnings.filterwarnings("ignore", module="rasterio")  # of rasters without a place on the earth
    references = read_references(**vars(examples), read=partial(read_georeferenced, bands=chosen))
    segmenter = open_segmenter(network, machine, refiner=refine, tile=tile).fit(references)

    options = RasterOptions(chosen, roi, min_area, save_scores)
    vectors = None if polygons is None else PolygonFile(polygons, list(segmenter.models))
    done: list[RasterResult] = []
    report: list[dict[str, Any]] = []
    pairs = list(zip(files, labels, strict=True))
    with stopping("stopped by Ctrl-C: finished files are whole.") as stopped:
        rasters = segment_rasters(segmenter, pairs, options, resume=resume, vectors=vectors)
        with progress(len(files), of=segmenter) as advance:
            for found in rasters:
                advance(str(found) if isinstance(found, ImageError) else None)
                if isinstance(found, ImageError):
                    report.append({"target": str(pairs[len(report)][0]), "error": str(found)})
                    continue
                done.append(found)
                report.append(target_json(found))
        if vectors is not None and done:
            vectors.write()
    failed = len(report) - len(done)
    if as_json:
        print_json({"labels": numbers_of(segmenter), "targets": report, **notes()})
    else:
        kept = sum(not found.tiles for found in done)
        print_written("rasters", out, len(files), len(report), kept, failed, resume=resume)
        for found in done:
            print(f"{found.path}: {found.polygons} polygons, {found.area:.1%} of it")
    if failed or stopped.reason:
        raise typer.Exit(1)

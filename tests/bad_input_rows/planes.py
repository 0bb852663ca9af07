"""Pages, channels and levels of files with several; `likewise slide`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from bad_input_rows.rows import row
from scenes import TINY, segment


def stack(*more: str) -> list[str]:
    """Two planes of three channels."""
    values = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 48), dtype=np.uint8)
    axes = {"axes": "ZCYX"}
    tifffile.imwrite("s.ome.tif", values, metadata=axes, photometric="minisblack")
    return segment("s.ome.tif", *more)


@row("page that is not there", 1, r"s\.ome\.tif has pages 0 to 5: --page 6 is none of them\.")
def page_missing(_: Path) -> list[str]:
    return stack("--page", "6")


@row("channel that is not there", 1, r"s\.ome\.tif has channels 0 to 2: --channel 3 is no choi")
def channel_missing(_: Path) -> list[str]:
    words = stack("--channel", "3")
    with Image.open("reference.png") as image:
        image.convert("LA").convert("L").save("reference.png")  # of one channel: taken as it is
    return words


@row("channel that is no number", 2, r"--channel red is no list of numbers: give such as 4 or")
def channel_word(_: Path) -> list[str]:
    return stack("--channel", "red")


@row("two channels", 2, r"--channel 0,1 is 2 channels: give one or three\.")
def two_channels(_: Path) -> list[str]:
    return stack("--channel", "0,1")


@row(
    "page below 0",
    2,
    r"Invalid value for '--page': Input should be greater than or equal to 0",
    usage=True,
)
def page_below(_: Path) -> list[str]:
    return stack("--page", "-1")


def pyramid(*more: str) -> list[str]:
    """Two levels, the first over the limit."""
    values = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    with tifffile.TiffWriter("p.tif") as tiff:
        tiff.write(values, tile=(128, 128), photometric="rgb")
        half = np.ascontiguousarray(values[::2, ::2])
        tiff.write(half, tile=(128, 128), photometric="rgb", subfiletype=1)
    os.environ["LIKEWISE_MAX_PIXELS"] = "100000"
    return segment("p.tif", *more)


@row("level over the limit", 1, r"p\.tif is 400 × 300 .* limit of 100000: --level 1 fits \(200 × 1")
def level_too_large(_: Path) -> list[str]:
    return pyramid("--level", "0")


@row("level of a pyramid that is not there", 1, r"p\.tif has the levels 0 to 1: --level 2 is no")
def level_missing(_: Path) -> list[str]:
    return pyramid("--level", "2")


@row("pyramid of unknown size of pixel", 1, r"p\.tif does not say how large a pixel is: give --l")
def pyramid_mpp(_: Path) -> list[str]:
    return pyramid("--mpp", "2")


@row("size of pixel without end", 2, r"--mpp is a number of µm above 0")
def mpp_infinite(_: Path) -> list[str]:
    return pyramid("--mpp", "inf")


@row("size of pixel and level", 2, r"--mpp is a number of µm above 0, and --level stands instead")
def mpp_and_level(_: Path) -> list[str]:
    return pyramid("--mpp", "2", "--level", "1")


def slide(*more: str) -> list[str]:
    """A slide that does not say how large its pixels are, and its annotations."""
    values = np.full((300, 400, 3), 240, np.uint8)
    values[100:200, 100:250] = (180, 60, 140)
    tifffile.imwrite("s.tif", values, tile=(128, 128), photometric="rgb")
    ring = [[120, 120], [220, 120], [220, 180], [120, 180], [120, 120]]
    named = {"geometry": {"type": "Polygon", "coordinates": [ring]}, "type": "Feature"}
    named |= {"properties": {"classification": {"name": "gland"}}}
    content = {"type": "FeatureCollection", "features": [named]}
    Path("m.geojson").write_text(json.dumps(content), "utf-8")
    return ["slide", "s.tif", "-r", "s.tif", "-m", "m.geojson", "--out", "out", *TINY, *more]


@row("slide of unknown size of pixel", 2, r"s\.tif does not say how large a pixel is: give --l")
def slide_mpp(_: Path) -> list[str]:
    return slide("--mpp", "2")


@row("level that is not there", 2, r"s\.tif has level 0 alone, 3 is none: leave out --level")
def slide_level(_: Path) -> list[str]:
    return slide("--level", "3")


@row("class that is not annotated", 2, r"m\.geojson marks no area of cell, only of gland: draw")
def slide_class(_: Path) -> list[str]:
    return slide("--label", "cell")


@row("slide cut short", 1, r"cut\.tif cannot be read as a slide \(.*\): copy or download it ag")
def slide_cut(_: Path) -> list[str]:
    words = slide()
    Path("cut.tif").write_bytes(Path("s.tif").read_bytes()[:9000])
    return ["slide", "cut.tif", *words[2:]]

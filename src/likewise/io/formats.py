"""Which files are images by their names, and what helps with those that likewise cannot read."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

HEIF = (".heic", ".heif", ".hif")
"""Read with pillow-heif, of the extra ``likewise[heic]``."""
SLIDES = (".bif", ".btf", ".ndpi", ".qptiff", ".scn", ".svs")
"""Pyramids of microscopes, which are TIFF within."""
IMAGE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg"),
    *(".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif"),
    *(".tiff", ".webp"),
    *SLIDES,
    *(HEIF if find_spec("pillow_heif") else ()),
)
"""What counts as an image in a folder or behind a glob pattern, in any case."""

_ADVICE = {
    HEIF: "HEIC needs pip install 'likewise[heic]'",
    (".dcm", ".dicom", ".ima"): "DICOM: give the folder of its series to likewise volume",
    (".nii", ".nii.gz"): "a medical volume: give it to likewise volume",
    (".mha", ".mhd", ".nrrd", ".mgz"): (
        "a medical volume: save it as NIfTI, for instance with 3D Slicer, for likewise volume"
    ),
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mrw"),
        *(".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f"),
    ): "camera raw: develop it to JPEG or TIFF, for instance with darktable",
    (".czi", ".ims", ".lif", ".lsm", ".nd2", ".oib", ".oif", ".stk", ".vsi", ".zvi"): (
        "a microscope's own format: save it as TIFF, for instance with Fiji"
    ),
    (".mrxs", ".svslide"): "a whole slide: export it as OME-TIFF, for instance with QuPath",
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"): "a video: give it to likewise video",
    (".eps", ".pdf", ".psd", ".svg", ".xcf", ".ai", ".kra"): (
        "a document: export it as PNG from the program that made it"
    ),
    (".npz", ".mat"): "save one array of it as .npy, with np.save",
    (".exr", ".hdr", ".img", ".grd", ".h5", ".hdf", ".jxl", ".nc", ".vrt", ".ecw"): (
        "save it as PNG or TIFF"
    ),
}
_HELP = {suffix: advice for suffixes, advice in _ADVICE.items() for suffix in suffixes}


def is_image_name(path: Path) -> bool:
    """Whether a file is one that likewise reads, by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def advice(path: Path) -> str | None:
    """What a picture is, and what helps, where likewise cannot read it; None for other files."""
    name = path.name.lower()
    suffixes = (path.suffix.lower(), *(s for s in _HELP if s.count(".") > 1 and name.endswith(s)))
    return next((_HELP[s] for s in suffixes if s in _HELP and not is_image_name(path)), None)

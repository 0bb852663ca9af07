"""A folder with the slices of one DICOM series; labels become a DICOM segmentation (SEG)."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ImageError, needs, note
from ..io.draw import class_colour
from ..io.opening import DAMAGE, why
from .volume import Affine, Values, Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's axes (left, posterior, superior) to those of NIfTI (right, anterior, superior)."""
NO_PICTURE = ("SEG", "SR", "RTSTRUCT", "RTPLAN", "RTDOSE", "PR", "KO", "REG")
"""Modalities without slices, which may lie in the folder of a series."""
NUMBERS = {
    **{"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2},
    **{"Rows": 1, "Columns": 1, "RescaleSlope": 1, "RescaleIntercept": 1},
}
"""Elements that must hold this many numbers, if they are present."""
EVEN = 0.05
"""Maximum relative difference of the distances between slices."""


def read(path: Path) -> Volume:
    """Read the series of a folder.

    Raises:
        LikewiseError: a package is missing, or the files are not the whole of one series.
    """
    slices = _sorted(_one_series(_headers(path), path), path)
    headers = [header for _, header in slices]
    first = headers[0]
    place = [np.array(header.ImagePositionPatient, np.float64) for header in headers]
    rows, columns = np.array(first.ImageOrientationPatient, np.float64).reshape(2, 3)[::-1]
    affine = np.eye(4)
    affine[:3, 0] = (place[-1] - place[0]) / (len(place) - 1)
    affine[:3, 1] = rows * float(first.PixelSpacing[0])
    affine[:3, 2] = columns * float(first.PixelSpacing[1])
    affine[:3, 3] = place[0]
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = float(edges[0]), float(edges[1]), float(edges[2])
    return Volume(path, _values(slices), "dicom", LPS @ affine, spacing, headers)


def read_labels(path: Path) -> tuple[Values, Affine]:
    """The segments of a DICOM segmentation as one label volume, and its affine.

    Raises:
        LikewiseError: it is none, or its segments overlap.
    """
    with needs("medical"):
        import highdicom

    with explained(path):
        found = highdicom.seg.segread(path).get_volume(combine_segments=True)
    return np.asarray(found.array), LPS @ np.asarray(found.affine)


def encode(volume: Volume, labels: Values, names: Mapping[int, str]) -> bytes:
    """A DICOM segmentation whose segments are the classes.

    Args:
        volume: read by ``read``.
        labels: (slices, rows, columns) of 0 and classes.
        names: value → class, of all classes; segments are numbered from 1 in the same order.
    """
    with needs("medical"):
        import highdicom
        from pydicom.sr.codedict import codes
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    numbers = np.zeros(max(names) + 1, np.uint16)
    numbers[sorted(names)] = np.arange(1, len(names) + 1)
    sources = _complete(volume)
    by = highdicom.AlgorithmIdentificationSequence(
        name="likewise", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=k,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type="SEMIAUTOMATIC",
            algorithm_identification=by,
            display_color=highdicom.color.CIELabColor.from_rgb(*class_colour(k)),
        )
        for k, name in enumerate((names[value] for value in sorted(names)), 1)
    ]
    file = io.BytesIO()
    try:
        pixels: Any = numbers[labels]
        if len(sources) == 1:  # frames in whatever order, see ``multiframe``
            frame = sources[0].FrameOfReferenceUID
            affine = LPS @ np.asarray(volume.affine)
            pixels = highdicom.Volume(pixels, affine, "PATIENT", frame_of_reference_uid=frame)
        segmentation = highdicom.seg.Segmentation(
            sources,
            pixels,
            "BINARY",
            segments,
            series_instance_uid=generate_uid(),
            series_number=300,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="likewise",
            manufacturer_model_name="likewise",
            software_versions=__version__,
            device_serial_number="0",
            content_label="LIKEWISE",
            series_description="likewise",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=False,
        )
        segmentation.save_as(file)
    except (RuntimeError, AttributeError, *DAMAGE) as error:
        raise ImageError(
            f"{volume.path} lacks what a DICOM segmentation must say of it "
            f"({why(error).splitlines()[0]}): convert it to NIfTI, and --resume."
        ) from error
    return file.getvalue()


def _headers(folder: Path) -> list[tuple[Path, Any]]:
    """The files of slices in a folder, without their pixels."""
    with needs("medical"):
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError

    found, other = [], 0
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith(".") or file.name == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            _check_numbers(header)
        except (InvalidDicomError, BytesLengthException, *DAMAGE) as error:
            if file.suffix.lower() in (".dcm", ".dicom", ".ima"):
                raise ImageError(
                    f"{file} is damaged or no DICOM ({why(error)}): copy or download it again, or "
                    "move it away."
                ) from error
            other += 1
            continue
        if header.get("Modality") in NO_PICTURE or "Rows" not in header:
            other += 1
            continue
        if int(header.get("NumberOfFrames") or 1) > 1 or header.get("SamplesPerPixel", 1) != 1:
            raise ImageError(
                f"{file} holds several frames or colours: give a grey file of frames by itself."
            )
        lacking = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        missing = [word for word in lacking if not header.get(word)]
        if missing:
            raise ImageError(
                f"{file} does not say where it lies ({', '.join(missing)}): move it away if it is "
                "no slice of the series."
            )
        found.append((file, header))
    if not found:
        raise ImageError(
            f"{folder} holds no DICOM slices: give the folder of one series, and pictures to "
            "likewise video."
        )
    if other:
        note(folder, f"{other} files in it are no DICOM slices and were left out.")
    return found


def _check_numbers(header: Any) -> None:
    """Raises ValueError for what is no number; elements are only looked into when asked for."""
    for word, count in NUMBERS.items():
        value = header.get(word)
        if value not in (None, ""):
            numbers = np.atleast_1d(np.array(value, np.float64))
            wrong = len(numbers) != count or not np.isfinite(numbers).all()
            if wrong or (word == "PixelSpacing" and numbers.min() <= 0):
                raise ValueError(f"{word} is {value}")
    for word in ("Modality", "SeriesInstanceUID", "NumberOfFrames", "SamplesPerPixel"):
        header.get(word)


def _one_series(slices: list[tuple[Path, Any]], folder: Path) -> list[tuple[Path, Any]]:
    """The same, if all are of one series."""
    series = Counter(str(header.get("SeriesInstanceUID", "")) for _, header in slices)
    if len(series) > 1:
        firsts = [
            next(f.name for f, h in slices if str(h.get("SeriesInstanceUID", "")) == uid)
            for uid in series
        ]
        listed = ", ".join(
            f"{count} from {name} on"
            for name, count in zip(firsts[:4], series.values(), strict=False)
        )
        raise ImageError(
            f"{folder} holds {len(series)} series ({listed}): move all but one to other folders."
        )
    first_file, first = slices[0]
    for file, header in slices[1:]:
        for word, says in (
            ("PixelSpacing", "pixels are"),
            ("ImageOrientationPatient", "orientation is"),
            ("Rows", "rows are"),
            ("Columns", "columns are"),
        ):
            a, b = (np.array(h.get(word), np.float64) for h in (first, header))
            if not np.allclose(a, b, rtol=1e-4, atol=1e-4):
                raise ImageError(
                    f"{folder} mixes spacings: the {says} {_listed(b)} in {file.name} and "
                    f"{_listed(a)} in {first_file.name}: keep the slices of one scan in it."
                )
    return slices


def _sorted(slices: list[tuple[Path, Any]], folder: Path) -> list[tuple[Path, Any]]:
    """By their place along the normal of the slices, if these are evenly spaced."""
    if len(slices) < 2:
        raise ImageError(f"{folder} holds one slice: give it to likewise segment as a picture.")
    across, down = np.array(slices[0][1].ImageOrientationPatient, np.float64).reshape(2, 3)
    normal = np.cross(across, down)
    placed = sorted(
        ((float(np.array(h.ImagePositionPatient, np.float64) @ normal), f, h) for f, h in slices),
        key=lambda one: (one[0], one[1].name),
    )
    gaps = [b[0] - a[0] for a, b in pairwise(placed)]
    usual = float(np.median(gaps))
    for gap, (a, b) in zip(gaps, pairwise(placed), strict=True):
        pair = f"{a[1].name} and {b[1].name}"
        if gap <= 1e-3 or gap < EVEN * usual:
            raise ImageError(
                f"{folder} holds several slices at one place ({pair}): keep one phase or echo of "
                "the series in it."
            )
        if abs(gap - usual) <= EVEN * usual:
            continue
        steps = round(gap / usual)
        if steps > 1 and abs(gap / usual - steps) < 2 * EVEN:
            which = "a slice" if steps == 2 else f"{steps - 1} slices"
            raise ImageError(
                f"{folder} lacks {which} between {pair} ({gap:g} mm, others {usual:g}): copy or "
                "export the series again."
            )
        raise ImageError(
            f"{folder} mixes spacings: {gap:g} mm between {pair}, {usual:g} mm between others: "
            "resample the series to even slices, for instance as NIfTI."
        )
    return [(file, header) for _, file, header in placed]


def _values(slices: Sequence[tuple[Path, Any]]) -> Values:
    """(slices, rows, columns) int16 or float32, in the units of the scanner (CT: Hounsfield)."""
    import pydicom

    values: Values | None = None
    for k, (file, header) in enumerate(slices):
        slope = float(header.get("RescaleSlope", 1) or 1)
        start = float(header.get("RescaleIntercept", 0) or 0)
        with explained(file):
            stored = pydicom.dcmread(file).pixel_array
            plane = stored.astype(np.float32) * np.float32(slope) + np.float32(start)
        if values is None:
            values = np.empty((len(slices), *plane.shape), np.float32)
        values[k] = plane
    assert values is not None
    return small(values)


def small(values: Values) -> Values:
    """Floats as int16 where that loses nothing."""
    low, high = float(values.min()), float(values.max())
    if low >= -32768 and high <= 32767 and (values == np.rint(values)).all():
        return values.astype(np.int16)
    return values


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """What can be wrong with a file that is decoded."""
    from pydicom.errors import InvalidDicomError

    try:
        yield
    except MemoryError as error:
        raise ImageError(f"{file} does not fit in memory: crop or shrink it.") from error
    except (InvalidDicomError, RuntimeError, AttributeError, *DAMAGE) as error:
        raise ImageError(
            f"{file} cannot be decoded ({why(error).splitlines()[0]}): copy it again, or save it "
            "uncompressed, for instance with dcmdjpeg."
        ) from error


def _complete(volume: Volume) -> list[Any]:
    """The headers, with the identifiers that a segmentation must name and anonymising removed."""
    import copy

    from pydicom.uid import generate_uid

    made = {
        word: generate_uid(entropy_srcs=[word, str(volume.path.resolve())])
        for word in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    lacking = set()
    headers = []
    for header in volume.source:
        whole = copy.copy(header)
        for word, uid in made.items():
            if not whole.get(word):
                setattr(whole, word, uid)
                lacking.add(word)
        for word, meta in (
            ("SOPInstanceUID", "MediaStorageSOPInstanceUID"),
            ("SOPClassUID", "MediaStorageSOPClassUID"),
        ):
            if not whole.get(word):
                setattr(whole, word, header.file_meta.get(meta) or generate_uid())
        for word in (
            *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate"),
            *("StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
        ):
            if word not in whole:
                setattr(whole, word, "")
        headers.append(whole)
    if lacking:
        note(
            volume.path,
            f"has no {', '.join(sorted(lacking))}: the segmentation has made-up ones, and viewers "
            "may not find its pictures.",
        )
    return headers


def _listed(numbers: Values) -> str:
    return " × ".join(f"{number:g}" for number in np.atleast_1d(numbers))

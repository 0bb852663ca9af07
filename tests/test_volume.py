"""Volumes: NIfTI, DICOM series and TIFF stacks, their slices, labels and what can be wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

import likewise
from helpers import refusal
from likewise import Segmenter
from likewise.cli import app
from likewise.errors import InputWarning
from likewise.example import FOLDER
from likewise.io.images import read_image
from likewise.io.masks import read_label_map, read_mask
from likewise.volume.annotation import key_slices
from likewise.volume.clip import Slices
from likewise.volume.files import open_volume, read_label_volume, write_labels
from likewise.volume.run import VolumeRun
from likewise.volume.volume import Volume, aligned, cut_of
from likewise.volume.windows import find_window

SHARED = Path(__file__).resolve().parents[2] / "shared" / "formats"
COUNT = 8
TINY = ["--image-size", "112", "--device", "cpu"]
GEOMETRY = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 4.0, 7], [0, 0, 0, 1]])


def coin() -> tuple[np.ndarray, np.ndarray]:
    """(N, 96, 96) int16, a coin that moves from slice to slice, and where it is."""
    grey = read_image(FOLDER / "coin_reference.png").mean(axis=2)
    mask = read_mask(FOLDER / "coin_reference_mask.png")
    scale = 125 / min(mask.shape)
    size = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
    small = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size)).astype(np.int16)
    marked = np.asarray(Image.fromarray(mask).resize(size))
    at = [slice(3 * k, 3 * k + 96) for k in range(COUNT)]
    values = np.stack([small[12:108, where] for where in at]) * 5 - 600
    return values, np.stack([marked[12:108, where] for where in at])


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray = GEOMETRY) -> Path:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed: likewise[medical]")
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"] = b"of the scanner"
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, 1)
    image.set_qform(affine, 3)
    nibabel.save(image, path)
    return path


def write_series(
    folder: Path,
    values: np.ndarray,
    change: Callable[[int, Any], None] = lambda _, header: None,
    first: int = 0,
) -> Path:
    """(N, H, W) int16 as CT slices, 2.5 mm apart, in files whose names are in another order."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: likewise[medical]")
    pytest.importorskip("highdicom", reason="highdicom is not installed: likewise[medical]")
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(exist_ok=True)
    for k, plane in enumerate(values):
        header = pydicom.Dataset()
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
        uid = f"1.2.3.{first + k + 1}"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
        header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", "1.2.4"
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = "1.2.5", ""
        header.Modality, header.PatientID, header.PatientName = "CT", "p", "a^b"
        header.PatientBirthDate = header.PatientSex = header.StudyID = header.AccessionNumber = ""
        header.StudyDate = header.StudyTime = header.ReferringPhysicianName = ""
        header.SeriesNumber, header.InstanceNumber = 1, k + 1
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [0.8, 0.6], 2.5
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        header.ImagePositionPatient = [-20, -30, 100 + 2.5 * (first + k)]
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated = header.BitsStored = 16
        header.HighBit, header.PixelRepresentation = 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
        header.PixelData = (plane + 1024).astype(np.int16).tobytes()
        change(k, header)
        header.save_as(folder / f"{(first + k) * 7 % 31:02d}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(image_size=112, device="cpu")


# which way up


def test_slices_are_upright_whatever_the_order_of_axes() -> None:
    """A mark at the right, another at the front, a third at the head, in all 48 orientations."""
    for axes, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        values = np.zeros((7, 7, 7))  # x to the right, y to the front, z to the head
        values[6, 3, 3], values[3, 6, 3], values[3, 3, 6] = 1, 2, 3
        turned = values.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
        affine = np.zeros((4, 4))
        affine[3, 3] = 1
        for k, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            affine[axis, k] = sign
        volume = Volume(Path("v"), turned, "nifti", affine)
        seen = {}
        for plane in ("axial", "coronal", "sagittal"):
            cut = cut_of(volume, plane)
            slices = cut.slices(turned)
            assert (cut.volume(slices) == turned).all()
            seen[plane] = slices[3]
        assert cut_of(volume) == cut_of(volume, "axial")
        right, front, head = (3, 0), (0, 3), (0, 3)  # row, column: right of the body is at the left
        assert (seen["axial"][right], seen["axial"][front]) == (1, 2)
        assert (seen["coronal"][right], seen["coronal"][head]) == (1, 3)
        assert (seen["sagittal"][3, 0], seen["sagittal"][head]) == (2, 3)


def test_slices_are_along_the_thick_edge_of_voxels() -> None:
    thick = np.diag([1.0, 5.0, 1.0, 1.0])
    volume = Volume(Path("v"), np.zeros((3, 4, 5)), "nifti", thick)
    assert cut_of(volume).order[0] == 1
    assert cut_of(volume, "2").order[0] == 2
    stack = Volume(Path("v"), np.zeros((3, 4, 5)), "stack")
    assert cut_of(stack).order == (0, 1, 2)
    assert "v does not say how it lies in the body" in refusal(cut_of, stack, "axial")
    assert "--axis up is unknown" in refusal(cut_of, stack, "up")


def test_labels_on_other_axes_are_turned(tmp_path: Path) -> None:
    values, mask = coin()
    volume = open_volume(write_nifti(tmp_path / "a.nii.gz", values))
    turned = mask.astype(np.uint8).transpose(2, 0, 1)[:, ::-1]
    affine = GEOMETRY[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 1] * (mask.shape[0] - 1)
    affine[:, 1] *= -1
    labels = read_label_volume(write_nifti(tmp_path / "l.nii.gz", turned, affine), volume)
    assert (labels == mask).all()
    for wrong, said in (
        (mask[:-1], "does not cover"),
        (mask[:, :, 1:], "does not cover"),
    ):
        path = write_nifti(tmp_path / "w.nii.gz", wrong.astype(np.uint8))
        text = refusal(read_label_volume, path, volume)
        assert said in text
        assert "resample it" in text
    for moved in (GEOMETRY + np.eye(4) * 0.2, GEOMETRY * [[1, 1, 1.1, 1]] * 1.0):
        moved[3] = [0, 0, 0, 1]
        path = write_nifti(tmp_path / "w.nii.gz", mask.astype(np.uint8), moved)
        assert "does not lie in space as" in refusal(read_label_volume, path, volume)
    stack = Volume(Path("s.tif"), values, "stack")
    assert "has the shape 3 × 3 × 3" in refusal(aligned, np.zeros((3, 3, 3)), None, stack, "l.tif")


# windows


def test_windows() -> None:
    path, values = Path("v"), np.linspace(-1000, 1000, 10_001).reshape(1, 73, 137)
    assert find_window(values, "lung", path) == (-1350, 150)
    assert find_window(values, "-10, 20.5", path) == (-10, 20.5)
    low, high = find_window(values, None, path)
    assert (round(low), round(high)) == (-990, 990)
    assert find_window((values > 0).astype(np.uint8), None, path) == (0, 255)
    with_nan = np.where(values > 900, np.nan, values)
    assert find_window(with_nan, None, path)[1] < 900
    for wrong in ("ct", "5,1", "1", "nan,2"):
        assert f"--window {wrong} is unknown" in refusal(find_window, values, wrong, path)
    assert "shows nothing of v" in refusal(find_window, values, "2000,3000", path)
    assert "one value everywhere" in refusal(find_window, values * 0, None, path)
    volume = Volume(path, with_nan.repeat(2, axis=0), "stack")
    slices = Slices(volume, cut_of(volume), (-100.0, 100.0))
    (pixels,) = slices.read(range(1))
    assert pixels.shape == (73, 137, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


# formats


def test_nifti_keeps_its_header(tmp_path: Path) -> None:
    values, mask = coin()
    path = write_nifti(tmp_path / "a.nii.gz", values)
    import nibabel

    volume = open_volume(path)
    assert volume.voxel_ml == pytest.approx(0.012)
    names = {300: "coin"}
    write_labels(tmp_path / "l.nii.gz", volume, mask * 300, names)
    a, b = nibabel.load(path), nibabel.load(tmp_path / "l.nii.gz")
    assert (np.asanyarray(b.dataobj) == mask * 300).all()
    assert b.get_data_dtype() == np.uint16
    assert (a.affine == b.affine).all()
    for field in a.header:
        if field not in ("datatype", "bitpix", "scl_slope", "scl_inter", "cal_max", "cal_min"):
            assert (a.header[field] == b.header[field]).all(), field


def test_nifti_that_is_none(tmp_path: Path) -> None:
    values, _ = coin()
    path = write_nifti(tmp_path / "a.nii.gz", values)
    for end in (5, 200, 3000):
        (tmp_path / "cut.nii.gz").write_bytes(path.read_bytes()[:end])
        assert "cut.nii.gz is cut short or damaged" in refusal(open_volume, tmp_path / "cut.nii.gz")
    assert "does not exist" in refusal(open_volume, tmp_path / "no.nii")
    four = np.zeros((3, 4, 5, 2), np.int16)
    assert "three axes" in refusal(open_volume, write_nifti(tmp_path / "b.nii", four))
    ones = write_nifti(tmp_path / "c.nii", four[..., :1])
    assert open_volume(ones).values.shape == (3, 4, 5)
    flat = write_nifti(tmp_path / "d.nii", four[:, :, 0, :1])
    assert "one picture" in refusal(open_volume, flat)
    (tmp_path / "e.xyz").touch()
    assert "e.xyz is no volume" in refusal(open_volume, tmp_path / "e.xyz")


def test_a_series_and_its_segmentation(tmp_path: Path) -> None:
    values, mask = coin()
    folder = write_series(tmp_path / "s", values)
    (folder / "notes.txt").write_text("of the scan")
    import highdicom
    import pydicom

    with pytest.warns(InputWarning, match="1 files in it are no DICOM slices"):
        volume = open_volume(folder)
    assert (volume.values == values).all()
    assert volume.values.dtype == np.int16
    assert volume.spacing == pytest.approx((2.5, 0.8, 0.6))
    assert cut_of(volume).flips == (False, False)
    labels = np.where(mask, 9, 0)
    labels[:, :4] = 4
    write_labels(tmp_path / "l.dcm", volume, labels, {9: "coin", 4: "rim", 5: "nowhere"})
    found = highdicom.seg.segread(tmp_path / "l.dcm")
    assert [s.SegmentLabel for s in found.SegmentSequence] == ["rim", "nowhere", "coin"]
    headers = [pydicom.dcmread(file) for file in folder.glob("*.dcm")]
    series = highdicom.get_volume_from_series(headers)
    own = found.get_volume(combine_segments=True)
    assert own.geometry_equal(series)
    again = read_label_volume(tmp_path / "l.dcm", volume)
    assert (again == np.select([labels == 9, labels == 4], [3, 1])).all()


def test_series_without_identifiers(tmp_path: Path) -> None:
    def anonymise(k: int, header: Any) -> None:
        for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            setattr(header, word, "")
        del header.PatientID, header.StudyTime

    volume = open_volume(write_series(tmp_path / "s", coin()[0], anonymise))
    with pytest.warns(InputWarning, match="has no SeriesInstanceUID, StudyInstanceUID"):
        write_labels(tmp_path / "l.dcm", volume, coin()[1] * 1, {1: "coin"})
    assert (read_label_volume(tmp_path / "l.dcm", volume) == coin()[1]).all()


def test_what_can_be_wrong_with_a_series(tmp_path: Path) -> None:
    values, _ = coin()

    def series(name: str, change: Callable[[int, Any], None], count: int = COUNT) -> str:
        return refusal(open_volume, write_series(tmp_path / name, values[:count], change))

    def away(k: int, header: Any) -> None:
        header.ImagePositionPatient[2] += 2.5 * (k >= 3)

    def uneven(k: int, header: Any) -> None:
        header.ImagePositionPatient[2] += 0.9 * (k >= 3)

    def wide(k: int, header: Any) -> None:
        header.PixelSpacing = [0.8, 0.6 + 0.1 * (k == 2)]

    def twice(k: int, header: Any) -> None:
        header.SeriesInstanceUID = f"1.2.{k % 2}"

    def same(k: int, header: Any) -> None:
        header.ImagePositionPatient[2] = 100 + 2.5 * (k // 2)

    def lost(k: int, header: Any) -> None:
        del header.ImagePositionPatient

    assert "lacks a slice between 14.dcm and 21.dcm (5 mm, others 2.5)" in series("a", away)
    assert "mixes spacings: 3.4 mm between 14.dcm and 21.dcm" in series("b", uneven)
    text = series("c", wide)
    assert "mixes spacings: the pixels are 0.8 × 0.7 in 14.dcm and 0.8 × 0.6 in" in text
    assert "holds 2 series (4 from" in series("d", twice)
    assert "several slices at one place" in series("e", same)
    assert "does not say where it lies (ImagePositionPatient)" in series("f", lost)
    assert "holds one slice" in series("g", lambda k, header: None, 1)
    folder = write_series(tmp_path / "h", values)
    file = folder / "07.dcm"
    file.write_bytes(file.read_bytes()[:-500])
    assert "07.dcm cannot be decoded" in refusal(open_volume, folder)
    file.write_bytes(b"no")
    assert "07.dcm is damaged or no DICOM" in refusal(open_volume, folder)
    (tmp_path / "empty").mkdir()
    assert "holds no DICOM slices" in refusal(open_volume, tmp_path / "empty")
    assert "give the folder of its series" in refusal(open_volume, folder / "00.dcm")


@pytest.mark.parametrize("kind", ["plain", "imagej", "ome"])
def test_stacks_keep_their_spacing(tmp_path: Path, kind: str) -> None:
    values, mask = coin()
    values = (values + 600).astype(np.uint16)
    path, out = tmp_path / "a.tif", tmp_path / "l.tif"
    um = {f"PhysicalSize{a}": s for a, s in zip("XYZ", (0.2, 0.3, 1.5), strict=True)}
    if kind == "ome":
        tifffile.imwrite(path, values, ome=True, metadata={"axes": "ZYX", **um})
    elif kind == "imagej":
        how = {"axes": "ZYX", "spacing": 1.5, "unit": "um"}
        tifffile.imwrite(path, values, imagej=True, resolution=(5, 1 / 0.3), metadata=how)
    else:
        tifffile.imwrite(path, values)
    volume = open_volume(path)
    assert (volume.values == values).all()
    wanted = None if kind == "plain" else pytest.approx((1.5e-3, 0.3e-3, 0.2e-3))
    assert volume.spacing == wanted
    write_labels(out, volume, mask * 7, {7: "coin"})
    again = open_volume(out)
    assert (again.values == mask * 7).all()
    assert again.values.dtype == np.uint8
    assert again.spacing == wanted
    with tifffile.TiffFile(out) as tiff:
        assert (tiff.is_ome, tiff.is_imagej) == (kind == "ome", kind == "imagej")
        assert len(tiff.pages) == COUNT


def test_channels_and_pages_of_stacks(tmp_path: Path) -> None:
    values = (coin()[0] + 600).astype(np.uint16)
    two = np.stack([values, values * 2], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", two, imagej=True, metadata={"axes": "ZCYX"})
    assert "has 2 channels: give --channel 0 to 1" in refusal(open_volume, tmp_path / "a.tif")
    assert (open_volume(tmp_path / "a.tif", 1).values == values * 2).all()
    tifffile.imwrite(tmp_path / "t.tif", two, imagej=True, metadata={"axes": "TZYX"})
    assert "axes TZYX" in refusal(open_volume, tmp_path / "t.tif")
    tifffile.imwrite(tmp_path / "p.tif", values[0])
    assert "p.tif" in refusal(open_volume, tmp_path / "p.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9000])
    assert "cut.tif" in refusal(open_volume, tmp_path / "cut.tif", 0)


def test_black_and_white_pages_each_in_their_own_way(tmp_path: Path) -> None:
    values, mask = coin()
    pages = mask.astype(np.uint8) * 255
    pages[0, 0, 0] = 8  # what a soft edge leaves
    pages[3] //= 255
    tifffile.imwrite(tmp_path / "l.tif", pages)
    volume = Volume(Path("v.tif"), values, "stack")
    with pytest.warns(InputWarning, match="page 3 is not 0 and 255 as others are"):
        labels = read_label_volume(tmp_path / "l.tif", volume)
    assert (labels == mask * 255).all()
    many = np.where(mask, 255, 0)
    many[:, :9], many[:, -9:] = 3, 7
    tifffile.imwrite(tmp_path / "l.tif", many.astype(np.uint8))
    assert (read_label_volume(tmp_path / "l.tif", volume) == many).all()


# annotated slices


def test_key_slices_of_a_label_volume() -> None:
    values, mask = coin()
    volume = Volume(Path("v.tif"), values, "stack")
    slices = Slices(volume, cut_of(volume), (-600.0, 600.0))
    labels = np.where(mask, 9, 0)
    labels[:, :4] = 4
    labels[:2] = labels[5] = 0
    known = key_slices(labels, slices, "l.tif", [2, 4])
    assert (known.labels, known.values) == (("label 4", "label 9"), (4, 9))
    assert (known.frames[2] == np.select([labels[2] == 4, labels[2] == 9], [1, 2])).all()
    known = key_slices(labels, slices, "l.tif", None, [9, 4], ["coin", "rim"])
    assert sorted(known.frames) == [2, 3, 4, 6, 7]
    assert (known.frames[3] == np.select([labels[3] == 9, labels[3] == 4], [1, 2])).all()
    for how, said in (
        ({"numbers": [5]}, "slice 5 of l.tif marks nothing; slices 2 to 7 do"),
        ({"numbers": [2], "classes": [3]}, "slice 2 of l.tif marks nothing of the classes 3"),
        ({"numbers": [2], "classes": [4, 3]}, "no class 3 in the slices 2"),
        ({"numbers": [8]}, "no slice 8 along this axis: its slices are 0 to 7"),
        ({"numbers": [2, 2]}, "given twice"),
        ({"numbers": [2], "names": ["a"]}, "2 classes (4, 9) and 1 --label"),
        ({"classes": [5]}, "l.tif marks nothing of the classes 5"),
    ):
        assert said in refusal(key_slices, labels, slices, "l.tif", **how)
    assert "marks all of it" in refusal(key_slices, labels * 0 + 1, slices, "l.tif", [2])


# runs


def test_a_volume_in_one_call(segmenter: Segmenter, tmp_path: Path) -> None:
    values, mask = coin()
    given = np.zeros(mask.shape, np.uint16)
    given[3] = mask[3] * 500
    found = likewise.segment_volume(values, given, segmenter, names=["coin"])
    assert found.labels.shape == values.shape
    assert set(np.unique(found.labels)) == {0, 500}
    both = (found.labels > 0) & mask
    assert 2 * both.sum() / ((found.labels > 0).sum() + mask.sum()) > 0.85
    assert sorted(found.confidences) == list(range(COUNT))
    (one,) = found.classes
    assert (one.name, one.value, one.ml) == ("coin", 500, None)
    assert one.voxels == (found.labels > 0).sum()
    found.save(tmp_path / "l.tif")
    assert (tifffile.imread(tmp_path / "l.tif") == found.labels).all()
    path = write_nifti(tmp_path / "v.nii.gz", values)
    other = likewise.segment_volume(path, given, segmenter, axis="0")
    # Shown upright, so what the network sees is another picture; the voxels are the same.
    assert ((other.labels > 0) == mask).mean() > 0.9
    assert other.classes[0].ml == pytest.approx(other.classes[0].voxels * 0.012)
    assert "(A, B, C)" in refusal(likewise.segment_volume, values[0], given)


def start(tmp_path: Path, out: Path) -> VolumeRun:
    values, mask = coin()
    volume = open_volume(write_nifti(tmp_path / "v.nii.gz", values))
    labels = np.where(mask, 9, 0)
    labels[:, :4] = 4
    slices = Slices(volume, cut_of(volume, "0"), (-600.0, 600.0))
    return VolumeRun(slices, key_slices(labels, slices, "l", [3], [9, 4], ["coin", "rim"]), out)


def test_a_run_goes_on_and_keeps_what_a_person_made(tmp_path: Path, segmenter: Segmenter) -> None:
    whole = start(tmp_path, tmp_path / "a")
    list(whole.clip.segment(segmenter))
    measured = whole.finish()
    assert [one.value for one in measured] == [9, 4]
    assert measured[0].slices is not None
    part = start(tmp_path, tmp_path / "b")
    steps = part.clip.segment(segmenter)
    for _ in range(4):
        next(steps)
    steps.close()  # as a kill: what is written stays
    assert not part.labels.exists()
    done = list(start(tmp_path, tmp_path / "b").clip.segment(segmenter, resume=True))
    assert [frame.kept for frame in done] == [True] * 4 + [False] * 4
    part.finish()
    assert part.labels.read_bytes() == whole.labels.read_bytes()
    assert np.asarray(Image.open(part.montage)).shape[2] == 3

    theirs = np.zeros(whole.slices.size, np.uint8)
    theirs[:30] = 1
    Image.fromarray(theirs).save(tmp_path / "a" / "masks" / "00006.png")
    again = start(tmp_path, tmp_path / "a")
    assert [frame.number for frame in again.clip.segment(segmenter) if frame.theirs] == [6]
    again.finish()
    labels = read_label_volume(again.labels, again.slices.volume)
    assert (again.slices.cut.slices(labels)[6] == theirs * 9).all()


def test_another_window_is_another_run(tmp_path: Path, segmenter: Segmenter) -> None:
    run = start(tmp_path, tmp_path / "a")
    next(run.clip.segment(segmenter))
    other = start(tmp_path, tmp_path / "a")
    other.slices.window = (-500.0, 0.0)
    text = refusal(other.clip.segment, segmenter, resume=True)
    assert "were not made with this clip" in text


def call(*words: object) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["volume", *map(str, words)])
    return result.exit_code, result.stdout, result.exception


def test_the_command(tmp_path: Path) -> None:
    values, mask = coin()
    path = write_nifti(tmp_path / "v.nii.gz", values)
    labels = write_nifti(tmp_path / "l.nii.gz", (mask * 2).astype(np.uint8))
    common = [path, "--axis", "0", "--slices", "3", "--to", "5", *TINY]
    out = tmp_path / "a"
    code, text, _ = call(*common, "-l", labels, "-o", out, "--label", "coin", "--json")
    report = json.loads(text)
    assert code == 0
    (one,) = report["classes"]
    assert (one["name"], one["value"]) == ("coin", 2)
    assert one["ml"] == pytest.approx(one["voxels"] * 0.012)
    found = read_label_volume(out / "labels.nii.gz", open_volume(path))
    assert (found > 0).sum() == one["voxels"]
    assert not found[6:].any()
    assert {file.name for file in out.iterdir()} == {
        *("labels.nii.gz", "montage.jpg", "masks", "frames.jsonl"),
    }
    # The same from a picture that a person drew on.
    assert call(path, "--axis", "0", "--show", "3", "-o", tmp_path / "p")[0] == 0
    picture = read_image(tmp_path / "p" / "00003.png")
    volume = open_volume(path)
    drawn = cut_of(volume, "0").slices(mask)[3]
    assert picture.shape[:2] == drawn.shape
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "m.png")
    code, text, _ = call(*common, "-m", tmp_path / "m.png", "-o", tmp_path / "b")
    assert code == 0
    assert "mL" in text
    other = read_label_volume(tmp_path / "b" / "labels.nii.gz", volume)
    assert ((other > 0) == (found > 0)).all()
    again = read_label_map(tmp_path / "b" / "masks" / "00003.png")
    assert ((again > 0) == drawn).all()
    for words, said in (
        ([], "annotated slices are needed"),
        (["-l", labels, "--slices", "x"], "--slices x is no list"),
        (["-m", tmp_path / "m.png"], "0 --slices and 1 --mask"),
        (["-m", tmp_path / "m.png", "--slices", "9"], "no slice 9"),
        (["-l", labels, "--from", "9"], "no slices 9 to 7"),
        (["-l", labels, "--channel", "0"], "has no channels"),
        (["-l", labels, "--window", "soup"], "--window soup is unknown"),
    ):
        _, _, error = call(path, "--axis", "0", "-o", tmp_path / "c", *words)
        assert said in str(error)
    _, _, error = call(*common, "-l", out / "labels.nii.gz", "-o", out)
    assert "would overwrite" in str(error)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "v.nii.gz", coin()[0])
    folder = write_series(tmp_path / "s", coin()[0])
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    for source in (path, folder):
        assert "pip install 'likewise[medical]'" in refusal(open_volume, source)


def test_real_files(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared is absent: no CT")
    pytest.importorskip("nibabel", reason="nibabel is not installed: likewise[medical]")
    volume = open_volume(SHARED / "nifti_ct" / "ct_small.nii.gz")
    labels = read_label_volume(SHARED / "nifti_ct" / "ct_labels.nii.gz", volume)
    assert labels.shape == volume.values.shape == (122, 101, 30)
    write_labels(tmp_path / "l.nii.gz", volume, labels, {117: "last"})
    assert (read_label_volume(tmp_path / "l.nii.gz", volume) == labels).all()
    pytest.importorskip("highdicom", reason="highdicom is not installed: likewise[medical]")
    series = open_volume(SHARED / "dicom_ct")
    assert series.values.shape == (20, 512, 512)
    assert series.spacing == pytest.approx((2, 0.9765625, 0.9765625))
    assert series.values.min() == -1024

"""NIfTI, DICOM series and TIFF stacks: read, labels written beside them, what can be wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from helpers import refusal
from likewise.errors import InputWarning
from likewise.volume.files import labels_path, open_volume, read_label_volume, write_labels
from likewise.volume.volume import Volume, cut_of
from scans import COUNT, coin, write_nifti, write_series

SHARED = Path(__file__).resolve().parents[3] / "shared" / "formats"


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


def test_one_file_of_frames(tmp_path: Path) -> None:
    """Is as the series it was made of, and so is its segmentation."""
    values, mask = coin()

    def known(_: int, header: Any) -> None:
        header.ImageType, header.KVP = ["ORIGINAL", "PRIMARY", "AXIAL"], 120
        header.AcquisitionDateTime, header.Manufacturer = "20200101", "x"

    folder = write_series(tmp_path / "series", values, known)
    import highdicom
    import pydicom

    headers = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    names = {"series_instance_uid": highdicom.UID(), "sop_instance_uid": highdicom.UID()}
    converted = highdicom.legacy.LegacyConvertedEnhancedCTImage
    path = tmp_path / "frames.dcm"
    converted(headers, series_number=2, instance_number=1, **names).save_as(path)
    frames, series = open_volume(path), open_volume(folder)
    np.testing.assert_array_equal(frames.values, series.values)
    np.testing.assert_allclose(frames.affine, series.affine)
    assert frames.spacing == pytest.approx(series.spacing)
    labels = np.where(mask, 7, 0).astype(np.uint8)
    write_labels(tmp_path / "labels.dcm", frames, labels, {3: "none", 7: "coin"})
    for volume in (frames, series):
        found = read_label_volume(tmp_path / "labels.dcm", volume)
        np.testing.assert_array_equal(found, np.where(mask, 2, 0))
    assert "one file of DICOM" in refusal(open_volume, folder / "00.dcm")
    image = pydicom.dcmread(path)
    place = image.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0]
    place.ImagePositionPatient = [-20, -30, 500]
    image.save_as(path)
    assert "no evenly spaced slices" in refusal(open_volume, path)


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


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_gets_labels(tmp_path: Path, version: int) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: likewise[micro]")
    values, mask = coin()
    values = (values + 600).astype(np.uint16)
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
    ]
    datasets = []
    for k, step in enumerate((1, 2)):
        level = np.stack([values // 2, values])[:, :, ::step, ::step]
        group.create_array(str(k), data=level, chunks=(1, 1, 64, 64))
        scale = [1.0, 2.0, 0.5 * step, 0.5 * step]
        steps = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
    about = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.update({"ome": {"version": "0.5", **about}} if version == 3 else about)
    assert "2 along its axis c: give --channel 0 to 1" in refusal(open_volume, path)
    volume = open_volume(path, 1)
    assert (volume.values == values).all()
    assert volume.spacing == pytest.approx((2e-3, 0.5e-3, 0.5e-3))
    out = labels_path(volume, tmp_path / "coins")
    assert out == path / "labels" / "coins"
    for value in (9, 7):  # the second takes the place of the first
        write_labels(out, volume, mask * value, {value: "coin", 3: "nowhere"})
    assert (read_label_volume(out, volume) == mask * 7).all()
    inner = zarr.open_group(path, mode="r")
    assert inner["labels/coins/1"].shape == (COUNT, 48, 48)
    told = [inner[name].attrs for name in ("labels", "labels/coins")]
    every, one = (a["ome"] if version == 3 else a for a in told)
    assert every["labels"] == ["coins"]
    (levels,) = one["multiscales"]
    assert [axis["name"] for axis in levels["axes"]] == ["z", "y", "x"]
    assert levels["datasets"][1]["coordinateTransformations"][0]["scale"] == [2.0, 1.0, 1.0]
    label = one["image-label"]
    assert label["source"] == {"image": "../../"}
    assert label["properties"][1] == {"label-value": 7, "class": "coin"}
    assert [colour["label-value"] for colour in label["colors"]] == [3, 7]
    assert sorted(p.name for p in out.parent.iterdir() if p.is_dir()) == ["coins"]
    zarr.open_group(path / "labels" / "theirs", mode="w", zarr_format=version)
    text = refusal(write_labels, path / "labels" / "theirs", volume, mask * 1, {1: "coin"})
    assert "theirs is of another program" in text
    assert "is no image of OME-Zarr" in refusal(open_volume, path / "labels")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "v.nii.gz", coin()[0])
    folder = write_series(tmp_path / "s", coin()[0])
    monkeypatch.setitem(sys.modules, "nibabel", None)
    monkeypatch.setitem(sys.modules, "pydicom", None)
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

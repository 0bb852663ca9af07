"""Clips: frames by number, and which frames are annotated with what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clips import COUNT, camera, write_video
from helpers import refusal
from likewise.errors import InputWarning
from likewise.video.annotation import read_annotations
from likewise.video.frames import open_clip, tell_order

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'likewise[video]'")


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return float(np.abs(a.astype(int) - b.astype(int)).mean()) < 12


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_of_a_video_come_by_number_in_both_directions(tmp_path: Path, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    frames, _ = camera(step=5)
    clip = open_clip(write_video(tmp_path / "a.mp4", frames, codec))
    assert (len(clip), clip.size, clip.rate, clip.name(3)) == (COUNT, (160, 160), 25.0, "00003")
    forwards = list(clip.read(range(COUNT)))
    assert all(map(near, forwards, frames))
    assert not near(forwards[3], frames[9])  # the test can tell frames apart
    for numbers in (range(COUNT - 1, -1, -1), range(11, 2, -3), range(7, 8), range(4, 13, 4)):
        found = list(clip.read(numbers))
        assert len(found) == len(numbers)
        assert all((f == forwards[n]).all() for f, n in zip(found, numbers, strict=True))


def test_reading_backwards_holds_few_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = camera()
    clip = open_clip(write_video(tmp_path / "a.mp4", frames))
    whole = list(clip.read(range(COUNT)))
    monkeypatch.setattr("likewise.video.video_file.HELD", 2 * whole[0].nbytes)
    back = list(clip.read(range(COUNT - 1, -1, -1)))
    assert all((a == b).all() for a, b in zip(back, whole[::-1], strict=True))


def test_a_phone_s_video_is_upright(tmp_path: Path) -> None:
    if not hasattr(av.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write the rotation of a video")
    frames = [f[:120] for f in camera(4)[0]]
    clip = open_clip(write_video(tmp_path / "a.mp4", frames, rotation=90))
    assert clip.size == (160, 120)
    assert near(next(clip.read(range(1))), np.rot90(frames[0]))


def test_a_folder_is_in_natural_order(scene: Path) -> None:
    clip = open_clip(scene / "frames")
    assert [clip.name(k) for k in (0, 2, 10)] == ["f0", "f2", "f10"]
    frames, _ = camera()
    assert all((a == b).all() for a, b in zip(clip.read(range(COUNT)), frames, strict=True))


def drop(path: Path, *numbers: int) -> Path:
    """Take the content of these frames of an AVI away, as recorders do that are too slow."""
    content = bytearray(path.read_bytes())
    table = content.index(b"idx1")
    chunks = [content[at : at + 16] for at in range(table + 8, len(content), 16)]
    at = content.index(b"movi") + 4
    movi = bytearray()
    for number, chunk in enumerate(chunks):
        size = int.from_bytes(chunk[12:], "little")
        kept = 0 if number in numbers else size
        chunk[8:12] = (4 + len(movi)).to_bytes(4, "little")
        chunk[12:] = kept.to_bytes(4, "little")
        movi += b"00dc" + kept.to_bytes(4, "little") + content[at + 8 : at + 8 + kept + kept % 2]
        at += 8 + size + size % 2
    start = content.index(b"movi") + 4
    content[start - 8 : start - 4] = (4 + len(movi)).to_bytes(4, "little")
    tail = b"idx1" + (16 * len(chunks)).to_bytes(4, "little") + b"".join(chunks)
    content = content[:start] + movi + tail
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dropped", [(5, 6), (3,), (12, 13), (1, 4, 13)])
def test_frames_without_content_repeat_the_last(tmp_path: Path, dropped: tuple[int, ...]) -> None:
    if "mjpeg" not in av.codecs_available:
        pytest.skip("this PyAV has no mjpeg")
    frames, _ = camera()
    path = write_video(tmp_path / "a.avi", frames, "mjpeg")
    whole = list(open_clip(path).read(range(COUNT)))
    with pytest.warns(InputWarning, match=f"{len(dropped)} of {COUNT} frames have no content"):
        clip = open_clip(drop(path, *dropped))
    assert len(clip) == COUNT
    shown = [max(k for k in range(n + 1) if k not in dropped) for n in range(COUNT)]
    for numbers in (range(COUNT), range(COUNT - 1, -1, -1), range(dropped[0], COUNT)):
        found = list(clip.read(numbers))
        assert len(found) == len(numbers)
        assert all((f == whole[shown[n]]).all() for f, n in zip(found, numbers, strict=True))
    cut = tmp_path / "cut.avi"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "is cut short: it says 14 frames" in refusal(open_clip, cut)


def test_damage_that_a_decoder_passes_over(tmp_path: Path) -> None:
    if "mjpeg" not in av.codecs_available:
        pytest.skip("this PyAV has no mjpeg")
    frames, _ = camera()
    path = write_video(tmp_path / "a.avi", frames, "mjpeg")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    path.write_bytes(content)
    clip = open_clip(path)
    with pytest.warns(InputWarning, match="is damaged at or near frame"):
        assert len(list(clip.read(range(COUNT)))) == COUNT


def test_a_matroska_file_that_is_cut_short(tmp_path: Path) -> None:
    frames, _ = camera()
    path = write_video(tmp_path / "a.mkv", frames, "ffv1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(InputWarning, match=r"damaged or cut short \(.*\): the \d frames") as told:
        clip = open_clip(path)
    assert len(told) == 1
    assert 0 < len(list(clip.read(range(len(clip))))) == len(clip) < COUNT


def test_annotated_frames_are_named_where_their_names_hold_other_numbers(tmp_path: Path) -> None:
    frames, _ = camera(3)
    for name, frame in zip(("f1", "f2", "f9"), frames, strict=True):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    clip = open_clip(tmp_path)
    tell_order(clip, [0, 7])
    with pytest.warns(InputWarning, match=r"f9\.png: is frame 2: frames are counted from 0"):
        tell_order(clip, [2])


# --- annotations ----------------------------------------------------------------------------------


def test_more_objects_than_can_be_followed_and_other_masks_that_are_none(tmp_path: Path) -> None:
    values = np.arange(16 * 20, dtype=np.uint16).reshape(16, 20)
    path = tmp_path / "m.png"

    def read(pixels: np.ndarray, *more: Path) -> object:
        Image.fromarray(pixels).save(path)
        masks = dict(enumerate([path, *more]))
        return read_annotations(masks, (16, 20), len(masks))

    Image.fromarray(np.kron(values, np.ones((8, 8), np.uint16))).save(path)
    assert "319 objects, more than 255" in refusal(read_annotations, {0: path}, (128, 160), 1)
    assert "319 values all over, which is no mask" in refusal(read, values)
    sixteen = read(np.where(values > 300, 40_000, np.where(values > 255, 255, 0)).astype(np.uint16))
    assert np.unique(sixteen.frames[0]).tolist() == [0, 1, 2]  # here 255 is no void
    assert "marks nothing" in refusal(read, np.zeros((16, 20), np.uint8))
    assert "whole image" in refusal(read, np.full((16, 20), 9, np.uint8))
    assert "m.png is 9 × 16 pixels" in refusal(read, np.eye(16, 9, dtype=np.uint8))
    other = tmp_path / "other.png"
    Image.fromarray(np.eye(16, 20, dtype=np.uint8) * 255).save(other)
    text = refusal(read, (values % 3).astype(np.uint8), other)
    assert "other.png is black and white, and other masks hold the values 1, 2" in text
    one = read(np.eye(16, 20, dtype=np.uint8) * 7, other)
    assert one.labels == ("object 1",)


def test_values_of_label_maps_are_objects(tmp_path: Path) -> None:
    first = np.zeros((8, 9), np.uint8)
    first[:2], first[4:6] = 7, 3
    second = np.zeros((8, 9), np.uint8)
    second[:3], second[7] = 7, 255  # 255 beside others is void
    Image.fromarray(first).save(tmp_path / "a.png")
    Image.fromarray(second).save(tmp_path / "b.png")
    masks = {0: tmp_path / "a.png", 5: tmp_path / "b.png"}
    with pytest.warns(InputWarning, match="255 beside other values is taken for void"):
        known = read_annotations(masks, (8, 9), 6, ["low", "high"])
    assert known.labels == ("low", "high")
    assert (known.frames[0] == np.where(first == 7, 2, first == 3)).all()
    assert (known.frames[5] == 2 * (second == 7)).all()
    text = refusal(read_annotations, masks, (8, 9), 6, ["one"])
    assert "2 objects (values 3, 7) and 1 --label" in text
    assert "no frame 5" in refusal(read_annotations, masks, (8, 9), 5)


def test_soft_edges_are_one_object(tmp_path: Path) -> None:
    soft = np.zeros((40, 40), np.uint8)
    soft[10:30, 10:30], soft[9, 10:30], soft[30, 10:30] = 255, 90, 200
    Image.fromarray(soft).save(tmp_path / "a.png")
    known = read_annotations({0: tmp_path / "a.png"}, (40, 40), 1)
    assert known.labels == ("object 1",)
    assert (known.frames[0] == (soft > 127)).all()

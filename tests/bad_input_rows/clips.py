"""`likewise video`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from bad_input_rows.rows import row
from scenes import SIZE, TINY, cut, grey, run


def video(*more: str, clip: str = "clip", mask: str = "mask.png") -> list[str]:
    """As `segment`, for a folder clip/ of four frames."""
    if clip == "clip":
        Path("clip").mkdir()
        for k, name in enumerate(("reference.png", "a.jpg", "b.jpg", "c.jpg")):
            shutil.copy(name, f"clip/{k}{Path(name).suffix}")
    files = [clip, "--mask", mask, "--out", "out"]
    return ["video", *files, *TINY, "--no-overlay", *more]


def film(path: str, *, codec: str = "mpeg4", **options: str) -> str:
    """A video of 20 frames, or a second of sound."""
    import av

    pixels = np.asarray(Image.open("reference.png").convert("RGB"))
    with av.open(path, "w", options=options) as container:
        if codec == "pcm_s16le":
            sound = container.add_stream(codec, rate=8000)
            wave = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            wave.sample_rate = 8000
            container.mux([*sound.encode(wave), *sound.encode()])
            return path
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for k in range(20):
            moved = np.ascontiguousarray(np.roll(pixels, k, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return path


@row("clip that is not there", 2, r"nowhere\.mp4 does not exist: check its spelling")
def video_missing(_: Path) -> list[str]:
    return video(clip="nowhere.mp4")


@row("clip that is text", 2, r"notes\.txt is no video")
def video_text(_: Path) -> list[str]:
    Path("notes.txt").write_text("Nothing to see here.\n" * 40)
    return video(clip="notes.txt")


@row(
    "clip that is one picture", 2, r"a\.jpg is no video \(.*\): give a video file or a folder of f"
)
def video_picture(_: Path) -> list[str]:
    return video(clip="a.jpg")


@row("clip that is only sound", 2, r"a\.wav holds no pictures, only sound: give a video")
def video_sound(_: Path) -> list[str]:
    return video(clip=film("a.wav", codec="pcm_s16le"))


@row("video cut short, its index lost", 2, r"a\.mp4 is no video that can be read \(Invalid data")
def video_cut(_: Path) -> list[str]:
    cut(film("a.mp4"))
    return video(clip="a.mp4")


@row("video cut short behind its index", 2, r"a\.mp4 is cut short: it says 20 frames and holds ")
def video_cut_late(_: Path) -> list[str]:
    cut(film("a.mp4", movflags="faststart"), 0.6)
    return video(clip="a.mp4")


@row("frames of two sizes", 2, r"clip/2\.jpg is 20 × 30 pixels, but 0\.png is 48 × 40: the frames")
def video_sizes(_: Path) -> list[str]:
    words = video()
    Image.new("RGB", (20, 30)).save("clip/2.jpg")
    return words


@row("two frames of one name", 2, r"clip/1\.jpg and clip/1\.png would share a mask's name")
def video_stems(_: Path) -> list[str]:
    words = video()
    shutil.copy("reference.png", "clip/1.png")
    return words


@row("mask of another size than the clip", 2, r"other\.png is 30 × 30 pixels, but its image is 48")
def video_mask_size(_: Path) -> list[str]:
    grey("other.png", np.eye(30) * 255)
    return video(mask="other.png")


@row("empty mask of a frame", 2, r"empty\.png marks nothing: mark the objects in it\.")
def video_empty_mask(_: Path) -> list[str]:
    grey("empty.png", np.zeros((40, 48)))
    return video(mask="empty.png")


@row(
    "photograph for a mask of a frame",
    2,
    r"photo\.png holds 199 values all over, which is no mask: ",
)
def video_photo_mask(_: Path) -> list[str]:
    grey("photo.png", np.arange(40 * 48).reshape(40, 48) % 200)
    return video(mask="photo.png")


@row("annotated frame beyond the clip", 2, r"the clip has no frame 4: its frames are 0 to 3\.")
def video_beyond(_: Path) -> list[str]:
    return video("--reference-frame", "4")


@row("two annotated frames, one mask", 2, r"2 --reference-frame and 1 --mask were given: give one")
def video_count(_: Path) -> list[str]:
    return video("--reference-frame", "0", "--reference-frame", "2")


@row("a frame annotated twice", 2, r"a --reference-frame was given twice: give one label map for")
def video_twice(_: Path) -> list[str]:
    return video(*["--reference-frame", "1"] * 2, "--mask", "mask.png")


@row(
    "one object, two labels", 2, r"the masks hold 1 objects \(values 255\) and 2 --label were given"
)
def video_labels(_: Path) -> list[str]:
    return video("--label", "one", "--label", "two")


@row("frames beyond the clip", 2, r"clip has no frames 2 to 9: its frames are 0 to 3\.")
def video_range(_: Path) -> list[str]:
    return video("--from", "2", "--to", "9")


@row("masks over the clip", 2, r"the result of out/masks would overwrite out/masks/0\.png: give an",
     masks="masks")  # fmt: skip
def video_over_input(_: Path) -> list[str]:
    words = video()
    Path("out").mkdir()
    Path("clip").rename("out/masks")
    return [words[0], "out/masks", *words[2:]]


@row(
    "video without PyAV",
    2,
    r"video files need PyAV, which is not installed: pip install 'likewise\[video\]', or give a",
    fault=lambda: mock.patch.dict(sys.modules, {"av": None}),
)
def video_without_av(_: Path) -> list[str]:
    Path("a.mp4").write_bytes(b"something")
    return video(clip="a.mp4")


@row(
    "overlay without PyAV",
    2,
    r"overlay\.mp4 needs PyAV, which is not installed: pip install 'likewise\[video\]', or leave",
    fault=lambda: mock.patch.dict(sys.modules, {"av": None}),
)
def video_overlay_without_av(_: Path) -> list[str]:
    return [word for word in video() if word != "--no-overlay"]


@row("damaged frame", 1, r"clip/2\.jpg is cut short or damaged", masks="frames.jsonl masks")
def video_damaged_frame(_: Path) -> list[str]:
    words = video()
    cut("clip/2.jpg", 0.7)
    return words


@row("clip gone on with other settings", 2, r"the masks in out were not made with this clip, these",
     masks="frames.jsonl masks strip.jpg video.json")  # fmt: skip
def video_other_settings(_: Path) -> list[str]:
    words = video()
    assert run(words).code == 0
    return [*words, "--no-memory", "--resume"]

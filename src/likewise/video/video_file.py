"""The frames of a video file, read by number with PyAV."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, LikewiseError, note
from ..io.opening import check_size, why

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

RGB = npt.NDArray[np.uint8]
FOLDER_RATE = 24.0
"""Frames a second of a folder, which does not say."""
HELD = 256 * 2**20
"""Bytes of frames that reading backwards may hold."""
_NOT_VIDEO = ("_pipe", "image2", "tty", "hls", "concat", "dash", "gif")
"""Formats of pictures, text and lists of other files, which FFmpeg opens too."""


def pyav(what: str = "video files need PyAV", instead: str = "give a folder of frames") -> Any:
    """The package. Raises LikewiseError if it is not there."""
    try:
        import av
        import av.stream
    except ImportError as error:
        raise LikewiseError(
            f"{what}, which is not installed: pip install 'likewise[video]', or {instead}."
        ) from error
    # Decoders pass over damage, and only their log says so. It is read here and printed nowhere.
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
    av.logging.set_level(av.logging.ERROR)
    return av


def _faults() -> int:
    """How many errors FFmpeg has logged."""
    return int(pyav().logging.get_last_error()[0])


def _last_fault() -> str:
    return " ".join(pyav().logging.get_last_error()[1][2].split())


@dataclass(frozen=True, eq=False)
class _Index:
    """When the frames of a video are shown, in its own units of time."""

    times: npt.NDArray[np.int64]
    """(n,) ascending, of every frame; a time again where a frame repeats the last one."""
    keys: list[int]
    """Ascending, of those that decoding can begin at."""


class Video:
    """A video file, decoded by PyAV (FFmpeg) from the nearest key frame on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = False
        """Whether it was said that some of it is damaged."""
        if not path.exists():
            raise ImageError(f"{path} does not exist: check its spelling and folder.")
        with self._opened() as (_, stream):
            self.rate = float(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
        self.size = next(self.read(range(1))).shape[:2]

    def __len__(self) -> int:
        return len(self._index.times)

    def name(self, number: int) -> str:
        return f"{number:05d}"

    def file_name(self, number: int) -> str:
        return f"{self.path.stem}/{self.name(number)}.jpg"

    def picture(self, number: int) -> Path:
        return self.path / self.name(number)

    def files(self) -> Sequence[Path]:
        return [self.path]

    def read(self, numbers: range) -> Iterator[RGB]:
        if not numbers:
            return
        if numbers.step > 0:
            yield from self._forwards(numbers)
            return
        # Decoders only know one direction: short runs of frames are kept, then turned round.
        most = max(1, HELD // (3 * int(np.prod(self.size))))
        for start in range(0, len(numbers), most):
            yield from reversed(list(self._forwards(numbers[start : start + most][::-1])))

    @cached_property
    def _index(self) -> _Index:
        """Read without decoding anything."""
        times, keys, timeless, held = [], [], False, 0
        faults = _faults()
        with self._opened() as (container, stream):
            for packet in container.demux(stream):
                held += bool(packet.size)
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    timeless = True
                else:
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            # In AVI a frame without content repeats the last one, and times are frame numbers.
            repeats = container.format.name == "avi" and not timeless and bool(times)
            if repeats:
                held = max(max(times) + 1, stream.frames * _is_whole_riff(self.path))
            if held < stream.frames:
                raise ImageError(
                    f"{self.path} is cut short: it says {stream.frames} frames and holds {held}; "
                    "copy or download it again."
                )
        if timeless:
            raise ImageError(
                f"{self.path} does not say when its frames are shown: convert it to MP4."
            )
        if not times:
            raise ImageError(f"{self.path} holds no frame: give another video.")
        shown = np.unique(times)
        if _faults() > faults:
            self._told = True
            said = f"is damaged or cut short ({_last_fault()})"
            note(self.path, f"{said}: the {len(shown)} frames that it holds are used.")
        if repeats and len(shown) < held:
            note(
                self.path,
                f"{held - len(shown)} of {held} frames have no content and repeat the last.",
            )
            shown = shown[np.searchsorted(shown, np.arange(held), side="right").clip(1) - 1]
        return _Index(shown, sorted(keys))

    def _forwards(self, numbers: range) -> Iterator[RGB]:
        index = self._index
        done, faults = 0, _faults()
        with self._opened() as (container, stream):
            for frame in self._decoded(container, stream, numbers[0]):
                time = index.times[numbers[done]]
                if frame.pts < time and not done:
                    faults = _faults()  # before the first, a decoder may miss frames to begin with
                elif _faults() > faults and not self._told:
                    self._told = True
                    said = f"is damaged at or near frame {numbers[done]} ({_last_fault()})"
                    note(self.path, f"{said}: what is found there may be wrong.")
                if frame.pts > time:
                    raise self._damaged(numbers[done], "the decoder left it out")
                while frame.pts == index.times[numbers[done]]:
                    yield self._upright(frame, numbers[done])
                    done += 1
                    if done == len(numbers):
                        return
        raise self._damaged(numbers[done], "the decoder ended before it")

    def _decoded(
        self, container: InputContainer, stream: VideoStream, number: int
    ) -> Iterator[VideoFrame]:
        """Frames in order, the first not after that number; what is damaged is explained."""
        av = pyav()
        time = int(self._index.times[number])
        before = self._index.keys[: bisect_right(self._index.keys, time)]
        try:
            # A key frame may be followed by some that need the one before it: go back further then.
            for key in [*before[:-3:-1], None]:
                if key is None:
                    container.seek(0, backward=True)
                else:
                    container.seek(key, stream=stream, backward=True)
                frames = container.decode(stream)
                first = next((f for f in frames if f.pts is not None), None)
                if first is not None and (first.pts or 0) <= time:
                    break
            if first is not None:
                yield first
            yield from (f for f in frames if f.pts is not None)
        except av.FFmpegError as error:
            raise self._damaged(number, why(error)) from error

    def _upright(self, frame: VideoFrame, number: int) -> RGB:
        """(H, W, 3) uint8; phones store turned pictures and say so."""
        turns = round(getattr(frame, "rotation", 0) / 90) % 4
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), turns)
        if pixels.shape[:2] != getattr(self, "size", pixels.shape[:2]):
            raise self._damaged(number, "the size of the picture changes")
        return np.ascontiguousarray(pixels)

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        """The file and its video, with what can be wrong with it explained."""
        av = pyav()
        try:
            # Nothing else: playlists would have other files read, or the network asked.
            container = av.open(str(self.path), options={"protocol_whitelist": "file"})
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ImageError(
                f"{self.path} is no video that can be read ({why(error)}): give a video file or a "
                "folder of frames."
            ) from error
        with container:
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if any(part in container.format.name for part in _NOT_VIDEO):
                raise ImageError(
                    f"{self.path} is no video ({container.format.name}): give a video file or a "
                    "folder of frames."
                )
            if not streams:
                raise ImageError(f"{self.path} holds no pictures, only sound: give a video file.")
            check_size(streams[0].height, streams[0].width, str(self.path))
            streams[0].codec_context.thread_count = 1  # its log is read by this thread
            yield container, streams[0]

    def _damaged(self, number: int, reason: str) -> ImageError:
        return ImageError(
            f"{self.path} is damaged at frame {number} or later ({reason}): copy or download it "
            "again, or convert it with another program."
        )


def _is_whole_riff(path: Path) -> bool:
    """Whether a file is as long as its RIFF header says."""
    with path.open("rb") as file:
        return path.stat().st_size == 8 + int.from_bytes(file.read(8)[4:], "little")

"""Segmenting a clip into a folder, to go on with after any stop as if there had been none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.folder import claim
from ..errors import LikewiseError, WriteError
from ..images import write_label_map
from ..pictures import class_colour
from ..writing import write_whole
from .annotation import Annotations
from .frames import Clip
from .outputs import read_label_map, write_coco_video, write_overlay, write_strip
from .propagate import Past, order, propagate
from .track import Params, default_params

if TYPE_CHECKING:
    from ..segmenter import Segmenter

LOG = "frames.jsonl"
"""One line that says with what, then one a finished frame: its confidences and areas."""


@dataclass(frozen=True)
class Done:
    """One frame whose mask is on disk."""

    number: int
    mask: Path
    confidences: tuple[float, ...]
    """0..1 of each object."""
    areas: tuple[float, ...]
    """Share of the picture, 0..1, of each object."""
    kept: bool = False
    """Of an earlier run."""


class Run:
    """One clip, one folder: ``masks/``, ``frames.jsonl`` and what ``finish`` makes of them.

    Args:
        clip: its frames.
        annotations: which are known.
        out: the folder; made if it is not there.
        wanted: the frames to segment, ascending; all by default. The annotated ones come too.
        inputs: files that must not be overwritten.

    Raises:
        LikewiseError: if a result would replace an input, or the folder cannot be written to.
    """

    def __init__(
        self,
        clip: Clip,
        annotations: Annotations,
        out: Path,
        wanted: range | None = None,
        inputs: tuple[Path, ...] = (),
    ) -> None:
        self.clip, self.annotations, self.out = clip, annotations, out
        self.wanted = range(len(clip)) if wanted is None else wanted
        self.order = order(sorted(annotations.frames), self.wanted)
        files = [self.mask(number) for number in self.order]
        files += [out / name for name in (LOG, "overlay.mp4", "video.json", "strip.jpg")]
        sources = (*clip.files(), *inputs)
        claim(out / "masks", [(clip.path, file) for file in files], inputs=sources)

    def mask(self, number: int) -> Path:
        """Where the label map of a frame goes."""
        return self.out / "masks" / f"{self.clip.name(number)}.png"

    def segment(
        self,
        segmenter: Segmenter,
        *,
        params: Params | None = None,
        memory: bool = True,
        resume: bool = False,
    ) -> Iterator[Done]:
        """Segment what is not done yet.

        Args:
            segmenter: backbone, method and refiner; its references are replaced.
            params: of the tracker; default ``default_params``.
            memory: false looks at every frame alone.
            resume: go on after an earlier run.

        Yields:
            One a frame, its mask already whole on disk, in the order of ``order``.

        Raises:
            LikewiseError: if a frame cannot be read, the disk refuses a mask, or the folder holds
                what was made otherwise.
        """
        # Not a generator: what is wrong with the folder is said at once.
        params = params or default_params(segmenter.method)
        labels = self.annotations.labels
        key = self._key(segmenter, params, memory)
        head = json.dumps({"run": key, "labels": labels})
        lines = self._lines(head) if resume else []
        write_whole(self.out / LOG, "".join(f"{line}\n" for line in [head, *lines]).encode())
        return self._segment(segmenter, params, memory, lines)

    def _segment(
        self, segmenter: Segmenter, params: Params, memory: bool, lines: list[str]
    ) -> Iterator[Done]:
        labels, past = self.annotations.labels, None
        if lines:
            last = json.loads(lines[-1])
            past = Past(len(lines), last["remembered"], lambda n: read_label_map(self.mask(n)))
        for line in lines:
            yield self._done(json.loads(line), kept=True)
        palette = [(0, 0, 0), *(class_colour(k) for k in range(1, len(labels) + 1))]
        found = propagate(
            *(self.clip, self.annotations, segmenter, self.wanted),
            params=params,
            memory=memory,
            past=past,
        )
        for frame in found:
            mask = self.mask(frame.number)
            write_label_map(mask, frame.label_map, palette)
            areas = tuple(float((frame.label_map == k).mean()) for k in range(1, len(labels) + 1))
            entry = {
                "number": frame.number,
                "confidences": frame.confidences,
                "areas": areas,
                "remembered": frame.remembered,
            }
            try:
                with (self.out / LOG).open("a", encoding="utf-8") as log:
                    log.write(f"{json.dumps(entry)}\n")
            except OSError as error:
                raise WriteError(
                    f"{self.out / LOG} cannot be written ({error.strerror}): free some space."
                ) from error
            yield self._done(entry)

    def _done(self, line: Mapping[str, Any], kept: bool = False) -> Done:
        """From what the log says of a frame."""
        mask = self.mask(line["number"])
        return Done(line["number"], mask, tuple(line["confidences"]), tuple(line["areas"]), kept)

    def finish(self, overlay: bool = True) -> list[Path]:
        """Write what is made of all masks; returns the files.

        Raises:
            LikewiseError: if a mask is missing, or a file cannot be written.
        """
        numbers = sorted(self.order)
        strip, coco, film = (self.out / name for name in ("strip.jpg", "video.json", "overlay.mp4"))
        write_coco_video(self.clip, numbers, self.mask, self.annotations.labels, coco)
        write_strip(self.clip, numbers, self.mask, strip)
        if not overlay:
            return [coco, strip]
        write_overlay(self.clip, self.wanted, self.mask, film)
        return [coco, strip, film]

    def _lines(self, head: str) -> list[str]:
        """The log's whole lines of frames whose masks are there, as far as they are in order."""
        try:
            text = (self.out / LOG).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise LikewiseError(
                f"{self.out / LOG} cannot be read: leave out --resume, or give another --out."
            ) from error
        first, *lines = text.split("\n")[:-1] or [""]  # what a kill left of a line is dropped
        if first != head:
            raise LikewiseError(
                f"the masks in {self.out} were not made with this clip, these annotations and "
                "settings: leave out --resume, or give another --out."
            )
        whole = []
        for line, number in zip(lines, self.order, strict=False):
            if not self.mask(number).is_file():
                break
            whole.append(line)
        return whole

    def _key(self, segmenter: Segmenter, params: Params, memory: bool) -> str:
        """Of everything that masks depend on."""
        encoder, clip = segmenter.encoder, self.clip
        settings: list[Any] = [
            *(asdict(params), memory, segmenter.method, asdict(segmenter.params)),
            *(segmenter.refiner, encoder.backbone.identity, encoder.backbone.block),
            *(encoder.input_size, encoder.rank, str(encoder.dtype), encoder.device.type),
            *(clip.path.name, len(clip), clip.size, self.order),
        ]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for number, label_map in sorted(self.annotations.frames.items()):
            digest.update(f"{number} {label_map.shape} ".encode() + label_map.tobytes())
        digest.update(next(clip.read(range(1))).tobytes())
        return digest.hexdigest()

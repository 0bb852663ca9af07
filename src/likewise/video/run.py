"""Segmenting a clip into a folder, to go on with after any stop as if there had been none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, LikewiseError
from ..io.draw import class_palette
from ..io.encoding import encode_label_map
from ..io.files import refused, write_whole
from ..io.masks import read_label_map
from ..run.jobs import check_outputs
from ..run.manifest import Manifest
from .annotation import MARKED, Annotations
from .frames import Clip
from .outputs import write_coco_video, write_overlay, write_strip
from .propagate import Past, order, propagate
from .tracker import LabelMap, Params, default_params

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
    theirs: bool = False
    """The mask was there, made or changed by a person, and was kept."""


class ClipRun:
    """One clip, one folder: ``masks/``, ``frames.jsonl`` and what ``finish`` makes of them.

    In ``masks/`` are the two files of ``manifest`` as well.

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
        check_outputs(out / "masks", [(clip.path, file) for file in files], inputs=sources)
        self.manifest = Manifest(out / "masks")

    def mask(self, number: int) -> Path:
        """Where the label map of a frame goes."""
        return self.out / "masks" / f"{self.clip.name(number)}.png"

    def label_map(self, number: int) -> LabelMap:
        """(H, W) of a frame from its mask on disk: 0 nothing, k the k-th object.

        Raises:
            ImageError: if it cannot be read, or holds other values than ``labels.json``.
        """
        mask, labels = self.mask(number), self.annotations.labels
        found = read_label_map(mask, size=self.clip.size)
        numbers = [self.manifest.numbers.get(label, 0) for label in labels]
        if len(labels) == 1 and found.max() == MARKED and numbers != [MARKED]:
            found = np.where(found == MARKED, numbers[0], found)  # a person's, black and white
        if unknown := sorted(set(np.unique(found).tolist()) - {0, *self.manifest.numbers.values()}):
            raise ImageError(
                f"{mask} holds the value {unknown[0]}, which labels.json beside it does not name: "
                "draw with the values there, or delete the mask."
            )
        label_map = np.zeros(found.shape, np.uint8)
        for k, value in enumerate(numbers, 1):
            label_map[found == value] = k
        return label_map

    def segment(
        self,
        segmenter: Segmenter,
        *,
        params: Params | None = None,
        memory: bool = True,
        resume: bool = False,
        overwrite: bool = False,
    ) -> Iterator[Done]:
        """Segment what is not done yet.

        Args:
            segmenter: backbone, method and refiner; its references are replaced.
            params: of the tracker; default ``default_params``.
            memory: false looks at every frame alone.
            resume: go on after an earlier run.
            overwrite: also masks that a person made or changed.

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
        return self._segment(segmenter, params, memory, lines, overwrite, key)

    def _segment(
        self,
        segmenter: Segmenter,
        params: Params,
        memory: bool,
        lines: list[str],
        overwrite: bool,
        key: str,
    ) -> Iterator[Done]:
        labels, past = self.annotations.labels, None
        # A class keeps its number in masks/ for ever, whatever the order of objects is now.
        numbers = self.manifest.allot(labels, label_maps=True)
        table = np.array(
            [0, *numbers.values()], np.uint16 if max(numbers.values()) > 255 else np.uint8
        )
        if lines:
            last = json.loads(lines[-1])
            past = Past(len(lines), last["remembered"], self.label_map)
        for line in lines:
            yield self._done(json.loads(line), kept=True)
        palette = class_palette(int(table.max()))
        found = propagate(
            *(self.clip, self.annotations, segmenter, self.wanted),
            params=params,
            memory=memory,
            past=past,
        )
        for frame in found:
            mask = self.mask(frame.number)
            theirs = mask.exists() and not overwrite and not self.manifest.is_ours(mask)
            if theirs:
                label_map = self.label_map(frame.number)
            else:
                label_map = frame.label_map
                content = encode_label_map(mask, table[label_map], palette)
                self.manifest.write(mask, content, self.clip.picture(frame.number), key)
            areas = tuple(float((label_map == k).mean()) for k in range(1, len(labels) + 1))
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
                raise refused(self.out / LOG, error) from error
            yield self._done(entry, theirs=theirs)

    def _done(self, line: Mapping[str, Any], kept: bool = False, theirs: bool = False) -> Done:
        """From what the log says of a frame."""
        number, confidences, areas = line["number"], line["confidences"], line["areas"]
        mask = self.mask(number)
        return Done(number, mask, tuple(confidences), tuple(areas), kept, theirs)

    def finish(self, overlay: bool = True) -> list[Path]:
        """Write what is made of all masks; returns the files.

        Raises:
            LikewiseError: if a mask is missing, or a file cannot be written.
        """
        numbers = sorted(self.order)
        strip, coco, film = (self.out / name for name in ("strip.jpg", "video.json", "overlay.mp4"))
        write_coco_video(self.clip, numbers, self.label_map, self.annotations.labels, coco)
        write_strip(self.clip, numbers, self.label_map, strip)
        if not overlay:
            return [coco, strip]
        write_overlay(self.clip, self.wanted, self.label_map, film)
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
        first = min(self.annotations.frames)
        digest.update(next(clip.read(range(first, first + 1))).tobytes())
        return digest.hexdigest()

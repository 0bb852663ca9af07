"""Segmenting a clip into a folder; a run can be resumed after any stop, with the same masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ImageError, LikewiseError
from ..io.files import refused, remove_parts, write_whole
from ..io.hashing import fingerprint
from ..io.images import Picture
from ..io.masks import read_label_map
from ..run.jobs import Job, check_outputs
from ..run.labels import MARKED
from ..run.manifest import Manifest
from ..run.outcomes import Outcome, SegmentedJob
from ..run.runner import KeepCheck, segment_files
from .annotation import Annotations
from .frames import Clip
from .outputs import write_coco_video, write_overlay, write_strip
from .propagate import Past, SegmentedFrame, order, propagate
from .tracker import LabelMap, Params, default_params

if TYPE_CHECKING:
    from ..segmenter import Segmenter

LOG = "frames.jsonl"
"""One line that says with what, then one a finished frame: its confidences and areas."""


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
        self.jobs = [Job(clip.picture(n), self.mask(n), None) for n in self.order]
        files = [job.mask for job in self.jobs]
        files += [out / name for name in (LOG, "overlay.mp4", "video.json", "strip.jpg")]
        sources = (*clip.files(), *inputs)
        check_outputs(out / "masks", [(clip.path, file) for file in files], inputs=sources)
        self.manifest = Manifest(out / "masks")
        self.manifest.check()

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
    ) -> Iterator[Outcome]:
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
        run = self._key(segmenter, params, memory)
        remove_parts((self.out, self.out / "masks"))
        labels = self.annotations.labels
        head = json.dumps({"run": run, "labels": labels})
        lines = self._lines(head) if resume else []
        new: dict[int, SegmentedFrame] = {}

        def frames(kept: KeepCheck) -> Iterator[tuple[Job, SegmentedJob | Outcome]]:
            """Those that are kept, as far as they are in order, and then the others."""
            done = list[Outcome]()
            for job in self.jobs[: len(lines)]:
                if isinstance(outcome := kept(job), str):
                    break
                done.append(outcome)
            log = [head, *lines[: len(done)]]
            write_whole(self.out / LOG, "".join(f"{line}\n" for line in log).encode())
            for job, outcome, line in zip(self.jobs, done, lines, strict=False):
                yield job, replace(outcome, area=sum(json.loads(line)["areas"]))
            past = None
            if done:
                past = Past(len(done), json.loads(log[-1])["remembered"], self.label_map)
            known = self.clip, self.annotations, segmenter, self.wanted
            found = propagate(*known, params=params, memory=memory, past=past)
            for job, frame in zip(self.jobs[len(done) :], found, strict=True):
                new[frame.number] = frame
                yield job, SegmentedJob(job, Picture(frame.pixels), frame.result, 0.0)

        # A class keeps its number in masks/ for ever, whatever the order of objects is now.
        given = self.manifest.allot(labels, label_maps=True)
        outcomes = segment_files(
            *(segmenter, self.jobs, self.manifest),
            {str(k): given[label] for k, label in enumerate(labels, 1)},
            run=run,
            resume=resume,
            overwrite=overwrite,
            source=frames,
        )
        return self._logged(outcomes, new)

    def _logged(
        self, outcomes: Iterable[Outcome], new: dict[int, SegmentedFrame]
    ) -> Iterator[Outcome]:
        """Note every frame that is not kept in the log, once its mask is written."""
        for number, outcome in zip(self.order, outcomes, strict=True):
            if outcome.error is not None:
                raise LikewiseError(outcome.error)
            if (frame := new.pop(number, None)) is None:
                yield outcome
                continue
            label_map = self.label_map(number) if outcome.by_hand else frame.label_map
            areas = [float((label_map == k).mean()) for k in range(1, len(frame.confidences) + 1)]
            entry = {
                "number": number,
                "confidences": frame.confidences,
                "areas": areas,
                "remembered": frame.remembered,
            }
            try:
                with (self.out / LOG).open("a", encoding="utf-8") as log:
                    log.write(f"{json.dumps(entry)}\n")
            except OSError as error:
                raise refused(self.out / LOG, error) from error
            yield replace(outcome, area=sum(areas))

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
        """The log's whole lines: of frames that are done, in order."""
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
        return lines

    def _key(self, segmenter: Segmenter, params: Params, memory: bool) -> str:
        """Of everything that masks depend on."""
        clip = self.clip
        first = min(self.annotations.frames)
        pixels = next(clip.read(range(first, first + 1)))
        shown = clip.path.name, len(clip), clip.size, pixels
        device = segmenter.encoder.device.type
        how = segmenter.settings_fingerprint, device, params, memory
        return fingerprint(how, shown, self.order, self.annotations.frames)

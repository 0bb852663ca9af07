"""Images segmented into a folder of masks, all input checked before the backbone is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..class_names import check_classes
from ..io.decoding import PATH
from ..io.files import remove_parts
from ..io.hashing import fingerprint
from ..io.planes import Choice
from ..methods import DEFAULT, check_consensus, make_params
from ..reference import Example, Reference, as_references
from ..reference_file import read_info
from .jobs import check_apart, plan
from .manifest import LABELS, MANIFEST, Manifest
from .prompts_file import add_prompts
from .runner import run_key, segment_files
from .targets import find_images

if TYPE_CHECKING:
    from .outcomes import Outcome


class FolderRun:
    """One run of images into a folder of masks, as ``likewise segment`` does it.

    Examples:
        >>> from likewise.run.folder import FolderRun
        >>> references = [("coin.jpg", "coin_mask.png")]
        >>> for outcome in FolderRun("photos/", "masks/", references, backbone="vitl"):
        ...     print(outcome.target, outcome.state)

    Iterating segments: one ``Outcome`` a target, its files whole on disk. A target that cannot be
    read is an outcome with an error; a disk that refuses a file raises WriteError.

    Args:
        targets: what ``find_images`` takes: files, folders, glob patterns.
        out: folder for ``<stem>.png``, ``labels.json`` and ``manifest.jsonl``; made if need be.
        references: as for ``Segmenter.fit``, or a file of ``Segmenter.save``.
        only: classes to take from the file; all by default.
        overlay: also write ``<stem>_overlay.jpg``.
        instances: also write ``<stem>.instances.json``: the objects of each class told apart.
        resume: keep masks that this run would make again.
        overwrite: also replace masks that a person made or changed.
        consensus: let targets that follow each other become references of each other.
        prompts: JSON file of what corrects targets, see ``prompts_file``.
        suffix: of the masks, after the stem of their images.
        inputs: further files that must not be overwritten.
        page, channels, mpp, level: which picture of each target, as in ``Plane``; references that
            are one already are read as they say.
        settings: fields of the method's ``Params``, where ``method`` is a name or the file's.
        options: of ``Segmenter``; what is not given is as in the references file.

    Attributes:
        jobs: one a target, in order.
        segmenter: with the references fitted.
        numbers: class → its value in the masks, as in ``labels.json``.
        reference_count: how many references there are, with negative ones.

    Raises:
        LikewiseError: if anything cannot be used; nothing but the folder is written by then.
    """

    def __init__(
        self,
        targets: str | PathLike[str] | Iterable[str | PathLike[str]],
        out: str | Path,
        references: Example | Sequence[Example] | str | PathLike[str],
        *,
        only: Sequence[str] = (),
        overlay: bool = False,
        instances: bool = False,
        resume: bool = False,
        overwrite: bool = False,
        consensus: bool = False,
        prompts: Path | None = None,
        suffix: str = ".png",
        inputs: Iterable[Path] = (),
        page: int | None = None,
        channels: tuple[int, ...] = (),
        mpp: float | None = None,
        level: int | None = None,
        settings: Mapping[str, Any] = {},
        **options: Any,
    ) -> None:
        self._resume, self._overwrite, self._consensus = resume, overwrite, consensus
        choice = Choice(page, channels, mpp, level)
        file, examples = None, list[Reference]()
        if isinstance(references, PATH):
            file = Path(references)
        else:
            examples = as_references(references)

        # 1. Everything that can be wrong with the input, before the seconds that a backbone takes.
        inputs = [*inputs, *files_of(examples)]
        if file is None:
            labels = [r.label for r in examples if not r.negative]
            self.reference_count = len(examples)
            method = options.get("method", DEFAULT)
            if isinstance(method, str):
                options["method"] = make_params(method, settings)
        else:
            info = read_info(file)
            only = check_classes(only, list(info.classes)) if only else []
            labels = [label for label in info.classes if not only or label in only]
            self.reference_count = len(info.shots)
            options = info.options(settings, **options)
            inputs.append(info.path)
        labels = list(dict.fromkeys(labels))
        if consensus:
            check_consensus(options["method"].method)
        found = find_images(targets)
        places = [Path(out) / name for name in (LABELS, MANIFEST)]
        check_apart([(place, place) for place in places], [*found, *inputs])
        self._manifest = Manifest(Path(out))
        jobs = plan(
            found,
            self._manifest,
            overlay=overlay,
            instances=instances,
            inputs=[*inputs, *([prompts] if prompts else [])],
            suffix=suffix,
        )
        jobs = [replace(job, choice=choice) for job in jobs]
        self.jobs = jobs if prompts is None else add_prompts(jobs, prompts, labels)

        # 2. The backbone, the references and the numbers of the classes.
        from ..segmenter import Segmenter

        self.segmenter = Segmenter(**options)
        if file is None:
            self.segmenter.fit(examples)
            if self.segmenter.encoder.runtime != "torch":
                from ..agreement import check_agreement

                check_agreement(self.segmenter, examples)
        else:
            self.segmenter.load(file, only or None)
        self.numbers = self._manifest.allot(labels, label_maps=len(labels) > 1)
        key = run_key(self.segmenter, self.numbers, consensus)
        size = ({name: choice.said[name]} for name in ("mpp", "level") if name in choice.said)
        self._run = fingerprint(key, page, channels, *size) if choice.said else key

    def __iter__(self) -> Iterator[Outcome]:
        remove_parts({job.mask.parent for job in self.jobs})
        return segment_files(
            *(self.segmenter, self.jobs, self._manifest, self.numbers),
            run=self._run,
            resume=self._resume,
            overwrite=self._overwrite,
            consensus=self._consensus,
        )


def files_of(references: Iterable[Reference]) -> list[Path]:
    """The image and mask files that references were not yet read from."""
    parts = [part for r in references for part in (r.image, r.mask)]
    return [Path(part) for part in parts if isinstance(part, PATH)]

"""Validation during training: mIoU on held-out episodes or held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import LikewiseError
from ....methods.segic import SegICParams
from ....methods.segic.files import Trained, save_decoder
from .samples import Draw, Samples, encode_pairs
from .step import Mixed, ask, ious

if TYPE_CHECKING:
    from ....backbones.encoder import Encoder
    from ....methods.segic.decoder import Decoder
    from ...evaluation.episodes import Trial
    from .config import Config
    from .processes import Processes

HELD_OUT = 1 << 40
"""Number of the first held-out pair; training never reaches it."""
Judge = Callable[["Decoder"], float]


def held_out_trials(config: Config) -> list[Trial]:
    """The episodes of `[validation]`.

    Raises:
        LikewiseError: if the list or a file of it cannot be used.
    """
    from ...evaluation.episodes import check_files, choose, read_episodes

    v = config.validation
    file = config.path(v.episodes)
    listed = read_episodes([file], config.path(v.root) if v.root else file.parent)
    known = sorted({e.dataset for e in listed})
    for name in v.sets:
        if name not in known:
            raise LikewiseError(
                f"[validation] sets: {file} has no set {name!r}; use some of {', '.join(known)}."
            )
    others = [name for name in known if v.sets and name not in v.sets]
    trials = choose(listed, exclude=others, limit=v.limit or None)
    check_files(trials)
    return trials


def judge(
    config: Config, encoder: Encoder, draw: Draw, folder: Path, all_: Processes
) -> Judge | None:
    """A function: decoder → mIoU 0..100, computed by all processes; None without validation.

    Args:
        config: gives `[validation]`.
        encoder: of the features.
        draw: of the pairs.
        folder: the decoder is written there for the run on episodes.
        all_: the processes.

    Raises:
        LikewiseError: if the held-out data cannot be read.
    """
    if config.validation.episodes:
        return _on_episodes(encoder, held_out_trials(config), folder, config.text, all_)
    if config.validation.pairs:
        numbers = range(HELD_OUT + all_.rank, HELD_OUT + config.validation.pairs, all_.count)
        pairs = [draw(config.data_seed, number) for number in numbers]
        held = [encode_pairs(encoder, [pair]) for pair in pairs]
        return _on_pairs(encoder, held, config.text, all_)
    return None


def _on_episodes(
    encoder: Encoder, trials: Sequence[Trial], folder: Path, text: str, all_: Processes
) -> Judge:
    from ....segmenter import Segmenter
    from ...evaluation.cache import TimedEncoder
    from ...evaluation.metrics import mean_miou
    from ...evaluation.runner import run_trials

    # Cached on disk, since every validation runs the same episodes.
    cached = TimedEncoder(
        encoder.backbone, image_size=encoder.input_size, svd_components=encoder.rank
    )

    def measure(decoder: Decoder) -> float:
        path = folder / "decoder.safetensors"
        if all_.rank == 0:
            save_decoder(path, decoder, Trained.by(encoder, text))
        all_.wait()
        segmenter = Segmenter(cached, method=SegICParams(decoder=str(path)), refiner="none")
        own = [o.counts for o in run_trials(segmenter, trials[all_.rank :: all_.count])]
        return mean_miou([counts for part in all_.gathered(own) for counts in part])

    return measure


def _on_pairs(encoder: Encoder, held: Sequence[Samples], text: str, all_: Processes) -> Judge:
    import torch

    def measure(decoder: Decoder) -> float:
        model, own = Mixed(decoder, torch.float32), list[float]()
        for one in held:
            samples, no = one.to(encoder.device), torch.zeros(1, dtype=torch.bool)
            with torch.no_grad():
                task = ask(model, samples, encoder.basis, no, no, text)
                logits = model(task.features, task.instructions)[-1]
            own += ious(logits, task.truth, task.valid)
        found = [iou for part in all_.gathered(own) for iou in part]
        return 100 * sum(found) / len(found)

    return measure

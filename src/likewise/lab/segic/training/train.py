"""Training the decoder of SegIC over a frozen backbone (§3.4, §4.2, Algorithm 2)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel

from ....backbones.encoder import Encoder
from ....errors import LikewiseError, explained_memory
from ....methods.segic.decoder import INSTRUCTIONS, Decoder
from ....methods.segic.files import Trained, check_backbone, load_decoder, save_decoder
from ....run.jobs import check_outputs
from .batches import batches
from .checkpoint import NAME, State, load_state, save_state
from .config import Config, shape_of
from .history import HistoryRow, check_matplotlib, write_history
from .processes import Processes
from .samples import Draw, SamplePool, Samples
from .step import Mixed, ask, task_loss
from .validate import judge

BEST = "best.safetensors"
"""The decoder of the best validation; that mIoU is optimistic, since it was chosen by it."""
Advance = Callable[[HistoryRow], None]
Say = Callable[[str], None]


def open_encoder(config: Config, all_: Processes) -> Encoder:
    """The encoder with the frozen backbone.

    Raises:
        LikewiseError: if it cannot be loaded, or does not fit the size, rank or device.
    """
    b = config.backbone
    path = config.path(b.name)
    encoder = Encoder(
        path if path.exists() else b.name,
        image_size=b.image_size or None,
        block=b.block or None,
        svd_components=None if b.rank < 0 else int(b.rank) if b.rank.is_integer() else b.rank,
        device=all_.device(config.device),
        dtype=b.dtype,
        offline=b.offline,
    )
    if encoder.parts:
        raise LikewiseError(f"backbone {b.name!r} joins several: a decoder is trained on one.")
    return encoder


def begin(config: Config, encoder: Encoder) -> State:
    """The state at step 0; initial weights depend on the seed alone."""
    text = 0
    if config.text:
        from ....methods.segic.text import text_features

        text = text_features(config.text, [""]).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        decoder = Decoder(shape_of(config, encoder.spec.dim, text)).to(encoder.device)
    if config.start:
        _start_from(config.path(config.start), decoder, encoder)
    optimizer = torch.optim.AdamW(
        decoder.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )
    average = AveragedModel(decoder, multi_avg_fn=_averaging(config.ema))
    average.requires_grad_(False)
    half = encoder.device.type == "cuda" and precision(config, encoder.device) == torch.float16
    scaler = torch.amp.GradScaler(encoder.device.type, enabled=half)
    return State(decoder, average, optimizer, scaler, [])


def _start_from(path: Path, decoder: Decoder, encoder: Encoder) -> None:
    """Load the weights of a decoder file."""
    check_backbone(path, encoder)
    known, _ = load_decoder(path)
    if known.shape != decoder.shape:
        raise LikewiseError(
            f"{path} is a decoder of another shape ({known.shape}): write that in [decoder]."
        )
    decoder.load_state_dict(known.state_dict())


def _averaging(decay: float) -> Any:
    """EMA update with decay min(decay, (1 + n) / (10 + n)) at step n: small at first."""

    @torch.no_grad()
    def update(average: Any, current: Any, steps: torch.Tensor) -> None:
        known = int(steps)
        torch._foreach_lerp_(average, current, 1 - min(decay, (1 + known) / (10 + known)))

    return update


def precision(config: Config, device: torch.device) -> torch.dtype:
    """Dtype of the decoder's computations."""
    if config.precision != "auto":
        dtype: torch.dtype = getattr(torch, config.precision)
        return dtype
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def rate(config: Config, step: int) -> float:
    """Learning rate of a step, from 0: linear warm-up, constant, then a tenth (§4.2)."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    return config.lr * rise * (0.1 if step >= config.drop * config.steps else 1.0)


def chances(config: Config, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch,) bool each: pairs with negative entities, and pairs with context reversion."""
    drawn = torch.rand(2, config.batch, generator=_chance(config, step, 0))
    return drawn[0] < config.negatives, drawn[1] < config.reversion


def _chance(config: Config, step: int, use: int) -> torch.Generator:
    """A generator seeded by (seed, step, use)."""
    import numpy as np

    state = np.random.SeedSequence((config.seed, step, use)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class Trainer:
    """One process of a training."""

    def __init__(self, config: Config, encoder: Encoder, all_: Processes) -> None:
        if config.batch % all_.count:
            raise LikewiseError(
                f"batch {config.batch} cannot be shared by {all_.count} processes: give a multiple."
            )
        self.config, self.encoder, self.all = config, encoder, all_
        self.state = begin(config, encoder)
        self.mixed = Mixed(self.state.decoder, precision(config, encoder.device))
        self.model: torch.nn.Module = self.mixed
        if all_.count > 1:
            # Weights of instructions that are not used have no gradient.
            some = set(self.state.decoder.shape.instructions) != set(INSTRUCTIONS)
            self.model = torch.nn.parallel.DistributedDataParallel(
                self.mixed, find_unused_parameters=some
            )

    def step(self, samples: Samples) -> float:
        """One optimizer step on this process's part of a batch; returns its loss."""
        c, s, number = self.config, self.state, self.state.step
        part = self.all.part(c.batch)
        told, turned = (chosen[part] for chosen in chances(c, number))
        with explained_memory(f"a batch of {len(samples)} pairs"):
            samples = samples.to(self.encoder.device)
            task = ask(self.mixed, samples, self.encoder.basis, told, turned, c.text)
            # One generator for each pair: the loss does not depend on the number of processes.
            rows = range(c.batch)[part]
            points = [_chance(c, number, 1 + row) for row in rows]
            loss = task_loss(self.model, task, points, c.points)
            for group in s.optimizer.param_groups:
                group["lr"] = rate(c, number)
            s.optimizer.zero_grad()
            s.scaler.scale(loss).backward()
            s.scaler.unscale_(s.optimizer)
            clip_grad_norm_(s.decoder.parameters(), c.clip)
            s.scaler.step(s.optimizer)
            s.scaler.update()
            s.average.update_parameters(s.decoder)
        return float(loss.detach())

    @property
    def best(self) -> Decoder:
        """The decoder with averaged weights, which is saved."""
        return cast(Decoder, self.state.average.module)


def train(
    config: Config,
    encoder: Encoder,
    draw: Draw,
    all_: Processes,
    advance: Advance,
    say: Say,
) -> dict[str, Any]:
    """Train to the last step, from the checkpoint in the folder if there is one.

    Ctrl-C and SIGTERM end it after the current step, with a checkpoint.

    Args:
        config: of the training.
        encoder: of the features, from ``open_encoder``.
        draw: of the pairs, at the encoder's input size.
        all_: the processes of the training.
        advance: called after each step.
        say: called with messages for the user.

    Returns:
        Report for JSON.

    Raises:
        LikewiseError: if a file cannot be used or written, or the loss is not finite.
    """
    check_matplotlib()
    folder = config.path(config.out)
    check_outputs(folder, option="out")
    trained = Trained.by(encoder, config.text)
    trainer = Trainer(config, encoder, all_)
    state = trainer.state
    if (folder / NAME).exists():
        load_state(folder, state, config, trained)
        say(f"going on after step {state.step} of {config.steps} in {folder}")
    judged = judge(config, encoder, draw, folder, all_)
    source = open_source(config, encoder, draw, all_, say)

    def save() -> None:
        if all_.rank == 0:
            save_decoder(folder / "decoder.safetensors", trainer.best, trained)
            save_state(folder, state, config, trained)
            write_history(folder, state.rows)

    before = state.rows[-1].seconds if state.rows else 0.0
    start = saved = time.monotonic()
    stopped = False
    with interruptions() as asked:
        for samples in batches(config, source, encoder, state.step, all_.part(config.batch)):
            loss = trainer.step(samples)
            # All processes must stop at the same step.
            losses, asks = zip(*all_.gathered((loss, bool(asked))), strict=True)
            loss, stopped = sum(losses) / len(losses), any(asks)
            _check_loss(loss, state.step)
            done = state.step + 1
            due = judged and (done % config.validation.every == 0 or done == config.steps)
            miou = judged(trainer.best) if judged and due else None
            seconds = before + time.monotonic() - start
            state.rows.append(HistoryRow(done, loss, rate(config, done - 1), miou, seconds))
            if all_.rank == 0 and miou is not None and miou >= best_miou(state.rows):
                save_decoder(folder / BEST, trainer.best, trained)
            advance(state.rows[-1])
            if stopped or (time.monotonic() - saved >= 60 * config.minutes):
                save()
                saved = time.monotonic()
            if stopped:
                break
    if not stopped:
        save()
    return report(config, trainer, stopped)


def open_source(
    config: Config, encoder: Encoder, draw: Draw, all_: Processes, say: Say
) -> SamplePool | Draw:
    """The pool, filled by all processes together; without a pool ``draw``."""
    if not config.pairs:
        return draw
    pool = SamplePool(encoder, draw, config.data_seed, config.pairs)
    done, start = 0, time.monotonic()
    for count in pool.fill(all_.rank, all_.count):
        done += count
        spent = time.monotonic() - start
        if spent > 10:
            say(f"{done * all_.count} of {config.pairs} pairs are encoded after {spent:.0f} s")
    all_.wait()
    return pool


def best_miou(rows: Sequence[HistoryRow]) -> float:
    """Highest mIoU, 0..100, of all validations; 0 before the first."""
    return max((row.miou for row in rows if row.miou is not None), default=0.0)


def _check_loss(loss: float, step: int) -> None:
    if not loss < float("inf"):
        raise LikewiseError(
            f"the loss of step {step + 1} is no number any more: give a smaller lr, or precision "
            '= "float32".'
        )


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """A list that collects SIGINT and SIGTERM, so that a step is completed first."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers
        return
    names = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(name, lambda number, _: caught.append(number)) for name in names]
    try:
        yield caught
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def report(config: Config, trainer: Trainer, stopped: bool) -> dict[str, Any]:
    """Report of a training, for JSON."""
    rows, folder = trainer.state.rows, config.path(config.out)
    recent = rows[-100:]
    measured = [row for row in rows if row.miou is not None]
    return {
        "steps": len(rows),
        "of": config.steps,
        "stopped": stopped,
        "loss": sum(row.loss for row in recent) / len(recent) if recent else None,
        "miou": measured[-1].miou if measured else None,
        "best_miou": best_miou(rows) if measured else None,
        "seconds": rows[-1].seconds if rows else 0.0,
        "parameters": parameters(trainer),
        "decoder": str(folder / "decoder.safetensors"),
        "best": str(folder / BEST) if measured else None,
        "curve": str(folder / "curve.csv"),
    }


def parameters(trainer: Trainer) -> dict[str, int]:
    """Numbers of trained and frozen parameters."""
    models = (trainer.state.decoder, trainer.encoder.backbone.model)
    sizes = [(p.numel(), p.requires_grad) for model in models for p in model.parameters()]
    return {
        "trained": sum(size for size, learns in sizes if learns),
        "frozen": sum(size for size, learns in sizes if not learns),
    }

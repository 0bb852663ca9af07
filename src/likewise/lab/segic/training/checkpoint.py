"""Checkpoints of a training, written atomically; a resumed training gives equal results."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import LikewiseError
from ....io.files import write_whole
from .history import HistoryRow

if TYPE_CHECKING:
    import torch
    from torch.optim.swa_utils import AveragedModel

    from ....methods.segic.decoder import Decoder
    from ....methods.segic.files import Trained
    from .config import Config

NAME = "checkpoint.pt"


@dataclass(eq=False)
class State:
    """State of a training. Random numbers are not part of it: they depend on seed and step."""

    decoder: Decoder
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rows: list[HistoryRow]
    """One for each completed step."""

    @property
    def step(self) -> int:
        """Number of completed steps."""
        return len(self.rows)

    @property
    def parts(self) -> Mapping[str, Any]:
        """The parts with a ``state_dict``."""
        return {
            "decoder": self.decoder,
            "average": self.average,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }


def save_state(folder: Path, state: State, config: Config, trained: Trained) -> None:
    """Write the checkpoint. Raises LikewiseError if it cannot be written."""
    import torch

    content = {name: part.state_dict() for name, part in state.parts.items()}
    content |= {"rows": [tuple(row) for row in state.rows]}
    content |= {"config": config.fixed(), "trained": asdict(trained)}
    file = io.BytesIO()
    torch.save(content, file)
    write_whole(folder / NAME, file.getvalue())


def load_state(folder: Path, state: State, config: Config, trained: Trained) -> None:
    """Load the checkpoint of the folder into ``state``.

    Raises:
        LikewiseError: if it is of another config or cannot be read.
    """
    import pickle

    import torch

    path = folder / NAME
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        other = _changed(content["config"], config.fixed())
        other = other or _changed(content["trained"], asdict(trained))
        if not other:
            for name, part in state.parts.items():
                part.load_state_dict(content[name])
            state.rows[:] = [HistoryRow(*row) for row in content["rows"]]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, pickle.PickleError) as error:
        raise LikewiseError(
            f"{path} cannot be read as a checkpoint: remove it to begin anew, or give another out."
        ) from error
    if other:
        raise LikewiseError(
            f"{folder} holds a training of another config ({other}): give another out, or remove "
            f"{path.name} to begin anew."
        )


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first difference as text; empty if there is none."""
    for key in dict.fromkeys([*then, *now]):
        if _plain(then.get(key)) != _plain(now.get(key)):
            return f"{key} was {_plain(then.get(key))}, is {_plain(now.get(key))}"
    return ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""The state of a run between two epochs, as one safetensors file, so that a stopped run can go on as if it never had.

Nothing is pickled: tensors by name, and the counters as JSON in the file's header.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from engine.errors import TrainingError
from trainer.files import write_atomically

_MODEL, _BEST, _OPTIMISER = "model/", "best/", "optimiser/"


@dataclass(frozen=True)
class EpochRecord:
    """One point of the curve; epochs count from 1."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float | None


@dataclass
class RunState:
    """Where a run stands after its last whole epoch.

    Attributes
    ----------
    run_digest
        Names the data and the settings; a checkpoint of another run is not resumed.
    best_weights
        Weights of the epoch with the best mean validation AUC.
    """

    run_digest: str
    history: list[EpochRecord]
    best_epoch: int
    best_auc: float
    best_weights: dict[str, Tensor]

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return len(self.history)


def save_checkpoint(path: Path, state: RunState, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write the state, the weights and the optimiser's moments; the file is whole or not there."""
    tensors = {_MODEL + name: value.detach() for name, value in model.state_dict().items()}
    tensors |= {_BEST + name: value for name, value in state.best_weights.items()}
    for index, slots in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    header = {
        "run_digest": state.run_digest,
        "best_epoch": state.best_epoch,
        # JSON has no infinity; before the first scored epoch there is no best AUC.
        "best_auc": state.best_auc if state.best_epoch else None,
        "history": [asdict(record) for record in state.history],
    }
    copies = {name: value.contiguous().clone() for name, value in tensors.items()}
    write_atomically(path, save(copies, metadata={"state": json.dumps(header)}))


def load_checkpoint(path: Path, run_digest: str, model: nn.Module, optimiser: torch.optim.Optimizer) -> RunState | None:
    """Put model and optimiser back where the checkpoint left them.

    Returns
    -------
    RunState | None
        None if there is no checkpoint or it belongs to another run; nothing is changed then.

    Raises
    ------
    TrainingError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}).",
            hint="Delete it to start the run again from its beginning.",
            code="training.checkpoint",
        ) from error
    if header["run_digest"] != run_digest:
        return None
    model.load_state_dict(_under(tensors, _MODEL))
    _load_optimiser(optimiser, _under(tensors, _OPTIMISER))
    best_auc = header["best_auc"]
    return RunState(
        run_digest=run_digest,
        history=[EpochRecord(**record) for record in header["history"]],
        best_epoch=header["best_epoch"],
        best_auc=-float("inf") if best_auc is None else best_auc,
        best_weights=_under(tensors, _BEST),
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    slots: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})

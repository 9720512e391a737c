"""The state of a run between two steps, as one safetensors file, so that a stopped run can go on as if it never had.

Nothing is pickled: tensors by name, and the counters as JSON in the file's header. The sampler's state and the learning
rates' are functions of the counters; the random generators' states are kept although no step draws from them today.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.errors import TrainingError
from trainer.averaging import WeightAverage
from trainer.files import write_atomically

_MODEL, _BEST, _OPTIMISER, _AVERAGE, _RANDOM = "model/", "best/", "optimiser/", "average/", "random/"


@dataclass(frozen=True)
class EpochRecord:
    """One point of the curve; epochs count from 1."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_auc: float | None


@dataclass
class RunState:
    """Where a run stands.

    Attributes
    ----------
    run_digest
        Names the data and the settings; a checkpoint of another run is not resumed.
    best_weights
        Weights of the epoch with the best mean validation AUC.
    steps
        Steps of the optimiser so far, in all epochs.
    losses
        Of the steps of the epoch that is under way; empty between epochs.
    """

    run_digest: str
    history: list[EpochRecord]
    best_epoch: int
    best_auc: float
    best_weights: dict[str, Tensor]
    steps: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return len(self.history)


@dataclass(frozen=True, eq=False)
class Trained:
    """Everything that a checkpoint puts back: the model, its optimiser, and the moving average where there is one."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    average: WeightAverage | None = None


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that train, by name; frozen ones are not the run's."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the parameters that train; KeyError if one is missing."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.copy_(weights[name])


def save_checkpoint(path: Path, state: RunState, trained: Trained) -> None:
    """Write the state, the weights, the optimiser's moments and the random generators; the file is whole or not there.

    Raises
    ------
    TrainingError
        If it cannot be written, as on a full disk; the checkpoint before it stands.
    """
    tensors = {_MODEL + name: value for name, value in trained_weights(trained.model).items()}
    tensors |= {_BEST + name: value for name, value in state.best_weights.items()}
    if trained.average is not None:
        tensors |= {_AVERAGE + name: value for name, value in trained.average.weights.items()}
    for index, slots in trained.optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    tensors |= {_RANDOM + name: value for name, value in _random_states().items()}
    header = {
        "run_digest": state.run_digest,
        "best_epoch": state.best_epoch,
        # JSON has no infinity; before the first scored epoch there is no best AUC.
        "best_auc": state.best_auc if state.best_epoch else None,
        "history": [asdict(record) for record in state.history],
        "steps": state.steps,
        "losses": state.losses,
    }
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, partial(_write, plain, {"state": json.dumps(header)}))


def _write(tensors: Mapping[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write tensor by tensor: a backbone that trains whole is not to lie in memory once more."""
    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, "the disk is full, or the file cannot be written") from error


def load_checkpoint(path: Path, run_digest: str, trained: Trained, required: bool = False) -> RunState | None:
    """Put model, optimiser, average and random generators back where the checkpoint left them.

    Parameters
    ----------
    path, run_digest, trained
        The file, the run that wants it, and what it is put into.
    required
        Whether the run was asked to go on, and must not begin anew.

    Returns
    -------
    RunState | None
        None if there is no checkpoint or it belongs to another run; nothing is changed then.

    Raises
    ------
    TrainingError
        If the file is damaged, or there is none of this run and one is required.
    """
    read = _read(path) if path.exists() else None
    if read is None or read[0]["run_digest"] != run_digest:
        if required:
            raise _nothing_to_resume(path, read is not None)
        return None
    header, tensors = read
    put_weights(trained.model, _under(tensors, _MODEL))
    _load_optimiser(trained.optimiser, _under(tensors, _OPTIMISER))
    if trained.average is not None:
        trained.average.load(_under(tensors, _AVERAGE))
    _put_random_states(_under(tensors, _RANDOM))
    best_auc = header["best_auc"]
    return RunState(
        run_digest=run_digest,
        history=[EpochRecord(**record) for record in header["history"]],
        best_epoch=header["best_epoch"],
        best_auc=-float("inf") if best_auc is None else best_auc,
        best_weights=_under(tensors, _BEST),
        steps=header["steps"],
        losses=header["losses"],
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["state"])
            if not isinstance(header["steps"], int):
                raise TypeError("steps")
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise TrainingError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}).",
            hint="Delete it to start the run again from its beginning.",
            code="training.checkpoint",
        ) from error


def _nothing_to_resume(path: Path, another_run: bool) -> TrainingError:
    if another_run:
        return TrainingError(
            f"The checkpoint {path} is of a run with other settings or other data, so this run cannot go on from it.",
            hint="Use the configuration that the run was started with (run.json holds it), or another output folder.",
            code="training.resume_mismatch",
        )
    return TrainingError(
        f"There is no checkpoint {path} to go on from.",
        hint="Leave --resume out to start the run.",
        code="training.resume_nothing",
    )


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _put_random_states(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    slots: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})

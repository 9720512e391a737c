"""One step of the optimiser: a batch in parts, over processes, with the gradient of the whole batch.

Legend: B study, C finding, N all studies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from trainer.config import LossConfig
from trainer.datasets import UNKNOWN
from trainer.losses import focal_loss, mean_over_known
from trainer.sources import Draw, StudyBatch, StudySource
from trainer.team import Team


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: the focal loss, with α of every finding (C,) and the weight of readers' statements."""

    loss: LossConfig
    alpha_C: Tensor
    reviewed_weight: float


@dataclass(frozen=True, eq=False)
class Part:
    """What one process computes at once.

    Attributes
    ----------
    share
        1, or 0 where there are more parts than studies and this one only keeps the others company.
    total_weight
        Weight of all known labels of the whole batch.
    last
        Whether gradients are exchanged after it.
    """

    batch: StudyBatch
    share: float
    total_weight: Tensor
    last: bool


def label_losses(logits_BC: Tensor, batch: StudyBatch, objective: Objective) -> Tensor:
    """Return the loss of every label (B, C), readers' statements with α = 0.5."""
    alpha_C = objective.alpha_C.to(logits_BC.device)
    alpha_BC = torch.where(batch.reviewed_B.unsqueeze(1), 0.5, alpha_C)
    return focal_loss(logits_BC, batch.targets_BC, batch.known_BC, alpha_BC, objective.loss.gamma)


def require_finite(loss_BC: Tensor, identifiers: Sequence[str], team: Team) -> None:
    """Refuse a loss that is not finite, in every process at once.

    Raises
    ------
    TrainingError
        If one is: one such step would spoil every weight for good. The studies are named.
    """
    finite_B = torch.isfinite(loss_BC).all(dim=1).tolist()
    own = [name for name, finite in zip(identifiers, finite_B, strict=True) if not finite]
    named = [name for names in team.gathered(own) for name in names]
    if named:
        raise TrainingError(
            f"The loss is not finite for {', '.join(named[:3])}"
            f"{f' and {len(named) - 3} more' if len(named) > 3 else ''}; training stopped before the weights changed.",
            hint="Leave the study out, or lower the learning rates.",
            code="training.non_finite_loss",
        )


def backward_part(model: nn.Module, part: Part, objective: Objective, team: Team) -> float:
    """Add the gradient of a part of a batch; return its share of the batch's loss."""
    batch = part.batch
    with nullcontext() if part.last else team.apart(model):
        with team.computing():
            logits_BC = model(batch)
        loss_BC = label_losses(logits_BC.float(), batch, objective)
        require_finite(loss_BC, batch.identifiers, team)
        weight_B = torch.where(batch.reviewed_B, objective.reviewed_weight, 1.0)
        loss = mean_over_known(loss_BC, batch.known_BC, weight_B, part.total_weight)
        # Processes' gradients are averaged, but the batch's loss is the sum over its parts.
        team.backward(loss * (part.share * team.size) if team.size > 1 or not part.share else loss)
    return float(loss.detach()) * part.share


def total_weight(source: StudySource, studies: Sequence[int], reviewed_weight: float) -> Tensor:
    """Return the weight of all known labels of some studies, a float32 scalar."""
    known_BC = torch.from_numpy(source.labels_NC[list(studies)] != UNKNOWN)
    weight_B = torch.where(torch.from_numpy(source.reviewed_N[list(studies)]), reviewed_weight, 1.0)
    return (weight_B.unsqueeze(1) * known_BC).sum()


@dataclass(frozen=True)
class BatchPlan:
    """How an epoch is cut: studies a step, parts of a batch one after the other, steps read ahead, the run's seed."""

    batch_size: int
    accumulate: int
    read_ahead: int
    seed: int


def epoch_steps(
    source: StudySource,
    order: Sequence[int],
    epoch: int,
    first: int,
    plan: BatchPlan,
    reviewed_weight: float,
    team: Team,
) -> Iterator[list[Part]]:
    """Yield this process's parts of every step of an epoch, from step number `first`.

    They are read in a thread of their own, `plan.read_ahead` steps before they are needed, in order: what is read does
    not depend on when.
    """
    steps = _jobs(source, order, epoch, first, plan, reviewed_weight, team)
    if not plan.read_ahead:
        for step in steps:
            yield [_read(source, *job) for job in step]
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: deque[list[Future[Part]]] = deque()
        try:
            for step in steps:
                waiting.append([pool.submit(_read, source, *job) for job in step])
                if len(waiting) > plan.read_ahead:
                    yield [part.result() for part in waiting.popleft()]
            while waiting:
                yield [part.result() for part in waiting.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


Job = tuple[list[int], Draw, float, Tensor, bool]


def _jobs(
    source: StudySource,
    order: Sequence[int],
    epoch: int,
    first: int,
    plan: BatchPlan,
    reviewed_weight: float,
    team: Team,
) -> Iterator[list[Job]]:
    """List what this process reads: of the parts of every batch, those that fall to it."""
    for start in range(first * plan.batch_size, len(order), plan.batch_size):
        places = np.arange(start, min(start + plan.batch_size, len(order)))
        weight = total_weight(source, [order[int(place)] for place in places], reviewed_weight)
        pieces = np.array_split(places, plan.accumulate * team.size)[team.rank :: team.size]
        step: list[Job] = []
        for number, piece in enumerate(pieces):
            shown = piece if len(piece) else places[:1]
            draw = Draw(plan.seed, epoch, tuple(int(place) for place in shown))
            share = 1.0 if len(piece) else 0.0
            step.append(([order[int(place)] for place in shown], draw, share, weight, number == len(pieces) - 1))
        yield step


def _read(source: StudySource, studies: list[int], draw: Draw, share: float, weight: Tensor, last: bool) -> Part:
    return Part(source.batch(studies, draw), share, weight, last)

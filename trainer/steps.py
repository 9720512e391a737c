"""One step of the optimiser: a batch in parts, over processes, with the gradient of the whole batch.

Legend: B study, C finding, N all studies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.errors import TrainingError
from trainer.config import LossConfig
from trainer.datasets import UNKNOWN
from trainer.losses import focal_loss, mean_over_known
from trainer.sources import Draw, StudyBatch, StudySource
from trainer.team import Team

T = TypeVar("T")


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
        Whether its step ends with it; gradients are exchanged then.
    """

    batch: StudyBatch
    share: float
    total_weight: Tensor
    last: bool


@dataclass(frozen=True, eq=False)
class PartLoss:
    """What a part came to, on the device that computed it: asking for a number there would stop it until it has come.

    Attributes
    ----------
    loss
        The part's share of the batch's loss, a scalar.
    finite_B
        Whether each study's loss is finite.
    """

    identifiers: tuple[str, ...]
    loss: Tensor
    finite_B: Tensor


def label_losses(logits_BC: Tensor, batch: StudyBatch, objective: Objective) -> Tensor:
    """Return the loss of every label (B, C), readers' statements with α = 0.5."""
    alpha_C = objective.alpha_C.to(logits_BC.device)
    alpha_BC = torch.where(batch.reviewed_B.unsqueeze(1), 0.5, alpha_C)
    return focal_loss(logits_BC, batch.targets_BC, batch.known_BC, alpha_BC, objective.loss.gamma)


def backward_part(model: nn.Module, part: Part, objective: Objective, team: Team) -> PartLoss:
    """Add the gradient of a part of a batch."""
    batch = part.batch
    with nullcontext() if part.last else team.apart(model):
        with team.computing():
            logits_BC = model(batch)
        loss_BC = label_losses(logits_BC.float(), batch, objective)
        weight_B = torch.where(batch.reviewed_B, objective.reviewed_weight, 1.0)
        loss = mean_over_known(loss_BC, batch.known_BC, weight_B, part.total_weight)
        # Processes' gradients are averaged, but the batch's loss is the sum over its parts.
        team.backward(loss * (part.share * team.size) if team.size > 1 or not part.share else loss)
    finite_B = torch.isfinite(loss_BC.detach()).all(dim=1)
    return PartLoss(batch.identifiers, loss.detach() * part.share, finite_B)


def step_loss(parts: Sequence[PartLoss], team: Team) -> float:
    """Return the loss of the whole batch, the same in every process.

    Raises
    ------
    TrainingError
        In every process, if the loss of a study of any of them is not finite: the step would spoil every weight for
        good. The studies are named.
    """
    own = sum(float(part.loss) for part in parts)
    bad = [
        name
        for part in parts
        for name, finite in zip(part.identifiers, part.finite_B.tolist(), strict=True)
        if not finite
    ]
    gathered = team.gathered((own, bad))
    named = [name for _, names in gathered for name in names]
    if named:
        raise TrainingError(
            f"The loss is not finite for {', '.join(named[:3])}"
            f"{f' and {len(named) - 3} more' if len(named) > 3 else ''}; training stopped before the weights changed.",
            hint="Leave the study out, or lower the learning rates.",
            code="training.non_finite_loss",
        )
    return float(sum(loss for loss, _ in gathered))


def total_weight(source: StudySource, studies: Sequence[int], reviewed_weight: float) -> Tensor:
    """Return the weight of all known labels of some studies, a float32 scalar."""
    known_BC = torch.from_numpy(source.labels_NC[list(studies)] != UNKNOWN)
    weight_B = torch.where(torch.from_numpy(source.reviewed_N[list(studies)]), reviewed_weight, 1.0)
    return (weight_B.unsqueeze(1) * known_BC).sum()


@dataclass(frozen=True)
class BatchPlan:
    """How an epoch is cut: studies a step, parts of a batch one after the other, parts read ahead, the run's seed."""

    batch_size: int
    accumulate: int
    read_ahead: int
    seed: int


def epoch_parts(
    source: StudySource,
    order: Sequence[int],
    epoch: int,
    first: int,
    plan: BatchPlan,
    reviewed_weight: float,
    team: Team,
) -> Iterator[Part]:
    """Yield this process's parts of all steps of an epoch, from step number `first`; `Part.last` ends a step.

    No more than `plan.read_ahead` of them wait in memory, however many make a step.
    """
    jobs = _jobs(source, order, epoch, first, plan, reviewed_weight, team)
    return ahead((partial(_read, source, *job) for job in jobs), plan.read_ahead)


def ahead(calls: Iterable[Callable[[], T]], n: int) -> Iterator[T]:
    """Yield what the calls return, in their order; up to `n` of them are made in a thread before they are asked for.

    What is read does not depend on when: nothing that is drawn for a study is drawn from a shared generator.
    """
    if not n:
        yield from (call() for call in calls)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for call in calls:
                waiting.append(pool.submit(call))
                if len(waiting) > n:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
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
) -> Iterator[Job]:
    """List what this process reads: of the parts of every batch, those that fall to it."""
    for start in range(first * plan.batch_size, len(order), plan.batch_size):
        places = np.arange(start, min(start + plan.batch_size, len(order)))
        weight = total_weight(source, [order[int(place)] for place in places], reviewed_weight)
        pieces = np.array_split(places, plan.accumulate * team.size)[team.rank :: team.size]
        for number, piece in enumerate(pieces):
            shown = piece if len(piece) else places[:1]
            draw = Draw(plan.seed, epoch, tuple(int(place) for place in shown))
            share = 1.0 if len(piece) else 0.0
            yield [order[int(place)] for place in shown], draw, share, weight, number == len(pieces) - 1


def _read(source: StudySource, studies: list[int], draw: Draw, share: float, weight: Tensor, last: bool) -> Part:
    return Part(source.batch(studies, draw), share, weight, last)

"""The training loop: MoLRE, pooling and head on cached features of the frozen backbone.

Shapes: B studies, C findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import TrainingError
from engine.models.classifier import MoLREClassifier
from engine.progress import NULL_CONTEXT, Context
from trainer.checkpoints import EpochRecord, RunState, load_checkpoint, save_checkpoint
from trainer.config import LossConfig, OptimiserConfig
from trainer.datasets import Batch, StudyFeatures, in_order, prevalence, shuffled, stack_labels
from trainer.evaluate import evaluate
from trainer.losses import focal_loss, mean_over_known, prevalence_weights

# Enough to rank two epochs of one run by, though not to report: see evaluate.MIN_CASES.
MIN_CASES_TO_CHOOSE = 2


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes
    ----------
    keep
        Whose weights end up in the classifier: those of the epoch with the best validation AUC, or the last ones.
    run_digest
        Ties a checkpoint to its run.
    reviewed_weight
        What one reader's statement counts in the mean loss, where one label of another study counts 1. A statement
        that a finding is absent counts as much as one that it is present (α = 0.5): prevalence weights would let
        the correction of a false alarm count least, since statements are no sample of a population.
    """

    seed: int
    loss: LossConfig
    optimiser: OptimiserConfig
    min_epochs: int
    max_epochs: int
    patience: int
    batch_size: int
    keep: Literal["best", "last"]
    run_digest: str
    reviewed_weight: float = 1.0


@dataclass(frozen=True, eq=False)
class FitData:
    """Keys in the classifier's order, and the studies to learn from and to watch."""

    keys: tuple[str, ...]
    train: Sequence[StudyFeatures]
    validate: Sequence[StudyFeatures]


@dataclass(frozen=True)
class FitResult:
    """The curve, and the epoch whose weights the classifier now holds."""

    history: tuple[EpochRecord, ...]
    kept_epoch: int


def fit(
    classifier: MoLREClassifier,
    data: FitData,
    settings: FitSettings,
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
    context: Context = NULL_CONTEXT,
) -> FitResult:
    """Train in place; on the same machine and thread count, the same seed gives the same bits.

    A checkpoint is written before the first epoch and after each one, so `Cancelled` may be raised between any two
    steps and a second call with the same settings goes on from the last whole epoch.

    Raises
    ------
    TrainingError
        If a loss is not finite (before the optimiser steps), or validation cannot rank epochs that must be ranked.
    Cancelled
        When the context says so.
    """
    optimiser = _optimiser(classifier, settings.optimiser)
    alpha_C = _alpha(data.train, settings.loss)
    state = load_checkpoint(checkpoint, settings.run_digest, classifier, optimiser)
    if state is None:
        state = RunState(settings.run_digest, [], 0, -float("inf"), _weights(classifier))
        save_checkpoint(checkpoint, state, classifier, optimiser)
    while not _done(state, settings):
        epoch = state.epoch + 1
        train_loss = _train_epoch(classifier, optimiser, data, settings, alpha_C, epoch, context)
        validation_loss, validation_auc = _validate(classifier, data, settings, alpha_C)
        record = EpochRecord(epoch, train_loss, validation_loss, validation_auc)
        state.history.append(record)
        _remember_best(state, record, classifier, settings)
        save_checkpoint(checkpoint, state, classifier, optimiser)
        on_epoch(record)
    if settings.keep == "best":
        classifier.load_state_dict(state.best_weights)
    classifier.eval()
    return FitResult(tuple(state.history), state.best_epoch if settings.keep == "best" else state.epoch)


def _train_epoch(
    classifier: MoLREClassifier,
    optimiser: torch.optim.Optimizer,
    data: FitData,
    settings: FitSettings,
    alpha_C: Tensor,
    epoch: int,
    context: Context,
) -> float:
    classifier.train()
    losses: list[float] = []
    for batch in shuffled(data.train, settings.batch_size, settings.seed, epoch):
        context.raise_if_cancelled()
        weight_B = torch.where(batch.reviewed_B, settings.reviewed_weight, 1.0)
        loss = mean_over_known(label_losses(classifier, batch, settings, alpha_C), batch.known_BC, weight_B)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def label_losses(classifier: MoLREClassifier, batch: Batch, settings: FitSettings, alpha_C: Tensor) -> Tensor:
    """Return the loss of every label (B, C), readers' statements with α = 0.5.

    Raises
    ------
    TrainingError
        If one is not finite: one such step would spoil every weight for good.
    """
    logits_BC = classifier(batch.features_BSD, batch.mask_BS).logits_BC
    alpha_BC = torch.where(batch.reviewed_B.unsqueeze(1), 0.5, alpha_C)
    loss_BC = focal_loss(logits_BC, batch.targets_BC, batch.known_BC, alpha_BC, settings.loss.gamma)
    finite_B = torch.isfinite(loss_BC).all(dim=1)
    if not bool(finite_B.all()):
        named = [name for name, finite in zip(batch.identifiers, finite_B.tolist(), strict=True) if not finite]
        raise TrainingError(
            f"The loss is not finite for {', '.join(named[:3])}"
            f"{f' and {len(named) - 3} more' if len(named) > 3 else ''}; training stopped before the weights changed.",
            hint="Leave the study out, or lower the learning rates.",
            code="training.non_finite_loss",
        )
    return loss_BC


@torch.no_grad()
def _validate(
    classifier: MoLREClassifier, data: FitData, settings: FitSettings, alpha_C: Tensor
) -> tuple[float, float | None]:
    classifier.eval()
    total, known = 0.0, 0
    logits: list[NDArray[np.float32]] = []
    for batch in in_order(data.validate, settings.batch_size):
        logits_BC = classifier(batch.features_BSD, batch.mask_BS).logits_BC
        loss_BC = focal_loss(logits_BC, batch.targets_BC, batch.known_BC, alpha_C, settings.loss.gamma)
        total += float(loss_BC.sum())
        known += int(batch.known_BC.sum())
        logits.append(logits_BC.numpy())
    scores = evaluate(data.keys, stack_labels(data.validate), np.concatenate(logits), MIN_CASES_TO_CHOOSE)
    return total / max(known, 1), scores.mean_auc


def _remember_best(state: RunState, record: EpochRecord, classifier: MoLREClassifier, settings: FitSettings) -> None:
    if record.validation_auc is None:
        if settings.keep == "best":
            raise TrainingError(
                f"None of the findings has {MIN_CASES_TO_CHOOSE} positives and negatives in the validation set, so no "
                "epoch can be chosen.",
                hint="Make the validation set larger.",
                code="training.validation_too_small",
            )
        return
    if record.validation_auc > state.best_auc:
        state.best_auc, state.best_epoch, state.best_weights = record.validation_auc, record.epoch, _weights(classifier)


def _done(state: RunState, settings: FitSettings) -> bool:
    if state.epoch >= settings.max_epochs:
        return True
    stale = state.epoch - state.best_epoch >= settings.patience
    return settings.keep == "best" and state.epoch >= settings.min_epochs and stale


def _weights(classifier: MoLREClassifier) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in classifier.state_dict().items()}


def _alpha(studies: Sequence[StudyFeatures], loss: LossConfig) -> Tensor:
    counted = [study for study in studies if not study.reviewed] or studies
    shares_C = torch.from_numpy(prevalence(stack_labels(counted))).to(torch.float32)
    return prevalence_weights(shares_C, loss.min_prevalence)


def _optimiser(classifier: MoLREClassifier, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Build AdamW with one learning rate for each part; every trainable parameter belongs to exactly one."""
    rates = {
        "molre": config.molre_learning_rate,
        "pooling": config.pooling_learning_rate,
        "fusion": config.head_learning_rate,
        "head": config.head_learning_rate,
    }
    groups: dict[str, list[Tensor]] = {part: [] for part in rates}
    for name, parameter in classifier.named_parameters():
        if parameter.requires_grad:
            groups[name.split(".")[0]].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[part], "lr": rate} for part, rate in rates.items()], weight_decay=config.weight_decay
    )

"""The training loop, for features of a frozen backbone and for a backbone with adapters alike.

Shapes: B studies, C findings, N all studies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import TrainingError
from engine.models.classifier import MoLREClassifier
from engine.progress import NULL_CONTEXT, Context
from trainer.averaging import WeightAverage
from trainer.checkpoints import (
    EpochRecord,
    RunState,
    Trained,
    load_checkpoint,
    put_weights,
    save_checkpoint,
    trained_weights,
)
from trainer.config import LossConfig, OptimiserConfig, RateConfig, SamplingConfig
from trainer.datasets import Batch, StudyFeatures, prevalence
from trainer.evaluate import evaluate
from trainer.files import remove_parts
from trainer.losses import prevalence_weights
from trainer.optimisers import clip_gradients, make_optimiser
from trainer.sampling import epoch_order, repeat_factors
from trainer.schedules import RateSchedule
from trainer.sources import CachedSource, StudyBatch, StudySource
from trainer.steps import BatchPlan, Objective, Part, ahead, backward_part, epoch_parts, label_losses, step_loss
from trainer.team import Alone, Team

# Enough to rank two epochs of one run by, though not to report: see evaluate.MIN_CASES.
MIN_CASES_TO_CHOOSE = 2


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Attributes
    ----------
    keep
        Whose weights end up in the model: those of the epoch with the best validation AUC, or the last ones.
    run_digest
        Ties a checkpoint to its run.
    reviewed_weight
        What one reader's statement counts in the mean loss, where one label of another study counts 1. A statement
        that a finding is absent counts as much as one that it is present (α = 0.5): prevalence weights would let
        the correction of a false alarm count least, since statements are no sample of a population.
    rate, sampling
        How the learning rates change, and which studies an epoch shows.
    checkpoint_steps
        A checkpoint inside an epoch after so many steps; None writes one after each epoch only.
    read_ahead
        How many parts of steps are read before they are needed.
    must_resume
        Refuse to begin anew.
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
    rate: RateConfig = field(default_factory=RateConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    checkpoint_steps: int | None = None
    read_ahead: int = 0
    must_resume: bool = False


@dataclass(frozen=True, eq=False)
class FitData:
    """Keys in the classifier's order, and the studies to learn from and to watch."""

    keys: tuple[str, ...]
    train: Sequence[StudyFeatures]
    validate: Sequence[StudyFeatures]


@dataclass(frozen=True)
class FitResult:
    """The curve, and the epoch whose weights the model now holds."""

    history: tuple[EpochRecord, ...]
    kept_epoch: int


class CachedModel(nn.Module):
    """A classifier that reads batches of features."""

    def __init__(self, classifier: MoLREClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: Batch) -> Tensor:
        """Return ``logits_BC``."""
        output = self.classifier(batch.features_BSD, batch.mask_BS)
        return cast("Tensor", output.logits_BC)


def fit(
    classifier: MoLREClassifier,
    data: FitData,
    settings: FitSettings,
    checkpoint: Path,
    on_epoch: Callable[[EpochRecord], None],
    context: Context = NULL_CONTEXT,
    on_resume: Callable[[Sequence[EpochRecord]], None] = lambda history: None,
) -> FitResult:
    """Train a classifier on cached features, in place. See `Run.fit` for what is raised, told and written."""
    run = Run(CachedModel(classifier), data.keys, CachedSource(data.train), CachedSource(data.validate), settings)
    return run.fit(checkpoint, on_epoch, context, on_resume)


class Run:
    """One model on its way from the first step to the last.

    Parameters
    ----------
    model
        Reads batches of the sources and returns ``logits_BC``; what trains in it requires a gradient.
    keys
        C finding keys.
    train, validate
        What it learns from, and what chooses the epoch.
    settings
        How.
    team
        The processes that do it together.

    Attributes
    ----------
    waited_s
        How long steps have waited for their data in this process, of all epochs since the start.
    """

    def __init__(
        self,
        model: nn.Module,
        keys: Sequence[str],
        train: StudySource,
        validate: StudySource,
        settings: FitSettings,
        team: Team = Alone(),
    ) -> None:
        self.settings = settings
        self.waited_s = 0.0
        self._keys = keys
        self._train, self._validate = train, validate
        self._team = team
        self._model = model
        self._shared = team.shared(model)
        self._objective = Objective(
            settings.loss, _alpha(train, settings.loss).to(team.device), settings.reviewed_weight
        )
        decay = settings.optimiser.average_decay
        average = None if decay is None else WeightAverage(model, decay)
        self._trained = Trained(model, make_optimiser(model, settings.optimiser), average)
        threshold = settings.sampling.repeat_threshold
        self._factors_N = None if threshold is None else repeat_factors(train.labels_NC, threshold)
        self._schedule = RateSchedule(self._trained.optimiser, settings.rate, self._n_steps())

    def fit(
        self,
        checkpoint: Path,
        on_epoch: Callable[[EpochRecord], None],
        context: Context = NULL_CONTEXT,
        on_resume: Callable[[Sequence[EpochRecord]], None] = lambda history: None,
    ) -> FitResult:
        """Train in place; on the same machine and thread count, the same seed gives the same bits.

        A checkpoint is written before the first epoch and after each one, so the process may end between any two
        instructions, and a second run with the same settings goes on from the last checkpoint to the same bits. It
        tells `on_resume` of the epochs that were done before it.

        Raises
        ------
        TrainingError
            If a loss or gradient is not finite (before the optimiser steps), validation cannot rank epochs that must
            be ranked, a checkpoint cannot be read or written, or there is none where one is required.
        Cancelled
            When the context says so.
        """
        settings, model = self.settings, self._model
        if self._team.rank == 0:
            remove_parts(checkpoint)
        state = load_checkpoint(checkpoint, settings.run_digest, self._trained, settings.must_resume)
        self._team.wait()  # Nobody may write the first checkpoint while another still looks for one.
        if state is None:
            state = RunState(settings.run_digest, [], 0, -float("inf"), trained_weights(model))
            self._save(checkpoint, state)
        on_resume(state.history)
        while not _done(state, settings):
            train_loss = self._train_epoch(state, checkpoint, context)
            with nullcontext() if self._trained.average is None else self._trained.average.in_place():
                validation_loss, validation_auc = self._score()
                record = EpochRecord(state.epoch + 1, train_loss, validation_loss, validation_auc)
                _remember_best(state, record, model, settings)
            state.history.append(record)
            state.losses = []
            self._save(checkpoint, state)
            on_epoch(record)
        self._keep(state)
        return FitResult(tuple(state.history), state.best_epoch if settings.keep == "best" else state.epoch)

    def _train_epoch(self, state: RunState, checkpoint: Path, context: Context) -> float:
        settings = self.settings
        for parts in self.epoch(state.epoch + 1, len(state.losses)):
            context.raise_if_cancelled()
            state.losses.append(self.step(parts, state.steps))
            state.steps += 1
            if settings.checkpoint_steps and state.steps % settings.checkpoint_steps == 0:
                self._save(checkpoint, state)
        return float(np.mean(state.losses))

    def epoch(self, number: int, first: int = 0) -> Iterator[Iterator[Part]]:
        """Yield every step of an epoch, from step number `first`: its parts that this process computes, to be used up.

        A part is read when it is asked for, or a little before: memory never holds all parts of a step.
        """
        settings = self.settings
        self._shared.train()
        order = epoch_order(len(self._train.labels_NC), settings.seed, number, self._factors_N)
        plan = BatchPlan(settings.batch_size, settings.optimiser.accumulate, settings.read_ahead, settings.seed)
        weight = settings.reviewed_weight
        parts = self._timed(epoch_parts(self._train, order.tolist(), number, first, plan, weight, self._team))
        for _ in range(first * plan.batch_size, len(order), plan.batch_size):
            yield _one_step(parts)

    def _timed(self, parts: Iterator[Part]) -> Iterator[Part]:
        while True:
            asked_s = time.perf_counter()
            part = next(parts, None)
            self.waited_s += time.perf_counter() - asked_s
            if part is None:
                return
            yield part

    def step(self, parts: Iterable[Part], steps_before: int = 0) -> float:
        """Take one step of the optimiser; return the loss of the whole batch."""
        trained = self._trained
        self._schedule.set_for(steps_before)
        trained.optimiser.zero_grad(set_to_none=True)
        done = [backward_part(self._shared, part, self._objective, self._team) for part in parts]
        loss = step_loss(done, self._team)
        names = [name for part in done for name in part.identifiers]
        clip_gradients(self._model.parameters(), self.settings.optimiser.clip_norm, names)
        trained.optimiser.step()
        if trained.average is not None:
            trained.average.update()
        return loss

    @torch.no_grad()
    def _score(self) -> tuple[float, float | None]:
        """Validate: every process a share of the studies, each study once; all of them learn the result."""
        self._model.eval()
        labels_NC = self._validate.labels_NC
        logits_NC = np.empty(labels_NC.shape, dtype=np.float32)
        total, known = 0.0, 0
        for chosen, loss, n_known, logits_BC in self._gathered_predictions():
            logits_NC[chosen] = logits_BC
            total += loss
            known += n_known
        scores = evaluate(self._keys, labels_NC, logits_NC, MIN_CASES_TO_CHOOSE)
        return total / max(known, 1), scores.mean_auc

    def _gathered_predictions(self) -> Iterator[tuple[list[int], float, int, NDArray[np.float32]]]:
        # As many studies at once as a step computes at once: memory that holds one holds the other.
        numbers, size = list(range(len(self._validate.labels_NC))), self._part_size()
        batches = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        batches = batches[self._team.rank :: self._team.size]
        read = ahead((partial(self._validate.batch, chosen) for chosen in batches), self.settings.read_ahead)
        own = [self._prediction(chosen, batch) for chosen, batch in zip(batches, read, strict=True)]
        for predictions in self._team.gathered(own):
            yield from predictions

    def _part_size(self) -> int:
        return -(-self.settings.batch_size // (self.settings.optimiser.accumulate * self._team.size))

    def _prediction(self, chosen: list[int], batch: StudyBatch) -> tuple[list[int], float, int, NDArray[np.float32]]:
        with self._team.computing():
            logits_BC = self._model(batch).float()
        alpha_C = self._objective.alpha_C
        plain = Objective(self.settings.loss, alpha_C, 1.0)
        loss_BC = label_losses(logits_BC, batch, plain)
        return chosen, float(loss_BC.sum()), int(batch.known_BC.sum()), logits_BC.cpu().numpy()

    def _save(self, checkpoint: Path, state: RunState) -> None:
        if self._team.rank == 0:
            save_checkpoint(checkpoint, state, self._trained)
        self._team.wait()

    def _keep(self, state: RunState) -> None:
        """Leave the weights that were asked for in the model."""
        if self.settings.keep == "best":
            put_weights(self._model, state.best_weights)
        elif self._trained.average is not None:
            put_weights(self._model, self._trained.average.weights)
        self._model.eval()

    def _n_steps(self) -> int:
        shown = len(self._train.labels_NC) if self._factors_N is None else float(self._factors_N.sum())
        return self.settings.max_epochs * int(np.ceil(shown / self.settings.batch_size))


def _one_step(parts: Iterator[Part]) -> Iterator[Part]:
    """Yield parts up to the last one of a step."""
    for part in parts:
        yield part
        if part.last:
            return


def _remember_best(state: RunState, record: EpochRecord, model: nn.Module, settings: FitSettings) -> None:
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
        state.best_auc, state.best_epoch = record.validation_auc, record.epoch
        state.best_weights = trained_weights(model)


def _done(state: RunState, settings: FitSettings) -> bool:
    if state.epoch >= settings.max_epochs:
        return True
    stale = state.epoch - state.best_epoch >= settings.patience
    return settings.keep == "best" and state.epoch >= settings.min_epochs and stale


def _alpha(source: StudySource, loss: LossConfig) -> Tensor:
    """Return α of every finding, from studies whose labels are a sample of a population, if there are any."""
    counted = source.labels_NC[~source.reviewed_N]
    shares_C = torch.from_numpy(prevalence(counted if len(counted) else source.labels_NC)).to(torch.float32)
    return prevalence_weights(shares_C, loss.min_prevalence)

"""One run of a benchmark: fit as any training run is, then the scores of every test study; no package.

A run's folder holds ``run.json``, the curve, ``weights.safetensors`` (what was trained, of the kept epoch),
``scores.safetensors`` and, once it is whole, ``result.json``; while it is under way ``checkpoint.safetensors``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from engine.models.backbones.registry import BackboneRegistry
from engine.models.classifier import MoLREClassifier
from engine.progress import Context
from trainer.benchmark.cohort import Studies
from trainer.benchmark.plan import Cell, count_parameters
from trainer.benchmark.results import Finished, Scores, counted, write_result
from trainer.checkpoints import trained_weights
from trainer.cohorts.words import CohortWords
from trainer.datasets import StudyFeatures, stack_labels
from trainer.end_to_end import adapted_backbone, fit_on_shards, open_team, split_features
from trainer.evaluate import evaluate, predict_logits
from trainer.files import write_atomically, write_json
from trainer.loop import FitData, FitResult, fit
from trainer.protocol import EpochEnded, Event
from trainer.training import CHECKPOINT_FILE, begin_run_folder, epoch_events, fit_settings, new_classifier
from trainer.volumes.model import EndToEndModel

WEIGHTS_FILE = "weights.safetensors"
CLOCK_FILE = "seconds.json"


class Stopwatch:
    """Seconds of a run over all its attempts; what a killed one took since its last epoch is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before_s = float(json.loads(path.read_text(encoding="utf-8"))["seconds"]) if path.exists() else 0.0
        self._began_s = time.monotonic()

    def seconds(self) -> float:
        """Return how long the run has taken so far."""
        return self._before_s + time.monotonic() - self._began_s

    def keep(self) -> None:
        """Write it down."""
        write_json(self._path, {"seconds": self.seconds()})


class Attempt:
    """A run on its way from its folder's state to its result.

    Parameters
    ----------
    cell, folder
        Which run, and where everything of it is written.
    studies, registry
        The cohort and the backbones.
    tell
        Told of every epoch.
    context
        Told of progress; asked whether to stop.
    """

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        studies: Studies,
        registry: BackboneRegistry,
        tell: Callable[[EpochEnded], None],
        context: Context,
    ) -> None:
        self.cell, self.folder = cell, folder
        self._studies, self._registry = studies, registry
        self._tell, self._context = tell, context
        self._stopwatch: Stopwatch | None = None

    def run(self) -> Finished:
        """Do it, from the checkpoint where there is one of this very run.

        Raises
        ------
        TrainingError
            As `trainer.loop.Run.fit`.
        Cancelled
            When the context says so; the checkpoint stands.
        """
        return self._end_to_end() if self.cell.config.mode == "end_to_end" else self._cached()

    def _cached(self) -> Finished:
        config = self.cell.config
        data_digest = self._studies.prepared(config, self._context).digest()
        loaded = self._studies.loaded(config, self._context)
        self._begin()
        classifier = new_classifier(config, self._registry.entry(config.backbone).spec, len(loaded.keys))
        data = FitData(loaded.keys, loaded.features["train"], loaded.features["validate"])
        settings = fit_settings(config, data_digest)
        run_folder = begin_run_folder(self.folder, config, data_digest, self._registry)
        tell = epoch_events(self._on_event, settings.max_epochs, run_folder)
        checkpoint = self.folder / CHECKPOINT_FILE
        result = fit(classifier, data, settings, checkpoint, tell, self._context, run_folder.restore)
        test = loaded.features["test"]
        return self._written(classifier, classifier, loaded.keys, test, result, (data_digest, loaded.words, "cpu"))

    def _end_to_end(self) -> Finished:
        config, context = self.cell.config, self._context
        team = open_team(config)
        backbone = adapted_backbone(config, self._registry)
        prepared = self._studies.prepared(config, context)
        self._begin()
        classifier = new_classifier(config, backbone.spec, len(prepared.keys))
        model = EndToEndModel(backbone, classifier).to(team.device)
        listeners = (self._on_event, context)
        result = fit_on_shards(model, prepared, config, self.folder, self._registry, team, listeners)
        model.eval()
        test = split_features(model, prepared, "test", None, config, context)
        facts = (prepared.digest(), prepared.words, _device_name(team.device))
        return self._written(model, model.classifier.cpu(), prepared.keys, test, result, facts)

    def _begin(self) -> None:
        """Start the clock: what the cohort took is no run's."""
        self._stopwatch = Stopwatch(self.folder / CLOCK_FILE)

    def _on_event(self, event: Event) -> None:
        if self._stopwatch is not None:
            self._stopwatch.keep()
        if isinstance(event, EpochEnded):
            self._tell(event)

    def _written(
        self,
        model: nn.Module,
        classifier: MoLREClassifier,
        keys: tuple[str, ...],
        test: Sequence[StudyFeatures],
        fitted: FitResult,
        facts: tuple[str, CohortWords, str],
    ) -> Finished:
        data_digest, words, device = facts
        scores = scores_of(classifier, keys, test)
        write_atomically(self.folder / WEIGHTS_FILE, save(_on_cpu(model)))
        document = {
            **self._facts(keys, fitted, scores),
            "data_digest": data_digest,
            "device": device,
            "words": words.studies,
        }
        result = write_result(self.folder, scores, document)
        for name in (CHECKPOINT_FILE, CLOCK_FILE):
            (self.folder / name).unlink(missing_ok=True)
        return Finished(self.cell, result, scores)

    def _facts(self, keys: tuple[str, ...], fitted: FitResult, scores: Scores) -> dict[str, Any]:
        cell, config = self.cell, self.cell.config
        kept = fitted.history[fitted.kept_epoch - 1]
        seconds = 0.0 if self._stopwatch is None else self._stopwatch.seconds()
        return {
            "digest": cell.digest,
            "backbone": cell.backbone.name,
            "arm": cell.arm,
            "seed": cell.seed,
            "epochs": len(fitted.history),
            "kept_epoch": fitted.kept_epoch,
            "validation_auc": kept.validation_auc,
            "test_auc": evaluate(keys, scores.labels_NC, scores.logits_NC).mean_auc,
            "seconds": round(seconds, 1),
            "precision": config.end_to_end.precision,
            "threads": torch.get_num_threads(),
            "parameters": counted(count_parameters(config, self._registry, len(keys), cell.carried)),
            "notice": config.notice,
        }


def scores_of(classifier: MoLREClassifier, keys: tuple[str, ...], test: Sequence[StudyFeatures]) -> Scores:
    """Return what a classifier says of studies."""
    return Scores(
        keys=keys,
        identifiers=tuple(study.identifier for study in test),
        # A study without a patient's key is its own patient.
        patients=tuple(study.patient_key or study.identifier for study in test),
        labels_NC=stack_labels(test).astype(np.int8),
        logits_NC=predict_logits(classifier, test),
    )


def _on_cpu(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.cpu().contiguous() for name, value in trained_weights(model).items()}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

"""Finished runs of a benchmark that nobody trained: scores that separate findings by chosen amounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.models.backbones.registry import open_registry
from trainer.benchmark.config import BenchmarkConfig
from trainer.benchmark.plan import Cell, Plan, count_parameters, make_plan
from trainer.benchmark.results import Finished, Scores, write_result

KEYS = tuple(f"finding_{number}" for number in range(8))
SHIFTS = {"head": 1.0, "molre": 1.6, "single": 1.3, "lora": 1.5, "lora_molre": 1.5, "lora_single": 1.5}


def made_up_config(**changes: Any) -> BenchmarkConfig:
    values = {
        "cohort": {"n_train": 4, "n_validate": 4, "n_calibrate": 1, "n_test": 4},
        "backbones": [{"name": "efficientnet_lite0"}],
        "arms": ["head", "molre", "single"],
        "seeds": [1, 2, 3],
        "bootstrap": {"n_resamples": 300, "seed": 4},
    }
    return BenchmarkConfig.model_validate(values | changes)


def made_up_runs(
    config: BenchmarkConfig,
    folder: Path,
    keys: Sequence[str] = KEYS,
    n_studies: int = 90,
    studies_a_patient: int = 2,
) -> tuple[Plan, tuple[Finished, ...]]:
    """Write and return every run of a plan; the last finding has four positives, the others a third of the studies."""
    registry = open_registry(None)
    plan = make_plan(config, registry)
    random = np.random.default_rng(7)
    labels_NC = (random.random((n_studies, len(keys))) < 0.33).astype(np.int8)
    labels_NC[:, -1] = np.arange(n_studies) < 4
    labels_NC[:3, 0] = -1
    hardness_C = np.linspace(0.4, 1.6, len(keys))
    shared_NC = random.normal(0.0, 1.0, labels_NC.shape)
    runs = []
    for cell in plan.cells:
        shift = SHIFTS[cell.arm] * hardness_C * (1.0 + 0.05 * random.normal())
        noise_NC = shared_NC + 0.5 * random.normal(0.0, 1.0, labels_NC.shape)
        logits_NC = (noise_NC + shift * (labels_NC == 1)).astype(np.float32)
        names = tuple(f"study-{number}" for number in range(n_studies))
        patients = tuple(f"patient-{number // studies_a_patient}" for number in range(n_studies))
        scores = Scores(tuple(keys), names, patients, labels_NC, logits_NC)
        result = write_result(folder / "runs" / cell.place, scores, made_up_facts(cell, registry, len(keys)))
        runs.append(Finished(cell, result, scores))
    return plan, tuple(runs)


def made_up_facts(cell: Cell, registry: Any, n_findings: int) -> dict[str, Any]:
    return {
        "digest": cell.digest,
        "data_digest": "0" * 64,
        "backbone": cell.backbone.name,
        "arm": cell.arm,
        "seed": cell.seed,
        "epochs": 20,
        "kept_epoch": 12,
        "validation_auc": 0.8,
        "test_auc": 0.8,
        "seconds": 1.0,
        "device": "cpu",
        "precision": "no",
        "threads": 1,
        "parameters": count_parameters(cell.config, registry, n_findings).to_json(),
        "words": "synthetic phantoms",
        "notice": "Trained on synthetic phantoms, for demonstration only",
    }

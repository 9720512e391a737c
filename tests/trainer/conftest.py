"""One small but real run from scratch, which the tests of packages, retraining and processes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.phantom.spec import PhantomSpec
from engine.preprocess.spec import PreprocessSpec
from trainer.config import PhantomCohortConfig, ReferenceConfig, ScheduleConfig, TrainConfig
from trainer.protocol import Event, Finished
from trainer.training import run_training

TINY_SPEC = PhantomSpec(matrix=72, pixel_spacing_mm=3.2, n_slices=13, slice_spacing_mm=12.0)


def tiny_config(**changes: object) -> TrainConfig:
    """A run of seconds: coarse phantoms, small pictures, few studies."""
    config = TrainConfig(
        name="tiny",
        threads=1,
        cohort=PhantomCohortConfig(n_train=12, n_validate=8, n_calibrate=4, n_test=6, spec=TINY_SPEC),
        preprocessing=PreprocessSpec(spacing_mm=(12.0, 3.2, 3.2), size_px=(64, 64), align=False),
        schedule=ScheduleConfig(min_epochs=20, max_epochs=20),
        reference=ReferenceConfig(n_replay=6, n_calibrate=4, n_heldout=6),
    )
    return config.model_copy(update=changes)


@dataclass(frozen=True)
class TinyRun:
    """The configuration, the output folder, the result and every event of the shared run."""

    config: TrainConfig
    out: Path
    finished: Finished
    events: tuple[Event, ...]

    @property
    def package(self) -> Path:
        return self.out / "package"

    @property
    def reference(self) -> Path:
        return self.out / "reference_cohort.safetensors"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    out = tmp_path_factory.mktemp("tiny_run")
    events: list[Event] = []
    finished = run_training(tiny_config(), out, events.append)
    return TinyRun(tiny_config(), out, finished, tuple(events))

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.errors import ConfigError
from trainer.cohorts.phantom import plan
from trainer.config import SPLITS, PhantomCohortConfig, ReferenceConfig, ScheduleConfig, TrainConfig


def test_the_shipped_configuration_is_valid_and_has_the_papers_sizes(resources: Path) -> None:
    config = TrainConfig.from_toml(resources / "training" / "phantom_demo.toml")
    assert (config.molre.n_experts, config.molre.rank, config.molre.hidden) == (6, 8, 256)
    assert (config.loss.gamma, config.schedule.patience) == (2.0, 5)
    assert config.slice_training is not None, "its adapters learn from slices"
    assert config.schedule.min_epochs >= 20
    assert config.optimiser.molre_learning_rate == 1e-4
    assert "synthetic phantoms" in config.notice


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs = 3", "epochs"),
        ("[schedule]\nmin_epochs = 5", "schedule.min_epochs"),
        ("[schedule]\nmin_epochs = 30\nmax_epochs = 20", "max_epochs"),
        ("[optimiser]\nhead_learning_rate = nan", "head_learning_rate"),
        ('mode = "end-to-end"', "mode"),
        ("[cohort]\nn_test = 3", "reference.n_heldout"),
        ("seed = ", "TOML"),
    ],
)
def test_impossible_configurations_are_refused_by_key(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_toml(path)
    assert named in caught.value.message
    assert "run.toml" in caught.value.message


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        TrainConfig().seed = 2  # type: ignore[misc]


def test_the_digest_follows_what_decides_the_result_alone() -> None:
    config = TrainConfig()
    assert config.digest() == TrainConfig(workers=4, threads=2).digest()
    assert config.digest() != TrainConfig(seed=2).digest()
    assert config.digest() != TrainConfig(schedule=ScheduleConfig(max_epochs=99)).digest()


def test_no_seed_is_in_two_splits_and_a_larger_split_keeps_its_studies() -> None:
    small = PhantomCohortConfig(seed=3, n_train=30, n_validate=10, n_calibrate=10, n_test=20)
    large = small.model_copy(update={"n_train": 100_000, "n_validate": 11})
    cases = plan(large)
    assert len({case.seed for case in cases}) == len(cases) == 100_000 + 11 + 10 + 20
    assert set(plan(small)) <= set(cases)
    assert [sum(case.split == split for case in plan(small)) for split in SPLITS] == [30, 10, 10, 20]
    other = plan(small.model_copy(update={"seed": 4}))
    assert not {case.seed for case in other} & {case.seed for case in cases}


def test_a_reference_larger_than_the_cohort_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_replay"):
        TrainConfig(reference=ReferenceConfig(n_replay=361))


def test_config_and_protocol_import_without_torch() -> None:
    code = "import sys, trainer.config, trainer.protocol; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_calibration_is_platt_and_youden_unless_the_configuration_says_otherwise(tmp_path: Path) -> None:
    assert (TrainConfig().calibration.method, TrainConfig().calibration.operating_point.rule) == ("platt", "youden")
    file = tmp_path / "run.toml"
    file.write_text(
        '[calibration]\nmethod = "temperature"\n[calibration.operating_point]\nrule = "sensitivity"\ntarget = 0.9\n',
        encoding="utf-8",
    )
    settings = TrainConfig.from_toml(file).calibration
    assert (settings.method, settings.operating_point.text) == ("temperature", "sensitivity of at least 0.9")
    file.write_text('[calibration.operating_point]\nrule = "sensitivity"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"calibration\.operating_point"):
        TrainConfig.from_toml(file)


def test_a_configuration_loads_no_solver() -> None:
    """The window reads configurations; sklearn and scipy would cost it a second."""
    code = "import sys, trainer.config; sys.exit(bool({'sklearn', 'scipy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0

"""Features from shards: those of painting but for the rounding of voxels, kept apart from them, computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.inference.compute import EXACT
from engine.inference.device import choose_device
from engine.inference.features import FeatureExtractor
from engine.models.backbones.registry import build_backbone
from engine.phantom.study import generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from engine.progress import Cancelled
from tests.trainer.conftest import TINY_SPEC, tiny_config
from trainer.cohorts.load import load_cohort
from trainer.cohorts.phantom import cohort_features, feature_digest, plan
from trainer.config import PhantomCohortConfig, ReferenceConfig, TrainConfig
from trainer.volumes.build import PreparedCohort, prepare_cohort
from trainer.volumes.features import features_of_prepared, voxel_features_digest
from trainer.volumes.shards import read_voxels


class _Counting:
    """Counts what is told, and cancels after so many studies."""

    def __init__(self, limit: int = 10**9) -> None:
        self.told: list[tuple[int, int]] = []
        self._limit = limit

    def progress(self, done: int, total: int, text: str) -> None:
        self.told.append((done, total))

    def raise_if_cancelled(self) -> None:
        if len(self.told) >= self._limit:
            raise Cancelled


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    cohort = PhantomCohortConfig(n_train=3, n_validate=2, n_calibrate=1, n_test=2, spec=TINY_SPEC)
    # A grid beside the painter's own: on that one, no voxel would have a fraction to lose.
    preprocessing = PreprocessSpec(spacing_mm=(11.0, 2.9, 2.9), size_px=(64, 64), align=False)
    reference = ReferenceConfig(n_replay=1, n_calibrate=1, n_heldout=1)
    return tiny_config(cohort=cohort, preprocessing=preprocessing, reference=reference)


@pytest.fixture(scope="module")
def shards(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    prepare_cohort(config, folder)
    return folder


@pytest.fixture
def prepared(config: TrainConfig, shards: Path) -> PreparedCohort:
    return prepare_cohort(config, shards)


def test_they_are_torchs_features_of_the_voxels_in_the_shard(
    config: TrainConfig, prepared: PreparedCohort, tmp_path: Path
) -> None:
    found = features_of_prepared(prepared, config, tmp_path)
    entry, study = prepared.entries["test"][1], found["test"][1]
    volume = prepare(generate(int(entry.identifier.removeprefix("phantom-")), TINY_SPEC).volume, config.preprocessing)
    rounded = replace(volume, voxels_hu=read_voxels(entry).astype(np.float32))
    exact = FeatureExtractor(build_backbone(config.backbone), choose_device("cpu"), EXACT).features(rounded)
    assert study.features_SD.dtype == np.float16
    assert np.allclose(study.features_SD.astype(np.float32), exact, rtol=2e-3, atol=1e-3)
    assert (study.identifier, study.patient_key) == (entry.identifier, entry.patient_key)
    assert np.array_equal(study.labels_C, entry.labels_C)


def test_they_are_the_painted_studies_features_but_for_the_rounding_of_voxels(
    config: TrainConfig, prepared: PreparedCohort, tmp_path: Path
) -> None:
    painted = cohort_features(config, tmp_path / "painted")
    found = features_of_prepared(prepared, config, tmp_path / "prepared")
    assert {split: len(studies) for split, studies in found.items()} == {
        "train": 3,
        "validate": 2,
        "calibrate": 1,
        "test": 2,
    }
    for split, studies in painted.items():
        for one, other in zip(studies, found[split], strict=True):
            assert one.identifier == other.identifier
            assert np.array_equal(one.labels_C, other.labels_C)
            features_SD = one.features_SD.astype(np.float32)
            apart = np.linalg.norm(features_SD - other.features_SD) / np.linalg.norm(features_SD)
            assert 0 < apart < 0.05, "whole Hounsfield units move features, a little"
    case = next(case for case in plan(config.cohort) if case.split == "test")
    entry = prepared.entries["test"][0]
    assert feature_digest(case, config) != voxel_features_digest(entry, config)


def test_a_stopped_computation_goes_on_and_nothing_is_computed_twice(
    config: TrainConfig, prepared: PreparedCohort, tmp_path: Path
) -> None:
    whole = features_of_prepared(prepared, config, tmp_path / "whole")
    with pytest.raises(Cancelled):
        features_of_prepared(prepared, config, tmp_path / "stopped", _Counting(limit=3))
    rest = _Counting()
    resumed = features_of_prepared(prepared, config, tmp_path / "stopped", rest)
    assert rest.told == [(number, 8) for number in range(4, 9)]
    for split, studies in whole.items():
        assert [study.digest() for study in studies] == [study.digest() for study in resumed[split]]
    again = _Counting()
    features_of_prepared(prepared, config, tmp_path / "stopped", again)
    assert again.told == []


def test_other_windows_voxels_or_weights_are_other_features_and_other_labels_are_not(
    config: TrainConfig, prepared: PreparedCohort
) -> None:
    entry = prepared.entries["train"][0]
    digest = voxel_features_digest(entry, config)
    narrower = config.preprocessing.model_copy(update={"windows_hu": ((0.0, 40.0), (0.0, 80.0), (-800.0, 2000.0))})
    assert voxel_features_digest(entry, config.model_copy(update={"preprocessing": narrower})) != digest
    assert voxel_features_digest(replace(entry, digest="0" * 64), config) != digest
    assert voxel_features_digest(replace(entry, labels_C=1 - entry.labels_C), config) == digest


def test_a_run_takes_its_studies_from_shards_that_are_there(config: TrainConfig, shards: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in shards.iterdir())
    loaded = load_cohort(config, tmp_path / "features", shards=shards)
    assert sorted(path.name for path in shards.iterdir()) == before
    assert len(loaded.features["train"]) == 3
    assert loaded.words.studies == "synthetic phantoms"

"""The cache of features: what it returns stays on disk, and says so when the disk loses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import TrainingError
from tests.trainer.synthetic import make_studies
from trainer.datasets import collate
from trainer.features import FeatureCache, KeptStudy

KEYS = ("a", "b", "c")


def test_a_kept_study_is_the_one_that_was_put_and_holds_no_features_itself(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEYS)
    for number, study in enumerate(make_studies(3, seed=1)):
        kept = cache.put(f"{number:064d}", study)
        again = cache.get(f"{number:064d}")
        assert again is not None
        for found in (kept, again):
            assert isinstance(found, KeptStudy)
            assert "features_SD" not in vars(found)
            assert found.features_SD.dtype == np.float16
            assert np.array_equal(found.features_SD, study.features_SD)
            assert np.array_equal(found.labels_C, study.labels_C)
            assert (found.identifier, found.reviewed, found.patient_key) == (study.identifier, False, "")
            assert found.digest() == study.digest()


def test_batches_of_kept_studies_are_those_of_studies_in_memory(tmp_path: Path) -> None:
    cache, studies = FeatureCache(tmp_path, KEYS), make_studies(4, seed=2)
    kept = [cache.put(f"{number:064d}", study) for number, study in enumerate(studies)]
    one, two = collate(studies), collate(kept)
    assert np.array_equal(one.features_BSD, two.features_BSD)
    assert np.array_equal(one.mask_BS, two.mask_BS)


def test_other_labels_leave_the_features_where_they_are(tmp_path: Path) -> None:
    study = make_studies(1, seed=3)[0]
    kept = FeatureCache(tmp_path, KEYS).put("0" * 64, study)
    other = kept.labelled("another", 1 - study.labels_C, "patient")
    assert isinstance(other, KeptStudy)
    assert (other.identifier, other.patient_key) == ("another", "patient")
    assert np.array_equal(other.labels_C, 1 - study.labels_C)
    assert np.array_equal(other.features_SD, study.features_SD)


def test_features_that_the_disk_lost_are_named(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, KEYS)
    kept = cache.put("0" * 64, make_studies(1, seed=4)[0])
    path = cache.path("0" * 64)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TrainingError, match="cannot be read any more") as caught:
        _ = kept.features_SD
    assert (caught.value.code, caught.value.kind) == ("training.features_lost", "environment")
    assert cache.get("0" * 64) is None
    with pytest.raises(TrainingError, match="cannot be read any more"):
        _ = kept.features_SD

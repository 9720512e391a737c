"""Prepared volumes and slice features from the cache: the same numbers, and never those of something else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.findings.catalogue import Catalogue
from engine.geometry import VolumeGeometry
from engine.inference import study_cache
from engine.inference.array_cache import ArrayCache
from engine.inference.predictor import Predictor
from engine.inference.study_cache import prepare_cached, prepared_key
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreparedVolume, PreprocessSpec
from tests.support.models import small_head, tiny_registry, write_random_package

REGISTRY = tiny_registry()


def same(one: PreparedVolume, other: PreparedVolume) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        if isinstance(getattr(one, field.name), np.ndarray)
        else getattr(one, field.name) == getattr(other, field.name)
        for field in fields(PreparedVolume)
    )


@pytest.mark.parametrize("align", [True, False])
def test_a_prepared_volume_comes_back_to_the_bit(tmp_path: Path, align: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = PreprocessSpec(align=align, size_px=(64, 64), spacing_mm=(5.0, 3.5, 3.5))
    cache = ArrayCache(tmp_path)
    expected = prepare(small_head(), spec)
    assert same(prepare_cached(small_head(), spec, cache), expected)
    monkeypatch.setattr(study_cache, "prepare", None)  # Whoever prepares now fails.
    again = prepare_cached(small_head(), spec, cache)
    assert same(again, expected)
    assert type(again.alignment) is type(expected.alignment)
    assert isinstance(again.spec, PreprocessSpec)


def test_a_damaged_entry_is_prepared_again(tmp_path: Path) -> None:
    cache, spec = ArrayCache(tmp_path), PreprocessSpec(align=False)
    expected = prepare_cached(small_head(), spec, cache)
    path = cache.path(prepared_key(small_head(), spec))
    path.write_bytes(path.read_bytes()[:-3])
    assert same(prepare_cached(small_head(), spec, cache), expected)
    assert cache.get(prepared_key(small_head(), spec)) is not None


def test_an_entry_with_other_fields_is_prepared_again(tmp_path: Path) -> None:
    cache, spec = ArrayCache(tmp_path), PreprocessSpec(align=False)
    cache.put(prepared_key(small_head(), spec), {"voxels_hu": np.zeros((1, 2, 2), dtype=np.float32)})
    assert same(prepare_cached(small_head(), spec, cache), prepare(small_head(), spec))


def test_whatever_changes_the_result_changes_the_key() -> None:
    volume, spec = small_head(), PreprocessSpec()
    geometry = volume.require_geometry()
    changed = volume.voxels.copy()
    changed[2, 30, 30] += 1
    moved = geometry.origins_lps_mm + np.array([0.0, 0.0, 1e-9])
    wider = VolumeGeometry(
        geometry.row_cosine_lps, geometry.column_cosine_lps, (3.0, 3.1), geometry.origins_lps_mm, 64, 64
    )
    keys = [
        prepared_key(volume, spec),
        prepared_key(replace(volume, voxels=changed), spec),
        prepared_key(replace(volume, voxels=volume.voxels.astype(np.float32)), spec),
        prepared_key(replace(volume, geometry=replace(geometry, origins_lps_mm=moved)), spec),
        prepared_key(replace(volume, geometry=wider), spec),
        prepared_key(replace(volume, padding_value=-1500.0), spec),
        prepared_key(volume, spec.model_copy(update={"align": False})),
        prepared_key(volume, spec.model_copy(update={"version": 2})),
    ]
    assert len(set(keys)) == len(keys)
    other_names = replace(volume, sop_instance_uids=("2.25.9",) * len(volume.voxels))
    assert prepared_key(other_names, spec) == keys[0], "names change nothing about the numbers"


def test_a_cache_that_cannot_be_written_is_a_warning_not_a_failure(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = ArrayCache(tmp_path / "file" / "cache", 1 << 30)
    prepared = prepare_cached(small_head(), PreprocessSpec(align=False), cache)
    assert any("cannot be written" in warning for warning in prepared.warnings)
    predictor = _predictor(tmp_path, catalogue, cache)
    assert any("cannot be written" in warning for warning in _analyse(predictor).warnings)


def _predictor(folder: Path, catalogue: Catalogue, cache: ArrayCache | None, name: str = "package") -> Predictor:
    if not (folder / name).exists():
        write_random_package(folder / name, tuple(catalogue)[:3], REGISTRY)
    return Predictor.open(folder / name, catalogue, "cpu", REGISTRY, cache)


def _analyse(predictor: Predictor):
    uids = {"study_instance_uid": "2.25.1", "series_instance_uid": "2.25.2"}
    return predictor.analyse(small_head(), **uids, read_s=0.0)


def test_features_are_computed_once_and_a_damaged_file_again(tmp_path: Path, catalogue: Catalogue) -> None:
    cache = ArrayCache(tmp_path / "cache")
    calls: list[int] = []

    def opened() -> Predictor:
        predictor = _predictor(tmp_path, catalogue, cache)
        extract = predictor._extractor.features
        predictor._extractor.features = lambda *a: (calls.append(1), extract(*a))[1]  # type: ignore[method-assign]
        return predictor

    first = _analyse(opened())
    second = _analyse(opened())
    assert calls == [1]
    np.testing.assert_array_equal(second.ledger.logits, first.ledger.logits)
    np.testing.assert_array_equal(second.ledger.values, first.ledger.values)
    for path in (tmp_path / "cache").rglob("*.arrays"):
        path.write_bytes(path.read_bytes()[:50])
    third = _analyse(opened())
    assert calls == [1, 1]
    np.testing.assert_array_equal(third.ledger.logits, first.ledger.logits)


def test_other_weights_do_not_meet_the_features_of_these(tmp_path: Path, catalogue: Catalogue) -> None:
    cache = ArrayCache(tmp_path / "cache")
    other = tiny_registry("e" * 64)
    _analyse(_predictor(tmp_path, catalogue, cache))
    write_random_package(tmp_path / "other", tuple(catalogue)[:3], other)
    _analyse(Predictor.open(tmp_path / "other", catalogue, "cpu", other, cache))
    assert cache.use().n_entries == 3, "one prepared volume, and the features of each model"
    torch.manual_seed(0)
    _analyse(_predictor(tmp_path, catalogue, cache))
    assert cache.use().n_entries == 3

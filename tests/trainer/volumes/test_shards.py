from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.phantom.study import PAINTED_KEYS, generate
from engine.preprocess.prepare import prepare
from engine.preprocess.spec import PreprocessSpec
from engine.preprocess.windows import to_channels
from engine.progress import Cancelled, CancelToken
from tests.trainer.conftest import TINY_SPEC, tiny_config
from trainer.config import AugmentConfig, EndToEndConfig, PhantomCohortConfig, ReferenceConfig, TrainConfig
from trainer.sources import Draw
from trainer.volumes.build import prepare_cohort
from trainer.volumes.shards import PreparedStudy, read_entries, read_voxels, to_int16, write_shard
from trainer.volumes.source import ShardSource

SPEC = PreprocessSpec(size_px=(12, 10))


def _studies(slices: tuple[int, ...] = (5, 8, 17)) -> list[PreparedStudy]:
    random = np.random.default_rng(1)
    return [
        PreparedStudy(
            f"study-{number}",
            f"patient-{number // 2}",
            random.integers(-1024, 3000, (n, 12, 10)).astype(np.int16),
            np.array([1, 0, -1], dtype=np.int8) * (number + 1 > 1) + np.int8(0),
        )
        for number, n in enumerate(slices)
    ]


def _config(**changes: object) -> TrainConfig:
    cohort = PhantomCohortConfig(n_train=5, n_validate=1, n_calibrate=1, n_test=1, spec=TINY_SPEC)
    values = {
        "mode": "end_to_end",
        "cohort": cohort,
        "preprocessing": tiny_config().preprocessing,
        "reference": ReferenceConfig(n_replay=1, n_calibrate=1, n_heldout=1),
        "end_to_end": EndToEndConfig(studies_per_shard=2, device="cpu"),
    }
    return TrainConfig(**(values | changes))  # type: ignore[arg-type]


def test_a_shard_gives_back_every_voxel_label_and_name(tmp_path: Path) -> None:
    studies = _studies()
    write_shard(tmp_path / "a.zarr", studies)
    entries = read_entries(tmp_path / "a.zarr")
    assert [(entry.identifier, entry.patient_key, entry.n_slices) for entry in entries] == [
        (study.identifier, study.patient_key, len(study.voxels_hu)) for study in studies
    ]
    for entry, study in zip(reversed(entries), reversed(studies), strict=True):
        assert np.array_equal(read_voxels(entry), study.voxels_hu)
        assert read_voxels(entry).dtype == np.int16
        assert np.array_equal(entry.labels_C, study.labels_C)
    assert len({entry.digest for entry in entries}) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_head_takes_less_room_than_its_numbers(tmp_path: Path) -> None:
    voxels = to_int16(prepare(generate(3, TINY_SPEC).volume, tiny_config().preprocessing).voxels_hu)
    write_shard(tmp_path / "a.zarr", [PreparedStudy("a", "", voxels, np.zeros(1, np.int8))])
    written = sum(path.stat().st_size for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
    assert written < 0.7 * voxels.nbytes


def test_hounsfield_units_are_rounded_and_bounded() -> None:
    values = np.array([[[-1024.4, 39.6, 1e6, -1e6]]], dtype=np.float32)
    assert to_int16(values).tolist() == [[[-1024, 40, 32767, -32768]]]


def test_a_damaged_shard_is_refused_by_name(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.zarr", _studies())
    entry = read_entries(tmp_path / "a.zarr")[1]
    for path in (tmp_path / "a.zarr" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrainingError, match=r"a\.zarr") as caught:
        read_voxels(entry)
    assert caught.value.code == "training.shard"
    (tmp_path / "a.zarr" / "zarr.json").unlink()
    with pytest.raises(TrainingError):
        read_entries(tmp_path / "a.zarr")


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError) as caught:
        write_shard(tmp_path / "file" / "a.zarr", _studies())
    assert (caught.value.code, caught.value.kind) == ("training.write", "environment")


class _CancelAfter(CancelToken):
    def __init__(self, questions: int) -> None:
        super().__init__()
        self._left = questions

    def progress(self, done: int, total: int, text: str) -> None: ...

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Cancelled


def test_a_cohort_is_prepared_once_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        prepare_cohort(_config(), tmp_path, _CancelAfter(2))
    first = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(first) == 2
    prepared = prepare_cohort(_config(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3 + 3
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in first.items())
    assert [entry.identifier for entry in prepared.entries["train"]] == [f"phantom-{1_000_000 + n}" for n in range(5)]
    study = generate(1_000_002, TINY_SPEC)
    entry = prepared.entries["train"][2]
    expected = prepare(study.volume, tiny_config().preprocessing).voxels_hu
    assert np.abs(read_voxels(entry) - expected).max() <= 0.5
    assert entry.labels_C.tolist() == [study.labels[key] for key in PAINTED_KEYS]
    again = prepare_cohort(_config(), tmp_path)
    assert again.digest() == prepared.digest()


def test_another_preparation_makes_other_shards(tmp_path: Path) -> None:
    few = PhantomCohortConfig(n_train=1, n_validate=1, n_calibrate=1, n_test=1, spec=TINY_SPEC)
    one = prepare_cohort(_config(cohort=few), tmp_path)
    coarse = PreprocessSpec(spacing_mm=(12, 4, 4), size_px=(32, 32), align=False)
    other = prepare_cohort(_config(cohort=few, preprocessing=coarse), tmp_path)
    assert one.digest() != other.digest()
    assert len(list(tmp_path.iterdir())) == 8


@pytest.mark.slow
def test_several_processes_write_the_same_shards(tmp_path: Path) -> None:
    alone = prepare_cohort(_config(), tmp_path / "1")
    helped = prepare_cohort(_config(workers=2), tmp_path / "2")
    assert helped.digest() == alone.digest()
    assert {path.name for path in (tmp_path / "1").iterdir()} == {path.name for path in (tmp_path / "2").iterdir()}


def _source(folder: Path, augment: AugmentConfig | None = None) -> ShardSource:
    if not folder.exists():
        write_shard(folder, _studies())
    return ShardSource(read_entries(folder), SPEC, torch.device("cpu"), augment)


def test_batches_are_windowed_as_at_inference_and_padded_to_the_longest(tmp_path: Path) -> None:
    batch = _source(tmp_path / "a.zarr").batch([2, 0])
    assert batch.identifiers == ("study-2", "study-0")
    assert batch.pictures_BMSHW.shape == (2, 3, 17, 12, 10)
    assert batch.mask_BS.sum(dim=1).tolist() == [17, 5]
    assert torch.count_nonzero(batch.pictures_BMSHW[1, :, 5:]) == 0
    for row, number in enumerate((2, 0)):
        voxels = _studies()[number].voxels_hu
        expected = to_channels(voxels.astype(np.float32), SPEC.windows_hu).swapaxes(0, 1)
        assert batch.pictures_BMSHW[row, :, : len(voxels)].numpy() == pytest.approx(expected, abs=1e-6)
    assert batch.known_BC.tolist() == [[True, True, False], [True, True, True]]
    assert batch.targets_BC[0].tolist() == [1, 0, 0]


def test_what_is_learnt_from_is_augmented_by_its_place_and_what_is_validated_is_not(tmp_path: Path) -> None:
    source = _source(tmp_path / "a.zarr", AugmentConfig())
    plain = source.batch([1]).pictures_BMSHW
    assert torch.equal(plain, _source(tmp_path / "a.zarr").batch([1], Draw(1, 1, (0,))).pictures_BMSHW)
    draws = {place: source.batch([1], Draw(1, 1, (place,))).pictures_BMSHW for place in (0, 1)}
    assert not torch.equal(draws[0], plain)
    assert not torch.equal(draws[0], draws[1])
    both = source.batch([1, 1], Draw(1, 1, (0, 1))).pictures_BMSHW
    assert torch.equal(both[0], draws[0][0])
    assert torch.equal(both[1], draws[1][0])
    assert not torch.equal(source.batch([1], Draw(1, 2, (0,))).pictures_BMSHW, draws[0])

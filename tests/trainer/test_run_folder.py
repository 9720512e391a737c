from __future__ import annotations

import csv
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from pydantic import ValidationError
from tensorboardX.proto.event_pb2 import Event

from tests.trainer.conftest import TinyRun
from trainer.checkpoints import EpochRecord
from trainer.config import AugmentConfig, EndToEndConfig, OptimiserConfig, RateConfig, ScheduleConfig, TrainConfig
from trainer.run_folder import RunFolder


def board(folder: Path) -> dict[str, dict[int, float]]:
    """Read TensorBoard's event files: a length, two checksums and a message, again and again."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_a_run_says_what_it_was_made_from(tiny_run: TinyRun) -> None:
    document = json.loads((tiny_run.out / "run.json").read_text(encoding="utf-8"))
    assert document["config"] == tiny_run.config.model_dump(mode="json")
    assert document["seeds"] == {"run": tiny_run.config.seed, "cohort": tiny_run.config.cohort.seed}
    manifest = json.loads((tiny_run.package / "manifest.json").read_text(encoding="utf-8"))
    assert document["digests"]["data"] == manifest["training"]["data_digest"]
    assert document["digests"]["backbone"] == manifest["backbone"]["weights_digest"]
    assert document["versions"]["torch"] == version("torch")
    assert document["versions"]["threads"] == "1"


def test_csv_and_tensorboard_hold_the_curve_of_the_package(tiny_run: TinyRun) -> None:
    with (tiny_run.out / "curve.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    metrics = json.loads((tiny_run.package / "metrics.json").read_text(encoding="utf-8"))
    history = metrics["training"]["history"]
    assert [int(row["epoch"]) for row in rows] == list(range(1, 21))
    assert [float(row["train_loss"]) for row in rows] == [item[0] for item in history]
    assert [float(row["validation_auc"]) for row in rows] == [item[2] for item in history]
    shown = board(tiny_run.out / "tensorboard")
    assert shown["validation_loss"] == pytest.approx({n: item[1] for n, item in enumerate(history, 1)}, rel=1e-6)
    assert set(shown) == {"train_loss", "validation_loss", "validation_auc"}


def test_a_run_that_goes_on_shows_what_the_checkpoint_knows_and_no_more(tmp_path: Path) -> None:
    records = [EpochRecord(epoch, 1.0 / epoch, 2.0 / epoch, None) for epoch in range(1, 6)]
    folder = RunFolder(tmp_path)
    folder.begin({"a": 1}, {"data": "d"}, {"run": 1})
    for record in records:
        folder.add(record)
    again = RunFolder(tmp_path)
    again.begin({"a": 1}, {"data": "d"}, {"run": 1})
    again.restore(records[:3])
    again.add(records[3])
    assert list(board(tmp_path / "tensorboard")["train_loss"]) == [1, 2, 3, 4]
    assert (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        f"{epoch},{1.0 / epoch},{2.0 / epoch}," for epoch in range(1, 5)
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"augment": AugmentConfig()}, "augment needs mode"),
        ({"lora": {}}, "lora needs slice_training or mode"),
        ({"end_to_end": EndToEndConfig()}, "end_to_end needs mode"),
        ({"optimiser": OptimiserConfig(accumulate=17)}, r"optimiser\.accumulate must not exceed schedule\.batch_size"),
        ({"rate": RateConfig(final_share=0.1)}, r"rate\.final_share needs rate\.decay"),
        ({"schedule": {"batch_size": 0}}, "batch_size"),
        ({"sampling": {"repeat_threshold": 0.0}}, "repeat_threshold"),
    ],
)
def test_pairs_that_cannot_be_meant_together_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        TrainConfig(**changes)  # type: ignore[arg-type]


def test_the_same_pairs_are_fine_where_they_belong_together() -> None:
    TrainConfig(mode="end_to_end", augment=AugmentConfig(), lora={}, end_to_end=EndToEndConfig())  # type: ignore[arg-type]
    TrainConfig(rate=RateConfig(decay="cosine", final_share=0.1), schedule=ScheduleConfig(batch_size=4))

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import TrainingError
from trainer.config import RetrainConfig
from trainer.protocol import (
    Cancelled,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Progressed,
    RetrainRequest,
    Started,
    TrainRequest,
    read_event,
    read_request,
    write_event,
    write_request,
)

EVENTS: tuple[Event, ...] = (
    Started(kind="retrain", pid=12, device="cpu"),
    Progressed(done=1, total=0, text="Größe ≤ 3\nlines"),
    EpochEnded(epoch=1, max_epochs=20, train_loss=0.5, validation_loss=0.25, validation_auc=None),
    Finished(package_path="p", package_digest="d", comparison_path=None, mean_auc=0.8, text=""),
    Failed(code="training.no_feedback", message="m", hint="h", kind="input"),
    Cancelled(checkpoint_path=None),
)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event)
def test_every_event_is_one_line_and_comes_back_equal(event: Event) -> None:
    line = write_event(event)
    assert "\n" not in line
    assert read_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        "Epoch 1 of 3",
        "{}",
        '{"event": "exploded"}',
        '{"event": "progressed", "done": 1, "total": 2}',
        '{"event": "cancelled", "checkpoint_path": null, "extra": 1}',
        '{"event": "started", "protocol_version": 2, "kind": "train", "pid": 1, "device": "cpu"}',
    ],
)
def test_anything_else_on_stdout_is_refused(line: str) -> None:
    with pytest.raises(TrainingError) as caught:
        read_event(line)
    assert caught.value.code == "training.protocol"


def test_requests_come_back_equal(tmp_path: Path) -> None:
    for request in (
        TrainRequest(config_path="a.toml", out="out"),
        RetrainRequest(
            store="s.sqlite",
            base_package="m",
            reference_cohort="r.safetensors",
            out="o",
            readers=("A",),
            config=RetrainConfig(epochs=3),
            seed=7,
        ),
    ):
        write_request(request, tmp_path / "request.json")
        assert read_request(tmp_path / "request.json") == request


@pytest.mark.parametrize("change", [{"kind": "destroy"}, {"surprise": 1}, {"protocol_version": 2}, {"seed": -1}])
def test_requests_that_are_not_ours_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    request = RetrainRequest(store="s", base_package="m", reference_cohort="r", out="o").model_dump(mode="json")
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**request, **change}), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"request\.json") as caught:
        read_request(path)
    assert caught.value.code == "training.request_invalid"


def test_a_missing_request_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.json") as caught:
        read_request(tmp_path / "gone.json")
    assert caught.value.code == "training.request_unreadable"

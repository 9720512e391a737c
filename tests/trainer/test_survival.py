"""A run that is killed, starved of disk or stopped inside an epoch ends in the bits of a run that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import TrainingError
from engine.progress import Cancelled, CancelToken
from tests.trainer.survival import CHECKPOINT, KEYS, digest, end_to_end_run, new_run, settings
from tests.trainer.synthetic import make_studies
from trainer.checkpoints import trained_weights
from trainer.config import OptimiserConfig
from trainer.datasets import StudyFeatures
from trainer.loop import CachedModel, FitSettings, Run
from trainer.sources import CachedSource
from trainer.team import Alone, Launch

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def _start(what: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.survival", what, str(folder)],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    output, errors = _start("train", tmp_path_factory.mktemp("alone")).communicate(timeout=200)
    assert output, errors
    return output.strip()


def _versions_of(checkpoint: Path, process: subprocess.Popen[str]) -> Iterator[int]:
    """Yield as the process writes one checkpoint after another; stop if it ends."""
    seen, last = 0, -1
    while process.poll() is None:
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else -1
        if now != last:
            last, seen = now, seen + 1
            yield seen
        time.sleep(0.001)


@pytest.mark.slow
def test_killed_at_several_moments_it_goes_on_to_the_same_bits(left_alone: str, tmp_path: Path) -> None:
    for killed, moments in enumerate((1, 17, 9)):
        process = _start("train", tmp_path)
        for seen in _versions_of(tmp_path / CHECKPOINT, process):
            if seen > moments:
                time.sleep(0.003 * killed)
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(timeout=200) == -signal.SIGKILL
        process.communicate()
    output, errors = _start("train", tmp_path, MUST_RESUME="1").communicate(timeout=200)
    assert output.strip() == left_alone, errors


@pytest.mark.slow
def test_on_a_full_disk_the_last_good_checkpoint_stands_and_is_gone_on_from(left_alone: str, tmp_path: Path) -> None:
    process = _start("train", tmp_path)
    for seen in _versions_of(tmp_path / CHECKPOINT, process):
        if seen > 12:
            process.kill()
            break
    process.communicate()
    (tmp_path / f".{CHECKPOINT}.00000000.part").write_bytes(b"what a killed process left")
    before = (tmp_path / CHECKPOINT).read_bytes()
    output, errors = _start("full_disk", tmp_path).communicate(timeout=200)
    assert output.split() == ["training.write", "environment"], errors
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    output, errors = _start("train", tmp_path, MUST_RESUME="1").communicate(timeout=200)
    assert output.strip() == left_alone, errors


class _CancelAfter(CancelToken):
    def __init__(self, questions: int) -> None:
        super().__init__()
        self._left = questions

    def progress(self, done: int, total: int, text: str) -> None: ...

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.cancel()
        super().raise_if_cancelled()


def _trained(folder: Path, how: FitSettings) -> str:
    classifier, run = new_run(how)
    run.fit(folder / CHECKPOINT, lambda record: None)
    return digest(classifier)


def test_stopped_inside_an_epoch_no_step_is_done_twice(tmp_path: Path) -> None:
    whole = _trained(tmp_path / "whole", settings(max_epochs=20))
    _, run = new_run(settings(max_epochs=20))
    with pytest.raises(Cancelled):
        run.fit(tmp_path / CHECKPOINT, lambda record: None, _CancelAfter(21))
    questions = _CancelAfter(10**9)
    classifier, run = new_run(settings(max_epochs=20, must_resume=True))
    done: list[int] = []
    run.fit(tmp_path / CHECKPOINT, lambda record: None, questions, lambda history: done.append(len(history)))
    assert digest(classifier) == whole
    steps = 20 * 9  # About: repeats make an epoch of 90 studies longer than its six batches.
    assert 10**9 - questions._left < steps
    assert done[0] >= 1


def test_each_option_changes_the_weights(tmp_path: Path) -> None:
    """Else the tests above would hold for options that do nothing."""
    whole = _trained(tmp_path / "0", settings(max_epochs=20))
    plain = settings()
    for number, changes in enumerate(
        (
            {"optimiser": OptimiserConfig(accumulate=2, average_decay=0.9, head_weight_decay=0.1)},
            {"optimiser": OptimiserConfig(clip_norm=0.005, accumulate=2, head_weight_decay=0.1)},
            {"optimiser": OptimiserConfig(clip_norm=0.005, accumulate=2, average_decay=0.9)},
            {"rate": plain.rate.model_copy(update={"warmup_steps": 0})},
            {"sampling": plain.sampling.model_copy(update={"repeat_threshold": None})},
        ),
        start=1,
    ):
        assert _trained(tmp_path / str(number), settings(max_epochs=20, **changes)) != whole, changes
    assert _trained(tmp_path / "same", settings(max_epochs=20, read_ahead=0, checkpoint_steps=None)) == whole


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path) -> None:
    moved = {}
    for parts in (1, 2, 5, 16):
        classifier, run = new_run(settings(optimiser=OptimiserConfig(accumulate=parts), max_epochs=20))
        run.fit(tmp_path / f"{parts}" / CHECKPOINT, lambda record: None)
        moved[parts] = torch.cat([value.flatten() for value in classifier.state_dict().values()])
    for parts in (2, 5, 16):
        assert torch.allclose(moved[1], moved[parts], atol=2e-5), parts


def test_what_is_validated_and_kept_is_the_average(tmp_path: Path) -> None:
    classifier, run = new_run(settings(max_epochs=20, keep="last"))
    run.fit(tmp_path / CHECKPOINT, lambda record: None)
    average = run._trained.average
    assert average is not None
    for name, value in classifier.named_parameters():
        assert torch.equal(average.weights[f"classifier.{name}"], value)


def test_asked_to_go_on_it_does_not_begin_anew(tmp_path: Path) -> None:
    _, run = new_run(settings(must_resume=True))
    with pytest.raises(TrainingError) as caught:
        run.fit(tmp_path / CHECKPOINT, lambda record: None)
    assert caught.value.code == "training.resume_nothing"
    assert list(tmp_path.iterdir()) == []
    _trained(tmp_path, settings(max_epochs=20))
    before = (tmp_path / CHECKPOINT).read_bytes()
    _, run = new_run(settings(must_resume=True, run_digest="another"))
    with pytest.raises(TrainingError) as caught:
        run.fit(tmp_path / CHECKPOINT, lambda record: None)
    assert caught.value.code == "training.resume_mismatch"
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_study_that_is_not_finite_in_a_part_of_a_batch_stops_the_whole_step(tmp_path: Path) -> None:
    studies = list(make_studies(16, seed=1))
    broken = studies[5].features_SD.copy()
    broken[0, 0] = np.inf
    studies[5] = StudyFeatures("phantom-666", broken, studies[5].labels_C)
    classifier, _ = new_run(settings())
    before = digest(classifier)
    run = Run(CachedModel(classifier), KEYS, CachedSource(studies), CachedSource(make_studies(20, seed=2)), settings())
    with pytest.raises(TrainingError, match="phantom-666") as caught:
        run.fit(tmp_path / CHECKPOINT, lambda record: None)
    assert caught.value.code == "training.non_finite_loss"
    assert digest(classifier) == before


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node=2")
ACCELERATE = (
    *("accelerate.commands.launch", "--num_processes=2", "--num_machines=1", "--main_process_port=0"),
    *("--mixed_precision=no", "--dynamo_backend=no"),
)


def _launch(launcher: tuple[str, ...], what: str, folder: Path, **environment: str) -> list[dict[str, Any]]:
    """Start a program in two processes and return what each of them left."""
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "tests.trainer.survival", what, str(folder)],
        cwd=ROOT,
        # Where accelerate looks for the configuration of whoever runs this.
        env={**ENVIRONMENT, "HF_HOME": str(folder / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, (*ACCELERATE, "--multi_gpu")], ids=["torchrun", "accelerate"])
def test_two_processes_give_the_weights_of_one_with_the_same_batch(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    """Over gloo, 41 studies to validate: an odd number, so that a padded gather would count one twice."""
    classifier, run = new_run(settings(max_epochs=20))
    alone = run.fit(tmp_path / "alone" / CHECKPOINT, lambda record: None)
    results = _launch(launcher, "together", tmp_path)
    assert [result["size"] for result in results] == [2, 2]
    assert results[0]["history"] == results[1]["history"]
    for one, two in zip(alone.history, results[0]["history"], strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)
        assert two.validation_auc == pytest.approx(one.validation_auc, abs=2e-3)
    for name, value in classifier.state_dict().items():
        assert torch.equal(results[0]["weights"][name], results[1]["weights"][name])
        assert torch.allclose(results[0]["weights"][name], value, atol=2e-4), name


@pytest.mark.slow
def test_with_fsdp_each_process_holds_half_of_the_backbone_and_learns_what_one_does(tmp_path: Path) -> None:
    model, run, validate = end_to_end_run(tmp_path / "alone", Alone())
    before = trained_weights(model)
    alone = run.fit(tmp_path / "alone" / CHECKPOINT, lambda record: None)
    after = trained_weights(model)
    assert sum(not torch.equal(before[name], after[name]) for name in after) > len(after) / 2
    results = _launch((*ACCELERATE, "--use_fsdp"), "sharded", tmp_path)
    assert [result["share"] for result in results] == pytest.approx([0.5, 0.5], abs=0.02)
    assert results[0]["history"] == results[1]["history"]
    for one, two in zip(alone.history, results[0]["history"], strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-3)
    for name, value in after.items():
        assert torch.equal(results[0]["weights"][name], results[1]["weights"][name])
        assert torch.allclose(results[0]["weights"][name], value, atol=2e-4), name
    features = model.study_features(validate.pictures(0))
    assert torch.allclose(results[0]["features"], features, atol=2e-3)


@pytest.mark.slow
def test_in_mixed_precision_the_weights_stay_whole_and_the_loss_about_the_same(tmp_path: Path) -> None:
    classifier, run = new_run(settings(max_epochs=20))
    whole = run.fit(tmp_path / "whole" / CHECKPOINT, lambda record: None)
    output, errors = _start("together", tmp_path, PRECISION="bf16").communicate(timeout=200)
    assert output == "", errors
    mixed = torch.load(tmp_path / "rank0.pt", weights_only=False)
    assert {value.dtype for value in mixed["weights"].values()} == {torch.float32}
    assert any(not torch.equal(mixed["weights"][name], value) for name, value in classifier.state_dict().items())
    for one, two in zip(whole.history, mixed["history"], strict=True):
        assert two.train_loss == pytest.approx(one.train_loss, rel=0.03)
        assert two.validation_loss == pytest.approx(one.validation_loss, rel=0.03)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "1"}, "only one process"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, "--fsdp_offload_params"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "--fsdp_activation_checkpointing"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "precision bf16, but the run's configuration says no"),
        ({"ACCELERATE_MIXED_PRECISION": "fp16"}, "precision fp16"),
    ],
)
def test_what_the_launcher_was_asked_for_in_vain_is_said(environment: dict[str, str], named: str) -> None:
    with pytest.raises(TrainingError, match=named) as caught:
        Launch.of({"WORLD_SIZE": "2", "FSDP_OFFLOAD_PARAMS": "false", **environment}, "no")
    assert caught.value.code == "training.launch"
    assert caught.value.hint


def test_fsdp_is_refused_where_nothing_of_the_backbone_is_frozen() -> None:
    asked = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}
    with pytest.raises(TrainingError, match="trains them all") as caught:
        Launch.of(asked, "no", whole=True)
    assert caught.value.code == "training.launch"
    assert Launch.of({"WORLD_SIZE": "2"}, "no", whole=True).size == 2


def test_what_the_launcher_always_says_is_no_reason_to_refuse() -> None:
    said = {"ACCELERATE_MIXED_PRECISION": "no", "FSDP_OFFLOAD_PARAMS": "true", "ACCELERATE_USE_CPU": "False"}
    assert Launch.of(said, "bf16") == Launch(1, sharded=False)
    assert Launch.of({**said, "WORLD_SIZE": "4", "ACCELERATE_MIXED_PRECISION": "bf16"}, "bf16").size == 4
    asked = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "false"}
    assert Launch.of(asked, "no") == Launch(2, sharded=True)

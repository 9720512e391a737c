from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import TrainingError
from engine.models.classifier import MoLREClassifier
from engine.models.settings import MoLRESettings
from engine.progress import Cancelled, CancelToken
from tests.trainer.synthetic import make_studies
from trainer.checkpoints import EpochRecord
from trainer.config import LossConfig, OptimiserConfig
from trainer.datasets import StudyFeatures, collate
from trainer.evaluate import evaluate_studies, predict_logits
from trainer.loop import FitData, FitResult, FitSettings, fit
from trainer.losses import prevalence_weights
from trainer.steps import Objective, label_losses

KEYS = ("a", "b", "c")
WIDTH = 32


def _classifier(seed: int = 1) -> MoLREClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MoLREClassifier(WIDTH, len(KEYS), MoLRESettings(n_experts=3, rank=4, hidden=16))


def _settings(**changes: object) -> FitSettings:
    values: dict[str, object] = {
        "seed": 1,
        "loss": LossConfig(),
        "optimiser": OptimiserConfig(head_learning_rate=1e-2, pooling_learning_rate=1e-2, molre_learning_rate=1e-3),
        "min_epochs": 20,
        "max_epochs": 25,
        "patience": 5,
        "batch_size": 16,
        "keep": "best",
        "run_digest": "run",
    }
    return FitSettings(**(values | changes))  # type: ignore[arg-type]


def _data(n_train: int = 120) -> FitData:
    return FitData(KEYS, make_studies(n_train, seed=1), make_studies(60, seed=2))


class _CancelAfter(CancelToken):
    """Cancels at the n-th question."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self._left = questions

    def progress(self, done: int, total: int, text: str) -> None: ...

    def raise_if_cancelled(self) -> None:
        self._left -= 1
        if self._left < 0:
            self.cancel()
        super().raise_if_cancelled()


def _fit(
    folder: Path, settings: FitSettings, on_epoch: Callable[[EpochRecord], None] = lambda record: None
) -> tuple[MoLREClassifier, FitResult]:
    classifier = _classifier()
    return classifier, fit(classifier, _data(), settings, folder / "checkpoint.safetensors", on_epoch)


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loop_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    seen: list[EpochRecord] = []
    held_out = make_studies(120, seed=3)
    before = evaluate_studies(_classifier(), KEYS, held_out).mean_auc
    classifier, result = _fit(tmp_path, _settings(), seen.append)
    after = evaluate_studies(classifier, KEYS, held_out)
    assert before is not None
    assert before < 0.8
    assert after.mean_auc is not None
    assert after.mean_auc > 0.9
    assert tuple(seen) == result.history
    assert [record.epoch for record in seen] == list(range(1, len(seen) + 1))
    aucs = [record.validation_auc for record in seen]
    assert result.kept_epoch == 1 + aucs.index(max(auc for auc in aucs if auc is not None))
    assert evaluate_studies(classifier, KEYS, _data().validate).mean_auc == pytest.approx(max(aucs))  # type: ignore[type-var]
    assert seen[-1].train_loss < seen[0].train_loss


def test_same_seed_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    one, _ = _fit(tmp_path / "1", _settings(max_epochs=20))
    two, _ = _fit(tmp_path / "2", _settings(max_epochs=20))
    other, _ = _fit(tmp_path / "3", _settings(max_epochs=20, seed=2))
    assert _same(one.state_dict(), two.state_dict())
    assert not _same(one.state_dict(), other.state_dict())


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole, expected = _fit(tmp_path / "whole", _settings(max_epochs=20))
    checkpoint = tmp_path / "stopped" / "checkpoint.safetensors"
    with pytest.raises(Cancelled):
        fit(_classifier(), _data(), _settings(max_epochs=20), checkpoint, lambda record: None, _CancelAfter(60))
    resumed = _classifier(seed=99)
    epochs: list[int] = []
    result = fit(resumed, _data(), _settings(max_epochs=20), checkpoint, lambda record: epochs.append(record.epoch))
    assert epochs[0] > 1
    assert result == expected
    assert _same(whole.state_dict(), resumed.state_dict())


def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path: Path) -> None:
    _fit(tmp_path, _settings(max_epochs=20))
    epochs: list[int] = []
    _fit(tmp_path, _settings(max_epochs=20, run_digest="other"), lambda record: epochs.append(record.epoch))
    assert epochs[0] == 1


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0not a safetensors")
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors") as caught:
        _fit(tmp_path, _settings())
    assert caught.value.code == "training.checkpoint"


def test_cancelled_before_the_first_step_leaves_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Cancelled):
        fit(_classifier(), _data(), _settings(), checkpoint, lambda record: None, _CancelAfter(0))
    assert checkpoint.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_non_finite_loss_names_the_study_and_leaves_the_weights(tmp_path: Path) -> None:
    studies = list(make_studies(16, seed=1))
    broken = studies[5].features_SD.copy()
    broken[0, 0] = np.inf
    studies[5] = StudyFeatures("phantom-666", broken, studies[5].labels_C)
    classifier = _classifier()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with pytest.raises(TrainingError, match="phantom-666") as caught:
        fit(
            classifier,
            FitData(KEYS, studies, make_studies(60, seed=2)),
            _settings(),
            tmp_path / "checkpoint.safetensors",
            lambda record: None,
        )
    assert caught.value.code == "training.non_finite_loss"
    assert _same(before, classifier.state_dict())


def test_early_stop_waits_for_the_minimum_of_epochs_and_for_patience(tmp_path: Path) -> None:
    # Rates this small never change the ranking, so the first epoch stays the best one.
    still = OptimiserConfig(head_learning_rate=1e-12, pooling_learning_rate=1e-12, molre_learning_rate=1e-12)
    _, result = _fit(tmp_path, _settings(optimiser=still, min_epochs=20, max_epochs=60))
    assert (result.kept_epoch, len(result.history)) == (1, 20)
    _, patient = _fit(tmp_path / "p", _settings(optimiser=still, min_epochs=20, max_epochs=60, patience=30))
    assert len(patient.history) == 31


def test_a_validation_set_that_cannot_rank_epochs_is_refused(tmp_path: Path) -> None:
    negative = tuple(
        StudyFeatures(study.identifier, study.features_SD, np.zeros(3, np.int8)) for study in make_studies(20, seed=2)
    )
    with pytest.raises(TrainingError) as caught:
        fit(
            _classifier(),
            FitData(KEYS, make_studies(20, seed=1), negative),
            _settings(),
            tmp_path / "checkpoint.safetensors",
            lambda record: None,
        )
    assert caught.value.code == "training.validation_too_small"


def test_a_finding_that_nobody_reviewed_does_not_move(tmp_path: Path) -> None:
    studies = tuple(
        StudyFeatures(study.identifier, study.features_SD, np.where([False, True, False], -1, study.labels_C))
        for study in make_studies(60, seed=1)
    )
    classifier = _classifier()
    before = {name: value.clone() for name, value in classifier.head.state_dict().items()}
    no_decay = OptimiserConfig(head_learning_rate=1e-2, weight_decay=0.0)
    fit(
        classifier,
        FitData(KEYS, studies, make_studies(60, seed=2)),
        _settings(keep="last", optimiser=no_decay),
        tmp_path / "checkpoint.safetensors",
        lambda record: None,
    )
    after = classifier.head.state_dict()
    assert torch.equal(after["weight"][1], before["weight"][1])
    assert torch.equal(after["bias"][1], before["bias"][1])
    assert not torch.equal(after["weight"][0], before["weight"][0])


def test_padding_changes_no_logit() -> None:
    studies = make_studies(8, seed=4)
    classifier = _classifier()
    batch = collate(studies)
    together = classifier(batch.features_BSD, batch.mask_BS).logits_BC
    for row, study in enumerate(studies):
        alone = collate([study])
        assert torch.allclose(classifier(alone.features_BSD, alone.mask_BS).logits_BC[0], together[row], atol=1e-6)


def _reviewed(n: int) -> tuple[StudyFeatures, ...]:
    """Studies on which readers contradict what the other studies teach about the first finding: it is absent."""
    return tuple(
        StudyFeatures(study.identifier, study.features_SD, np.array([0, -1, -1], np.int8), reviewed=True)
        for study in make_studies(n * 6, seed=7)
        if study.labels_C[0] == 1
    )[:n]


def _mean_logit(folder: Path, **changes: object) -> float:
    """Train on 60 ordinary studies and 4 contradicting ones; the first finding's mean logit on the latter."""
    reviewed = _reviewed(4)
    classifier = _classifier()
    fit(
        classifier,
        FitData(KEYS, (*make_studies(60, seed=1), *reviewed), make_studies(20, seed=2)),
        _settings(keep="last", max_epochs=20, **changes),
        folder / "checkpoint.safetensors",
        lambda record: None,
    )
    return float(predict_logits(classifier, reviewed)[:, 0].mean())


def test_a_statement_counts_as_much_as_its_weight(tmp_path: Path) -> None:
    light = _mean_logit(tmp_path / "light", reviewed_weight=1.0)
    heavy = _mean_logit(tmp_path / "heavy", reviewed_weight=30.0)
    assert heavy < light - 0.3


def test_a_corrected_false_alarm_counts_as_much_as_a_corrected_miss(tmp_path: Path) -> None:
    """From a classifier that says 0.5 to everything, statements of either kind must push equally hard."""
    moved = {}
    for present in (0, 1):
        classifier = _classifier()
        torch.nn.init.zeros_(classifier.head.weight)
        labels = np.array([present, -1, -1], np.int8)
        reviewed = [StudyFeatures(s.identifier, s.features_SD, labels, reviewed=True) for s in make_studies(8, seed=7)]
        rare = prevalence_weights(torch.zeros(3), 0.01)
        batch = collate(reviewed)
        logits = classifier(batch.features_BSD, batch.mask_BS).logits_BC
        loss = label_losses(logits, batch, Objective(LossConfig(), rare, 1.0))
        loss.sum().backward()
        assert classifier.head.bias.grad is not None
        moved[present] = -float(classifier.head.bias.grad[0])
    assert moved[1] == pytest.approx(-moved[0])
    assert moved[1] > 0

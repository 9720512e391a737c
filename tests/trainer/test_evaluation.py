"""The report of an evaluation: every figure is of the right model, finding and set of studies."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from engine.inference.scored import ScoredModel, ScoredStudies
from engine.models.calibration import Calibration, Platt, sigmoid
from trainer.evaluation import evaluate_models
from trainer.evaluation_report import evaluate_to_folder
from trainer.protocol import EVALUATION_FILES

KEYS = ("a", "b", "rare")
N = 80


def _model(name: str, strength: float, seed: int, labels: np.ndarray) -> ScoredModel:
    random = np.random.default_rng(seed)
    return ScoredModel(
        name=name,
        version="1.0",
        digest=name * 64,
        notice=f"notice of {name}",
        calibration=Calibration({"a": Platt(slope=2.0, intercept=-1.0)}),
        operating_points={"a": 0.6, "b": 0.4, "rare": 0.5},
        logits_NC=random.normal(size=labels.shape) + strength * (labels == 1),
    )


@pytest.fixture
def scored() -> ScoredStudies:
    """Two patients in five have two studies; four labels of b are unknown."""
    index = np.arange(N)
    labels = np.stack([index % 2, index % 4 == 0, index < 3], axis=1).astype(np.int8)
    labels[-4:, 1] = -1
    return ScoredStudies(
        table="own.csv",
        keys=KEYS,
        n_not_measured=72,
        labels_NC=labels,
        patients=tuple(f"SECRET{i if i % 5 else i - 1}" for i in index),
        attributes={
            "scanner": tuple("GE | x" if i < N // 2 else "" for i in index),
            "slice_thickness_mm": tuple("5.0" if i % 3 else "0.625" for i in index),
        },
        categories={"a": "haemorrhage", "b": "haemorrhage", "rare": "mass"},
        models=(_model("x", 0.5, 1, labels), _model("y", 3.0, 2, labels)),
        n_skipped=2,
    )


def test_every_figure_is_what_an_independent_one_says(scored: ScoredStudies) -> None:
    report = evaluate_models(scored)
    for model, given in zip(report.models, scored.models, strict=True):
        for column, item in enumerate(model.findings[:2]):
            known = scored.labels_NC[:, column] >= 0
            labels, logits = scored.labels_NC[known, column], given.logits_NC[known, column]
            assert item.score.auc == pytest.approx(roc_auc_score(labels, logits))
            assert item.score.average_precision == pytest.approx(average_precision_score(labels, logits))
            shown = np.array([sigmoid(2 * z - 1) if column == 0 else sigmoid(z) for z in logits])
            called = shown >= given.operating_points[KEYS[column]]
            assert item.measure.sensitivity is not None and item.measure.specificity is not None  # noqa: PT018
            assert item.measure.sensitivity.value == pytest.approx(called[labels == 1].mean())
            assert item.measure.specificity.value == pytest.approx(1 - called[labels == 0].mean())
            assert item.quality is not None
            assert item.quality.brier == pytest.approx(brier_score_loss(labels, shown))
        rare = model.findings[2].to_json()
        assert (rare["auc"], rare["average_precision"], rare["note"], rare["n_pos"]) == (None, None, "too few", 3)
        assert rare["sensitivity"]["n"] == 3
        aucs = [item.score.auc for item in model.findings[:2]]
        assert model.evaluation.mean_auc == pytest.approx(np.mean(aucs))
        assert model.evaluation.std_auc == pytest.approx(np.std(aucs))
    assert report.comparison is not None
    assert report.comparison.mean is not None
    assert report.comparison.mean.first == pytest.approx(report.models[0].evaluation.mean_auc)
    assert report.comparison.mean.second == pytest.approx(report.models[1].evaluation.mean_auc)
    assert report.comparison.mean.interval.low > 0
    assert (report.n_studies, report.n_patients, report.comparison.mean.n_patients) == (80, 65, 65)


def test_strata_are_of_categories_scanners_and_bands_of_thickness(scored: ScoredStudies) -> None:
    strata = {(item.attribute, item.value): item for item in evaluate_models(scored).models[1].strata}
    assert list(strata) == [
        ("category", "haemorrhage"),
        ("category", "mass"),
        ("scanner", "GE | x"),
        ("scanner", "unknown"),
        ("slice thickness", "over 2.5 to 5 mm"),
        ("slice thickness", "up to 1.25 mm"),
    ]
    assert strata["category", "haemorrhage"].n_scored == 2
    assert strata["category", "mass"].mean_auc is None
    thin = strata["slice thickness", "up to 1.25 mm"]
    rows = np.arange(N) % 3 == 0
    labels, logits = scored.labels_NC[rows, 0], scored.models[1].logits_NC[rows, 0]
    assert (thin.n_studies, thin.n_scored) == (27, 1)
    assert thin.mean_auc == pytest.approx(roc_auc_score(labels, logits))


def test_what_is_written_holds_the_figures_and_no_patient(scored: ScoredStudies, tmp_path: Path) -> None:
    said = evaluate_to_folder(scored, tmp_path)
    metrics, text, table = (tmp_path / name for name in EVALUATION_FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(EVALUATION_FILES)
    document = json.loads(metrics.read_text(encoding="utf-8"))
    first, second = document["models"]
    compared = document["comparison"]
    difference = second["findings"]["a"]["auc"] - first["findings"]["a"]["auc"]
    assert compared["findings"]["a"]["difference"] == pytest.approx(difference)
    assert (compared["mean"]["n_resamples"], compared["mean"]["seed"]) == (2000, 1)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = {(row["model"], row["finding"]): row for row in csv.DictReader(stream)}
    assert len(rows) == 6
    assert float(rows["x", "b"]["auc"]) == first["findings"]["b"]["auc"]
    assert float(rows["y", "a"]["difference"]) == compared["findings"]["a"]["difference"]
    assert float(rows["y", "a"]["sensitivity_low"]) == second["findings"]["a"]["sensitivity"]["low"]
    assert rows["x", "a"]["difference"] == rows["x", "rare"]["auc"] == ""
    page = text.read_text(encoding="utf-8")
    assert f"| a | {first['findings']['a']['auc']:.3f} [" in page
    assert "| rare * | too few | — | 3 | 77 |" in page
    assert "no label column, or are not predicted by the second: 72." in page
    assert "notice of y" in page
    assert "| scanner: GE / x | 40 |" in page
    assert f"difference {compared['mean']['difference']:+.3f} [" in page
    assert f"Mean AUC {first['mean_auc']:.3f} ± {first['std_auc']:.3f}" in page
    assert f"{compared['mean']['difference']:+.3f}" in said
    assert not any("SECRET" in path.read_text(encoding="utf-8") for path in tmp_path.iterdir())


def test_one_model_is_compared_with_nothing(scored: ScoredStudies, tmp_path: Path) -> None:
    alone = ScoredStudies(**{**vars(scored), "models": scored.models[:1]})
    evaluate_to_folder(alone, tmp_path)
    assert json.loads((tmp_path / EVALUATION_FILES[0]).read_text(encoding="utf-8"))["comparison"] is None
    assert "minus" not in (tmp_path / EVALUATION_FILES[1]).read_text(encoding="utf-8")

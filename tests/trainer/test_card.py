from __future__ import annotations

import numpy as np

from engine.explain.usage import study_usage
from engine.inference.calibrate import fit_calibration
from engine.inference.calibration_report import CalibrationReport, fitted_set
from tests.support.models import TINY_SPEC
from trainer.card import train_card, verdict
from trainer.cohorts.words import phantom_words
from trainer.config import PhantomCohortConfig, TrainConfig
from trainer.evaluate import evaluate
from trainer.protocol import FindingComparison, MeanChange, SetComparison


def _measured(
    n_studies: int, aucs: dict[str, tuple[float, float] | None], description: str = "phantoms"
) -> SetComparison:
    findings = {
        key: FindingComparison(
            parent_auc=pair[0] if pair else None,
            candidate_auc=pair[1] if pair else None,
            n_pos=20 if pair else 1,
            n_neg=30,
            note="" if pair else "too few",
        )
        for key, pair in aucs.items()
    }
    pairs = [pair for pair in aucs.values() if pair]
    return SetComparison(
        description=description,
        n_studies=n_studies,
        parent_mean_auc=sum(pair[0] for pair in pairs) / len(pairs) if pairs else None,
        candidate_mean_auc=sum(pair[1] for pair in pairs) / len(pairs) if pairs else None,
        findings=findings,
    )


def test_the_verdict_names_what_got_worse_and_what_was_not_measured() -> None:
    heldout = _measured(50, {"a": (0.9, 0.91), "b": (0.8, 0.75), "c": None})
    text = verdict(heldout, _measured(2, {"a": None}, "reviewed studies"))
    assert "On 50 phantoms: mean AUC 0.850 for the parent, 0.830 for the candidate (-0.020), over 2 of 3" in text
    assert "lost more than 0.02: b (0.800 to 0.750)" in text
    assert "the others have too few cases" in text
    assert "On 2 reviewed studies: too few cases for an AUC of any finding." in text


def test_the_verdict_claims_nothing_where_nothing_was_measured() -> None:
    text = verdict(_measured(5, {"a": None}), _measured(0, {"a": None}, "reviewed studies"))
    assert text == "On 5 phantoms: too few cases for an AUC of any finding. No reviewed studies to measure on."


def test_the_verdict_says_so_when_nothing_got_worse() -> None:
    text = verdict(_measured(50, {"a": (0.9, 0.89)}), _measured(0, {}, "reviewed studies"))
    assert "none lost more than 0.02" in text
    assert "too few" not in text


def test_the_card_names_what_was_not_learnt_and_what_has_too_few_cases() -> None:
    labels = np.array([[1, 1, 1]] * 3 + [[1, 1, 0]] * 9 + [[0, 0, 0]] * 12, np.int8)
    logits = np.stack([labels[:, 0], 1 - labels[:, 1], labels[:, 2]], axis=1).astype(np.float32)
    evaluation = evaluate(("good", "backwards", "rare"), labels, logits)
    items = fit_calibration(("good", "backwards", "rare"), labels, logits)
    report = CalibrationReport(TrainConfig().calibration, items, fitted_set("phantoms", 24, items))
    usage = study_usage(("good", "backwards", "rare"), np.full((4, 2), 0.5), np.ones((3, 4, 3)))
    card = train_card(
        TrainConfig(), TINY_SPEC, evaluation, report, usage, "d" * 64, 7, phantom_words(PhantomCohortConfig())
    )
    assert "Not learnt, or hardly (AUC below 0.7): backwards." in card
    assert "| good | 1.000 [0.832, 1.000] | 1.000 | 12 | 12 |" in card
    assert "| rare | too few | — | 3 | 21 | 0.500 | no |" in card
    assert "Trained on synthetic phantoms, for demonstration only" in card
    assert "meaningless" in card
    assert "operating points by Youden's index" in " ".join(card.split())
    assert "a higher output did not mean a more likely finding: backwards; too few: rare." in card
    assert "| expert 2 | 0.500 | 0.333 |" in card


def test_the_verdict_gives_the_interval_of_the_change_and_the_q_of_what_got_worse() -> None:
    measured = _measured(50, {"b": (0.8, 0.75)})
    change = MeanChange(
        difference=-0.05, low=-0.1, high=0.001, p=0.06, n_findings=1, n_patients=45, n_resamples=2000, seed=1
    )
    tested = measured.findings["b"].model_copy(update={"q": 0.0312})
    text = verdict(
        measured.model_copy(update={"change": change, "findings": {"b": tested}}), _measured(0, {}, "reviewed studies")
    )
    assert "95 % CI of the change -0.100 to +0.001 (2000 resamples of 45 patients)." in text
    assert "lost more than 0.02: b (0.800 to 0.750, q = 0.031)" in text

"""Values to put into a store: an analysis with awkward floats, a study, statements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.analysis import (
    Analysis,
    Counterfactual,
    FindingResult,
    GeometrySummary,
    Ledger,
    ModelIdentity,
    SliceResult,
    Timings,
)
from engine.findings.catalogue import Catalogue
from engine.store.locations import Location
from engine.store.records import NewFeedback, SeriesRecord, StudyRecord
from engine.store.repository import Store

STUDY = StudyRecord(
    study_uid="1.2.840.1",
    patient_id="CT-0017",
    patient_name="Müller^Åsa",
    study_date="20260314",
    study_description="CCT nativ",
)
SERIES = SeriesRecord(
    series_uid="1.2.840.1.5",
    study_uid=STUDY.study_uid,
    description="Axial 4.0 H31s",
    kind="volume",
    n_slices=28,
    reasons=(),
    source_path="/studies/ct-0017",
    number=2,
)
DIGEST = "ab" * 32
STATEMENT = NewFeedback(
    series_uid=SERIES.series_uid,
    finding_key="lobar_hemorrhage",
    verdict="disagree",
    present=False,
    reader="dr.åberg",
    mode="ai_seen",
    model_digest=DIGEST,
    probability=0.8125,
    sop_instance_uids=("1.2.840.1.5.11", "1.2.840.1.5.12"),
    reason="artifact",
    comment="Streak from the clip, “no blood”\nseen on both slices",
)

MARKED = replace(
    STATEMENT,
    finding_key="meningioma",
    verdict="disagree",
    present=False,
    reason_code="calcification",
    laterality="left",
    certainty=80,
    key_images=("1.2.840.1.5.11",),
    locations=(
        Location("point", "1.2.840.1.5.11", ((120.0, 88.5),), ((12.25, -30.5, 41.0),)),
        Location("box", "1.2.840.1.5.12", ((10.0, 20.0), (30.0, 40.0)), ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),
        Location("mask", "1.2.840.1.5.12", ((1.0, 2.0), (2.0, 4.0)), ((0.0, 0.0, 0.0), (1.0, 1.0, 0.0)), (1, 2, 3)),
    ),
)


def filled(store: Store) -> Store:
    """Put one study with one series in."""
    store.upsert_study(STUDY)
    store.upsert_series(SERIES)
    return store


def make_analysis(
    catalogue: Catalogue,
    *,
    seed: int = 0,
    covered: int = 4,
    digest: str = DIGEST,
    series_uid: str = SERIES.series_uid,
    extras: bool = False,
) -> Analysis:
    """An analysis of 5 prepared over 7 acquired slices whose floats do not end after a few digits.

    With `extras` it has counterfactual logits and a pooled feature.
    """
    random = np.random.default_rng(seed)
    keys = tuple(catalogue)[:covered]
    values = random.normal(size=(covered, 5, 7)).astype(np.float32)
    bias = random.normal(size=covered).astype(np.float32)
    logits = (values.sum(axis=(1, 2), dtype=np.float64) + bias).astype(np.float32)
    probabilities = {key: float(1 / (1 + np.exp(-np.float64(logit)))) for key, logit in zip(keys, logits, strict=True)}
    findings = tuple(
        FindingResult(
            key=item.key,
            label=item.label,
            category=item.category,
            covered=item.key in probabilities,
            logit=float(logits[keys.index(item.key)]) if item.key in keys else None,
            probability=probabilities.get(item.key),
            calibrated_probability=None,
            operating_point=0.5 if item.key in keys else None,
            positive=probabilities[item.key] >= 0.5 if item.key in keys else None,
        )
        for item in catalogue.values()
    )
    attention = random.dirichlet(np.ones(5))
    gates = random.dirichlet(np.ones(6), size=5)
    slices = tuple(
        SliceResult(
            index=index,
            position_mm=-40.0 + 4.000000001 * index,
            sop_instance_uids=(f"{series_uid}.{index}", f"{series_uid}.{index + 1}"),
            attention=float(attention[index]),
            gate_weights=tuple(float(weight) for weight in gates[index]),
        )
        for index in range(5)
    )
    return Analysis(
        study_instance_uid=STUDY.study_uid,
        series_instance_uid=series_uid,
        geometry=GeometrySummary(7, 18.5, (7.0, 1.081, 4.0), 512, 512),
        model=ModelIdentity("phantom-demo", digest, "trained on synthetic phantoms"),
        device="cpu",
        findings=findings,
        slices=slices,
        ledger=Ledger(keys, values, bias, logits),
        acquired_weights=random.dirichlet(np.ones(7), size=5).astype(np.float32),
        warnings=("Spacing is not uniform: 7.0 / 1.081 / 4.0 mm — kept.",),
        timings_s=Timings(0.1, 0.2, 1 / 3, 0.01, 0.65),
        counterfactual=Counterfactual(values.sum(axis=2), values.sum(axis=1)[:, 1:]) if extras else None,
        pooled_feature=random.normal(size=16).astype(np.float32) if extras else None,
    )


def assert_same_analysis(ours: Analysis, theirs: Analysis) -> None:
    """Equal to the last bit."""
    assert ours.to_json() == theirs.to_json()
    assert replace(ours, ledger=theirs.ledger, acquired_weights=theirs.acquired_weights).findings == theirs.findings
    assert ours.slices == theirs.slices
    assert ours.ledger.keys == theirs.ledger.keys
    for one, other in (
        (ours.ledger.values, theirs.ledger.values),
        (ours.ledger.bias, theirs.ledger.bias),
        (ours.ledger.logits, theirs.ledger.logits),
        (ours.acquired_weights, theirs.acquired_weights),
    ):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one, other, strict=True)
    assert (ours.counterfactual is None) is (theirs.counterfactual is None)
    if ours.counterfactual is not None and theirs.counterfactual is not None:
        np.testing.assert_array_equal(ours.counterfactual.without_slice, theirs.counterfactual.without_slice)
        np.testing.assert_array_equal(ours.counterfactual.without_expert, theirs.counterfactual.without_expert)
    assert (ours.pooled_feature is None) is (theirs.pooled_feature is None)
    if ours.pooled_feature is not None and theirs.pooled_feature is not None:
        assert ours.pooled_feature.dtype == np.float32
        np.testing.assert_array_equal(ours.pooled_feature, theirs.pooled_feature)
